package caddymodule

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issue makes a certificate for a name, signed by parent or, if there is none,
// by itself.
func issue(t *testing.T, name string, parent *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	signer, signedBy := any(key), certificate
	if parent != nil {
		signer, signedBy = parent.PrivateKey, parent.Leaf
	}
	raw, err := x509.CreateCertificate(rand.Reader, certificate, signedBy, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
}

// A certificate that anybody can make proves nothing, however the server asks
// for one: not as a sign-in, and not in a header for the API behind.
func TestOnlyVerifiedCertificatesCount(t *testing.T) {
	dir := t.TempDir()
	write := func(name, kind string, content []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	authority := issue(t, "authority", nil)
	ca := write("ca.pem", "CERTIFICATE", authority.Certificate[0])
	server := issue(t, "server", &authority)
	private, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	serverFiles := write("server.pem", "CERTIFICATE", server.Certificate[0]) + " " + write("server.key", "PRIVATE KEY", private)
	roots := x509.NewCertPool()
	roots.AddCert(authority.Leaf)

	clients := map[string]tls.Certificate{"self-made": issue(t, "alice", nil), "issued": issue(t, "alice", &authority)}
	// What the API is told, and the status of asking for a token.
	const nobody, alice, noConnection = "| 401", "CN=alice|CN=authority 201", "no connection"
	for mode, want := range map[string]map[string]string{
		"request":            {"self-made": nobody, "issued": nobody},
		"require":            {"self-made": nobody, "issued": nobody},
		"verify_if_given":    {"self-made": noConnection, "issued": alice},
		"require_and_verify": {"self-made": noConnection, "issued": alice},
	} {
		t.Run(mode, func(t *testing.T) {
			trust := ""
			if strings.Contains(mode, "verify") {
				trust = "trust_pool file " + ca
			}
			s := serve(t, `
https://localhost:PORT {
	bind 127.0.0.1
	tls `+serverFiles+` {
		client_auth {
			mode `+mode+`
			`+trust+`
		}
	}
	access_tokens {
		allow_generate everyone
		without_token pass
		sign_in placeholder {tls_client_subject}
		identity {
			Remote-User {http.auth.user.id}
			X-Issuer {tls_client_issuer}
		}
	}
	respond "{header.Remote-User}|{header.X-Issuer}"
}`)
			for kind, certificate := range clients {
				client := &http.Client{Timeout: patience, Transport: &http.Transport{
					DisableKeepAlives: true,
					TLSClientConfig: &tls.Config{
						RootCAs: roots,
						// Whichever authorities the server names.
						GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil },
					},
					DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
						return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+s.port)
					},
				}}
				got := noConnection
				if answer, err := client.Get("https://localhost:" + s.port + "/"); err == nil {
					told, err := io.ReadAll(answer.Body)
					answer.Body.Close()
					if err != nil {
						t.Fatal(err)
					}
					made, err := client.Post("https://localhost:"+s.port+managementPath, "application/json", strings.NewReader(`{"lifetimeSeconds": 60}`))
					if err != nil {
						t.Fatal(err)
					}
					made.Body.Close()
					got = fmt.Sprintf("%s %d", told, made.StatusCode)
				}
				if got != want[kind] {
					t.Errorf("a %s certificate: %q, want %q", kind, got, want[kind])
				}
			}
		})
	}
}
