package incoming

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// DropCredentials removes what a request with an accepted token must not carry
// on: its Authorization header, the headers that tokens are taken from, and all
// cookies but those to keep. The kept ones stay byte for byte and in order, in a
// single Cookie line (RFC 6265 section 5.4); the header is gone when there are none.
// Beside a token from a header, Authorization stays where the rules keep it.
func (rules *Rules) DropCredentials(r *http.Request, auth Authorization) {
	kept := rules.KeptCookies(r.Header["Cookie"])
	for key := range r.Header {
		switch {
		case folds(key, "authorization"):
			if !rules.keepAuthorization || !auth.InHeader {
				delete(r.Header, key)
			}
		case folds(key, "cookie"), rules.carriers.has(key):
			delete(r.Header, key)
		}
	}
	if kept != "" {
		r.Header["Cookie"] = []string{kept}
	}
}

// cookieNames are names of cookies, and beginnings of them.
type cookieNames struct{ exact, prefixes []string }

func newCookieNames(entries []string) (names cookieNames, err error) {
	for _, entry := range entries {
		name, isPrefix := strings.CutSuffix(entry, "*")
		switch {
		case name == "" && isPrefix:
			return cookieNames{}, fmt.Errorf("cookie %q: write '*' behind the beginning of a name; it stands for any ending", entry)
		case !isToken(name) || strings.Contains(name, "*"):
			return cookieNames{}, fmt.Errorf("cookie %q: a name has one or more letters, digits and %s, and may have one '*' at its end for any ending", entry, strings.ReplaceAll(tokenMarks, "*", ""))
		case isPrefix:
			names.prefixes = append(names.prefixes, name)
		default:
			names.exact = append(names.exact, name)
		}
	}
	return names, nil
}

func (n *cookieNames) none() bool { return len(n.exact) == 0 && len(n.prefixes) == 0 }

func (n *cookieNames) has(name string) bool {
	return slices.Contains(n.exact, name) ||
		isToken(name) && slices.ContainsFunc(n.prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
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
	if rules.cookies.none() {
		return ""
	}
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			name, value, found := strings.Cut(pair, "=")
			if found && rules.cookies.has(name) && isCookieValue(value) {
				kept = append(kept, pair)
			}
		}
	}
	return strings.Join(kept, "; ")
}
