package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/clock"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// look examines the store's files before Badger opens them, and verifies as many
// tables as there is time for.
func (s *Store) look() (*examination, error) {
	unlock, err := lockDir(s.space.dir)
	if err != nil {
		return nil, inUse(s.dir)
	}
	defer unlock()
	if err := putBack(s.dir); err != nil {
		return nil, err
	}
	if err := removeLeftovers(s.space.dir); err != nil {
		return nil, err
	}
	e, err := examine(s.dir, s.badgerOptions())
	if err != nil {
		return nil, err
	}
	if err := s.check(e); err != nil {
		return nil, err
	}
	for _, warning := range e.warnings {
		s.logger.Warn("the token store lacks something: "+warning, zap.String("dir", s.dir))
	}
	u := newUnverified(e)
	begun := time.Now()
	if err := u.forAWhile(begun.Add(s.verification.atOpen)); err != nil {
		return nil, err
	}
	// A start reads these, and is to be refused before Badger opens anything.
	for _, space := range []byte{spaceMeta, spacePolicy, spaceHold} {
		if err := u.between([]byte{space}, []byte{space + 1}); err != nil {
			return nil, err
		}
	}
	s.logger.Debug("verified tables of the token store", zap.Int("tables", len(u.tables)), zap.Int64("left", u.left.Load()), zap.Duration("took", time.Since(begun)))
	s.unverified.Store(u)
	// Badger may use again the number of a table that isn't there any more.
	s.known = u.known()
	if err := writeTableList(s.dir, s.known); err != nil {
		return nil, err
	}
	return e, setAside(s.dir, e.unnamed)
}

// check checks that the store is ours and whole, and finds its key.
func (s *Store) check(e *examination) error {
	if err := e.checkFormat(); err != nil {
		return err
	}
	isNew := e.meta.get(metaFormat) == nil
	if isNew && s.options.WithoutKey {
		return ErrNoStore
	}
	if err := s.loadKey(isNew); err != nil {
		return err
	}
	return e.checkList()
}

// checkFormat returns nil if the database is a token store that this release reads, or
// is to become one.
func (e *examination) checkFormat() error {
	kind := e.meta.get(metaFormat)
	if kind == nil && e.revision > 0 {
		return e.damage("db", "it holds changes up to revision %d, but not what makes it a token store", e.revision)
	}
	if kind != nil && (len(kind) != 1 || kind[0] < oldestFormat || kind[0] > format) {
		return fmt.Errorf("the token store in %s has format %x, and this release reads formats %d to %d: upgrade, or choose another directory", e.dir, kind, oldestFormat, format)
	}
	if kind != nil && len(e.meta.get(metaKeyID)) != len(token.KeyID{}) {
		return e.damage("db", "it doesn't say which hash key its tokens are under")
	}
	return nil
}

// checkList returns nil if database and list belong together, and none of the two lacks
// anything.
func (e *examination) checkList() error {
	id, reach := e.meta.get(metaStoreID), e.reach()
	switch {
	case id != nil && !e.hasList:
		return e.damage(DeletedListName, "it is missing")
	case id != nil && string(id) != string(e.list.store[:]), id == nil && e.list.mark.Revision > 0:
		return e.damage(DeletedListName, "it is another store's, or the database is")
	case reach.after.before(e.list.last):
		return e.damage("db", "what was taken away at revision %d, as %s says, is not in it", e.list.last.Revision, DeletedListName)
	case e.hasList && e.list.last.before(reach.before) && e.list.damaged:
		return e.damage(DeletedListName, "line %d isn't what was written", e.list.lines+1)
	case e.hasList && e.list.last.before(reach.before):
		return e.damage(DeletedListName, "it ends at revision %d, and what was taken away until revision %d was in it", e.list.last.Revision, reach.before.Revision)
	}
	return nil
}

// prepare makes a new database a token store, and completes what was left of an
// old one.
func (s *Store) prepare(e *examination) (err error) {
	if err := s.readRevision(e); err != nil {
		return err
	}
	if !e.hasList {
		if e.list, err = makeList(s.dir, uuid.New()); err != nil {
			return fmt.Errorf("writing %s: %w", DeletedListName, err)
		}
	}
	reach := e.reach()
	isNew := e.meta.get(metaFormat) == nil
	s.isNew = isNew
	if isNew || e.meta.get(metaStoreID) == nil {
		if err := s.begin(isNew, e.list.store); err != nil {
			return fmt.Errorf("writing to a new token store: %w", err)
		}
		if !isNew {
			reach = everythingUpTo(s.Position())
		}
	}
	s.reads.start(s.applied.Load())
	s.db.SetDiscardTs(s.applied.Load())
	return s.openList(e, reach)
}

