package auditfile

import (
	"os"
	"syscall"
	"testing"
)

// allocated is how much of the disk a file takes, in bytes, 0 if that isn't known.
func allocated(t testing.TB, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}
