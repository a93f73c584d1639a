package badgerstore

import (
	"encoding/binary"
	"fmt"
	"io"
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
// before it and after it. So the list can be
// completed after a crash between the two, and one that lacks more is damaged.
type listReach struct{ before, after place }

func (r listReach) append(b []byte) []byte {
	for _, n := range []uint64{r.before.revision, r.before.records, r.after.revision, r.after.records} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// everythingUpTo is what the list of a store has to reach that had none.
func everythingUpTo(revision uint64) listReach {
	return listReach{after: place{revision, math.MaxUint64}}
}

// reach returns what deleted.list has to reach; nothing if nothing has been taken
// away yet.
func (e *examination) reach() (r listReach) {
	b := e.meta.get(metaList)
	if len(b) != 4*8 {
		return r
	}
	for i, n := range []*uint64{&r.before.revision, &r.before.records, &r.after.revision, &r.after.records} {
		*n = binary.BigEndian.Uint64(b[8*i:])
	}
	return r
}

// takenBy returns what a mutation takes away that has these effects.
func (s *Store) takenBy(m store.Mutation, writes []write, revision uint64) (all []takenAway) {
	switch m := m.(type) {
	case store.Configure:
		if m.Settings.Enabled != nil {
			return []takenAway{{revision: revision, project: m.Project, enabled: *m.Settings.Enabled}}
		}
	case store.Void:
		return []takenAway{{revision: revision, project: m.Project, user: m.User, voided: true}}
	case store.Block:
		return []takenAway{{revision: revision, project: m.Project, user: m.User, blocked: !m.Lift}}
	}
	expiries := make(map[uuid.UUID]time.Time)
	for _, w := range writes {
		switch {
		case w.key[0] == spaceExpires && w.value == nil:
			at, id := timeAndID(w.key)
			expiries[id] = at
		case w.key[0] == spaceRevoked && w.value != nil:
			_, id := timeAndID(w.key)
			all = append(all, takenAway{revision: revision, token: id, expires: expiries[id]})
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
		done = l.mark.revision >= reach.after.revision
	}
	if done && !l.damaged {
		return nil
	}
	// A crash may have left some of the last batch.
	f, err := os.Open(filepath.Join(s.dir, deletedListName))
	if err != nil {
		return err
	}
	defer f.Close()
	until := listState{store: l.store}
	if _, err := scanList(f, func(a takenAway, line []byte) error {
		if a.revision <= reach.before.revision {
			until.last, until.end = until.last.then(a.revision), until.end+int64(len(line))
		}
		return nil
	}); err != nil {
		return err
	}
	until.end += int64(len(appendLine(nil, listTitle+" "+l.store.String())))
	missing, err := s.takenBetween(reach.before.revision, reach.after.revision)
	if err != nil {
		return fmt.Errorf("completing %s: %w", deletedListName, err)
	}
	if err := s.list.truncate(until); err != nil {
		return fmt.Errorf("completing %s: %w", deletedListName, err)
	}
	if len(missing) == 0 {
		return nil
	}
	return s.list.append(missing, s.applied.Load())
}

// takenBetween returns what was taken away after one revision and up to another,
// as the records say.
func (s *Store) takenBetween(before, after uint64) (all []takenAway, err error) {
	err = s.read(func(txn *snapshot) error {
		err := iterate(txn, []byte{spaceRevoked}, func(item *badger.Item) (bool, error) {
			_, id := timeAndID(item.Key())
			r, err := recordByID(txn, id)
			if err != nil {
				return false, lost(err, "a deleted token")
			}
			if r.Revision > before && r.Revision <= after {
				a := takenAway{revision: r.Revision, token: r.ID}
				a.expires, _ = r.Expires()
				all = append(all, a)
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		err = iterate(txn, []byte{spaceAccount}, func(item *badger.Item) (bool, error) {
			some, err := takenFrom(item, before, after)
			all = append(all, some...)
			return true, err
		})
		if err != nil {
			return err
		}
		return iterate(txn, []byte{spacePolicy}, func(item *badger.Item) (bool, error) {
			now, err := settingOf(item)
			if err == nil && now.Enabled != nil && now.revision > before && now.revision <= after {
				all = append(all, takenAway{revision: now.revision, project: string(item.Key()[1:]), enabled: *now.Enabled})
			}
			return true, err
		})
	})
	slices.SortStableFunc(all, func(a, b takenAway) int { return int(int64(a.revision) - int64(b.revision)) })
	return all, err
}

// takenFrom returns what was taken away from a user as a whole.
func takenFrom(item *badger.Item, before, after uint64) (all []takenAway, err error) {
	o, err := ownerIn(item.Key())
	if err != nil {
		return nil, err
	}
	account, err := accountIn(item)
	if err != nil {
		return nil, err
	}
	if account.Void > before && account.Void <= after {
		all = append(all, takenAway{revision: account.Void, project: o.project, user: o.user, voided: true})
	}
	if account.BlockRevision > before && account.BlockRevision <= after {
		all = append(all, takenAway{revision: account.BlockRevision, project: o.project, user: o.user, blocked: account.IsBlocked()})
	}
	return all, nil
}

const (
	// tidyFrom is the size below which a list isn't worth tidying.
	tidyFrom = 1 << 20
	// tidyAfter is how long a deleted token stays listed after it would have
	// expired.
	tidyAfter = 24 * time.Hour
)

// tidy rewrites the list without what no restore needs to know, if that is half
// of it or more: deleted tokens that would have expired by now, and what was said
// again later of a project's switch, or of a user's void or block. A token that never expires stays listed for ever.
func (l *deletedList) tidy(dir string, now time.Time) error {
	if l.end < tidyFrom {
		return nil
	}
	file := filepath.Join(dir, deletedListName)
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	// The revision of the last record of what can be said again: a project's
	// switch, a user's void, a user's block.
	last := make(map[takenAway]uint64)
	if _, err := scanList(in, func(a takenAway, _ []byte) error {
		if a.token == uuid.Nil {
			last[a.subject()] = a.revision
		}
		return nil
	}); err != nil {
		return err
	}
	needed := func(a takenAway) bool {
		if a.revision == l.last.revision {
			return true // says where the list ends
		}
		if a.token == uuid.Nil {
			return a.revision == last[a.subject()]
		}
		return a.expires.IsZero() || a.expires.Add(tidyAfter).After(now)
	}
	size := int64(0)
	each := func(f func(line []byte) error) error {
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := scanList(in, func(a takenAway, line []byte) error {
			if needed(a) {
				return f(line)
			}
			return nil
		})
		return err
	}
	if err := each(func(line []byte) error { size += int64(len(line)); return nil }); err != nil || size > l.end/2 {
		return err
	}
	err = replaceFile(file, func(w io.Writer) error {
		title := appendLine(nil, listTitle+" "+l.store.String())
		size += int64(len(title))
		if _, err := w.Write(title); err != nil {
			return err
		}
		if err := each(func(line []byte) error { _, err := w.Write(line); return err }); err != nil {
			return err
		}
		_, err := w.Write(l.mark.append(nil))
		return err
	})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_ = l.file.Close()
	l.file, l.end, l.reserved = f, size, 0
	return nil
}
