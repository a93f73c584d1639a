package contract

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a token has opened ends with it.

// sending plays an API that sends one event and then is silent.
func (u *upstream) sending(path string) {
	u.play(path, func(conn net.Conn, in *bufio.Reader, _ *http.Request) {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
		_, _ = io.Copy(io.Discard, in) // until the other side goes
	})
}

// listen opens such a stream, and returns what is to be read of it.
func (g *gateway) listen(t *testing.T, value string) io.Reader {
	t.Helper()
	conn, in := g.converse(t, "GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: "+bearer(value)+"\r\n\r\n")
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	t.Cleanup(func() {
		conn.Close() // or closing the body would read it to its end
		resp.Body.Close()
	})
	hear(t, resp.Body, "data: 1\n\n")
	return resp.Body
}

// talk opens a WebSocket.
func (g *gateway) talk(t *testing.T, value string) (net.Conn, io.Reader) {
	t.Helper()
	users := make(chan string, 1)
	g.api.echoing("/ws", users)
	conn, in := g.converse(t, "GET /ws HTTP/1.1\r\nHost: x\r\nAuthorization: "+bearer(value)+"\r\nConnection: Upgrade\r\n"+handshake+"\r\n")
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	say(t, conn, "\x81\x05hello")
	hear(t, in, "\x81\x05hello")
	return conn, in
}

// wantCut wants a stream to end with an error, and no more to come of it.
func wantCut(t *testing.T, what string, stream io.Reader, ofItself error) {
	t.Helper()
	rest, err := io.ReadAll(stream)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("%s goes on", what)
	}
	if len(rest) > 0 || err != ofItself {
		t.Errorf("%s ends with %q, %v, want %v", what, rest, err, ofItself)
	}
}

func TestOpenStreamsEndWithTheirToken(t *testing.T) {
	t.Parallel()
	sites := site("allow_generate everyone")
	for name, end := range map[string]func(t *testing.T, g *gateway, made token){
		"it is deleted":         func(t *testing.T, g *gateway, made token) { g.remove(t, as("bob"), made.target()) },
		"it deletes itself":     func(t *testing.T, g *gateway, made token) { g.remove(t, bearer(made.value), currentTarget) },
		"all of its user's are": func(t *testing.T, g *gateway, _ token) { g.deleteAll(t, as("alice"), "bob") },
		"its user is blocked":   func(t *testing.T, g *gateway, _ token) { g.setBlocked(t, "PUT", as("alice"), "bob") },
		"API access is off":     func(t *testing.T, g *gateway, _ token) { g.patch(t, as("alice"), `{"enabled": false}`) },
		"a reload switches it off": func(t *testing.T, g *gateway, _ token) {
			if complaint := g.reload(t, site("allow_generate everyone\napi_access off")); complaint != "" {
				t.Fatal(complaint)
			}
		},
		"it is replaced": func(t *testing.T, g *gateway, made token) {
			wantStatus(t, g.do(t, ask{method: "POST", target: api, auth: bearer(made.value), body: `{"lifetimeSeconds": 60, "replace": true}`}), http.StatusCreated)
		},
		"its line is deleted": func(t *testing.T, g *gateway, made token) {
			g.remove(t, as("bob"), api+"/"+made.info.ParentID+"?successors=true")
		},
	} {
		t.Run("when "+name, func(t *testing.T) {
			t.Parallel()
			byReload := strings.Contains(name, "reload")
			grace := "2s"
			if byReload {
				grace = "1m" // how long Caddy itself would let them go on
			}
			g := start(t, sites, env("GRACE", grace))
			g.api.sending("/events")
			parent := g.create(t, as("bob"), 3600, "")
			made := g.create(t, bearer(parent.value), 3600, "")
			others := g.create(t, as("carol"), 3600, "")
			events, othersEvents := g.listen(t, made.value), g.listen(t, others.value)
			_, socket := g.talk(t, made.value)
			conn, othersSocket := g.talk(t, others.value)
			end(t, g, made)
			wantCut(t, "the stream", events, io.ErrUnexpectedEOF)
			if !byReload { // by which Caddy ends them itself
				wantCut(t, "the WebSocket", socket, nil)
			}
			if strings.Contains(name, "off") {
				wantCut(t, "another's stream", othersEvents, io.ErrUnexpectedEOF)
				return
			}
			say(t, conn, "\x81\x05again")
			hear(t, othersSocket, "\x81\x05again")
		})
	}
	t.Run("when it expires", func(t *testing.T) {
		t.Parallel()
		g := start(t, sites)
		g.api.sending("/events")
		made := g.create(t, as("bob"), 2, "")
		events := g.listen(t, made.value)
		_, socket := g.talk(t, made.value)
		wantCut(t, "the stream", events, io.ErrUnexpectedEOF)
		wantCut(t, "the WebSocket", socket, nil)
		if now := time.Now(); now.Before(at(t, *made.info.ExpiredAt)) {
			t.Errorf("they ended at %v, and the token at %s", now, *made.info.ExpiredAt)
		}
	})
}

