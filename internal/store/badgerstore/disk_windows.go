package badgerstore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// realDisk is the volume that a directory lies on.
type realDisk string

func (d realDisk) free() (int64, error) {
	name, err := windows.UTF16PtrFromString(string(d))
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("asking for the free space of %s: %w", string(d), err)
	}
	return int64(min(free, 1<<62)), nil
}

func (realDisk) allocate(string, int64) error { return errors.ErrUnsupported }
