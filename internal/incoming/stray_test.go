package incoming

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func TestHoldsToken(t *testing.T) {
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
		if !HoldsToken(&u) {
			t.Errorf("not seen in %s", strings.NewReplacer(s, "<value>", encoded, "<encoded>").Replace(uri))
		}
	}
	for _, query := range []string{"", "a=b", "t=" + s[:52], "t=cat_" + strings.Repeat("0", 49), "t=" + strings.Replace(s, "_", "%2D", 1)} {
		if HoldsToken(&url.URL{Path: "/v4/people_current", RawQuery: query}) {
			t.Errorf("seen in %q", query)
		}
	}
}

func TestHoldsTokenIsLinear(t *testing.T) {
	begun := time.Now()
	HoldsToken(&url.URL{RawQuery: strings.Repeat("%25", 300_000)})
	HoldsToken(&url.URL{RawQuery: "%" + strings.Repeat("25", 500_000)})
	HoldsToken(&url.URL{RawQuery: strings.Repeat("abcdefghijkl_", 80_000)})
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("a megabyte takes %v", took)
	}
}
