package registry

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// uses are the last uses that the store doesn't have yet. A token's uses touch
// one shard, and nothing waits for a disk.
type uses struct{ shards [64]usesShard }

type usesShard struct {
	mu sync.Mutex
	// noted since the last take, taken but not known to be written.
	noted, taken map[uuid.UUID]int64 // milliseconds since 1970
	_            [40]byte            // keeps shards on cache lines of their own
}

func newUses() *uses {
	u := new(uses)
	for i := range u.shards {
		u.shards[i].noted = make(map[uuid.UUID]int64)
		u.shards[i].taken = make(map[uuid.UUID]int64)
	}
	return u
}

// shard picks by a random byte of the id.
func (u *uses) shard(id uuid.UUID) *usesShard { return &u.shards[id[15]%64] }

func (u *uses) note(id uuid.UUID, at time.Time) {
	ms := at.UnixMilli()
	s := u.shard(id)
	s.mu.Lock()
	if ms > s.noted[id] {
		s.noted[id] = ms
	}
	s.mu.Unlock()
}

// last returns the last use of a token that is noted here, zero if none.
func (u *uses) last(id uuid.UUID) time.Time {
	s := u.shard(id)
	s.mu.Lock()
	ms := max(s.noted[id], s.taken[id])
	s.mu.Unlock()
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// lastUsed returns the last use of each token, zero for never. What is noted is
// read first: it is let go of only once the store has it.
func (r *Registry) lastUsed(ids ...uuid.UUID) ([]time.Time, error) {
	noted := make([]time.Time, len(ids))
	for i, id := range ids {
		noted[i] = r.uses.last(id)
	}
	times, err := r.Store.LastUsed(ids...)
	if err != nil {
		return nil, err
	}
	for i := range times {
		if noted[i].After(times[i]) {
			times[i] = noted[i]
		}
	}
	return times, nil
}

// take returns what is to be written. Until written or putBack is called it
// stays visible to last.
func (u *uses) take() (taken []store.Use) {
	for i := range u.shards {
		s := &u.shards[i]
		s.mu.Lock()
		if len(s.noted) > 0 {
			for id, ms := range s.noted {
				s.taken[id] = ms
				taken = append(taken, store.Use{ID: id, At: time.UnixMilli(ms).UTC()})
			}
			s.noted = make(map[uuid.UUID]int64)
		}
		s.mu.Unlock()
	}
	return taken
}

func (u *uses) written(uses []store.Use) { u.release(uses, false) }
func (u *uses) putBack(uses []store.Use) { u.release(uses, true) }

func (u *uses) release(uses []store.Use, again bool) {
	for _, use := range uses {
		s := u.shard(use.ID)
		s.mu.Lock()
		delete(s.taken, use.ID)
		if ms := use.At.UnixMilli(); again && ms > s.noted[use.ID] {
			s.noted[use.ID] = ms
		}
		s.mu.Unlock()
	}
}
