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
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// deletedListName is the file, beside the database, of all that was taken away.
// It serves two ends. A restore reads it, so that what was taken away since the
// backup stays so. And its last line is the mark: the revision that the database
// had certainly reached. A database that is behind it has lost something.
//
// It is text, a record a line, each with a CRC-32C of what stands before it:
//
//	access-tokens deleted.list 1 <store's id>
//	deleted <epoch> <revision> <token id> <expiry, in seconds since 1970, or never>
//	enabled <epoch> <revision> <project> <true or false>
//	voided <epoch> <revision> <project> <user>
//	blocked <epoch> <revision> <project> <user> <true or false>
//	mark <epoch> <revision> <remembered time, in milliseconds since 1970>
//
// Records are appended over the mark, along with a new one, in one write. The
// mark alone is overwritten in place, so that a store in which only last uses
// change doesn't grow.
const deletedListName = "deleted.list"

const listTitle = "access-tokens deleted.list 1"

// listEpoch is the epoch of all revisions until there are restores.
const listEpoch = 1

// takenAway is one thing that was taken away, at a revision.
type takenAway struct {
	revision uint64
	// token was deleted, which would have expired at expires; zero if never.
	token   uuid.UUID
	expires time.Time
	// Or, if there is no token, project was switched on or off.
	project string
	enabled bool
	// Or user of project was rid of all tokens, or else blocked or unblocked.
	user            string
	voided, blocked bool
}

// subject is what a record that isn't of a token is about, so that a later one of
// it says all that is to be known.
func (a *takenAway) subject() takenAway {
	return takenAway{project: a.project, user: a.user, voided: a.voided}
}

func (a *takenAway) append(b []byte) []byte {
	switch {
	case a.user != "" && a.voided:
		return appendLine(b, fmt.Sprintf("voided %d %d %q %q", listEpoch, a.revision, a.project, a.user))
	case a.user != "":
		return appendLine(b, fmt.Sprintf("blocked %d %d %q %q %t", listEpoch, a.revision, a.project, a.user, a.blocked))
	case a.token == uuid.Nil:
		return appendLine(b, fmt.Sprintf("enabled %d %d %q %t", listEpoch, a.revision, a.project, a.enabled))
	}
	expires := "never"
	if !a.expires.IsZero() {
		expires = strconv.FormatInt(a.expires.Unix(), 10)
	}
	return appendLine(b, fmt.Sprintf("deleted %d %d %s %s", listEpoch, a.revision, a.token, expires))
}

// parseTakenAway reads what append wrote, without the checksum.
func parseTakenAway(text string) (a takenAway, err error) {
	kind, text, _ := strings.Cut(text, " ")
	epoch, text, _ := strings.Cut(text, " ")
	revision, text, _ := strings.Cut(text, " ")
	at := strings.LastIndexByte(text, ' ')
	if epoch != strconv.Itoa(listEpoch) || at < 0 {
		return a, fmt.Errorf("no record: %q", kind)
	}
	if a.revision, err = strconv.ParseUint(revision, 10, 64); err != nil {
		return a, err
	}
	if kind == "voided" || kind == "blocked" {
		return a, a.parseUser(kind, text)
	}
	what, how := text[:at], text[at+1:]
	switch kind {
	case "deleted":
		if a.token, err = uuid.Parse(what); err != nil || how == "never" {
			return a, err
		}
		seconds, err := strconv.ParseInt(how, 10, 64)
		a.expires = time.Unix(seconds, 0).UTC()
		return a, err
	case "enabled":
		if a.project, err = strconv.Unquote(what); err != nil {
			return a, err
		}
		a.enabled, err = strconv.ParseBool(how)
		return a, err
	}
	return a, fmt.Errorf("no kind of record: %q", kind)
}

// parseUser reads whom a record is about, and what follows.
func (a *takenAway) parseUser(kind, text string) (err error) {
	for _, name := range []*string{&a.project, &a.user} {
		quoted, err := strconv.QuotedPrefix(strings.TrimPrefix(text, " "))
		if err != nil {
			return err
		}
		text = strings.TrimPrefix(text, " ")[len(quoted):]
		if *name, err = strconv.Unquote(quoted); err != nil {
			return err
		}
	}
	switch {
	case a.user == "":
		return errors.New("no user")
	case kind == "voided" && text == "":
		a.voided = true
		return nil
	case kind == "blocked" && strings.HasPrefix(text, " "):
		a.blocked, err = strconv.ParseBool(text[1:])
		return err
	}
	return errors.New("no record of a user")
}

// mark is what the store had certainly come to.
type mark struct {
	revision uint64
	clock    time.Time // zero if it isn't known
}

