package badgerstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/wholefile"
)

// unfinished is the format of a store that is being restored: nobody opens it.
var unfinished = []byte{0}

// Restoring is a store in the making, of what a store.Snapshot of another one held.
// First everything is added, then what was taken away since is taken away. Until it
// is finished nobody can open it, so that no token that was deleted is valid, whatever
// ends it midway. It isn't safe for concurrent use. Errors are for the owner.
type Restoring struct {
	s    *Store
	head store.Head
	// t is what isn't written yet, at revision.
	t        *transaction
	revision uint64

	id   storeID
	list *os.File
	last place
	// epoch is the latest that anything is of.
	epoch          uint64
	took, finished bool
	uses           []store.Use // that aren't written yet
}

// Restore begins to make a store in dir, in which there must be none; a hash key may
// be there. It is to be finished or discarded.
func Restore(dir string, o Options, head store.Head) (*Restoring, error) {
	s, err := newStore(dir, o)
	if err != nil {
		return nil, err
	}
	if err := CheckEmpty(dir); err != nil {
		return nil, err
	}
	r := &Restoring{s: s, head: head, revision: head.Revision, id: uuid.New(), epoch: head.Epoch}
	if s.db, err = openBadger(s.badgerOptions()); err != nil {
		return nil, openError(dir, err)
	}
	s.unverified.Store(&unverified{}) // all that there is will have been written here
	s.known = make(map[uint64]identity)
	s.space.busy, s.space.listHasRoom = s.badgerIsBusy, func() bool { return true }
	s.space.begin()
	s.space.last = roomForCreates
	if err := r.begin(); err != nil {
		return nil, errors.Join(err, r.Discard())
	}
	return r, nil
}

// CheckEmpty returns nil if there is no store in dir, nor what a restore has left.
func CheckEmpty(dir string) error {
	files, err := os.ReadDir(filepath.Join(dir, "db"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := len(files) > 0
	for _, name := range []string{DeletedListName, tableListName, usesFileName} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			there = true
		}
	}
	if there {
		return fmt.Errorf("there is a token store in %s, or what a restore that was broken off has left: a backup is restored into a directory that is empty, but for the hash key", dir)
	}
	return nil
}

func (r *Restoring) begin() (err error) {
	if r.head.Epoch == 0 || r.head.Revision == 0 || len(r.head.Keys) == 0 {
		return fmt.Errorf("a backup of a store at %+v can't be restored", r.head)
	}
	r.t = r.s.transaction(r.revision)
	if err := r.put([]write{{metaFormat, unfinished}}); err != nil {
		return err
	}
	if err := r.flush(); err != nil {
		return err
	}
	r.s.uses = openUses(r.s.dir, r.id, true, r.s.logger)
	return nil
}

// beginList makes the new store's list, unless that has been done. It knows what was
// taken away from former stores, too.
func (r *Restoring) beginList(former ...storeID) (err error) {
	if r.list != nil {
		return nil
	}
	name := filepath.Join(r.s.dir, DeletedListName)
	if r.list, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	of := lineage{r.id, former}
	_, err = r.list.Write(of.title())
	return err
}

// AddRecord adds a record as it was.
func (r *Restoring) AddRecord(record store.Record) error {
	return r.add(func() ([]write, error) {
		if record.Revision == 0 || record.Revision > r.head.Revision || record.CreatedRevision > record.Revision {
			return nil, fmt.Errorf("token %s, made at revision %d, is of revision %d, in a backup of revision %d", record.ID, record.CreatedRevision, record.Revision, r.head.Revision)
		}
		if err := notTaken(r.t.txn, &record); err != nil {
			return nil, fmt.Errorf("token %s is in the backup already: %w", record.ID, err)
		}
		r.head.Number = max(r.head.Number, record.Number)
		writes := recordWrites(&record)
		if record.IsRevoked() {
			writes = append(writes, write{timeKey(spaceRevoked, record.Revoked, record.ID), nothing})
		} else {
			writes = append(writes, liveWrites(&record)...)
		}
		if record.Parent != uuid.Nil {
			writes = append(writes, write{childKey(record.Parent, record.ID), nothing})
		}
		return writes, nil
	})
}

// AddUse adds a token's last use. The token has to be there already, or it is passed
// over.
func (r *Restoring) AddUse(use store.Use) error {
	return r.add(func() ([]write, error) {
		writes, uses, err := touch(r.t.txn, store.Touch{Uses: []store.Use{use}})
		r.uses = append(r.uses, uses...)
		if len(r.uses) >= usesWindow {
			err = errors.Join(err, r.writeUses())
		}
		return writes, err
	})
}

