package contract

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Early data can be sent again by whoever recorded it (RFC 8446 section 8), so the
// routes don't act on it. A client that is told 425 asks again (RFC 8470).
func TestTheRoutesRefuseEarlyData(t *testing.T) {
	t.Parallel()
	g := prepare(t, `
https://localhost:{$PORT} {
	bind 127.0.0.1
	tls {$DIR}/certificate.pem {$DIR}/key.pem
	log
	handle /whether-early {
		@early tls early_data
		respond @early "early"
		respond "late"
	}
	handle {
		access_tokens {
			admins alice
			sign_in basic {
				alice {$ALICE_HASH}
			}
		}
		reverse_proxy {$UPSTREAM}
	}
}`, env("GORACE", "exitcode=0")) // Caddy 2.11.9's TLS app races with its own events at a QUIC handshake
	client := &earlyClient{roots: g.writeCertificate(t), sessions: tls.NewLRUClientSessionCache(1)}
	g.up(t)
	client.address = g.addresses[0]

	if got := client.ask(t, g, "GET", "/whether-early?1", ""); got.body != "late" {
		t.Fatalf("the first connection has nothing to resume: %s", got)
	}
	if got := client.ask(t, g, http3.MethodGet0RTT, "/whether-early?2", ""); got.body != "early" {
		t.Fatalf("this test's client doesn't send early data: %s", got)
	}
	for _, method := range []string{http3.MethodGet0RTT, http3.MethodHead0RTT} {
		got := client.ask(t, g, method, api+"?"+method, as("alice"))
		wantStatus(t, got, http.StatusTooEarly)
		if method == http3.MethodGet0RTT {
			wantRefused(t, got, http.StatusTooEarly, "TooEarly")
		}
	}
	wantStatus(t, client.ask(t, g, "GET", api+"?asked=again", as("alice")), http.StatusOK)
}

// writeCertificate makes the site's certificate and returns who trusts it.
func (g *gateway) writeCertificate(t *testing.T) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"certificate.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":         {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(g.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return roots
}

// An earlyClient speaks HTTP/3 and resumes its TLS session. With http3's 0-RTT
// methods it doesn't hear the server until the request has been answered, so
// that it can't complete the handshake before.
type earlyClient struct {
	address  string
	roots    *x509.CertPool
	sessions tls.ClientSessionCache
}

func (c *earlyClient) ask(t *testing.T, g *gateway, method, target, auth string) answered {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	held := &heldSocket{PacketConn: socket, released: make(chan struct{})}
	early := strings.HasSuffix(method, "_0RTT")
	if !early {
		close(held.released)
	}
	wire := &quic.Transport{Conn: held}
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{RootCAs: c.roots, ServerName: "localhost", ClientSessionCache: c.sessions},
		QUICConfig:      &quic.Config{HandshakeIdleTimeout: patience},
		Dial: func(ctx context.Context, _ string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
			address, err := net.ResolveUDPAddr("udp", c.address)
			if err != nil {
				return nil, err
			}
			return wire.DialEarly(ctx, address, tlsConfig, config)
		},
	}
	defer func() {
		transport.Close()
		wire.Close()
		socket.Close()
	}()
	_, port, _ := net.SplitHostPort(c.address)
	req, err := http.NewRequestWithContext(t.Context(), method, "https://localhost:"+port+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	type outcome struct {
		resp *http.Response
		err  error
	}
	done := make(chan outcome, 1)
	before := g.api.count()
	go func() {
		resp, err := transport.RoundTrip(req)
		done <- outcome{resp, err}
	}()
	if early {
		g.wait(t, "the server has answered "+target, func() bool {
			_, found := g.accessLine(target)
			return found
		})
		close(held.released)
	}
	select {
	case o := <-done:
		if o.err != nil {
			t.Fatal(o.err)
		}
		defer o.resp.Body.Close()
		body, err := io.ReadAll(o.resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answered{status: o.resp.StatusCode, header: o.resp.Header, body: string(body), reached: g.api.count() - before}
	case <-time.After(patience):
		t.Fatalf("no answer to %s %s", method, target)
		return answered{}
	}
}

// A heldSocket is deaf until it is released.
type heldSocket struct {
	net.PacketConn
	released chan struct{}
}

func (s *heldSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	<-s.released
	return s.PacketConn.ReadFrom(p)
}
