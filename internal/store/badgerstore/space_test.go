package badgerstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// fakeDisk says that it has as much room as it is told to.
type fakeDisk struct {
	room        atomic.Int64
	broken      atomic.Bool
	cantReserve error
}

func (d *fakeDisk) free() (int64, error) {
	if d.broken.Load() {
		return 0, errors.New("no such file system")
	}
	return d.room.Load(), nil
}

func (d *fakeDisk) allocate(string, int64) error { return d.cantReserve }

const plenty = 1 << 40

func newFakeDisk(room int64) *fakeDisk {
	d := new(fakeDisk)
	d.room.Store(room)
	return d
}

const smallMemTable = 512 << 10

func openOn(t *testing.T, d *fakeDisk) (s *Store, dir string) {
	t.Helper()
	dir = t.TempDir()
	return open(t, dir, Options{MemTableSize: smallMemTable, disk: d}), dir
}

func tryCreate(s *Store, n int) error {
	_, err := s.Commit(context.Background(), store.Create{Record: storetest.NewRecord("p", "alice", n)})
	return err
}

func tryRevoke(s *Store, n int) error {
	r, err := s.ByID(storetest.NewRecord("p", "alice", n).ID)
	if err == nil {
		_, err = s.Commit(context.Background(), store.Revoke{ID: r.ID, Revision: r.Revision, At: storetest.Epoch})
	}
	return err
}

func tryTouch(s *Store, n int, at time.Time) error {
	_, err := s.Commit(context.Background(), store.Touch{Uses: []store.Use{{ID: storetest.NewRecord("p", "alice", n).ID, At: at}}})
	return err
}

func tryPurge(s *Store, n int) error {
	_, err := s.Commit(context.Background(), store.Purge{ID: storetest.NewRecord("p", "alice", n).ID})
	return err
}

// The thresholds are what the comments in space.go reckon with.
func TestRoomByFreeSpace(t *testing.T) {
	const mem = smallMemTable
	const full = mem * 5 / 4
	for _, c := range []struct {
		name string
		free int64
		left int64
		want room
	}{
		{"plenty", plenty, 0, roomForCreates},
		{"a new log, a table, all compacted, and another memtable", 2*full + full + 2*mem, 0, roomForCreates},
		{"a byte less", 2*full + full + 2*mem - 1, 0, roomForOthers},
		{"a new log, a table, and all compacted", 2*full + full, 0, roomForOthers},
		{"less than that: a memtable can't be put away", 2*full + full - 1, 0, roomForNothing},
		{"but most of one is left", 2*full + full - 1, mem/2 + 1, roomForOthers},
		{"half of it, for revocations alone", 0, mem / 2, roomForRevocations},
		{"a byte of it", 0, 1, roomForRevocations},
		{"nothing of it", 0, 0, roomForNothing},
		{"less than nothing", 0, -1, roomForNothing},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFakeDisk(c.free)
			s := &space{dir: t.TempDir(), disk: d, memTable: mem, logger: zap.NewNop(), left: c.left, listHasRoom: func() bool { return true }}
			if err := os.WriteFile(filepath.Join(s.dir, "00001.mem"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := s.look(); got != c.want {
				t.Errorf("room %d, want %d", got, c.want)
			}
			// Tables are rewritten when they are compacted, up to a limit.
			for _, size := range []int64{1, 3 * maxCompaction} {
				makeSparse(t, filepath.Join(s.dir, "000001.sst"), size)
				d.room.Store(c.free + min(size, maxCompaction-full))
				if got := s.look(); got != c.want {
					t.Errorf("with tables of %d bytes: room %d, want %d", size, got, c.want)
				}
			}
		})
	}
}

// Switching off goes on with deleting, while long lists of users don't use up
// what that needs.
func TestRoomForSettings(t *testing.T) {
	long := store.Settings{Users: []string{strings.Repeat("x", smallSettings)}}
	for _, c := range []struct {
		m    store.Mutation
		want room
	}{
		{store.Configure{Settings: store.Settings{Enabled: new(false)}}, roomForRevocations},
		{store.Configure{Settings: long}, roomForOthers},
		{store.Revoke{}, roomForRevocations},
		{store.Create{}, roomForCreates},
		{store.Touch{}, roomForOthers},
		{store.Purge{}, roomForOthers},
	} {
		if got := roomFor(c.m); got != c.want {
			t.Errorf("%+v asks for room %d, want %d", c.m, got, c.want)
		}
	}
}

