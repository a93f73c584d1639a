package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
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
}

func (s *Store) snapshot(readAt uint64, update bool) *snapshot {
	return &snapshot{s.db.NewTransactionAt(readAt, update), s.unverified.Load(), &s.checked}
}

// read runs f on the state as of the last durable revision.
func (s *Store) read(f func(*snapshot) error) (err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed || s.dbClosed || s.failure.Load() != nil {
		return store.ErrUnavailable
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer s.stopAtDamage(&err)
	txn := s.snapshot(s.applied.Load(), false)
	defer txn.Discard()
	return f(txn)
}

// ByHash implements store.Store.
func (s *Store) ByHash(h token.Hash) (r store.Record, err error) {
	err = s.read(func(txn *snapshot) error {
		r, err = recordByHash(txn, h)
		return err
	})
	return r, err
}

// ByID implements store.Store.
func (s *Store) ByID(id uuid.UUID) (r store.Record, err error) {
	err = s.read(func(txn *snapshot) error {
		r, err = recordByID(txn, id)
		return err
	})
	return r, err
}

// List implements store.Store.
func (s *Store) List(q store.Query) (page store.Page, err error) {
	err = s.read(func(txn *snapshot) error {
		page.Records = []store.Record{}
		// Records are read as they come: counting on may take longer than
		// overwritten ones are kept.
		return iterate(txn, listPrefix(q.Project, q.User), func(item *badger.Item) (bool, error) {
			page.Count++
			wanted := page.Count > q.Offset && (q.Limit == 0 || len(page.Records) < q.Limit)
			if wanted {
				var h token.Hash
				if err := copyValue(item, h[:]); err != nil {
					return false, err
				}
				r, err := recordByHash(txn, h)
				if err != nil {
					return false, lost(err, "a listed token")
				}
				page.Records = append(page.Records, r)
			}
			full := q.Limit > 0 && len(page.Records) == q.Limit
			return q.Count || !full, nil
		})
	})
	if !q.Count {
		page.Count = 0
	}
	return page, err
}

// LastUsed implements store.Store.
func (s *Store) LastUsed(ids ...uuid.UUID) ([]time.Time, error) {
	times := make([]time.Time, len(ids))
	err := s.read(func(txn *snapshot) error {
		for i, id := range ids {
			at, err := lastUsed(txn, id)
			if err != nil {
				return err
			}
			times[i] = at
		}
		return nil
	})
	return times, err
}

// Successors implements store.Store.
func (s *Store) Successors(id uuid.UUID) (live []uuid.UUID, err error) {
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
				if !r.IsRevoked() {
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
			end := uint64(queue.before.UnixMilli())
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
func lastUsed(txn *snapshot, id uuid.UUID) (time.Time, error) {
	var ms [8]byte
	item, err := find(txn, usedKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	if err == nil {
		err = copyValue(item, ms[:])
	}
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))).UTC(), nil
}

func recordByHash(txn *snapshot, h token.Hash) (store.Record, error) {
	r, err := recordAt(txn, h)
	if err != nil || txn.checked.has(&r) {
		return r, err
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
	r, err := recordAt(txn, e.hash)
	if err != nil {
		return store.Record{}, lost(err, "a token's id")
	}
	if err := e.check(&r); err != nil || r.ID != id {
		return store.Record{}, lost(store.ErrNotFound, "a token's id")
	}
	return r, nil
}

// recordAt returns what stands under a hash.
func recordAt(txn *snapshot, h token.Hash) (r store.Record, err error) {
	item, err := find(txn, tokenKey(h))
	if err != nil {
		return r, err
	}
	err = item.Value(func(b []byte) error {
		r, err = store.DecodeRecord(b)
		if err == nil && r.Hash != h {
			err = store.ErrCorrupt
		}
		return err
	})
	return r, unavailable(err)
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
	if err := txn.unverified.between(prefix, endOf(prefix)); err != nil {
		return err
	}
	// Values are prefetched in goroutines, whose panics nobody can recover from; and
	// they stand beside their keys.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: false})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if more, err := f(it.Item()); err != nil || !more {
			return err
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
