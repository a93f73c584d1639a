// Package admin adds routes to Caddy's admin endpoint, which protects them as it
// does its own.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/metrics"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/census"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/refusals"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func init() { caddy.RegisterModule(new(Router)) }

// App is what the routes need of the app "access_tokens".
type App interface {
	// Ready returns why tokens can't be authenticated at present, nil if they can.
	Ready() error
	// Live returns why nothing but a restart can make tokens work again, nil as long
	// as they do or something else can.
	Live() error

	// Operator returns the one who asks from there. It fails with
	// store.ErrUnavailable while the store isn't open.
	Operator(from registry.Origin) (*registry.Operator, error)
	// Refusals returns why a token was refused lately, the latest first.
	Refusals(id uuid.UUID) []refusals.Refusal
	// Ended returns who ended a token, and how, nil if that isn't known.
	Ended(*registry.Token) *registry.Event
	// Count counts the tokens of a project.
	Count(ctx context.Context, project string) (census.Count, error)
	// Stats returns all but what it says of projects.
	Stats() (Stats, error)
	// NextKey puts a new hash key in front of the one that the store has made, and
	// returns the ids of all that are in force then; with dryRun it changes
	// nothing. It fails with ErrKeyGiven or store.ErrUnavailable.
	NextKey(ctx context.Context, from registry.Origin, dryRun bool) ([]token.KeyID, error)
	// FinishKeys ends the tokens that are still under an older hash key, and returns
	// how many. Keys that the store has made are then forgotten.
	FinishKeys(ctx context.Context, from registry.Origin) (ended int, err error)

	Backups
}

// ErrKeyGiven says that the hash key isn't the store's to change.
var ErrKeyGiven = errors.New("the configuration gives the hash key: put a new one in front there (hash_key <new> { previous <old> }), and reload")

// routes are all there are. Each pattern is a label of Caddy's own metrics, and
// what permissions of a remote admin endpoint name.
var routes = []route{
	{"/access_tokens/backup", http.MethodPost, makeBackup},
	{"/access_tokens/health/live", http.MethodGet, live},
	{"/access_tokens/health/ready", http.MethodGet, ready},
	{"/access_tokens/stats", http.MethodGet, stats},
	{"/access_tokens/projects", http.MethodGet, projects},
	{"/access_tokens/tokens", http.MethodGet, tokens},
	{"/access_tokens/tokens/{id}", http.MethodGet, show},
	{"/access_tokens/delete", http.MethodPost, remove},
	{"/access_tokens/block", http.MethodPost, block},
	{"/access_tokens/unblock", http.MethodPost, unblock},
	{"/access_tokens/rotate_key", http.MethodPost, rotateKey},
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
	return withoutTokens(to.serve(w, r))
}

// withoutTokens is an error that doesn't repeat a token's value, which somebody has
// asked for in place of its id: Caddy answers with its text, and logs it.
func withoutTokens(err error) error {
	answer, ok := errors.AsType[caddy.APIError](err)
	if !ok || answer.Err == nil || !token.Contains(answer.Err.Error()) {
		return err
	}
	answer.Err = errors.New(token.Replace(answer.Err.Error(), func(token.Value) string { return "…" }))
	return answer
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

// operator returns whoever sent r.
func operator(r *http.Request) (*registry.Operator, error) {
	app, err := running()
	if err != nil {
		return nil, problem(err)
	}
	o, err := app.Operator(origin(r))
	if err != nil {
		return nil, problem(err)
	}
	return o, nil
}

// origin is where a request came from.
func origin(r *http.Request) registry.Origin {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return registry.Origin{} // a Unix socket
	}
	return registry.Origin{ClientIP: from.Addr().Unmap().String()}
}

// problem returns err with the status that it is answered with.
func problem(err error) error {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrUnknownProject):
		status = http.StatusNotFound
	case errors.Is(err, registry.ErrInvalid):
		status = http.StatusBadRequest
	case errors.Is(err, registry.ErrBusy), errors.Is(err, store.ErrUnavailable), errors.Is(err, errNotRunning):
		status = http.StatusServiceUnavailable
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrOutboxFull):
		status = http.StatusInsufficientStorage
	}
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// answer writes v, which can be encoded, as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	writeHeader(w, status)
	encode(w, v)
}

func writeHeader(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}

func encode(w io.Writer, v any) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // for people who read it; it is never HTML
	_ = encoder.Encode(v)
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Router)(nil)
	_ caddy.AdminRouter  = (*Router)(nil)
	_ caddy.AdminHandler = route{}
)
