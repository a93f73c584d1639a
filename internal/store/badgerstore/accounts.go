package badgerstore

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// owner names a user of a project.
type owner struct{ project, user string }

// hold is what of an account every look-up has to heed.
type hold struct {
	// void ended the tokens created before it, and not all records say so yet;
	// 0 if they do.
	void   uint64
	voidAt time.Time
	// blocked is zero if the user isn't.
	blocked   time.Time
	blockedBy string
}

const (
	holdsVoid = 1 << iota
	holdsBlock
)

func (h hold) flags() (flags byte) {
	if h.void > 0 {
		flags |= holdsVoid
	}
	if !h.blocked.IsZero() {
		flags |= holdsBlock
	}
	return flags
}

// holds are the accounts with a hold. There are few, mostly none, and they are
// all in memory. The map is replaced, never changed.
//
// What is added holds before the revision is told at which it was: who knows that
// nothing has changed since a look-up may use it again. What is lifted holds
// until that revision can be read, and a reader takes the map before its
// transaction: whoever misses a hold that was lifted reads what it said from the
// records themselves.
type holds map[owner]hold

// end makes a record that a Void has ended say so.
func (all holds) end(r *store.Record) {
	if len(all) == 0 || r.IsRevoked() {
		return
	}
	if h := all[owner{r.Project, r.User.ID}]; r.CreatedRevision < h.void {
		r.Revoked = h.voidAt
	}
}

// newest is the latest void of a user, or of a project if user is "".
func (all holds) newest(project, user string) (void uint64) {
	for o, h := range all {
		if o.project == project && (user == "" || o.user == user) {
			void = max(void, h.void)
		}
	}
	return void
}

// IsBlocked implements store.Store.
func (s *Store) IsBlocked(project, user string) bool {
	all := *s.holds.Load()
	return len(all) > 0 && !all[owner{project, user}].blocked.IsZero()
}

// Blocked implements store.Store.
func (s *Store) Blocked(project string) []store.BlockedUser {
	blocked := []store.BlockedUser{}
	for o, h := range *s.holds.Load() {
		if o.project == project && !h.blocked.IsZero() {
			blocked = append(blocked, store.BlockedUser{User: o.user, At: h.blocked, By: h.blockedBy})
		}
	}
	slices.SortFunc(blocked, func(a, b store.BlockedUser) int { return cmp.Compare(a.User, b.User) })
	return blocked
}

// Voids implements store.Store.
func (s *Store) Voids() (voids []store.Voided) {
	for o, h := range *s.holds.Load() {
		if h.void > 0 {
			voids = append(voids, store.Voided{Project: o.project, User: o.user, Before: h.void})
		}
	}
	return voids
}

// VoidedTokens implements store.Store.
func (s *Store) VoidedTokens(v store.Voided, limit int) (ids []uuid.UUID, err error) {
	prefix := listPrefix(v.Project, v.User)
	err = s.read(func(txn *snapshot) error {
		return iterate(txn, prefix, func(item *badger.Item) (bool, error) {
			entry, err := readListEntry(txn, item)
			if err == nil && entry.created < v.Before {
				ids = append(ids, uuid.UUID(item.Key()[len(prefix)+8:]))
			}
			return len(ids) < limit, err
		})
	})
	return ids, err
}

// Account implements store.Store.
func (s *Store) Account(project, user string) (account store.Account, err error) {
	err = s.read(func(txn *snapshot) error {
		account, _, err = findAccount(txn, owner{project, user})
		return err
	})
	return account, err
}

func (s *Store) loadHolds() error {
	all := make(holds)
	err := s.read(func(txn *snapshot) error {
		return iterate(txn, []byte{spaceHold}, func(item *badger.Item) (bool, error) {
			o, err := ownerIn(item.Key())
			if err != nil {
				return false, err
			}
			var flags [1]byte
			if err := copyValue(item, flags[:]); err != nil {
				return false, err
			}
			account, _, err := findAccount(txn, o)
			if err != nil {
				return false, err
			}
			h := hold{blocked: account.Blocked, blockedBy: account.BlockedBy}
			if flags[0]&holdsVoid != 0 {
				h.void, h.voidAt = account.Void, account.VoidAt
			}
			if h.flags() != flags[0] {
				return false, unavailable(store.ErrCorrupt)
			}
			all[o] = h
			return true, nil
		})
	})
	s.holds.Store(&all)
	return err
}

