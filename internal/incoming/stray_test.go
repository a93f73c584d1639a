package incoming

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func TestHoldsTokenInURL(t *testing.T) {
	v, err := token.Make("cat", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := v.Reveal()
	encoded := strings.ReplaceAll(s, "_", "%5F")
	for _, uri := range []string{
		"/" + s, "/v4/" + s + "/x", "/?token=" + s, "/?" + s, "/?a=b&access_token=" + s + "&c=d",
		"/" + encoded, "/?token=" + encoded, "/%25" + encoded[1:] + s, "/?t=" + url.QueryEscape(encoded),
		"/?t=" + url.QueryEscape(url.QueryEscape(encoded)), "/?t=%63" + s[1:], "/?t=%" + s, "/?t=" + s + "%zz", "/?t=" + encoded + "%41",
	} {
		u := url.URL{Path: "/"}
		path, query, _ := strings.Cut(uri, "?")
		u.RawQuery = query
		if decoded, err := url.PathUnescape(path); err == nil {
			u.Path, u.RawPath = decoded, path
		}
		if !holdsTokenInURL(&u) {
			t.Errorf("not seen in %s", strings.NewReplacer(s, "<value>", encoded, "<encoded>").Replace(uri))
		}
	}
	for _, query := range []string{"", "a=b", "t=" + s[:52], "t=cat_" + strings.Repeat("0", 49), "t=" + strings.Replace(s, "_", "%2D", 1)} {
		if holdsTokenInURL(&url.URL{Path: "/v4/people_current", RawQuery: query}) {
			t.Errorf("seen in %q", query)
		}
	}
}

// The host is part of the URL, wherever the request says it.
func TestTokenAsHost(t *testing.T) {
	v, err := token.Make("cat", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]error{v.Reveal(): ErrTokenInURL, v.Reveal() + ".example.com:80": ErrTokenInURL, "api.example.com": nil} {
		r := &http.Request{Method: http.MethodGet, Host: host, URL: &url.URL{Path: "/"}, Header: http.Header{}}
		if _, err := newRules(t).Admit(r); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", strings.ReplaceAll(host, v.Reveal(), "<value>"), err, want)
		}
	}
}

func TestTokenInAuthorization(t *testing.T) {
	v, err := token.Make("cat", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := v.Reveal()
	base64ed := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, value := range []string{
		"token " + s, "Token token=\"" + s + "\"", "ApiKey " + s, "OAuth oauth_token=\"" + s + "\"", s, "Digest username=\"" + s + "\", qop=auth",
		"Basic " + base64ed(s+":"), "Basic " + base64ed("bob:"+s), "basic  " + base64ed("x:"+s+"\xff"), "Basic " + strings.TrimRight(base64ed(s+":x-oauth-basic"), "="),
		"ApiKey " + base64ed(s), "ApiKey id:" + base64ed("id:"+s), "ApiKey " + base64.URLEncoding.EncodeToString([]byte("\xff\xfe"+s+"~~")),
		"Basic " + base64ed("x:"+base64ed(s)), "Basic " + base64ed("x:"+strings.Replace(s, "_", "%5F", 1)), "Custom " + base64ed(base64ed(base64ed(s))),
		"Custom " + strings.Replace(s, "_", "%5F", 1), "Custom " + url.QueryEscape(base64ed("bob:"+s)), "Basic " + s, ",Basic " + base64ed("bob:"+s),
	} {
		if _, err := ParseAuthorization(http.Header{"Authorization": {value}}); !errors.Is(err, ErrMisplacedToken) {
			t.Errorf("%s: got error %v, want %v", strings.ReplaceAll(value, s, "<value>"), err, ErrMisplacedToken)
		}
	}
	for _, value := range []string{"Bearer " + s, "Basic " + base64ed("bob:"+s[:52]), "Token " + s[:52] + "x", "Digest username=\"" + strings.Repeat("a", 99) + "\""} {
		if _, err := ParseAuthorization(http.Header{"Authorization": {value}}); err != nil {
			t.Errorf("%s: %v", strings.ReplaceAll(value, s, "<value>"), err)
		}
	}
}

func TestMaskTokens(t *testing.T) {
	v, err := token.Make("cat", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := v.Reveal()
	for text, want := range map[string]string{
		"/x":                             "/x",
		"/" + s + "/x?t=" + s:            "/***/x?t=***",
		"/a%20b?t=" + s:                  "/a%20b?t=***",
		"/a?t=%63" + s[1:]:               "/a?t=***",
		"/a?t=" + url.QueryEscape("%5F"): "/a?t=%255F",
		"/a?t=" + strings.Replace(s, "_", "%25255F", 1):                  "/a?t=***",
		"/a?t=" + base64.StdEncoding.EncodeToString([]byte("bob:"+s)):    maskedWhole,
		"https://h/?a=%2541&t=" + strings.Replace(s, "_", "%5F", 1) + "": "https://h/?a=%41&t=***",
	} {
		if got := MaskTokens(text, func(token.Value) string { return "***" }); got != want {
			t.Errorf("%s: got %q, want %q", strings.ReplaceAll(text, s, "<value>"), got, want)
		}
	}
}

func FuzzMaskTokens(f *testing.F) {
	v, err := token.Make("cat", bytes.NewReader(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/a?t=", "%25", uint8(3))
	f.Add("%", "_cat_", uint8(9))
	f.Fuzz(func(t *testing.T, before, behind string, escapes uint8) {
		value := v.Reveal()
		for range escapes % 4 {
			value = url.QueryEscape("_" + value)
		}
		if masked := MaskTokens(before+value+behind, func(token.Value) string { return "***" }); holdsToken(masked) {
			t.Errorf("%q, %q, %d: holds a token", before, behind, escapes)
		}
	})
}

func TestHoldsTokenIsLinear(t *testing.T) {
	begun := time.Now()
	holdsTokenInURL(&url.URL{RawQuery: strings.Repeat("%25", 300_000)})
	holdsTokenInURL(&url.URL{RawQuery: "%" + strings.Repeat("25", 500_000)})
	holdsTokenInURL(&url.URL{RawQuery: strings.Repeat("abcdefghijkl_", 80_000)})
	holdsTokenInURL(&url.URL{RawQuery: strings.Repeat("abcdefghijkl", 80_000)})
	nested := "x"
	for len(nested) < 1<<20 {
		nested = base64.StdEncoding.EncodeToString([]byte(nested + nested[:min(len(nested), 9)]))
	}
	holdsTokenInURL(&url.URL{RawQuery: nested})
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("a megabyte takes %v", took)
	}
}
