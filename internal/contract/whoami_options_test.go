package contract

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// asking is a site whose users are those of the who-am-I route at {$API}, with
// these options.
func asking(options string) string {
	return `
http://:{$PORT} {
	bind 127.0.0.1
	access_tokens {
		allow_generate everyone
		sign_in upstream http://{$API}/me {
			` + strings.ReplaceAll(options, "\n", "\n\t\t\t") + `
		}
		keep_cookies lb*
	}
	reverse_proxy {$UPSTREAM}
}
`
}

// whoIs is an API that has nothing but a who-am-I route.
func whoIs(t *testing.T, answer http.HandlerFunc) option {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return env("API", strings.TrimPrefix(server.URL, "http://"))
}

// Whom a who-am-I route calls a guest makes no token, however he asks.
func TestAGuestIsNobody(t *testing.T) {
	t.Parallel()
	api := whoIs(t, func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		if password == "secret" || r.Header.Get("Cookie") == "sid_1=alice" {
			_, _ = io.WriteString(w, "\ufeff"+`{"users": [{"id": "alice"}], "authenticated": true, "level": 2}`)
			return
		}
		_, _ = io.WriteString(w, `{"users": [{"id": "anonymous"}], "authenticated": false, "level": 2}`)
	})
	open := start(t, asking("user_id users.0.id\ncookies sid_*"), api)
	g := start(t, asking("user_id users.0.id\ncookies sid_*\nrequire authenticated true\nrequire level 2"), api)
	for name, test := range map[string]struct {
		request  ask
		signedIn bool
	}{
		"a password":       {ask{auth: basic("alice", "secret")}, true},
		"a wrong password": {ask{auth: basic("alice", "guess")}, false},
		"a session":        {ask{lines: []string{"Cookie: a=b; sid_1=alice"}}, true},
		"an old session":   {ask{lines: []string{"Cookie: sid_1=bob"}}, false},
		"another cookie":   {ask{lines: []string{"Cookie: sid=alice"}}, false},
	} {
		test.request.method, test.request.target, test.request.body = "POST", "/v4/apiAccessTokens", anHour
		got := g.do(t, test.request)
		if !test.signedIn {
			wantRefused(t, got, no, "AuthenticationRequired")
			continue
		}
		token := made(t, got)
		wantProxied(t, g.do(t, ask{auth: bearer(token.value)}), "alice")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	// Which is what it takes `require` for.
	token := open.create(t, basic("mallory", "guess"), 60, "")
	wantProxied(t, open.do(t, ask{auth: bearer(token.value)}), "anonymous")
}

// The route gets what it wants beside the credentials, at a socket too, and the
// secret among it stays one.
func TestHeadersForAWhoAmIRouteAtASocket(t *testing.T) {
	t.Parallel()
	g := prepare(t, strings.Replace(asking("header OCS-APIRequest true\nheader X-Api-Key {env.KEY}\ndial unix/{$DIR}/api.sock"), "{$API}", "api.internal", 1),
		env("KEY", secret("the owner's key")))
	var wrong atomic.Value
	listener, err := net.Listen("unix", filepath.Join(g.dir, "api.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "api.internal" || r.URL.Path != "/me" || r.Header.Get("OCS-APIRequest") != "true" || r.Header.Get("X-Api-Key") != "the owner's key" {
			wrong.Store(r.Host + r.URL.Path)
		}
		_, _ = io.WriteString(w, `{"id": "alice"}`)
	})}}
	server.Start()
	t.Cleanup(server.Close)
	g.up(t)
	token := g.create(t, basic("alice", "secret"), 60, "")
	if asked := wrong.Load(); asked != nil {
		t.Errorf("it is asked otherwise, as %s", asked)
	}
	got := g.do(t, ask{auth: bearer(token.value), lines: []string{"Cookie: lb-1=a; session=b; lb=c"}})
	wantProxied(t, got, "alice")
	if cookies := got.received.lines("Cookie"); len(cookies) != 1 || cookies[0] != "Cookie: lb-1=a; lb=c" {
		t.Errorf("beside a token arrive the cookies %q", cookies)
	}
	if strings.Contains(g.logs(), "another machine unencrypted") {
		t.Error("a socket is no other machine")
	}
}

// The log says what is wrong with a route that can't be asked, or that names
// nobody.
func TestTheLogSaysWhyNobodyCanSignIn(t *testing.T) {
	t.Parallel()
	plain := whoIs(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"user": {"id": 17}}`) })
	for name, test := range map[string]struct {
		site   string
		status int
		says   string
	}{
		"down":         {strings.Replace(asking(""), "{$API}", "127.0.0.1:1", 1), cantTell, "connection refused"},
		"no such host": {strings.Replace(asking(""), "{$API}", "whoami.invalid", 1), cantTell, "lookup whoami.invalid"},
		"no TLS":       {strings.Replace(asking(""), "http://{$API}", "https://{$API}", 1), cantTell, "doesn't speak TLS"},
		"wrong id":     {asking("user_id users.id"), no, `"user_id":"users.id"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, test.site, plain)
			for range 2 {
				wantStatus(t, g.do(t, ask{target: "/v4/apiAccessTokens", auth: basic("alice", "secret")}), test.status)
			}
			g.wait(t, "the log says why", func() bool { return strings.Contains(g.logs(), test.says) })
		})
	}
}
