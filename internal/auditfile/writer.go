// Package auditfile writes what a store's outbox holds to a file, a line of JSON
// for each event of a change, and reads such files.
//
// Each line has a number, seq, and the hash of the line before, previous. So a
// chain of lines shows whatever is changed, taken out or put in between, over as
// many files as it has been rotated into; what is cut off at its end alone doesn't
// show.
//
// A line is committed with its change, and is in the outbox until it is known to
// be in the file. What has been delivered is known by the outbox's receipt, which
// leaves the store together with the lines, so that it says exactly where in which
// file the first line that is still in the outbox has to begin. What stands there
// after a crash is nothing, or that line and those that follow, or the beginning
// of that: so it is enough to write them again, over themselves.
package auditfile

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

const (
	// tendEvery is how often the writer looks after the file unasked: to try again
	// what has failed, and to take lines out of the outbox.
	tendEvery = time.Second
	// defaultPatience is how long anybody waits for a disk before the file counts as
	// one that can't be written.
	defaultPatience = 10 * time.Second
)

// Writer writes the lines of a store's outbox to a file, in the order of the
// outbox. Its methods can be called concurrently.
type Writer struct {
	store  store.Store
	logger *zap.Logger
	// patience is defaultPatience, but for tests that can't wait.
	patience time.Duration

	// wanted: new changes have lines.
	wanted   atomic.Bool
	failures atomic.Uint64

	wake  chan struct{}
	calls chan call
	stop  chan struct{}
	ended chan struct{}

	mu sync.Mutex
	// All lines of changes before written are in the file.
	written store.Position
	// failure is why lines can't be written at present.
	failure error
	// changed is closed when one of these two changes.
	changed chan struct{}
	// place is where the file should be.
	place place

	// The rest belongs to the goroutine that writes.

	path     string // where lines go
	file     *os.File
	info     os.FileInfo
	tail     tail
	reserved int64 // room is allocated up to there
	// undelivered are in the file and not known to have left the outbox.
	undelivered []group
}

// call is something to be done by whom the file belongs to.
type call struct {
	do   func() error
	done chan error
}

// place is where a file should be, and how long at least; info is nil if it isn't
// open.
type place struct {
	path string
	info os.FileInfo
	end  int64
}

// group are lines that were written together, and where the file was then.
type group struct {
	lines []store.LinePlace
	tail  tail
}

