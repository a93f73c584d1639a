package contract

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Nothing on its way to or from the API behind waits for what comes after it.

// converse opens a connection to the gateway, sends the text, and returns the
// connection with a reader.
func (g *gateway) converse(t *testing.T, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", g.addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	say(t, conn, text)
	return conn, bufio.NewReader(conn)
}

func say(t *testing.T, to io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		t.Fatal(err)
	}
}

// hear reads as many bytes as the text has, and wants them to be it.
func hear(t *testing.T, from io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(from, got); err != nil || string(got) != want {
		t.Fatalf("heard %q (%v), want %q", got[:n], err, want)
	}
}

// tell gives the other side something to say.
func tell(t *testing.T, other chan<- string, what string) {
	t.Helper()
	select {
	case other <- what:
	case <-time.After(patience):
		t.Fatal("the API behind wasn't asked")
	}
}

// until waits for a signal of the other side.
func until[T any](t *testing.T, what string, signal <-chan T) (said T) {
	t.Helper()
	select {
	case said = <-signal:
	case <-time.After(patience):
		t.Fatalf("waited in vain until %s", what)
	}
	return said
}

func TestARequestBodyIsStreamed(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "")
	parts := make(chan string, 10)
	g.api.play("/upload", func(conn net.Conn, _ *bufio.Reader, r *http.Request) {
		parts <- r.Header.Get("Remote-User")
		part := make([]byte, 3)
		for {
			if _, err := io.ReadFull(r.Body, part); err != nil {
				break
			}
			parts <- string(part)
		}
		fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	conn, in := g.converse(t, "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: "+bearer(made.value)+
		"\r\nTransfer-Encoding: chunked\r\n\r\n")
	if user := until(t, "the header arrives", parts); user != "alice" {
		t.Errorf("Remote-User %q", user)
	}
	for _, part := range []string{"one", "two", "six"} {
		say(t, conn, "3\r\n"+part+"\r\n")
		if got := until(t, "the part arrives", parts); got != part {
			t.Errorf("%q arrived as %q", part, got)
		}
	}
	say(t, conn, "0\r\n\r\n")
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
}

func TestAResponseBodyIsStreamed(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "")
	for path, header := range map[string]string{
		"/download":    "Content-Type: text/plain\r\nTransfer-Encoding: chunked",
		"/events":      "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked",
		"/until-close": "Content-Type: text/event-stream\r\nConnection: close",
	} {
		t.Run(path, func(t *testing.T) {
			next := make(chan string)
			g.api.play(path, func(conn net.Conn, _ *bufio.Reader, _ *http.Request) {
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", header)
				for part := range next {
					if strings.Contains(header, "chunked") {
						part = fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
					}
					fmt.Fprint(conn, part)
				}
				if strings.Contains(header, "chunked") {
					fmt.Fprint(conn, "0\r\n\r\n")
				}
			})
			done := closeOnce(t, next)
			_, in := g.converse(t, "GET "+path+" HTTP/1.1\r\nHost: x\r\nAuthorization: "+bearer(made.value)+"\r\n\r\n")
			tell(t, next, "data: 1\n\n")
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			hear(t, resp.Body, "data: 1\n\n")
			for _, event := range []string{"data: 2\n\n", "data: 3\n\n"} {
				tell(t, next, event)
				hear(t, resp.Body, event)
			}
			done()
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
				t.Errorf("then came %q, %v", rest, err)
			}
		})
	}
}

// closeOnce closes the channel when called, or when the test ends without.
func closeOnce(t *testing.T, c chan string) func() {
	closed := false
	done := func() {
		if !closed {
			closed = true
			close(c)
		}
	}
	t.Cleanup(done)
	return done
}

const handshake = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// echoing plays a WebSocket server that repeats what it hears, and tells what the
// request was like.
func (u *upstream) echoing(path string, users chan<- string) {
	u.play(path, func(conn net.Conn, in *bufio.Reader, r *http.Request) {
		users <- strings.Join(r.Header.Values("Remote-User"), ",")
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_, _ = io.Copy(conn, in)
	})
}

func TestAWebSocketPasses(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "")
	for name, connection := range map[string]string{
		"as usual":                            "Connection: Upgrade\r\n",
		"with a header of ours nominated":     "Connection: Upgrade, Remote-User\r\nRemote-User: bob\r\n",
		"with it in a line of its own before": "Connection: remote-user\r\nConnection: keep-alive, Upgrade\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			users := make(chan string, 1)
			g.api.echoing("/ws", users)
			conn, in := g.converse(t, "GET /ws HTTP/1.1\r\nHost: x\r\nAuthorization: "+bearer(made.value)+"\r\n"+connection+handshake+"\r\n")
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%v, %v", resp, err)
			}
			if user := until(t, "the API behind is asked", users); user != "alice" {
				t.Errorf("the API behind was told %q", user)
			}
			for _, frame := range []string{"\x81\x05hello", "\x82\x02\x00\xff", "\x89\x00"} {
				say(t, conn, frame)
				hear(t, in, frame)
			}
		})
	}
	t.Run("but not without a token", func(t *testing.T) {
		before := g.api.count()
		_, in := g.converse(t, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"+handshake+"\r\n")
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || g.api.count() != before {
			t.Errorf("%v, %v", resp, err)
		}
	})
}

// Whatever else a client would like to speak, it is answered as if it hadn't
// asked, and told what there is.
func TestOtherUpgradesAreDropped(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	made := g.create(t, as("bob"), 3600, "")
	for _, upgrade := range []string{"h2c", "SPDY/3.1", "websocket, h2c"} {
		got := g.do(t, ask{auth: bearer(made.value), lines: []string{"Connection: Upgrade", "Upgrade: " + upgrade}})
		wantProxied(t, got, "bob")
		if len(got.received.lines("Upgrade")) > 0 || got.header.Get("Upgrade") != "websocket" {
			t.Errorf("%s: the API behind was asked to upgrade to %q, the client told of %q", upgrade, got.received.lines("Upgrade"), got.header["Upgrade"])
		}
	}
	if got := g.do(t, ask{auth: bearer(made.value)}); got.header.Get("Upgrade") != "" {
		t.Errorf("told of %q unasked", got.header["Upgrade"])
	}
}
