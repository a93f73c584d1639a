package auditfile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"time"
)

// slack is how far apart times of lines can be that stand in another order: a change
// has its time before it is ordered.
const slack = time.Minute

// Around calls each with the lines of a file, without their ends, whose time is
// about at, until it returns false. However long the file is, it reads only them: a
// chain's lines are in the order of their times, but for moments. What isn't a line
// is passed over.
func Around(path string, at time.Time, each func(text []byte) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	// The lines behind an offset begin at slack before at, or later.
	begin := sort.Search(int(info.Size()), func(offset int) bool {
		lines := linesBehind(f, int64(offset), info.Size())
		for lines.Scan() {
			if when, ok := timeOf(lines.Bytes()); ok {
				return !when.Before(at.Add(-slack))
			}
		}
		return true
	})
	lines := linesBehind(f, int64(begin), info.Size())
	for lines.Scan() {
		when, ok := timeOf(lines.Bytes())
		if when.After(at.Add(slack)) || ok && !each(lines.Bytes()) {
			return nil
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// linesBehind returns the lines that begin at an offset or behind it.
func linesBehind(f io.ReaderAt, offset, size int64) *bufio.Scanner {
	// The byte before shows whether a line begins here.
	from := max(0, offset-1)
	lines := bufio.NewScanner(io.NewSectionReader(f, from, size-from))
	lines.Buffer(make([]byte, 0, 4<<10), maxLine+1)
	if offset > 0 {
		lines.Scan()
	}
	return lines
}

func timeOf(text []byte) (time.Time, bool) {
	var line struct{ Time time.Time }
	if json.Unmarshal(text, &line) != nil {
		return time.Time{}, false
	}
	return line.Time, !line.Time.IsZero()
}
