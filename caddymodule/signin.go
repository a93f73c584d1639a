package caddymodule

import (
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// SignIn is what a guest module of the namespace access_tokens.sign_in
// implements: it proves who sent a request that carries no access token.
//
// The sign-ins of a site are asked in the order written. Returning no error
// says yes. ErrDenied says no: nobody else is asked. ErrNotMine passes the
// request on to the next sign-in. Any other error says that it can't be told
// right now: the request is refused with 503.
//
// A SignIn may block for as long as the request's context allows, and is
// called concurrently. It must not change the request, and must not keep or
// log its credentials.
type SignIn interface {
	SignIn(*http.Request) (User, error)
}

var (
	// ErrNotMine says that the request has no credentials that this sign-in knows.
	ErrNotMine = errors.New("not this sign-in's credentials")
	// ErrDenied says that the request has credentials for this sign-in, and they are
	// wrong.
	ErrDenied = errors.New("sign-in denied")
)

// User is whom a sign-in established. One that isn't as its fields say is
// refused, as if the sign-in had said no, and the log says why.
type User struct {
	// ID is 1 to 256 characters of valid UTF-8, without control characters or
	// white space at either end, and not "*". Ids are compared byte for byte.
	// The same id from two sign-ins is the same user.
	ID string
	// Email, Name and each of Claims are at most 1,024 bytes of valid UTF-8
	// without control characters; empty if not known.
	Email, Name string
	// Admin makes the user an administrator of the project.
	Admin bool
	// Claims are further facts, by the names they have in placeholders.
	Claims map[string]string
}

// BasicTaker is a SignIn that may take HTTP Basic credentials (RFC 7617), so
// that a 401 asks for them.
type BasicTaker interface {
	TakesBasic() bool
}

// fixedUsers is a SignIn that knows beforehand whom it can establish.
type fixedUsers interface {
	hasUser(id string) bool
}

// signIn asks the site's sign-ins who sent r.
func (h *Handler) signIn(r *http.Request) (registry.Caller, error) {
	for i, s := range h.signIns {
		user, err := s.SignIn(r)
		switch {
		case errors.Is(err, ErrNotMine):
			continue
		case errors.Is(err, ErrDenied):
			takeTime(r, h.signIns[i+1:])
			return registry.Caller{}, tokenapi.ErrNotSignedIn
		case err != nil:
			return registry.Caller{}, fmt.Errorf("%w: %T: %w", store.ErrUnavailable, s, err)
		}
		if err := user.check(); err != nil {
			h.logger.Warn("a sign-in's user is refused", zap.String("sign_in", fmt.Sprintf("%T", s)), zap.Error(err))
			return registry.Caller{}, tokenapi.ErrNotSignedIn
		}
		return registry.SignedIn(store.User{ID: user.ID, Email: user.Email, Name: user.Name, Claims: user.Claims}, user.Admin), nil
	}
	return registry.Caller{}, tokenapi.ErrNotSignedIn
}

// takeTime compares passwords in vain, as often as for a user whom none of the
// sign-ins lists: otherwise time would tell who is listed in one before them.
func takeTime(r *http.Request, rest []SignIn) {
	for _, s := range rest {
		if b, ok := s.(*BasicSignIn); ok {
			_, _ = b.SignIn(r)
		}
	}
}

func (u User) check() error {
	if err := config.CheckUserID(u.ID); err != nil {
		return err
	}
	if err := config.CheckClaim("the e-mail", u.Email); err != nil {
		return err
	}
	if err := config.CheckClaim("the name", u.Name); err != nil {
		return err
	}
	for name, value := range u.Claims {
		if err := config.CheckClaim("claim "+name, value); err != nil {
			return err
		}
	}
	return nil
}
