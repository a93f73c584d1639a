package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// patience is how long anything is waited for before a test gives up.
const patience = 20 * time.Second

const managementPath = "/v4/apiAccessTokens"

// server is Caddy running in this process, one at a time.
type server struct {
	// globals are lines of the Caddyfile's global options.
	globals string
	dir     string
	port    string
	log     string // the default log's file
}

// serve runs Caddy with these sites, at a loopback port that they call PORT,
// until the test ends.
func serve(t testing.TB, sites string) *server {
	t.Helper()
	return serveWith(t, "", sites)
}

// serveWith runs Caddy with further global options.
func serveWith(t testing.TB, globals, sites string) *server {
	t.Helper()
	if err := caddy.Stop(); err != nil { // one that a test has started before
		t.Fatal(err)
	}
	s := &server{dir: t.TempDir(), globals: globals}
	s.log = filepath.Join(s.dir, "default.log")
	var err error
	for range 5 {
		s.port = freePort(t)
		if err = s.load(t, sites); err == nil || !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// load replaces the configuration.
func (s *server) load(t testing.TB, sites string) error {
	t.Helper()
	return loadCaddyfile(t, s.caddyfile(sites))
}

func loadCaddyfile(t testing.TB, caddyfile string) error {
	t.Helper()
	adapted, _, err := adapt(t, caddyfile)
	if err != nil {
		return err
	}
	return caddy.Load(adapted, true)
}

func (s *server) caddyfile(sites string) string {
	text := `{
	debug
	admin off
	auto_https off
	persist_config off
	grace_period 2s
	storage file_system DIR/storage
	log {
		output file LOG {
			roll_disabled
		}
		format json
	}
	access_tokens {
		store badger DIR/store
	}
	` + s.globals + `
}
` + sites
	return strings.NewReplacer("DIR", s.dir, "LOG", s.log, "PORT", s.port).Replace(text)
}

// validate does what `caddy validate` does, beside the running server.
func (s *server) validate(t testing.TB, sites string) error {
	t.Helper()
	adapted, _, err := adapt(t, s.caddyfile(sites))
	if err != nil {
		t.Fatal(err)
	}
	return validate(t, adapted)
}

func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// logged returns what the default log holds.
func (s *server) logged(t testing.TB) string {
	t.Helper()
	content, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// response is what came back, read to its end.
type response struct {
	status int
	header http.Header
	body   string
}

// exception is the name of the error in the body, if it holds one.
func (r response) exception() string {
	var body struct {
		Exception struct{ Name string } `json:"exception"`
	}
	_ = json.Unmarshal([]byte(r.body), &body)
	return body.Exception.Name
}

func (r response) String() string { return fmt.Sprintf("%d %q", r.status, r.body) }

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// ask sends a request and reads the answer.
func (s *server) ask(t testing.TB, method, path, body string, header http.Header) (got response) {
	t.Helper()
	// A reload closes a listening socket of its own, and with it connections
	// that nobody has accepted yet.
	waitFor(t, "an answer", func() bool {
		answer, err := client.Do(s.request(t, method, path, body, header))
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		read, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		got = response{answer.StatusCode, answer.Header, string(read)}
		return true
	})
	return got
}

func (s *server) request(t testing.TB, method, path, body string, header http.Header) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:"+s.port+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(request.Header, header)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	return request
}

// create asks for a token, with these headers for credentials.
func (s *server) create(t testing.TB, header http.Header) response {
	t.Helper()
	return s.ask(t, http.MethodPost, managementPath, `{"lifetimeSeconds": 60}`, header)
}

// token returns the value that create was answered with.
func (r response) token(t testing.TB) string {
	t.Helper()
	var made struct{ TokenValue string }
	if err := json.Unmarshal([]byte(r.body), &made); err != nil || made.TokenValue == "" {
		t.Fatalf("no token was made: %v", r)
	}
	return made.TokenValue
}

func bearer(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

// waitFor polls until a condition holds.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
