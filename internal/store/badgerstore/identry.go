package badgerstore

import (
	"encoding/binary"
	"fmt"

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
