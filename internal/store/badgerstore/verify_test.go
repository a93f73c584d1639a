package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// onTables returns a store of n large tokens, every second deleted, which are all
// in tables, records and deletions in different ones.
func onTables(t *testing.T, n int, o Options) (s *Store, dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, step := range []func(*Store, int) error{
		(*Store).orderCreate,
		func(s *Store, n int) error {
			if n%2 == 0 {
				return nil
			}
			return s.orderRevoke(n)
		},
	} {
		s := open(t, dir, Options{})
		if _, err := inParallel(0, n, func(n int) error { return step(s, n) }); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
	}
	return open(t, dir, o), dir
}

func wantStopped(t *testing.T, s *Store) {
	t.Helper()
	r := largeRecord(0)
	_, errHash := s.ByHash(r.Hash)
	_, errID := s.ByID(r.ID)
	_, errList := s.Scan(store.Query{Project: "p"})
	_, errCommit := s.Commit(context.Background(), store.Touch{})
	for i, err := range []error{errHash, errID, errList, errCommit} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("operation %d on a store that is damaged: %v", i, err)
		}
	}
}

// damageTables changes tables of a running store: what is read through memory maps
// changes, too.
func damageTables(t *testing.T, dir string, change func(b []byte)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("tables %v, %v", files, err)
	}
	for _, file := range files {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := readFile(t, file)
		was := bytes.Clone(b)
		change(b)
		for i := range b {
			if b[i] != was[i] {
				if _, err := f.WriteAt(b[i:i+1], int64(i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// One bit of a version hides the newest record of a deleted token, so that an
// older one, of a live token, is found.
func TestUncoveredRecordIsNotBelieved(t *testing.T) {
	s, dir := onTables(t, 10, Options{Cache: -1}) // a record in memory isn't damaged
	want := largeRecord(1)
	r, err := s.ByHash(want.Hash)
	if err != nil || !r.IsRevoked() {
		t.Fatalf("%+v, %v", r, err)
	}
	key := want.Hash[16:]
	hidden := 0
	damageTables(t, dir, func(b []byte) {
		for at := 0; ; {
			i := bytes.Index(b[at:], key)
			if i < 0 || at+i+len(key)+8 > len(b) {
				return
			}
			at += i + len(key)
			// The version is that of the batch, and sorts the newest first.
			if version := ^binary.BigEndian.Uint64(b[at:]); version >= r.Revision && version <= s.applied.Load() {
				b[at] ^= 0x80
				hidden++
			}
		}
	})
	if hidden == 0 {
		t.Fatal("the record isn't there")
	}
	s.checked.forget()
	txn := s.snapshot(s.applied.Load(), false)
	defer txn.Discard()
	if older, _, err := recordAt(txn, want.Hash); err != nil || older.IsRevoked() {
		t.Errorf("the older record isn't uncovered: %+v, %v", older, err)
	}
	if r, err := s.ByHash(want.Hash); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("by its hash: %+v, %v", r, err)
	}
	if r, err := s.ByID(want.ID); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("by its id: %+v, %v", r, err)
	}
}

func TestDamageFoundLaterStopsTheStore(t *testing.T) {
	s, dir := onTables(t, 200, Options{})
	if _, err := s.verifyAll(context.Background()); err != nil {
		t.Fatalf("a sound store: %v", err)
	}
	damageTables(t, dir, func(b []byte) { b[rand.IntN(len(b)/2)] ^= 1 })
	_, err := s.verifyAll(context.Background())
	var d *Damage
	if !errors.As(err, &d) || !strings.HasSuffix(d.File, ".sst") {
		t.Fatalf("a damaged store: %v", err)
	}
	s.fail(err)
	wantStopped(t, s)
}

// Whatever a read meets, the process lives, and nobody is told anything wrong.
func TestPanicUnderAReadStopsTheStore(t *testing.T) {
	stopped := 0
	for range 5 {
		s, dir := onTables(t, 300, Options{})
		damageTables(t, dir, func(b []byte) {
			for i := range len(b) {
				if i%512 == 0 {
					b[i] = byte(rand.Uint32())
				}
			}
		})
		for n := range 300 {
			if r, err := s.ByHash(largeRecord(n).Hash); err == nil && r.IsRevoked() != (n%2 == 1) {
				t.Errorf("token %d is %+v", n, r)
			}
			_, _ = s.Scan(store.Query{Project: "p"})
		}
		if s.failure.Load() != nil {
			stopped++
			wantStopped(t, s)
		}
		closeStore(t, s)
	}
	if stopped == 0 {
		t.Error("no read met anything that panics")
	}
}

// A table that a disk doesn't give back is a fault in mapped memory.
func TestFaultUnderAReadStopsTheStore(t *testing.T) {
	s, dir := onTables(t, 300, Options{})
	for _, name := range filesWith(t, dir, ".sst") {
		if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 300 {
		if r, err := s.ByHash(largeRecord(n).Hash); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("token %d: %+v, %v", n, r, err)
		}
	}
	if err := s.tendOnce(); err != nil && !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	wantStopped(t, s)
}

// While tables are unverified there are no compactions; afterwards there are. Who
// reads and writes meanwhile doesn't notice.
func TestCompactionsWaitForVerification(t *testing.T) {
	made, err := makeStores()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	if err := copyStore(dir, made.closed); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, Options{MemTableSize: damagedMemTable, verification: verification{-1, time.Hour, 1 << 30, 1 << 20}})
	if n := s.db.Opts().NumCompactors; n != 0 {
		t.Fatalf("%d compactors while nothing is verified", n)
	}
	done := make(chan struct{})
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				n := (i*7 + w) % damagedTokens
				if r, err := s.ByHash(largeRecord(n).Hash); err != nil || r.IsRevoked() != isDeleted(n) {
					t.Errorf("token %d: %+v, %v", n, r, err)
					return
				}
				r := storetest.NewRecord("q", "bob", w*1_000_000+i)
				if _, err := s.Commit(context.Background(), store.Create{Record: r}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); ; {
		s.mu.RLock()
		n := s.db.Opts().NumCompactors
		s.mu.RUnlock()
		if n > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Error("compactions haven't started")
			break
		}
	}
	close(done)
	all.Wait()
	for n := range damagedTokens {
		if r, err := s.ByHash(largeRecord(n).Hash); err != nil || r.IsRevoked() != isDeleted(n) {
			t.Errorf("token %d: %+v, %v", n, r, err)
		}
	}
	if err := s.tendOnce(); err != nil {
		t.Error(err)
	}
}

// Badger deletes tables that its MANIFEST doesn't name.
func TestTablesThatNobodyNames(t *testing.T) {
	s, dir := onTables(t, 50, Options{})
	closeStore(t, s)
	files := filesWith(t, dir, ".sst")
	b := readFile(t, filepath.Join(dir, files[0]))
	unnamed := filepath.Join(dir, "db", "000999.sst")

	// Nothing else is wrong: it is what a crash leaves.
	writeBack(t, unnamed, b)
	closeStore(t, open(t, dir, Options{}))
	if _, err := os.Stat(unnamed); err == nil {
		t.Error("what a crash left is still there")
	}
	if _, err := os.Stat(asideDir(dir)); err == nil {
		t.Error("what was set aside is still there")
	}

	// Something is.
	writeBack(t, unnamed, b)
	key := readFile(t, filepath.Join(dir, "hash.key"))
	if err := os.Remove(filepath.Join(dir, "hash.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Fatal("opened without its key")
	}
	if err := os.WriteFile(filepath.Join(dir, "hash.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if left := readFile(t, unnamed); !bytes.Equal(left, b) {
		t.Error("a table is gone from a store that didn't open")
	}

	// A process died while it was set aside.
	if err := setAside(dir, []string{"000999.sst"}); err != nil {
		t.Fatal(err)
	}
	if err := putBack(dir); err != nil {
		t.Fatal(err)
	}
	if left := readFile(t, unnamed); !bytes.Equal(left, b) {
		t.Error("a table that was set aside isn't put back")
	}

	// It can't be told.
	s = open(t, dir, Options{})
	mustCommit(t, s, store.Touch{})
	txn := s.db.NewTransactionAt(s.applied.Load(), true)
	for key, value := range map[string][]byte{string(metaFormat): {1}, string(metaRevision): batchMeta{revision: s.applied.Load() + 1}.encode()[:8]} {
		if err := txn.SetEntry(badger.NewEntry([]byte(key), value)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range [][]byte{metaStoreID, metaList} {
		if err := txn.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	if err := txn.CommitAt(s.applied.Load()+1, nil); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	for _, name := range []string{DeletedListName, tableListName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	writeBack(t, unnamed, b)
	open(t, dir, Options{})
	kept, err := filepath.Glob(filepath.Join(dir, "db.unnamed-*", "000999.sst"))
	if err != nil || len(kept) != 1 || !bytes.Equal(readFile(t, kept[0]), b) {
		t.Errorf("kept %v, %v", kept, err)
	}
}

// What is left of a log, in whatever state, is no more than was written.
func FuzzMemLog(f *testing.F) {
	dir := f.TempDir()
	s := open(f, dir, Options{MemTableSize: 256 << 10})
	for n := range 3 {
		mustCommit(f, s, store.Create{Record: storetest.NewRecord("p", "alice", n)})
	}
	logs, err := filepath.Glob(filepath.Join(dir, "db", "*.mem"))
	if err != nil || len(logs) != 1 {
		f.Fatal(logs, err)
	}
	b, err := os.ReadFile(logs[0])
	if err != nil {
		f.Fatal(err)
	}
	b = b[:len(bytes.TrimRight(b, "\x00"))]
	whole, err := readMemLog(b)
	if err != nil || whole.first != 1 || whole.last != 4 || whole.gap != 0 || whole.store != s.list.store {
		f.Fatalf("%+v, %v", whole, err)
	}
	f.Add(uint16(0), byte(0), b)
	f.Add(uint16(100), byte(1), b)
	f.Fuzz(func(t *testing.T, at uint16, flip byte, b []byte) {
		if len(b) > 0 {
			b = bytes.Clone(b)
			b[int(at)%len(b)] ^= flip
		}
		if l, err := readMemLog(b); err != nil && !errors.Is(err, errDamaged) {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

// A table in which anything is changed is damaged, and nothing panics.
func FuzzTable(f *testing.F) {
	dir := f.TempDir()
	s := open(f, dir, Options{})
	for n := range 30 {
		mustCommit(f, s, store.Create{Record: storetest.NewRecord("p", "alice", n)})
	}
	closeStore(f, s)
	tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if err != nil || len(tables) != 1 {
		f.Fatal(tables, err)
	}
	sound, err := os.ReadFile(tables[0])
	if err != nil {
		f.Fatal(err)
	}
	check := func(b []byte) error {
		file := filepath.Join(dir, "fuzzed.sst")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			f.Fatal(err)
		}
		t := &storedTable{file: file}
		if err := t.open(); err != nil {
			return err
		}
		_, err := t.verify(unpaced)
		return err
	}
	if err := check(sound); err != nil {
		f.Fatal(err)
	}
	for range 20 {
		f.Add(rand.Uint32(), byte(1)<<rand.IntN(8), false)
		f.Add(rand.Uint32(), byte(0), true)
	}
	f.Fuzz(func(t *testing.T, at uint32, flip byte, cut bool) {
		b := bytes.Clone(sound)
		i := int(at) % len(b)
		b[i] ^= flip
		if cut {
			b = b[:i]
		}
		if err := check(b); (flip != 0 || cut) && !errors.Is(err, errDamaged) {
			t.Errorf("byte %d changed by %x, cut %v: %v", i, flip, cut, err)
		}
	})
}
