package incoming

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DecodeBasic returns the user name and password in the token68 of a Basic
// Authorization (RFC 7617, section 2). It is not ok unless token68 is the one
// padded base64 spelling of valid UTF-8 without control characters, holding a
// colon with a user name before it. The first colon is the one that separates;
// the password may hold more, and may be empty.
func DecodeBasic(token68 string) (user, password string, ok bool) {
	user, password, ok = splitBasic(token68)
	if !ok || user == "" || !utf8.ValidString(user) || !utf8.ValidString(password) {
		return "", "", false
	}
	if strings.ContainsFunc(user, unicode.IsControl) || strings.ContainsFunc(password, unicode.IsControl) {
		return "", "", false
	}
	return user, password, true
}

// splitBasic returns what stands before and after the first colon of credentials, if
// token68 is their one padded base64 spelling.
func splitBasic(token68 string) (user, password string, ok bool) {
	// The decoder of the standard library skips line breaks.
	if strings.ContainsAny(token68, "\r\n") {
		return "", "", false
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(token68)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(decoded), ":")
}
