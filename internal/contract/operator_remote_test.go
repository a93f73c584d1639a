package contract

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// operatorsCertificate is a self-signed one.
func operatorsCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "operator"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// At a remote admin endpoint, a client is allowed what its certificate's entry says:
// each of our routes has a path of its own for that.
func TestARemoteAdminEndpointAllowsSomeRoutes(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"), audited)
	made := g.create(t, as("bob"), 3600, "")
	looking, all := operatorsCertificate(t), operatorsCertificate(t)
	access := func(c tls.Certificate, permissions ...any) map[string]any {
		return map[string]any{"public_keys": []string{base64.StdEncoding.EncodeToString(c.Certificate[0])}, "permissions": permissions}
	}
	var config map[string]any
	if err := json.Unmarshal([]byte(g.config(t)), &config); err != nil {
		t.Fatal(err)
	}
	admin := config["admin"].(map[string]any)
	admin["identity"] = map[string]any{"identifiers": []string{"localhost"}, "issuers": []any{map[string]any{"module": "internal"}}}
	admin["remote"] = map[string]any{"listen": g.addresses[2], "access_control": []any{
		access(looking, map[string]any{"paths": []string{"/access_tokens/tokens"}, "methods": []string{"GET"}}),
		access(all, map[string]any{"paths": []string{"/access_tokens"}}),
	}}
	config["apps"].(map[string]any)["pki"] = map[string]any{"certificate_authorities": map[string]any{"local": map[string]any{"install_trust": false}}}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if status, complaint, err := g.askAdmin(http.MethodPost, "/load", "application/json", string(text)); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s %v", status, complaint, err)
	}
	ask := func(c tls.Certificate, method, path, body string) (status int, answer string) {
		t.Helper()
		client := &http.Client{Timeout: patience, Transport: &http.Transport{
			DisableKeepAlives: true,
			// Who the server is, is Caddy's business.
			TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{c}, InsecureSkipVerify: true, ServerName: "localhost"},
		}}
		g.wait(t, "the remote admin endpoint answers", func() bool {
			request, err := http.NewRequest(method, "https://"+g.addresses[2]+"/access_tokens"+path, bytes.NewReader([]byte(body)))
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				return false
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			status, answer = response.StatusCode, string(text)
			return err == nil
		})
		return status, answer
	}
	one := "/tokens/" + made.info.TokenID
	for _, test := range []struct {
		who          tls.Certificate
		method, path string
		body         string
		status       int
	}{
		{looking, "GET", "/tokens", "", 200},
		{looking, "GET", one, "", 200},
		{looking, "GET", "/stats", "", 403},
		{looking, "POST", "/delete", `{"ids":["` + made.info.TokenID + `"]}`, 403},
		{looking, "POST", "/block", `{"user":"bob"}`, 403},
		{all, "GET", "/stats", "", 200},
		{all, "POST", "/delete", `{"ids":["` + made.info.TokenID + `"]}`, 200},
	} {
		if status, answer := ask(test.who, test.method, test.path, test.body); status != test.status {
			t.Errorf("%s %s: %d %s, want %d", test.method, test.path, status, answer, test.status)
		}
	}
	lines := g.auditLines(t)
	if last := lines[len(lines)-1]; last.Event != "token_deleted" || !strings.Contains(last.text, `"actor":{"by":"admin"},"client_ip":"127.0.0.1"`) {
		t.Errorf("the audit says %s", last.text)
	}
}
