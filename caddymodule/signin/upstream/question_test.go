package upstream

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// An answer about a guest is nobody's.
func TestRequire(t *testing.T) {
	for body, signedIn := range map[string]bool{
		`{"id": 17, "authenticated": true, "roles": ["member"], "plan": 2}`:     true,
		`{"id": 17, "authenticated": "true", "roles": ["member"], "plan": "2"}`: true,
		`{"id": 17, "authenticated": false, "roles": ["member"], "plan": 2}`:    false,
		`{"id": 17, "authenticated": null, "roles": ["member"], "plan": 2}`:     false,
		`{"id": 17, "authenticated": 1, "roles": ["member"], "plan": 2}`:        false,
		`{"id": 17, "authenticated": true, "roles": ["guest"], "plan": 2}`:      false,
		`{"id": 17, "authenticated": true, "roles": [], "plan": 2}`:             false,
		`{"id": 17, "authenticated": true, "roles": ["member"]}`:                false,
		`{"id": 17, "authenticated": true, "roles": ["member"], "plan": 2.0}`:   false,
		`{"id": "anonymous"}`:             false,
		`{"id": {}, "authenticated": {}}`: false, // whatever the id is
		`null`:                            false,
		`[]`:                              false,
	} {
		u := upstream(t, &SignIn{
			URL: whoAmI(t, 200, body).URL, Cookies: []string{"sid"},
			Require: map[string]string{"authenticated": "true", "roles.0": "member", "plan": "2"},
		})
		for _, attempt := range []struct {
			r  *http.Request
			no error
		}{{basicRequest("alice", "secret"), signin.ErrDenied}, {sessionRequest("sid=1"), signin.ErrNotMine}} {
			user, err := u.SignIn(attempt.r)
			if signedIn && (err != nil || user.ID != "17") || !signedIn && !errors.Is(err, attempt.no) {
				t.Errorf("%s: %v, %v", body, user, err)
			}
		}
	}
}

// The owner's headers are part of each question, beside the credentials.
func TestHeaders(t *testing.T) {
	var received atomic.Pointer[http.Header]
	api := startAPI(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		received.Store(&r.Header)
		_, _ = io.WriteString(w, `{"id": "alice"}`)
	})
	t.Setenv("KEY", "of the owner")
	u := upstream(t, &SignIn{URL: api.URL, Headers: map[string]string{"OCS-APIRequest": "true", "x-api-key": "{env.KEY}", "Accept": "application/vnd.api+json"}})
	basic := basicRequest("alice", "secret")
	for range 2 {
		if _, err := u.SignIn(basic); err != nil {
			t.Fatal(err)
		}
		want := http.Header{
			"Accept": {"application/vnd.api+json"}, "Ocs-Apirequest": {"true"}, "X-Api-Key": {"of the owner"},
			"Authorization": basic.Header["Authorization"], "User-Agent": {"caddy-access-tokens"}, "Accept-Encoding": {"gzip"},
		}
		if diff := cmp.Diff(want, *received.Load()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestDial(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	api := startAPI(t, func(h http.Handler) *httptest.Server {
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: h}}
		server.Start()
		return server
	}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"id": "`+r.Host+r.URL.Path+`"}`)
	})
	t.Setenv("SOCKET", socket)
	u := upstream(t, &SignIn{URL: "http://api.internal/me", Dial: "unix/{env.SOCKET}"})
	if user, err := u.SignIn(basicRequest("alice", "secret")); err != nil || user.ID != "api.internal/me" {
		t.Errorf("%v, %v", user, err)
	}
	if other := upstream(t, &SignIn{URL: "http://api.internal/me"}); u.Authority() == other.Authority() {
		t.Errorf("both are %s", u.Authority())
	}
	api.Close()
	_, err = u.SignIn(basicRequest("alice", "secret"))
	if err == nil || !strings.Contains(err.Error(), socket) {
		t.Errorf("nobody listens: %v", err)
	}
}
