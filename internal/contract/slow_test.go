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

// A body that is still on its way is no reason to decide by an older file.
func TestWhatARequestWantsIsDecidedByTheFileThatRunsThen(t *testing.T) {
	t.Parallel()
	everyone := site("allow_generate everyone")
	withoutBob := strings.Replace(everyone, "bob {$BOB_HASH}", "", 1)
	before, behind, _ := strings.Cut(everyone, "sign_in basic {")
	_, behind, _ = strings.Cut(behind, "\n\t\t}\n")
	byPlaceholder := before + "sign_in placeholder {http.auth.user.id}\n" + behind
	signedIn := func(string) string { return as("bob") }
	for _, test := range []struct {
		name  string
		by    func(held string) string
		after string
		want  int
	}{
		{"the same file", signedIn, everyone, http.StatusCreated},
		{"the user is gone", signedIn, withoutBob, http.StatusForbidden},
		{"the way to sign in is gone", signedIn, byPlaceholder, http.StatusForbidden},
		{"the right to generate is gone", signedIn, site("allow_generate admins"), http.StatusForbidden},
		{"tokens are off", signedIn, site("allow_generate everyone\napi_access off"), http.StatusForbidden},
		{"the site is gone", signedIn, site("allow_generate everyone\nproject another"), http.StatusServiceUnavailable},
		{"a renewal, the same file", bearer, everyone, http.StatusCreated},
		{"a renewal, the right is gone", bearer, site("allow_generate admins"), http.StatusForbidden},
		{"a renewal, tokens are off", bearer, site("allow_generate everyone\napi_access off"), http.StatusForbidden},
		{"a renewal, the user is unlisted", bearer, withoutBob, http.StatusCreated},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := start(t, everyone, env("GRACE", patience.String()))
			held := g.create(t, as("bob"), 3600, "").value
			slow := g.beginCreating(t, test.by(held))
			if complaint := g.reload(t, test.after); complaint != "" {
				t.Fatal(complaint)
			}
			if got := slow.finish(t); got.status != test.want {
				t.Errorf("status %d, want %d: %s", got.status, test.want, got)
			}
		})
	}
}
