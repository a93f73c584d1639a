package lingering

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for anything.
const patience = 20 * time.Second

const refusal = `{"exception":{"name":"InvalidToken"}}` + "\n"

var from = netip.MustParseAddr("192.0.2.1")

// serve starts a server that refuses every request at once, after reading as much
// of its body as its path says, and tells when it is done with one.
func serve(t *testing.T, l Limits, wrap func(http.ResponseWriter) http.ResponseWriter) (address string, done <-chan time.Time) {
	t.Helper()
	reader, ended := New(l), make(chan time.Time, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := reader.Begin(wrap(w), r, from)
		if strings.HasPrefix(r.URL.Path, "/read") {
			_, _ = io.CopyN(io.Discard, r.Body, 10)
		}
		a.Header().Set("Content-Type", "application/json")
		a.Header().Set("Content-Length", fmt.Sprint(len(refusal)))
		a.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(a, refusal)
		a.End()
		ended <- time.Now()
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), ended
}

func plain(w http.ResponseWriter) http.ResponseWriter { return w }

// dial opens a connection and sends the text.
func dial(t *testing.T, address, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// wantRefusal reads the whole answer.
func wantRefusal(t *testing.T, in *bufio.Reader, closes bool) {
	t.Helper()
	if said := readRefusal(t, in); said != closes {
		t.Errorf("the connection is said to end: %v, want %v", said, closes)
	}
}

// readRefusal tells whether the connection is said to end.
func readRefusal(t *testing.T, in *bufio.Reader) bool {
	t.Helper()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || string(body) != refusal {
		t.Fatalf("%d %q, %v", resp.StatusCode, body, err)
	}
	return resp.Close
}

func wantEnd(t *testing.T, conn net.Conn, in *bufio.Reader) {
	t.Helper()
	if _, err := in.ReadByte(); errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		t.Errorf("the connection goes on: %v", err)
	}
	conn.Close()
}

// Whoever sends all before looking at the answer gets it.
func TestARefusalArrivesAtWhoeverIsStillSending(t *testing.T) {
	address, _ := serve(t, Defaults, plain)
	const size = 5 << 20
	for name, test := range map[string]struct{ header, end string }{
		"with a length":    {fmt.Sprintf("HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size), ""},
		"over HTTP/1.0":    {fmt.Sprintf("HTTP/1.0\r\nContent-Length: %d\r\n\r\n", size), ""},
		"in chunks":        {fmt.Sprintf("HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", size), "\r\n0\r\n\r\n"},
		"partly read":      {fmt.Sprintf("HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX: /read\r\n\r\n", size), ""},
		"that didn't wait": {fmt.Sprintf("HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\nx", size+1), ""},
		"that was told to": {fmt.Sprintf("HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nX: /read\r\nContent-Length: %d\r\n\r\n", size), ""},
		"with keep-alive":  {fmt.Sprintf("HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n", size), ""},
		"that ends it":     {fmt.Sprintf("HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", size), ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/"
			if strings.Contains(test.header, "/read") {
				path = "/read"
			}
			conn, in := dial(t, address, "POST "+path+" "+test.header)
			if strings.Contains(test.header, "Expect") && path == "/read" {
				for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
					if line, err := in.ReadString('\n'); line != want {
						t.Fatalf("%q, %v", line, err)
					}
				}
			}
			if _, err := conn.Write(append(bytes.Repeat([]byte("x"), size), test.end...)); err != nil {
				t.Errorf("sending: %v", err)
			}
			if readRefusal(t, in) {
				wantEnd(t, conn, in)
			} else if test.end == "" {
				t.Error("the connection isn't said to end") // chunks may have come in a moment
			}
		})
	}
}

// The answer comes before the rest of the body, and a body that is small or read
// doesn't end the connection.
func TestTheAnswerDoesNotWait(t *testing.T) {
	l := Defaults
	l.Moment = time.Millisecond
	address, done := serve(t, l, plain)
	t.Run("for a body that doesn't come", func(t *testing.T) {
		for _, header := range []string{
			"Content-Length: 10\r\n", "Content-Length: 1000000\r\n", "Transfer-Encoding: chunked\r\n",
			"Content-Length: 10\r\nExpect: 100-continue\r\n", "Content-Length: 1000000\r\nExpect: 100-Continue\r\n", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
		} {
			began := time.Now()
			conn, in := dial(t, address, "POST / HTTP/1.1\r\nHost: x\r\n"+header+"\r\n")
			wantRefusal(t, in, true)
			if strings.Contains(header, "Expect") {
				wantEnd(t, conn, in)
			}
			if waited := time.Since(began); waited > l.Time/2 {
				t.Errorf("%q: waited %v", header, waited)
			}
			conn.Close()
			<-done
		}
	})
	t.Run("and keeps the connection where the body is there", func(t *testing.T) {
		l := Defaults
		l.Moment = patience
		address, _ := serve(t, l, plain)
		conn, in := dial(t, address, "")
		for _, request := range []string{
			"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ntext",
			"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\n\r\n",
			"POST /read HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\ntext",
			"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20_000),
			"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		} {
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(request, "Expect") {
				if _, err := in.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				_, _ = in.ReadString('\n')
			}
			wantRefusal(t, in, false)
		}
	})
}

