package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// stopAtDamage is deferred by what reads the database. Badger panics where a block
// is damaged, and a disk that can't be read is a fault in mapped memory, which
// debug.SetPanicOnFault makes a panic: both stop the store. So does an error that
// says that a file is damaged.
func (s *Store) stopAtDamage(err *error) {
	if r := recover(); r != nil {
		s.logger.Debug("a panic in the database", zap.Any("panic", r), zap.Stack("stack"))
		d := &Damage{s.dir, "db", "reading it panics"}
		s.fail(d)
		*err = d
	}
	if *err == nil || errors.Is(*err, store.ErrNotFound) {
		return
	}
	var d *Damage
	if errors.As(*err, &d) {
		s.fail(d)
	}
}

// guard runs f, which reads the database.
func (s *Store) guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer s.stopAtDamage(&err)
	return f()
}

// fail stops the store for good: from here on everything fails with
// store.ErrUnavailable.
func (s *Store) fail(err error) {
	if !errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if s.failure.CompareAndSwap(nil, &err) {
		s.logger.Error("the token store has stopped: every token is answered with 503", zap.Error(err))
		s.cache.close()
		close(s.failed)
	}
}

// abandon closes a database that is damaged, so that nothing is compacted that
// nobody should believe.
func (w *committer) abandon() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dbClosed = true
	if err := closeDB(w.db); err != nil {
		w.logger.Error("closing the damaged token store", zap.Error(err))
	}
}

func closeDB(db *badger.DB) (err error) {
	defer recovered(&err)
	return db.Close()
}

// startCompactions opens the database anew, with compactors. Badger can't start
// them later.
func (w *committer) startCompactions() {
	if !w.space.canClose() {
		return // they start at the next start
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.dbClosed || w.broken != nil {
		return
	}
	if err := w.reopen(); err != nil {
		w.dbClosed = true
		w.fail(err)
	}
}

func (w *committer) reopen() error {
	if err := closeDB(w.db); err != nil {
		return err
	}
	if err := w.writeDownLastTables(); err != nil {
		return err
	}
	db, err := openBadger(w.badgerOptions())
	if err != nil {
		return err
	}
	w.db = db
	w.db.SetDiscardTs(w.reads.unread.Load())
	w.space.begin()
	w.logger.Debug("all tables of the token store are verified; compactions have started")
	return nil
}

// writeDownLastTables writes down the tables of a database that is closed.
func (s *Store) writeDownLastTables() error {
	live, err := s.tablesOfClosed()
	if err != nil {
		return err
	}
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	maps.DeleteFunc(s.known, func(id uint64, _ identity) bool {
		_, ok := live[id]
		return !ok
	})
	u := s.unverified.Load()
	for id, level := range live {
		if _, ok := s.known[id]; ok || u.has(id) {
			continue
		}
		t := &storedTable{id: id, file: tableFile(s.space.dir, id), level: level}
		if err := t.open(); err != nil {
			return fmt.Errorf("reading table %d: %w", id, err)
		}
		sum, err := t.verify(unpaced)
		if err != nil {
			return fmt.Errorf("reading table %d: %w", id, err)
		}
		s.known[id] = identity{level, sum}
	}
	s.writtenDown = maps.Clone(s.known)
	return writeTableList(s.dir, s.known)
}

func (s *Store) tablesOfClosed() (map[uint64]int, error) {
	f, err := os.Open(filepath.Join(s.space.dir, badger.ManifestFilename))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	manifest, err := replayManifest(f, s.badgerOptions())
	if err != nil {
		return nil, err
	}
	live := make(map[uint64]int)
	for id, t := range manifest.Tables {
		live[id] = int(t.Level)
	}
	return live, nil
}

// tend keeps the mark and the list of tables up to date, looks at the clock, and
// verifies the tables.
func (s *Store) tend() {
	ctx, stop := context.WithCancel(context.Background())
	s.stopTending = stop
	s.tending.Go(func() { s.scrub(ctx) })
	s.tending.Go(func() {
		said := ""
		for wait(ctx, s.options.tendEvery) {
			s.clock.Look()
			err := s.tendOnce()
			if s.failure.Load() != nil {
				return
			}
			// Once is enough.
			if err != nil && err.Error() != said {
				said = err.Error()
				s.logger.Error("tending the token store", zap.Error(err))
			}
		}
	})
}

func (s *Store) tendOnce() error {
	if err := s.list.note(s.Position()); err != nil {
		return err
	}
	live := s.liveTables()
	if len(live) == 0 {
		return nil
	}
	err := s.writeDownTables(live)
	var d *Damage
	if errors.As(err, &d) {
		s.fail(d)
	}
	return err
}