func (r *Restoring) writeUses() error {
	err := r.s.uses.write(r.uses)
	r.uses = r.uses[:0]
	return err
}

// AddAccount adds what was kept of a user.
func (r *Restoring) AddAccount(a store.UserAccount) error {
	return r.add(func() ([]write, error) {
		held := heldAccount{owner: owner{a.Project, a.User}, Account: a.Account}
		held.hold = hold{blocked: a.Blocked, blockedBy: a.BlockedBy}
		if !a.Swept {
			held.hold.void, held.hold.voidAt = a.Void, a.VoidAt
		}
		return held.effect().writes, nil
	})
}

// AddSettings adds what was set of a project.
func (r *Restoring) AddSettings(p store.ProjectSettings) error {
	return r.add(func() ([]write, error) {
		return []write{settingWrite(p.Project, setting{p.Settings, p.Revision})}, nil
	})
}

// Taken says what came of a list of what was taken away.
type Taken struct {
	// Changes is how many of its records changed anything.
	Changes int
	// UpTo is how far it goes: what was taken away later isn't known.
	UpTo store.Position
	// Damaged: it goes only as far as it is whole.
	Damaged bool
}

// TakeAway takes away, once everything is added, what a deleted.list says was taken
// away since, in the name of by, and makes it part of this store's: of a backup that
// is restored later, and is of any age, nothing else would be known. It is called
// once, or never if there is no list.
func (r *Restoring) TakeAway(list io.ReadSeeker, by string, at time.Time) (t Taken, err error) {
	if r.took {
		return t, errors.New("something has been taken away already")
	}
	r.took = true
	if err := r.flush(); err != nil {
		return t, err
	}
	state, err := scanList(list, nil)
	if err == nil {
		err = state.checkOf(r.head.Store)
	}
	if err == nil {
		_, err = list.Seek(0, io.SeekStart)
	}
	if err != nil {
		return t, fmt.Errorf("reading %s: %w", DeletedListName, err)
	}
	// Of the stores before, the new list knows all that this one knows: not if that
	// isn't all.
	if t.reach(&state); t.Damaged || t.UpTo.Before(r.head.Position) {
		err = r.beginList()
	} else {
		err = r.beginList(state.stores()...)
	}
	if err != nil {
		return t, err
	}
	// The last record of what can be said again.
	last := make(map[takenAway]takenAway)
	_, err = scanList(list, func(a takenAway, line []byte) error {
		if _, err := r.list.Write(line); err != nil {
			return err
		}
		if a.token == uuid.Nil {
			last[a.subject()] = a
			return nil
		}
		return r.takeAway(a, by, at, &t.Changes)
	})
	if err != nil {
		return t, fmt.Errorf("reading %s: %w", DeletedListName, err)
	}
	for _, a := range slices.SortedFunc(maps.Values(last), func(a, b takenAway) int { return a.Compare(b.Position) }) {
		// What came before the backup is in it.
		if r.head.Before(a.Position) {
			if err := r.takeAway(a, by, at, &t.Changes); err != nil {
				return t, err
			}
		}
	}
	r.last = state.last
	r.epoch = max(r.epoch, state.mark.Epoch)
	if state.mark.clock.After(r.head.Clock) {
		r.head.Clock = state.mark.clock
	}
	return t, nil
}

// EndAll ends all living tokens, once what is to be taken away is, and has the store
// go on under another hash key: that is for where the key is lost. Blocks, settings and
// what is known of tokens stay. It returns how many were ended.
func (r *Restoring) EndAll(key token.KeyID, at time.Time) (ended int, err error) {
	r.took = true
	if err := errors.Join(r.flush(), r.beginList()); err != nil {
		return 0, err
	}
	living := make(map[owner]bool)
	err = r.s.guard(func() error {
		return iterate(r.t.txn, []byte{spaceToken}, func(item *badger.Item) (bool, error) {
			record, moved, err := decodeEntry(item)
			if err != nil || moved != uuid.Nil || record.IsRevoked() {
				return true, err
			}
			living[owner{record.Project, record.User.ID}] = true
			return true, nil
		})
	})
	if err != nil {
		return 0, err
	}
	for o := range living {
		account, _, err := findAccount(r.t.txn, o)
		if err != nil {
			return ended, err
		}
		n := 0
		a := takenAway{project: o.project, user: o.user, voided: true}
		if err := r.takeAway(a, "", at, &n); err != nil {
			return ended, err
		}
		a.Position = store.Position{Epoch: r.epoch + 1, Revision: r.revision}
		if _, err := r.list.Write(a.append(nil)); err != nil {
			return ended, err
		}
		r.last = r.last.then(a.Position)
		ended += int(account.Living)
	}
	r.head.Keys = []token.KeyID{key}
	return ended, nil
}

