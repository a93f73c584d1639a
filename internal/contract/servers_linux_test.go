package contract

import (
	"embed"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Real servers behind and in front of the gateway, for what is theirs to
// misunderstand. Each is a child process on loopback, ends with its test, and says
// what it made of a request as lines NAME=value: PATH, as often as it has ways to
// read it, and the header as CGI names it, HTTP_REMOTE_USER and so on.
//
//	behind := servers["lighttpd"](t)
//	g := start(t, site(""), env("UPSTREAM", behind.address))
//	g.do(t, ask{…}).made("HTTP_REMOTE_USER")
//
// It takes ACCESS_TOKENS_TEST_SERVERS=1 and Debian's lighttpd, busybox, php-cli,
// nodejs, python3, python3-waitress, nginx and curl, and what .ci/run lists beside.

//go:embed testdata/servers
var serverFiles embed.FS

// A server is somebody else's, at an address of this machine.
type server struct {
	address string
	target  string // of a request that its program answers
}

// servers are those that stand behind a gateway.
var servers = map[string]func(t *testing.T) server{
	"lighttpd": func(t *testing.T) server {
		return serve(t, "lighttpd", "-D", "-f", "{DIR}/lighttpd.conf")
	},
	"busybox": func(t *testing.T) server {
		s := serve(t, "busybox", "httpd", "-f", "-p", "{ADDRESS}", "-h", "{DIR}")
		s.target = "/cgi-bin/env.cgi"
		return s
	},
	"php": func(t *testing.T) server {
		return serve(t, "php", "-S", "{ADDRESS}", "-t", "{DIR}")
	},
	"node": func(t *testing.T) server {
		return serve(t, "node", "{DIR}/app.mjs", "{PORT}")
	},
	"wsgiref": func(t *testing.T) server {
		return serve(t, debiansPython, "{DIR}/app.py", "wsgiref", "{PORT}")
	},
	"waitress": func(t *testing.T) server {
		return serve(t, debiansPython, "{DIR}/app.py", "waitress", "{PORT}")
	},
}

// debiansPython is the one that has Debian's modules, where there are several.
const debiansPython = "/usr/bin/python3"

// wantServers skips a test where real servers aren't to run.
func wantServers(t *testing.T) {
	t.Helper()
	if os.Getenv("ACCESS_TOKENS_TEST_SERVERS") != "1" {
		t.Skip("set ACCESS_TOKENS_TEST_SERVERS=1 to test with lighttpd, nginx, PHP, Node and Python")
	}
}

// nginxBefore is an nginx in front of a gateway's first site.
func nginxBefore(t *testing.T, g *gateway) server {
	t.Helper()
	return serve(t, "nginx", "-e", "stderr", "-p", "{DIR}", "-c", "{DIR}/nginx.conf", "BEHIND="+g.addresses[0])
}

// through is the gateway as seen through a server in front of it.
func (g *gateway) through(front server) *gateway {
	seen := *g
	seen.addresses = []string{front.address}
	return &seen
}

// serve runs a program that serves at {ADDRESS}, which is {PORT} of 127.0.0.1, and
// has a directory of its own, {DIR}, with the files of testdata/servers. Arguments
// NAME=value at the end are filled in as {NAME}. Should somebody else have taken
// the port, another is tried.
func serve(t *testing.T, program string, args ...string) server {
	t.Helper()
	for attempt := 1; ; attempt++ {
		port := freePort(t)
		s := server{address: net.JoinHostPort("127.0.0.1", port), target: "/v3/things"}
		said, up := s.run(t, port, program, args)
		if up {
			return s
		}
		if attempt == 3 {
			t.Fatalf("%s doesn't start:\n%s", program, said())
		}
	}
}

// run starts the program and waits until it accepts connections (true) or has
// ended (false). said is what it has written.
func (s server) run(t *testing.T, port, program string, args []string) (said func() string, up bool) {
	t.Helper()
	dir := t.TempDir()
	values := []string{"{DIR}", dir, "{PORT}", port, "{ADDRESS}", s.address}
	for len(args) > 0 && strings.Contains(args[len(args)-1], "=") {
		name, value, _ := strings.Cut(args[len(args)-1], "=")
		values = append(values, "{"+name+"}", value)
		args = args[:len(args)-1]
	}
	filled := strings.NewReplacer(values...)
	unpack(t, dir, filled)

	output, err := os.Create(filepath.Join(dir, "output.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	said = func() string { return read(t, output.Name()) }
	cmd := exec.Command(program)
	for _, arg := range args {
		cmd.Args = append(cmd.Args, filled.Replace(arg))
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	// Nothing of the tests' own environment, as CGI programs print it.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PORT=" + port, "DIR=" + dir, "CGI=" + filepath.Join(dir, "cgi-bin", "env.cgi")}
	done := leash(t, cmd)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if t.Failed() {
			t.Logf("%s: %s", program, tail(said(), 4000))
		}
	})

	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			conn.Close()
			return said, true
		}
		select {
		case <-done:
			return said, false
		case <-poll.C:
		}
	}
	return said, false
}

// unpack writes the servers' files into a directory, programs for CGI where busybox
// looks for them.
func unpack(t *testing.T, dir string, filled *strings.Replacer) {
	t.Helper()
	const from = "testdata/servers"
	files, err := serverFiles.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "cgi-bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := serverFiles.ReadFile(from + "/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		to, mode := filepath.Join(dir, file.Name()), os.FileMode(0o600)
		switch filepath.Ext(file.Name()) {
		case ".cgi":
			to, mode = filepath.Join(dir, "cgi-bin", file.Name()), 0o700
		case ".conf":
			text = []byte(filled.Replace(string(text)))
		}
		if err := os.WriteFile(to, text, mode); err != nil {
			t.Fatal(err)
		}
	}
}

// leash starts a command that ends, at the latest, when the tests do, even by a
// panic. The channel is closed when it has ended.
func leash(t *testing.T, cmd *exec.Cmd) (done chan struct{}) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done = make(chan struct{})
	started := make(chan error, 1)
	go func() {
		defer close(done)
		// The kernel's parent is a thread: this one waits as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("%v: .ci/run has the list of what to install", err)
	}
	return done
}

// made is what a server behind made of a request, under this name.
func (a answered) made(name string) (values []string) {
	for line := range strings.SplitSeq(a.body, "\n") {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			values = append(values, value)
		}
	}
	return values
}

// wantServer wants a real server behind to have answered a request.
func wantServer(t testing.TB, got answered) {
	t.Helper()
	wantStatus(t, got, http.StatusOK)
	if len(got.made("SERVER")) != 1 {
		t.Fatalf("the server behind didn't answer this: %s", got)
	}
}

// behindEach runs a test with each of the named servers behind a gateway.
func behindEach(t *testing.T, names []string, sites string, test func(t *testing.T, g *gateway, behind server), options ...option) {
	wantServers(t)
	for _, name := range names {
		t.Run(fmt.Sprint("behind it ", name), func(t *testing.T) {
			t.Parallel()
			behind := servers[name](t)
			test(t, start(t, sites, append(options, env("UPSTREAM", behind.address))...), behind)
		})
	}
}
