package badgerstore

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// However often Badger compacts meanwhile, a read sees all of its revision to
// its end: what is overwritten and what is purged. Afterwards that is given up.
func TestLongReadLosesNothing(t *testing.T) {
	s := open(t, t.TempDir(), Options{MemTableSize: 256 << 10, discardEvery: time.Nanosecond})
	const n = 50
	records := make([]store.Record, n)
	for i := range n {
		records[i] = storetest.NewRecord("p", "alice", i)
		records[i].Revision = mustCommit(t, s, store.Create{Record: records[i]})
	}
	err := s.read(func(txn *snapshot) error {
		for _, r := range records {
			mustCommit(t, s, store.Revoke{ID: r.ID, Revision: r.Revision, At: storetest.Epoch})
			mustCommit(t, s, store.Purge{ID: r.ID})
		}
		churnUntilCompacted(t, s)
		listed := 0
		err := iterate(txn, listPrefix("p", "alice"), func(item *badger.Item) (bool, error) {
			entry, err := readListEntry(txn, item)
			if err != nil {
				return false, err
			}
			r, err := recordByHash(txn, entry.hash)
			if err != nil || r.IsRevoked() {
				t.Errorf("a listed token: %+v, %v", r, err)
			}
			listed++
			return true, nil
		})
		if listed != n {
			t.Errorf("%d tokens are listed, want %d", listed, n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	held := s.reads.since.Load()
	mustCommit(t, s, store.Touch{})
	mustCommit(t, s, store.Touch{})
	if s.reads.since.Load() <= held {
		t.Errorf("after the read has ended the mark is %d, as while it went on", s.reads.since.Load())
	}
}

// churnUntilCompacted overwrites settings until everything there is, in memory too,
// has been put into tables that were compacted.
func churnUntilCompacted(t *testing.T, s *Store) {
	t.Helper()
	_, at := s.Settings("churn")
	long := strings.Repeat("u", 4000)
	churn := func(what string, until func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !until(); {
			if time.Now().After(deadline) {
				t.Fatalf("a minute later there is no %s", what)
			}
			at = mustCommit(t, s, store.Configure{Project: "churn", Revision: at, Settings: store.Settings{Users: []string{long}}})
		}
	}
	before := s.liveTables()
	churn("new table", func() bool {
		for id := range s.liveTables() {
			if _, old := before[id]; !old {
				return true
			}
		}
		return false
	})
	before = s.liveTables()
	churn("compaction", func() bool {
		for id := range s.liveTables() {
			if _, old := before[id]; old {
				return false
			}
		}
		return true
	})
}

func TestReadsAreBoundedInTime(t *testing.T) {
	s := open(t, t.TempDir(), Options{maxRead: time.Nanosecond})
	const n = 300
	for i := range n {
		mustCommit(t, s, store.Create{Record: storetest.NewRecord("p", "alice", i)})
	}
	if _, err := s.Scan(store.Query{Project: "p"}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a read that takes too long: %v", err)
	}
	// A mutation takes the time that it needs.
	mustCommit(t, s, store.Void{Project: "p", User: "alice", At: storetest.Epoch})
}

// Nobody reads at a revision that was given up, however reads and generations
// come together.
func TestGenerationsOfReads(t *testing.T) {
	var r reads
	var applied, unread atomic.Uint64
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				g := r.begin()
				at := applied.Load()
				for range rand.IntN(100) {
					if mark := unread.Load(); mark > at {
						t.Errorf("%d is given up, and is being read at", mark)
						r.end(g)
						return
					}
				}
				r.end(g)
			}
		})
	}
	begun := 0
	for i := range uint64(200_000) {
		applied.Store(i)
		if mark, ok := r.next(i); ok {
			begun++
			unread.Store(mark)
		}
	}
	close(stop)
	all.Wait()
	if begun == 0 {
		t.Error("no generation began")
	}
	// A generation that still has reads keeps the next but one from beginning.
	g := r.begin()
	for range 5 {
		r.next(1 << 40)
	}
	if _, ok := r.next(1 << 41); ok {
		t.Error("a generation was given up that has a read")
	}
	r.end(g)
	if _, ok := r.next(1 << 42); !ok {
		t.Error("no generation begins once the read has ended")
	}
}
