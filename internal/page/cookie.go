package page

import (
	"net/http"
	"strings"
	"time"
)

// What the names of the page's cookies begin with: where a browser takes the
// prefix __Host- (RFC 6265bis section 4.1.3.2), and where there is no TLS.
const (
	securePrefix = "__Host-" + plainPrefix
	plainPrefix  = "access-tokens-"
)

// Cookies are the page's own, taken out of a request.
type Cookies []string

// TakeCookies removes the page's cookies, of whatever project, from a
// request's header and returns them. The others stay byte for byte: nothing
// behind the page sees what opens it.
func TakeCookies(header http.Header) (taken Cookies) {
	lines := header["Cookie"]
	kept := lines[:0:0]
	for _, line := range lines {
		own, rest := splitCookies(line)
		taken = append(taken, own...)
		if rest != "" {
			kept = append(kept, rest)
		}
	}
	switch {
	case len(taken) == 0:
	case len(kept) == 0:
		delete(header, "Cookie")
	default:
		header["Cookie"] = kept
	}
	return taken
}

// splitCookies takes the page's cookies out of one line.
func splitCookies(line string) (own Cookies, rest string) {
	if !mentionsOwn(line) {
		return nil, line
	}
	var others []string
	for pair := range strings.SplitSeq(line, ";") {
		if trimmed := strings.TrimSpace(pair); isOwn(trimmed) {
			own = append(own, trimmed)
		} else {
			others = append(others, pair)
		}
	}
	if own == nil {
		return nil, line
	}
	return own, strings.TrimSpace(strings.Join(others, ";"))
}

func mentionsOwn(line string) bool {
	return strings.Contains(strings.ToLower(line), plainPrefix)
}

// isOwn tells whether a pair is one of the page's, or holds one behind a comma,
// by which something in between may have joined two lines.
func isOwn(pair string) bool {
	for part := range strings.SplitSeq(pair, ",") {
		name, _, _ := strings.Cut(part, "=")
		name = strings.ToLower(strings.Trim(name, " \t\""))
		if strings.HasPrefix(strings.TrimPrefix(name, "__host-"), plainPrefix) {
			return true
		}
	}
	return false
}

// value returns the value of the only cookie of that name. Two of a name are
// nobody's: one of them may be another site's.
func (c Cookies) value(name string) (value string, found bool) {
	for _, pair := range c {
		n, v, ok := strings.Cut(pair, "=")
		if !ok || n != name {
			continue
		}
		if found {
			return "", false
		}
		value, found = v, true
	}
	return value, found
}

// cookieName is the session's cookie on this connection, "" where none can be
// kept safely.
func (p *Page) cookieName() string {
	switch p.Connection {
	case Encrypted:
		return securePrefix + p.Project.Name
	case Local:
		return plainPrefix + p.Project.Name
	}
	return ""
}

func (v *visit) setCookie(secret string) { v.writeCookie(secret, 0) }
func (v *visit) clearCookie()            { v.writeCookie("", -time.Second) }

func (v *visit) writeCookie(value string, maxAge time.Duration) {
	http.SetCookie(v.w, &http.Cookie{ //nolint:gosec // Secure wherever there is TLS: see cookieName
		Name: v.cookieName(), Value: value, Path: "/",
		MaxAge: int(maxAge.Seconds()),
		Secure: v.Connection == Encrypted, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}
