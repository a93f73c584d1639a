package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

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

// effect is what a mutation does.
type effect struct {
	writes []write
	// ended is how many living tokens a Void ended.
	ended int
	// revoked are the tokens whose records a Revoke or a Sweep overwrites.
	revoked []uuid.UUID
	// uses are to be written, with their numbers, and forgotten are numbers of
	// tokens whose uses are to be removed.
	uses      []store.Use
	forgotten []uint64
	// hold, if it isn't nil, is what look-ups have to heed of owner from now on.
	owner owner
	hold  *hold
	// epoch, if it isn't 0, begins.
	epoch uint64
}

// effectOf works out what m does at a revision, given everything before it. It
// reads nothing but txn and m, so that the same mutations in the same order
// give the same store anywhere.
func effectOf(txn *snapshot, m store.Mutation, revision uint64) (e effect, err error) {
	switch m := m.(type) {
	case store.Create:
		e.writes, err = create(txn, m, revision)
	case store.Revoke:
		return revoke(txn, m, revision)
	case store.Void:
		return voidAccount(txn, m, revision)
	case store.Sweep:
		return sweepAccount(txn, m, revision)
	case store.Block:
		return blockAccount(txn, m, revision)
	case store.Touch:
		e.writes, e.uses, err = touch(txn, m)
	case store.Tell:
		e.writes = []write{{metaTold, appendExpiries(nil, m.Upto)}}
	case store.Purge:
		e.writes, e.forgotten, err = purge(txn, m)
	case store.Configure:
		e.writes, err = configure(txn, m, revision)
	case store.Rehash:
		e.writes, err = rehash(txn, m, revision)
	case store.NoteKeys:
		e.writes = keyWrites(m.Keys)
	case store.Delivered:
		e.writes, err = delivered(txn, m)
	case store.BeginEpoch:
		return beginEpoch(txn, m)
	default:
		err = fmt.Errorf("%w: unknown mutation %T", store.ErrUnavailable, m)
	}
	return e, err
}

func create(txn *snapshot, m store.Create, revision uint64) ([]write, error) {
	r := m.Record
	if err := settingsAre(txn, r.Project, m.SettingsRevision); err != nil {
		return nil, err
	}
	if err := notTaken(txn, &r); err != nil {
		return nil, err
	}
	user := owner{r.Project, r.User.ID}
	account, err := accountOf(txn, user)
	if err != nil {
		return nil, err
	}
	if account.Revision != m.AccountRevision {
		return nil, store.ErrConflict
	}
	number, err := counter(txn, metaNumber)
	if err != nil {
		return nil, err
	}
	r.Revision, r.CreatedRevision, r.Number = revision, revision, number+1

	var writes []write
	replaces := m.ReplacesParent && r.Parent != uuid.Nil
	if r.Parent != uuid.Nil {
		parent, err := tokenIs(txn, r.Parent, m.ParentRevision)
		if err != nil {
			return nil, err
		}
		if replaces {
			account.Remove(&parent)
			writes = append(writes, revokeWrites(&parent, r.Created, revision)...)
		}
		writes = append(writes, write{childKey(r.Parent, r.ID), nothing})
	}
	if !replaces {
		if err := checkLimit(txn, user, &account, m); err != nil {
			return nil, err
		}
	}
	account.Add(&r)
	writes = append(writes, accountWrite(user, &account), counterWrite(metaNumber, r.Number))
	return append(append(writes, recordWrites(&r)...), liveWrites(&r)...), nil
}

