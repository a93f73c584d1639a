package registry

import (
	"errors"
	"fmt"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// The reasons for which the registry refuses. Besides these it passes on
// store.ErrFull and store.ErrUnavailable.
var (
	// ErrInvalidToken says that the token is unknown, expired, deleted or of another
	// project. Which of them is nobody's business.
	ErrInvalidToken = errors.New("the token is not valid")
	// ErrOff says that the token is valid, but the project's API access is off.
	ErrOff = errors.New("API access is off")
	// ErrBlocked says that the caller is known, but an administrator has
	// blocked this user.
	ErrBlocked = errors.New("the user is blocked")
	// ErrAddress says that the token is valid, but not where it was used.
	ErrAddress = errors.New("the token can't be used from this address")
	// ErrScope says that the token is valid, but limited to other requests.
	ErrScope = errors.New("the request is outside of the token's scopes")
	// ErrLimit says that the user has as many tokens as are allowed.
	ErrLimit = errors.New("too many tokens")
	// ErrBusy says that the user has too much under way already.
	ErrBusy = errors.New("too much is under way")
	// ErrProtected says that this user can't be blocked.
	ErrProtected = errors.New("the user can't be blocked")
	// ErrForbidden says that the caller is known, but not allowed to do that.
	ErrForbidden = errors.New("not allowed")
	// ErrNotFound says that there is no such token among those the caller may see.
	ErrNotFound = errors.New("no such token")
	// ErrFixed says that the setting is the owner's to change.
	ErrFixed = errors.New("the setting is fixed")
	// ErrInvalid says that what was asked for is outside the allowed values.
	ErrInvalid = errors.New("invalid request")
	// ErrTokenInText says that a text that would be kept holds a token value.
	ErrTokenInText = fmt.Errorf("%w: a token value in a text", ErrInvalid)
)

// Refusal is one of the reasons above with a sentence for the caller that says
// what to do.
type Refusal struct {
	Reason  error
	Details string
}

func (r *Refusal) Error() string { return r.Reason.Error() + ": " + r.Details }
func (r *Refusal) Unwrap() error { return r.Reason }

func refuse(reason error, details string, args ...any) error {
	return &Refusal{reason, fmt.Sprintf(details, args...)}
}

// Why a token doesn't authenticate, for the owner's log alone.
const (
	// WhyForeign: it isn't of our shape. WhyChecksum: it begins as ours do.
	WhyForeign  = "foreign"
	WhyChecksum = "checksum"

	WhyUnknown = "unknown"
	WhyProject = "project"
	WhyExpired = "expired"
	WhyDeleted = "deleted"
	WhyOff     = "off"
	WhyBlocked = "blocked"
	WhyAddress = "address"
	WhyScope   = "scope"
)

// Denial is a reason to refuse, such as ErrInvalidToken or ErrOff, with what the
// store knows of the token.
type Denial struct {
	Reason error
	Why    string
	// Token is the record, zero where the token is unknown.
	Token store.Record
}

// Lives tells whether the token is one that hasn't ended, whatever keeps it from
// being used at present.
func (d *Denial) Lives() bool { return !errors.Is(d.Reason, ErrInvalidToken) }

func (d *Denial) Error() string { return d.Reason.Error() + ": " + d.Why }
func (d *Denial) Unwrap() error { return d.Reason }