func TestOpenStreamsCanBeLeft(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\nopen_streams leave"))
	made := g.create(t, as("bob"), 3600, "")
	conn, socket := g.talk(t, made.value)
	g.remove(t, as("bob"), made.target())
	wantRefused(t, g.do(t, askFor(made)), http.StatusUnauthorized, "InvalidToken")
	// A second after its token, it would have ended.
	ended := time.Now()
	g.wait(t, "a second is over", func() bool { return time.Since(ended) > 1100*time.Millisecond })
	say(t, conn, "\x81\x05again")
	hear(t, socket, "\x81\x05again")
}

// Whoever renews a token and deletes the old one doesn't lose what the old one is
// still being used for.
func TestWhatIsNotYetAnsweredIsFinished(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	arrived := make(chan string, 1)
	g.api.play("/upload", func(conn net.Conn, _ *bufio.Reader, r *http.Request) {
		arrived <- r.Header.Get("Remote-User")
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	})
	old := g.create(t, as("bob"), 3600, "")
	conn, in := g.converse(t, "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: "+bearer(old.value)+"\r\nContent-Length: 10\r\n\r\nfirst")
	until(t, "the upload has begun", arrived)
	g.create(t, bearer(old.value), 3600, "")
	g.remove(t, as("bob"), old.target())
	ended := time.Now()
	g.wait(t, "two seconds are over", func() bool { return time.Since(ended) > 2*time.Second })
	say(t, conn, " last")
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	defer resp.Body.Close()
	hear(t, resp.Body, "first last")
}

// A file goes another way to the client than what an API sends.
func TestDownloadsEndWithTheirToken(t *testing.T) {
	t.Parallel()
	g := prepare(t, strings.Replace(site("allow_generate everyone"), "reverse_proxy {$UPSTREAM}", "root {$DIR}\nfile_server", 1))
	const size = 1 << 40 // of nothing but holes
	file, err := os.Create(filepath.Join(g.dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		t.Fatal(err)
	}
	// Or a terabyte would be searched for secrets.
	t.Cleanup(func() { _ = os.Remove(file.Name()) })
	g.up(t)
	for _, what := range []string{"one that is read", "one that isn't"} {
		made := g.create(t, as("bob"), 3600, "")
		_, in := g.converse(t, "GET /large HTTP/1.1\r\nHost: x\r\nAuthorization: "+bearer(made.value)+"\r\n\r\n")
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusOK || resp.ContentLength != size {
			t.Fatalf("%v, %v", resp, err)
		}
		ended := make(chan error, 1)
		read := func() {
			_, err := io.Copy(io.Discard, in)
			ended <- err
		}
		if what == "one that is read" {
			go read()
		}
		begun := time.Now()
		g.wait(t, "it is a stream", func() bool { return time.Since(begun) > 1100*time.Millisecond })
		g.remove(t, as("bob"), made.target())
		if what != "one that is read" {
			go read()
		}
		if err := until(t, what+" ends", ended); err != nil {
			t.Errorf("%s ends with %v", what, err)
		}
	}
}

// All of a user's streams go at once, and cost the others nothing.
func TestManyStreamsEndAtOnce(t *testing.T) {
	t.Parallel()
	const many = 500
	g := start(t, site("allow_generate everyone"), quietly)
	g.api.sending("/events")
	made, others := g.create(t, as("bob"), 3600, ""), g.create(t, as("carol"), 3600, "")
	var open []io.Reader
	for range many {
		open = append(open, g.listen(t, made.value))
	}
	last := g.listen(t, others.value)
	g.deleteAll(t, as("alice"), "bob")
	deleted := time.Now()
	var all sync.WaitGroup
	for _, stream := range open {
		all.Go(func() { wantCut(t, "a stream", stream, io.ErrUnexpectedEOF) })
	}
	all.Wait()
	t.Logf("%d streams have ended %v after the deletion", many, time.Since(deleted))
	g.setBlocked(t, "PUT", as("alice"), "carol")
	wantCut(t, "the last one", last, io.ErrUnexpectedEOF)
}
