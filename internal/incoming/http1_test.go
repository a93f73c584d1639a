package incoming

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func lines(s ...string) string { return strings.Join(s, "\r\n") + "\r\n\r\n" }

func TestScrubOverHTTP1(t *testing.T) {
	tests := []struct {
		name    string
		request string
		want    seenRequest
		// What a shallow copy sees where a server gives trailers to its own request only.
		copiesSeeNoTrailer bool
	}{
		{
			name: "repeated lines, case, underscores and dots",
			request: lines(
				"GET / HTTP/1.1", "Host: api.example.com", "Remote-User: a", "Remote-User: b", "remote-user: c",
				"REMOTE_USER: d", "Remote.User: e", "X_Trifacta.Workspace: f", "x-api_user:g", "Accept: */*", "accept: text/plain"),
			want: seenRequest{Major: 1, Header: http.Header{"Accept": {"*/*", "text/plain"}}},
		},
		{
			name: "obsolete folding",
			request: lines(
				"GET / HTTP/1.1", "Host: api.example.com", "Remote-User:", " mallory", "X-Note: one", " Remote-User: two",
				"Remote_Email: m", "\t@example.com", "Connection: close,", "\tRemote-User"),
			want: seenRequest{Major: 1, Header: http.Header{"X-Note": {"one Remote-User: two"}, "Connection": {"close"}}},
		},
		{
			name: "Connection",
			request: lines(
				"GET / HTTP/1.1", "Host: api.example.com", "connection: \tUpgrade ,, Remote-User\t", "Upgrade: websocket",
				"CONNECTION: remote_user,REMOTE.EMAIL", "Connection: keep-alive"),
			want: seenRequest{Major: 1, Header: http.Header{"Connection": {"Upgrade", "keep-alive"}, "Upgrade": {"websocket"}}},
		},
		{
			name: "announced trailers, and others beside them",
			request: lines(
				"POST / HTTP/1.1", "Host: api.example.com", "Transfer-Encoding: chunked", "Trailer: X-Sum, Remote-User", "Trailer: authorization") +
				"3\r\nabc\r\n0\r\n" +
				lines("X-Sum: 1", "Remote-User: a", "remote_user: b", "Authorization: Basic c", "Cookie: d=1",
					"X-Trifacta-User: e", "X-Other: 2", "X-Other: 3"),
			want: seenRequest{Major: 1, Header: http.Header{}, Body: "abc", Trailer: http.Header{"X-Sum": {"1"}, "X-Other": {"2", "3"}}},
		},
		{
			name: "only protected trailers announced",
			request: lines("POST / HTTP/1.1", "Host: api.example.com", "Transfer-Encoding: chunked", "Trailer: Remote-User") +
				"0\r\n" + lines("Remote-User: a", "Remote.Email: b"),
			want: seenRequest{Major: 1, Header: http.Header{}, Trailer: http.Header{}},
		},
		{
			name: "no trailer announced",
			request: lines("POST / HTTP/1.1", "Host: api.example.com", "Transfer-Encoding: chunked") +
				"3\r\nabc\r\n0\r\n" + lines("Remote-User: a", "X_Trifacta_User: b", "authorization: Basic c", "X-Sum: 1"),
			want:               seenRequest{Major: 1, Header: http.Header{}, Body: "abc", Trailer: http.Header{"X-Sum": {"1"}}},
			copiesSeeNoTrailer: true,
		},
		{
			name: "Trailer without a body that could have one",
			request: lines("POST / HTTP/1.1", "Host: api.example.com", "Content-Length: 3", "Trailer: X-Sum, Remote-User") +
				"abc",
			want: seenRequest{Major: 1, Header: http.Header{"Content-Length": {"3"}, "Trailer": {"X-Sum"}}, Body: "abc"},
		},
	}
	rules := newRules(t)
	for _, copied := range copies {
		handler, seen := recordingHandler(rules, copied.before, copied.after)
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		for _, test := range tests {
			t.Run(copied.name+"/"+test.name, func(t *testing.T) {
				conn, err := net.DialTimeout("tcp", server.Listener.Addr().String(), serverPatience)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, test.request); err != nil {
					t.Fatal(err)
				}
				want := test.want
				if test.copiesSeeNoTrailer && (copied.before || copied.after) {
					want.Trailer = nil
				}
				if diff := cmp.Diff(want, await(t, seen)); diff != "" {
					t.Errorf("next handler (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// Closing a body early makes an HTTP/1 server read on, trailers included.
func TestScrubOverHTTP1WhenTheBodyIsClosedEarly(t *testing.T) {
	rules, seen := newRules(t), make(chan http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		rules.Scrub(r)
		_ = r.Body.Close()
		seen <- r.Trailer.Clone()
	}))
	defer server.Close()
	conn, err := net.DialTimeout("tcp", server.Listener.Addr().String(), serverPatience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := lines("POST / HTTP/1.1", "Host: api.example.com", "Transfer-Encoding: chunked", "Trailer: X-Sum") +
		"3\r\nabc\r\n0\r\n" + lines("X-Sum: 1", "Remote-User: a")
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-seen:
		if diff := cmp.Diff(http.Header{"X-Sum": {"1"}}, got); diff != "" {
			t.Errorf("trailer (-want +got):\n%s", diff)
		}
	case <-time.After(serverPatience):
		t.Fatal("the request didn't reach the next handler")
	}
}