// addHolds makes what accepted mutations hold visible, beside what was held.
func (s *Store) addHolds(accepted []*commit) {
	s.changeHolds(accepted, func(before, after hold) hold {
		if after.void == 0 {
			after.void, after.voidAt = before.void, before.voidAt
		}
		if after.blocked.IsZero() {
			after.blocked, after.blockedBy = before.blocked, before.blockedBy
		}
		return after
	})
}

// liftHolds makes what they no longer hold so, too.
func (s *Store) liftHolds(accepted []*commit) {
	s.changeHolds(accepted, func(_, after hold) hold { return after })
}

func (s *Store) changeHolds(accepted []*commit, change func(before, after hold) hold) {
	var all holds
	for _, c := range accepted {
		if c.effect.hold == nil {
			continue
		}
		if all == nil {
			all = maps.Clone(*s.holds.Load())
		}
		o := c.effect.owner
		if h := change(all[o], *c.effect.hold); h == (hold{}) {
			delete(all, o)
		} else {
			all[o] = h
		}
	}
	if all != nil {
		s.holds.Store(&all)
	}
}

// heldAccount is an account as it is while mutations are applied.
type heldAccount struct {
	owner
	store.Account
	hold hold
}

// holdOf returns an account and its hold.
func holdOf(txn *snapshot, o owner) (a heldAccount, err error) {
	a.owner = o
	if a.Account, err = accountOf(txn, o); err != nil {
		return a, err
	}
	flags, err := holdFlags(txn, o)
	a.hold = hold{blocked: a.Blocked, blockedBy: a.BlockedBy}
	if flags&holdsVoid != 0 {
		a.hold.void, a.hold.voidAt = a.Void, a.VoidAt
	}
	return a, err
}

// holdFlags are those of an account's hold, 0 if it has none.
func holdFlags(txn *snapshot, o owner) (byte, error) {
	var flags [1]byte
	item, err := find(txn, ownerKey(spaceHold, o))
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err == nil {
		err = copyValue(item, flags[:])
	}
	return flags[0], err
}

// effect is that the account becomes as it is.
func (a *heldAccount) effect() effect {
	e := effect{owner: a.owner, hold: &a.hold}
	e.writes = append(e.writes, accountWrite(a.owner, &a.Account), write{ownerKey(spaceHold, a.owner), nil})
	if flags := a.hold.flags(); flags != 0 {
		e.writes[1].value = []byte{flags}
	}
	return e
}

func voidAccount(txn *snapshot, m store.Void, revision uint64) (effect, error) {
	if err := byToken(txn, m.Token, m.TokenRevision); err != nil {
		return effect{}, err
	}
	a, err := holdOf(txn, owner{m.Project, m.User})
	if err != nil {
		return effect{}, err
	}
	if err := recount(txn, a.owner, &a.Account, m.At); err != nil {
		return effect{}, err
	}
	ended := int(a.Living)
	a.Void, a.VoidAt, a.Revision = revision, m.At, revision
	a.Living, a.Next = 0, time.Time{}
	a.hold.void, a.hold.voidAt = revision, m.At
	e := a.effect()
	e.ended = ended
	return e, nil
}

func blockAccount(txn *snapshot, m store.Block, revision uint64) (effect, error) {
	if err := byToken(txn, m.Token, m.TokenRevision); err != nil {
		return effect{}, err
	}
	a, err := holdOf(txn, owner{m.Project, m.User})
	if err != nil {
		return effect{}, err
	}
	if a.Revision != m.Revision {
		return effect{}, store.ErrConflict
	}
	a.Blocked, a.BlockedBy, a.BlockRevision, a.Revision = m.At, m.By, revision, revision
	if m.Lift {
		a.Blocked, a.BlockedBy = time.Time{}, ""
	}
	a.hold.blocked, a.hold.blockedBy = a.Blocked, a.BlockedBy
	return a.effect(), nil
}