// makeSparse makes a file of that size that takes no room.
func makeSparse(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

func TestNearlyFullDiskTakesAllButCreates(t *testing.T) {
	disk := newFakeDisk(plenty)
	s, _ := openOn(t, disk)
	for n := range 10 {
		if err := tryCreate(s, n); err != nil {
			t.Fatal(err)
		}
	}
	disk.room.Store(3 * smallMemTable * 5 / 4)
	if err := tryCreate(s, 10); !errors.Is(err, store.ErrFull) {
		t.Errorf("creating: %v", err)
	}
	for what, err := range map[string]error{"revoking": tryRevoke(s, 1), "touching": tryTouch(s, 2, storetest.Epoch), "purging": tryPurge(s, 3)} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	disk.room.Store(plenty)
	if err := tryCreate(s, 10); err != nil {
		t.Errorf("creating, when there is room again: %v", err)
	}
}

// On a full disk nothing may be written but the log that was allocated before:
// not one file may be made, or Badger dies of it.
func TestFullDiskTakesRevocationsIntoTheReservedLog(t *testing.T) {
	for _, c := range []struct {
		name       string
		full       func(*fakeDisk)
		touchFirst bool
	}{
		{"no room", func(d *fakeDisk) { d.room.Store(0) }, false},
		{"no room, and used", func(d *fakeDisk) { d.room.Store(0) }, true},
		{"room can't be told", func(d *fakeDisk) { d.broken.Store(true) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := newFakeDisk(plenty)
			s, dir := openOn(t, disk)
			const n = 600
			if made, err := inParallel(0, n, s.orderCreate); err != nil {
				t.Fatalf("%d tokens: %v", made, err)
			}
			// Begin with a fresh memtable.
			closeStore(t, s)
			s = open(t, dir, Options{MemTableSize: smallMemTable, disk: disk})
			settle(t, s)
			c.full(disk)
			files := filesOf(t, dir)

			touched := 0
			for ; c.touchFirst; touched++ {
				if err := tryTouch(s, touched%n, storetest.Epoch.Add(time.Duration(touched)*time.Second)); errors.Is(err, store.ErrFull) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Commit(context.Background(), store.Configure{Project: "q", Settings: store.Settings{Enabled: new(false)}}); err != nil {
				t.Errorf("switching off: %v", err)
			}
			revoked := 0
			for ; revoked < n; revoked++ {
				if err := s.orderRevoke(revoked); errors.Is(err, store.ErrFull) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if c.touchFirst && touched < 100 || revoked < 100 || revoked == n {
				t.Errorf("%d uses and %d revocations of %d tokens; want many, and not all", touched, revoked, n)
			}
			for what, err := range map[string]error{"creating": tryCreate(s, n), "touching": tryTouch(s, 0, storetest.Epoch.Add(time.Hour*1e5)), "purging": tryPurge(s, 0), "revoking": tryRevoke(s, n-1)} {
				if !errors.Is(err, store.ErrFull) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if now := filesOf(t, dir); now != files {
				t.Errorf("on a full disk the files were\n%s and became\n%s", files, now)
			}
			for i := range n {
				r, err := s.ByHash(storetest.NewRecord("p", "alice", i).Hash)
				if err != nil || r.IsRevoked() != (i < revoked) {
					t.Fatalf("token %d of %d revoked ones: %+v, %v", i, revoked, r, err)
				}
			}

			disk.broken.Store(false)
			disk.room.Store(plenty)
			for what, err := range map[string]error{"creating": tryCreate(s, n), "revoking": tryRevoke(s, n-1)} {
				if err != nil {
					t.Errorf("%s, when there is room again: %v", what, err)
				}
			}
		})
	}
}

// settle waits until Badger has put its memtables away.
func settle(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		logs, err := filepath.Glob(filepath.Join(s.space.dir, "*.mem"))
		if err != nil {
			t.Fatal(err)
		}
		if len(logs) == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: %v", logs)
		}
		<-time.After(time.Millisecond)
	}
}

func filesOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	var names strings.Builder
	for _, file := range files {
		names.WriteString(file.Name() + "\n")
	}
	return names.String()
}

func TestWithoutAReservedLogAFullDiskTakesNothing(t *testing.T) {
	for _, cant := range []error{errors.ErrUnsupported, errors.New("input/output error")} {
		disk := newFakeDisk(plenty)
		disk.cantReserve = cant
		s, _ := openOn(t, disk)
		if err := tryCreate(s, 1); err != nil {
			t.Fatal(err)
		}
		disk.room.Store(0)
		if err := tryRevoke(s, 1); !errors.Is(err, store.ErrFull) {
			t.Errorf("%v: revoking: %v", cant, err)
		}
		disk.room.Store(plenty) // or the store can't be closed
	}
}

// Reserving a log must not take the room that the memtable before it needs.
func TestNoReservationOnAFullDisk(t *testing.T) {
	disk := newFakeDisk(plenty)
	s, _ := openOn(t, disk)
	if s.space.left <= 0 {
		t.Errorf("%d bytes are reserved", s.space.left)
	}
	disk.room.Store(2*s.space.full() - 1)
	if s.space.reserve(0); s.space.left != 0 {
		t.Errorf("%d bytes are reserved", s.space.left)
	}
}

func TestOpeningNeedsRoom(t *testing.T) {
	const need = 2 * smallMemTable * 5 / 4
	disk := newFakeDisk(need - 1)
	dir := t.TempDir()
	if _, err := Open(dir, Options{MemTableSize: smallMemTable, disk: disk}); err == nil || !strings.Contains(err.Error(), "too full to open") || !strings.Contains(err.Error(), "2 MiB needed") {
		t.Errorf("opening on a full disk: %v", err)
	}
	disk.room.Store(need)
	open(t, dir, Options{MemTableSize: smallMemTable, disk: disk})
}

func TestRoomIsReportedWhenItChanges(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	disk := newFakeDisk(plenty)
	dir := t.TempDir()
	s := open(t, dir, Options{MemTableSize: smallMemTable, disk: disk, Logger: zap.New(core)})
	for range 3 {
		mustCommit(t, s, store.Touch{})
	}
	if n := logs.Len(); n != 0 {
		t.Errorf("%d messages about a disk with plenty of room", n)
	}
	for _, c := range []struct {
		free  int64
		level string
		says  string
	}{
		{3 * smallMemTable * 5 / 4, "warn", "no new tokens"},
		{plenty, "info", "again"},
	} {
		disk.room.Store(c.free)
		for range 3 {
			mustCommit(t, s, store.Touch{})
		}
		all := logs.TakeAll()
		if len(all) != 1 || all[0].Level.String() != c.level || !strings.Contains(all[0].Message, c.says) {
			t.Errorf("with %d bytes free: %v, want one %s with %q", c.free, all, c.level, c.says)
		}
	}
}
