package badgerstore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// listReach is written along with what a batch takes away: where deleted.list is
// before it and after it, and which revision the batch follows. So the list can be
// completed after a crash between the two, and one that lacks more is damaged.
type listReach struct {
	before, after place
	follows       uint64
}

// numbers are what is written of it.
func (r *listReach) numbers() []*uint64 {
	return []*uint64{
		&r.before.Epoch, &r.before.Revision, &r.before.records,
		&r.after.Epoch, &r.after.Revision, &r.after.records, &r.follows,
	}
}

func (r listReach) append(b []byte) []byte {
	for _, n := range r.numbers() {
		b = binary.BigEndian.AppendUint64(b, *n)
	}
	return b
}

// everythingUpTo is what the list of a store has to reach that had none.
func everythingUpTo(at store.Position) listReach {
	return listReach{after: place{at, math.MaxUint64}}
}

// reach returns what deleted.list has to reach; nothing if nothing has been taken
// away yet.
func (e *examination) reach() (r listReach) {
	b, numbers := e.meta.get(metaList), r.numbers()
	if len(b) != 8*len(numbers) {
		return r
	}
	for i, n := range numbers {
		*n = binary.BigEndian.Uint64(b[8*i:])
	}
	return r
}

// takenBy returns what a mutation takes away that has these effects.
func takenBy(m store.Mutation, writes []write, at store.Position) (all []takenAway) {
	switch m := m.(type) {
	case store.Configure:
		if m.Settings.Enabled != nil {
			return []takenAway{{Position: at, project: m.Project, enabled: *m.Settings.Enabled}}
		}
	case store.Void:
		return []takenAway{{Position: at, project: m.Project, user: m.User, voided: true}}
	case store.Block:
		return []takenAway{{Position: at, project: m.Project, user: m.User, blocked: !m.Lift}}
	}
	expiries := make(map[uuid.UUID]time.Time)
	for _, w := range writes {
		switch {
		case w.key[0] == spaceExpires && w.value == nil:
			expiry, id := timeAndID(w.key)
			expiries[id] = expiry
		case w.key[0] == spaceRevoked && w.value != nil:
			_, id := timeAndID(w.key)
			all = append(all, takenAway{Position: at, token: id, expires: expiries[id]})
		}
	}
	return all
}

// timeAndID reads a key that timeKey made.
func timeAndID(key []byte) (time.Time, uuid.UUID) {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(key[1:]))), uuid.UUID(key[9:])
}

// completeList makes the list, which is in state l, hold all that it has to reach.
func (s *Store) completeList(l listState, reach listReach) error {
	done := l.last == reach.after
	if reach.after.records == math.MaxUint64 {
		done = !l.mark.Before(reach.after.Position)
	}
	if done && !l.damaged {
		return nil
	}
	// A crash may have left some of the last batch.
	f, err := os.Open(filepath.Join(s.dir, DeletedListName))
	if err != nil {
		return err
	}
	defer f.Close()
	until := listState{lineage: l.lineage}
	if _, err := scanList(f, func(a takenAway, line []byte) error {
		if !reach.before.Before(a.Position) {
			until.last, until.end = until.last.then(a.Position), until.end+int64(len(line))
		}
		return nil
	}); err != nil {
		return err
	}
	until.end += int64(len(l.title()))
	missing, err := s.takenBetween(reach.follows, reach.after.Position)
	if err != nil {
		return fmt.Errorf("completing %s: %w", DeletedListName, err)
	}
	if err := s.list.truncate(until); err != nil {
		return fmt.Errorf("completing %s: %w", DeletedListName, err)
	}
	if len(missing) == 0 {
		return nil
	}
	return s.list.append(missing, s.Position())
}

// takenBetween returns what was taken away after one revision and up to another
// one of an epoch, as the records say.
func (s *Store) takenBetween(after uint64, until store.Position) (all []takenAway, err error) {
	taken := func(revision uint64, a takenAway) {
		if revision > after && revision <= until.Revision {
			a.Position = store.Position{Epoch: until.Epoch, Revision: revision}
			all = append(all, a)
		}
	}
	err = s.read(func(txn *snapshot) error {
		err := iterate(txn, []byte{spaceRevoked}, func(item *badger.Item) (bool, error) {
			_, id := timeAndID(item.Key())
			r, err := recordByID(txn, id)
			if err != nil {
				return false, lost(err, "a deleted token")
			}
			expires, _ := r.Expires()
			taken(r.Revision, takenAway{token: r.ID, expires: expires})
			return true, nil
		})
		if err != nil {
			return err
		}
		err = iterate(txn, []byte{spaceAccount}, func(item *badger.Item) (bool, error) {
			o, err := ownerIn(item.Key())
			if err != nil {
				return false, err
			}
			account, err := accountIn(item)
			if err != nil {
				return false, err
			}
			taken(account.Void, takenAway{project: o.project, user: o.user, voided: true})
			taken(account.BlockRevision, takenAway{project: o.project, user: o.user, blocked: account.IsBlocked()})
			return true, nil
		})
		if err != nil {
			return err
		}
		return iterate(txn, []byte{spacePolicy}, func(item *badger.Item) (bool, error) {
			now, err := settingOf(item)
			if err == nil && now.Enabled != nil {
				taken(now.revision, takenAway{project: string(item.Key()[1:]), enabled: *now.Enabled})
			}
			return true, err
		})
	})
	slices.SortStableFunc(all, func(a, b takenAway) int { return cmp.Compare(a.Revision, b.Revision) })
	return all, err
}
