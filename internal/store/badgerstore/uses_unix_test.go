//go:build unix

package badgerstore

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
)

// Nobody waits for a pipe.
func TestAPipeIsNoFileOfLastUses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, usesFileName), 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan *usesFile, 1)
	go func() { opened <- openUses(dir, uuid.New(), true, zap.NewNop()) }()
	select {
	case u := <-opened:
		if u.file == nil {
			t.Error("it wasn't set aside")
		}
		_ = u.close()
	case <-time.After(10 * time.Second):
		t.Fatal("waits for a pipe")
	}
}
