package badgerstore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(children[role]())
	}
	// glog, which a dependency of Badger brings, starts it and never stops it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"), goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(madeStoresDir)
		os.Exit(code)
	}))
}

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.Logger == nil {
		o.Logger = zaptest.NewLogger(t)
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Store { return open(t, t.TempDir(), Options{}) })
}

func TestOutboxIsBounded(t *testing.T) {
	storetest.RunFullOutbox(t, func(t testing.TB) store.Store { return open(t, t.TempDir(), Options{}) })
}

// With memtables this small every test fills several of them.
func TestConformanceWithTinyMemtables(t *testing.T) {
	if storetest.Rounds(0, 1) == 0 {
		t.Skip("set ACCESS_TOKENS_TEST_LONG=1 to run all of TestConformance again")
	}
	storetest.Run(t, func(t testing.TB) store.Store { return open(t, t.TempDir(), Options{MemTableSize: 256 << 10}) })
}

func mustCommit(t testing.TB, s *Store, m store.Mutation) uint64 {
	t.Helper()
	done, err := s.Commit(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	return done.Revision
}

func TestEverythingIsThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	kept, revoked := storetest.NewRecord("p", "alice", 1), storetest.NewRecord("p", "alice", 2)
	mustCommit(t, s, store.Create{Record: kept})
	at := mustCommit(t, s, store.Create{Record: revoked})
	last := mustCommit(t, s, store.Revoke{ID: revoked.ID, Revision: at, At: storetest.Epoch})
	settings := store.Settings{Enabled: new(false), Generate: "users", Users: []string{"bob"}, MaxLifetimeDays: -1}
	atSettings := mustCommit(t, s, store.Configure{Project: "p", Settings: settings})
	mustCommit(t, s, store.Touch{Uses: []store.Use{{ID: kept.ID, At: storetest.Epoch}}})
	key := s.Key().ID()
	closeStore(t, s)

	s = open(t, dir, Options{})
	if s.Key().ID() != key {
		t.Error("another hash key")
	}
	if r, err := s.ByHash(kept.Hash); err != nil || r.IsRevoked() {
		t.Errorf("the kept token: %+v, %v", r, err)
	}
	if r, err := s.ByHash(revoked.Hash); err != nil || !r.IsRevoked() || r.Revision != last {
		t.Errorf("the revoked token: %+v, %v", r, err)
	}
	if used, err := s.LastUsed(kept.ID); err != nil || !used[0].At.Equal(storetest.Epoch) {
		t.Errorf("last used %v, %v", used, err)
	}
	if got, at := s.Settings("p"); !cmp.Equal(got, settings) || at != atSettings {
		t.Errorf("settings %+v of revision %d, want %+v of %d", got, at, settings, atSettings)
	}
	if next := mustCommit(t, s, store.Touch{}); next != last+3 {
		t.Errorf("the next revision is %d, want %d", next, last+3)
	}
}

func TestClosedStoreIsUnavailable(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	r := storetest.NewRecord("p", "alice", 1)
	mustCommit(t, s, store.Create{Record: r})
	closeStore(t, s)
	closeStore(t, s)
	_, errHash := s.ByHash(r.Hash)
	_, errID := s.ByID(r.ID)
	_, errList := s.Scan(store.Query{Project: "p"})
	_, errUsed := s.LastUsed(r.ID)
	_, errEnded := s.Ended(time.Time{}, time.Time{}, 1)
	_, errCommit := s.Commit(context.Background(), store.Touch{})
	for i, err := range []error{errHash, errID, errList, errUsed, errEnded, errCommit} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("operation %d on a closed store: %v", i, err)
		}
	}
}

func TestCloseCommitsWhatIsQueued(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	const n = 200
	results := make(chan error, n)
	for i := range n {
		go func() {
			_, err := s.Commit(context.Background(), store.Create{Record: storetest.NewRecord("p", "alice", i)})
			results <- err
		}()
	}
	closeStore(t, s)
	acknowledged := 0
	for range n {
		switch err := <-results; {
		case err == nil:
			acknowledged++
		case !errors.Is(err, store.ErrUnavailable):
			t.Error(err)
		}
	}
	records := storetest.List(t, open(t, dir, Options{}), store.Query{Project: "p"})
	if len(records) != acknowledged {
		t.Errorf("%d tokens, %d were acknowledged", len(records), acknowledged)
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	living := storetest.NewRecord("p", "alice", 0)
	living.Key = s.Key().ID()
	mustCommit(t, s, store.Create{Record: living})
	file := filepath.Join(dir, "hash.key")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "db")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("database directory: %v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)

	refuse := func(o Options, want string) {
		t.Helper()
		if s, err := Open(dir, o); err == nil {
			closeStore(t, s)
			t.Errorf("opened, want an error with %q", want)
		} else if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), string(text[:16])) {
			t.Errorf("error %q, want %q", err, want)
		}
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	refuse(Options{}, "chmod 600")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	refuse(Options{}, "hash.key is missing")
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a new key was made beside a store with records")
	}
	other, _ := token.NewKey(strings.Repeat("x", 32))
	refuse(Options{Key: other}, "1 living token in")
	if err := os.WriteFile(file, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuse(Options{}, "at least 32 characters")

	same, err := token.NewKey(string(text))
	if err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{Key: same})
}

