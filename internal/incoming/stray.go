package incoming

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// HoldsToken tells whether a token value stands in the path or the query, as
// it is or percent-encoded, however often.
func HoldsToken(u *url.URL) bool {
	return holdsToken(u.Path) || holdsToken(u.RawPath) || holdsToken(u.RawQuery) || holdsToken(u.Opaque) || holdsToken(u.Host)
}

// DropReferer removes a Referer that holds a token value, and tells whether
// there was one: what a browser asks next, after a URL that was refused, is to
// tell nobody.
func DropReferer(header http.Header) bool {
	if !slices.ContainsFunc(header["Referer"], holdsToken) {
		return false
	}
	delete(header, "Referer")
	return true
}

func holdsToken(s string) bool {
	if token.Contains(s) {
		return true
	}
	if !strings.Contains(s, "%") {
		return false
	}
	// Decoding can also hide a value, behind a '%' that takes its first
	// letters for digits.
	once, err := url.PathUnescape(s)
	return err == nil && token.Contains(once) || token.Contains(string(decodeStable(nil, s)))
}
