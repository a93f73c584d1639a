package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// Of a transport that doesn't tell when it has a connection, an error says
// nothing of what was sent, unless it is the one that Caddy has for that.
func TestOtherTransportsErrors(t *testing.T) {
	for name, test := range map[string]struct {
		err     error
		notSent bool
	}{
		"any":                   {errors.New("broken"), false},
		"the connection breaks": {io.ErrUnexpectedEOF, false},
		"no connection":         {reverseproxy.NewDialError(errors.New("refused")), true},
	} {
		u := upstream(t, &SignIn{URL: "http://127.0.0.1:1/"})
		u.api = roundTrip(func(*http.Request) (*http.Response, error) { return nil, test.err })
		if _, err := u.SignIn(basicRequest("alice", "secret")); errors.Is(err, signin.ErrNotChecked) != test.notSent {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A connection by HTTP/2 that is there already is one, too.
func TestSentByHTTP2(t *testing.T) {
	api := startAPI(t, func(handler http.Handler) *httptest.Server {
		server := httptest.NewUnstartedServer(handler)
		server.EnableHTTP2 = true
		server.StartTLS()
		return server
	}, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("asked by %s", r.Proto)
		}
		if _, password, _ := r.BasicAuth(); password != "right" {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"id": "alice"}`)
	})
	u := upstream(t, &SignIn{URL: api.URL})
	u.api = api.Client().Transport
	for range 2 {
		if _, err := u.SignIn(basicRequest("alice", "right")); err != nil {
			t.Fatal(err)
		}
		if _, err := u.SignIn(basicRequest("alice", "wrong")); err == nil || errors.Is(err, signin.ErrNotChecked) {
			t.Errorf("a password that was sent: %v", err)
		}
	}
}
