package contract

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// A script with a deleted token is to learn that, also while it uploads.

// sendsAll sends a request whose body has that many bytes, all of it before it
// reads the answer, as Python's http.client does.
func (g *gateway) sendsAll(t *testing.T, head string, size int) (answered, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", g.addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("x", size)
	if strings.Contains(head, "chunked") {
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, body)
	}
	if _, err := io.WriteString(conn, head+"\r\n"+body); err != nil {
		t.Errorf("sending: %v", err)
	}
	return readAnswer(t, bufio.NewReader(conn))
}

func readAnswer(t *testing.T, in *bufio.Reader) (answered, *http.Response) {
	t.Helper()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{status: resp.StatusCode, header: resp.Header, body: string(body)}, resp
}

func TestARefusalArrivesAtAClientThatIsStillSending(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "")
	g.remove(t, as("alice"), made.target())
	const size = 5 << 20
	for name, test := range map[string]struct {
		line   string
		auth   string
		status int
	}{
		"a deleted token":                  {"POST /v4/imports", bearer(made.value), 401},
		"no token":                         {"PUT /v4/imports", "", 401},
		"a token in the URL":               {"POST /v4/imports?token=" + made.value, "", 400},
		"a route without credentials":      {"POST " + api, "", 401},
		"a body that is too large":         {"POST " + api, as("alice"), 413},
		"a method that isn't there":        {"PUT " + api, as("alice"), 405},
		"an answer that isn't a refusal":   {"GET " + api, as("alice"), 200},
		"nearly a route":                   {"POST " + api + "/", as("alice"), 404},
		"the page":                         {"POST /access-tokens/generate", "", 415},
		"a place of the page that isn't":   {"POST /access-tokens/nowhere", "", 404},
		"the page by a token":              {"POST /access-tokens", bearer(made.value), 401},
		"nearly the page":                  {"POST /access-tokens/", "", 404},
		"more than one Authorization line": {"POST /v4/imports", "Bearer x\r\nAuthorization: Bearer y", 400},
	} {
		t.Run(name, func(t *testing.T) {
			for _, version := range []string{"HTTP/1.0", "HTTP/1.1", "chunked"} {
				head := test.line + " " + strings.Replace(version, "chunked", "HTTP/1.1", 1) + "\r\nHost: " + g.addresses[0] + "\r\n"
				if test.auth != "" {
					head += "Authorization: " + test.auth + "\r\n"
				}
				if strings.HasSuffix(test.line, api) {
					head += "Content-Type: application/json\r\n"
				}
				if version == "chunked" {
					head += "Transfer-Encoding: chunked\r\n"
				} else {
					head += fmt.Sprintf("Content-Length: %d\r\n", size)
				}
				if got, _ := g.sendsAll(t, head, size); got.status != test.status {
					t.Errorf("over %s: status %d, want %d: %s", version, got.status, test.status, got)
				}
			}
		})
	}
	t.Run("as often as it tries", func(t *testing.T) {
		sizes := make(chan int)
		errs := make(chan error, 64)
		for range 8 {
			go func() {
				for size := range sizes {
					errs <- g.uploads(size, bearer(made.value))
				}
			}()
		}
		go func() {
			defer close(sizes)
			for n := range 64 {
				sizes <- 1000 << (n % 13)
			}
		}()
		for range 64 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

// uploads lets Go's own client send so many bytes, and wants it to see the refusal.
func (g *gateway) uploads(size int, auth string) error {
	r, err := http.NewRequest(http.MethodPost, "http://"+g.addresses[0]+"/v4/imports", bytes.NewReader(make([]byte, size)))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", auth)
	return wantInvalidToken(new(http.Transport), r)
}

func wantInvalidToken(transport http.RoundTripper, r *http.Request) error {
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), `"InvalidToken"`) {
		return fmt.Errorf("%s: %d %s, %w", resp.Proto, resp.StatusCode, body, err)
	}
	return nil
}

// certifiedSite is a site with the certificate of writeCertificate, over HTTP/1, 2 and 3.
const certifiedSite = `
https://localhost:{$PORT} {
	bind 127.0.0.1
	tls {$DIR}/certificate.pem {$DIR}/key.pem
	access_tokens {
		admins alice
		sign_in basic {
			alice {$ALICE_HASH}
		}
	}
	reverse_proxy {$UPSTREAM}
}`

