package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is how much CPU time all threads of a process have used, those that have
// ended too. It is what /proc/<pid>/stat says, in nanoseconds.
func cpuTime(pid int) (time.Duration, error) {
	// The clock of a process, as clock_getcpuclockid(3) makes it.
	const scheduled = 2
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &used); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}

// memory is what a process has in memory, in bytes: its own, and mapped files.
func memory(pid int) (own, files int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(status) {
		fields := bytes.Fields(line)
		if len(fields) != 3 {
			continue
		}
		kib, _ := strconv.ParseInt(string(fields[1]), 10, 64)
		switch string(fields[0]) {
		case "RssAnon:":
			own = kib << 10
		case "RssFile:":
			files = kib << 10
		}
	}
	if own == 0 {
		err = errors.New("this system doesn't say how much memory of a process is its own")
	}
	return own, files, err
}

// sizeOnDisk is what all files below dir have allocated, in bytes.
func sizeOnDisk(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && !entry.IsDir() {
			size += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	return size, err
}

// uncache takes all files below dir out of the page cache. Nobody may have them open.
func uncache(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		file, err := root.Open(path)
		if err != nil {
			return err
		}
		// Only what is on disk can be given up.
		err = errors.Join(file.Sync(), unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED))
		return errors.Join(err, file.Close())
	})
}
