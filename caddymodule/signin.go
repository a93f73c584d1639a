package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/credentials"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"
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
// Attempts with credentials that don't end with yes are counted as failed, and
// limited, those that can't be told too: whoever checked the credentials may
// have said no in a way of their own. ErrNotChecked says that nobody has.
//
// A SignIn that takes credentials from elsewhere than Authorization is to be a
// CredentialTaker, or guessing them isn't limited.
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
	// ErrNotChecked says that it can't be told because nobody has looked at the
	// credentials, such as when a directory can't be reached. It isn't counted as
	// a failed attempt. Once credentials have been sent, it is the wrong error.
	ErrNotChecked = errors.New("the credentials were not checked")
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

// CredentialTaker is a SignIn that takes credentials from elsewhere than
// Authorization, such as a cookie or a header of its own. Requests that have
// some are attempts to sign in, which are limited; those that haven't any, and
// no Authorization either, are not.
type CredentialTaker interface {
	HasCredentials(*http.Request) bool
}

// DecoySignIn is a SignIn that takes noticeable time to answer. When a sign-in
// before it says no to somebody whom it knows, time would tell that: whoever is
// unknown there is left to the others, which takes longer.
type DecoySignIn interface {
	// DecoySignIn takes as long as SignIn would to say no to a user like the
	// request's. It must not use the user's name and password, other than to
	// compare them itself: they may be a slip of somebody who is none of its users.
	DecoySignIn(*http.Request)
}

// AuthorityNamer is a SignIn of a module that has several authorities to ask,
// such as APIs or directories. Failed sign-ins count together, on all sites of a
// server, for sign-ins of a module that have the same authority; for all sign-ins
// of a module that isn't an AuthorityNamer.
type AuthorityNamer interface {
	// Authority names what checks the credentials, such as an API's origin. It
	// is "" for a sign-in that takes none, and the same for all users: whoever
	// tries names could learn from a difference which are known.
	Authority() string
}

// fixedUsers is a SignIn that knows beforehand whom it can establish.
type fixedUsers interface {
	hasUser(id string) bool
}

// plainUsers is a SignIn that may know beforehand that it calls nobody an
// administrator.
type plainUsers interface {
	hasNoAdmins() bool
}

var errPlaceholderAndForeign = errors.New("`sign_in placeholder` can't stand beside `foreign_token pass`: whoever a handler in front took the API's own token for would pass for a user of ours; remove one of them")

// checkSignIns says what is wrong with how the sign-ins go together.
func (h *Handler) checkSignIns() error {
	for _, s := range h.signIns {
		if _, ok := s.(*PlaceholderSignIn); ok && h.ForeignToken == config.Pass {
			return errPlaceholderAndForeign
		}
	}
	return nil
}

// established are the users whom handlers in front have established, by the
// sign-in that reads them.
type established map[*PlaceholderSignIn]User

func (h *Handler) establishedInFront(repl *caddy.Replacer) (e established) {
	for _, s := range h.signIns {
		p, ok := s.(*PlaceholderSignIn)
		if !ok {
			continue
		}
		if user, err := p.read(repl); err == nil {
			if e == nil {
				e = make(established)
			}
			e[p] = user
		}
	}
	return e
}

// firstOf returns the user whom the first of the sign-ins finds established. One
// who can't be one is nobody.
func (h *Handler) firstOf(e established) (user store.User, known bool) {
	for _, s := range h.signIns {
		p, ok := s.(*PlaceholderSignIn)
		if !ok {
			continue
		}
		if user, ok := e[p]; ok {
			return user.stored(), h.accepts(p, user)
		}
	}
	return store.User{}, false
}

// signIn asks the site's sign-ins who sent r. Attempts that fail are counted;
// those that go beyond the limit are refused before a sign-in is asked.
func (h *Handler) signIn(r *http.Request, auth credentials.Authorization, inFront established) (registry.Caller, error) {
	if !h.hasCredentials(r, auth) {
		caller, _, err := h.askSignIns(r, inFront)
		return caller, err
	}
	attempt, err := h.app.failures.Load().Begin(r.Context(), h.limit(), signinlimit.Guess{
		Authorities: h.authorities(), Address: clientAddress(r), User: basicUser(auth), Credentials: allOf(r),
	})
	if err != nil {
		return registry.Caller{}, err
	}
	failed := true
	defer func() { attempt.End(failed) }() // however a guest module ends
	caller, failed, err := h.askSignIns(r, inFront)
	return caller, err
}

func (h *Handler) limit() signinlimit.Limit {
	return signinlimit.Limit{Failures: h.SignInLimit.Failures, Window: time.Duration(h.SignInLimit.Window)}
}

