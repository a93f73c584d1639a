package badgerstore

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// mountSmallDisk mounts a file system of that size. It needs root.
func mountSmallDisk(t testing.TB, size string) (dir string) {
	t.Helper()
	if os.Getenv("ACCESS_TOKENS_TEST_DISK") != "1" {
		t.Skip("set ACCESS_TOKENS_TEST_DISK=1 to fill up a disk; this needs root, to mount one")
	}
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// fillUp writes to a file until there is no room for another byte.
func fillUp(t testing.TB, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("filling up the disk: %v", err)
		}
	}
}

func startOrders(t testing.TB, dir string, memTable int64) *child {
	t.Helper()
	c := startChild(t, "orders", dir, memTable)
	answer, err := c.out.ReadString('\n')
	if err != nil || answer != "0\n" {
		c.died("open", errors.New(answer))
	}
	return c
}

func (c *child) mustDo(order string, from, to int) {
	c.t.Helper()
	if n, problem := c.order("%s %d %d", order, from, to); n != to-from {
		c.t.Fatalf("%s %d to %d: only %d: %s", order, from, to, n, problem)
	}
}

// mustBeFull gives an order that the disk has no room to carry out whole, and
// returns how much was done.
func (c *child) mustBeFull(order string, from, to int) (done int) {
	c.t.Helper()
	n, problem := c.order("%s %d %d", order, from, to)
	if n == to-from || !strings.Contains(problem, store.ErrFull.Error()) {
		c.t.Fatalf("%s %d to %d: %d done, %q; want it to end with %q", order, from, to, n, problem, store.ErrFull)
	}
	return n
}

// closeStore closes the store and ends the process.
func (c *child) closeStore() {
	c.t.Helper()
	if _, problem := c.order("close 0 0"); problem != "" {
		c.t.Error(problem)
	}
	_ = c.in.Close()
	_, _ = io.Copy(io.Discard, c.out)
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the store's process: %v\n%s", err, c.stderr)
	}
}

// The store runs in a process of its own: what a full disk does to one that
// writes to it through a memory map is SIGBUS.
func TestFullDisk(t *testing.T) {
	disk := mountSmallDisk(t, "64m")
	dir, ballast := filepath.Join(disk, "store"), filepath.Join(disk, "ballast")
	c := startOrders(t, dir, 0)

	// Filled up by the store itself.
	made := c.mustBeFull("create", 0, 1_000_000)
	if made < 4000 {
		t.Fatalf("only %d tokens fit", made)
	}
	c.mustDo("authenticate", 0, made)

	// And by somebody else, to the last byte. Badger tends its tables all the
	// time: stay there for a while.
	fillUp(t, ballast)
	revoked := 0
	for deadline := time.Now().Add(2 * time.Second); revoked < 2000 || time.Now().Before(deadline); {
		if revoked < 2000 {
			c.mustDo("revoke", revoked, revoked+100)
			revoked += 100
		}
		c.mustBeFull("create", made, made+1)
		c.mustDo("authenticate", made-500, made)
		c.mustDo("revoked", revoked-100, revoked)
	}
	c.mustDo("authenticate", revoked, made)
	c.mustDo("revoked", 0, revoked)

	// Somebody else tidies up.
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c.mustDo("revoke", revoked, revoked+500)
	revoked += 500
	c.mustDo("touch", revoked, revoked+500)
	c.closeStore()

	c = startOrders(t, dir, 0)
	c.mustDo("authenticate", revoked, made)
	c.mustDo("revoked", 0, revoked)
	c.mustDo("revoke", revoked, revoked+100)
	revoked += 100

	// A crash on a full disk, and one after it.
	fillUp(t, ballast)
	c.mustDo("revoke", revoked, revoked+100)
	revoked += 100
	c.kill()
	refused := startChild(t, "orders", dir, 0)
	if answer, _ := refused.out.ReadString('\n'); !strings.Contains(answer, "too full to open") {
		t.Errorf("opened on a full disk: %q", answer)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c = startOrders(t, dir, 0)
	c.mustDo("authenticate", revoked, made)
	c.mustDo("revoked", 0, revoked)

	// What a full disk leaves open on closing is done at the next start.
	fillUp(t, ballast)
	c.mustDo("revoke", revoked, revoked+100)
	revoked += 100
	c.closeStore()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c = startOrders(t, dir, 0)
	c.mustDo("authenticate", revoked, made)
	c.mustDo("revoked", 0, revoked)
	c.closeStore()
}

// Room for new tokens comes back as soon as there is room.
func TestCreatesResume(t *testing.T) {
	disk := mountSmallDisk(t, "64m")
	ballast := filepath.Join(disk, "ballast")
	c := startOrders(t, filepath.Join(disk, "store"), 0)
	c.mustDo("create", 0, 100)
	for i := range 3 {
		fillUp(t, ballast)
		c.mustBeFull("create", 100+100*i, 200+100*i)
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		c.mustDo("create", 100+100*i, 200+100*i)
	}
	c.mustDo("authenticate", 0, 400)
	c.closeStore()
}

// Whatever a store does on a disk that it has to itself, there is always room
// for what Badger makes of it later, and for opening it again.
func TestStoreNeverOutgrowsItsDisk(t *testing.T) {
	for _, c := range []struct {
		disk     string
		memTable int64
	}{{"6m", 256 << 10}, {"16m", 1 << 20}, {"24m", 1 << 20}, {"80m", 0}} {
		t.Run(c.disk, func(t *testing.T) {
			dir := filepath.Join(mountSmallDisk(t, c.disk), "store")
			s := startOrders(t, dir, c.memTable)
			made, revoked := s.mustBeFull("create", 0, 1_000_000), 0
			for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); {
				n, _ := s.order("create %d %d", made, made+1000)
				made += n
				n, _ = s.order("revoke %d %d", revoked, min(revoked+100, made))
				revoked += n
				s.order("touch %d %d", revoked, made)
			}
			if revoked == 0 {
				t.Error("nothing could be revoked")
			}
			s.kill()
			s = startOrders(t, dir, c.memTable)
			// Of the last hundred some may have been revoked after one wasn't.
			s.mustDo("authenticate", min(revoked+100, made), made)
			s.mustDo("revoked", 0, revoked)
			s.closeStore()
		})
	}
}
