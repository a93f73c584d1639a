package incoming

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Rules says which headers no client may send, and which cookies may accompany
// a token. Its methods may be called concurrently.
type Rules struct {
	exact    []string // folded names
	prefixes []string // folded, without their '*'
	cookies  cookieNames

	carriers          Carriers
	keepAuthorization bool
}

// TakeFrom makes [Rules.Admit] take tokens from carriers too. keepAuthorization
// leaves Authorization beside a token from a header. A header that clients can't
// send is no carrier: that is an error. It is called before anything else.
func (rules *Rules) TakeFrom(carriers Carriers, keepAuthorization bool) error {
	for _, h := range carriers.headers {
		if rules.protects(h.name) {
			return fmt.Errorf("header %q: no client may send it, because it is removed under identity or strip; use another name", h.name)
		}
	}
	rules.carriers, rules.keepAuthorization = carriers, keepAuthorization
	return nil
}

// Carriers are what tokens are taken from.
func (rules *Rules) Carriers() *Carriers { return &rules.carriers }

// NewRules compiles rules.
//
// protected are header names, see [ValidHeaderName]. strip are header names or
// prefixes of them followed by one '*', as in "X-Trifacta-*". keepCookies are
// names of cookies, or prefixes of them followed by one '*', compared byte for
// byte. An entry that can't be used is an error that names it and says what is
// allowed.
func NewRules(protected, strip, keepCookies []string) (*Rules, error) {
	rules := &Rules{}
	for _, name := range protected {
		if err := ValidHeaderName(name); err != nil {
			return nil, err
		}
		rules.exact = append(rules.exact, Fold(name))
	}
	for _, pattern := range strip {
		prefix, isPrefix, err := validPattern(pattern)
		if err != nil {
			return nil, err
		}
		if isPrefix {
			rules.prefixes = append(rules.prefixes, Fold(prefix))
			continue
		}
		rules.exact = append(rules.exact, Fold(pattern))
	}
	var err error
	if rules.cookies, err = newCookieNames(keepCookies); err != nil {
		return nil, err
	}
	slices.Sort(rules.exact)
	rules.exact = slices.Compact(rules.exact)
	return rules, nil
}

// protects reports whether a header of this name, in whatever spelling, must
// not come from a client.
func (rules *Rules) protects(name string) bool {
	for _, exact := range rules.exact {
		if folds(name, exact) {
			return true
		}
	}
	for _, prefix := range rules.prefixes {
		if len(name) >= len(prefix) && folds(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}

// Set makes value the only value of the header name, whatever stood there, and
// leaves no other spelling of it. An empty value leaves the header absent.
//
// A value that would arrive as another one is an error, and then the header is
// absent: control characters are not allowed in a header, and a recipient drops
// spaces and tabs at either end (RFC 9110 section 5.5), so that two users could
// become one.
func Set(header http.Header, name, value string) error {
	return NewName(name).Set(header, value, make([]string, 1))
}

// Name is a header's, for headers that are set again and again.
type Name struct{ written, canonical, folded string }

// NewName returns the name of a header in whatever spelling.
func NewName(name string) Name { return Name{name, http.CanonicalHeaderKey(name), Fold(name)} }

// String returns it as it was written.
func (n Name) String() string { return n.written }

// Set is [Set], with room for one value, which the header keeps.
func (n Name) Set(header http.Header, value string, room []string) error {
	for key := range header {
		if folds(key, n.folded) {
			delete(header, key)
		}
	}
	if value == "" {
		return nil
	}
	if strings.Trim(value, " \t") != value || strings.ContainsFunc(value, isControl) {
		return fmt.Errorf("header %s: its value begins or ends with a space, or contains a control character, and would not arrive unchanged", n)
	}
	room[0] = value
	header[n.canonical] = room
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