func TestARefusalArrivesOverTLS(t *testing.T) {
	t.Parallel()
	g := prepare(t, certifiedSite, env("GORACE", "exitcode=0")) // see TestTheRoutesRefuseEarlyData
	trusts := &tls.Config{RootCAs: g.writeCertificate(t), ServerName: "localhost", MinVersion: tls.VersionTLS12}
	g.up(t)
	overHTTP3 := &http3.Transport{TLSClientConfig: trusts.Clone()}
	t.Cleanup(func() { overHTTP3.Close() })
	for protocol, transport := range map[string]http.RoundTripper{
		"HTTP/1.1": &http.Transport{TLSClientConfig: trusts.Clone()},
		"HTTP/2.0": &http.Transport{TLSClientConfig: trusts.Clone(), ForceAttemptHTTP2: true},
		"HTTP/3.0": overHTTP3,
	} {
		t.Run(protocol, func(t *testing.T) {
			for _, size := range []int{100, 20_000, 300_000, 5 << 20} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+strings.Replace(g.addresses[0], "127.0.0.1", "localhost", 1)+"/v4/imports", bytes.NewReader(make([]byte, size)))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", bearer(neverIssued("cat")))
				if err := wantInvalidToken(transport, r); err != nil {
					t.Errorf("%d bytes: %v", size, err)
				}
			}
		})
	}
}

// Nobody waits for a body that doesn't come.
func TestARefusalIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	for _, line := range []string{"POST /v4/imports", "POST " + api, "POST /access-tokens/sign-in"} {
		for _, length := range []string{"Content-Length: 30", "Content-Length: 1000000", "Transfer-Encoding: chunked"} {
			for _, expects := range []string{"", "Expect: 100-continue\r\n"} {
				began := time.Now()
				conn, in := g.converse(t, line+" HTTP/1.1\r\nHost: x\r\n"+expects+length+"\r\n\r\n")
				got, resp := readAnswer(t, in)
				if got.status != http.StatusUnauthorized && got.status != http.StatusUnsupportedMediaType || !resp.Close {
					t.Errorf("%s %s %s: %s", line, expects, length, got)
				}
				if expects != "" {
					// The client is told to go, and not kept.
					if more, err := io.ReadAll(in); len(more) > 0 || err != nil {
						t.Errorf("then came %q, %v", more, err)
					}
				}
				if waited := time.Since(began); waited > 8*time.Second {
					t.Errorf("%s %s %s: after %v", line, expects, length, waited)
				}
				conn.Close()
			}
		}
	}
	t.Run("and a small body that is there ends no connection", func(t *testing.T) {
		conn, in := g.converse(t, "")
		for range 3 {
			say(t, conn, "POST /v4/imports HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
			if got, resp := readAnswer(t, in); got.status != http.StatusUnauthorized || resp.Close {
				t.Fatalf("%s", got)
			}
		}
	})
}

// A request that begins before a reload isn't to be decided long after it.
func TestABodyHasTenSeconds(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	for name, test := range map[string]struct{ line, kind, want string }{
		"the routes": {"POST " + api, "application/json", "The body didn't arrive within 10 s: send it again."},
		"settings":   {"PATCH " + settingsTarget, "application/json", "The body didn't arrive within 10 s: send it again."},
		"the page":   {"POST /access-tokens/sign-in", "application/x-www-form-urlencoded", "didn’t arrive in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, in := g.converse(t, test.line+" HTTP/1.1\r\nHost: x\r\nAuthorization: "+as("alice")+"\r\nContent-Type: "+test.kind+"\r\nContent-Length: 30\r\n\r\n{\"enabled\":")
			got, resp := readAnswer(t, in)
			if got.status != http.StatusBadRequest || !resp.Close || !strings.Contains(got.body, test.want) {
				t.Errorf("%s", got)
			}
			if more, err := io.ReadAll(in); len(more) > 0 || err != nil {
				t.Errorf("then came %q, %v", more, err)
			}
			if waited := time.Since(began); waited < 9*time.Second {
				t.Errorf("after %v", waited)
			}
		})
	}
	t.Run("over HTTP/2", func(t *testing.T) {
		t.Parallel()
		g := start(t, site(""), globals(withHTTP2))
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		in, out := io.Pipe()
		defer out.Close()
		go func() { _, _ = io.WriteString(out, `{"lifetimeSeconds": `) }()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.addresses[0]+api, in)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", as("alice"))
		r.Header.Set("Content-Type", "application/json")
		resp, err := (&http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: patience}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "within 10 s") {
			t.Errorf("%d %s, %v", resp.StatusCode, body, err)
		}
	})
}