func (r *Restoring) takeAway(a takenAway, by string, at time.Time, changes *int) error {
	return r.s.guard(func() error {
		m, err := r.against(a, by, at)
		if err != nil || m == nil {
			return err
		}
		e, err := effectOf(r.t.txn, m, r.revision+1)
		if err != nil {
			return err
		}
		if err := r.put(e.writes); err != nil {
			return err
		}
		r.revision++
		*changes++
		return nil
	})
}

// against returns the mutation by which something is taken away, nil if it is gone
// already.
func (r *Restoring) against(a takenAway, by string, at time.Time) (store.Mutation, error) {
	switch {
	case a.token != uuid.Nil:
		record, err := recordByID(r.t.txn, a.token)
		if errors.Is(err, store.ErrNotFound) || err == nil && record.IsRevoked() {
			return nil, nil
		}
		return store.Revoke{ID: a.token, Revision: record.Revision, At: at}, err
	case a.user == "":
		now, err := findSetting(r.t.txn, a.project)
		if err != nil || now.Enabled != nil && *now.Enabled == a.enabled {
			return nil, err
		}
		revision := now.revision
		now.Enabled = &a.enabled
		return store.Configure{Project: a.project, Settings: now.Settings, Revision: revision}, nil
	case a.voided:
		return store.Void{Project: a.project, User: a.user, At: at}, nil
	}
	account, _, err := findAccount(r.t.txn, owner{a.project, a.user})
	if err != nil || account.IsBlocked() == a.blocked {
		return nil, err
	}
	return store.Block{Project: a.project, User: a.user, Revision: account.Revision, Lift: !a.blocked, At: at, By: by}, nil
}

// Finish begins an epoch, in which everything that was restored is there at once, and
// closes the store. It is opened as any other. Lines go into its outbox.
func (r *Restoring) Finish(lines ...[]byte) (store.Position, error) {
	at, err := r.finish(lines)
	if err != nil {
		return at, fmt.Errorf("finishing the restore: %w", err)
	}
	return at, nil
}

func (r *Restoring) finish(lines [][]byte) (at store.Position, err error) {
	if err := errors.Join(r.flush(), r.beginList(), r.writeUses()); err != nil {
		return at, err
	}
	at = store.Position{Epoch: r.epoch + 1, Revision: r.revision + 1}
	if _, err := r.list.Write(mark{at, r.head.Clock}.append(nil)); err != nil {
		return at, err
	}
	if err := errors.Join(r.list.Sync(), wholefile.SyncDir(r.s.dir)); err != nil {
		return at, err
	}
	writes := append(keyWrites(r.head.Keys),
		write{metaFormat, []byte{format}}, write{metaStoreID, r.id[:]},
		write{metaRevision, batchMeta{at.Revision, r.revision, r.id}.encode()},
		// What is listed is in the store. Its revisions say nothing here.
		write{metaList, listReach{r.last, r.last, r.last.Revision}.append(nil)},
		counterWrite(metaNumber, r.head.Number),
	)
	err = r.s.guard(func() error {
		begun, err := beginEpoch(r.t.txn, store.BeginEpoch{Epoch: at.Epoch})
		if err != nil {
			return err
		}
		posted, err := post(r.t.txn, at, lines)
		if err != nil {
			return err
		}
		r.revision = at.Revision
		if err := r.t.add(append(append(writes, begun.writes...), posted...)); err != nil {
			return err
		}
		return r.commit()
	})
	if err != nil {
		return at, err
	}
	if err := r.close(); err != nil {
		return at, err
	}
	if err := r.s.writeDownLastTables(); err != nil {
		return at, err
	}
	r.finished = true
	return at, nil
}

// Discard removes what was made of a store that isn't finished. If it is, it does
// nothing.
func (r *Restoring) Discard() error {
	if r.finished {
		return nil
	}
	err := r.close()
	for _, name := range []string{DeletedListName, tableListName, usesFileName, "db"} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(r.s.dir, name)))
	}
	return err
}

func (r *Restoring) close() error {
	if r.t != nil {
		r.t.txn.Discard()
	}
	err := closeDB(r.s.db)
	if r.s.uses != nil {
		err = errors.Join(err, r.s.uses.close())
		r.s.uses = nil
	}
	if r.list != nil {
		err = errors.Join(err, r.list.Close())
		r.list = nil
	}
	return err
}

func (r *Restoring) add(writes func() ([]write, error)) error {
	return r.s.guard(func() error {
		if r.took {
			return errors.New("nothing can be added once something was taken away")
		}
		all, err := writes()
		if err != nil {
			return err
		}
		return r.put(all)
	})
}

