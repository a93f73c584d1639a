package badgerstore

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

const childRound = "BADGERSTORE_TEST_ROUND"

// commitUntilKilled is a child that opens a store, creates, revokes and touches
// tokens as fast as it can, and prints what was acknowledged: c, r or u, the
// token's number, and the revision.
func commitUntilKilled() int {
	s, err := openChild()
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("open", s.Key().ID(), s.applied.Load())
	round, err := strconv.Atoi(os.Getenv(childRound))
	if err != nil {
		return 1
	}
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				n := round*1_000_000 + w*100_000 + i
				r := largeRecord(n)
				// One write each, so that what is printed is never cut or mixed.
				created := s.mustCommit(store.Create{Record: r})
				fmt.Printf("c %d %d\n", n, created)
				fmt.Printf("u %d %d\n", n, s.mustCommit(store.Touch{Uses: []store.Use{{ID: r.ID, At: r.Created}}}))
				if i%3 == 0 {
					fmt.Printf("r %d %d\n", n, s.mustCommit(store.Revoke{ID: r.ID, Revision: created, At: r.Created}))
				}
			}
		})
	}
	all.Wait()
	return 0
}

func (s *Store) mustCommit(m store.Mutation) uint64 {
	done, err := s.Commit(context.Background(), m)
	if err != nil {
		panic(err)
	}
	return done.Revision
}

// acknowledged is what a store must know: the revision of each creation, use
// and revocation by the token's number, and the greatest.
type acknowledged struct {
	created, used, revoked map[int]uint64
	last                   uint64
}

func (a *acknowledged) note(line string) error {
	var kind string
	var n int
	var revision uint64
	if _, err := fmt.Sscan(line, &kind, &n, &revision); err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	map[string]map[int]uint64{"c": a.created, "u": a.used, "r": a.revoked}[kind][n] = revision
	a.last = max(a.last, revision)
	return nil
}

func (a *acknowledged) check(t *testing.T, s *Store) {
	t.Helper()
	if s.applied.Load() < a.last {
		t.Errorf("the store is at revision %d, and %d was acknowledged", s.applied.Load(), a.last)
	}
	for n, revision := range a.created {
		want := largeRecord(n)
		got, err := s.ByHash(want.Hash)
		if err != nil || got.ID != want.ID || got.Description != want.Description {
			t.Fatalf("token %d, acknowledged at %d, is lost: %v", n, revision, err)
		}
		if at, ok := a.revoked[n]; ok && (!got.IsRevoked() || got.Revision != at) {
			t.Fatalf("token %d, revoked at %d, is valid again", n, at)
		}
		if _, ok := a.used[n]; ok {
			if used, err := s.LastUsed(want.ID); err != nil || !used[0].At.Equal(want.Created) {
				t.Fatalf("token %d was used at %v (%v), want %v", n, used, err, want.Created)
			}
		}
	}
	checkIndexes(t, s)
}

// checkIndexes checks that mutations were applied whole: records, ids and lists
// say the same.
func checkIndexes(t *testing.T, s *Store) {
	t.Helper()
	records := storetest.List(t, s, store.Query{Project: "p"})
	users := map[string]bool{"alice": true}
	for _, r := range records {
		users[r.User.ID] = true
	}
	listed := 0
	for user := range users {
		own := storetest.List(t, s, store.Query{Project: "p", User: user})
		listed += len(own)
		account, err := s.Account("p", user)
		living := 0
		for _, r := range own {
			if account.Counts(&r) {
				living++
			}
		}
		if counted := account != (store.Account{}); err != nil || counted && account.Living != uint64(living) {
			t.Errorf("%d tokens of %s are living, and the account is %+v, %v", living, user, account, err)
		}
	}
	if listed != len(records) {
		t.Errorf("%d of the project's %d tokens are in the lists of users", listed, len(records))
	}
	live := make(map[uuid.UUID]bool)
	for _, r := range records {
		if byID, err := s.ByID(r.ID); err != nil || byID.IsRevoked() || byID.Hash != r.Hash {
			t.Errorf("%s is listed, and by its id it is %+v, %v", r.Description, byID, err)
		}
		if r.Revision > s.applied.Load() {
			t.Errorf("%s is of revision %d, and the store at %d", r.Description, r.Revision, s.applied.Load())
		}
		live[r.ID] = true
	}
	revoked, err := s.Ended(time.Time{}, storetest.Epoch.Add(time.Hour*1e6), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range revoked {
		if r, err := s.ByID(id); err != nil || !r.IsRevoked() || live[id] {
			t.Errorf("%v waits to be purged, and is %+v, %v", id, r, err)
		}
	}
}

// With memtables this small a round fills a few, so that some are being put
// away or compacted when the process dies.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	rounds, memTable := storetest.Rounds(6, 30), int64(256<<10)
	dir := t.TempDir()
	known := acknowledged{map[int]uint64{}, map[int]uint64{}, map[int]uint64{}, 0}
	key := ""
	for round := range rounds {
		c := startChild(t, "commits", dir, memTable, fmt.Sprintf("%s=%d", childRound, round))
		lines := bufio.NewScanner(c.out)
		if !lines.Scan() {
			c.died("open", lines.Err())
		}
		var id string
		var revision uint64
		if _, err := fmt.Sscanf(lines.Text(), "open %s %d", &id, &revision); err != nil {
			t.Fatalf("round %d: %s", round, lines.Text())
		}
		if key != "" && id != key {
			t.Fatalf("round %d: the hash key is %s, and was %s", round, id, key)
		}
		if key = id; revision < known.last {
			t.Fatalf("round %d: opened at revision %d, and %d was acknowledged", round, revision, known.last)
		}
		// What was printed before the end is acknowledged, however late it is read.
		for left := 1 + rand.IntN(800); lines.Scan(); left-- {
			if err := known.note(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if left == 0 {
				if err := c.cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = c.cmd.Wait()
		if c.cmd.ProcessState.Exited() {
			c.died("commit", nil)
		}
		// Else the next crash comes on top of this one.
		if round%3 == 2 {
			s := open(t, dir, Options{MemTableSize: memTable})
			known.check(t, s)
			closeStore(t, s)
		}
	}
	if len(known.created) == 0 || len(known.revoked) == 0 {
		t.Errorf("%d creations and %d revocations in %d rounds", len(known.created), len(known.revoked), rounds)
	}
	t.Logf("%d creations, %d revocations", len(known.created), len(known.revoked))
}
