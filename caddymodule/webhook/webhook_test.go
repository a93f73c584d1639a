package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of more than sixteen"

// hook is a module that sends to a receiver.
func hook(t *testing.T, url string) *Webhook {
	t.Helper()
	t.Setenv("WEBHOOK_SECRET", secret)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	h := &Webhook{URL: url, Secret: "{env.WEBHOOK_SECRET}"}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Cleanup(); err != nil {
			t.Error(err)
		}
		cancel()
	})
	return h
}

func event(t *testing.T, name string, data map[string]any) caddy.Event {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	e, err := caddy.NewEvent(ctx, name, data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

type received struct {
	header http.Header
	body   []byte
}

func TestEventsArriveSigned(t *testing.T) {
	got := make(chan received, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Header, body}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer receiver.Close()
	h := hook(t, receiver.URL+"/hook?key=x")
	e := event(t, "access_tokens.token_created", map[string]any{"project": "p", "token_id": "1", "user": "bob <é>"})
	if err := h.Handle(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	r := <-got
	var sent map[string]any
	if err := json.Unmarshal(r.body, &sent); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": e.ID().String(), "event": "access_tokens.token_created", "time": e.Timestamp().UTC().Format("2006-01-02T15:04:05.000Z"),
		"project": "p", "data": map[string]any{"token_id": "1", "user": "bob <é>"},
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// As a receiver in any language would.
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s.%s", r.header.Get("X-Access-Tokens-Timestamp"), r.body)
	if got, want := r.header.Get("X-Access-Tokens-Signature"), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
	if r.header.Get("Content-Type") != "application/json" {
		t.Errorf("Content-Type %q", r.header.Get("Content-Type"))
	}
	e = event(t, "too_long", map[string]any{"text": strings.Repeat("x", maxMessage)})
	if err := h.Handle(context.Background(), e); err == nil {
		t.Error("an event that is too long is taken")
	}
}

// What isn't 2xx isn't taken, redirects included, which aren't followed.
func TestWhatAReceiverSays(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect is followed") }))
	defer elsewhere.Close()
	hangs := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/created":
			w.WriteHeader(http.StatusCreated)
		case "/redirect":
			http.Redirect(w, r, elsewhere.URL, http.StatusPermanentRedirect)
		case "/error":
			http.Error(w, "no", http.StatusInternalServerError)
		case "/endless":
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
					return
				}
			}
		case "/hangs":
			<-hangs
		}
	}))
	defer receiver.Close()
	defer close(hangs)
	for path, want := range map[string]string{
		"/created": "", "/endless": "", "/": "",
		"/redirect": "the receiver answers with status 308",
		"/error":    "the receiver answers with status 500",
		"/hangs":    "the receiver doesn't answer in time",
	} {
		s := &sender{receiver.URL + path + "?key=hidden", []byte(secret), &http.Client{
			Timeout:       2 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		err := s.send(context.Background(), message{body: []byte("{}")})
		if got := fmt.Sprint(err); err == nil && want != "" || err != nil && got != want {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
		s.client.CloseIdleConnections()
	}
	down := &sender{"http://127.0.0.1:1/?key=hidden", []byte(secret), http.DefaultClient}
	if err := down.send(context.Background(), message{}); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("a receiver that is down: %v", err)
	}
}

// Whoever echoes what it is sent, or answers with it, doesn't bring it into the log.
func TestWhatAReceiverSendsIsntSaid(t *testing.T) {
	for _, answer := range []string{
		"%s", // the request as it came
		"HTTP/1.1 %s\r\n\r\n",
		"HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
		"HTTP/1.1 500 %s\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 301 OK\r\nLocation: http://%%zz%s\r\nContent-Length: 0\r\n\r\n",
		"",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil && answer != "" {
					_, _ = fmt.Fprintf(c, answer, "hidden hidden")
				}
				_ = c.Close()
			}
		}()
		s := &sender{"http://user:hidden@" + l.Addr().String() + "/?key=hidden", []byte(secret), &http.Client{
			Transport:     new(http.Transport),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		if err := s.send(context.Background(), message{body: []byte("{}")}); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: %v", answer, err)
		}
		s.client.CloseIdleConnections()
		_ = l.Close()
		<-served
	}
}

// A reload with the same receiver goes on with the same queue.
func TestReloadsShareAQueue(t *testing.T) {
	one, other := hook(t, "http://127.0.0.1:1/a"), hook(t, "http://127.0.0.1:1/b")
	again := hook(t, "http://127.0.0.1:1/a")
	if one.queue != again.queue || one.queue == other.queue {
		t.Error("receivers and queues don't go together")
	}
}

func TestTheSecretIsntLogged(t *testing.T) {
	h := &Webhook{URL: "https://example.com/?key=hidden", Secret: secret}
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{})
	line, err := encoder.EncodeEntry(zapcore.Entry{}, []zap.Field{zap.Any("handler", h)})
	if err != nil {
		t.Fatal(err)
	}
	if text := line.String(); strings.Contains(text, secret) || strings.Contains(text, "hidden") || !strings.Contains(text, "access_tokens_webhook") {
		t.Errorf("logged is %s", text)
	}
}

func TestWrongWebhooks(t *testing.T) {
	t.Setenv("EMPTY", "")
	for text, want := range map[string]string{
		"access_tokens_webhook":                                        "takes one value",
		"access_tokens_webhook https://a.example":                      "takes a secret",
		"access_tokens_webhook https://a.example {\nsecret\n}":         "secret takes one value",
		"access_tokens_webhook https://a.example {\nkey x\n}":          `unrecognized option "key"; allowed: secret, timeout`,
		"access_tokens_webhook https://a.example {\ntimeout 2m\n}":     "timeout: 2m0s is not above 0 and at most 1m",
		"access_tokens_webhook https://a.example {\ntimeout soon\n}":   `timeout: "soon" is no duration`,
		"access_tokens_webhook https://a.example https://b.example {}": "takes one value",
	} {
		err := new(Webhook).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	for what, h := range map[string]*Webhook{
		"no URL":            {URL: "hooks.example.com", Secret: secret},
		"another scheme":    {URL: "ftp://hooks.example.com", Secret: secret},
		"an empty variable": {URL: "https://hooks.example.com", Secret: "{env.EMPTY}"},
		"a short secret":    {URL: "https://hooks.example.com", Secret: "short"},
		"a long timeout":    {URL: "https://hooks.example.com", Secret: secret, Timeout: caddy.Duration(time.Hour)},
	} {
		if err := h.Provision(ctx); err == nil || !strings.HasPrefix(err.Error(), "access_tokens_webhook: ") || strings.Contains(err.Error(), "short") {
			t.Errorf("%s: %v", what, err)
		}
		if err := h.Cleanup(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
