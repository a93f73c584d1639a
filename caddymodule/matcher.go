package caddymodule

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func init() { caddy.RegisterModule(new(Matcher)) }

// Matcher matches requests with exactly one token issued here, wherever a site of
// this server takes tokens from, which the handler access_tokens, in every mode,
// authenticates or refuses and never passes on. It lets such requests past handlers
// that would refuse them:
//
//	@browser not access_token
//	basic_auth @browser {
//	    …
//	}
//
// That a request matches doesn't say that its token is valid: it may have
// expired or been deleted. What nobody has issued doesn't match, whatever it
// looks like. Where the store can't tell, the request ends with 503.
type Matcher struct {
	ctx caddy.Context
}

// CaddyModule implements caddy.Module.
func (*Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.access_token",
		New: func() caddy.Module { return new(Matcher) },
	}
}

// Provision implements caddy.Provisioner. The handlers of the site, which know
// the prefixes, are provisioned later.
func (m *Matcher) Provision(ctx caddy.Context) error {
	m.ctx = ctx
	return nil
}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m *Matcher) MatchWithError(r *http.Request) (bool, error) {
	configured, err := m.ctx.AppIfConfigured(appName)
	if err != nil {
		return false, nil //nolint:nilerr // no site of this server has tokens
	}
	app := configured.(*App)
	var match lookUp
	issued := 0
	var mostlyOne [1]token.Value
	for _, value := range app.carriers.Candidates(mostlyOne[:0], r.Header) {
		tokens, err := app.await(r.Context())
		if err != nil {
			return false, caddyhttp.Error(http.StatusServiceUnavailable, err)
		}
		switch found, err := tokens.Find(value); {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return false, caddyhttp.Error(http.StatusServiceUnavailable, err)
		default:
			match = lookUp{tokens, value, found}
			issued++
		}
	}
	if issued != 1 {
		return false, nil
	}
	caddyhttp.SetVar(r.Context(), lookUpKey, match)
	return true, nil
}

// lookUpKey is the variable that holds what the matcher has found.
const lookUpKey = "access_tokens.look_up"

type lookUp struct {
	in    *registry.Registry
	value token.Value
	found registry.Found
}

// lookedUp returns what the matcher has found of a token, if it was asked.
func lookedUp(r *http.Request, tokens *registry.Registry, v token.Value) (registry.Found, bool) {
	l, ok := caddyhttp.GetVar(r.Context(), lookUpKey).(lookUp)
	return l.found, ok && l.in == tokens && l.value == v
}

// isOurs tells whether a token is for us to decide: a value, a bearer token that
// holds one, or one that begins like those that some site of this server makes. The
// prefixes don't change once requests arrive.
func (a *App) isOurs(auth incoming.Authorization) bool {
	return auth.HoldsToken() || auth.Scheme == incoming.Bearer && a.beginsLikeOurs(auth.Token68)
}

// checkElsewhere refuses what shows only in the light of the whole server: a second
// token, of which only the prefix says that it is one, and a token that was issued here
// in a header that other sites take tokens from. The matcher, which can't know the
// site, matches such a request.
func (h *Handler) checkElsewhere(r *http.Request, auth incoming.Authorization) error {
	if auth.InHeader && auth.Scheme == incoming.Bearer && h.app.beginsLikeOurs(auth.Token68) {
		return incoming.ErrTwoTokens
	}
	for _, value := range h.rules.Carriers().Strays(&h.app.carriers, r.Header) {
		tokens, err := h.registry(r)
		if err != nil {
			return err
		}
		if _, err := tokens.Find(value); err == nil {
			return incoming.ErrTokenInHeader
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (a *App) beginsLikeOurs(bearer string) bool {
	prefix, _, found := strings.Cut(bearer, "_")
	return found && a.prefixes[prefix]
}

// whyInvalid says why a bearer token that is no value doesn't authenticate.
func (a *App) whyInvalid(auth incoming.Authorization) error {
	why := registry.WhyForeign
	if a.beginsLikeOurs(auth.Token68) {
		why = registry.WhyChecksum
	}
	return &registry.Denial{Reason: registry.ErrInvalidToken, Why: why}
}

// UnmarshalCaddyfile reads `access_token`, without arguments.
func (*Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return noArguments(d) }

// noArguments reads a matcher's name, and refuses what follows.
func noArguments(d *caddyfile.Dispenser) error {
	for d.Next() {
		name := d.Val()
		if d.NextArg() {
			return d.Errf("the %s matcher takes no arguments", name)
		}
		if d.NextBlock(0) {
			return d.Errf("the %s matcher takes no block", name)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner                 = (*Matcher)(nil)
	_ caddyfile.Unmarshaler             = (*Matcher)(nil)
	_ caddyhttp.RequestMatcherWithError = (*Matcher)(nil)
)
