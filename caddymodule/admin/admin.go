// Package admin adds routes to Caddy's admin endpoint, which protects them as it
// does its own.
package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/metrics"
)

func init() { caddy.RegisterModule(new(Router)) }

// App is what the routes need of the app "access_tokens".
type App interface {
	// Ready returns why tokens can't be authenticated at present, nil if they can.
	Ready() error
	// Live returns why nothing but a restart can make tokens work again, nil as long
	// as they do or something else can.
	Live() error

	Backups
}

// routes are all there are. Each pattern is a label of Caddy's own metrics, and
// what permissions of a remote admin endpoint name.
var routes = []route{
	{"/access_tokens/backup", http.MethodPost, makeBackup},
	{"/access_tokens/health/live", http.MethodGet, live},
	{"/access_tokens/health/ready", http.MethodGet, ready},
}

// route is a path and what it does. A GET route answers HEAD, too. An error is
// answered and logged by Caddy: a caddy.APIError says with which status.
type route struct {
	pattern, method string
	serve           func(http.ResponseWriter, *http.Request) error
}

// Router serves the routes. Caddy has one for each configuration, also for one that
// then fails: its admin endpoint serves on, beside the configuration before. So a
// route asks for the app that runs when it is called.
type Router struct{}

// CaddyModule implements caddy.Module.
func (*Router) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.access_tokens",
		New: func() caddy.Module { return new(Router) },
	}
}

// Provision implements caddy.Provisioner. The endpoint's own /metrics shows what is
// registered with its configuration, whether or not that comes as far as the app.
func (*Router) Provision(ctx caddy.Context) error {
	return metrics.Register(ctx.GetMetricsRegistry())
}

// Routes implements caddy.AdminRouter.
func (*Router) Routes() (all []caddy.AdminRoute) {
	for _, r := range routes {
		all = append(all, caddy.AdminRoute{Pattern: r.pattern, Handler: r})
	}
	return all
}

// ServeHTTP implements caddy.AdminHandler.
func (to route) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	allow := []string{to.method}
	if to.method == http.MethodGet {
		allow = append(allow, http.MethodHead)
	}
	if !slices.Contains(allow, r.Method) {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("%s takes %s", to.pattern, allow[0])}
	}
	return to.serve(w, r)
}

// running returns the app of the configuration that runs.
func running() (App, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("access_tokens")
	if err != nil {
		return nil, errNotRunning
	}
	return app.(App), nil
}

var errNotRunning = errors.New("no configuration with access_tokens runs")

// answer writes v, which can be encoded, as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Router)(nil)
	_ caddy.AdminRouter  = (*Router)(nil)
	_ caddy.AdminHandler = route{}
)
