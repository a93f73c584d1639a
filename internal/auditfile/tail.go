package auditfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// tail is where a chain has come to: what is known to be on disk. The store keeps
// it as the outbox's receipt, with which lines leave that.
type tail struct {
	// File is where the next line goes, at End.
	File string `json:"file"`
	End  int64  `json:"end"`
	// Before are the bytes that stand before End, at most markSize, by which the
	// file is known again.
	Before []byte `json:"before"`
	// Seq and Previous are the last line's number and hash.
	Seq      uint64 `json:"seq"`
	Previous string `json:"previous"`
	// The last line's place in the outbox.
	Epoch    uint64 `json:"epoch"`
	Revision uint64 `json:"revision"`
	Number   uint16 `json:"number"`
}

// markSize is how much of a file it is known again by: more than a line of a
// token, most of the time.
const markSize = 512

func parseTail(receipt []byte) (t tail, err error) {
	if receipt == nil {
		return t, nil
	}
	if err := json.Unmarshal(receipt, &t); err != nil {
		return t, fmt.Errorf("the store doesn't say where the audit file has come to: %w", err)
	}
	return t, nil
}

func (t *tail) receipt() []byte {
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // texts and numbers can be encoded
	}
	return text
}

// place is where the last line stood in the outbox.
func (t *tail) place() store.LinePlace {
	return store.LinePlace{Position: store.Position{Epoch: t.Epoch, Revision: t.Revision}, Number: t.Number}
}

// then returns the next lines of the outbox as they are written behind t, and where
// the chain is then.
func (t tail) then(lines []store.Line) (b []byte, next tail) {
	for _, l := range lines {
		begin := len(b)
		line := Line{t.Seq + 1, t.Previous, l.Epoch, l.Revision}
		b = line.append(b, l.Text)
		t.Seq, t.Previous = t.Seq+1, hashOf(b[begin:])
		t.Epoch, t.Revision, t.Number = l.Epoch, l.Revision, l.Number
	}
	t.End += int64(len(b))
	t.Before = lastOf(append(bytes.Clone(t.Before), lastOf(b)...))
	return b, t
}

func lastOf(b []byte) []byte { return b[max(0, len(b)-markSize):] }

// The ways in which a file isn't what was written.
var (
	errShrunk  = errors.New("it is shorter than what was written to it, as copytruncate leaves it: rotate it by renaming instead; put its lines back, or move it away, and a new file goes on where they end")
	errInUse   = errors.New("another process writes to it: give each store an audit file of its own")
	errChanged = errors.New("it isn't what was written to it: put that back, or move it away, and a new file goes on where its lines should end")
)

// check returns nil if f is the file of t, and holds nothing behind t's end but
// what the outbox says has to come there, or the beginning of that.
func (t tail) check(f *os.File, outbox func(store.LinePlace) ([]store.Line, error)) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < t.End {
		return errShrunk
	}
	before := make([]byte, len(t.Before))
	if _, err := f.ReadAt(before, t.End-int64(len(before))); err != nil {
		return err
	}
	if !bytes.Equal(before, t.Before) {
		return errChanged
	}
	behind := bufio.NewReader(io.NewSectionReader(f, t.End, info.Size()-t.End))
	for {
		if _, err := behind.Peek(1); errors.Is(err, io.EOF) {
			return nil
		}
		lines, err := outbox(t.place())
		if err != nil {
			return err
		}
		if len(lines) == 0 {
			return errChanged
		}
		var want []byte
		want, t = t.then(lines)
		got := make([]byte, len(want))
		n, err := io.ReadFull(behind, got)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if !bytes.Equal(got[:n], want[:n]) {
			return errChanged
		}
	}
}

// endIn returns t for a file that it goes on in, behind the lines that are there.
// Those may be earlier ones of its chain; the first chain of a store continues
// whatever chain it finds.
func (t tail) endIn(path string, f *os.File) (tail, error) {
	info, err := f.Stat()
	if err != nil {
		return t, err
	}
	if !info.Mode().IsRegular() {
		return t, errors.New("it is no regular file")
	}
	isFirst := t.File == ""
	t.File, t.End = path, info.Size()
	end := make([]byte, min(t.End, maxLine))
	if _, err := f.ReadAt(end, t.End-int64(len(end))); err != nil {
		return t, err
	}
	t.Before = bytes.Clone(lastOf(end))
	if len(end) == 0 {
		return t, nil
	}
	lines, ended := bytes.CutSuffix(end, []byte("\n"))
	lastLine := lines[bytes.LastIndexByte(lines, '\n')+1:]
	last, err := parseLine(lastLine)
	switch {
	case !ended || err != nil:
		return t, errors.New("it doesn't end in a line of an audit file: move it away")
	case isFirst:
		t.Seq, t.Previous = last.Seq, hashOf(lastLine)
	case last.Seq > t.Seq:
		return t, errors.New("it is the audit file of another store: move it away")
	}
	return t, nil
}
