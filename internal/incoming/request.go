package incoming

import (
	"errors"
	"net/http"
)

// ErrTokenInURL means that the URL holds a token value.
var ErrTokenInURL = errors.New("the URL holds a token")

// Request is what a request that may be looked at says of itself.
type Request struct {
	Authorization Authorization
	Path          Path
	// Upgraded: an Upgrade to something other than a WebSocket was dropped.
	Upgraded bool
}

// Admit makes r safe to look at, in place, and says what it says of itself. It
// fails with [ErrTokenInURL], [ErrTarget], [ErrMalformed], [ErrRepeated],
// [ErrMisplacedToken], [ErrTwoTokens] or [ErrTokenInHeader]; r is safe then too.
func (rules *Rules) Admit(r *http.Request) (Request, error) {
	upgrades := len(r.Header["Upgrade"]) > 0
	rules.Scrub(r)
	upgrades = upgrades && len(r.Header["Upgrade"]) == 0
	dropReferer(r.Header)
	if holdsTokenInURL(r.URL) || holdsToken(r.Host) {
		return Request{}, ErrTokenInURL
	}
	if err := checkTarget(r); err != nil {
		return Request{}, err
	}
	auth, err := rules.carriers.Read(r.Header)
	rules.carriers.dropOtherSpellings(r.Header)
	return Request{auth, PathOf(r.URL), upgrades}, err
}
