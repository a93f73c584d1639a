package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/wholefile"
)

// disk is where a store's files lie.
type disk interface {
	// free returns the bytes that this process may still write.
	free() (int64, error)
	// allocate makes sure that a file's first n bytes can be written whatever
	// becomes of the disk. Where that can't be had it returns an error.
	allocate(file string, n int64) error
}

// room is what a disk has room for. Each includes those before it.
type room int

const (
	roomForNothing room = iota
	// roomForRevocations: of tokens, and of what a project allows.
	roomForRevocations
	// roomForOthers: last uses and purges.
	roomForOthers
	roomForCreates
)

// smallSettings is about as much as a revocation writes, in bytes.
const smallSettings = 1 << 10

// roomFor says how much room a mutation asks for.
func roomFor(m store.Mutation) room {
	switch m := m.(type) {
	case store.Create:
		return roomForCreates
	case store.Revoke, store.Void, store.Block, store.Delivered:
		return roomForRevocations
	case store.Configure:
		// Switching off goes on, but long lists of users don't use up what
		// deleting needs.
		if len(m.Settings.Append(nil)) <= smallSettings {
			return roomForRevocations
		}
	}
	return roomForOthers
}

// space keeps writes off a disk that can't take them. Badger writes through
// memory maps, where a full disk is a SIGBUS that ends the whole process, and
// it does so in its own time: what a batch starts is a full memtable that is
// put away, and then compactions. So a batch may fill a memtable only while
// there is room for all that. The log of the active memtable is allocated in
// full beforehand: into what is left of it revoking goes on even when others
// have filled up the disk.
type space struct {
	dir      string
	disk     disk
	memTable int64
	logger   *zap.Logger
	// busy tells whether Badger is about to write by itself.
	busy func() bool
	// listHasRoom tells whether deleted.list can grow whatever becomes of the disk.
	listHasRoom func() bool

	// log is the number of the active memtable, left how much can certainly
	// still be written before it is full.
	log  int
	left int64

	last room
}

// full is more than a memtable ever takes on disk, be it as a log or as the
// table that it becomes. It is full at its size, and then takes one batch more,
// of at most 15 % of that; the rest is for headers and the table's index.
func (s *space) full() int64 { return s.memTable + s.memTable/4 }

// rotation is what it takes to begin a memtable, which is a log, and to put the
// full ones away: one after the other becomes a table and gives back its log.
func (s *space) rotation() int64 { return 2 * s.full() }

// compaction is what it takes to compact all tables, those included that the
// memtables are going to be.
func (s *space) compaction() int64 {
	size := int64(0)
	s.eachFile(".sst", func(_ string, n int64) { size += n })
	s.eachFile(".mem", func(string, int64) { size += s.full() })
	return min(size, maxCompaction)
}

// maxCompaction is more than what the compactions that run at one time write
// before they remove what they have read: the tables of the first level, of
// the one below, and a few of each other.
const maxCompaction = 256 << 20

