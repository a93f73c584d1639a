package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// patience is how long anything is waited for before a test gives up.
const patience = 20 * time.Second

// upstream readies a sign-in as Caddy does.
func upstream(t testing.TB, u *SignIn) *SignIn {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := u.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return u
}

// whoAmI is an API that always answers the same.
func whoAmI(t testing.TB, status int, body string) *httptest.Server {
	t.Helper()
	return startAPI(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func startAPI(t testing.TB, start func(http.Handler) *httptest.Server, serve http.HandlerFunc) *httptest.Server {
	t.Helper()
	api := start(serve)
	t.Cleanup(api.Close)
	return api
}

func basicRequest(user, password string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth(user, password)
	return r
}

func sessionRequest(cookies string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Cookie", cookies)
	return r
}

func TestUpstreamAnswers(t *testing.T) {
	alice := signin.User{ID: "17", Email: "alice@example.com", Name: "Alice A.", Admin: true, Claims: map[string]string{"workspace": "4", "plan": ""}}
	whole := `{"user": {"id": 17, "email": "alice@example.com"}, "name": "Alice A.", "isAdmin": true, "workspace": {"id": 4}}`
	unsure := errors.New("can't tell")
	for name, test := range map[string]struct {
		status     int
		body       string
		want       signin.User
		byPassword error
		bySession  error // if it isn't the same
	}{
		"a user":                   {200, whole, alice, nil, nil},
		"a user who is less":       {200, `{"user": {"id": "bob"}, "isAdmin": "true"}`, signin.User{ID: "bob", Claims: map[string]string{"workspace": "", "plan": ""}}, nil, nil},
		"401":                      {401, whole, signin.User{}, signin.ErrDenied, signin.ErrNotMine},
		"403":                      {403, whole, signin.User{}, signin.ErrDenied, signin.ErrNotMine},
		"null":                     {200, `null`, signin.User{}, signin.ErrDenied, signin.ErrNotMine},
		"an empty string":          {200, `""`, signin.User{}, signin.ErrDenied, signin.ErrNotMine},
		"a list":                   {200, `[` + whole + `]`, signin.User{}, signin.ErrDenied, signin.ErrNotMine},
		"no id":                    {200, `{"id": 17}`, signin.User{}, signin.ErrDenied, signin.ErrNotMine},
		"a null id":                {200, `{"user": {"id": null}}`, signin.User{}, signin.ErrDenied, signin.ErrNotMine},
		"an empty id":              {200, `{"user": {"id": ""}}`, signin.User{}, signin.ErrDenied, signin.ErrNotMine},
		"an id of true":            {200, `{"user": {"id": true}}`, signin.User{}, unsure, unsure},
		"an e-mail that is none":   {200, `{"user": {"id": 17, "email": {}}}`, signin.User{}, unsure, unsure},
		"a claim that is none":     {200, `{"user": {"id": 17}, "workspace": {"id": [4]}}`, signin.User{}, unsure, unsure},
		"a page":                   {200, `<html>Sign in</html>`, signin.User{}, unsure, unsure},
		"nothing":                  {200, ``, signin.User{}, unsure, unsure},
		"another success":          {204, ``, signin.User{}, unsure, unsure},
		"404":                      {404, whole, signin.User{}, unsure, unsure},
		"429":                      {429, whole, signin.User{}, unsure, unsure},
		"500":                      {500, whole, signin.User{}, unsure, unsure},
		"10 MB":                    {200, whole + strings.Repeat(" ", 10<<20), signin.User{}, unsure, unsure},
		"a redirect with the user": {302, whole, signin.User{}, signin.ErrDenied, signin.ErrNotMine},
	} {
		t.Run(name, func(t *testing.T) {
			u := upstream(t, &SignIn{
				URL: whoAmI(t, test.status, test.body).URL, UserID: "user.id", Email: "user.email", Name: "name", Admin: "isAdmin",
				Claims: map[string]string{"workspace": "workspace.id", "plan": "plan"}, Cookies: []string{"sid"},
			})
			for _, attempt := range []struct {
				r    *http.Request
				want error
			}{{basicRequest("alice", "secret"), test.byPassword}, {sessionRequest("sid=1"), test.bySession}} {
				got, err := u.SignIn(attempt.r)
				told := errors.Is(err, signin.ErrDenied) || errors.Is(err, signin.ErrNotMine)
				switch {
				case attempt.want == unsure && (err == nil || told), attempt.want != unsure && !errors.Is(err, attempt.want):
					t.Errorf("%v, want %v", err, attempt.want)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// What the API is sent is the credentials to ask with, and nothing else.
func TestUpstreamIsSentNothingElse(t *testing.T) {
	var received atomic.Pointer[http.Request]
	api := startAPI(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		received.Store(r)
		_, _ = io.WriteString(w, `{"id": "alice"}`)
	})
	off := false
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:secret"))
	for name, test := range map[string]struct {
		signIn SignIn
		header http.Header
		want   http.Header // nil: it isn't asked
	}{
		"a password":              {SignIn{}, http.Header{"Authorization": {basic}}, http.Header{"Authorization": {basic}}},
		"in lower case":           {SignIn{}, http.Header{"Authorization": {"basic" + basic[5:]}}, http.Header{"Authorization": {basic}}},
		"a session":               {SignIn{Cookies: []string{"sid"}}, http.Header{"Cookie": {"a=b; sid=1; sid2=2"}}, http.Header{"Cookie": {"sid=1"}}},
		"a session in two":        {SignIn{Cookies: []string{"sid", "sig"}}, http.Header{"Cookie": {"sig=x", "a=b; sid=1"}}, http.Header{"Cookie": {"sig=x; sid=1"}}},
		"a password and more":     {SignIn{Cookies: []string{"sid"}}, http.Header{"Authorization": {basic}, "Cookie": {"sid=1"}}, http.Header{"Authorization": {basic}}},
		"a password not taken":    {SignIn{Cookies: []string{"sid"}, Basic: &off}, http.Header{"Authorization": {basic}, "Cookie": {"sid=1"}}, http.Header{"Cookie": {"sid=1"}}},
		"only that one":           {SignIn{Cookies: []string{"sid"}, Basic: &off}, http.Header{"Authorization": {basic}}, nil},
		"another scheme":          {SignIn{}, http.Header{"Authorization": {"Digest a=b"}}, nil},
		"a token":                 {SignIn{}, http.Header{"Authorization": {"Bearer x"}}, nil},
		"other cookies":           {SignIn{Cookies: []string{"sid"}}, http.Header{"Cookie": {"SID=1; sid"}}, nil},
		"cookies nobody asks for": {SignIn{}, http.Header{"Cookie": {"sid=1"}}, nil},
		"nothing":                 {SignIn{Cookies: []string{"sid"}}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			signIn := test.signIn
			signIn.URL = api.URL + "/me?x=%2F"
			u := upstream(t, &signIn)
			received.Store(nil)
			r := httptest.NewRequest(http.MethodPost, "/v4/apiAccessTokens?x=y", strings.NewReader(`{"a": 1}`))
			r.Header = http.Header{"X-Custom": {"1"}, "Remote-User": {"mallory"}, "X-Forwarded-For": {"192.0.2.1"}, "Content-Type": {"application/json"}, "Traceparent": {"0"}}
			maps.Copy(r.Header, test.header)
			before := r.Header.Clone()
			_, err := u.SignIn(r)
			if diff := cmp.Diff(before, r.Header); diff != "" {
				t.Errorf("the request is changed (-want +got):\n%s", diff)
			}
			got := received.Load()
			if test.want == nil {
				if got != nil || !errors.Is(err, signin.ErrNotMine) {
					t.Errorf("%v, the API is asked: %t", err, got != nil)
				}
				return
			}
			if err != nil || got == nil {
				t.Fatalf("%v, the API is asked: %t", err, got != nil)
			}
			want := test.want.Clone()
			maps.Copy(want, http.Header{"Accept": {"application/json"}, "User-Agent": {"caddy-access-tokens"}, "Accept-Encoding": {"gzip"}})
			if diff := cmp.Diff(want, got.Header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if got.Method != http.MethodGet || got.RequestURI != "/me?x=%2F" || got.ContentLength != 0 || "http://"+got.Host != api.URL {
				t.Errorf("it is asked %s %s of %s, with a body of %d", got.Method, got.RequestURI, got.Host, got.ContentLength)
			}
		})
	}
}

func TestUpstreamRedirectIsNotFollowed(t *testing.T) {
	var followed atomic.Bool
	elsewhere := startAPI(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
		followed.Store(true)
		_, _ = io.WriteString(w, `{"id": "alice"}`)
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		api := startAPI(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		u := upstream(t, &SignIn{URL: api.URL})
		if user, err := u.SignIn(basicRequest("alice", "secret")); !errors.Is(err, signin.ErrDenied) || followed.Load() {
			t.Errorf("%d: %v, %v, followed: %t", status, user, err, followed.Load())
		}
	}
}

// However the API keeps silent, the answer is there in time, and says that it
// can't be told.
func TestUpstreamTimeout(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"it hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"it hangs in its answer": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"id": "alice"}`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"it closes early": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"id": "alice"}`)
		},
		"it resets the connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			api := startAPI(t, httptest.NewServer, serve)
			u := upstream(t, &SignIn{URL: api.URL + "/?key=of-the-owner", Timeout: caddy.Duration(100 * time.Millisecond)})
			begun := time.Now()
			user, err := u.SignIn(basicRequest("alice", "secret"))
			if err == nil || errors.Is(err, signin.ErrDenied) || errors.Is(err, signin.ErrNotMine) {
				t.Errorf("%v, %v, want an error that decides nothing", user, err)
			} else if strings.Contains(err.Error(), "of-the-owner") || strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells secrets: %v", err)
			}
			if took := time.Since(begun); took > patience/2 {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A client that goes away doesn't keep the answer from being counted.
func TestUpstreamIsAskedToTheEnd(t *testing.T) {
	asked, gone := make(chan struct{}), make(chan struct{})
	api := startAPI(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-gone
		w.WriteHeader(http.StatusUnauthorized)
	})
	u := upstream(t, &SignIn{URL: api.URL})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
		close(gone)
	}()
	if _, err := u.SignIn(basicRequest("alice", "secret").WithContext(ctx)); !errors.Is(err, signin.ErrDenied) {
		t.Errorf("%v, want that it is denied", err)
	}
}

// Concurrent sign-ins don't wait for each other.
func TestUpstreamIsAskedConcurrently(t *testing.T) {
	const clients = 32
	all := make(chan struct{})
	var asked atomic.Int32
	api := startAPI(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == clients {
			close(all)
		}
		select {
		case <-all:
			_, _ = io.WriteString(w, `{"id": "alice"}`)
		case <-r.Context().Done():
		}
	})
	u := upstream(t, &SignIn{URL: api.URL, Timeout: caddy.Duration(patience)})
	ended := make(chan error, clients)
	for range clients {
		go func() {
			_, err := u.SignIn(basicRequest("alice", "secret"))
			ended <- err
		}()
	}
	for range clients {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// Passwords don't go where the environment, or a handler in front, sends other
// requests.
func TestUpstreamIsWhereItsURLSays(t *testing.T) {
	var strayed atomic.Bool
	elsewhere := startAPI(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) {
		strayed.Store(true)
		_, _ = io.WriteString(w, `{"id": "mallory"}`)
	})
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, elsewhere.URL)
	}
	// net/http reads the environment once and never asks a proxy for loopback
	// addresses, so that only the transport itself can tell.
	u := &SignIn{URL: whoAmI(t, 200, `{"id": "alice"}`).URL}
	upstream(t, u)
	if proxied := u.api.(*reverseproxy.HTTPTransport).Transport.Proxy; proxied != nil {
		if to, err := proxied(httptest.NewRequest(http.MethodGet, "http://api.example.com/me", nil)); to != nil || err != nil {
			t.Errorf("a proxy of the environment is used: %v, %v", to, err)
		}
	}
	with := &SignIn{URL: u.URL, TransportRaw: json.RawMessage(`{"protocol": "http", "dial_timeout": "1s"}`)}
	upstream(t, with)
	if proxied := with.api.(*reverseproxy.HTTPTransport).Transport.Proxy; proxied != nil {
		if to, err := proxied(httptest.NewRequest(http.MethodGet, "http://api.example.com/me", nil)); to != nil || err != nil {
			t.Errorf("with a transport of its own: a proxy of the environment is used: %v, %v", to, err)
		}
	}

	// forward_auth leaves in the request's context which server is to be dialed.
	r := basicRequest("alice", "secret")
	dial := reverseproxy.DialInfo{Network: "tcp", Address: strings.TrimPrefix(elsewhere.URL, "http://")}
	dial.Host, dial.Port, _ = net.SplitHostPort(dial.Address)
	ctx := context.WithValue(r.Context(), caddy.CtxKey("reverse_proxy.dial_info"), dial)
	if _, known := reverseproxy.GetDialInfo(ctx); !known {
		t.Fatal("this isn't how reverse_proxy says where to dial")
	}
	user, err := u.SignIn(r.WithContext(ctx))
	if err != nil || user.ID != "alice" || strayed.Load() {
		t.Errorf("%v, %v, asked elsewhere: %t", user, err, strayed.Load())
	}
}

// The API may have a certificate of its owner's own authority, and want one.
func TestUpstreamWithTLS(t *testing.T) {
	var peers atomic.Int32
	api := startAPI(t, httptest.NewUnstartedServer, func(w http.ResponseWriter, r *http.Request) {
		peers.Store(int32(len(r.TLS.PeerCertificates)))
		_, _ = io.WriteString(w, `{"id": "alice"}`)
	})
	api.Config.ErrorLog = nil
	api.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	api.StartTLS()
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, ca, "CERTIFICATE", api.Certificate().Raw)
	writePEM(t, cert, "CERTIFICATE", api.TLS.Certificates[0].Certificate[0])
	private, err := x509.MarshalPKCS8PrivateKey(api.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, key, "PRIVATE KEY", private)

	transport := func(tls map[string]any) json.RawMessage {
		raw, err := json.Marshal(map[string]any{"protocol": "http", "tls": tls})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	trust := map[string]any{"provider": "file", "pem_files": []string{ca}}
	for name, test := range map[string]struct {
		transport json.RawMessage
		ok        bool
	}{
		"no options":                   {nil, false},
		"the authority, but no client": {transport(map[string]any{"ca": trust}), false},
		"a client, but no authority": {transport(map[string]any{
			"client_certificate_file": cert, "client_certificate_key_file": key}), false},
		"both": {transport(map[string]any{"ca": trust, "client_certificate_file": cert, "client_certificate_key_file": key}), true},
		"both, for another server": {transport(map[string]any{
			"ca": trust, "client_certificate_file": cert, "client_certificate_key_file": key, "server_name": "elsewhere.invalid"}), false},
	} {
		t.Run(name, func(t *testing.T) {
			u := upstream(t, &SignIn{URL: api.URL, TransportRaw: test.transport})
			user, err := u.SignIn(basicRequest("alice", "secret"))
			if (err == nil) != test.ok || test.ok && (user.ID != "alice" || peers.Load() != 1) {
				t.Errorf("%v, %v, with %d certificates", user, err, peers.Load())
			}
			if errors.Is(err, signin.ErrDenied) || errors.Is(err, signin.ErrNotMine) {
				t.Errorf("it says no: %v", err)
			}
		})
	}
}

func writePEM(t testing.TB, file, kind string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUpstreamDefaults(t *testing.T) {
	u := upstream(t, &SignIn{URL: "http://127.0.0.1:1/"})
	if u.UserID != "id" || time.Duration(u.Timeout) != 5*time.Second || !u.TakesBasic() || u.NamesAdmins() {
		t.Errorf("%+v", u)
	}
	names := (&SignIn{Claims: map[string]string{"a": "x", "b": "y"}}).ClaimNames()
	if slices.Sort(names); !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("claims %q", names)
	}
}
