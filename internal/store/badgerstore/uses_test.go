package badgerstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

func newUses(t *testing.T, dir string, of storeID) *usesFile {
	t.Helper()
	u := openUses(dir, of, true, zap.NewNop())
	t.Cleanup(func() { _ = u.close() })
	return u
}

// useOfNumber is a use of the token with a number, n seconds after Epoch.
func useOfNumber(number uint64, n int) store.Use {
	addresses := []netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::")}
	return store.Use{
		ID: uuid.NewSHA1(uuid.Nil, []byte{byte(number), byte(number >> 8), byte(number >> 16)}), Number: number,
		At: storetest.Epoch.Add(time.Duration(n) * time.Second).UTC(), Address: addresses[n%len(addresses)],
	}
}

func (u *usesFile) all(t *testing.T, upTo uint64) map[uint64]store.Use {
	t.Helper()
	all := make(map[uint64]store.Use)
	if err := u.each(upTo, func(use store.Use) error { all[use.Number] = use; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

var compareUses = cmpopts.EquateComparable(netip.Addr{})

// Uses in any order, in any batches and any number of times leave the latest of each
// token, and are there when the file is opened again.
func TestLastUsesMergeByMaximum(t *testing.T) {
	dir, id := t.TempDir(), uuid.New()
	u := newUses(t, dir, id)
	want := make(map[uint64]store.Use)
	for range 50 {
		var batch []store.Use
		for range rand.IntN(200) {
			use := useOfNumber(1+rand.Uint64N(2000), rand.IntN(1000))
			if known, there := want[use.Number]; !there || use.At.After(known.At) {
				want[use.Number] = use
			}
			batch = append(batch, use)
		}
		if err := u.write(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.close(); err != nil {
		t.Fatal(err)
	}
	u = newUses(t, dir, id)
	if diff := cmp.Diff(want, u.all(t, 2000), compareUses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for number, use := range want {
		if got := u.last(use.ID, number); !cmp.Equal(got, use, compareUses) {
			t.Errorf("%d: %+v", number, got)
		}
		if got := u.last(uuid.New(), number); !got.At.IsZero() {
			t.Errorf("another token's: %+v", got)
		}
	}
	if got := u.last(uuid.New(), 1_000_000); !got.At.IsZero() {
		t.Errorf("behind the end: %+v", got)
	}
	u.forget([]uint64{1, 2, 3, 1_000_000})
	for number := range u.all(t, 2000) {
		if number <= 3 {
			t.Errorf("that of %d is still there", number)
		}
	}
}

// Whatever becomes of the file, what is read was written, and the store opens.
func TestDamagedLastUsesAreUnknown(t *testing.T) {
	dir, id := t.TempDir(), uuid.New()
	u := newUses(t, dir, id)
	var uses []store.Use
	want := make(map[uint64]store.Use)
	for n := range 500 {
		uses = append(uses, useOfNumber(uint64(n+1), n))
		want[uint64(n+1)] = uses[n]
	}
	if err := u.write(uses); err != nil {
		t.Fatal(err)
	}
	_ = u.close()
	whole := readFile(t, u.path)
	for range storetest.Rounds(100, 400) {
		b := append([]byte{}, whole...)
		switch rand.IntN(4) {
		case 0:
			b = b[:rand.IntN(len(b))]
		case 1: // slots change places
			from, to := usesOffset(1+rand.Uint64N(500)), usesOffset(1+rand.Uint64N(500))
			copy(b[to:to+usesSlot], whole[from:from+usesSlot])
		default:
			b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
		}
		if err := os.WriteFile(u.path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		u := newUses(t, dir, id)
		for number, use := range u.all(t, 600) {
			if diff := cmp.Diff(want[number], use, compareUses); diff != "" {
				t.Fatalf("%d (-written +read):\n%s", number, diff)
			}
		}
		if err := u.write(uses); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, u.all(t, 600), compareUses); diff != "" {
			t.Fatalf("once it is written again (-want +got):\n%s", diff)
		}
		_ = u.close()
	}
	// Another store's is no damage, but nothing to be believed either.
	if err := os.WriteFile(u.path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if all := newUses(t, dir, uuid.New()).all(t, 600); len(all) != 0 {
		t.Errorf("%d uses of another store", len(all))
	}
	if _, err := os.Stat(filepath.Join(dir, usesFileName+".damaged")); err != nil {
		t.Error(err)
	}
}

// Whatever is in the file's place, the store opens. Where it can't be set aside, uses
// aren't written until the place is free.
func TestNoFileOfLastUsesStopsAStore(t *testing.T) {
	inTheWay := func(t *testing.T, dir string) {
		if err := os.MkdirAll(filepath.Join(dir, usesFileName+".damaged", "full"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	directory := func(t *testing.T, dir string) {
		if err := os.Mkdir(filepath.Join(dir, usesFileName), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		put   func(t *testing.T, dir string)
		stuck bool
	}{
		"a directory": {put: directory},
		"a link to nothing": {put: func(t *testing.T, dir string) {
			if err := os.Symlink(filepath.Join(dir, "nothing"), filepath.Join(dir, usesFileName)); err != nil {
				t.Fatal(err)
			}
		}},
		"nothing to be set aside": {stuck: true, put: func(t *testing.T, dir string) {
			directory(t, dir)
			inTheWay(t, dir)
		}},
		"damaged for the second time": {stuck: true, put: func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, usesFileName), []byte("no uses"), 0o600); err != nil {
				t.Fatal(err)
			}
			inTheWay(t, dir)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir, Options{})
			r := storetest.NewRecord("p", "alice", 1)
			mustCommit(t, s, store.Create{Record: r})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, usesFileName)); err != nil {
				t.Fatal(err)
			}
			test.put(t, dir)

			s = open(t, dir, Options{})
			r, err := s.ByID(r.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.LastUsed(r.ID); err != nil || !got[0].At.IsZero() {
				t.Errorf("used %+v, %v", got, err)
			}
			use := store.Touch{Uses: []store.Use{{ID: r.ID, Number: r.Number, At: storetest.Epoch}}}
			if _, err := s.Commit(context.Background(), use); test.stuck != errors.Is(err, store.ErrUnavailable) {
				t.Errorf("written: %v", err)
			}
			if test.stuck {
				if err := os.RemoveAll(filepath.Join(dir, usesFileName+".damaged")); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Commit(context.Background(), use); err != nil {
					t.Errorf("once the place is free: %v", err)
				}
			}
			if got, err := s.LastUsed(r.ID); err != nil || !got[0].At.Equal(storetest.Epoch) {
				t.Errorf("used %+v, %v", got, err)
			}
		})
	}
}

// A store that is too full, stopped or closed takes no uses.
func TestNumberedUsesMeetTheStoresState(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	r := storetest.NewRecord("p", "alice", 1)
	mustCommit(t, s, store.Create{Record: r})
	r, err := s.ByID(r.ID)
	if err != nil || r.Number == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	before := s.Revision()
	use := store.Touch{Uses: []store.Use{{ID: r.ID, Number: r.Number, At: storetest.Epoch}}}
	if _, err := s.Commit(context.Background(), use); err != nil {
		t.Fatal(err)
	}
	if s.Revision() != before {
		t.Error("a use makes a revision")
	}
	if got, err := s.LastUsed(r.ID); err != nil || !got[0].At.Equal(storetest.Epoch) {
		t.Errorf("%+v, %v", got, err)
	}
	r.Revision = mustCommit(t, s, store.Revoke{ID: r.ID, Revision: r.Revision, At: storetest.Epoch})
	mustCommit(t, s, store.Purge{ID: r.ID})
	if all := s.uses.all(t, r.Number); len(all) != 0 {
		t.Errorf("of a token that was purged is left %+v", all)
	}
	s.fail(errors.New("damaged"))
	if _, err := s.Commit(context.Background(), use); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a stopped store: %v", err)
	}
}

func FuzzUse(f *testing.F) {
	u := &usesFile{store: uuid.New()}
	slot := make([]byte, usesSlot)
	for n := range 4 {
		u.encode(slot, useOfNumber(7, n))
		f.Add(append([]byte{}, slot...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		copy(slot, b)
		use, ok := u.decode(slot, 7)
		if !ok {
			return
		}
		again := make([]byte, usesSlot)
		u.encode(again, use)
		if back, ok := u.decode(again, 7); !ok || !cmp.Equal(use, back, compareUses) {
			t.Errorf("%+v comes back as %+v", use, back)
		}
	})
}
