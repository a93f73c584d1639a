package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Damage says that a file isn't what it was when it was written.
type Damage struct {
	// Dir is the store's directory, File the file's name in it.
	Dir, File string
	// What is wrong with it.
	What string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("the token store in %s is damaged: %s: %s. "+
		"No token is accepted, made or deleted. Stop the server, copy the whole directory before anything else is tried, "+
		"and put back the whole directory, not single files, from where it was last complete; tokens that were deleted since then work again", d.Dir, d.File, d.What)
}

func (d *Damage) Unwrap() []error { return []error{store.ErrUnavailable, store.ErrCorrupt} }

// examination is what is found in a store's directory before Badger opens it.
// Badger repairs what it takes for the traces of a crash: it cuts off logs and
// the MANIFEST where they are damaged, and deletes tables that the MANIFEST
// doesn't name. So it must not see a store of which anything is lost.
type examination struct {
	dir string // the store's

	list    listState // of deleted.list
	hasList bool
	// isNew: there is no database yet.
	isNew  bool
	tables map[uint64]*storedTable
	// unnamed are the files of tables that the MANIFEST doesn't name.
	unnamed []string
	// revision is the last one that tables or logs hold.
	revision uint64
	// meta is what the database says of itself.
	meta versions
	// warnings are what the owner should know.
	warnings []string
}

// storedTable is a table that the MANIFEST names.
type storedTable struct {
	*table
	id    uint64
	file  string
	level int
	// known is what the table has to be, if that was written down.
	known *identity
	// meta is what of the database's own is in it.
	meta versions
}

func (e *examination) damage(file, what string, args ...any) error {
	return &Damage{e.dir, file, fmt.Sprintf(what, args...)}
}

// because returns err, or, where it says that a file is damaged, what that
// means.
func (e *examination) because(file string, err error) error {
	if errors.Is(err, errDamaged) {
		return &Damage{e.dir, file, strings.TrimPrefix(err.Error(), errDamaged.Error()+": ")}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return e.damage(file, "it is missing")
	}
	return fmt.Errorf("reading %s of the token store in %s: %w", file, e.dir, err)
}

// inData is a file's name as the owner finds it.
func inData(name string) string { return filepath.Join("db", name) }

// examine looks at all files of the store in dir but for most of the tables'
// contents. Only one process may do that at a time.
func examine(dir string, o badger.Options) (*examination, error) {
	e := &examination{dir: dir, tables: make(map[uint64]*storedTable)}
	if err := e.readList(); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("looking at the token store: %w", err)
	}
	var logs []uint64
	sizes := make(map[uint64]int64)
	manifest := false
	for _, file := range files {
		name := file.Name()
		manifest = manifest || name == badger.ManifestFilename
		if id, ok := numbered(name, ".mem"); ok {
			logs = append(logs, id)
		}
		if id, ok := numbered(name, ".sst"); ok {
			info, err := file.Info()
			if err != nil {
				return nil, err
			}
			sizes[id] = info.Size()
		}
	}
	if !manifest {
		e.isNew = true
		return e, e.checkNew(len(logs) > 0 || len(sizes) > 0)
	}
	if err := e.readManifest(o); err != nil {
		return nil, err
	}
	for _, id := range sortedIDs(sizes) {
		// A crash can leave an empty one.
		if e.tables[id] == nil && sizes[id] > 0 {
			e.unnamed = append(e.unnamed, filepath.Base(tableFile("", id)))
		}
	}
	if err := e.openTables(); err != nil {
		return nil, err
	}
	slices.Sort(logs)
	if err := e.readLogs(o.Dir, logs); err != nil {
		return nil, err
	}
	if err := e.checkSmallFiles(o.Dir); err != nil {
		return nil, err
	}
	if string(e.meta.get(metaFormat)) == string(unfinished) {
		return nil, fmt.Errorf("a restore into the token store in %s was broken off: remove everything in it but its hash key, and restore again", dir)
	}
	return e, e.checkMark()
}

// checkNew returns nil if a directory without a MANIFEST is that of a store that
// hasn't begun.
func (e *examination) checkNew(hasFiles bool) error {
	switch {
	case hasFiles:
		return e.damage(inData(badger.ManifestFilename), "it is missing")
	case e.list.mark.Revision > 0:
		return e.damage("db", "there is no database in it, and %s says that there was one, at revision %d", DeletedListName, e.list.mark.Revision)
	}
	return nil
}

// checkMark returns nil unless something is lost of what had certainly been there.
func (e *examination) checkMark() error {
	epoch, mark := e.epoch(), e.list.mark
	switch {
	case e.revision < mark.Revision:
		return e.damage("db", "it holds changes up to revision %d, and was at revision %d: what came between is lost, deletions of tokens among it", e.revision, mark.Revision)
	case epoch < mark.Epoch:
		return e.damage("db", "it is in epoch %d, and was in epoch %d: it is of an earlier time", epoch, mark.Epoch)
	}
	return nil
}

// epoch is that of the last change.
func (e *examination) epoch() uint64 {
	if b := e.meta.get(metaEpoch); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 1
}