// A start can end between the making of the key and that of the store.
func TestKeyWithoutAStoreIsKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	key := s.Key().ID()
	closeStore(t, s)
	for _, name := range []string{"db", DeletedListName, tableListName} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if s := open(t, dir, Options{}); s.Key().ID() != key {
		t.Error("another hash key")
	}
}

// What a power failure leaves can't be had in a test; that Badger is told to
// sync each transaction before it is acknowledged, can.
func TestEveryBatchIsSynced(t *testing.T) {
	if s := open(t, t.TempDir(), Options{}); !s.db.Opts().SyncWrites {
		t.Error("Badger doesn't sync")
	}
}

func TestSecondOpenSaysWho(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("opening twice: %v", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	txn := s.db.NewTransactionAt(s.applied.Load(), true)
	if err := txn.Set(metaFormat, []byte{format + 1}); err != nil {
		t.Fatal(err)
	}
	if err := txn.CommitAt(s.applied.Load()+1, nil); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("opening a newer store: %v", err)
	}
}

// Settings decide about every request: a store whose settings can't be read
// doesn't open.
func TestSettingsThatCantBeRead(t *testing.T) {
	for value, want := range map[string]string{
		"rubbish":                                 "damaged",
		"\x00\x00\x00\x00\x00\x00\x00\x01":        "damaged",
		"\x00\x00\x00\x00\x00\x00\x00\x01\x01{}}": "damaged",
		"\x00\x00\x00\x00\x00\x00\x00\x01\x02{}":  "newer release",
	} {
		dir := t.TempDir()
		s := open(t, dir, Options{})
		txn := s.db.NewTransactionAt(s.applied.Load(), true)
		if err := txn.Set(policyKey("p"), []byte(value)); err != nil {
			t.Fatal(err)
		}
		if err := txn.CommitAt(s.applied.Load(), nil); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "settings") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// Damage is neither "no such token" nor a token.
func TestDamagedRecordIsUnavailable(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	r := storetest.NewRecord("p", "alice", 1)
	mustCommit(t, s, store.Create{Record: r})
	txn := s.db.NewTransactionAt(s.applied.Load(), true)
	if err := txn.SetEntry(badger.NewEntry(tokenKey(r.Hash), []byte("rubbish"))); err != nil {
		t.Fatal(err)
	}
	at := s.applied.Load() + 1
	if err := txn.CommitAt(at, nil); err != nil {
		t.Fatal(err)
	}
	s.applied.Store(at)
	if _, err := s.ByHash(r.Hash); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("a damaged record: %v", err)
	}
}

func BenchmarkByHash(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	records := make([]store.Record, 1000)
	for i := range records {
		records[i] = storetest.NewRecord("p", "alice", i)
		mustCommit(b, s, store.Create{Record: records[i]})
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := s.ByHash(records[i%len(records)].Hash); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkCommit shows what sharing a sync brings: compare -cpu and
// -parallelism.
func BenchmarkCommit(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(map[int]string{1: "1 writer", 64: "64 writers"}[parallel], func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			next := make(chan int)
			go func() {
				for i := range b.N {
					next <- i
				}
				close(next)
			}()
			b.ResetTimer()
			done := make(chan struct{})
			for range parallel {
				go func() {
					for i := range next {
						if _, err := s.Commit(context.Background(), store.Create{Record: storetest.NewRecord("p", "alice", i)}); err != nil {
							b.Error(err)
						}
					}
					done <- struct{}{}
				}()
			}
			for range parallel {
				<-done
			}
		})
	}
}

func BenchmarkByHashParallel(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	records := make([]store.Record, 1000)
	for i := range records {
		records[i] = storetest.NewRecord("p", "alice", i)
		mustCommit(b, s, store.Create{Record: records[i]})
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		i := 0
		for pb.Next() {
			if _, err := s.ByHash(records[i%len(records)].Hash); err != nil {
				b.Error(err)
			}
			i++
		}
	})
}

// A value that Badger would put into its value log, which is not verified, is
// refused, whole and without a trace of the rest of its mutation.
func TestNothingGoesToTheValueLog(t *testing.T) {
	s := open(t, t.TempDir(), Options{MemTableSize: 256 << 10})
	r := storetest.NewRecord("p", "alice", 0)
	limit := int(s.db.Opts().ValueThreshold)
	if _, err := s.Commit(context.Background(), store.Create{Record: r}, []byte("short"), make([]byte, limit)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a line of %d bytes: %v", limit, err)
	}
	lines, err := s.Outbox(store.LinePlace{})
	if _, errID := s.ByID(r.ID); !errors.Is(errID, store.ErrNotFound) || err != nil || len(lines) > 0 {
		t.Errorf("after it was refused: %d lines, %v; the token: %v", len(lines), err, errID)
	}
	if _, err := s.Commit(context.Background(), store.Create{Record: r}, make([]byte, limit-1)); err != nil {
		t.Errorf("a line of %d bytes: %v", limit-1, err)
	}
}
