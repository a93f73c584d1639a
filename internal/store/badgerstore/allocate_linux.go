package badgerstore

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func (realDisk) allocate(file string, n int64) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, n); err != nil {
		return fmt.Errorf("fallocate: %w", err)
	}
	return nil
}
