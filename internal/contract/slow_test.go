package contract

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A slowRequest is a request under way: the server waits for its body.
type slowRequest struct {
	conn net.Conn
	in   *bufio.Reader
	body string
}

// beginCreating asks for a token, and returns once the server has looked at
// all but the body.
func (g *gateway) beginCreating(t testing.TB, auth string) *slowRequest {
	t.Helper()
	conn, err := net.Dial("tcp", g.addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	s := &slowRequest{conn, bufio.NewReader(conn), `{"lifetimeSeconds": 60}`}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		api, g.addresses[0], auth, len(s.body))
	// The server says so when it begins to read the body.
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
		if line, err := s.in.ReadString('\n'); line != want {
			t.Fatalf("got %q, error %v, want %q", line, err, want)
		}
	}
	return s
}

// finish sends the body and reads the answer.
func (s *slowRequest) finish(t testing.TB) answered {
	t.Helper()
	if _, err := io.WriteString(s.conn, s.body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := answered{status: resp.StatusCode, header: resp.Header, body: string(body)}
	if value := got.tokenValue(); value != "" {
		secret(value)
	}
	return got
}
