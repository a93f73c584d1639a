package auditfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Source is a file that holds lines of a chain.
type Source struct {
	Name string
	io.Reader
}

// Found is a line and where it stands.
type Found struct {
	Line
	// File and Number are where, counted from 1.
	File   string
	Number int
	// Text is the line without its end. It is valid until the next one is read.
	Text []byte

	hash string
}

// Break is where a chain isn't whole, and why.
type Break struct {
	File   string
	Number int
	Why    string
}

func (b Break) String() string { return fmt.Sprintf("%s:%d: %s", b.File, b.Number, b.Why) }

// Chain is what has been read of one.
type Chain struct {
	// Lines are how many there are, from First to Last by their seq.
	Lines, First, Last uint64
	// Repeated are lines that are there more than once, in several files.
	Repeated uint64
	// Breaks are how many there are.
	Breaks uint64
}

// Read reads a chain from the files that it is in, in whatever order those are
// given, and calls each with its lines, in the chain's order, and broken for each
// place where it isn't whole. It fails where a file can't be read, or each fails.
func Read(files []Source, each func(*Found) error, broken func(Break)) (c Chain, err error) {
	r := reading{chain: &c, broken: broken}
	var ahead []*cursor
	for _, f := range files {
		at := &cursor{reading: &r, name: f.Name, in: bufio.NewReaderSize(f, 64<<10)}
		if more, err := at.next(); err != nil {
			return c, err
		} else if more {
			ahead = append(ahead, at)
		}
	}
	for len(ahead) > 0 {
		least := 0
		for i, at := range ahead {
			if at.head.Seq < ahead[least].head.Seq {
				least = i
			}
		}
		at := ahead[least]
		if r.follows(&at.head) {
			if err := each(&at.head); err != nil {
				return c, err
			}
		}
		more, err := at.next()
		if err != nil {
			return c, err
		}
		if !more {
			ahead = append(ahead[:least], ahead[least+1:]...)
		}
	}
	return c, nil
}

// reading is a chain while it is read.
type reading struct {
	chain  *Chain
	broken func(Break)
	last   Found // without its text
}

func (r *reading) breaks(file string, number int, why string, args ...any) {
	r.chain.Breaks++
	r.broken(Break{file, number, fmt.Sprintf(why, args...)})
}

// follows takes the next line of a chain, and tells of what is wrong with that. It
// returns false if the line is one that has been read before.
func (r *reading) follows(f *Found) bool {
	last := r.last
	r.last = *f
	r.last.Text = nil
	switch {
	case r.chain.Lines == 0:
		r.chain.First = f.Seq
	case f.Seq == last.Seq && f.hash == last.hash:
		r.chain.Repeated++
		return false
	case f.Seq == last.Seq:
		r.breaks(f.File, f.Number, "line %d of the chain is another one at %s:%d", f.Seq, last.File, last.Number)
	case f.Seq != last.Seq+1:
		r.breaks(f.File, f.Number, "%s missing before it, behind %s:%d", span(last.Seq+1, f.Seq-1), last.File, last.Number)
	case f.Previous != last.hash:
		r.breaks(f.File, f.Number, "it doesn't follow the line before, %s:%d: one of the two has been changed", last.File, last.Number)
	}
	r.chain.Lines++
	r.chain.Last = f.Seq
	return true
}

// span names lines of a chain.
func span(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("line %d of the chain is", first)
	}
	return fmt.Sprintf("lines %d to %d of the chain are", first, last)
}

// cursor is where a file has been read to.
type cursor struct {
	*reading
	name   string
	in     *bufio.Reader
	number int
	head   Found
}

// next reads the next line of a chain, and tells whether there was one.
func (c *cursor) next() (more bool, err error) {
	for {
		text, ended, err := c.line(c.head.Text[:0])
		if err != nil || len(text) == 0 && !ended {
			return false, err
		}
		c.number++
		line, err := parseLine(text)
		switch {
		case !ended:
			c.breaks(c.name, c.number, "the line isn't finished; where Caddy has been killed, its next start does that")
		case err != nil:
			c.breaks(c.name, c.number, "%v", err)
		case line.Seq <= c.head.Seq:
			c.breaks(c.name, c.number, "line %d of the chain comes behind line %d", line.Seq, c.head.Seq)
		default:
			c.head = Found{line, c.name, c.number, text, hashOf(text)}
			return true, nil
		}
	}
}

// line appends the next line to b, without its end, and tells whether it has one.
// Of a line that is too long it returns a part.
func (c *cursor) line(b []byte) (text []byte, ended bool, err error) {
	for {
		part, err := c.in.ReadSlice('\n')
		if len(b) <= maxLine {
			b = append(b, part...)
		}
		switch {
		case err == nil:
			return bytes.TrimSuffix(b, []byte("\n")), true, nil
		case errors.Is(err, io.EOF):
			return b, false, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, fmt.Errorf("reading %s: %w", c.name, err)
		}
	}
}