// What follows a body that was given up is never taken for a request.
func TestWhatIsLeftIsNoRequest(t *testing.T) {
	for name, change := range map[string]func(*Limits){
		"too much":     func(l *Limits) { l.Bytes, l.Small = 10, 10 },
		"too late":     func(l *Limits) { l.Time = time.Millisecond },
		"too many":     func(l *Limits) { l.Requests = 0 },
		"no turn left": func(l *Limits) { l.PerClient, l.Time = 0, time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			l := Defaults
			change(&l)
			address, done := serve(t, l, plain)
			conn, in := dial(t, address, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 9))
			wantRefusal(t, in, true)
			if name == "too late" {
				<-done
			}
			// An error is the connection's end, too.
			_, _ = io.WriteString(conn, strings.Repeat("x", 100)+"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if more, err := io.ReadAll(in); len(more) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("then came %q, %v", more, err)
			}
		})
	}
}

// A sender that drips holds no request for longer than it may.
func TestASlowSenderIsGivenUp(t *testing.T) {
	l := Defaults
	l.Time, l.Moment = 100*time.Millisecond, time.Millisecond
	address, done := serve(t, l, plain)
	for _, length := range []string{"Content-Length: 1000", "Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		conn, in := dial(t, address, "POST / HTTP/1.1\r\nHost: x\r\n"+length+"\r\n\r\n")
		stop := make(chan struct{})
		var dripping sync.WaitGroup
		dripping.Go(func() {
			for drop := time.NewTicker(time.Millisecond); ; {
				select {
				case <-drop.C:
					_, _ = io.WriteString(conn, "1\r\nx\r\n"[:6])
				case <-stop:
					return
				}
			}
		})
		wantRefusal(t, in, true)
		select {
		case <-done:
		case <-time.After(patience):
			t.Errorf("%s: it is still read", length)
		}
		wantEnd(t, conn, in)
		close(stop)
		dripping.Wait()
	}
}

// One client's bodies take turns, and others don't wait for them.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Defaults
		l.PerClient, l.Requests = 2, 4
		reader := New(l)
		other := netip.MustParseAddr("192.0.2.2")
		var leave []func()
		enter := func(address netip.Addr, within time.Duration, want bool) {
			t.Helper()
			began := time.Now()
			left, ok := reader.enter(address, began.Add(within))
			if ok != want {
				t.Fatalf("entered: %v", ok)
			}
			if ok {
				leave = append(leave, left)
			}
		}
		enter(from, time.Second, true)
		enter(from, time.Second, true)
		began := time.Now()
		enter(from, time.Second, false)
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("waited %v", waited)
		}
		enter(other, time.Second, true)
		go func() {
			<-time.After(time.Minute)
			leave[0]()
		}()
		enter(from, time.Hour, true)
		if waited := time.Since(began); waited != time.Second+time.Minute {
			t.Errorf("waited %v for a turn", waited)
		}
		enter(other, time.Second, true)
		enter(netip.MustParseAddr("192.0.2.3"), time.Hour, false) // there are enough
		for _, leave := range leave[1:] {
			leave()
		}
		if reader.requests != 0 || len(reader.clients) != 0 {
			t.Errorf("%d requests and %d clients are left", reader.requests, len(reader.clients))
		}
	})
}

// recorder keeps what is written to it, as Caddy's intercept does.
type recorder struct {
	http.ResponseWriter
	body   bytes.Buffer
	status int
}

func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) Buffered() bool              { return true }
func (r *recorder) FlushError() error           { return nil }
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// wrapper is one writer more in between.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Whoever holds an answer back may make another one of it, of another length.
func TestAnAnswerThatIsHeldBack(t *testing.T) {
	reader := New(Defaults)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		held := &recorder{ResponseWriter: w}
		a := reader.Begin(wrapper{held}, r, from)
		a.Header().Set("Content-Length", fmt.Sprint(len(refusal)))
		a.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(a, refusal)
		a.End()
		w.WriteHeader(held.status)
		fmt.Fprint(w, "Sign in, please.")
	}))
	t.Cleanup(server.Close)
	for name, request := range map[string]string{
		"no body":           "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"a small one":       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
		"a large one":       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + strings.Repeat("x", 5_000_000),
		"one held back too": "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, in := dial(t, server.Listener.Addr().String(), request)
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "Sign in, please." || resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%d %q, %v", resp.StatusCode, body, err)
			}
		})
	}
}

// A writer that knows no deadlines gets the answer all the same.
func TestWithoutDeadlines(t *testing.T) {
	for _, expect := range []string{"", "100-continue"} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("text"))
		r.Header.Set("Expect", expect)
		w := httptest.NewRecorder()
		a := New(Defaults).Begin(w, r, from)
		_, _ = io.WriteString(a, refusal)
		a.End()
		if w.Code != http.StatusOK || w.Body.String() != refusal || w.Header().Get("Connection") != "close" {
			t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
		}
	}
}
