package auditfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// allocate makes sure that n bytes can be written at an offset of f, whatever
// becomes of the disk. Where that can't be had it returns errors.ErrUnsupported.
func allocate(f *os.File, offset, n int64) error {
	for {
		switch err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, n); {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return errors.ErrUnsupported
		default:
			return fmt.Errorf("reserving room for it: %w", err)
		}
	}
}
