package command

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// newTerminal is a terminal of so many columns: what a program has, and what the
// person in front of it sees and types.
func newTerminal(t *testing.T, columns uint16) (program, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if program, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: 24}); err != nil {
		t.Fatal(err)
	}
	return program, person
}

func TestAtATerminalThereAreTables(t *testing.T) {
	program, person := newTerminal(t, 64)
	s := newStub(t, func(string) (int, string) {
		return 200, `{"data":[{"tokenId":"` + aToken + `","userId":"alice","description":"a text that is too long","createdAt":"2026-01-01T00:00:00.000Z"}]}`
	})
	at := func(args ...string) error {
		root := &cobra.Command{Use: "access-tokens", SilenceUsage: true}
		setUp(root)
		root.SetIn(program)
		root.SetOut(program)
		root.SetErr(program)
		root.SetArgs(append(args, "--address", s.Listener.Addr().String()))
		return root.Execute()
	}
	if err := at("list"); err != nil {
		t.Fatal(err)
	}
	seen := bufio.NewReader(person)
	for _, want := range []string{"TOKEN ", aToken + "  alice"} {
		line, err := seen.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); err != nil || !strings.HasPrefix(line, want) || len([]rune(line)) > 64 {
			t.Errorf("%v, %q, want %q", err, line, want)
		}
	}
	if err := at("list", "--json"); err != nil {
		t.Fatal(err)
	}
	if line, err := seen.ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"tokenId":`) {
		t.Errorf("%v, %q", err, line)
	}
	// And somebody to ask.
	s.answer = func(string) (int, string) { return 200, `{"deleted":1,"expired":0}` }
	if _, err := person.WriteString("y\n"); err != nil {
		t.Fatal(err)
	}
	if err := at("delete", aToken); err != nil {
		t.Fatal(err)
	}
	if len(s.asked) != 4 {
		t.Errorf("asked was %q", s.asked)
	}
}

// A backup is nothing to be looked at.
func TestNoBackupAtATerminal(t *testing.T) {
	program, _ := newTerminal(t, 80)
	s := newStub(t, func(string) (int, string) { return 200, "a backup" })
	root := &cobra.Command{Use: "access-tokens", SilenceUsage: true}
	setUp(root)
	var said strings.Builder
	root.SetOut(program)
	root.SetErr(&said)
	root.SetArgs([]string{"backup", "--output", "-", "--address", s.Listener.Addr().String()})
	if err := root.Execute(); err == nil || !strings.Contains(said.String(), "no text for a terminal") {
		t.Errorf("%v, %s", err, said.String())
	}
	s.wantAsked(t)
}
