package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func init() { caddy.RegisterModule(new(ReadyMatcher)) }

var errOpening = fmt.Errorf("%w: it is still being opened", store.ErrUnavailable)

// Ready returns why tokens can't be authenticated at present, nil if they can. A
// store that is too full for new tokens is as good for that as any.
func (a *App) Ready() error {
	if a.registry.Load() == nil {
		return errOpening
	}
	return a.opened.store.Failure()
}

// Live returns why nothing but a restart can make tokens work again, nil as long
// as they do or something else can.
func (a *App) Live() error {
	if a.registry.Load() == nil {
		return nil
	}
	return a.opened.store.Failure()
}

// ReadyMatcher matches all requests while tokens can be authenticated: once the
// store is open, and until it has stopped because it is damaged. It is for load
// balancers that can't reach the admin endpoint:
//
//	@ready access_tokens_ready
//	respond @ready 200
//	respond 503
//
// It never matches where no site of this server has tokens.
type ReadyMatcher struct {
	ctx caddy.Context
}

// CaddyModule implements caddy.Module.
func (*ReadyMatcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.access_tokens_ready",
		New: func() caddy.Module { return new(ReadyMatcher) },
	}
}

// Provision implements caddy.Provisioner.
func (m *ReadyMatcher) Provision(ctx caddy.Context) error {
	m.ctx = ctx
	return nil
}

// MatchWithError implements caddyhttp.RequestMatcherWithError. It never fails, nor
// waits.
func (m *ReadyMatcher) MatchWithError(*http.Request) (bool, error) {
	app, err := m.ctx.AppIfConfigured(appName)
	if err != nil {
		return false, nil //nolint:nilerr // no site of this server has tokens
	}
	return app.(*App).Ready() == nil, nil
}

// UnmarshalCaddyfile reads `access_tokens_ready`, without arguments.
func (*ReadyMatcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return noArguments(d)
}

// Interface guards
var (
	_ admin.App                         = (*App)(nil)
	_ caddy.Provisioner                 = (*ReadyMatcher)(nil)
	_ caddyfile.Unmarshaler             = (*ReadyMatcher)(nil)
	_ caddyhttp.RequestMatcherWithError = (*ReadyMatcher)(nil)
)
