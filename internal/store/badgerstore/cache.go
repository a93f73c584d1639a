package badgerstore

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// DefaultCache is how many bytes of records are kept in memory at most if nothing
// else is said. Of usual ones that are about 120,000.
const DefaultCache = 64 << 20

// cache holds records that were read, by their hashes, so that Badger isn't asked for
// them again. It holds no decisions, nothing of what isn't there, and so nothing that
// made-up tokens could fill it with.
//
// What it holds is what a reader would read now: a record that is overwritten is
// taken out when that is durable, and before anybody can read, let alone be told, the
// revision at which it was. From then on, whoever read it before that revision can't
// put it back, however late.
//
// To look up takes no lock. A hash leads to one set, in which a record has one of
// few places: those that nobody has asked for since the last time that room was made
// go first.
type cache struct {
	sets   []cacheSet
	budget int64

	mu sync.Mutex // of all that follows, and of whoever changes sets
	// floor is the revision before which nothing that was read is put in.
	floor uint64
	size  int64
	// hand is the set that room is made in next.
	hand int
}

// cacheSet is one line of a processor's cache.
type cacheSet struct {
	// tags are a byte of the hash for each way, so that mostly one record at most
	// is looked at.
	tags atomic.Uint64
	ways [ways]atomic.Pointer[cached]
}

const ways = 7

// cached is a record, which nobody changes.
type cached struct {
	record store.Record
	size   int64
	asked  atomic.Bool
}

// newCache returns a cache of at most so many bytes, none if 0.
func newCache(budget int64) *cache {
	c := &cache{budget: budget}
	// Twice as many places as there are records of usual size, so that few sets
	// are full before the cache is.
	const usual = 512
	if n := uint64(budget) / usual * 2 / ways; n > 0 {
		c.sets = make([]cacheSet, 1<<bits.Len64(n))
	}
	return c
}

// place is where a hash, which is random, is to be found.
func (c *cache) place(h *token.Hash) (set *cacheSet, tag byte) {
	if len(c.sets) == 0 {
		return nil, 0
	}
	n := binary.LittleEndian.Uint64(h[:])
	return &c.sets[n&uint64(len(c.sets)-1)], byte(n >> 56)
}

// get returns the record under a hash, nil if it isn't there.
func (c *cache) get(h *token.Hash) *store.Record {
	set, tag := c.place(h)
	if set == nil {
		return nil
	}
	tags := set.tags.Load()
	for i := range set.ways {
		if byte(tags>>(8*i)) != tag {
			continue
		}
		if at := set.ways[i].Load(); at != nil && at.record.Hash == *h {
			if !at.asked.Load() { // or all who ask for one record would write to it
				at.asked.Store(true)
			}
			return &at.record
		}
	}
	return nil
}

// put keeps a record that was read at a revision, unless others are being kept.
func (c *cache) put(r *store.Record, readAt uint64) {
	set, tag := c.place(&r.Hash)
	if set == nil || !c.mu.TryLock() {
		return
	}
	defer c.mu.Unlock()
	n := &cached{record: *r, size: sizeOf(r)}
	if readAt < c.floor || n.size > c.budget/ways {
		return
	}
	way := set.victim(&r.Hash)
	c.set(set, way, tag, n)
	for c.size > c.budget {
		c.makeRoom(n)
	}
}

// victim is the way that the record under a hash takes.
func (s *cacheSet) victim(h *token.Hash) int {
	way := int(h[8]) % ways
	for i := range s.ways {
		at := s.ways[i].Load()
		switch {
		case at == nil:
			way = i
		case at.record.Hash == *h:
			return i
		}
	}
	if s.ways[way].Load() == nil {
		return way
	}
	for range 2 { // nobody may have been asked for since the first time
		for i := range s.ways {
			i = (way + i) % ways
			if !s.ways[i].Load().asked.Swap(false) {
				return i
			}
		}
	}
	return way
}

// set puts n, or nothing, in the place of what is there.
func (c *cache) set(s *cacheSet, way int, tag byte, n *cached) {
	if old := s.ways[way].Load(); old != nil {
		c.size -= old.size
	}
	s.ways[way].Store(n)
	if n != nil {
		c.size += n.size
		s.tags.Store(s.tags.Load()&^(0xff<<(8*way)) | uint64(tag)<<(8*way))
	}
}

// makeRoom takes out what nobody has asked for since it came to this set the last
// time, but for spared.
func (c *cache) makeRoom(spared *cached) {
	set := &c.sets[c.hand]
	c.hand = (c.hand + 1) % len(c.sets)
	for i := range set.ways {
		if at := set.ways[i].Load(); at != nil && at != spared && !at.asked.Swap(false) {
			c.set(set, i, 0, nil)
		}
	}
}

// drop takes out all records that a batch of changes overwrites, which make
// a revision.
func (c *cache) drop(accepted []*commit, revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, commit := range accepted {
		for _, w := range commit.effect.writes {
			if len(w.key) != 1+len(token.Hash{}) || w.key[0] != spaceToken {
				continue
			}
			c.floor = revision
			h := token.Hash(w.key[1:])
			set, _ := c.place(&h)
			for i := 0; set != nil && i < ways; i++ {
				if at := set.ways[i].Load(); at != nil && at.record.Hash == h {
					c.set(set, i, 0, nil)
				}
			}
		}
	}
}

// close takes everything out, for good.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.floor = math.MaxUint64
	for s := range c.sets {
		for i := range c.sets[s].ways {
			c.set(&c.sets[s], i, 0, nil)
		}
	}
}

// sizeOf is about what a record takes in memory. Its texts are parts of one, that it
// was read from.
func sizeOf(r *store.Record) int64 {
	const mapEntry, allocated = 64, 32
	size := int(unsafe.Sizeof(cached{})) + allocated + 128
	for _, text := range []string{r.Project, r.User.ID, r.User.Email, r.User.Name, r.Description} {
		size += len(text)
	}
	for name, text := range r.User.Claims {
		size += len(name) + len(text) + mapEntry
	}
	for _, name := range r.Scopes {
		size += len(name) + int(unsafe.Sizeof(name))
	}
	return int64(size + len(r.Addresses)*32)
}
