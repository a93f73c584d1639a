package badgerstore

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// In format 1 an entry of a list led to a hash alone.
const bareHash = len(token.Hash{})

// listEntryVersion is the first byte of what lists say now, which is longer.
const listEntryVersion = 1

// listEntry is what an entry of a list says, so that a list can be searched and
// counted without its records.
type listEntry struct {
	hash    token.Hash
	created uint64 // the revision of the Create
	// expires is in milliseconds since 1970, or never.
	expires int64
}

const never = math.MaxInt64

func listEntryOf(r *store.Record) listEntry {
	l := listEntry{r.Hash, r.CreatedRevision, never}
	if at, ok := r.Expires(); ok {
		l.expires = at.UnixMilli()
	}
	return l
}

func (l listEntry) append(b []byte) []byte {
	b = append(append(b, listEntryVersion), l.hash[:]...)
	b = binary.BigEndian.AppendUint64(b, l.created)
	return binary.BigEndian.AppendUint64(b, uint64(l.expires))
}

// readListEntry reads an entry of a list. Those of format 1 name a record, and
// that says the rest.
func readListEntry(txn *snapshot, item *badger.Item) (l listEntry, err error) {
	bare := false
	err = item.Value(func(b []byte) error {
		switch {
		case len(b) == bareHash:
			bare = true
			copy(l.hash[:], b)
		case len(b) == 1+bareHash+16 && b[0] == listEntryVersion:
			copy(l.hash[:], b[1:])
			l.created = binary.BigEndian.Uint64(b[1+bareHash:])
			l.expires = int64(binary.BigEndian.Uint64(b[1+bareHash+8:]))
		default:
			return store.ErrCorrupt
		}
		return nil
	})
	if err != nil || !bare {
		return l, unavailable(err)
	}
	r, err := recordByHash(txn, l.hash)
	return listEntryOf(&r), lost(err, "a listed token")
}

// appendUse writes when a token was last used, and from where if that is known.
// In format 1 there was only the time.
func appendUse(b []byte, use store.Use) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(use.At.UnixMilli()))
	return append(b, use.Address.AsSlice()...)
}

func useOf(id uuid.UUID, item *badger.Item) (use store.Use, err error) {
	err = item.Value(func(b []byte) (ok error) {
		if len(b) < 8 {
			return store.ErrCorrupt
		}
		use = store.Use{ID: id, At: time.UnixMilli(int64(binary.BigEndian.Uint64(b))).UTC()}
		if b = b[8:]; len(b) == 0 {
			return nil
		}
		addr, valid := netip.AddrFromSlice(b)
		if !valid {
			return store.ErrCorrupt
		}
		use.Address = addr
		return nil
	})
	return use, unavailable(err)
}

// pointerTag is the first byte of what stands under a hash that a token had
// under another key: its id follows. It is no version of a record.
const pointerTag = 0xff

// recordWrites are a record and the entry that names it. They change together.
func recordWrites(r *store.Record) []write {
	return []write{
		{tokenKey(r.Hash), r.Append(nil)},
		{idKey(r.ID), idEntryFor(r).append(nil)},
	}
}

// liveWrites are the entries of liveKeys.
func liveWrites(r *store.Record) (writes []write) {
	entry := listEntryOf(r).append(nil)
	for _, key := range listKeys(r) {
		writes = append(writes, write{key, entry})
	}
	if at, ok := r.Expires(); ok {
		writes = append(writes, write{timeKey(spaceExpires, at, r.ID), nothing})
	}
	return writes
}
