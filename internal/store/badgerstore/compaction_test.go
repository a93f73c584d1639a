package badgerstore

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// Nothing that was overwritten or removed comes back, whatever Badger makes of
// its tables: old versions are given up at once here, memtables are tiny, and
// the store is opened anew again and again.
func TestCompactionBringsNothingBack(t *testing.T) {
	const perRound, memTable = 150, 256 << 10
	type state int
	const (
		valid state = iota
		revoked
		purged
	)
	dir := t.TempDir()
	states := make(map[int]state)
	used := make(map[int]time.Time)
	long := strings.Repeat("d", 4000)
	record := func(n int) store.Record {
		r := storetest.NewRecord("p", "alice", n)
		r.Description = long
		return r
	}
	deepest := 0
	rounds := storetest.Rounds(4, 8)
	for round := range rounds {
		s := open(t, dir, Options{MemTableSize: memTable})
		for i := range perRound {
			n := round*perRound + i
			mustCommit(t, s, store.Create{Record: record(n)})
			states[n] = valid
			// Something of what is there already, mostly deep in the tree.
			n = rand.IntN(n + 1)
			switch r, err := s.ByID(record(n).ID); {
			case states[n] == purged:
				if !errors.Is(err, store.ErrNotFound) {
					t.Fatalf("token %d was purged, and is %+v, %v", n, r, err)
				}
			case err != nil:
				t.Fatalf("token %d: %v", n, err)
			case states[n] == revoked:
				mustCommit(t, s, store.Purge{ID: r.ID})
				states[n] = purged
				delete(used, n)
			case n%3 == 0:
				used[n] = storetest.Epoch.Add(time.Duration(len(states)) * time.Second)
				mustCommit(t, s, store.Touch{Uses: []store.Use{{ID: r.ID, At: used[n]}}})
			default:
				mustCommit(t, s, store.Revoke{ID: r.ID, Revision: r.Revision, At: storetest.Epoch})
				states[n] = revoked
			}
			s.db.SetDiscardTs(s.applied.Load())
		}
		if round == rounds-1 {
			churnUntilCompacted(t, s)
		}
		live := 0
		for n, state := range states {
			r, err := s.ByHash(record(n).Hash)
			if state == purged && !errors.Is(err, store.ErrNotFound) || state != purged && (err != nil || r.IsRevoked() != (state == revoked)) {
				t.Fatalf("round %d: token %d is in state %d, and is %+v, %v", round, n, state, r, err)
			}
			if state == valid {
				live++
			}
			if at, err := s.LastUsed(record(n).ID); err != nil || !at[0].At.Equal(used[n]) {
				t.Fatalf("round %d: token %d was last used at %v (%v), want %v", round, n, at[0].At, err, used[n])
			}
		}
		if records := storetest.List(t, s, store.Query{Project: "p"}); len(records) != live {
			t.Fatalf("round %d: %d tokens are listed, want %d", round, len(records), live)
		}
		checkIndexes(t, s)
		for _, table := range s.db.Tables() {
			deepest = max(deepest, table.Level)
		}
		closeStore(t, s)
	}
}
