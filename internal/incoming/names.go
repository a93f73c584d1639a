package incoming

import (
	"fmt"
	"strings"
)

// tokenMarks are the characters beside letters and digits that a name may have
// (RFC 9110 section 5.6.2).
const tokenMarks = "!#$%&'*+-.^_`|~"

// reserved headers either belong to one connection only (RFC 9110 section
// 7.6.1), say where a message goes or ends, or are the credentials themselves.
var reserved = []string{
	"Authorization",
	"Connection",
	"Content-Length",
	"Cookie",
	"Host",
	"Keep-Alive",
	"Proxy-Authenticate",
	"Proxy-Authorization",
	"Proxy-Connection",
	"TE",
	"Trailer",
	"Transfer-Encoding",
	"Upgrade",
}

// ValidHeaderName returns an error unless name can carry an identity or be
// taken away from clients: a header name (RFC 9110 section 5.1) without '*',
// and in no spelling one that HTTP itself, or a sign-in, depends on.
func ValidHeaderName(name string) error {
	if strings.Contains(name, "*") {
		return fmt.Errorf("header %q: write the whole name, without '*'", name)
	}
	if !isToken(name) {
		return invalidHeader(name)
	}
	for _, r := range reserved {
		if folds(name, Fold(r)) {
			return fmt.Errorf("header %q: use another name, because %s belongs to HTTP itself or to a sign-in", name, r)
		}
	}
	return nil
}

// validPattern checks what [NewRules] takes as strip, and returns what stands before
// the '*' of a pattern that has one.
func validPattern(pattern string) (prefix string, isPrefix bool, err error) {
	if !strings.Contains(pattern, "*") {
		return "", false, ValidHeaderName(pattern)
	}
	prefix, isPrefix = strings.CutSuffix(pattern, "*")
	if !isPrefix || prefix == "" || strings.Contains(prefix, "*") {
		return "", false, fmt.Errorf("header %q: only one '*' is allowed, behind the beginning of a name, as in X-Example-*", pattern)
	}
	if !isToken(prefix) {
		return "", false, invalidHeader(pattern)
	}
	for _, r := range reserved {
		if strings.HasPrefix(Fold(r), Fold(prefix)) {
			return "", false, fmt.Errorf("header %q: use a longer beginning, because this one takes %s too", pattern, r)
		}
	}
	return prefix, true, nil
}

func invalidHeader(entry string) error {
	return fmt.Errorf("header %q: a name has one or more letters, digits and %s", entry, strings.ReplaceAll(tokenMarks, "*", ""))
}

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

// isTokenChar reports whether c may stand in a token (RFC 9110 section 5.6.2).
func isTokenChar(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte(tokenMarks, c) >= 0
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// Fold maps all spellings of a header name to one. Case never matters in HTTP,
// and servers that hand headers on as variables (RFC 3875 section 4.1.18) turn
// '-' into '_', and some of them every byte that is no letter or digit: X_User,
// X.User and X~User are X-User there.
func Fold(name string) string {
	folded := []byte(name)
	for i, c := range folded {
		folded[i] = foldByte(c)
	}
	return string(folded)
}

// folds reports whether Fold(name) is folded.
func folds(name, folded string) bool {
	if len(name) != len(folded) {
		return false
	}
	for i := range len(folded) {
		if foldByte(name[i]) != folded[i] {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	}
	return '-'
}