func (e *examination) readList() error {
	f, err := os.Open(filepath.Join(e.dir, DeletedListName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	e.list, err = scanList(f, nil)
	if errors.Is(err, ErrNoList) {
		return e.damage(DeletedListName, "%v", err)
	}
	e.hasList = true
	return err
}

// readManifest finds out which tables there are. Badger's own replay is used, so
// that it is what Badger will see.
func (e *examination) readManifest(o badger.Options) (err error) {
	file := inData(badger.ManifestFilename)
	f, err := os.Open(filepath.Join(e.dir, file))
	if err != nil {
		return err
	}
	defer f.Close()
	manifest, err := replayManifest(f, o)
	if err != nil {
		return e.damage(file, "%v", err)
	}
	known, ok, err := readTableList(e.dir)
	if err != nil {
		return err
	}
	if !ok && e.hasList && len(manifest.Tables) > 0 {
		e.warnings = append(e.warnings, tableListName+" is missing or damaged, and made anew: whether the tables of the database are its own couldn't be told")
	}
	for id, t := range manifest.Tables {
		e.tables[id] = &storedTable{id: id, file: tableFile(o.Dir, id), level: int(t.Level)}
		if was, ok := known[id]; ok {
			if was.level != int(t.Level) {
				return e.damage(file, "it has table %d on level %d, which is on level %d: it isn't this store's, or not its last one", id, t.Level, was.level)
			}
			e.tables[id].known = &was
		}
	}
	return nil
}

func replayManifest(f *os.File, o badger.Options) (m badger.Manifest, err error) {
	defer recovered(&err)
	m, _, err = badger.ReplayManifestFile(f, 0, o)
	return m, err
}

// openTables reads the index of each table, and its last block, which Badger
// reads when it opens it.
func (e *examination) openTables() error {
	for _, t := range e.tables {
		if err := t.open(); err != nil {
			return e.because(inData(filepath.Base(t.file)), err)
		}
		e.revision = max(e.revision, t.maxVersion)
		e.meta.addAll(t.meta)
	}
	return e.checkLevels()
}

func (t *storedTable) open() error {
	f, err := os.Open(t.file)
	if err != nil {
		return err
	}
	defer f.Close()
	if t.table, err = openTable(f); err != nil {
		return err
	}
	return t.eachUnder(f, []byte{spaceMeta}, t.meta.add)
}

// checkLevels checks that tables that aren't on the first level don't overlap.
func (e *examination) checkLevels() error {
	last := make(map[int]*storedTable)
	for _, t := range slices.SortedFunc(maps.Values(e.tables), func(a, b *storedTable) int { return bytes.Compare(a.smallest, b.smallest) }) {
		before := last[t.level]
		if t.level > 0 && before != nil && bytes.Compare(before.biggest, t.smallest) >= 0 {
			return e.damage(inData(badger.ManifestFilename), "table %d and table %d can't both be on level %d: it isn't this store's, or they have been changed", before.id, t.id, t.level)
		}
		last[t.level] = t
	}
	return nil
}

// verify reads all of a table.
func (t *storedTable) verify(pace func(int)) (uint32, error) {
	f, err := os.Open(t.file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum, err := t.table.verify(f, pace)
	if err == nil && t.known != nil && t.known.sum != sum {
		return 0, damaged("it is a sound table, but another one than was written: an older one, or another store's")
	}
	return sum, err
}

// readLogs checks that the logs of memtables go on where the tables end, and
// each where the one before it ends.
func (e *examination) readLogs(data string, logs []uint64) error {
	inTables := e.revision
	last := uint64(0) // of the log before
	for _, id := range logs {
		name := fmt.Sprintf("%05d.mem", id)
		b, err := os.ReadFile(filepath.Join(data, name))
		if err != nil {
			return err
		}
		l, err := readMemLog(b)
		if err != nil {
			return e.because(inData(name), err)
		}
		if l.first == 0 {
			continue
		}
		switch {
		case l.gap != 0:
			return e.damage(inData(name), "what stands before revision %d in it is of another store, or lost", l.gap)
		case l.says && e.hasList && l.store != e.list.store:
			return e.damage(inData(name), "it is another store's")
		case l.says && (last == 0 && l.follows > inTables || last != 0 && l.follows != last):
			return e.damage("db", "the changes between revision %d and %d are lost, which stood in a table or a log before %s", max(last, inTables), l.follows, name)
		}
		last = l.last
		e.meta.addAll(l.meta)
		e.revision = max(e.revision, l.last)
	}
	return nil
}

// checkSmallFiles checks what Badger needs and holds nothing of ours.
func (e *examination) checkSmallFiles(data string) error {
	const name = "KEYREGISTRY"
	b, err := os.ReadFile(filepath.Join(data, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // made anew
	case err != nil:
		return err
	case len(b) < 28 || !bytes.Equal(b[16:28], []byte("Hello Badger")) || len(b) > 28:
		return e.damage(inData(name), "it isn't what it was. As nothing is encrypted, nothing is in it: in this case it is enough to move it out of the directory and to start again")
	}
	return e.checkValueLogs(data)
}

// checkValueLogs looks at the logs of large values, of which there are none.
func (e *examination) checkValueLogs(data string) error {
	files, err := filepath.Glob(filepath.Join(data, "*.vlog"))
	if err != nil {
		return err
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		var header [8]byte
		_, err = f.ReadAt(header[:], 0)
		_ = f.Close()
		if err == nil && header != [8]byte{} {
			return e.damage(inData(filepath.Base(file)), "its header is wrong. Nothing is in it: in this case it is enough to move it out of the directory and to start again")
		}
	}
	return nil
}

// numbered returns the number that is a file's name but for its extension.
func numbered(name, extension string) (uint64, bool) {
	text, ok := strings.CutSuffix(name, extension)
	id, err := strconv.ParseUint(text, 10, 32)
	return id, ok && err == nil
}

func sortedIDs(m map[uint64]int64) []uint64 {
	ids := make([]uint64, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// tableFile is where Badger keeps a table.
func tableFile(data string, id uint64) string {
	return filepath.Join(data, fmt.Sprintf("%06d.sst", id))
}