// checkOpen tells whether there is room enough to open the database, which
// begins a memtable and puts those away that its logs hold.
func (s *space) checkOpen() error {
	free, err := s.disk.free()
	if err != nil {
		return fmt.Errorf("asking how much room the token store has: %w", err)
	}
	if need := s.rotation(); free < need {
		return fmt.Errorf("the disk under the token store in %s is too full to open it: %d MiB free, %d MiB needed", s.dir, free>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// canClose tells whether there is room to put away the active memtable.
func (s *space) canClose() bool {
	free, err := s.disk.free()
	return err != nil || free >= s.full()
}

// spare is how much earlier creating stops than the rest, which then has
// another memtable to fill: that becomes a table, and is to be compacted.
func (s *space) spare() int64 { return 2 * s.memTable }

// nearlyFull tells whether a disk with so much room needs a closer look.
func (s *space) nearlyFull(free int64) bool {
	return free < s.rotation()+maxCompaction+s.spare()
}

// look says what there is room for now.
func (s *space) look() room {
	r, free, needed := s.measure()
	if r != s.last {
		s.report(r, free, needed)
		s.last = r
	}
	return r
}

func (s *space) measure() (r room, free, needed int64) {
	free, err := s.disk.free()
	if err != nil {
		s.logger.Error("can't tell how much room the token store has", zap.Error(err))
		free = 0
	}
	needed = s.needed(free)
	switch {
	case free >= needed+s.spare():
		r = roomForCreates
	case free >= needed:
		r = roomForOthers
	case !s.listHasRoom():
		r = roomForNothing
	case s.left > s.memTable/2:
		r = roomForOthers
	case s.left > 0:
		r = roomForRevocations
	}
	return r, free, needed + s.spare()
}

// needed is what has to be free for last uses and purges, given what is.
func (s *space) needed(free int64) int64 {
	if s.nearlyFull(free) {
		return s.rotation() + s.compaction()
	}
	return s.rotation() + maxCompaction
}

// takesCreates tells whether there is room for everything. Unlike look it isn't
// for the committer alone.
func (s *space) takesCreates() bool {
	free, err := s.disk.free()
	return err == nil && free >= s.needed(free)+s.spare()
}

// report tells the owner what there is room for. needed is what new tokens take.
func (s *space) report(r room, free, needed int64) {
	dir := zap.String("dir", s.dir)
	mib := []zap.Field{dir, zap.Int64("free_mib", free>>20), zap.Int64("needed_mib", (needed+1<<20-1)>>20)}
	switch r {
	case roomForCreates:
		s.logger.Info("the token store has room for new tokens again", dir)
	case roomForOthers:
		s.logger.Warn("the disk is nearly full: no new tokens are made until there is room; existing ones go on working and can be deleted", mib...)
	case roomForRevocations:
		s.logger.Error("the disk is full: no new tokens are made, and their last use isn't written down, until there is room; existing ones go on working, and some can be deleted", mib...)
	case roomForNothing:
		s.logger.Error("the disk is full: tokens can neither be made nor deleted until there is room; existing ones go on working", mib...)
	}
}

// wrote notes that a batch of that size went to the active memtable's log, or
// to a new one that Badger began for it, and whose name is not yet on disk.
func (s *space) wrote(size int64) error {
	s.left -= size
	began := false
	for {
		if _, err := os.Stat(s.logFile(s.log + 1)); err != nil {
			break
		}
		s.log++
		began = true
	}
	if !began {
		return nil
	}
	s.reserve(size)
	if free, err := s.disk.free(); err != nil || s.nearlyFull(free) {
		s.rest()
	}
	return wholefile.SyncDir(s.dir)
}

// rest waits a while for Badger to do what it has to do with full memtables and
// their tables, so that on a disk that is nearly full this is behind it before
// others take the room for it.
func (s *space) rest() {
	const longest, step = 5 * time.Second, 5 * time.Millisecond
	for deadline := time.Now().Add(longest); s.busy() && time.Now().Before(deadline); {
		time.Sleep(step) //nolint:forbidigo // Badger tells nobody when it is done
	}
}

// begin finds the active memtable's log once the database is open.
func (s *space) begin() {
	s.eachFile(".mem", func(name string, _ int64) {
		if n, err := strconv.Atoi(name); err == nil && n > s.log {
			s.log = n
		}
	})
	s.reserve(0)
}

// reserve allocates the log of the active memtable, in which so much is
// written.
func (s *space) reserve(used int64) {
	s.left = 0
	// The memtable before this one is about to be put away.
	if free, err := s.disk.free(); err != nil || free < s.rotation() {
		return
	}
	if err := s.disk.allocate(s.logFile(s.log), s.full()); err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			s.logger.Warn("can't reserve room for deleting tokens on a full disk", zap.Error(err))
		}
		return
	}
	s.left = s.memTable - s.memTable/16 - used
}

// logFile is where Badger keeps the log of its nth memtable.
func (s *space) logFile(n int) string { return filepath.Join(s.dir, fmt.Sprintf("%05d.mem", n)) }

// eachFile calls f with the names, without the extension, of files.
func (s *space) eachFile(extension string, f func(name string, size int64)) {
	files, _ := os.ReadDir(s.dir)
	for _, file := range files {
		name, ok := strings.CutSuffix(file.Name(), extension)
		if !ok {
			continue
		}
		// A compaction may have removed it meanwhile.
		if info, err := file.Info(); err == nil {
			f(name, info.Size())
		}
	}
}
