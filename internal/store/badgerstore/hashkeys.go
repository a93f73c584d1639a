package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Keys implements store.Store.
func (s *Store) Keys() []*token.Key { return *s.keys.Load() }

// Key is the key that new tokens' hashes are made with.
func (s *Store) Key() *token.Key { return s.Keys()[0] }

func idsOf(keys []*token.Key) []token.KeyID {
	ids := make([]token.KeyID, len(keys))
	for i, key := range keys {
		ids[i] = key.ID()
	}
	return ids
}

// UseKeys makes a running store recognise tokens by these keys, and make new
// ones with the first. CheckKeys says which it refuses.
func (s *Store) UseKeys(ctx context.Context, keys []*token.Key, now time.Time) error {
	if err := s.CheckKeys(keys, now); err != nil {
		return err
	}
	known, err := s.knownKeys()
	if err != nil {
		return err
	}
	if ids := idsOf(keys); !slices.Equal(ids, known) {
		if _, err := s.Commit(ctx, store.UseKeys{Keys: ids}); err != nil {
			return err
		}
	}
	s.keys.Store(&keys)
	return nil
}

// CheckKeys returns nil if the store can go on with these keys, the first of
// which is to be for new tokens: that is the present one or is followed by it,
// and of those that it leaves out no living token has need.
func (s *Store) CheckKeys(keys []*token.Key, now time.Time) error {
	ids := idsOf(keys)
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			return fmt.Errorf("hash key %s is given twice: name each key once", id)
		}
	}
	known, err := s.knownKeys()
	if err != nil {
		return err
	}
	if len(known) == 0 || slices.Equal(known, ids) {
		return nil
	}
	if present := known[0]; !slices.Contains(ids, present) {
		return otherKey(s.dir, present[:], ids[0])
	}
	for _, id := range known {
		if slices.Contains(ids, id) {
			continue
		}
		use, err := s.KeyUse(now)
		if err != nil {
			return err
		}
		if n := use[id]; n > 0 {
			return fmt.Errorf("%d living tokens in the token store in %s are under hash key %s, which isn't given any more, and would be refused: give it as a previous key until they have been used or have ended", n, s.dir, id)
		}
	}
	return nil
}

func otherKey(dir string, present []byte, given token.KeyID) error {
	return fmt.Errorf("the token store in %s was made with hash key %x, and this is %s: every token would be refused; give it the key it was made with, first or as a previous key behind a new one", dir, present, given)
}

// knownKeys are those that records may be under, the present one first; none in
// a new store.
func (s *Store) knownKeys() (known []token.KeyID, err error) {
	err = s.read(func(txn *snapshot) error {
		known, err = keysIn(txn)
		return err
	})
	return known, err
}

func keysIn(txn *snapshot) (known []token.KeyID, err error) {
	for _, name := range [][]byte{metaKeyID, metaPreviousKeys} {
		b, err := get(txn, name)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for id := range slices.Chunk(b, len(token.KeyID{})) {
			if len(id) < len(token.KeyID{}) {
				return nil, unavailable(store.ErrCorrupt)
			}
			known = append(known, token.KeyID(id))
		}
	}
	return known, nil
}

func keyWrites(keys []token.KeyID) []write {
	writes := []write{{metaKeyID, keys[0][:]}, {metaPreviousKeys, nil}}
	for _, id := range keys[1:] {
		writes[1].value = append(writes[1].value, id[:]...)
	}
	return writes
}

// rehash moves a token to another key.
func rehash(txn *snapshot, m store.Rehash, revision uint64) ([]write, error) {
	r, err := tokenIs(txn, m.ID, m.Revision)
	if err != nil {
		return nil, err
	}
	if r.Hash == m.Hash || r.Key == m.Key {
		return nil, store.ErrConflict
	}
	// Where the keys have changed places, the token has been there before.
	if _, moved, err := recordAt(txn, m.Hash); err == nil && moved != r.ID {
		return nil, store.ErrConflict
	} else if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	writes := []write{
		{tokenKey(r.Hash), append([]byte{pointerTag}, r.ID[:]...)},
		{movedKey(r.ID, r.Key), bytes.Clone(r.Hash[:])},
		{movedKey(r.ID, m.Key), nil},
	}
	r.Hash, r.Key, r.Revision = m.Hash, m.Key, revision
	return append(append(writes, recordWrites(&r)...), liveWrites(&r)...), nil
}

// movedWrites remove the hashes that a token had under other keys.
func movedWrites(txn *snapshot, id uuid.UUID) (writes []write, err error) {
	err = iterate(txn, movedPrefix(id), func(item *badger.Item) (bool, error) {
		var h token.Hash
		if err := copyValue(item, h[:]); err != nil {
			return false, err
		}
		writes = append(writes, write{item.KeyCopy(nil), nil}, write{tokenKey(h), nil})
		return true, nil
	})
	return writes, err
}

// KeyUse implements store.Store.
func (s *Store) KeyUse(now time.Time) (map[token.KeyID]int, error) {
	use := make(map[token.KeyID]int)
	err := s.eachLiving(now, func(r store.Record) error {
		use[r.Key]++
		return nil
	})
	return use, err
}

// UnderOtherKeys implements store.Store.
func (s *Store) UnderOtherKeys(now time.Time, each func(store.Record) bool) error {
	first := s.Key().ID()
	err := s.eachLiving(now, func(r store.Record) error {
		if r.Key == first || each(r) {
			return nil
		}
		return errEnough
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// errEnough: no more is wanted.
var errEnough = errors.New("enough")

// eachLiving calls each with all living tokens, those of a page as of one
// revision.
func (s *Store) eachLiving(now time.Time, each func(store.Record) error) error {
	var ended holds
	read := func(f func(*snapshot) error) error {
		ended = *s.holds.Load()
		return s.read(f)
	}
	return eachPaged(read, []byte{spaceToken}, func(_ *snapshot, item *badger.Item) (store.Record, bool, error) {
		r, moved, err := decodeEntry(item)
		if err != nil || moved != uuid.Nil {
			return r, false, err
		}
		ended.end(&r)
		return r, !r.IsRevoked() && !r.Expired(now), nil
	}, each)
}
