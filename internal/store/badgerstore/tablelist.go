package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tableListName is the file, beside the database, that says which table is
// which: for each its number, level and checksum. Badger's MANIFEST knows the
// first two, and no table knows its number: a table of yesterday, of another
// store, or two that have changed places are sound in themselves.
//
// It may be behind, but never says anything of a table that isn't so: a table's
// number may be used again only after a start, and before Badger opens the list
// is cut to the tables that there are.
const tableListName = "tables.list"

const tableListTitle = "access-tokens tables.list 1"

// identity is what tells a table from others.
type identity struct {
	level int
	sum   uint32
}

// readTableList returns what the list in dir says; not ok if it is missing or
// damaged, which loses nothing but this check.
func readTableList(dir string) (list map[uint64]identity, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, tableListName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	list, ok = parseTableList(b)
	return list, ok, nil
}

func parseTableList(b []byte) (map[uint64]identity, bool) {
	list := make(map[uint64]identity)
	lines := strings.SplitAfter(string(b), "\n")
	if len(lines) < 3 || lines[len(lines)-1] != "" {
		return nil, false
	}
	lines = lines[:len(lines)-1]
	var count int
	for i, line := range lines {
		text, ok := cutLine([]byte(line))
		if !ok {
			return nil, false
		}
		switch i {
		case 0:
			ok = text == tableListTitle
		case len(lines) - 1:
			n, err := fmt.Sscanf(text, "end %d", &count)
			ok = n == 1 && err == nil && count == len(list)
		default:
			var id uint64
			var t identity
			n, err := fmt.Sscanf(text, "table %d %d %x", &id, &t.level, &t.sum)
			ok = n == 3 && err == nil
			list[id] = t
		}
		if !ok {
			return nil, false
		}
	}
	return list, true
}

func writeTableList(dir string, list map[uint64]identity) error {
	b := appendLine(nil, tableListTitle)
	for _, id := range slices.Sorted(maps.Keys(list)) {
		b = appendLine(b, fmt.Sprintf("table %d %d %08x", id, list[id].level, list[id].sum))
	}
	b = appendLine(b, fmt.Sprintf("end %d", len(list)))
	if err := writeFile(filepath.Join(dir, tableListName), b); err != nil {
		return fmt.Errorf("writing %s: %w", tableListName, err)
	}
	return nil
}
