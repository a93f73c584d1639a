package badgerstore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/wholefile"
)

// DeletedListName is the file, beside the database, of all that was taken away.
// It serves two ends. A restore reads it, so that what was taken away since the
// backup stays so. And its last line is the mark: the revision that the database
// had certainly reached. A database that is behind it has lost something.
//
// It is text, a record a line, each with a CRC-32C of what stands before it:
//
//	access-tokens deleted.list 1 <store's id> <ids of former stores>
//	deleted <epoch> <revision> <token id> <expiry, in seconds since 1970, or never>
//	enabled <epoch> <revision> <project> <true or false>
//	voided <epoch> <revision> <project> <user>
//	blocked <epoch> <revision> <project> <user> <true or false>
//	mark <epoch> <revision> <remembered time, in milliseconds since 1970>
//
// A restored store's list begins with the one that it was restored with, if it was. So
// a list knows what was taken away from any store whose id it has.
//
// Records are appended over the mark, along with a new one, in one write. The
// mark alone is overwritten in place, so that a store in which only last uses
// change doesn't grow.
const DeletedListName = "deleted.list"

const listTitle = "access-tokens deleted.list 1"

// mark is what the store had certainly come to.
type mark struct {
	store.Position
	clock time.Time // zero if it isn't known
}

// append writes a line that never gets shorter.
func (m mark) append(b []byte) []byte {
	ms := int64(0)
	if !m.clock.IsZero() {
		ms = max(m.clock.UnixMilli(), 0)
	}
	return appendLine(b, fmt.Sprintf("mark %d %020d %016d", m.Epoch, m.Revision, ms))
}

func parseMark(text string) (m mark, ok bool) {
	var ms int64
	if n, _ := fmt.Sscanf(text, "mark %d %d %d", &m.Epoch, &m.Revision, &ms); n != 3 {
		return m, false
	}
	if ms > 0 {
		m.clock = time.UnixMilli(ms).UTC()
	}
	return m, true
}