func sweepAccount(txn *snapshot, m store.Sweep, revision uint64) (effect, error) {
	a, err := holdOf(txn, owner{m.Project, m.User})
	if err != nil {
		return effect{}, err
	}
	if a.hold.void != m.Before || m.Before == 0 {
		return effect{}, store.ErrConflict
	}
	var e effect
	if m.Last {
		a.hold.void, a.hold.voidAt = 0, time.Time{}
		e = a.effect()
	}
	for _, id := range m.IDs {
		r, err := recordByID(txn, id)
		if errors.Is(err, store.ErrNotFound) {
			continue // purged meanwhile
		}
		if err != nil {
			return effect{}, err
		}
		ended := r.Project == m.Project && r.User.ID == m.User && r.CreatedRevision < m.Before
		if ended && !r.IsRevoked() {
			e.revoked = append(e.revoked, id)
			e.writes = append(e.writes, revokeWrites(&r, a.VoidAt, revision)...)
		}
	}
	return e, nil
}

// byToken returns store.ErrConflict if the token that the author holds, if
// any, isn't at that revision.
func byToken(txn *snapshot, id uuid.UUID, revision uint64) error {
	if id == uuid.Nil {
		return nil
	}
	_, err := tokenIs(txn, id, revision)
	return err
}

// findAccount returns what is kept of a user as a whole, if anything is.
func findAccount(txn *snapshot, o owner) (a store.Account, found bool, err error) {
	item, err := find(txn, ownerKey(spaceAccount, o))
	if errors.Is(err, store.ErrNotFound) {
		return store.Account{}, false, nil
	}
	if err != nil {
		return store.Account{}, false, err
	}
	a, err = accountIn(item)
	return a, true, err
}

func accountIn(item *badger.Item) (a store.Account, err error) {
	err = item.Value(func(b []byte) error {
		a, err = store.DecodeAccount(b)
		return err
	})
	return a, unavailable(err)
}

// accountOf returns a user's account with its count. Tokens made before tokens
// were counted are counted now.
func accountOf(txn *snapshot, o owner) (store.Account, error) {
	a, found, err := findAccount(txn, o)
	if err == nil && !found {
		err = count(txn, o, &a)
	}
	return a, err
}

func accountWrite(o owner, a *store.Account) write {
	return write{ownerKey(spaceAccount, o), a.Append(nil)}
}

// recount takes off the count what has expired at a time.
func recount(txn *snapshot, o owner, a *store.Account, at time.Time) error {
	if a.Next.IsZero() || at.Before(a.Next) {
		return nil
	}
	a.Counted = at
	return count(txn, o, a)
}

// count counts the tokens that a.Counts says it should.
func count(txn *snapshot, o owner, a *store.Account) error {
	a.Living, a.Next = 0, time.Time{}
	next, counted := int64(never), int64(0)
	if !a.Counted.IsZero() {
		counted = a.Counted.UnixMilli()
	}
	err := iterate(txn, listPrefix(o.project, o.user), func(item *badger.Item) (bool, error) {
		entry, err := readListEntry(txn, item)
		if err == nil && entry.created >= a.Void && entry.expires > counted {
			a.Living++
			next = min(next, entry.expires)
		}
		return true, err
	})
	if next != never {
		a.Next = time.UnixMilli(next).UTC()
	}
	return err
}

// counts are accounts that are counted on, each of which is written once.
type counts struct {
	txn *snapshot
	all map[owner]*store.Account
}

// remove takes a token off the count of its user, if there is one yet.
func (c *counts) remove(r *store.Record) error {
	o := owner{r.Project, r.User.ID}
	a, known := c.all[o]
	if !known {
		account, found, err := findAccount(c.txn, o)
		if err != nil || !found {
			return err
		}
		if c.all == nil {
			c.all = make(map[owner]*store.Account)
		}
		a = &account
		c.all[o] = a
	}
	a.Remove(r)
	return nil
}

func (c *counts) writes() (writes []write) {
	for o, a := range c.all {
		writes = append(writes, accountWrite(o, a))
	}
	return writes
}
