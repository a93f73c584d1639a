package registry

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// uses are the last uses that the store doesn't have yet. A token's uses touch
// one shard, and nothing waits for a disk.
type uses struct {
	shards [64]usesShard
	// waiting is how many tokens have been noted since the last take.
	waiting atomic.Int64
}

type usesShard struct {
	mu sync.Mutex
	// noted since the last take, taken but not known to be written.
	noted, taken map[uuid.UUID]lastUse
	_            [40]byte // keeps shards on cache lines of their own
}

// lastUse is one moment: when, in milliseconds since 1970, and where from; of the
// token with a number.
type lastUse struct {
	ms     int64
	from   netip.Addr
	number uint64
}

func (l lastUse) of(id uuid.UUID) store.Use {
	if l.ms == 0 {
		return store.Use{ID: id}
	}
	return store.Use{ID: id, Number: l.number, At: time.UnixMilli(l.ms).UTC(), Address: l.from}
}

func newUses() *uses {
	u := new(uses)
	for i := range u.shards {
		u.shards[i].noted = make(map[uuid.UUID]lastUse)
		u.shards[i].taken = make(map[uuid.UUID]lastUse)
	}
	return u
}

// shard picks by a random byte of the id.
func (u *uses) shard(id uuid.UUID) *usesShard { return &u.shards[id[15]%64] }

func (u *uses) note(id uuid.UUID, number uint64, at time.Time, from netip.Addr) {
	use := lastUse{at.UnixMilli(), from, number}
	s := u.shard(id)
	s.mu.Lock()
	if known, there := s.noted[id]; use.ms > known.ms {
		s.noted[id] = use
		if !there {
			u.waiting.Add(1)
		}
	}
	s.mu.Unlock()
}

// last returns the last use of a token that is noted here, zero if none.
func (u *uses) last(id uuid.UUID) store.Use {
	s := u.shard(id)
	s.mu.Lock()
	last := s.noted[id]
	if taken := s.taken[id]; taken.ms > last.ms {
		last = taken
	}
	s.mu.Unlock()
	return last.of(id)
}

// lastUses returns the last use of each token; its At is zero for never. What is
// noted is read first: it is let go of only once the store has it.
func (r *Registry) lastUses(ids ...uuid.UUID) ([]store.Use, error) {
	noted := make([]store.Use, len(ids))
	for i, id := range ids {
		noted[i] = r.uses.last(id)
	}
	uses, err := r.Store.LastUsed(ids...)
	if err != nil {
		return nil, err
	}
	for i := range uses {
		if noted[i].At.After(uses[i].At) {
			uses[i] = noted[i]
		}
	}
	return uses, nil
}

// take returns what is to be written. Until written or putBack is called it
// stays visible to last.
func (u *uses) take() (taken []store.Use) {
	u.waiting.Store(0)
	for i := range u.shards {
		s := &u.shards[i]
		s.mu.Lock()
		if len(s.noted) > 0 {
			for id, last := range s.noted {
				s.taken[id] = last
				taken = append(taken, last.of(id))
			}
			s.noted = make(map[uuid.UUID]lastUse)
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
		if ms := use.At.UnixMilli(); again && ms > s.noted[use.ID].ms {
			s.noted[use.ID] = lastUse{ms, use.Address, use.Number}
		}
		s.mu.Unlock()
	}
}
