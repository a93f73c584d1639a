package incoming

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// holdsTokenInURL tells whether a token value stands in a URL, as it is or encoded.
func holdsTokenInURL(u *url.URL) bool {
	return holdsToken(u.Path) || holdsToken(u.RawPath) || holdsToken(u.RawQuery) || holdsToken(u.Opaque) || holdsToken(u.Host) ||
		u.User != nil && holdsToken(u.User.String())
}

// LineHoldsToken tells whether a token value stands in a request line or a line
// of a header, as it is or encoded. In lines that hold no URL, base64 isn't
// looked into.
func LineHoldsToken(name, line string) bool {
	switch name {
	case "", "Referer":
		return holdsToken(line)
	}
	if len(line) < minToken {
		return false
	}
	return token.Contains(line) || strings.Contains(line, "%") &&
		slices.ContainsFunc(decodings, func(decode func(string) string) bool { return token.Contains(decode(line)) })
}

// dropReferer removes a Referer that holds a token value: what a browser asks
// next, after a URL that was refused, is to tell nobody.
func dropReferer(header http.Header) {
	if slices.ContainsFunc(header["Referer"], holdsToken) {
		delete(header, "Referer")
	}
}

// MaskTokens returns s with each token value replaced by what mask returns. Where
// one stands in it only once it is decoded, so is all of s.
func MaskTokens(s string, mask func(token.Value) string) string {
	for _, decode := range decodings {
		s = token.Replace(s, mask)
		if !holdsToken(s) {
			return s
		}
		s = decode(s)
	}
	s = token.Replace(s, mask)
	if holdsToken(s) {
		return maskedWhole
	}
	return s
}

// maskedWhole stands for a text whose tokens can't be shown apart from it.
const maskedWhole = "[masked: holds a token]"

// minToken is the length of the shortest value.
const minToken = 52

// decodings are the ways in which a text may be encoded in a URL. Decoding can
// also hide a value, behind a '%' that takes its first letters for digits.
var decodings = []func(string) string{
	decodeOnce,
	func(s string) string { return string(decodeStable(nil, s)) },
}

// holdsToken tells whether a token value stands in s: as it is, percent-encoded
// however often, or in base64 as in Basic credentials.
func holdsToken(s string) bool {
	if len(s) < minToken {
		return false
	}
	if token.Contains(s) || holdsBase64(s) {
		return true
	}
	if !strings.Contains(s, "%") {
		return false
	}
	return slices.ContainsFunc(decodings, func(decode func(string) string) bool {
		decoded := decode(s)
		return token.Contains(decoded) || holdsBase64(decoded)
	})
}

// minBase64 is how long a value in base64 is at least.
const minBase64 = (minToken*8 + 5) / 6

// holdsBase64 tells whether a token value stands in s in base64 (RFC 4648
// sections 4 and 5), alone or amid other text.
func holdsBase64(s string) bool {
	for start := 0; start+minBase64 <= len(s); {
		end := start
		for end < len(s) && isBase64(s[end]) {
			end++
		}
		if end-start >= minBase64 && anyAlignment(s[start:end]) {
			return true
		}
		start = end + 1
	}
	return false
}

// anyAlignment tells whether a token value stands in a run of base64 digits,
// whatever its first characters belong to.
func anyAlignment(digits string) bool {
	digits = strings.NewReplacer("-", "+", "_", "/").Replace(digits)
	for skip := range 4 {
		part := digits[skip:]
		if len(part)%4 == 1 {
			part = part[:len(part)-1]
		}
		decoded, err := base64.RawStdEncoding.DecodeString(part)
		if err == nil && holdsToken(string(decoded)) { // shorter each time
			return true
		}
	}
	return false
}

func isBase64(c byte) bool {
	return isAlphanumeric(c) || c == '+' || c == '/' || c == '-' || c == '_'
}