// readRevision reads where Badger has the store, which has to be where its files
// are.
func (s *Store) readRevision(e *examination) error {
	var found []byte
	var epoch uint64
	err := s.guard(func() error {
		txn := s.snapshot(math.MaxUint64, false)
		defer txn.Discard()
		var err error
		if found, err = get(txn, metaRevision); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		epoch, err = epochOf(txn)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the token store in %s: %w", s.dir, err)
	}
	if want := e.meta.get(metaRevision); string(found) != string(want) {
		return e.damage("db", "Badger finds it at revision %x, and it is at revision %x", found, want)
	}
	at := store.Position{Epoch: epoch}
	if len(found) >= 8 {
		at.Revision = binary.BigEndian.Uint64(found)
	}
	s.show(at)
	return nil
}

// loadKey takes the key that is given for new tokens, or else the store's own.
func (s *Store) loadKey(isNew bool) error {
	if s.options.WithoutKey {
		s.UseKeys([]*token.Key{new(token.Key)}) // under which there is nothing
		return nil
	}
	if s.options.Key != nil {
		s.UseKeys(append([]*token.Key{s.options.Key}, s.options.Previous...))
		return nil
	}
	keys, err := readOwnKeys(s.dir, isNew)
	if err != nil {
		return err
	}
	s.own.keys = keys
	s.UseKeys(keys)
	return nil
}

// begin writes what makes a database a token store.
func (s *Store) begin(isNew bool, id storeID) error {
	at := s.Position()
	before := at.Revision
	at.Revision++
	txn := s.db.NewTransactionAt(before, true)
	defer txn.Discard()
	keyID := s.Key().ID()
	entries := []*badger.Entry{
		badger.NewEntry(metaFormat, []byte{format}),
		badger.NewEntry(metaStoreID, id[:]),
		badger.NewEntry(metaRevision, batchMeta{at.Revision, before, id}.encode()),
	}
	if isNew {
		entries = append(entries, badger.NewEntry(metaKeyID, keyID[:]))
	} else {
		// What was taken away before is listed once this is written.
		entries = append(entries, badger.NewEntry(metaList, everythingUpTo(at).append(nil)))
	}
	for _, e := range entries {
		if err := txn.SetEntry(e); err != nil {
			return err
		}
	}
	if err := txn.CommitAt(at.Revision, nil); err != nil {
		return err
	}
	s.show(at)
	return nil
}

// openList opens deleted.list and completes it.
func (s *Store) openList(e *examination, reach listReach) (err error) {
	s.clock = clock.New(s.options.Time, e.list.mark.clock, s.logger)
	if s.list, err = openList(s.dir, e.list, s.options.disk, s.clock.Remembered); err != nil {
		return fmt.Errorf("opening %s: %w", DeletedListName, err)
	}
	if err := s.completeList(e.list, reach); err != nil {
		return err
	}
	if err := s.list.tidy(s.dir, s.clock.Certain()); err != nil {
		return fmt.Errorf("tidying %s: %w", DeletedListName, err)
	}
	s.list.reserve()
	return nil
}

// asideDir is where tables are while Badger opens the database that its MANIFEST
// doesn't name. A crash leaves some of which nothing is needed. But Badger would
// delete them even where it is the MANIFEST that is damaged.
func asideDir(dir string) string { return filepath.Join(dir, "db.aside") }

func setAside(dir string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	aside := asideDir(dir)
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(dir, "db", name), filepath.Join(aside, name)); err != nil {
			return err
		}
	}
	// What Badger cuts off from it may be needed to know what they are.
	manifest, err := os.ReadFile(filepath.Join(dir, "db", badger.ManifestFilename))
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(aside, badger.ManifestFilename), manifest)
}

// putBack moves back what was set aside.
func putBack(dir string) error {
	aside := asideDir(dir)
	files, _ := os.ReadDir(aside)
	for _, file := range files {
		from, to := filepath.Join(aside, file.Name()), filepath.Join(dir, "db", file.Name())
		if _, err := os.Stat(to); err == nil {
			continue
		}
		if err := os.Rename(from, to); err != nil {
			return err
		}
	}
	return os.RemoveAll(aside)
}

// dropAside removes what was set aside, once it is certain that the store has all
// it had. Of a store without a mark that isn't known.
func (s *Store) dropAside(e *examination) error {
	if len(e.unnamed) == 0 {
		return nil
	}
	if e.hasList {
		return os.RemoveAll(asideDir(s.dir))
	}
	kept := filepath.Join(s.dir, fmt.Sprintf("db.unnamed-%d", time.Now().Unix()))
	s.logger.Warn("the token store has tables that its MANIFEST doesn't name: mostly what a crash leaves, but it can't be told whether anything is lost; they are kept",
		zap.String("dir", kept), zap.Strings("tables", e.unnamed))
	return os.Rename(asideDir(s.dir), kept)
}

// ResetClock makes a stopped store's remembered time what the machine's clock
// says, for where that was wrong before.
func ResetClock(dir string, now time.Time) error {
	unlock, err := lockDir(filepath.Join(dir, "db"))
	if err != nil {
		return inUse(dir)
	}
	defer unlock()
	e := &examination{dir: dir}
	if err := e.readList(); err != nil {
		return err
	}
	if !e.hasList || e.list.damaged {
		return fmt.Errorf("%s in %s is missing or damaged, or was left by a crash: start the server once", DeletedListName, dir)
	}
	l, err := openList(dir, e.list, realDisk(dir), func() time.Time { return now })
	if err != nil {
		return err
	}
	return errors.Join(l.write(nil, e.list.mark.Position), l.close())
}

func inUse(dir string) error {
	return fmt.Errorf("the token store in %s is in use by another process: stop that one, or give this one a directory of its own", dir)
}