// notTaken returns store.ErrConflict if the id or the hash of a record is another's.
func notTaken(txn *snapshot, r *store.Record) error {
	for _, key := range [][]byte{idKey(r.ID), tokenKey(r.Hash)} {
		if _, err := find(txn, key); err == nil {
			return store.ErrConflict
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// checkLimit returns store.ErrLimit if a user has no place for another token,
// those that have expired not counted.
func checkLimit(txn *snapshot, user owner, account *store.Account, m store.Create) error {
	if m.Limit == 0 || account.Living < uint64(m.Limit) {
		return nil
	}
	if err := recount(txn, user, account, m.Record.Created); err != nil {
		return err
	}
	if account.Living >= uint64(m.Limit) {
		return store.ErrLimit
	}
	return nil
}

// tokenIs returns a token's record, or store.ErrConflict if it isn't at that
// revision, is revoked, or can't serve because of what holds of its user as a whole.
func tokenIs(txn *snapshot, id uuid.UUID, revision uint64) (store.Record, error) {
	r, err := recordByID(txn, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && (r.Revision != revision || r.IsRevoked()) {
		return r, store.ErrConflict
	}
	if err != nil {
		return r, err
	}
	account, _, err := findAccount(txn, owner{r.Project, r.User.ID})
	if err == nil && (r.CreatedRevision < account.Void || account.IsBlocked()) {
		err = store.ErrConflict
	}
	return r, err
}

func revoke(txn *snapshot, m store.Revoke, revision uint64) (e effect, err error) {
	r, err := recordByID(txn, m.ID)
	if err != nil {
		return effect{}, err
	}
	if r.Revision != m.Revision || r.IsRevoked() {
		return effect{}, store.ErrConflict
	}
	line := []uuid.UUID{m.ID}
	users := counts{txn: txn}
	for len(line) > 0 {
		id := line[0]
		line = line[1:]
		r, err := recordByID(txn, id)
		if err != nil {
			return effect{}, lost(err, "a line of renewals")
		}
		if !r.IsRevoked() {
			if err := users.remove(&r); err != nil {
				return effect{}, err
			}
			e.revoked = append(e.revoked, id)
			e.writes = append(e.writes, revokeWrites(&r, m.At, revision)...)
		}
		if !m.Successors {
			break
		}
		if len(e.writes) > maxRevokeWrites {
			return effect{}, store.ErrTooLarge
		}
		children, err := childrenOf(txn, id, 0)
		if err != nil {
			return effect{}, err
		}
		line = append(line, children...)
	}
	e.writes = append(e.writes, users.writes()...)
	return e, nil
}

// revokeWrites overwrite a record, and take it out of the lists.
func revokeWrites(r *store.Record, at time.Time, revision uint64) (writes []write) {
	for _, key := range liveKeys(r) {
		writes = append(writes, write{key, nil})
	}
	r.Revoked, r.Revision = at, revision
	return append(append(writes, recordWrites(r)...), write{timeKey(spaceRevoked, at, r.ID), nothing})
}

// touch returns the uses that go to the file of last uses, and what is to be written
// for tokens that have no number there.
func touch(txn *snapshot, m store.Touch) (writes []write, uses []store.Use, err error) {
	for _, use := range m.Uses {
		if use.Number == 0 {
			r, err := recordByID(txn, use.ID)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			use.Number = r.Number
		}
		if use.Number > 0 {
			uses = append(uses, use)
			continue
		}
		known, err := numberlessUse(txn, use.ID)
		if err != nil {
			return nil, nil, err
		}
		if use.At.After(known.At) {
			writes = append(writes, write{usedKey(use.ID), appendUse(nil, use)})
		}
	}
	return writes, uses, nil
}

// purge removes all that is known of a token. Its successors become its
// parent's, so that what is left of a line stays one line. While there are more
// of them than fit, they are all that it changes.
func purge(txn *snapshot, m store.Purge) (writes []write, forgotten []uint64, err error) {
	r, err := recordByID(txn, m.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	children, err := childrenOf(txn, r.ID, adoptAtOnce+1)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range children[:min(len(children), adoptAtOnce)] {
		child, err := recordByID(txn, id)
		if err != nil {
			return nil, nil, lost(err, "a line of renewals")
		}
		child.Parent = r.Parent
		writes = append(append(writes, recordWrites(&child)...), write{childKey(r.ID, id), nil})
		if r.Parent != uuid.Nil {
			writes = append(writes, write{childKey(r.Parent, id), nothing})
		}
	}
	if len(children) > adoptAtOnce {
		return writes, nil, nil
	}
	moved, err := movedWrites(txn, r.ID)
	if err != nil {
		return nil, nil, err
	}
	users := counts{txn: txn}
	if err := users.remove(&r); err != nil {
		return nil, nil, err
	}
	writes = append(append(writes, moved...), users.writes()...)
	for _, key := range append(liveKeys(&r), tokenKey(r.Hash), idKey(r.ID), usedKey(r.ID)) {
		writes = append(writes, write{key, nil})
	}
	if r.IsRevoked() {
		writes = append(writes, write{timeKey(spaceRevoked, r.Revoked, r.ID), nil})
	}
	if r.Parent != uuid.Nil {
		writes = append(writes, write{childKey(r.Parent, r.ID), nil})
	}
	if r.Number > 0 {
		forgotten = []uint64{r.Number}
	}
	return writes, forgotten, nil
}

func beginEpoch(txn *snapshot, m store.BeginEpoch) (effect, error) {
	now, err := epochOf(txn)
	if err == nil && m.Epoch <= now {
		err = store.ErrConflict
	}
	return effect{writes: []write{counterWrite(metaEpoch, m.Epoch)}, epoch: m.Epoch}, err
}

// epochOf is 1 where nothing else is said.
func epochOf(txn *snapshot) (uint64, error) {
	epoch, err := counter(txn, metaEpoch)
	return max(1, epoch), err
}

// counter returns a number that is counted up while applying, from 0 on.
func counter(txn *snapshot, key []byte) (uint64, error) {
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

func counterWrite(key []byte, n uint64) write {
	return write{key, binary.BigEndian.AppendUint64(nil, n)}
}

// childrenOf returns at most limit successors of a token, or all if 0.
func childrenOf(txn *snapshot, id uuid.UUID, limit int) (children []uuid.UUID, err error) {
	prefix := childrenPrefix(id)
	err = iterate(txn, prefix, func(item *badger.Item) (bool, error) {
		children = append(children, uuid.UUID(item.Key()[len(prefix):]))
		return len(children) != limit, nil
	})
	return children, err
}
