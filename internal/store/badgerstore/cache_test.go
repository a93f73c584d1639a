package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// hashed is a record under a random hash.
func hashed(description string) *store.Record {
	r := store.Record{Project: "p", Description: description}
	for i := 0; i < len(r.Hash); i += 8 {
		binary.LittleEndian.PutUint64(r.Hash[i:], rand.Uint64())
	}
	return &r
}

func overwriting(hashes ...token.Hash) []*commit {
	c := new(commit)
	for _, h := range hashes {
		c.effect.writes = append(c.effect.writes, write{tokenKey(h), nothing})
	}
	return []*commit{c}
}

// Whoever has read a record before it was overwritten, and comes late, doesn't put
// it back.
func TestWhatIsOverwrittenStaysOutOfTheCache(t *testing.T) {
	c := newCache(1 << 20)
	r, other := hashed(""), hashed("")
	c.put(r, 4)
	c.put(other, 4)
	if c.get(&r.Hash) == nil || c.get(&other.Hash) == nil {
		t.Fatal("what was read isn't kept")
	}
	c.drop(overwriting(r.Hash), 5)
	if c.get(&r.Hash) != nil {
		t.Error("what is overwritten is still there")
	}
	if c.get(&other.Hash) == nil {
		t.Error("what isn't is gone")
	}
	c.put(r, 4)
	if c.get(&r.Hash) != nil {
		t.Error("what was read before is put back")
	}
	newer := *r
	newer.Revision = 5
	c.put(&newer, 5)
	if at := c.get(&r.Hash); at == nil || at.Revision != 5 {
		t.Errorf("what was read since is %+v", at)
	}
	c.close()
	c.put(&newer, 6)
	if c.get(&r.Hash) != nil || c.get(&other.Hash) != nil || c.size != 0 {
		t.Errorf("something is left after the end, of %d bytes", c.size)
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	c := newCache(1 << 20)
	var used []*store.Record
	for range 100 {
		r := hashed("")
		c.put(r, 1)
		used = append(used, r)
	}
	for i := range 20_000 {
		c.put(hashed(strings.Repeat("x", i%4000)), 1)
		for _, r := range used {
			c.get(&r.Hash)
		}
		if c.size > c.budget {
			t.Fatalf("%d bytes, of at most %d", c.size, c.budget)
		}
	}
	kept, size := 0, int64(0)
	for _, r := range used {
		if c.get(&r.Hash) != nil {
			kept++
		}
	}
	if kept < len(used)*9/10 {
		t.Errorf("of %d that are asked for all the time %d are kept", len(used), kept)
	}
	for i := range c.sets {
		for w := range c.sets[i].ways {
			if at := c.sets[i].ways[w].Load(); at != nil {
				size += at.size
			}
		}
	}
	if size != c.size {
		t.Errorf("it counts %d bytes, and holds %d", c.size, size)
	}
	c.put(hashed(strings.Repeat("x", 1<<20)), 1)
	if c.size > c.budget {
		t.Errorf("%d bytes, of at most %d", c.size, c.budget)
	}
}

func TestNoCache(t *testing.T) {
	c := newCache(0)
	r := hashed("")
	c.put(r, 1)
	c.drop(overwriting(r.Hash), 2)
	if c.get(&r.Hash) != nil {
		t.Error("something is kept")
	}
	c.close()
}

// While others ask for a token all the time, it is deleted. Who asks once that is
// acknowledged is told so, and whoever has seen the revision at which it was isn't
// told of an earlier one.
func TestADeletedTokenIsDeletedForAllWhoAsk(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for n := range storetest.Rounds(50, 200) {
		r := storetest.NewRecord("p", "alice", n)
		mustCommit(t, s, store.Create{Record: r})
		var deleted atomic.Bool
		var at atomic.Uint64
		var asking sync.WaitGroup
		started := make(chan struct{}, 4)
		stop := make(chan struct{})
		for range 4 {
			asking.Go(func() {
				for i := 0; ; i++ {
					after, seen := deleted.Load(), s.Revision()
					found, err := s.ByHash(r.Hash)
					if err != nil || (after || at.Load() > 0 && seen >= at.Load()) && !found.IsRevoked() {
						t.Errorf("deleted (%v), at %d of %d: %+v, %v", after, seen, at.Load(), found, err)
						return
					}
					if i == 0 {
						started <- struct{}{}
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		for range 4 {
			<-started
		}
		found, err := s.ByHash(r.Hash)
		if err != nil {
			t.Fatal(err)
		}
		done, err := s.Commit(context.Background(), store.Revoke{ID: r.ID, Revision: found.Revision, At: storetest.Epoch})
		if err != nil {
			t.Fatal(err)
		}
		at.Store(done.Revision)
		deleted.Store(true)
		time.AfterFunc(time.Millisecond, func() { close(stop) })
		asking.Wait()
		if t.Failed() {
			return
		}
	}
}

func TestAStoppedStoreAnswersNothingFromMemory(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	r := storetest.NewRecord("p", "alice", 1)
	mustCommit(t, s, store.Create{Record: r})
	if _, err := s.ByHash(r.Hash); err != nil {
		t.Fatal(err)
	}
	if s.cache.get(&r.Hash) == nil {
		t.Fatal("it isn't in memory")
	}
	s.fail(errors.New("damaged"))
	if _, err := s.ByHash(r.Hash); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
