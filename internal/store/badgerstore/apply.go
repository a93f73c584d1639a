package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// write sets a key, or removes it where value is nil.
type write struct{ key, value []byte }

var nothing = []byte{}

const (
	// maxRevokeWrites bounds how long the committer is busy with one line of
	// renewals. It fits in a transaction if records are small.
	maxRevokeWrites = 10_000
	// adoptAtOnce is how many successors a Purge passes on to the parent.
	adoptAtOnce = 32
)

// effects works out what m writes at a revision, given everything before it.
// It reads nothing but txn and m, so that the same mutations in the same order
// give the same store anywhere.
func effects(txn *badger.Txn, m store.Mutation, revision uint64) ([]write, error) {
	switch m := m.(type) {
	case store.Create:
		return create(txn, m, revision)
	case store.Revoke:
		return revoke(txn, m, revision)
	case store.Touch:
		return touch(txn, m)
	case store.Purge:
		return purge(txn, m)
	case store.Configure:
		return configure(txn, m, revision)
	}
	return nil, fmt.Errorf("%w: unknown mutation %T", store.ErrUnavailable, m)
}

func create(txn *badger.Txn, m store.Create, revision uint64) ([]write, error) {
	r := m.Record
	if err := settingsAre(txn, r.Project, m.SettingsRevision); err != nil {
		return nil, err
	}
	for _, key := range [][]byte{idKey(r.ID), tokenKey(r.Hash)} {
		if _, err := find(txn, key); err == nil {
			return nil, store.ErrConflict
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	number, err := counter(txn, metaNumber)
	if err != nil {
		return nil, err
	}
	r.Revision, r.CreatedRevision, r.Number = revision, revision, number+1
	writes := append(recordWrites(&r), write{metaNumber, binary.BigEndian.AppendUint64(nil, r.Number)})
	entry := listedOf(&r).append(nil)
	for _, key := range listKeys(&r) {
		writes = append(writes, write{key, entry})
	}
	if at, ok := r.Expires(); ok {
		writes = append(writes, write{timeKey(spaceExpires, at, r.ID), nothing})
	}
	if r.Parent == uuid.Nil {
		return writes, nil
	}
	return append(writes, write{childKey(r.Parent, r.ID), nothing}), tokenIs(txn, r.Parent, m.ParentRevision)
}

// tokenIs returns store.ErrConflict if a token isn't at that revision.
func tokenIs(txn *badger.Txn, id uuid.UUID, revision uint64) error {
	r, err := recordByID(txn, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && r.Revision != revision {
		return store.ErrConflict
	}
	return err
}

func revoke(txn *badger.Txn, m store.Revoke, revision uint64) ([]write, error) {
	r, err := recordByID(txn, m.ID)
	if err != nil {
		return nil, err
	}
	if r.Revision != m.Revision || r.IsRevoked() {
		return nil, store.ErrConflict
	}
	line := []uuid.UUID{m.ID}
	var writes []write
	for len(line) > 0 {
		id := line[0]
		line = line[1:]
		r, err := recordByID(txn, id)
		if err != nil {
			return nil, lost(err, "a line of renewals")
		}
		if !r.IsRevoked() {
			for _, key := range liveKeys(&r) {
				writes = append(writes, write{key, nil})
			}
			r.Revoked, r.Revision = m.At, revision
			writes = append(append(writes, recordWrites(&r)...), write{timeKey(spaceRevoked, m.At, id), nothing})
		}
		if !m.Successors {
			break
		}
		if len(writes) > maxRevokeWrites {
			return nil, store.ErrTooLarge
		}
		children, err := childrenOf(txn, id, 0)
		if err != nil {
			return nil, err
		}
		line = append(line, children...)
	}
	return writes, nil
}

func touch(txn *badger.Txn, m store.Touch) ([]write, error) {
	writes := make([]write, 0, len(m.Uses))
	for _, use := range m.Uses {
		known, err := lastUsed(txn, use.ID)
		if err != nil {
			return nil, err
		}
		if !use.At.After(known.At) {
			continue
		}
		_, err = find(txn, idKey(use.ID))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		writes = append(writes, write{usedKey(use.ID), appendUse(nil, use)})
	}
	return writes, nil
}

// purge removes all that is known of a token. Its successors become its
// parent's, so that what is left of a line stays one line. While there are more
// of them than fit, they are all that it changes.
func purge(txn *badger.Txn, m store.Purge) ([]write, error) {
	r, err := recordByID(txn, m.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	children, err := childrenOf(txn, r.ID, adoptAtOnce+1)
	if err != nil {
		return nil, err
	}
	var writes []write
	for _, id := range children[:min(len(children), adoptAtOnce)] {
		child, err := recordByID(txn, id)
		if err != nil {
			return nil, lost(err, "a line of renewals")
		}
		child.Parent = r.Parent
		writes = append(append(writes, recordWrites(&child)...), write{childKey(r.ID, id), nil})
		if r.Parent != uuid.Nil {
			writes = append(writes, write{childKey(r.Parent, id), nothing})
		}
	}
	if len(children) > adoptAtOnce {
		return writes, nil
	}
	for _, key := range append(liveKeys(&r), tokenKey(r.Hash), idKey(r.ID), usedKey(r.ID)) {
		writes = append(writes, write{key, nil})
	}
	if r.IsRevoked() {
		writes = append(writes, write{timeKey(spaceRevoked, r.Revoked, r.ID), nil})
	}
	if r.Parent != uuid.Nil {
		writes = append(writes, write{childKey(r.Parent, r.ID), nil})
	}
	return writes, nil
}

// counter returns a number that is counted up while applying, from 0 on.
func counter(txn *badger.Txn, key []byte) (uint64, error) {
	var n [8]byte
	item, err := find(txn, key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err == nil {
		err = copyValue(item, n[:])
	}
	return binary.BigEndian.Uint64(n[:]), err
}

// childrenOf returns at most limit successors of a token, or all if 0.
func childrenOf(txn *badger.Txn, id uuid.UUID, limit int) (children []uuid.UUID, err error) {
	prefix := childrenPrefix(id)
	err = iterate(txn, prefix, false, func(item *badger.Item) (bool, error) {
		children = append(children, uuid.UUID(item.Key()[len(prefix):]))
		return len(children) != limit, nil
	})
	return children, err
}
