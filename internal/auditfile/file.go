package auditfile

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/wholefile"
)

const (
	// room is how much is allocated behind the last line, in bytes. At half of it
	// more is: what is committed meanwhile finds room too.
	room = 1 << 20
	// mostUndelivered is how many groups of lines may be both in the file and in the
	// outbox.
	mostUndelivered = 8
)

// drain writes all lines that the outbox holds.
func (w *Writer) drain() error {
	if !w.Wanted() {
		// Nobody needs the file, unless there is something left.
		if some, err := w.waits(); err != nil || !some {
			return err
		}
	}
	for more := true; more; {
		err := w.ready()
		if err == nil {
			more, err = w.writeSome()
		}
		if err != nil {
			return err
		}
	}
	return w.reserve()
}

// waits tells whether there are lines to be written.
func (w *Writer) waits() (bool, error) {
	lines, err := w.store.Outbox(w.tail.place())
	return len(lines) > 0, err
}

// writeSome writes the next lines of the outbox, and tells whether there were any.
func (w *Writer) writeSome() (more bool, err error) {
	at := w.store.Position()
	lines, err := w.store.Outbox(w.tail.place())
	if err != nil {
		return false, err
	}
	if len(lines) == 0 {
		at.Revision++
		w.advance(at)
		return false, nil
	}
	// Of the last change there may have been more lines to come.
	w.advance(lines[0].Position)
	text, next := w.tail.then(lines)
	if _, err := w.file.WriteAt(text, w.tail.End); err != nil {
		return false, err
	}
	if err := w.file.Sync(); err != nil {
		return false, err
	}
	w.tail = next
	g := group{tail: next}
	for _, l := range lines {
		g.lines = append(g.lines, l.LinePlace)
	}
	w.undelivered = append(w.undelivered, g)
	w.advance(lines[len(lines)-1].Position)
	_ = w.deliver(mostUndelivered)
	return true, nil
}

// advance makes known which changes are in the file.
func (w *Writer) advance(written store.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.place = place{w.path, w.info, w.tail.End}
	w.written = written
	w.publish()
}

// goTo lets lines go to another path.
func (w *Writer) goTo(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.path, w.place = path, place{path: path}
}

// ready sees to it that the file that is open is the one at path, and that the
// next line belongs at its end.
func (w *Writer) ready() error {
	switch {
	case w.tail.File != w.path:
		return w.begin()
	case w.file == nil:
		return w.resume()
	}
	info, err := os.Stat(w.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !os.SameFile(info, w.info):
		return w.begin()
	case err == nil && info.Size() != w.tail.End:
		// Of what couldn't be written some may be there; it is written again.
		err = w.tail.check(w.file, w.store.Outbox)
	}
	return err
}

// begin goes on in a file that is another one than before: the one at path, which
// is made if it isn't there.
func (w *Writer) begin() error {
	f, next, err := w.next(w.path)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		err = w.deliver(0)
	}
	if err == nil {
		_, err = w.store.Commit(context.Background(), store.Delivered{Receipt: next.receipt()})
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	if w.tail.File == "" && next.Seq > 0 {
		w.logger.Warn("the audit file goes on with the chain that was in it, which this store hasn't written", zap.String("file", w.path), zap.Uint64("seq", next.Seq))
	}
	w.leave()
	w.file, w.info, w.tail, w.reserved = f, info, next, 0
	if err := lock(f); err != nil { // now that no other of ours has it
		return err
	}
	return w.reserve()
}

// next opens the file at a path, which is made if it isn't there, and tells where
// the chain is when it goes on there.
func (w *Writer) next(path string) (*os.File, tail, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, tail{}, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, tail{}, err
	}
	var next tail
	if err = w.lock(f); err == nil {
		next, err = w.tail.endIn(path, f)
	}
	if err == nil {
		err = wholefile.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = f.Close()
		return nil, tail{}, err
	}
	return f, next, nil
}

// lock keeps other processes from writing to f, unless it is the file that is open
// already, maybe under another name.
func (w *Writer) lock(f *os.File) error {
	if w.file != nil {
		if info, err := f.Stat(); err == nil && os.SameFile(info, w.info) {
			return nil
		}
	}
	return lock(f)
}

// leave closes the file that is open, if there is one, without what has been
// allocated or couldn't be written.
func (w *Writer) leave() {
	if w.file == nil {
		return
	}
	if w.tail.check(w.file, w.store.Outbox) == nil {
		_ = w.file.Truncate(w.tail.End)
	}
	_ = w.file.Close()
	w.file = nil
}

// resume opens the file that an earlier process wrote to, wherever it is by now.
func (w *Writer) resume() error {
	f, err := os.OpenFile(w.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return w.resumeMoved()
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		err = lock(f)
	}
	if err == nil {
		err = w.tail.check(f, w.store.Outbox)
	}
	if info != nil && info.Size() == 0 {
		// A new one may have been put in its place, also where no line is known to be
		// written yet in the one before.
		_ = f.Close()
		return w.resumeMoved()
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	w.file, w.info, w.reserved = f, info, 0
	return nil
}

// resumeMoved looks for the file that has been moved away from path, to write what
// was left to be written when that happened: some of it may be there. Then it goes
// on at path. What nobody finds isn't written again.
func (w *Writer) resumeMoved() error {
	some, err := w.waits()
	if err != nil {
		return err
	}
	if some {
		w.file = w.findMoved()
	}
	for more := w.file != nil; more; {
		if more, err = w.writeSome(); err != nil {
			return err
		}
	}
	return w.begin()
}

// findMoved opens the file that the chain was in, under another name in the same
// directory. It returns nil if there is none.
func (w *Writer) findMoved() *os.File {
	dir := filepath.Dir(w.path)
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, other := range files {
		info, err := other.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() < w.tail.End || info.Size() == 0 {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, other.Name()), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if lock(f) == nil && w.tail.check(f, w.store.Outbox) == nil {
			return f
		}
		_ = f.Close()
	}
	return nil
}

// reserve allocates room for lines to come.
func (w *Writer) reserve() error {
	if w.file == nil || w.reserved-w.tail.End >= room/2 {
		return nil
	}
	err := allocate(w.file, w.tail.End, room)
	if errors.Is(err, errors.ErrUnsupported) {
		w.reserved = math.MaxInt64
		return nil
	}
	if err == nil {
		w.reserved = w.tail.End + room
	}
	return err
}

// deliver takes lines out of the outbox that are in the file, if there are more
// groups of them than that. Where the store can't do that it is tried again.
func (w *Writer) deliver(moreThan int) error {
	if len(w.undelivered) <= moreThan {
		return nil
	}
	for len(w.undelivered) > 0 {
		some := w.undelivered[:min(len(w.undelivered), mostUndelivered)]
		m := store.Delivered{Receipt: some[len(some)-1].tail.receipt()}
		for _, g := range some {
			m.Lines = append(m.Lines, g.lines...)
		}
		if _, err := w.store.Commit(context.Background(), m); err != nil {
			return err
		}
		w.undelivered = w.undelivered[len(some):]
	}
	return nil
}
