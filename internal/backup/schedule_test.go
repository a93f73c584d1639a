package backup

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// source is a store of one token, which can be made to fail.
type source struct {
	mu      sync.Mutex
	failure error
	list    string
	made    int
	// hold is waited for in the middle of a backup, if it isn't nil.
	hold chan struct{}
}

func (s *source) Snapshot() (store.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return oneToken{s}, s.failure
}

func (s *source) CopyDeletedList(to io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := io.WriteString(to, s.list)
	return err
}

// OtherStore takes the first word for the store's.
func (s *source) OtherStore(list io.Reader) string {
	b, _ := io.ReadAll(list)
	s.mu.Lock()
	defer s.mu.Unlock()
	theirs, _, _ := strings.Cut(string(b), " ")
	if ours, _, _ := strings.Cut(s.list, " "); strings.EqualFold(theirs, ours) {
		return ""
	}
	return theirs
}

func (s *source) DeletedListSize() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.list))
}

func (s *source) set(failure error, list string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.list = failure, list
}

type oneToken struct{ *source }

func (oneToken) Head() store.Head {
	return store.Head{Position: store.Position{Epoch: 1, Revision: 2}, Keys: []token.KeyID{{1}}, Number: 1, Clock: storetest.Epoch}
}

func (o oneToken) Records(each func(store.Record) error) error {
	if o.hold != nil {
		<-o.hold
	}
	return each(storetest.NewRecord("p", "alice", 1))
}
func (oneToken) Uses(func(store.Use) error) error                 { return nil }
func (oneToken) Accounts(func(store.UserAccount) error) error     { return nil }
func (oneToken) Settings(func(store.ProjectSettings) error) error { return nil }
func (oneToken) Close()                                           {}

// kept is a keeper of a source in a bubble, whose clock begins at midnight of
// 2000-01-01.
type kept struct {
	*testing.T
	*source
	*Keeper
	dir  string
	logs *observer.ObservedLogs

	said sync.Mutex
	last time.Time
}

func keep(t *testing.T, dir string) *kept {
	core, logs := observer.New(zap.InfoLevel)
	k := &kept{T: t, source: &source{list: "list 0"}, dir: dir, logs: logs}
	k.Keeper = NewKeeper(KeeperConfig{Source: k.source, DeletedList: "deleted.list", Now: time.Now, Logger: zap.New(core), Succeeded: func(at time.Time) {
		k.said.Lock()
		defer k.said.Unlock()
		k.last = at
	}})
	return k
}

// lastMade is what the keeper has said last.
func (k *kept) lastMade() time.Time {
	k.said.Lock()
	defer k.said.Unlock()
	return k.last
}

// pass lets time pass.
func (k *kept) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// files are the names of all files there are, and what is in the list.
func (k *kept) files() (names []string, list string) {
	k.Helper()
	files, err := os.ReadDir(k.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		k.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "deleted.list" {
			b, err := os.ReadFile(filepath.Join(k.dir, f.Name()))
			if err != nil {
				k.Fatal(err)
			}
			list = string(b)
			continue
		}
		names = append(names, f.Name())
	}
	return names, list
}

func (k *kept) want(when string, want ...string) {
	k.Helper()
	names, _ := k.files()
	if diff := cmp.Diff(want, names); diff != "" {
		k.Errorf("%s (-want +got): %s", when, diff)
	}
}

// on is a backup of a day of January.
func on(day string) string { return "access-tokens-200001" + day + "T000000Z.backup" }

func TestBackupsAreMadeAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, filepath.Join(t.TempDir(), "new", "dir"))
		defer k.Close()
		daily := &Schedule{Dir: k.dir, Every: 24 * time.Hour, Keep: 3}
		k.pass(time.Hour)
		k.want("without a schedule")
		if _, err := os.Stat(k.dir); err == nil {
			t.Error("there is a directory")
		}
		k.pass(23 * time.Hour)
		k.Use(daily)
		k.pass(0)
		k.want("at first", on("02"))
		for _, name := range []string{"mine.backup", "access-tokens-old.backup", "." + on("02") + "-17"} {
			if err := os.WriteFile(filepath.Join(k.dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		others := []string{"." + on("02") + "-17"}
		after := []string{"access-tokens-old.backup", "mine.backup"}
		k.pass(24 * time.Hour)
		// A reload doesn't make one, nor keep one from being made.
		k.Use(&Schedule{Dir: k.dir, Every: 24 * time.Hour, Keep: 3})
		k.pass(12 * time.Hour)
		k.Use(daily)
		k.pass(12 * time.Hour)
		k.want("after three days", slices.Concat(others, []string{on("02"), on("03"), on("04")}, after)...)
		k.pass(24 * time.Hour)
		k.want("with more than are kept", slices.Concat(others, []string{on("03"), on("04"), on("05")}, after)...)
		if k.lastMade().Day() != 5 {
			t.Errorf("the last one was made at %v", k.lastMade())
		}
		file, err := os.Open(filepath.Join(k.dir, on("05")))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if sum, err := Read(file, nil, Into{}); err != nil || sum.Records != 1 || !sum.Time.Equal(k.lastMade()) {
			t.Errorf("it holds %+v, %v", sum, err)
		}
		if info, err := file.Stat(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("its mode is %v, %v", info.Mode(), err)
		}
		k.Use(nil)
		k.pass(72 * time.Hour)
		if k.made != 4 {
			t.Errorf("%d backups were made, want 4", k.made)
		}
	})
}

