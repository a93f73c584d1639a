package incoming

import (
	"errors"
	"net/http"
)

var (
	// ErrTokenInURL means that the URL holds a token value.
	ErrTokenInURL = errors.New("the URL holds a token")
	// ErrTarget means that the request target is of a form that the API behind
	// could read otherwise than Caddy does.
	ErrTarget = errors.New("the request target is no path")
)

// Request is what a request that may be looked at says of itself.
type Request struct {
	Authorization Authorization
	Path          Path
	// Upgraded: an Upgrade to something other than a WebSocket was dropped.
	Upgraded bool
}

// Admit makes r safe to look at, in place, and says what it says of itself. It
// fails with [ErrTokenInURL], [ErrTarget], [ErrMalformed], [ErrRepeated] or
// [ErrMisplacedToken]; r is safe then too.
func (rules *Rules) Admit(r *http.Request) (Request, error) {
	upgrades := len(r.Header["Upgrade"]) > 0
	rules.Scrub(r)
	upgrades = upgrades && len(r.Header["Upgrade"]) == 0
	dropReferer(r.Header)
	if holdsTokenInURL(r.URL) {
		return Request{}, ErrTokenInURL
	}
	// Caddy's reverse proxy sends an opaque target on as it is: x:http://h/p
	// would choose path and host at the API behind. And a target with user name
	// and password (RFC 9110 section 4.2.4) would tell them to everybody.
	if r.URL.Opaque != "" || r.URL.User != nil {
		return Request{}, ErrTarget
	}
	auth, err := ParseAuthorization(r.Header)
	return Request{auth, PathOf(r.URL), upgrades}, err
}
