package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// removeLeftovers removes the empty logs that a crash leaves between the steps
// of Badger's making or removing one. Nothing is in them, and Badger doesn't
// open a database that has one. It takes that no other process has the database
// open: they would be that one's.
func removeLeftovers(dir string) error {
	for _, extension := range []string{".mem", ".vlog"} {
		if err := removeEmpty(dir, extension); err != nil {
			return fmt.Errorf("removing what a crash left of a log: %w", err)
		}
	}
	return nil
}

func removeEmpty(dir, extension string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if filepath.Ext(file.Name()) != extension {
			continue
		}
		info, err := file.Info()
		if err != nil {
			return err
		}
		if info.Size() > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, file.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
