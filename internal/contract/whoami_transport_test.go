package contract

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// How the who-am-I route is reached.

// pemFile writes a PEM file into the gateway's directory.
func pemFile(t *testing.T, g *gateway, name, kind string, der []byte) {
	t.Helper()
	var text bytes.Buffer
	if err := pem.Encode(&text, &pem.Block{Type: kind, Bytes: der}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, name), text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func clientCertificate(t *testing.T, g *gateway) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"},
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pemFile(t, g, "client.pem", "CERTIFICATE", der)
	pemFile(t, g, "client.key", "PRIVATE KEY", private)
}

func TestAPrivateCAAndAClientCertificate(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 1 || r.TLS.PeerCertificates[0].Subject.CommonName != "gateway" {
			http.Error(w, "who?", http.StatusBadRequest)
			return
		}
		a.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)

	secure := func(transport string) string {
		text := strings.Replace(realSite(""), "http://{$API}/v4", "https://{$SECURE}/v4", 1)
		return strings.Replace(text, "timeout 2s", "timeout 2s\n"+transport, 1)
	}
	const trust = "tls_trust_pool file {$DIR}/ca.pem\n"
	const certificate = "tls_client_auth {$DIR}/client.pem {$DIR}/client.key\n"
	g := prepare(t, secure("transport http {\n"+trust+certificate+"}"), a.behind(), env("SECURE", server.Listener.Addr().String()))
	clientCertificate(t, g)
	pemFile(t, g, "ca.pem", "CERTIFICATE", server.Certificate().Raw)
	g.up(t)
	a.wantUser(t, g.do(t, ask{auth: bearer(g.create(t, as("alice"), 60, "").value)}), "17")
	for name, transport := range map[string]string{
		"no trust":       "",
		"no certificate": "transport http {\n" + trust + "}",
		"another name":   "transport http {\n" + trust + certificate + "tls_server_name other.test\n}",
	} {
		if complaint := g.reload(t, secure(transport)); complaint != "" {
			t.Fatal(complaint)
		}
		before := a.timesAsked()
		got := g.do(t, ask{target: api, auth: as("alice")})
		if wantRefused(t, got, cantTell, "ServiceUnavailable"); a.timesAsked() != before {
			t.Errorf("%s: the API was asked", name)
		}
	}
}

func TestNoProxyIsTakenFromTheEnvironment(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, `{"id": 17}`)
	}))
	t.Cleanup(proxy.Close)
	// A proxy is never used for 127.0.0.1 anyway; nobody has this name.
	g := start(t, strings.ReplaceAll(realSite(""), "http://{$API}/", "http://whoami.invalid/"), behindUpstream,
		env("HTTP_PROXY", proxy.URL), env("http_proxy", proxy.URL), env("ALL_PROXY", proxy.URL), env("NO_PROXY", ""), env("no_proxy", ""))
	got := g.do(t, ask{target: api, auth: as("alice")})
	wantRefused(t, got, cantTell, "ServiceUnavailable")
	if asked.Load() != 0 {
		t.Error("the password was sent to the environment's proxy")
	}
	if !strings.Contains(g.logs(), "another machine unencrypted") {
		t.Error("plain http to another machine isn't warned about")
	}
	t.Run("unless the transport says so", func(t *testing.T) {
		text := strings.Replace(realSite(""), "http://{$API}/", "http://whoami.invalid/", 1)
		text = strings.Replace(text, "timeout 2s", "timeout 2s\ntransport http {\nnetwork_proxy url "+proxy.URL+"\n}", 1)
		if complaint := g.reload(t, text); complaint != "" {
			t.Fatal(complaint)
		}
		wantStatus(t, g.do(t, ask{target: api, auth: as("alice")}), http.StatusOK)
		if asked.Load() != 1 {
			t.Error("the proxy wasn't asked")
		}
	})
}

// A reverse_proxy in front, as forward_auth is one, doesn't decide where the
// passwords go.
func TestWhoAmIIsAskedBehindForwardAuth(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	text := strings.Replace(realSite("sign_in placeholder {http.reverse_proxy.header.Remote-User}"), "access_tokens {", `@portal header Cookie *portal*
	forward_auth @portal {$AUTH} {
		uri /
		copy_headers Remote-User
	}
	access_tokens {`, 1)
	// Over a Unix socket: there Caddy's transports take the address from the request.
	g := prepare(t, text, a.behind())
	socket := filepath.Join(g.dir, "auth.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: authServer}}
	server.Start()
	t.Cleanup(server.Close)
	g.vars["AUTH"] = "unix/" + socket
	g.up(t)
	// The first one, while there is no connection to the API that could be used again.
	wantStatus(t, g.do(t, ask{target: api, auth: as("alice"), lines: portal("guest")}), http.StatusOK)
	for name, test := range map[string]struct {
		auth, portal, want string
	}{
		"only a password":                    {as("alice"), "", "17"},
		"a visitor without name, a password": {as("alice"), "guest", "17"},
		"the portal's user, asked first":     {"", "bob", "bob"},
		"both: the first that says yes":      {as("alice"), "bob", "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			request := ask{method: "POST", target: api, auth: test.auth, body: anHour}
			if test.portal != "" {
				request.lines = portal(test.portal)
			}
			token := made(t, g.do(t, request))
			a.wantUser(t, g.do(t, ask{auth: bearer(token.value)}), test.want)
		})
	}
	wantRefused(t, g.do(t, ask{target: api, auth: basic("alice", "guess"), lines: portal("guest")}), no, "AuthenticationRequired")
}