// What an earlier process has done counts, and what is left of its last moment goes.
func TestBackupsGoOnWhereTheyWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		i := identity(t)
		hourly := &Schedule{Dir: dir, Every: time.Hour, Keep: 2, Recipients: []age.Recipient{i.Recipient()}}
		k := keep(t, dir)
		k.Use(hourly)
		k.pass(0)
		first := "access-tokens-20000101T000000Z.backup.age"
		k.want("at first", first)
		k.Close()
		leftover, future := "."+first+"-1234", "access-tokens-20300101T000000Z.backup"
		for _, name := range []string{leftover, ".mine-1234", future} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		long := time.Now().Add(-2 * time.Hour)
		if err := os.Chtimes(filepath.Join(dir, leftover), long, long); err != nil {
			t.Fatal(err)
		}
		k.pass(30 * time.Minute)
		k = keep(t, dir)
		defer k.Close()
		k.Use(hourly)
		k.pass(0)
		k.want("after a restart", ".mine-1234", first, future)
		if !k.lastMade().Equal(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("the last one was made at %v", k.lastMade())
		}
		k.pass(30 * time.Minute)
		second := "access-tokens-20000101T010000Z.backup.age"
		k.want("an hour after the first one", ".mine-1234", first, second, future)
		k.pass(2 * time.Hour)
		k.want("later", ".mine-1234", "access-tokens-20000101T020000Z.backup.age", "access-tokens-20000101T030000Z.backup.age", future)
	})
}

func TestBackupsThatFailAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, filepath.Join(t.TempDir(), "dir"))
		defer k.Close()
		k.Use(&Schedule{Dir: k.dir, Every: 24 * time.Hour, Keep: 1})
		k.pass(0)
		first := on("01")
		k.want("at first", first)
		k.set(errors.New("the disk is gone"), "list 0")
		k.pass(24*time.Hour + 35*time.Minute)
		k.want("while it fails", first)
		if k.made != 1+4 {
			t.Errorf("tried %d times in 35 minutes", k.made-1)
		}
		k.set(errors.New("the disk is full"), "list 0")
		k.pass(time.Hour)
		k.set(nil, "list 0")
		k.pass(10 * time.Minute)
		if names, _ := k.files(); len(names) != 1 || names[0] == first {
			t.Errorf("once it works: %v", names)
		}
		said := ""
		for _, e := range k.logs.All() {
			said += e.Level.String() + " " + e.Message + "\n"
		}
		if strings.Count(said, "error backing up the token store failed") != 2 || strings.Count(said, "info backing up the token store works again") != 1 {
			t.Errorf("the log says:\n%s", said)
		}
	})
}

// The list beside the backups is never older than they are, and at most a minute than
// the store's.
func TestDeletedListIsCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, t.TempDir())
		defer k.Close()
		k.Use(&Schedule{Dir: k.dir, Every: 24 * time.Hour, Keep: 1})
		k.pass(0)
		if _, list := k.files(); list != "list 0" {
			t.Errorf("beside the first backup is %q", list)
		}
		k.set(nil, "list 0, more")
		k.pass(copyEvery)
		if _, list := k.files(); list != "list 0, more" {
			t.Errorf("a minute later: %q", list)
		}
		// It is of the size that it had.
		k.set(nil, "LIST 0, MORE")
		k.pass(23 * time.Hour)
		if _, list := k.files(); list != "list 0, more" {
			t.Errorf("copied without need: %q", list)
		}
		k.pass(time.Hour)
		if _, list := k.files(); list != "LIST 0, MORE" {
			t.Errorf("beside the next backup is %q", list)
		}
	})
}

// A server that has lost its store begins a new one, and makes backups where the lost
// one's are: what that one's list knows stays.
func TestAnotherStoresListIsKept(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		for _, list := range []string{"lost 1", "new 0", "new 0, more"} {
			k := keep(t, dir)
			k.set(nil, list)
			k.Use(&Schedule{Dir: k.dir, Every: 24 * time.Hour, Keep: 1})
			k.pass(24 * time.Hour)
			if _, got := k.files(); got != list {
				t.Errorf("beside the backups is %q, want %q", got, list)
			}
			k.Close()
		}
		if b, err := os.ReadFile(filepath.Join(dir, "deleted-lost.list")); err != nil || string(b) != "lost 1" {
			t.Errorf("kept is %q, %v", b, err)
		}
		if kept, err := filepath.Glob(OtherList(filepath.Join(dir, "deleted.list"), "*")); err != nil || len(kept) != 1 {
			t.Errorf("kept are %v, %v", kept, err)
		}
	})
}

// What was deleted right before a stop is in the copy.
func TestDeletedListIsCopiedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, t.TempDir())
		k.Use(&Schedule{Dir: k.dir, Every: 24 * time.Hour, Keep: 1})
		k.pass(0)
		k.set(nil, "list 0, more")
		k.Close()
		if _, list := k.files(); list != "list 0, more" {
			t.Errorf("after the end: %q", list)
		}
	})
}

// Whatever ends a backup midway, it leaves nothing.
func TestBackupThatIsBrokenOffLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, t.TempDir())
		k.hold = make(chan struct{})
		k.Use(&Schedule{Dir: k.dir, Every: 24 * time.Hour, Keep: 1})
		k.pass(0)
		if names, _ := k.files(); len(names) != 1 || !strings.HasPrefix(names[0], ".access-tokens-") {
			t.Errorf("in the middle there are %v", names)
		}
		k.stop()
		close(k.hold)
		k.Close()
		k.want("afterwards")
		if k.logs.Len() > 0 || !k.lastMade().IsZero() {
			t.Errorf("said %v, and made at %v", k.logs.All(), k.lastMade())
		}
	})
}
