package incoming

import (
	"net/http"
	"slices"
	"strings"
)

// DropCredentials removes what a request with an accepted token must not carry
// on: its Authorization header, and all cookies but those to keep. The kept
// ones stay byte for byte and in order, in a single Cookie line (RFC 6265
// section 5.4); the header is gone when there are none.
func (rules *Rules) DropCredentials(r *http.Request) {
	kept := rules.KeptCookies(r.Header["Cookie"])
	for key := range r.Header {
		if folds(key, "authorization") || folds(key, "cookie") {
			delete(r.Header, key)
		}
	}
	if kept != "" {
		r.Header["Cookie"] = []string{kept}
	}
}

// isCookieValue tells whether a value is one to every server: some end it at a
// space, a comma or a quote, and see another cookie in what follows.
func isCookieValue(value string) bool {
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
	}
	return !strings.ContainsFunc(value, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune("\",\\", r)
	})
}

// KeptCookies reads lines as RFC 6265 section 4.2.1 has them. Whatever is not
// name=value there is dropped, and so is a name that some servers would trim.
func (rules *Rules) KeptCookies(lines []string) string {
	if len(rules.cookies) == 0 {
		return ""
	}
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			name, value, found := strings.Cut(pair, "=")
			if found && slices.Contains(rules.cookies, name) && isCookieValue(value) {
				kept = append(kept, pair)
			}
		}
	}
	return strings.Join(kept, "; ")
}
