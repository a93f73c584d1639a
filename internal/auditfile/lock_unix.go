//go:build unix

package auditfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock keeps other processes from writing to f, until f is closed. It fails with
// errInUse if one does. Where files can't be locked nobody is kept from anything.
func lock(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return errInUse
	}
	return nil
}
