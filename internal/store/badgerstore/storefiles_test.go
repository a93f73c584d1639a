package badgerstore

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func copyStore(to, from string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(to, "hash.key"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func freshCopy(t *testing.T, dir, original string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := copyStore(dir, original); err != nil {
		t.Fatal(err)
	}
}

// sizes returns the sizes of all files but empty ones and the lock.
func sizes(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	all := make(map[string]int64)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			name, _ := filepath.Rel(dir, path)
			all[name] = info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// storeFiles returns the files of a store that can be damaged, in an order.
func storeFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	for name := range sizes(t, dir) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func filesWith(t *testing.T, dir, extension string) (names []string) {
	t.Helper()
	for _, name := range storeFiles(t, dir) {
		if filepath.Ext(name) == extension {
			names = append(names, name)
		}
	}
	return names
}

// bySize returns a file at random, the larger the likelier.
func bySize(t *testing.T, dir string) string {
	t.Helper()
	all := sizes(t, dir)
	for name := range all {
		// Large, and of zeros.
		if strings.HasSuffix(name, ".vlog") || strings.HasSuffix(name, "DISCARD") {
			delete(all, name)
		}
	}
	total := int64(0)
	for _, size := range all {
		total += size
	}
	at := rand.Int64N(total)
	for _, name := range storeFiles(t, dir) {
		if at -= all[name]; at < 0 {
			return name
		}
	}
	return ""
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	inA, inB := readFile(t, a), readFile(t, b)
	writeBack(t, a, inB)
	writeBack(t, b, inA)
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeBack(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
