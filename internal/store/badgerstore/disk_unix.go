//go:build unix

package badgerstore

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// realDisk is the file system that a directory lies on.
type realDisk string

func (d realDisk) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(string(d), &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", string(d), err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // the types differ by system
}
