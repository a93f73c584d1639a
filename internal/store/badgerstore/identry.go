package badgerstore

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// idEntry is what is kept under a token's id: where its record is, and at which
// revision. Both are written together, and lie in different places: a record that
// its entry doesn't know is an older one, which damage has uncovered.
type idEntry struct {
	hash token.Hash
	// revision is zero where an earlier release wrote the entry.
	revision uint64
}

func idEntryFor(r *store.Record) idEntry { return idEntry{r.Hash, r.Revision} }

func (e idEntry) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(append(b, e.hash[:]...), e.revision)
}

func decodeIDEntry(b []byte) (e idEntry, ok bool) {
	n := copy(e.hash[:], b)
	switch len(b) {
	case len(e.hash):
		return e, true
	case len(e.hash) + 8:
		e.revision = binary.BigEndian.Uint64(b[n:])
		return e, true
	}
	return e, false
}

// check returns nil if r is the record that e names.
func (e idEntry) check(r *store.Record) error {
	if e.hash != r.Hash || e.revision != 0 && e.revision != r.Revision {
		return fmt.Errorf("%w: a token's record is of revision %d, and by its id of %d: %w", store.ErrUnavailable, r.Revision, e.revision, store.ErrCorrupt)
	}
	return nil
}

// checkedRecords remembers some of the records that have been held against the
// entry of their id since everything was last verified, so that it isn't done at
// every use.
type checkedRecords struct {
	generation atomic.Uint64
	slots      [1 << 14]atomic.Uint64
}

// tag is what is remembered of a record at its revision. Hashes are random.
func (c *checkedRecords) tag(r *store.Record) (slot, tag uint64) {
	const odd1, odd2 = 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f
	slot = binary.BigEndian.Uint64(r.Hash[:]) % uint64(len(c.slots))
	tag = binary.BigEndian.Uint64(r.Hash[8:]) ^ r.Revision*odd1 ^ c.generation.Load()*odd2
	return slot, tag | 1
}

func (c *checkedRecords) has(r *store.Record) bool {
	slot, tag := c.tag(r)
	return c.slots[slot].Load() == tag
}

func (c *checkedRecords) add(r *store.Record) {
	slot, tag := c.tag(r)
	c.slots[slot].Store(tag)
}

// forget makes every record be held against its entry again.
func (c *checkedRecords) forget() { c.generation.Add(1) }
