package badgerstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// verification says how tables are verified.
type verification struct {
	// atOpen is for how long a start waits for it; less than zero: not at all.
	atOpen time.Duration
	// again is after how long everything is verified once more, pace how many
	// bytes a second that may read, and firstPace those that weren't verified at
	// the start.
	again           time.Duration
	pace, firstPace int
}

func (v verification) orDefault() verification {
	if v == (verification{}) {
		return verification{time.Second, time.Hour, 16 << 20, 256 << 20}
	}
	return v
}

// unverified are tables that were there when the store was opened and that
// aren't verified yet. Until they are, Badger doesn't compact, so that it reads
// nothing but what somebody has asked for, and who asks verifies first.
type unverified struct {
	tables []*unverifiedTable
	left   atomic.Int64
	// because makes the error of a damaged file.
	because func(file string, err error) error
}

type unverifiedTable struct {
	*storedTable
	once sync.Once
	done atomic.Bool
	err  error
	sum  uint32
}

func newUnverified(e *examination) *unverified {
	u := &unverified{because: e.because}
	for _, t := range e.tables {
		u.tables = append(u.tables, &unverifiedTable{storedTable: t})
	}
	// What is read and compacted most comes first.
	slices.SortFunc(u.tables, func(a, b *unverifiedTable) int {
		return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(b.id, a.id))
	})
	u.left.Store(int64(len(u.tables)))
	return u
}

// verify verifies a table, unless that has been done.
func (u *unverified) verify(t *unverifiedTable, pace func(int)) error {
	t.once.Do(func() {
		if t.sum, t.err = t.storedTable.verify(pace); t.err != nil {
			t.err = u.because(inData(filepath.Base(t.file)), t.err)
			return
		}
		t.index = nil // no longer needed, and large
		t.done.Store(true)
		u.left.Add(-1)
	})
	return t.err
}

// between verifies the tables that have keys in a range, both ends included. It
// returns an error that is a Damage if one of them is damaged.
func (u *unverified) between(from, to []byte) error {
	if u == nil || u.left.Load() == 0 {
		return nil
	}
	for _, t := range u.tables {
		if t.done.Load() || bytes.Compare(t.smallest, to) > 0 || bytes.Compare(t.biggest, from) < 0 {
			continue
		}
		if err := u.verify(t, unpaced); err != nil {
			return err
		}
	}
	return nil
}

func unpaced(int) {}

// forAWhile verifies as many tables as it can until then, side by side.
func (u *unverified) forAWhile(deadline time.Time) error {
	var next atomic.Int64
	var workers sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for w := range errs {
		workers.Go(func() {
			for time.Now().Before(deadline) {
				i := int(next.Add(1)) - 1
				if i >= len(u.tables) || errs[w] != nil {
					return
				}
				errs[w] = u.verify(u.tables[i], unpaced)
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

// verified returns what the tables that have been verified are.
func (u *unverified) verified() map[uint64]identity {
	all := make(map[uint64]identity)
	for _, t := range u.tables {
		if t.done.Load() {
			all[t.id] = identity{t.level, t.sum}
		}
	}
	return all
}

// known returns what the tables are, as far as that has been written down or
// found out.
func (u *unverified) known() map[uint64]identity {
	all := u.verified()
	for _, t := range u.tables {
		if _, ok := all[t.id]; !ok && t.known != nil {
			all[t.id] = *t.known
		}
	}
	return all
}

// scrub verifies what a start had no time for, tells the committer, and then
// verifies everything again and again.
func (s *Store) scrub(ctx context.Context) {
	v := s.verification
	if u := s.unverified.Load(); s.withoutCompactors {
		pace := paced(ctx, v.firstPace)
		for _, t := range u.tables {
			if err := u.verify(t, pace); ctx.Err() == nil && err != nil {
				s.fail(err)
				return
			}
			if ctx.Err() != nil {
				return
			}
		}
		s.addKnown(u.verified())
		close(s.allVerified)
	}
	for wait(ctx, v.again) {
		begun := time.Now()
		size, err := s.verifyAll(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.fail(err)
			return
		}
		s.checked.forget()
		s.logger.Debug("verified the token store", zap.Int64("bytes", size), zap.Duration("took", time.Since(begun)))
	}
}

// verifyAll verifies all tables there are, at a pace.
func (s *Store) verifyAll(ctx context.Context) (size int64, err error) {
	pace := paced(ctx, s.verification.pace)
	for id, level := range s.liveTables() {
		t, sum, err := s.verifyOne(id, level, pace)
		if err != nil {
			return size, err
		}
		if t != nil {
			size += t.size
			s.addKnown(map[uint64]identity{id: {level, sum}})
		}
	}
	return size, nil
}

// verifyOne verifies a table; nil if it is gone meanwhile.
func (s *Store) verifyOne(id uint64, level int, pace func(int)) (*storedTable, uint32, error) {
	t := &storedTable{id: id, file: tableFile(s.space.dir, id), level: level}
	s.knownMu.Lock()
	if was, ok := s.known[id]; ok {
		t.known = &was
	}
	s.knownMu.Unlock()
	err := t.open()
	var sum uint32
	if err == nil {
		sum, err = t.verify(pace)
	}
	if err == nil {
		return t, sum, nil
	}
	// A compaction empties and removes what it has compacted.
	if _, live := s.liveTables()[id]; !live {
		return nil, 0, nil
	}
	e := examination{dir: s.dir}
	return nil, 0, e.because(inData(filepath.Base(t.file)), err)
}

// liveTables returns the levels of the tables that are in use.
func (s *Store) liveTables() map[uint64]int {
	live := make(map[uint64]int)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.dbClosed {
		return live
	}
	_ = s.guard(func() error {
		for _, t := range s.db.Tables() {
			live[t.ID] = t.Level
		}
		return nil
	})
	return live
}

func (s *Store) addKnown(more map[uint64]identity) {
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	maps.Copy(s.known, more)
}

// writeDownTables verifies the tables that are new, and writes down which they
// are.
func (s *Store) writeDownTables(live map[uint64]int) error {
	u := s.unverified.Load()
	for id, level := range live {
		if s.isKnown(id) || u.has(id) {
			continue
		}
		t, sum, err := s.verifyOne(id, level, unpaced)
		if err != nil {
			return err
		}
		if t != nil {
			s.addKnown(map[uint64]identity{id: {level, sum}})
		}
	}
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	maps.DeleteFunc(s.known, func(id uint64, _ identity) bool {
		_, ok := live[id]
		return !ok
	})
	if maps.Equal(s.known, s.writtenDown) {
		return nil
	}
	if err := writeTableList(s.dir, s.known); err != nil {
		return err
	}
	s.writtenDown = maps.Clone(s.known)
	return nil
}

func (s *Store) isKnown(id uint64) bool {
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	_, ok := s.known[id]
	return ok
}

func (u *unverified) has(id uint64) bool {
	return u.left.Load() > 0 && slices.ContainsFunc(u.tables, func(t *unverifiedTable) bool { return t.id == id })
}

// paced returns a function that waits so long that no more bytes a second are
// read.
func paced(ctx context.Context, perSecond int) func(int) {
	const burst = 1 << 20
	limiter := rate.NewLimiter(rate.Limit(perSecond), burst)
	return func(n int) {
		for ; n > 0; n -= burst {
			_ = limiter.WaitN(ctx, min(n, burst))
		}
	}
}

// wait waits for some time; false if ctx ends before.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
