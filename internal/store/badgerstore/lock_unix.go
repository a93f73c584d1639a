//go:build unix

package badgerstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockDir takes the lock that Badger takes, if nobody has it.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = d.Close()
		return nil, err
	}
	return func() { _ = d.Close() }, nil
}
