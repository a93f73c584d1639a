//go:build unix

package badgerstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// Somebody else's directory is somebody else's to change. As root, the test
// gives one away; anybody else takes root's.
func TestAStoreOfAnotherOwnerIsRefused(t *testing.T) {
	for _, part := range []string{".", "db", "hash.key"} {
		dir := filepath.Join(t.TempDir(), "store")
		s, err := Open(dir, Options{Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		others := filepath.Join(dir, part)
		if os.Geteuid() != 0 {
			if err := checkOwner("/"); err == nil || !strings.Contains(err.Error(), "belongs to root (0)") {
				t.Errorf("/: %v", err)
			}
			return
		}
		if err := os.Chown(others, 54321, -1); err != nil {
			t.Fatal(err)
		}
		s, err = Open(dir, Options{Logger: zap.NewNop()})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: opened", part)
			continue
		}
		for _, want := range []string{filepath.Clean(others), "belongs to user 54321", "Caddy runs as root (0)"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", part, err, want)
			}
		}
	}
}
