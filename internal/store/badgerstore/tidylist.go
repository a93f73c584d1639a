package badgerstore

import (
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/wholefile"
)

const (
	// tidyFrom is the size below which a list isn't worth tidying.
	tidyFrom = 1 << 20
	// tidyAfter is how long a deleted token stays listed after it would have
	// expired.
	tidyAfter = 24 * time.Hour
)

// tidy rewrites the list without what no restore needs to know, if that is half
// of it or more: deleted tokens that would have expired by now, and what was said
// again later of a project's switch, or of a user's void or block. A token that
// never expires stays listed for ever.
func (l *deletedList) tidy(dir string, now time.Time) error {
	if l.end < tidyFrom {
		return nil
	}
	file := filepath.Join(dir, DeletedListName)
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	// The last record of what can be said again: a project's switch, a user's void,
	// a user's block.
	last := make(map[takenAway]store.Position)
	if _, err := scanList(in, func(a takenAway, _ []byte) error {
		if a.token == uuid.Nil {
			last[a.subject()] = a.Position
		}
		return nil
	}); err != nil {
		return err
	}
	needed := func(a takenAway) bool {
		if a.Position == l.last.Position {
			return true // says where the list ends
		}
		if a.token == uuid.Nil {
			return a.Position == last[a.subject()]
		}
		return a.expires.IsZero() || a.expires.Add(tidyAfter).After(now)
	}
	size := int64(0)
	each := func(f func(line []byte) error) error {
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := scanList(in, func(a takenAway, line []byte) error {
			if needed(a) {
				return f(line)
			}
			return nil
		})
		return err
	}
	if err := each(func(line []byte) error { size += int64(len(line)); return nil }); err != nil || size > l.end/2 {
		return err
	}
	err = wholefile.Write(file, func(w *os.File) error {
		title := l.title()
		size += int64(len(title))
		if _, err := w.Write(title); err != nil {
			return err
		}
		if err := each(func(line []byte) error { _, err := w.Write(line); return err }); err != nil {
			return err
		}
		_, err := w.Write(l.mark.append(nil))
		return err
	})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_ = l.file.Close()
	l.file, l.end, l.reserved = f, size, 0
	return nil
}
