package caddymodule

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/page"
)

// A password is asked for only where nobody can read along.
func TestConnectionOf(t *testing.T) {
	const here, there = "127.0.0.1:5000", "192.0.2.1:5000"
	header := func(lines ...string) http.Header {
		h := make(http.Header)
		for i := 0; i < len(lines); i += 2 {
			h.Add(lines[i], lines[i+1])
		}
		return h
	}
	for name, test := range map[string]struct {
		from, host string
		tls        bool
		trusted    bool
		header     http.Header
		want       page.Connection
	}{
		"TLS":                                     {there, "x.example", true, false, nil, page.Encrypted},
		"TLS, whatever an untrusted client says":  {there, "x.example", true, false, header("X-Forwarded-Proto", "http"), page.Encrypted},
		"no TLS":                                  {there, "x.example", false, false, nil, page.Open},
		"no TLS, whatever is said":                {there, "x.example", false, false, header("X-Forwarded-Proto", "https"), page.Open},
		"this machine":                            {here, "localhost:8080", false, false, nil, page.Local},
		"this machine, by number":                 {"[::1]:5000", "[::1]:8080", false, false, nil, page.Local},
		"this machine, by another name":           {here, "gw.lan", false, false, nil, page.Open},
		"another machine that says localhost":     {there, "localhost", false, false, nil, page.Open},
		"something in between on this machine":    {here, "127.0.0.1:8080", false, false, header("X-Forwarded-For", "192.0.2.1"), page.Open},
		"something else in between":               {here, "127.0.0.1:8080", false, false, header("Via", "1.1 Caddy"), page.Open},
		"a trusted proxy with TLS":                {there, "x.example", false, true, header("X-Forwarded-Proto", "https"), page.Encrypted},
		"a trusted proxy without":                 {there, "x.example", false, true, header("X-Forwarded-Proto", "http"), page.Open},
		"a trusted proxy without, reached by TLS": {there, "x.example", true, true, header("X-Forwarded-Proto", "http"), page.Open},
		"a trusted proxy after one without":       {there, "x.example", false, true, header("X-Forwarded-Proto", "http", "X-Forwarded-Proto", "https"), page.Encrypted},
		"a list":                                  {there, "x.example", false, true, header("X-Forwarded-Proto", "https, http"), page.Open},
		"a trusted proxy that says nothing":       {there, "x.example", false, true, nil, page.Open},
		"the same, reached by TLS":                {there, "x.example", true, true, nil, page.Encrypted},
		"a trusted proxy on this machine":         {here, "localhost", false, true, header("X-Forwarded-Proto", "http"), page.Open},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Host, r.Header, r.TLS = test.from, test.host, test.header, nil
		if test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: test.trusted}))
		if got := connectionOf(r); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// Only where trusting a proxy would make a difference is the owner told to.
func TestSaysHTTPSUntrusted(t *testing.T) {
	for name, test := range map[string]struct {
		tls, trusted bool
		said         []string
		want         bool
	}{
		"a proxy that isn't trusted":      {false, false, []string{"https"}, true},
		"in capitals":                     {false, false, []string{"HTTPS"}, true},
		"one that is":                     {false, true, []string{"https"}, false},
		"one without TLS":                 {false, false, []string{"http"}, false},
		"one after another":               {false, false, []string{"http", "https"}, true},
		"one before another":              {false, false, []string{"https", "http"}, false},
		"nobody":                          {false, false, nil, false},
		"over TLS to here":                {true, false, []string{"https"}, false},
		"over TLS to here, where trusted": {true, true, []string{"https"}, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if test.said != nil {
			r.Header["X-Forwarded-Proto"] = test.said
		}
		if test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: test.trusted}))
		if got := saysHTTPSUntrusted(r); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What was cut off a path stands in links and in a command for a shell.
func TestCutOff(t *testing.T) {
	for _, test := range []struct{ original, now, want string }{
		{"/pre/access-tokens", "/access-tokens", "/pre"},
		{"/a/b-c/v1.2/access-tokens", "/access-tokens", "/a/b-c/v1.2"},
		{"/access-tokens", "/access-tokens", ""},
		{"/other", "/access-tokens", ""},
		{"//evil.example/access-tokens", "/access-tokens", ""},
		{"/pre//access-tokens", "/access-tokens", ""},
		{"/$(x)/access-tokens", "/access-tokens", ""},
		{"/a b/access-tokens", "/access-tokens", ""},
		{strings.Repeat("/x", 10_000) + "/access-tokens", "/access-tokens", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://x.example/", nil)
		r.URL.Path = test.now
		original := http.Request{URL: &url.URL{Path: test.original}}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
		if got := cutOff(r); got != test.want {
			t.Errorf("%.40s, now %s: %q, want %q", test.original, test.now, got, test.want)
		}
	}
}
