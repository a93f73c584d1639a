package page

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// sent are the Fetch Metadata of requests that aren't somebody's way to a
// document, by how a browser comes to send them.
var sent = map[string][]string{
	"fetch":                  {"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"},
	"fetch, same-origin":     {"Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: empty"},
	"sendBeacon":             {"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: empty"},
	"a WebSocket":            {"Sec-Fetch-Mode: websocket", "Sec-Fetch-Dest: empty"},
	"an iframe":              {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"},
	"a frame":                {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: frame"},
	"an object":              {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: object"},
	"an embed":               {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: embed"},
	"a fenced frame":         {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: fencedframe"},
	"a script element":       {"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"},
	"a service worker":       {"Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: serviceworker"},
	"a prefetch":             {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Purpose: prefetch"},
	"a prerender":            {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Purpose: prefetch;prerender"},
	"the mode alone":         {"Sec-Fetch-Mode: cors"},
	"the destination alone":  {"Sec-Fetch-Dest: empty"},
	"in capitals":            {"Sec-Fetch-Mode: Navigate", "Sec-Fetch-Dest: Document"},
	"with a parameter":       {"Sec-Fetch-Mode: navigate;x", "Sec-Fetch-Dest: document"},
	"nothing":                {"Sec-Fetch-Mode: ", "Sec-Fetch-Dest: document"},
	"two modes":              {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: document"},
	"two destinations":       {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Dest: iframe"},
	"with a user's say-so":   {"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-User: ?1"},
	"what is yet to be made": {"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: something"},
}

func TestOnlyNavigationsOpenThePage(t *testing.T) {
	d := newDesk(t)
	d.fix(store.Settings{Generate: "everyone"})
	d.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {"open"}})
	nonce := d.nonce(t)
	ask := func(method, below string, lines ...string) *httptest.ResponseRecorder {
		t.Helper()
		form := url.Values{"nonce": {nonce}, "lifetime": {"30"}, "user": {"bob"}, "password": {"open"}}
		r := httptest.NewRequest(method, "/access-tokens"+below, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Add(name, value)
		}
		w, err := d.ask(t, r)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for name, lines := range sent {
		for _, below := range []string{"", "/generate", "/settings", "/delete?id=x", "/sign-in", "/sign-out"} {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
				if below == "" && method == http.MethodPost {
					continue
				}
				w := ask(method, below, lines...)
				body := w.Body.String()
				if w.Code != http.StatusForbidden || w.Header().Get("Set-Cookie") != "" || strings.Contains(body, "nonce") || strings.Contains(body, "bob") {
					t.Errorf("%s: %s %s: %d, %v\n%s", name, method, below, w.Code, w.Header(), body)
				}
			}
		}
	}
	for _, part := range []string{"/page.css", "/page.js", "/icon.svg"} {
		if w := ask(http.MethodGet, part, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: style"); w.Code != http.StatusOK {
			t.Errorf("%s: %d", part, w.Code)
		}
	}
	navigates := []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
	wantSays(t, ask(http.MethodGet, "/generate", navigates...), http.StatusOK, "Generate New Token")
	wantSays(t, ask(http.MethodPost, "/generate", navigates...), http.StatusOK, "Your new token")
}

// What isn't a navigation keeps no session alive either.
func TestFetchKeepsNoSession(t *testing.T) {
	d := newDesk(t)
	d.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {"open"}})
	d.advance(idleLimit / 2)
	r := httptest.NewRequest(http.MethodGet, "/access-tokens", nil)
	r.Header.Set("Sec-Fetch-Mode", "cors")
	if w, _ := d.ask(t, r); w.Code != http.StatusForbidden {
		t.Errorf("status %d", w.Code)
	}
	d.advance(idleLimit / 2)
	wantSays(t, d.get(t, ""), http.StatusOK, "Your session has ended")
}

// A browser that knows its connection to be secure parts the page from scripts,
// also where the gateway doesn't know it.
func TestIsolationBehindAnUnknownProxy(t *testing.T) {
	for name, test := range map[string]struct {
		connection Connection
		mode, want string
	}{
		"TLS":                                  {Encrypted, "navigate", "noopener-allow-popups"},
		"TLS, an old browser":                  {Encrypted, "", "noopener-allow-popups"},
		"this machine":                         {Local, "navigate", "noopener-allow-popups"},
		"TLS that the gateway doesn't know of": {Open, "navigate", "noopener-allow-popups"},
		"no TLS":                               {Open, "", ""},
	} {
		d := newDesk(t)
		d.page.Connection = test.connection
		r := httptest.NewRequest(http.MethodGet, "/access-tokens", nil)
		if test.mode != "" {
			r.Header.Set("Sec-Fetch-Mode", test.mode)
		}
		w, err := d.ask(t, r)
		if got := w.Header().Get("Cross-Origin-Opener-Policy"); got != test.want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestIsolation(t *testing.T) {
	for name, test := range map[string]struct{ userAgent, opener, embedder string }{
		"none":    {"", "noopener-allow-popups", ""},
		"curl":    {"curl/8.14.1", "noopener-allow-popups", ""},
		"Chrome":  {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36", "noopener-allow-popups", ""},
		"Safari":  {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15", "noopener-allow-popups", ""},
		"Firefox": {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "same-origin", "require-corp"},
		"Android": {"Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "same-origin", "require-corp"},
		"iOS":     {"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15", "noopener-allow-popups", ""},
	} {
		h := http.Header{}
		isolate(h, test.userAgent)
		if opener, embedder := h.Get("Cross-Origin-Opener-Policy"), h.Get("Cross-Origin-Embedder-Policy"); opener != test.opener || embedder != test.embedder {
			t.Errorf("%s: %q, %q", name, opener, embedder)
		}
	}
}
