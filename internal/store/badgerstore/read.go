package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// read runs f on the state as of the last durable revision.
func (s *Store) read(f func(*badger.Txn) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.ErrUnavailable
	}
	txn := s.db.NewTransactionAt(s.applied.Load(), false)
	defer txn.Discard()
	return f(txn)
}

// ByHash implements store.Store.
func (s *Store) ByHash(h token.Hash) (r store.Record, err error) {
	err = s.read(func(txn *badger.Txn) error {
		r, err = recordByHash(txn, h)
		return err
	})
	return r, err
}

// ByID implements store.Store.
func (s *Store) ByID(id uuid.UUID) (r store.Record, err error) {
	err = s.read(func(txn *badger.Txn) error {
		r, err = recordByID(txn, id)
		return err
	})
	return r, err
}

// List implements store.Store.
func (s *Store) List(q store.Query) (page store.Page, err error) {
	err = s.read(func(txn *badger.Txn) error {
		page.Records = []store.Record{}
		// Records are read as they come: counting on may take longer than
		// overwritten ones are kept.
		return iterate(txn, listPrefix(q.Project, q.User), true, func(item *badger.Item) (bool, error) {
			page.Count++
			wanted := page.Count > q.Offset && (q.Limit == 0 || len(page.Records) < q.Limit)
			if wanted {
				entry, err := readListed(txn, item)
				if err != nil {
					return false, err
				}
				r, err := recordByHash(txn, entry.hash)
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
func (s *Store) LastUsed(ids ...uuid.UUID) ([]store.Use, error) {
	uses := make([]store.Use, len(ids))
	err := s.read(func(txn *badger.Txn) (err error) {
		for i, id := range ids {
			if uses[i], err = lastUsed(txn, id); err != nil {
				return err
			}
		}
		return nil
	})
	return uses, err
}

// Successors implements store.Store.
func (s *Store) Successors(id uuid.UUID) (live []uuid.UUID, err error) {
	err = s.read(func(txn *badger.Txn) error {
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
	err = s.read(func(txn *badger.Txn) error {
		for _, queue := range []struct {
			space  byte
			before time.Time
		}{{spaceExpires, expired}, {spaceRevoked, revoked}} {
			end := uint64(max(0, queue.before.UnixMilli()))
			err := iterate(txn, []byte{queue.space}, false, func(item *badger.Item) (bool, error) {
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
func get(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := find(txn, key)
	if err != nil {
		return nil, err
	}
	b, err := item.ValueCopy(nil)
	return b, unavailable(err)
}

func find(txn *badger.Txn, key []byte) (*badger.Item, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, store.ErrNotFound
	}
	return item, unavailable(err)
}

// lastUsed returns when a token was last used, zero for never.
func lastUsed(txn *badger.Txn, id uuid.UUID) (store.Use, error) {
	item, err := find(txn, usedKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return store.Use{ID: id}, nil
	}
	if err != nil {
		return store.Use{}, err
	}
	return useOf(id, item)
}

func recordByHash(txn *badger.Txn, h token.Hash) (r store.Record, err error) {
	item, err := find(txn, tokenKey(h))
	if err != nil {
		return r, err
	}
	err = item.Value(func(b []byte) error {
		r, err = store.DecodeRecord(b)
		return err
	})
	return r, unavailable(err)
}

func recordByID(txn *badger.Txn, id uuid.UUID) (r store.Record, err error) {
	item, err := find(txn, idKey(id))
	if err != nil {
		return r, err
	}
	entry, err := identityOf(item)
	if err != nil {
		return r, err
	}
	r, err = recordByHash(txn, entry.hash)
	return r, lost(err, "a token's id")
}

// iterate calls f for the items under prefix in order, until it returns false.
func iterate(txn *badger.Txn, prefix []byte, values bool, f func(*badger.Item) (more bool, err error)) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: values, PrefetchSize: 100})
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
