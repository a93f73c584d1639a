package contract

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// stalled is a request whose answer isn't read, but for its first byte.
type stalled struct {
	conn   net.Conn
	answer *bufio.Reader
	ask    ask
}

// stall sends a request, and leaves the answer where it is.
func (g *gateway) stall(t testing.TB, a ask) *stalled {
	t.Helper()
	conn, err := net.Dial("tcp", g.addresses[a.site])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// So little that the server has to wait.
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, a.text(g.addresses[a.site])); err != nil {
		t.Fatal(err)
	}
	return &stalled{conn, bufio.NewReaderSize(conn, 64), a}
}

// begun tells whether the answer's first bytes are there, of one that isn't a
// refusal.
func (s *stalled) begun() bool {
	const first = "HTTP/1.1 200"
	_ = s.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	begins, err := s.answer.Peek(len(first))
	return err == nil && string(begins) == first
}

// rest reads the answer.
func (s *stalled) rest(t testing.TB) answered {
	t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(s.answer, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{status: resp.StatusCode, header: resp.Header, body: string(body)}
}
