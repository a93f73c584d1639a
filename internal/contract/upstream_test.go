package contract

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// An upstream is the API behind the gateway. It records every request to the
// byte, and answers with what it was told, as JSON, unless the test plays it.
type upstream struct {
	address  string
	listener net.Listener
	mu       sync.Mutex
	requests []*received
	plays    map[string]func(conn net.Conn, in *bufio.Reader, r *http.Request)
	open     map[net.Conn]bool
}

// received is one request as it came over the wire.
type received struct {
	raw    string // all its bytes: request line, header, body, trailers
	method string
	target string
	header http.Header
	body   string
	// trailer is what followed a chunked body.
	trailer http.Header
}

// upstreamNumber is the response header that says which request was answered.
const upstreamNumber = "Upstream-Request"

func newUpstream(t testing.TB) *upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{
		address:  listener.Addr().String(),
		listener: listener,
		plays:    map[string]func(net.Conn, *bufio.Reader, *http.Request){},
		open:     map[net.Conn]bool{},
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			u.track(conn, true)
			serving.Go(func() { defer u.track(conn, false); u.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		u.mu.Lock()
		for conn := range u.open {
			conn.Close()
		}
		u.mu.Unlock()
		serving.Wait()
		for _, r := range u.requests {
			if secrets.foundIn([]byte(r.raw)) {
				t.Errorf("a secret reached the API behind, in %s %s", r.method, r.target)
			}
		}
	})
	return u
}

func (u *upstream) track(conn net.Conn, open bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if open {
		u.open[conn] = true
		return
	}
	delete(u.open, conn)
	conn.Close()
}

// play lets a test answer one path by hand, on the bare connection. The request's
// body is unread; the connection is closed afterwards.
func (u *upstream) play(path string, part func(conn net.Conn, in *bufio.Reader, r *http.Request)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.plays[path] = part
}

// count tells how many requests have arrived so far.
func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.requests)
}

// request returns the n-th request, counted from 0.
func (u *upstream) request(n int) *received {
	u.mu.Lock()
	defer u.mu.Unlock()
	copied := *u.requests[n]
	return &copied
}

// serve answers the requests of one connection, one after the other.
func (u *upstream) serve(conn net.Conn) {
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &raw))
	for {
		raw.Reset()
		req, err := http.ReadRequest(in)
		if err != nil && raw.Len() == 0 {
			return
		}
		number, entry := u.enter(req, raw.String())
		if err != nil {
			fmt.Fprint(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			return
		}
		u.mu.Lock()
		part := u.plays[req.URL.Path]
		u.mu.Unlock()
		if part != nil {
			part(conn, in, req)
			return
		}
		body, err := io.ReadAll(req.Body)
		u.mu.Lock()
		entry.body, entry.trailer, entry.raw = string(body), req.Trailer, raw.String()
		u.mu.Unlock()
		if err != nil {
			return
		}
		if err := answer(conn, req, number, string(body)); err != nil {
			return
		}
	}
}

// enter records a request whose header has been read.
func (u *upstream) enter(req *http.Request, raw string) (int, *received) {
	entry := &received{raw: raw}
	if req != nil {
		entry.method, entry.target, entry.header = req.Method, req.RequestURI, req.Header.Clone()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = append(u.requests, entry)
	return len(u.requests) - 1, entry
}

func answer(conn net.Conn, req *http.Request, number int, body string) error {
	text, err := json.Marshal(map[string]any{
		"method": req.Method, "target": req.RequestURI, "headers": req.Header, "body": body,
	})
	if err != nil {
		return err
	}
	if req.Method == http.MethodHead {
		text = nil
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"+
		upstreamNumber+": %d\r\nContent-Length: %d\r\n\r\n%s", number, len(text), text)
	return err
}

// lines returns all lines of the request whose name is the given one for an API
// that sees no difference between cases, nor between "-", "_" and ".".
func (r *received) lines(name string) []string {
	var found []string
	for line := range strings.SplitSeq(r.raw, "\r\n") {
		before, _, colon := strings.Cut(line, ":")
		if colon && plain(before) == plain(name) {
			found = append(found, line)
		}
	}
	return found
}

// plain is a header name without what some servers take for the same.
func plain(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(strings.TrimSpace(name)))
}
