package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// UseKeys implements store.Store.
func (s *Store) UseKeys(keys []*token.Key) { s.keys.Store(&keys) }

// CheckKeys returns nil if the store can go on with these keys, the first of
// which is to be for new tokens: the present first one is among them, and no
// living token is under one that they leave out. Certain is a time that isn't
// ahead of the truth, or tokens that haven't expired would be taken for expired.
func (s *Store) CheckKeys(keys []*token.Key, certain time.Time) error {
	ids := idsOf(keys)
	if s.inForce(ids) {
		return nil
	}
	if err := s.checkLeftOut(ids, certain); err != nil {
		return err
	}
	if present := s.Key().ID(); !slices.Contains(ids, present) {
		return fmt.Errorf("the hash key in force, %s, isn't given any more, and tokens are still made under it: give it as a previous key, behind the new one", present)
	}
	return nil
}

// inForce tells whether the keys in use are those of these ids.
func (s *Store) inForce(ids []token.KeyID) bool { return slices.Equal(ids, idsOf(s.Keys())) }

// checkLeftOut returns nil if all living tokens are under keys of these ids.
func (s *Store) checkLeftOut(ids []token.KeyID, certain time.Time) error {
	missing := func(id token.KeyID) bool { return !slices.Contains(ids, id) }
	if known, err := s.knownKeys(); err != nil || !slices.ContainsFunc(known, missing) {
		return err
	}
	use, err := s.KeyUse(certain)
	if err != nil {
		return err
	}
	total, without := 0, []string(nil)
	for id, n := range use {
		if missing(id) {
			total += n
			without = append(without, "hash key "+id.String())
		}
	}
	tokens := "1 living token"
	switch {
	case total == 0:
		return nil
	case total > 1:
		tokens = fmt.Sprintf("%d living tokens", total)
	}
	slices.Sort(without)
	return fmt.Errorf("%s in the token store in %s would be refused from now on without %s: give what is missing as a previous key, behind the one for new tokens, until all have been used or have ended", tokens, s.dir, strings.Join(without, " and "))
}

// NoteKeys makes durable which keys the store is going to use, which CheckKeys
// has allowed.
func (s *Store) NoteKeys(ctx context.Context, keys []*token.Key) error {
	ids := idsOf(keys)
	if s.inForce(ids) {
		return nil
	}
	_, err := s.Commit(ctx, store.NoteKeys{Keys: ids})
	return err
}

// openKeys goes on with the keys that are given, if they are all that living
// tokens need.
func (s *Store) openKeys() error {
	ids := idsOf(s.Keys())
	if err := s.checkLeftOut(ids, s.clock.Certain()); err != nil {
		return err
	}
	known, err := s.knownKeys()
	if err == nil && !slices.Equal(ids, known) {
		s.keysChanged = !s.isNew
		_, err = s.Commit(context.Background(), store.NoteKeys{Keys: ids})
	}
	if err != nil {
		return fmt.Errorf("noting the hash keys in the token store in %s: %w", s.dir, err)
	}
	return nil
}

// KeysChanged tells whether opening the store has put other keys in force than it
// had before.
func (s *Store) KeysChanged() bool { return s.keysChanged }

// knownKeys are those that records may be under, in the order in which they were
// noted.
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
