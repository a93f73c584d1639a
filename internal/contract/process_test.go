package contract

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The life of a gateway's process: up, reload, stop, kill9, restart.

// up starts the process and waits until its whole configuration runs. Should
// somebody have taken a port in between, others are tried.
func (g *gateway) up(t testing.TB) {
	t.Helper()
	first := g.process == nil
	if first {
		t.Cleanup(func() { g.finish(t) })
	}
	for attempt := 1; ; attempt++ {
		before := len(g.logs())
		g.launch(t)
		if g.serving(t) {
			return
		}
		said := g.logs()[before:]
		g.process = nil
		if !first || attempt == 5 || !strings.Contains(said, "address already in use") {
			t.Fatalf("Caddy didn't start:\n%s", said)
		}
		g.pickPorts(t)
	}
}

// launch starts the process; its output is appended to output.log.
func (g *gateway) launch(t testing.TB) {
	t.Helper()
	output, err := os.OpenFile(g.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd := g.command(context.Background(), "run", "--config", g.configFile(), "--adapter", "caddyfile")
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Env = append(cmd.Env, asCaddy+"="+leashed)
	if _, err := cmd.StdinPipe(); err != nil { // the other end is cmd's
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }()
	g.process = p
}

// serving waits until the process has its configuration running (true) or has
// ended (false). Caddy's admin endpoint shows a configuration only once all its
// apps have started.
func (g *gateway) serving(t testing.TB) bool {
	t.Helper()
	running := false
	g.wait(t, "Caddy is up", func() bool {
		if !g.alive() {
			return true
		}
		status, body, err := g.askAdmin(http.MethodGet, "/config/", "", "")
		running = err == nil && status == http.StatusOK && strings.TrimSpace(body) != "null"
		return running
	})
	return running
}

func (g *gateway) alive() bool {
	select {
	case <-g.process.done:
		return false
	default:
		return true
	}
}

// stop ends the process as an init system would, and waits for it.
func (g *gateway) stop(t testing.TB) {
	t.Helper()
	if !g.alive() {
		t.Errorf("Caddy had ended by itself: %v\n%s", g.process.cmd.ProcessState, tail(g.logs(), 8000))
		return
	}
	g.process.meant = true
	if err := g.process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	select {
	case <-g.process.done:
	case <-time.After(patience):
		_ = g.process.cmd.Process.Kill()
		<-g.process.done
		t.Errorf("Caddy didn't stop:\n%s", tail(g.logs(), 8000))
		return
	}
	if code := g.process.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("Caddy stopped with exit code %d:\n%s", code, tail(g.logs(), 8000))
	}
}

// kill9 ends the process at once, without a chance to say goodbye.
func (g *gateway) kill9(t testing.TB) {
	t.Helper()
	g.process.meant = true
	if err := g.process.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	<-g.process.done
}

// restart stops the process if it still runs, and starts it again with the same
// ports, configuration and data.
func (g *gateway) restart(t testing.TB) {
	t.Helper()
	if g.alive() {
		g.stop(t)
	}
	g.up(t)
}

// finish is the end of the gateway with its test.
func (g *gateway) finish(t testing.TB) {
	if g.process == nil {
		return
	}
	if !g.process.meant {
		g.stop(t)
	}
	if t.Failed() {
		t.Logf("the end of the server's log:\n%s", tail(g.logs(), 4000))
	}
}

// reload gives the running server other sites, without a restart. The answer is
// Caddy's complaint, or "" when it took them. From then on no connection can meet
// the old server.
func (g *gateway) reload(t testing.TB, sites string) (complaint string) {
	t.Helper()
	var status int
	var body string
	g.wait(t, "Caddy's admin endpoint, which each reload replaces, takes the configuration", func() (answered bool) {
		var err error
		status, body, err = g.askAdmin(http.MethodPost, "/load", "text/caddyfile", g.caddyfile(sites))
		return err == nil
	})
	g.settle(t)
	if status != http.StatusOK {
		return body
	}
	g.write(t, sites) // for a later restart
	return ""
}

// settle waits until only one server listens on each port. For a moment after a
// reload, Caddy's old one still has its socket (SO_REUSEPORT), and connections
// that the system puts into its queue then are lost when it closes. Where the
// system doesn't tell who listens, there is nothing to wait for.
func (g *gateway) settle(t testing.TB) {
	t.Helper()
	g.wait(t, "the old server's sockets are closed", func() bool {
		table, err := os.Open("/proc/net/tcp")
		if err != nil {
			return true
		}
		defer table.Close()
		listening := map[string]int{}
		lines := bufio.NewScanner(table)
		lines.Scan() // the columns' names
		for lines.Scan() {
			column := strings.Fields(lines.Text())
			if len(column) < 4 || column[3] != "0A" { // TCP_LISTEN
				break // listening ones come first, and thousands of closed ones behind them
			}
			_, port, _ := strings.Cut(column[1], ":")
			listening[port]++
		}
		for _, name := range portNames {
			port, _ := strconv.Atoi(g.vars[name])
			if listening[fmt.Sprintf("%04X", port)] > 1 {
				return false
			}
		}
		return true
	})
}

// askAdmin sends a request to Caddy's own admin endpoint.
func (g *gateway) askAdmin(method, path, contentType, body string) (status int, answer string, err error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(g.dir, "admin.sock"))
		},
	}
	req, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}