// put writes later, with others.
func (r *Restoring) put(writes []write) error {
	err := r.t.add(writes)
	if errors.Is(err, errNoFit) {
		if err := r.flush(); err != nil {
			return err
		}
		err = r.t.add(writes)
	}
	if errors.Is(err, errNoFit) {
		return store.ErrTooLarge
	}
	return err
}

// flush writes what was put.
func (r *Restoring) flush() error {
	err := r.s.guard(r.commit)
	if err == nil {
		r.t = r.s.transaction(r.revision)
	}
	return err
}

func (r *Restoring) commit() error {
	if r.s.space.look() < roomForCreates {
		return store.ErrFull
	}
	if err := r.t.txn.CommitAt(r.revision, nil); err != nil {
		return unavailable(err)
	}
	return r.s.space.wrote(r.t.size)
}

// ReadDeletedList says what Restoring.TakeAway would make of a list: how far it goes,
// whether it is damaged, and how many of its records are of changes after a backup.
// It fails with ErrNoList or ErrOtherList.
func ReadDeletedList(list io.Reader, of store.Head) (Taken, error) {
	var t Taken
	state, err := scanList(list, func(a takenAway, _ []byte) error {
		if of.Before(a.Position) {
			t.Changes++
		}
		return nil
	})
	if err == nil {
		err = state.checkOf(of.Store)
	}
	if err != nil {
		return t, err
	}
	t.reach(&state)
	return t, nil
}

// ErrOtherList says that a list is of a store that has nothing to do with a backup.
var ErrOtherList = errors.New("it is another store's, and knows nothing of this one")

// checkOf returns nil if the list knows what was taken away from a store, or if that
// isn't known.
func (l *lineage) checkOf(id storeID) error {
	if id != uuid.Nil && !slices.Contains(l.stores(), id) {
		return ErrOtherList
	}
	return nil
}

// reach notes how far a list goes.
func (t *Taken) reach(s *listState) {
	t.UpTo, t.Damaged = s.mark.Position, s.damaged
	if t.Damaged {
		t.UpTo = s.last.Position
	}
}

// ReplaceLostKey makes a hash key where a store that is restored into dir looks for its
// own, unless there is one, for tokens that are made from then on. It fails if that is
// one of ids, which isn't lost then.
func ReplaceLostKey(dir string, ids []token.KeyID) (token.KeyID, error) {
	key, err := loadKey(keyFileIn(dir), true)
	if err != nil {
		return token.KeyID{}, err
	}
	if slices.Contains(ids, key.ID()) {
		return token.KeyID{}, fmt.Errorf("the hash key isn't lost: it is in %s", keyFileIn(dir))
	}
	return key.ID(), nil
}

// RestoreKeys puts the hash keys of a backup, if it has any, where a store that is
// restored into dir looks for its own, and says what the owner has to know of them.
// One that is there already is left alone.
func RestoreKeys(dir string, ids []token.KeyID, texts []string) (said string, err error) {
	file := keyFileIn(dir)
	if text, err := os.ReadFile(file); err == nil {
		there, err := token.NewKey(string(text))
		if err != nil || there.ID() != ids[0] {
			return "", fmt.Errorf("%s is another hash key than the backup's, which is %s: remove it, or put the right one there", file, ids[0])
		}
		return fmt.Sprintf("Its hash key %s is in %s.", ids[0], file), nil
	}
	for i, text := range texts {
		if key, err := token.NewKey(text); err != nil || i >= len(ids) || key.ID() != ids[i] {
			return "", errors.New("the hash keys in the backup aren't those of its tokens")
		}
	}
	if len(texts) > 1 {
		former := strings.Join(texts[1:], "\n") + "\n"
		if err := writeFile(filepath.Join(dir, previousKeysName), []byte(former)); err != nil {
			return "", err
		}
	}
	if len(texts) > 0 {
		if err := writeFile(file, []byte(texts[0]+"\n")); err != nil {
			return "", err
		}
	}
	switch {
	case len(texts) == 0:
		return fmt.Sprintf("Its tokens are under hash key %s, which isn't in the backup: put the file hash.key of the store that was into %s, with hash.previous.keys if there is one, or give the same hash_key in the Caddyfile as there, before the server starts.", ids[0], dir), nil
	case len(texts) > 1:
		return fmt.Sprintf("Its hash key %s was in the backup, and is in %s; the former ones, which some of its tokens are under, are in %s beside it.", ids[0], file, previousKeysName), nil
	}
	return fmt.Sprintf("Its hash key %s was in the backup, and is in %s.", ids[0], file), nil
}
