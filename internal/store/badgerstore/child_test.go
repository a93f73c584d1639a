package badgerstore

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Some tests run a store in a process of its own, which is this test's binary
// again: so that it can be killed, or die of a full disk, alone.
const (
	childRole     = "BADGERSTORE_TEST_ROLE"
	childDir      = "BADGERSTORE_TEST_DIR"
	childMemTable = "BADGERSTORE_TEST_MEMTABLE"
)

var children = map[string]func() int{
	"commits": commitUntilKilled,
	"orders":  takeOrders,
	"truth":   tellTheTruth,
}

// child is a process that plays a role.
type child struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *bytes.Buffer
}

func startChild(t testing.TB, role, dir string, memTable int64, env ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0]), stderr: new(bytes.Buffer)}
	c.cmd.Env = append(os.Environ(), append(env, childRole+"="+role, childDir+"="+dir, fmt.Sprintf("%s=%d", childMemTable, memTable))...)
	c.cmd.Stderr = c.stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

// kill ends the child as kill -9 does.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_, _ = io.Copy(io.Discard, c.out)
		_ = c.cmd.Wait()
	}
}

// order tells a child that takes orders to do something, and returns its
// answer, a number, and the error that kept it from doing more.
func (c *child) order(format string, args ...any) (n int, problem string) {
	c.t.Helper()
	order := fmt.Sprintf(format, args...)
	if _, err := io.WriteString(c.in, order+"\n"); err != nil {
		c.died(order, err)
	}
	answer, err := c.out.ReadString('\n')
	if err != nil {
		c.died(order, err)
	}
	number, problem, _ := strings.Cut(strings.TrimSpace(answer), " ")
	if n, err = strconv.Atoi(number); err != nil {
		c.t.Fatalf("%s: %q", order, answer)
	}
	return n, problem
}

func (c *child) died(order string, err error) {
	c.t.Helper()
	c.kill()
	c.t.Fatalf("%s: the store's process is gone (%v, %v):\n%.2000s", order, err, c.cmd.ProcessState, c.stderr)
}

// openChild opens the store that a child is told to.
func openChild() (*Store, error) {
	memTable, err := strconv.ParseInt(os.Getenv(childMemTable), 10, 64)
	if err != nil {
		return nil, err
	}
	return Open(os.Getenv(childDir), Options{MemTableSize: memTable})
}