// authorities are all that can check credentials here.
func (h *Handler) authorities() (authorities []string) {
	for _, s := range h.signIns {
		id := string(s.(caddy.Module).CaddyModule().ID)
		if namer, ok := s.(AuthorityNamer); ok {
			authority := namer.Authority()
			if authority == "" {
				continue
			}
			id += " " + authority
		}
		if !slices.Contains(authorities, id) {
			authorities = append(authorities, id)
		}
	}
	return authorities
}

// allOf is all of r that can hold credentials.
func allOf(r *http.Request) string {
	var b strings.Builder
	b.WriteString(r.URL.String())
	_ = r.Header.Write(&b) // sorted; a strings.Builder takes all
	return b.String()
}

func (h *Handler) hasCredentials(r *http.Request, auth credentials.Authorization) bool {
	if auth.Scheme != credentials.None {
		return true
	}
	for _, s := range h.signIns {
		if taker, ok := s.(CredentialTaker); ok && taker.HasCredentials(r) {
			return true
		}
	}
	return false
}

// clientAddress is the client's as Caddy knows it (trusted_proxies), the zero
// address if it has none, as over a Unix socket.
func clientAddress(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return address
}

// basicUser is the user that Basic credentials name, "" if they name none.
func basicUser(auth credentials.Authorization) string {
	if auth.Scheme != credentials.Basic {
		return ""
	}
	user, _, _ := credentials.DecodeBasic(auth.Token68)
	return user
}

// askSignIns asks one sign-in after the other. failed tells that they didn't
// say yes to credentials, and that one of them has checked them, or may have.
func (h *Handler) askSignIns(r *http.Request, inFront established) (caller registry.Caller, failed bool, err error) {
	no := tokenapi.ErrNotSignedIn
	for i, s := range h.signIns {
		user, err := askSignIn(r, s, inFront)
		switch {
		case errors.Is(err, ErrNotMine):
			if errors.Is(err, errSessionRefused) {
				failed, no = true, saidBy(s, tokenapi.ErrNotSignedIn, err)
			}
			continue
		case errors.Is(err, ErrDenied):
			signInDecoys(r, h.signIns[i+1:])
			return registry.Caller{}, true, saidBy(s, tokenapi.ErrNotSignedIn, err)
		case err != nil:
			failed = failed || !errors.Is(err, ErrNotChecked)
			return registry.Caller{}, failed, saidBy(s, errCantTell, err)
		case !h.accepts(s, user):
			return registry.Caller{}, true, tokenapi.ErrNotSignedIn
		}
		return registry.SignedIn(user.stored(), user.Admin), false, nil
	}
	return registry.Caller{}, true, no
}

// errCantTell is a reason to refuse with 503.
var errCantTell = errors.New("who sent the request can't be told")

// saidBy adds to a reason, for the log, which sign-in gave it, and why.
func saidBy(s SignIn, reason, err error) error {
	return fmt.Errorf("%w: %s: %w", reason, s.(caddy.Module).CaddyModule().ID, err)
}

func askSignIn(r *http.Request, s SignIn, inFront established) (User, error) {
	p, ok := s.(*PlaceholderSignIn)
	if !ok {
		return s.SignIn(r)
	}
	user, known := inFront[p]
	if !known {
		return User{}, ErrNotMine
	}
	return user, nil
}

// accepts tells whether a user can be one, whatever a sign-in says.
func (h *Handler) accepts(s SignIn, u User) bool {
	err := u.check()
	if err != nil {
		h.logger.Warn("a sign-in's user is refused", zap.String("sign_in", fmt.Sprintf("%T", s)), zap.Error(err))
	}
	return err == nil
}

// stored returns what a token remembers of u. White space around a value
// wouldn't arrive in a header, and is left out.
func (u User) stored() store.User {
	var claims map[string]string
	for name, value := range u.Claims {
		if claims == nil {
			claims = make(map[string]string, len(u.Claims))
		}
		claims[name] = strings.TrimSpace(value)
	}
	return store.User{ID: u.ID, Email: strings.TrimSpace(u.Email), Name: strings.TrimSpace(u.Name), Claims: claims}
}

// signInDecoys takes as long as asking these sign-ins would have.
func signInDecoys(r *http.Request, signIns []SignIn) {
	for _, s := range signIns {
		if d, ok := s.(DecoySignIn); ok {
			d.DecoySignIn(r)
		}
	}
}

func (u User) check() error {
	if err := registry.CheckUserID(u.ID); err != nil {
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
