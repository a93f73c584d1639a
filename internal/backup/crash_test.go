package backup

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
)

// A child is this test's binary again, which makes backups of the store in one
// directory in another one, one after the other, until it is killed.
const (
	childStore   = "BACKUP_TEST_STORE"
	childBackups = "BACKUP_TEST_BACKUPS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childStore); dir != "" {
		fmt.Fprintln(os.Stderr, backUpUntilKilled(dir, os.Getenv(childBackups)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func backUpUntilKilled(dir, backups string) error {
	s, err := badgerstore.Open(dir, badgerstore.Options{Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	// Each look at the clock finds the next one due.
	var looks atomic.Int64
	begun := time.Now()
	now := func() time.Time { return begun.Add(time.Duration(looks.Add(1)) * time.Hour) }
	done := make(chan error)
	k := NewKeeper(KeeperConfig{Source: s, DeletedList: badgerstore.DeletedListName, Now: now, Logger: zap.NewNop(), Succeeded: func(time.Time) { fmt.Println("made") }})
	k.Use(&Schedule{Dir: backups, Every: time.Second, Keep: 3})
	fmt.Println("ready")
	return <-done
}

// Whenever the process is killed, whatever has a backup's name is a whole backup, and
// the list beside it is whole.
func TestKillDuringBackupLeavesNoHalfOne(t *testing.T) {
	dir, backups := t.TempDir(), t.TempDir()
	s, err := badgerstore.Open(dir, badgerstore.Options{Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	const tokens = 20_000
	fill(t, s, tokens)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, half := 0, 0
	one := time.Duration(0) // how long one takes
	for round := range 8 {
		one = backUpAndKill(t, round%2, one, childStore+"="+dir, childBackups+"="+backups)
		files, err := os.ReadDir(backups)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name := filepath.Join(backups, file.Name())
			switch _, isBackup := NamedAt(file.Name()); {
			case file.Name() == badgerstore.DeletedListName:
				wantWholeList(t, name)
			case isBackup:
				whole++
				wantWhole(t, name, tokens)
			case strings.HasPrefix(file.Name(), ".access-tokens-"), strings.HasPrefix(file.Name(), "."+badgerstore.DeletedListName):
				half++
				if err := os.Remove(name); err != nil {
					t.Error(err)
				}
			default:
				t.Errorf("round %d: there is %s", round, name)
			}
		}
	}
	t.Logf("%d whole files, %d halves", whole, half)
	if whole == 0 || half == 0 {
		t.Error("it was never killed in the middle, or always before anything was done")
	}
}

// backUpAndKill runs a child, and kills it while it makes the next backup but some, of
// which one takes that long. It returns how long the first of these took, if there was
// one.
func backUpAndKill(t *testing.T, some int, one time.Duration, env ...string) time.Duration {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // whatever fails here
	lines := bufio.NewReader(out)
	wait := func() {
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	wait() // ready
	begun := time.Now()
	for range some {
		if wait(); one == 0 {
			one = time.Since(begun)
		}
	}
	<-time.After(time.Duration(rand.Int64N(int64(one + time.Millisecond))))
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	return one
}

func wantWhole(t *testing.T, name string, tokens int) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if sum, err := Read(f, nil, Into{}); err != nil || sum.Records != tokens {
		t.Errorf("%s: %+v, %v", name, sum, err)
	}
}

func wantWholeList(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if list, err := badgerstore.ReadDeletedList(f, store.Head{}); err != nil || list.Damaged || list.UpTo.Revision == 0 {
		t.Errorf("%s: %+v, %v", name, list, err)
	}
}
