package badgerstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// Badger empties a log before it removes it, and makes one before it gives it a
// size. A process that dies in between must not leave a store that can't be
// opened.
func TestEmptyLogsOfACrashDontPreventOpening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	r := storetest.NewRecord("p", "alice", 1)
	mustCommit(t, s, store.Create{Record: r})
	closeStore(t, s)
	for _, name := range []string{"00007.mem", "000009.vlog"} {
		makeEmpty(t, filepath.Join(dir, "db", name))
		s := open(t, dir, Options{})
		if _, err := s.ByHash(r.Hash); err != nil {
			t.Errorf("beside an empty %s: %v", name, err)
		}
		closeStore(t, s)
	}
}

// In a running process that file may be a log that is just being made.
func TestEmptyLogsOfARunningProcessStay(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	log := filepath.Join(dir, "db", "00099.mem")
	makeEmpty(t, log)
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("opening twice: %v", err)
	}
	if _, err := os.Stat(log); errors.Is(err, fs.ErrNotExist) {
		t.Error("a log of a running process was removed")
	}
}

func makeEmpty(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
