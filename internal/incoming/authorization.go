package incoming

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// ErrRepeated means that a request has more than one Authorization line, of
// whatever schemes. Which one counts would depend on who reads them.
var ErrRepeated = errors.New("send exactly one Authorization line")

// ErrMalformed means that a Bearer or Basic Authorization isn't the scheme,
// spaces, and a token68.
var ErrMalformed = errors.New("send Authorization as the scheme, a space, and the credentials, and nothing else")

// ErrMisplacedToken means that a token value stands in Authorization, but not as
// a bearer token: under another scheme, or among Basic credentials where none is
// taken from.
var ErrMisplacedToken = errors.New("send a token as a bearer token")

// Scheme is an authentication scheme, as far as this module tells them apart.
type Scheme int

const (
	// NoScheme means that there is no Authorization line.
	NoScheme Scheme = iota
	// Bearer is the scheme of RFC 6750.
	Bearer
	// Basic is the scheme of RFC 7617.
	Basic
	// OtherScheme is every other scheme, and a value without a scheme.
	OtherScheme
)

// String returns the scheme's registered name where it has one.
func (s Scheme) String() string {
	switch s {
	case NoScheme:
		return "none"
	case Bearer:
		return "Bearer"
	case Basic:
		return "Basic"
	case OtherScheme:
		return "other"
	}
	return fmt.Sprintf("Scheme(%d)", int(s))
}

// Authorization is what a request's Authorization header says, and the token beside
// it. Formatted or encoded as JSON, it shows its scheme but not its secret.
type Authorization struct {
	Scheme Scheme
	// Token68 holds the credentials of Bearer and Basic as they were sent; it
	// is empty for NoScheme and OtherScheme.
	Token68 string `json:"-"`
	// Value is the token of our shape that the request is sent with, zero if it is
	// none: Bearer's, or one from elsewhere, see [Carriers].
	Value token.Value `json:"-"`
	// InHeader: Value stands in a header of its own. Scheme and Token68 are beside it.
	InHeader bool
}

// ByToken tells whether a token is to say who sent the request, and nothing beside
// it: a value of our shape, or whatever is sent as a bearer token.
func (a Authorization) ByToken() bool { return a.Scheme == Bearer || !a.Value.IsZero() }

// InBasic tells whether the token stands in Basic credentials, which a browser may
// remember and send along by itself.
func (a Authorization) InBasic() bool {
	return a.Scheme == Basic && !a.Value.IsZero() && !a.InHeader
}

// HoldsToken tells whether there is a token of our shape, or a bearer token that
// holds a value amid other text.
func (a Authorization) HoldsToken() bool {
	return !a.Value.IsZero() || a.Scheme == Bearer && holdsToken(a.Token68)
}

// Format implements [fmt.Formatter], for every verb, so that no log line shows
// the credentials.
func (a Authorization) Format(f fmt.State, _ rune) {
	text := a.Scheme.String()
	if a.Token68 != "" {
		text += " [redacted]"
	}
	_, _ = f.Write([]byte(text))
}

// ParseAuthorization reads the Authorization header of a request (RFC 9110, section 11.6.2).
//
// The scheme is the leading run of token characters, compared without regard to
// ASCII case. Bearer and Basic must be exactly scheme, 1*SP, token68; all else
// under these two names is [ErrMalformed]. So is either name behind characters
// that can't begin a scheme, such as " Bearer x", which HTTP/2 delivers with its
// space, or ",Bearer x" and "\xa0Bearer x": lax readers skip them. Any other
// value is [OtherScheme], the empty one included.
//
// Lines count as Authorization in whatever case the map holds their name; with
// more than one, the error is [ErrRepeated].
func ParseAuthorization(h http.Header) (Authorization, error) { return parseAuthorization(h, false) }

// parseAuthorization is [ParseAuthorization], and takes a token from Basic
// credentials where it may stand there.
func parseAuthorization(h http.Header, basic bool) (Authorization, error) {
	var value string
	count := 0
	for name, lines := range h {
		if len(lines) == 0 || !isAuthorization(name) {
			continue
		}
		value = lines[0]
		count += len(lines)
	}
	switch count {
	case 0:
		return Authorization{}, nil
	case 1:
		return parseValue(value, basic)
	}
	return Authorization{}, ErrRepeated
}

func isAuthorization(name string) bool {
	const canonical = "Authorization"
	return name == canonical || len(name) == len(canonical) && strings.EqualFold(name, canonical)
}

func parseValue(value string, basic bool) (Authorization, error) {
	start := 0
	for start < len(value) && !isTokenChar(value[start]) {
		start++
	}
	end := start
	for end < len(value) && isTokenChar(value[end]) {
		end++
	}
	scheme := schemeOf(value[start:end])
	if scheme != Bearer && !(basic && scheme == Basic) && holdsToken(value) {
		return Authorization{}, ErrMisplacedToken
	}
	if scheme == OtherScheme {
		return Authorization{Scheme: OtherScheme}, nil
	}
	token68 := strings.TrimLeft(value[end:], " ")
	if start > 0 || len(token68) == len(value)-end || !isToken68(token68) {
		return Authorization{}, ErrMalformed
	}
	auth := Authorization{Scheme: scheme, Token68: token68}
	switch {
	case scheme == Bearer:
		auth.Value, _ = token.Parse(token68)
	case basic:
		var err error
		if auth.Value, err = inBasic(token68); err != nil {
			return Authorization{}, err
		}
	}
	return auth, nil
}

// schemeOf expects token characters only, so that EqualFold, which knows more
// letters than ASCII, compares no others.
func schemeOf(name string) Scheme {
	switch {
	case strings.EqualFold(name, "Bearer"):
		return Bearer
	case strings.EqualFold(name, "Basic"):
		return Basic
	}
	return OtherScheme
}

// isToken68 reports whether s is a token68 (RFC 9110, section 11.2).
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" {
		return false
	}
	for i := range len(body) {
		if c := body[i]; !isAlphanumeric(c) && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return true
}