// Open completes the file with what the outbox of s holds, and goes on writing to
// it what comes: to the file at path, or if that is "" to the one before, to which
// nothing is added then but what had been committed. Close ends that.
//
// It fails if that file is another one than before and can't be begun, or if path
// is "" and lines are waiting that can't be written. What keeps a file that it
// has written before from being written again is told in the log, and by Ready.
func Open(s store.Store, path string, logger *zap.Logger) (*Writer, error) {
	receipt, err := s.Receipt()
	if err != nil {
		return nil, err
	}
	w := &Writer{
		store: s, logger: logger, patience: defaultPatience,
		wake: make(chan struct{}, 1), calls: make(chan call), stop: make(chan struct{}), ended: make(chan struct{}),
		changed: make(chan struct{}),
	}
	if w.tail, err = parseTail(receipt); err != nil {
		return nil, err
	}
	isNew := w.tail.File != path
	go w.run()
	if err := w.do(func() error { return w.openFile(path) }); err != nil && isNew {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// openFile is what Open does with files.
func (w *Writer) openFile(path string) error {
	before := w.tail.File
	if before != "" && before != path {
		w.goTo(before)
		if err := w.drain(); err != nil && path == "" {
			return w.waiting(err)
		} else if err != nil {
			w.logger.Warn("what was left to be written to the audit file before goes to the new one", zap.String("before", before), zap.String("file", path), zap.Error(err))
		}
	}
	w.goTo(cmp.Or(path, before))
	if path == "" {
		return nil
	}
	w.wanted.Store(true)
	if before == path {
		return w.write()
	}
	if err := w.drain(); err != nil {
		return fmt.Errorf("the audit file %s can't be begun: %w", path, err)
	}
	return nil
}

// waiting says that lines wait for a file that isn't wanted any more.
func (w *Writer) waiting(err error) error {
	return fmt.Errorf("changes wait to be written to the audit file %s, which can't be done: %w; make that possible once, or write `audit file <another path>`, and they go there", w.tail.File, err)
}

// Wanted tells whether changes are to have lines.
func (w *Writer) Wanted() bool { return w.wanted.Load() }

// Failures counts how often lines couldn't be written.
func (w *Writer) Failures() uint64 { return w.failures.Load() }

// Ready returns why lines can't be written at present, nil if they can or aren't
// wanted. It looks where the file is, so that a change isn't begun for which there
// is no file or no room.
func (w *Writer) Ready() error {
	if !w.Wanted() {
		return nil
	}
	w.mu.Lock()
	failure, at := w.failure, w.place
	w.mu.Unlock()
	if failure != nil {
		return failure
	}
	if info, err := os.Stat(at.path); err == nil && os.SameFile(info, at.info) && info.Size() >= at.end {
		return nil
	}
	return w.do(w.write)
}

// Await returns nil once all lines of changes up to a position are in the file, on
// disk, or why that has to wait.
func (w *Writer) Await(at store.Position) error {
	if !w.Wanted() {
		return nil
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
	slow := time.NewTimer(w.patience)
	defer slow.Stop()
	for {
		w.mu.Lock()
		written, failure, changed := w.written, w.failure, w.changed
		w.mu.Unlock()
		switch {
		case at.Before(written):
			return nil
		case failure != nil:
			return failure
		}
		select {
		case <-changed:
		case <-slow.C:
			w.settle(errSlow)
		}
	}
}

var errSlow = errors.New("its disk doesn't answer")

// do has f done by whom the file belongs to.
func (w *Writer) do(f func() error) error {
	slow := time.NewTimer(w.patience)
	defer slow.Stop()
	c := call{f, make(chan error, 1)}
	select {
	case w.calls <- c:
	case <-w.ended:
		return store.ErrUnavailable
	case <-slow.C:
		w.settle(errSlow)
		return errSlow
	}
	select {
	case err := <-c.done:
		return err
	case <-slow.C:
		w.settle(errSlow)
		return errSlow
	}
}

// Check returns why Use(path) wouldn't be right.
func (w *Writer) Check(path string) error {
	if w.uses(path) {
		return nil
	}
	return w.do(func() error {
		if path == "" {
			err := w.drain()
			if some, _ := w.waits(); err != nil && some {
				return w.waiting(err)
			}
			return nil
		}
		f, _, err := w.next(path)
		if err != nil {
			return fmt.Errorf("the audit file %s can't be begun: %w", path, err)
		}
		return f.Close()
	})
}

// Use lets lines go to another file from now on, or nowhere if path is "". The
// chain goes on there.
func (w *Writer) Use(path string) {
	if w.uses(path) {
		return
	}
	if w.wanted.Store(path != ""); path != "" {
		_ = w.do(func() error {
			w.goTo(path)
			return w.write()
		})
	}
}

// uses tells whether lines go to path.
func (w *Writer) uses(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Wanted() == (path != "") && (path == "" || path == w.place.path)
}

// Close writes what is left to be written, if it can be. Nothing may be committed
// with lines after it.
func (w *Writer) Close() error {
	close(w.stop)
	slow := time.NewTimer(w.patience)
	defer slow.Stop()
	select {
	case <-w.ended:
		return nil
	case <-slow.C:
		return fmt.Errorf("closing the audit file: %w", errSlow)
	}
}

// run writes until it is told to stop.
func (w *Writer) run() {
	defer close(w.ended)
	tend := time.NewTicker(tendEvery)
	defer tend.Stop()
	for {
		select {
		case <-w.wake:
			if w.failed() == nil {
				_ = w.write()
			}
		case c := <-w.calls:
			c.done <- c.do()
		case <-tend.C:
			_ = w.write()
			_ = w.deliver(0)
		case <-w.stop:
			_ = w.drain() // the next start does what can't be done now
			_ = w.deliver(0)
			w.leave()
			return
		}
	}
}

func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// write writes what is to be written, and makes known whether it could be.
func (w *Writer) write() error {
	err := w.drain()
	w.settle(err)
	return err
}

// settle makes known why lines can't be written, or if err is nil that they can.
func (w *Writer) settle(err error) {
	w.mu.Lock()
	before, file := w.failure, zap.String("file", w.place.path)
	w.failure = err
	w.publish()
	w.mu.Unlock()
	if err != nil {
		w.failures.Add(1)
	}
	switch {
	case err != nil && before == nil:
		w.logger.Error("the audit file can't be written: until it can be, no tokens are made, nobody is unblocked, and of the settings nothing is changed but to switch off; deleting and blocking go on, and are written then", file, zap.Error(err))
	case err == nil && before != nil:
		w.logger.Info("the audit file can be written again, and is complete", file)
	}
}

// publish wakes whoever waits for a change of what mu guards.
func (w *Writer) publish() {
	close(w.changed)
	w.changed = make(chan struct{})
}
