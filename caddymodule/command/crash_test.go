package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// A child is this test's binary again, which restores a file into a directory.
const (
	childFile = "RESTORE_TEST_FILE"
	childInto = "RESTORE_TEST_INTO"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(childFile); file != "" {
		fmt.Println("ready")
		root := &cobra.Command{Use: "access-tokens", SilenceUsage: true}
		root.AddCommand(restoreCommand())
		root.SetArgs([]string{"restore", "--into", os.Getenv(childInto), "--allow-undelete", "--yes", file})
		if root.Execute() != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// generated is a snapshot of as many tokens as are wanted.
type generated struct{ tokens int }

var testKey = func() *token.Key {
	key, err := token.NewKey("kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk")
	if err != nil {
		panic(err)
	}
	return key
}()

func (g generated) Head() store.Head {
	return store.Head{Position: store.Position{Epoch: 1, Revision: uint64(g.tokens)}, Keys: []token.KeyID{testKey.ID()}, Number: uint64(g.tokens), Clock: storetest.Epoch}
}

func (g generated) Records(each func(store.Record) error) error {
	for i := range g.tokens {
		r := storetest.NewRecord("p", "user"+strconv.Itoa(i%100), i)
		r.Key, r.Revision, r.CreatedRevision, r.Number = testKey.ID(), uint64(i+1), uint64(i+1), uint64(i+1)
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}
func (generated) Uses(func(store.Use) error) error                 { return nil }
func (generated) Accounts(func(store.UserAccount) error) error     { return nil }
func (generated) Settings(func(store.ProjectSettings) error) error { return nil }
func (generated) Close()                                           {}

// Whenever a restore is killed, a server finds either all of it or, at most, a store
// without any token: mostly it refuses to start.
func TestKillDuringRestoreLeavesNoHalfStore(t *testing.T) {
	const tokens = 10_000
	file := filepath.Join(t.TempDir(), "tokens.backup")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Write(f, generated{tokens}, backup.Options{Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if !restoreAndKill(t, file, filepath.Join(t.TempDir(), "whole"), time.Hour) {
		t.Fatal("it can't be restored")
	}
	took := time.Since(begun)
	refused, empty, whole := 0, 0, 0
	for round := range 6 {
		into := filepath.Join(t.TempDir(), strconv.Itoa(round))
		restoreAndKill(t, file, into, time.Duration(rand.Int64N(int64(took))))
		if _, err := os.Stat(into); err != nil {
			empty++
			continue
		}
		s, err := badgerstore.Open(into, badgerstore.Options{Logger: zap.NewNop(), Key: testKey})
		if err != nil {
			refused++
			continue
		}
		switch n, err := s.Count(); {
		case err == nil && n == 0 && s.IsNew():
			empty++
		case err == nil && n == tokens && s.Position().Epoch == 2:
			whole++
		default:
			t.Errorf("round %d: %d tokens at %v, %v", round, n, s.Position(), err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("of the stores %d were refused, %d were empty, %d whole; a restore takes %v", refused, empty, whole, took)
	if refused == 0 {
		t.Error("it was never killed in the middle")
	}
}

// Whoever interrupts a restore has nothing to clear away.
func TestInterruptedRestoreLeavesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.backup")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := backup.Write(f, generated{1000}, backup.Options{Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	into := filepath.Join(t.TempDir(), "new")
	c := restoreCall{file: file, into: into, allowUndelete: true, ctx: ctx, out: io.Discard, progress: newProgress(io.Discard), now: time.Now}
	c.agreed = func() (bool, error) { cancel(); return true, nil }
	if err := c.run(); !errors.Is(err, errInterrupted) {
		t.Errorf("it ends with %v", err)
	}
	if err := badgerstore.CheckEmpty(into); err != nil {
		t.Error(err)
	}
}

// restoreAndKill restores in a child, kills it after some time, and tells whether it
// was done before.
func restoreAndKill(t *testing.T, file, into string, after time.Duration) (done bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+file, childInto+"="+into)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan() // ready
	ended := make(chan error, 1)
	go func() {
		for lines.Scan() {
			continue // until it ends
		}
		ended <- cmd.Wait()
	}()
	select {
	case err := <-ended:
		return err == nil
	case <-time.After(after):
	}
	_ = cmd.Process.Kill()
	if err := <-ended; err == nil {
		return true
	}
	return false
}