// append writes a line that always has the same length.
func (m mark) append(b []byte) []byte {
	ms := int64(0)
	if !m.clock.IsZero() {
		ms = max(m.clock.UnixMilli(), 0)
	}
	return appendLine(b, fmt.Sprintf("mark %d %020d %016d", listEpoch, m.revision, ms))
}

func parseMark(text string) (m mark, ok bool) {
	var epoch int
	var ms int64
	if n, _ := fmt.Sscanf(text, "mark %d %d %d", &epoch, &m.revision, &ms); n != 3 || epoch != listEpoch {
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

// place is where a list has come to: the revision of its last record, and how many
// records have that one.
type place struct{ revision, records uint64 }

func (p place) before(q place) bool {
	return p.revision < q.revision || p.revision == q.revision && p.records < q.records
}

// then returns where a list is with one more record.
func (p place) then(revision uint64) place {
	if revision != p.revision {
		return place{revision, 1}
	}
	return place{revision, p.records + 1}
}

// listState is what a file of that kind says.
type listState struct {
	store storeID
	// last is where it has come to before anything damaged, end where that is in
	// the file, lines how many lines there are up to there.
	last  place
	end   int64
	lines int
	mark  mark
	// damaged: a line is neither a record nor the mark. It may be what a crash
	// left of the last write.
	damaged bool
}

var errNoList = errors.New("its first line is not that of such a list")

// scanList reads a list. It calls f, if there is one, with each record and its
// line.
func scanList(r io.Reader, f func(a takenAway, line []byte) error) (s listState, err error) {
	in := bufio.NewReaderSize(r, 1<<16)
	for first := true; ; first = false {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return s, err
		}
		if len(line) == 0 {
			if first {
				return s, errNoList
			}
			break
		}
		text, ok := cutLine(line)
		if first {
			id, found := strings.CutPrefix(text, listTitle+" ")
			if s.store, err = uuid.Parse(id); !ok || !found || err != nil {
				return s, errNoList
			}
			s.end, s.lines = int64(len(line)), 1
			continue
		}
		// The mark counts even behind what is damaged.
		if m, isMark := parseMark(text); ok && isMark {
			s.mark = m
			continue
		}
		a, err := parseTakenAway(text)
		if !ok || err != nil || s.damaged || a.revision < s.last.revision {
			s.damaged = true
			continue
		}
		if f != nil {
			if err := f(a, line); err != nil {
				return s, err
			}
		}
		s.last, s.end, s.lines = s.last.then(a.revision), s.end+int64(len(line)), s.lines+1
	}
	s.mark.revision = max(s.mark.revision, s.last.revision)
	return s, nil
}

// deletedList is the file of an open store.
type deletedList struct {
	store storeID
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
	f, err := os.OpenFile(filepath.Join(dir, deletedListName), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &deletedList{store: s.store, disk: d, clock: clock, file: f, end: s.end, last: s.last, mark: s.mark}, nil
}

// makeList writes the list of a store that begins, whole or not at all.
func makeList(dir string, id storeID) (listState, error) {
	b := appendLine(nil, listTitle+" "+id.String())
	s := listState{store: id, end: int64(len(b)), lines: 1}
	return s, writeFile(filepath.Join(dir, deletedListName), mark{}.append(b))
}

// after returns where a list is with more records.
func (p place) after(all []takenAway) place {
	for _, a := range all {
		p = p.then(a.revision)
	}
	return p
}

// append adds records, and marks the revision that the database has reached with
// them. When it returns without error they are on disk.
func (l *deletedList) append(all []takenAway, revision uint64) error {
	var b []byte
	for i := range all {
		b = all[i].append(b)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.write(b, revision); err != nil {
		return err
	}
	l.end += int64(len(b))
	l.last = l.last.after(all)
	l.reserve()
	return nil
}

// write writes records and the mark, and syncs.
func (l *deletedList) write(records []byte, revision uint64) error {
	m := mark{revision, l.clock()}
	if _, err := l.file.WriteAt(m.append(records), l.end); err != nil {
		return fmt.Errorf("writing %s: %w", deletedListName, err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("writing %s: %w", deletedListName, err)
	}
	l.mark = m
	return nil
}

// rememberClockEvery is how far the remembered time on disk is behind, at most.
const rememberClockEvery = time.Minute

// note marks a revision, if there is something new to be said.
func (l *deletedList) note(revision uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if revision == l.mark.revision && l.clock().Sub(l.mark.clock) < rememberClockEvery {
		return nil
	}
	return l.write(nil, revision)
}

// truncate drops all records behind end, which is in state s.
func (l *deletedList) truncate(s listState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Truncate(s.end); err != nil {
		return err
	}
	l.end, l.last = s.end, s.last
	return l.write(nil, l.mark.revision)
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
	return replaceFile(file, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// replaceFile writes a file whole or not at all.
func replaceFile(file string, write func(io.Writer) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := write(tmp); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}
