package upstream

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// raw is a server that answers whatever comes with a text, and is no HTTP server.
func raw(t *testing.T, answer string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1<<10)) // or closing would reset the connection
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return listener.Addr().String()
}

// The log says what is wrong with a who-am-I route that can't be asked, and
// nothing that the route has sent, which may be the credentials.
func TestWhyNot(t *testing.T) {
	quiet := func(h http.Handler) *httptest.Server {
		server := httptest.NewUnstartedServer(h)
		server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
		return server
	}
	encrypted := startAPI(t, quiet, func(http.ResponseWriter, *http.Request) {})
	encrypted.StartTLS()
	picky := startAPI(t, quiet, func(http.ResponseWriter, *http.Request) {})
	picky.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	picky.StartTLS()
	plain := whoAmI(t, 200, `{"id": "alice"}`)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()

	const echo = "YWxpY2U6c2VjcmV0 secret"
	for name, test := range map[string]struct {
		signIn     SignIn
		want       string
		notChecked bool
	}{
		"nobody listens":            {SignIn{URL: "http://" + nobody.Addr().String()}, "connection refused", true},
		"nobody listens, with TLS":  {SignIn{URL: "https://" + nobody.Addr().String()}, "connection refused", true},
		"a name of nobody's":        {SignIn{URL: "http://whoami.invalid/"}, "lookup whoami.invalid", true},
		"no such socket":            {SignIn{URL: "http://localhost/", Dial: "unix//nowhere/api.sock"}, "no such file", true},
		"TLS to a plain port":       {SignIn{URL: strings.Replace(plain.URL, "http:", "https:", 1)}, "it doesn't speak TLS at that port; write http://", true},
		"TLS to something else":     {SignIn{URL: "https://" + raw(t, echo)}, "it doesn't speak TLS at that port", true},
		"an unknown authority":      {SignIn{URL: encrypted.URL}, "certificate signed by unknown authority", true},
		"a certificate it wants":    {SignIn{URL: picky.URL, TransportRaw: []byte(`{"protocol": "http", "tls": {"insecure_skip_verify": true}}`)}, "it refuses TLS: tls: certificate required", false},
		"plain to a port with TLS":  {SignIn{URL: "http://" + raw(t, "\x15\x03\x03\x00\x02\x02\x32")}, "it speaks TLS at that port; write https://", false},
		"it closes the connection":  {SignIn{URL: "http://" + raw(t, "")}, "it closed the connection before an answer", false},
		"it isn't HTTP":             {SignIn{URL: "http://" + raw(t, echo+"\r\n\r\n")}, "what it sends is not HTTP", false},
		"a header that isn't":       {SignIn{URL: "http://" + raw(t, "HTTP/1.1 200 OK\r\n"+echo+"\r\n\r\n")}, "what it sends is not HTTP", false},
		"a status that isn't":       {SignIn{URL: "http://" + raw(t, "HTTP/1.1 "+echo+"\r\n\r\n")}, "what it sends is not HTTP", false},
		"a header that doesn't end": {SignIn{URL: "http://" + raw(t, "HTTP/1.1 200 OK\r\nX: "+echo)}, "it closed the connection before an answer", false},
	} {
		t.Run(name, func(t *testing.T) {
			u := upstream(t, &test.signIn)
			_, err := u.SignIn(basicRequest("alice", "secret"))
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, signin.ErrNotChecked) != test.notChecked {
				t.Fatalf("%v, want %s", err, test.want)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "YWxp") || errors.Is(err, signin.ErrDenied) || errors.Is(err, signin.ErrNotMine) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A user_id that is wrong makes everybody nobody, and the owner is told, once in a
// while; but not of answers that say nobody, and not of an id that others have.
func TestWrongUserIDIsWarnedAbout(t *testing.T) {
	const nobody, other, alice = `{"id": null}`, `{"user": {"id": "alice", "key": "secret"}}`, `{"id": "alice"}`
	for name, test := range map[string]struct {
		answers  []string
		warnings int
	}{
		"a wrong path":             {[]string{other}, 1},
		"many times":               {[]string{other, other, other}, 1},
		"nobody":                   {[]string{nobody, `null`, `{}`, `""`}, 0},
		"a right path":             {[]string{alice, alice}, 0},
		"a right path, and others": {[]string{alice, other}, 0},
		"an array":                 {[]string{`[` + alice + `]`}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			answers := make(chan string, len(test.answers))
			api := startAPI(t, httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, <-answers) })
			core, logged := observer.New(zap.WarnLevel)
			u := upstream(t, &SignIn{URL: api.URL})
			u.logger = zap.New(core)
			for _, answer := range test.answers {
				answers <- answer
				_, _ = u.SignIn(basicRequest("alice", "secret"))
			}
			if logged.Len() != test.warnings {
				t.Errorf("%d warnings, want %d", logged.Len(), test.warnings)
			}
			for _, entry := range logged.All() {
				fields := entry.ContextMap()
				if !strings.Contains(entry.Message, "user_id") || fields["user_id"] != "id" || len(fields) != 2 {
					t.Errorf("%s %v", entry.Message, fields)
				}
			}
		})
	}
}
