// Package contract tests what the product promises its users, from outside:
// every test talks over real sockets to a real Caddy process, in front of an
// API that records what reaches it. Nothing here looks at the implementation.
//
// The Caddy under test is the test binary itself: with the environment variable
// named by asCaddy, TestMain hands over to Caddy's command line. So there is
// nothing to build beforehand, and -race and -cover concern the server as well.
//
// How a test uses it:
//
//	g := start(t, site("allow_generate everyone"))  // a running gateway, stopped by t.Cleanup
//	made := g.create(t, as("alice"), 3600, "note")  // a token of alice's
//	got := g.do(t, ask{target: "/v3/x", auth: bearer(made.value)})
//	got.status, got.header, got.body                // what the client saw
//	got.received                                    // what the API behind saw, to the byte
//
// After the last test, everything that any gateway wrote (data, configuration,
// logs) is searched for every token value that a test ever held.
package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule"
)

// asCaddy names the environment variable that turns the test binary into Caddy.
const asCaddy = "ACCESS_TOKENS_TEST_AS_CADDY"

// leashed is asCaddy's value for a server: it ends, at the latest, when its standard
// input does, which is when the tests end, even by a panic.
const leashed = "leashed"

// patience is how long anything is waited for before a test gives up: with the
// race detector on a busy machine, comparing one password takes many seconds.
const patience = time.Minute

// lessCollection is GOGC of the tests and of their many servers, which are small and
// end soon: at Go's own 100, half of a start's time goes into collecting garbage.
const lessCollection = 400

// measured is for servers whose memory a test looks at: garbage as Go's own 100 has it.
var measured = env("GOGC", "100")

// root is the directory below which every gateway of this run has its own.
var root string

func TestMain(m *testing.M) {
	if mode := os.Getenv(asCaddy); mode != "" {
		if mode == leashed {
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				os.Exit(1)
			}()
		}
		caddycmd.Main()
		os.Exit(0)
	}
	debug.SetGCPercent(lessCollection)
	os.Exit(runAndSearch(m))
}

// runAndSearch runs the tests, then looks for token values in all that the
// gateways left behind.
func runAndSearch(m *testing.M) int {
	var err error
	if root, err = os.MkdirTemp("", "contract"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(root)
	code := m.Run()
	leaks, err := secrets.leaksBelow(root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "searching for leaked secrets:", err)
		return 1
	}
	for _, leak := range leaks {
		fmt.Fprintln(os.Stderr, "FAIL: a secret was written to", leak)
	}
	if len(leaks) > 0 {
		return 1
	}
	return code
}

// A gateway is a Caddy process with a directory of its own, three free ports
// and an API behind. Its Caddyfile refers to them as {$PORT}, {$PORT2}, {$PORT3}
// and {$UPSTREAM}, to the directory as {$DIR}, and to the users' password hashes
// as {$ALICE_HASH} and so on.
type gateway struct {
	api       *upstream
	dir       string
	addresses []string // of {$PORT}, {$PORT2}, {$PORT3}
	vars      map[string]string
	globals   string
	process   *process
}

type process struct {
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has ended
	meant bool          // whether the test ended it
}

// An option changes how a gateway is made.
type option func(*gateway)

// globals adds lines to the Caddyfile's global options.
func globals(lines string) option {
	return func(g *gateway) { g.globals += lines }
}

// env sets an environment variable of the Caddy process.
func env(name, value string) option {
	return func(g *gateway) { g.vars[name] = value }
}

var gateways atomic.Int64

// prepare makes a gateway that isn't running: for commands such as validate, or
// for a first start with g.up.
func prepare(t testing.TB, sites string, options ...option) *gateway {
	t.Helper()
	g := &gateway{
		dir: filepath.Join(root, fmt.Sprint(gateways.Add(1))),
		api: newUpstream(t),
	}
	if err := os.Mkdir(g.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	g.vars = map[string]string{
		asCaddy:           "1",
		"DIR":             g.dir,
		"HOME":            g.dir,
		"XDG_DATA_HOME":   filepath.Join(g.dir, "data"),
		"XDG_CONFIG_HOME": filepath.Join(g.dir, "config"),
		"GOGC":            strconv.Itoa(lessCollection),
		"UPSTREAM":        g.api.address,
	}
	maps.Copy(g.vars, passwordHashes())
	g.pickPorts(t)
	for _, set := range options {
		set(g)
	}
	g.write(t, sites)
	return g
}

// start makes a gateway with these sites and waits until it serves them. It is
// stopped, and must stop cleanly, when the test ends.
func start(t testing.TB, sites string, options ...option) *gateway {
	t.Helper()
	g := prepare(t, sites, options...)
	g.up(t)
	return g
}

// caddyfile puts the global options of every test before the sites.
func (g *gateway) caddyfile(sites string) string {
	return `{
	debug
	admin unix/{$DIR}/admin.sock
	auto_https off
	persist_config off
	skip_install_trust
	grace_period {$GRACE:2s}
` + g.globals + `
}
` + sites + "\n"
}

func (g *gateway) configFile() string { return filepath.Join(g.dir, "Caddyfile") }

func (g *gateway) write(t testing.TB, sites string) {
	t.Helper()
	if err := os.WriteFile(g.configFile(), []byte(g.caddyfile(sites)), 0o600); err != nil {
		t.Fatal(err)
	}
}

var portNames = []string{"PORT", "PORT2", "PORT3"}

// pickPorts asks the system for ports that nobody listens on.
func (g *gateway) pickPorts(t testing.TB) {
	t.Helper()
	g.addresses = nil
	for _, name := range portNames {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close() // held until all are picked, so that they differ
		g.addresses = append(g.addresses, listener.Addr().String())
		_, g.vars[name], _ = net.SplitHostPort(listener.Addr().String())
	}
}

// command prepares a Caddy command with this gateway's environment.
func (g *gateway) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Dir = g.dir
	cmd.Env = os.Environ()
	for name, value := range g.vars {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// caddy runs another of Caddy's commands, such as validate, in the gateway's
// environment, and returns what it wrote (both streams) and its exit code.
func (g *gateway) caddy(t testing.TB, args ...string) (output string, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	out, err := g.command(ctx, args...).CombinedOutput()
	// Kept for the search for secrets.
	name := filepath.Join(g.dir, fmt.Sprintf("command-%d.txt", time.Now().UnixNano()))
	if err := os.WriteFile(name, out, 0o600); err != nil {
		t.Fatal(err)
	}
	if exited, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exited.ExitCode()
	}
	if err != nil {
		t.Fatalf("caddy %s: %v", strings.Join(args, " "), err)
	}
	return string(out), 0
}

func (g *gateway) logFile() string { return filepath.Join(g.dir, "output.log") }

// logs returns all that the process has written so far, over all its starts.
func (g *gateway) logs() string {
	text, err := os.ReadFile(g.logFile())
	if err != nil {
		return ""
	}
	return string(bytes.ToValidUTF8(text, []byte("?")))
}

// wait polls until done, and fails with the server's log when that takes too long.
func (g *gateway) wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !done(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain until %s\nthe server's log:\n%s", patience, what, tail(g.logs(), 8000))
		}
	}
}

func tail(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return "…" + strings.ToValidUTF8(text[len(text)-size:], "")
}
