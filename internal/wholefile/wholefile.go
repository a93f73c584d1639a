// Package wholefile writes files that are there whole or not at all, whatever ends
// the process or the machine midway.
package wholefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Write writes a file, readable by its owner only, and replaces what was there. Until
// write has returned without error, and all is on disk, nothing has the file's name.
// It can read again what it has written.
func Write(file string, write func(*os.File) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), leftover(file)+"*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := write(tmp); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(file))
}

// leftover is what the name begins with of what a crash in Write leaves. Tools that
// look for files by their ending don't find it.
func leftover(file string) string { return "." + filepath.Base(file) + "-" }

// RemoveLeftovers removes what crashes in Write have left in dir, before a time, of
// files that ours tells by their names.
func RemoveLeftovers(dir string, before time.Time, ours func(name string) bool) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		name, hidden := strings.CutPrefix(file.Name(), ".")
		at := strings.LastIndexByte(name, '-')
		if !hidden || at < 0 || !ours(name[:at]) || !file.Type().IsRegular() {
			continue
		}
		if info, err := file.Info(); err != nil || !info.ModTime().Before(before) {
			continue // gone, or somebody may be writing it
		}
		if err := os.Remove(filepath.Join(dir, file.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing what a crash has left: %w", err)
		}
	}
	return nil
}

// SyncDir makes a new or renamed file of dir survive a power failure.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
