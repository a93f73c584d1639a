package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// disk is where a store's files lie.
type disk interface {
	// free returns the bytes that this process may still write.
	free() (int64, error)
	// allocate makes sure that a file's first n bytes can be written whatever
	// becomes of the disk. Where that can't be had it returns an error.
	allocate(file string, n int64) error
}

// room is what a disk has room for.
type room int

const (
	roomForNothing room = iota
	// roomForOthers: revocations, last uses, purges.
	roomForOthers
	roomForCreates
)

// space keeps writes off a disk that can't take them. Badger writes through
// memory maps, where a full disk is a SIGBUS that ends the whole process. So
// creating stops while there is still room for all that Badger may do with
// what it holds, and the log of the active memtable is allocated in full, so
// that revoking goes on even when others have filled up the disk.
type space struct {
	dir      string
	disk     disk
	memTable int64
	logger   *zap.Logger

	// log is the number of the active memtable, left how much of its log can
	// certainly still be written.
	log  int
	left int64

	last room
}

// workspace is what Badger needs to put away a memtable and begin another.
func (s *space) workspace() int64 { return 2 * s.memTable }

// maxCompaction is more than what the compactions that can run at one time
// write before they remove what they read.
const maxCompaction = 256 << 20

// checkOpen tells whether there is room enough to open the database, which
// replays its logs into tables and begins a new one.
func (s *space) checkOpen() error {
	free, err := s.disk.free()
	if err != nil {
		return fmt.Errorf("asking how much room the token store has: %w", err)
	}
	need := s.workspace() + s.sizeOf("*.mem")
	if free < need {
		return fmt.Errorf("the disk under the token store in %s is too full to open it: %d MiB free, %d MiB needed", s.dir, free>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// canClose tells whether there is room to put away the active memtable.
func (s *space) canClose() bool {
	free, err := s.disk.free()
	return err != nil || free >= s.memTable
}

// look says what there is room for now.
func (s *space) look() room {
	r := s.measure()
	if r != s.last {
		s.report(r)
		s.last = r
	}
	return r
}

func (s *space) measure() room {
	free, err := s.disk.free()
	if err != nil {
		s.logger.Error("can't tell how much room the token store has", zap.Error(err))
		free = 0
	}
	// Only a disk that is nearly full needs a closer look.
	if free >= s.workspace()+maxCompaction || free >= s.workspace()+s.sizeOf("*.sst") {
		return roomForCreates
	}
	if free >= s.workspace()+s.memTable || s.left > 0 {
		return roomForOthers
	}
	return roomForNothing
}

func (s *space) report(r room) {
	switch r {
	case roomForCreates:
		s.logger.Info("the token store has room for new tokens again", zap.String("dir", s.dir))
	case roomForOthers:
		s.logger.Warn("the disk is nearly full: no new tokens are made until there is room; existing ones go on working and can be deleted", zap.String("dir", s.dir))
	case roomForNothing:
		s.logger.Error("the disk is full: tokens can neither be made nor deleted until there is room; existing ones go on working", zap.String("dir", s.dir))
	}
}

// wrote notes that a batch of that size went to the active memtable's log, or
// to a new one that Badger began for it.
func (s *space) wrote(size int64) {
	s.left -= size
	for {
		next := s.logFile(s.log + 1)
		if _, err := os.Stat(next); err != nil {
			return
		}
		s.log++
		s.reserve()
	}
}

// begin finds the active memtable's log once the database is open.
func (s *space) begin() {
	logs, _ := filepath.Glob(filepath.Join(s.dir, "*.mem"))
	for _, file := range logs {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(file), ".mem"))
		if err == nil && n > s.log {
			s.log = n
		}
	}
	s.reserve()
}

// reserve allocates the log of the active memtable.
func (s *space) reserve() {
	s.left = 0
	if err := s.disk.allocate(s.logFile(s.log), s.workspace()); err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			s.logger.Warn("can't reserve room for deleting tokens on a full disk", zap.Error(err))
		}
		return
	}
	// A memtable that is full is put away, which takes room that may be
	// missing: stop well before.
	s.left = s.memTable / 2
}

// logFile is where Badger keeps the log of its nth memtable.
func (s *space) logFile(n int) string { return filepath.Join(s.dir, fmt.Sprintf("%05d.mem", n)) }

func (s *space) sizeOf(pattern string) (sum int64) {
	files, _ := filepath.Glob(filepath.Join(s.dir, pattern))
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			sum += info.Size()
		}
	}
	return sum
}