// appendLine appends a line and its checksum.
func appendLine(b []byte, text string) []byte {
	return fmt.Appendf(b, "%s %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

// cutLine returns the text of a line with a right checksum.
func cutLine(line []byte) (text string, ok bool) {
	line, ended := bytes.CutSuffix(line, []byte("\n"))
	at := bytes.LastIndexByte(line, ' ')
	if !ended || at < 0 || string(line[at+1:]) != fmt.Sprintf("%08x", crc32.Checksum(line[:at], castagnoli)) {
		return "", false
	}
	return string(line[:at]), true
}

// lineage says which store something is of.
type lineage struct {
	store storeID
	// former are those whose list it was restored with, the last one first.
	former []storeID
}

// title is the first line of a list.
func (l *lineage) title() []byte {
	text := listTitle
	for _, id := range l.stores() {
		text += " " + id.String()
	}
	return appendLine(nil, text)
}

func (l *lineage) stores() []storeID { return append([]storeID{l.store}, l.former...) }

func parseTitle(text string) (l lineage, err error) {
	ids, found := strings.CutPrefix(text, listTitle+" ")
	if !found {
		return l, ErrNoList
	}
	for i, text := range strings.Split(ids, " ") {
		id, err := uuid.Parse(text)
		switch {
		case err != nil:
			return l, ErrNoList
		case i == 0:
			l.store = id
		default:
			l.former = append(l.former, id)
		}
	}
	return l, nil
}

// place is where a list has come to: the position of its last record, and how many
// records have that one.
type place struct {
	store.Position
	records uint64
}

func (p place) before(q place) bool {
	return p.Before(q.Position) || p.Position == q.Position && p.records < q.records
}

// then returns where a list is with one more record.
func (p place) then(at store.Position) place {
	if at != p.Position {
		return place{at, 1}
	}
	return place{at, p.records + 1}
}

// after returns where a list is with more records.
func (p place) after(all []takenAway) place {
	for _, a := range all {
		p = p.then(a.Position)
	}
	return p
}

// listState is what a file of that kind says.
type listState struct {
	lineage
	// last is where it has come to before anything damaged, end where that is in
	// the file, lines how many lines there are up to there.
	last  place
	end   int64
	lines int
	mark  mark
	// damaged: a line is neither a record nor the mark, or stands where none does.
	// It may be what a crash left of the last write.
	damaged bool
}

// ErrNoList says that a file is no deleted.list.
var ErrNoList = errors.New("its first line is not that of such a list")

// scanList reads a list. It calls f, if there is one, with each record and its
// line.
func scanList(r io.Reader, f func(a takenAway, line []byte) error) (s listState, err error) {
	in := bufio.NewReaderSize(r, 1<<16)
	marked := false
	for first := true; ; first = false {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return s, err
		}
		if len(line) == 0 {
			if first {
				return s, ErrNoList
			}
			break
		}
		text, ok := cutLine(line)
		if first {
			if s.lineage, err = parseTitle(text); !ok || err != nil {
				return s, ErrNoList
			}
			s.end, s.lines = int64(len(line)), 1
			continue
		}
		// The mark counts even behind what is damaged. Nothing stands behind it.
		if m, isMark := parseMark(text); ok && isMark {
			marked, s.mark = true, m
			continue
		}
		a, err := parseTakenAway(text)
		if !ok || err != nil || s.damaged || marked || a.Before(s.last.Position) {
			s.damaged = true
			continue
		}
		if f != nil {
			if err := f(a, line); err != nil {
				return s, err
			}
		}
		s.last, s.end, s.lines = s.last.then(a.Position), s.end+int64(len(line)), s.lines+1
	}
	s.mark.Position = later(s.mark.Position, s.last.Position)
	return s, nil
}

func later(p, q store.Position) store.Position {
	if p.Before(q) {
		return q
	}
	return p
}

// deletedList is the file of an open store.
type deletedList struct {
	lineage
	disk  disk
	clock func() time.Time

	mu       sync.Mutex
	file     *os.File
	end      int64 // where the mark is
	last     place
	mark     mark
	reserved int64 // the file can certainly grow up to there
}

// openList opens the list in dir, which is s.
func openList(dir string, s listState, d disk, clock func() time.Time) (*deletedList, error) {
	f, err := os.OpenFile(filepath.Join(dir, DeletedListName), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &deletedList{lineage: s.lineage, disk: d, clock: clock, file: f, end: s.end, last: s.last, mark: s.mark}, nil
}

// makeList writes the list of a store that begins, whole or not at all.
func makeList(dir string, id storeID) (listState, error) {
	of := lineage{store: id}
	b := of.title()
	s := listState{lineage: of, end: int64(len(b)), lines: 1}
	return s, writeFile(filepath.Join(dir, DeletedListName), mark{}.append(b))
}

// append adds records, and marks what the database has reached with them. When it
// returns without error they are on disk.
func (l *deletedList) append(all []takenAway, reached store.Position) error {
	var b []byte
	for i := range all {
		b = all[i].append(b)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.write(b, reached); err != nil {
		return err
	}
	l.end += int64(len(b))
	l.last = l.last.after(all)
	l.reserve()
	return nil
}

// write writes records and the mark, and syncs.
func (l *deletedList) write(records []byte, reached store.Position) error {
	m := mark{reached, l.clock()}
	if _, err := l.file.WriteAt(m.append(records), l.end); err != nil {
		return fmt.Errorf("writing %s: %w", DeletedListName, err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("writing %s: %w", DeletedListName, err)
	}
	l.mark = m
	return nil
}

// rememberClockEvery is how far the remembered time on disk is behind, at most.
const rememberClockEvery = time.Minute

// note marks what the database has reached, if there is something new to be said.
func (l *deletedList) note(reached store.Position) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A batch may have marked more since the caller looked.
	reached = later(reached, l.mark.Position)
	if reached == l.mark.Position && l.clock().Sub(l.mark.clock) < rememberClockEvery {
		return nil
	}
	return l.write(nil, reached)
}

// truncate drops all records behind end, which is in state s.
func (l *deletedList) truncate(s listState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Truncate(s.end); err != nil {
		return err
	}
	l.end, l.last = s.end, s.last
	return l.write(nil, l.mark.Position)
}

// copy writes the list as it is now somewhere else, as a list that is whole. What is
// appended meanwhile isn't in it.
func (l *deletedList) copy(to io.Writer) error {
	l.mu.Lock()
	end, m := l.end, l.mark
	f, err := os.Open(l.file.Name())
	l.mu.Unlock()
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(to, io.NewSectionReader(f, 0, end)); err != nil {
		return err
	}
	_, err = to.Write(m.append(nil))
	return err
}

// CopyDeletedList writes what the store's deleted.list holds by now somewhere else,
// from where a restore can take it. It goes at least as far as Position was.
func (s *Store) CopyDeletedList(to io.Writer) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.ErrUnavailable
	}
	if err := s.Failure(); err != nil {
		return err
	}
	// The mark is a second behind.
	if err := s.list.note(s.Position()); err != nil {
		return err
	}
	return s.list.copy(to)
}

// OtherStore returns "" if the store goes on from where it was when the list that is
// read was written; else the id of the store that that one is of, or "unreadable". It
// may be this one, which has been put back to an earlier state since.
func (s *Store) OtherStore(list io.Reader) string {
	of, err := scanList(list, nil)
	switch {
	case err != nil:
		return "unreadable"
	case !slices.Contains(s.list.stores(), of.store), s.Position().Before(of.mark.Position):
		return of.store.String()
	}
	return ""
}

// DeletedListSize is the size of deleted.list without its mark, in bytes: as long as
// it is the same nothing was taken away.
func (s *Store) DeletedListSize() int64 {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	return s.list.end
}

// listReserve is how much of the list is allocated beforehand, so that tokens
// can be deleted on a full disk: about as many as the memtable's log takes.
const listReserve = 1 << 20

func (l *deletedList) reserve() {
	if l.reserved-l.end > listReserve/2 {
		return
	}
	if l.disk.allocate(l.file.Name(), l.end+listReserve) == nil {
		l.reserved = l.end + listReserve
	}
}

// hasRoom tells whether a batch's records can be appended whatever becomes of
// the disk.
func (l *deletedList) hasRoom() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reserved-l.end > listReserve/4
}

func (l *deletedList) close() error { return l.file.Close() }

// writeFile writes a file whole or not at all, readable by its owner only.
func writeFile(file string, content []byte) error {
	return wholefile.Write(file, func(w *os.File) error {
		_, err := w.Write(content)
		return err
	})
}
