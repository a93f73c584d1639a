package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// snapshot is the state as of a revision.
type snapshot struct {
	*badger.Txn
	// unverified are the tables that are to be verified before they are read.
	unverified *unverified
	checked    *checkedRecords

	update bool
	// begun is when the first items were iterated over.
	begun   time.Time
	longest time.Duration
}

func (s *Store) snapshot(readAt uint64, update bool) *snapshot {
	return &snapshot{
		Txn: s.db.NewTransactionAt(readAt, update), unverified: s.unverified.Load(), checked: &s.checked,
		update: update, longest: s.maxRead,
	}
}

// read runs f on the state as of the last durable revision.
func (s *Store) read(f func(*snapshot) error) error {
	_, err := s.readLast(f)
	return err
}

// readLast is read, and says which revision that was.
func (s *Store) readLast(f func(*snapshot) error) (revision uint64, err error) {
	generation := s.reads.begin()
	defer s.reads.end(generation)
	revision = s.applied.Load()
	return revision, s.readAt(revision, f)
}

// readAt runs f on the state as of a revision. The caller is in a generation of
// reads that keeps it.
func (s *Store) readAt(revision uint64, f func(*snapshot) error) (err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed || s.dbClosed || s.failure.Load() != nil {
		return store.ErrUnavailable
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer s.stopAtDamage(&err)
	txn := s.snapshot(revision, false)
	defer txn.Discard()
	return f(txn)
}

// ByHash implements store.Store.
func (s *Store) ByHash(h token.Hash) (r store.Record, err error) {
	holds := *s.holds.Load()
	if known := s.cache.get(&h); known != nil {
		r = *known
		holds.end(&r)
		return r, nil
	}
	revision, err := s.readLast(func(txn *snapshot) error {
		r, err = recordByHash(txn, h)
		return err
	})
	// One that has moved to another key is found there when it changes.
	if err == nil && r.Hash == h {
		s.cache.put(&r, revision)
	}
	holds.end(&r)
	return r, err
}

// ByID implements store.Store.
func (s *Store) ByID(id uuid.UUID) (r store.Record, err error) {
	holds := *s.holds.Load()
	err = s.read(func(txn *snapshot) error {
		r, err = recordByID(txn, id)
		return err
	})
	holds.end(&r)
	return r, err
}

// Scan implements store.Store.
func (s *Store) Scan(q store.Query) (entries []store.Entry, err error) {
	if q.Limit <= 0 || q.Limit > store.MaxScan {
		q.Limit = store.MaxScan
	}
	prefix := listPrefix(q.Project, q.User)
	holds := *s.holds.Load()
	newest := holds.newest(q.Project, q.User)
	err = s.read(func(txn *snapshot) error {
		return iterateFrom(txn, prefix, placeKey(prefix, q), q.Descending, func(item *badger.Item) (bool, error) {
			entry, err := readListEntry(txn, item)
			if err != nil {
				return false, err
			}
			if entry.created < newest {
				// A Void may have ended it. Whose it is, only the record says.
				r, err := recordByHash(txn, entry.hash)
				if err != nil {
					return false, lost(err, "a listed token")
				}
				if holds.end(&r); r.IsRevoked() {
					return true, nil
				}
			}
			entries = append(entries, entry.at(item.Key()[len(prefix):]))
			return len(entries) < q.Limit, nil
		})
	})
	return entries, err
}

// placeKey is where a scan begins.
func placeKey(prefix []byte, q store.Query) []byte {
	switch {
	case q.After == (store.Place{}) && q.Descending:
		return append(slices.Clone(prefix), bytes.Repeat([]byte{0xff}, 8+len(uuid.UUID{})+1)...)
	case q.After == (store.Place{}):
		return prefix
	}
	key := appendTimeID(slices.Clone(prefix), q.After.Created, q.After.ID)
	if q.Descending {
		return before(key)
	}
	return append(key, 0)
}

// before is the greatest key of that length that comes before key.
func before(key []byte) []byte {
	for i := len(key) - 1; i >= 0; i-- {
		key[i]--
		if key[i] != 0xff {
			break
		}
	}
	return key
}

// at is what an entry says at its place, with which its key ends.
func (l listEntry) at(place []byte) store.Entry {
	e := store.Entry{Place: store.Place{
		Created: time.UnixMilli(int64(binary.BigEndian.Uint64(place))).UTC(),
		ID:      uuid.UUID(place[8:]),
	}}
	if l.expires != never {
		e.Expires = time.UnixMilli(l.expires).UTC()
	}
	return e
}

// Records implements store.Store.
func (s *Store) Records(ids ...uuid.UUID) ([]store.Record, error) {
	records := make([]store.Record, 0, len(ids))
	holds := *s.holds.Load()
	err := s.read(func(txn *snapshot) error {
		for _, id := range ids {
			r, err := recordByID(txn, id)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if holds.end(&r); !r.IsRevoked() {
				records = append(records, r)
			}
		}
		return nil
	})
	return records, err
}

// LastUsed implements store.Store.
func (s *Store) LastUsed(ids ...uuid.UUID) ([]store.Use, error) {
	uses := make([]store.Use, len(ids))
	err := s.read(func(txn *snapshot) (err error) {
		for i, id := range ids {
			if uses[i], err = s.lastUsed(txn, id); err != nil {
				return err
			}
		}
		return nil
	})
	return uses, err
}

// Successors implements store.Store.
func (s *Store) Successors(id uuid.UUID) (live []uuid.UUID, err error) {
	holds := *s.holds.Load()
	err = s.read(func(txn *snapshot) error {
		for line := []uuid.UUID{id}; len(line) > 0; line = line[1:] {
			children, err := childrenOf(txn, line[0], 0)
			if err != nil {
				return err
			}
			for _, child := range children {
				r, err := recordByID(txn, child)
				if err != nil {
					return lost(err, "a line of renewals")
				}
				if holds.end(&r); !r.IsRevoked() {
					live = append(live, child)
				}
			}
			line = append(line, children...)
		}
		return nil
	})
	return live, err
}

// Ended implements store.Store.
func (s *Store) Ended(expired, revoked time.Time, limit int) (ids []uuid.UUID, err error) {
	err = s.read(func(txn *snapshot) error {
		for _, queue := range []struct {
			space  byte
			before time.Time
		}{{spaceExpires, expired}, {spaceRevoked, revoked}} {
			end := uint64(max(0, queue.before.UnixMilli()))
			err := iterate(txn, []byte{queue.space}, func(item *badger.Item) (bool, error) {
				at := binary.BigEndian.Uint64(item.Key()[1:])
				if at >= end || len(ids) >= limit {
					return false, nil
				}
				ids = append(ids, uuid.UUID(item.Key()[9:]))
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return ids, err
}

// get returns a copy of a key's value, or store.ErrNotFound.
func get(txn *snapshot, key []byte) ([]byte, error) {
	item, err := find(txn, key)
	if err != nil {
		return nil, err
	}
	b, err := item.ValueCopy(nil)
	return b, unavailable(err)
}

func find(txn *snapshot, key []byte) (*badger.Item, error) {
	if err := txn.unverified.between(key, key); err != nil {
		return nil, err
	}
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, store.ErrNotFound
	}
	return item, unavailable(err)
}

// lastUsed returns when a token was last used, zero for never.
func (s *Store) lastUsed(txn *snapshot, id uuid.UUID) (store.Use, error) {
	r, err := recordByID(txn, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Use{ID: id}, nil
	}
	if err != nil {
		return store.Use{}, err
	}
	old, err := numberlessUse(txn, id)
	if err != nil || r.Number == 0 {
		return old, err
	}
	use := s.uses.last(id, r.Number)
	use.Number = 0
	if old.At.After(use.At) {
		use = old
	}
	return use, nil
}

// numberlessUse returns when a token was last used that had no number, or before
// there was a file of last uses, zero for never.
func numberlessUse(txn *snapshot, id uuid.UUID) (store.Use, error) {
	item, err := find(txn, usedKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return store.Use{ID: id}, nil
	}
	if err != nil {
		return store.Use{}, err
	}
	return useOf(id, item)
}

// recordByHash returns the record under a hash, or of the token that a hash of
// another key points to.
func recordByHash(txn *snapshot, h token.Hash) (store.Record, error) {
	r, moved, err := recordAt(txn, h)
	if err != nil {
		return r, err
	}
	if moved != uuid.Nil {
		r, err = recordByID(txn, moved)
		return r, lost(err, "a token's earlier hash")
	}
	if txn.checked.has(&r) {
		return r, nil
	}
	e, err := idEntryOf(txn, r.ID)
	if err != nil {
		return store.Record{}, lost(err, "a token's record")
	}
	if err := e.check(&r); err != nil {
		return store.Record{}, err
	}
	txn.checked.add(&r)
	return r, nil
}

func recordByID(txn *snapshot, id uuid.UUID) (store.Record, error) {
	e, err := idEntryOf(txn, id)
	if err != nil {
		return store.Record{}, err
	}
	r, _, err := recordAt(txn, e.hash)
	if err != nil {
		return store.Record{}, lost(err, "a token's id")
	}
	if err := e.check(&r); err != nil {
		return store.Record{}, err
	}
	if r.ID != id {
		return store.Record{}, lost(store.ErrNotFound, "a token's id")
	}
	return r, nil
}

// recordAt returns what stands under a hash: a record, or the id of the token
// that has moved from there to another key.
func recordAt(txn *snapshot, h token.Hash) (r store.Record, moved uuid.UUID, err error) {
	item, err := find(txn, tokenKey(h))
	if err != nil {
		return r, moved, err
	}
	r, moved, err = decodeEntry(item)
	if err == nil && moved == uuid.Nil && r.Hash != h {
		err = unavailable(store.ErrCorrupt)
	}
	return r, moved, err
}

func decodeEntry(item *badger.Item) (r store.Record, moved uuid.UUID, err error) {
	err = item.Value(func(b []byte) error {
		if len(b) == 1+len(moved) && b[0] == pointerTag {
			copy(moved[:], b[1:])
			return nil
		}
		r, err = store.DecodeRecord(b)
		return err
	})
	return r, moved, unavailable(err)
}

// idEntryOf returns what is kept under a token's id.
func idEntryOf(txn *snapshot, id uuid.UUID) (e idEntry, err error) {
	item, err := find(txn, idKey(id))
	if err != nil {
		return e, err
	}
	err = item.Value(func(b []byte) error {
		var ok bool
		if e, ok = decodeIDEntry(b); !ok {
			return store.ErrCorrupt
		}
		return nil
	})
	return e, unavailable(err)
}

// iterate calls f for the items under prefix in order, until it returns false.
func iterate(txn *snapshot, prefix []byte, f func(*badger.Item) (more bool, err error)) error {
	return iterateFrom(txn, prefix, prefix, false, f)
}

// iterateFrom does so from a key on, downwards if that is wanted.
func iterateFrom(txn *snapshot, prefix, from []byte, reverse bool, f func(*badger.Item) (more bool, err error)) error {
	least, most := from, endOf(prefix)
	if reverse {
		least, most = prefix, from
	}
	if err := txn.unverified.between(least, most); err != nil {
		return err
	}
	// Values are prefetched in goroutines, whose panics nobody can recover from; and
	// they stand beside their keys.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: false, Reverse: reverse})
	defer it.Close()
	n := 0
	for it.Seek(from); it.Valid(); it.Next() {
		if err := txn.checkTime(n); err != nil {
			return err
		}
		n++
		if more, err := f(it.Item()); err != nil || !more {
			return err
		}
	}
	return nil
}

const (
	// A page is what is read in one transaction of what is read whole: at most
	// pageItems, and no more once values are pageBytes long together.
	pageItems = 4096
	pageBytes = 1 << 20
)

// eachPaged calls each with what decode makes of all items under prefix, read with
// read a page at a time; those of which decode says that they don't count are left
// out.
func eachPaged[T any](
	read func(func(*snapshot) error) error, prefix []byte,
	decode func(*snapshot, *badger.Item) (t T, counts bool, err error), each func(T) error,
) error {
	for from := prefix; from != nil; {
		var page []T
		err := read(func(txn *snapshot) error {
			items, size := 0, int64(0)
			start := from
			from = nil
			return iterateFrom(txn, prefix, start, false, func(item *badger.Item) (bool, error) {
				if items == pageItems || size >= pageBytes {
					from = item.KeyCopy(nil)
					return false, nil
				}
				items++
				size += item.ValueSize()
				t, counts, err := decode(txn, item)
				if counts {
					page = append(page, t)
				}
				return true, err
			})
		})
		if err != nil {
			return err
		}
		for _, t := range page {
			if err := each(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyValue fills dst with an item's value, which has to have that length.
func copyValue(item *badger.Item, dst []byte) error {
	return unavailable(item.Value(func(b []byte) error {
		if copy(dst, b) != len(b) || len(b) != len(dst) {
			return store.ErrCorrupt
		}
		return nil
	}))
}

// unavailable gives Badger's errors, whose texts contain keys and which can't
// be told apart by errors.Is, the one meaning that callers act on.
func unavailable(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrUnavailable):
		return err
	case errors.Is(err, store.ErrVersion), errors.Is(err, store.ErrCorrupt):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %T from the database", store.ErrUnavailable, err)
}

// lost turns the absence of a record that an index names into what it is.
func lost(err error, what string) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %s leads nowhere: %w", store.ErrUnavailable, what, store.ErrCorrupt)
	}
	return err
}

// Revision implements store.Store.
func (s *Store) Revision() uint64 { return s.applied.Load() }

// Count returns how many tokens are not deleted, as far as that can be told of a
// store that changes meanwhile.
func (s *Store) Count() (n int, err error) {
	const atOnce = 10_000 // so that closing never waits for long
	from, more := []byte{spaceProject}, true
	for more && err == nil {
		more = false
		err = s.read(func(txn *snapshot) error {
			if err := txn.unverified.between(from, []byte{spaceProject + 1}); err != nil {
				return err
			}
			it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{spaceProject}})
			defer it.Close()
			for it.Seek(from); it.Valid() && !more; it.Next() {
				n++
				if more = n%atOnce == 0; more {
					from = append(it.Item().KeyCopy(nil), 0)
				}
			}
			return nil
		})
	}
	return n, err
}
