package incoming

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

var (
	// ErrTwoTokens means that a request has more than one token value where a site
	// takes them from, be it the same one twice.
	ErrTwoTokens = errors.New("send exactly one token")
	// ErrTokenInHeader means that a header holds a token value, but isn't a place for
	// it: amid other text, beside another line of the header, under another spelling of
	// its name, or where only other sites take tokens from.
	ErrTokenInHeader = errors.New("a header holds a token where none is taken from")
)

// Carriers are the places that tokens are taken from, beside a Bearer
// Authorization. The zero value has none. It may be copied.
type Carriers struct {
	// Basic: the password of Basic Authorization (RFC 7617) beside any user name, or
	// the user name beside no password, or beside "x-oauth-basic".
	Basic bool

	headers []carrier
}

// carrier is a header that tokens are taken from.
type carrier struct{ name, folded string }

// NewCarriers returns the places that tokens are taken from, where headers are names
// of headers. Its errors name the header, and say what is allowed.
func NewCarriers(basic bool, headers []string) (Carriers, error) {
	c := Carriers{Basic: basic}
	for _, name := range headers {
		if err := validCarrier(name); err != nil {
			return Carriers{}, err
		}
		folded := Fold(name)
		if c.has(name) {
			return Carriers{}, fmt.Errorf("header %q: name it once", name)
		}
		c.headers = append(c.headers, carrier{name, folded})
	}
	return c, nil
}

// misleading are further headers that can't carry a token, since the gateway or
// HTTP itself goes by them, or somebody between writes them. A '*' at the end
// stands for any ending.
var misleading = []string{
	"Accept*", "Access-Control-*", "Content-*", "Date", "Expect", "Forwarded", "From", "HTTP2-Settings", "If-*",
	"Max-Forwards", "Origin", "Proxy-*", "Range", "Referer", "Sec-*", "Set-Cookie", "User-Agent", "Via", "WWW-Authenticate",
	"X-Forwarded-*", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-Original-*", "X-Real-IP",
}

func validCarrier(name string) error {
	if err := ValidHeaderName(name); err != nil {
		return err
	}
	if !strings.EqualFold(name, Fold(name)) {
		return fmt.Errorf("header %q: write '-' for what is no letter or digit, as %s: servers behind take one for the other, and Caddy drops a header with '_' or '.' in its name", name, strings.ToUpper(Fold(name)))
	}
	for _, m := range misleading {
		prefix, isPrefix := strings.CutSuffix(m, "*")
		if folds(name, Fold(m)) || isPrefix && len(name) >= len(prefix) && folds(name[:len(prefix)], Fold(prefix)) {
			return fmt.Errorf("header %q: use a header that is for credentials alone, such as X-API-Key; %s has another meaning", name, m)
		}
	}
	return nil
}

// has tells whether name is one of the headers, in whatever spelling.
func (c *Carriers) has(name string) bool {
	for _, h := range c.headers {
		if folds(name, h.folded) {
			return true
		}
	}
	return false
}

// spells tells whether a name is written as carriers' are: nothing but '-' between
// letters and digits.
func spells(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) && c != '-' {
			return false
		}
	}
	return true
}

// Headers are the names of the headers.
func (c *Carriers) Headers() (names []string) {
	for _, h := range c.headers {
		names = append(names, h.name)
	}
	return names
}

// Join returns all places of c and other.
func (c Carriers) Join(other Carriers) Carriers {
	joined := Carriers{Basic: c.Basic || other.Basic, headers: slices.Clone(c.headers)}
	for _, h := range other.headers {
		if !joined.has(h.name) {
			joined.headers = append(joined.headers, h)
		}
	}
	return joined
}

// Read returns what a request shows for who sent it: its Authorization, as
// [ParseAuthorization] reads it, and a token from wherever else one is taken. It
// also fails with [ErrTwoTokens] and [ErrTokenInHeader].
func (c *Carriers) Read(h http.Header) (Authorization, error) {
	auth, err := parseAuthorization(h, c.Basic)
	if err != nil || len(c.headers) == 0 {
		return auth, err
	}
	value, err := c.readHeaders(h)
	switch {
	case err != nil:
		return Authorization{}, err
	case value.IsZero():
		return auth, nil
	case auth.HoldsToken():
		return Authorization{}, ErrTwoTokens
	}
	auth.Value, auth.InHeader = value, true
	return auth, nil
}

// readHeaders returns the token value that stands in one of the headers.
func (c *Carriers) readHeaders(header http.Header) (found token.Value, err error) {
	for _, h := range c.headers {
		lines, holds := 0, false
		var value token.Value
		for name, values := range header {
			if !folds(name, h.folded) {
				continue
			}
			lines += len(values)
			for _, line := range values {
				if !holdsToken(line) {
					continue
				}
				holds = true
				if spells(name) {
					value, _ = token.Parse(line)
				}
			}
		}
		switch {
		case !holds:
			continue
		case lines > 1, !found.IsZero():
			return token.Value{}, ErrTwoTokens
		case value.IsZero():
			return token.Value{}, ErrTokenInHeader
		}
		found = value
	}
	return found, nil
}

// dropOtherSpellings removes headers that are among c's only to servers that take
// other bytes for '-': they would be a second line of one.
func (c *Carriers) dropOtherSpellings(header http.Header) {
	if len(c.headers) == 0 {
		return
	}
	for name := range header {
		if c.has(name) && !spells(name) {
			delete(header, name)
		}
	}
}

// Candidates appends to values those that stand where c takes tokens from, whether
// each is the only one or not. A value amid other text is none. Where Authorization can't
// be read, as [ParseAuthorization] has it, there are none.
func (c *Carriers) Candidates(values []token.Value, header http.Header) []token.Value {
	auth, err := parseAuthorization(header, c.Basic)
	if err != nil {
		return values
	}
	if !auth.Value.IsZero() {
		values = append(values, auth.Value)
	}
	if len(c.headers) == 0 {
		return values
	}
	for name, lines := range header {
		if !c.has(name) || !spells(name) {
			continue
		}
		for _, line := range lines {
			if v, ok := token.Parse(line); ok {
				values = append(values, v)
			}
		}
	}
	return values
}

// Strays are the token values, alone or amid other text, in headers that others take
// tokens from and c doesn't, in whatever spelling.
func (c *Carriers) Strays(others *Carriers, header http.Header) (values []token.Value) {
	if len(others.headers) == 0 {
		return nil
	}
	for name, lines := range header {
		if !others.has(name) || c.has(name) {
			continue
		}
		for _, line := range lines {
			if holdsToken(line) {
				MaskTokens(line, func(v token.Value) string {
					values = append(values, v)
					return ""
				})
			}
		}
	}
	return values
}

// inBasic returns the token value that stands in the token68 of a Basic
// Authorization, where one may. That a token is somewhere else in it, or a second
// one, is an error.
func inBasic(token68 string) (token.Value, error) {
	if !holdsToken(token68) {
		return token.Value{}, nil
	}
	user, password, ok := splitBasic(token68)
	if !ok {
		return token.Value{}, ErrMisplacedToken
	}
	value, isPassword := token.Parse(password)
	name, isName := token.Parse(user)
	switch {
	case isPassword && isName:
		return token.Value{}, ErrTwoTokens
	case isPassword && !holdsToken(user):
		return value, nil
	case isName && (password == "" || password == "x-oauth-basic"):
		return name, nil
	}
	return token.Value{}, ErrMisplacedToken
}
