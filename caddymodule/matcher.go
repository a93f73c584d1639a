package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func init() { caddy.RegisterModule(new(Matcher)) }

// Matcher matches requests with exactly one bearer token of our shape, which
// the handler access_tokens, in every mode, authenticates or refuses and never
// passes on. It lets such requests past handlers that would refuse them:
//
//	@browser not access_token
//	basic_auth @browser {
//	    …
//	}
//
// That a request matches doesn't say that its token is valid.
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
	auth, err := incoming.ParseAuthorization(r.Header)
	if err != nil || auth.Scheme != incoming.Bearer {
		return false, nil //nolint:nilerr // what is malformed is no token; the handler says so
	}
	app, err := m.ctx.AppIfConfigured(appName)
	if err != nil {
		// No site of this server has tokens.
		_, ok := token.Parse(auth.Token68)
		return ok, nil //nolint:nilerr // see above
	}
	return app.(*App).isOurs(auth.Token68), nil
}

// isOurs tells whether a bearer token is of our shape: a value, or something
// that begins like those that some site of this server makes. The prefixes
// don't change once requests arrive.
func (a *App) isOurs(bearer string) bool {
	if _, ok := token.Parse(bearer); ok {
		return true
	}
	prefix, _, found := strings.Cut(bearer, "_")
	return found && a.prefixes[prefix]
}

// UnmarshalCaddyfile reads `access_token`, without arguments.
func (*Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if d.NextArg() {
			return d.Errf("the access_token matcher takes no arguments")
		}
		if d.NextBlock(0) {
			return d.Errf("the access_token matcher takes no block")
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
