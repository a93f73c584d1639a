package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/accesslog"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/metrics"
	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/lingering"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/page"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/streams"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler takes API access tokens. It serves the routes and the page where they
// are made and deleted, and forwards requests with a valid token as their
// user's, in headers that no client can send itself. All others it refuses.
//
// It sets the placeholders {http.auth.user.id}, {http.auth.user.email},
// {http.auth.user.name}, {http.auth.user.token_id} and
// {http.auth.user.project}; they are empty where there is no user.
type Handler struct {
	config.Site

	app      *App
	project  any // Project, so that each request needn't make it one
	logger   *zap.Logger
	rules    *incoming.Rules
	identity []identityHeader
	claims   []string
	signIns  signIns
	public   caddyhttp.MatcherSets
	scopes   scopes

	challenge tokenapi.Challenge
	accessLog *accesslog.Log
	masking   func(token.Value) string // mask, made once
	counts    *metrics.Project         // nil until it is provisioned
}

// CaddyModule implements caddy.Module.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.access_tokens",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision implements caddy.Provisioner.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger(new(App)) // one name for all that the owner is told
	h.accessLog, h.masking = accesslog.New(ctx), h.mask
	h.Site = h.Complete()
	h.project = h.Project
	if err := h.provision(ctx); err != nil {
		return fmt.Errorf("access_tokens, project %q: %w", h.Project, err)
	}
	return nil
}

func (h *Handler) provision(ctx caddy.Context) error {
	if err := h.Check(); err != nil {
		return err
	}
	modules, err := ctx.LoadModule(h, "SignInsRaw")
	if err != nil {
		return err
	}
	h.counts = metrics.Use(h.Project)
	if h.signIns, err = newSignIns(modules.([]any), h.counts, h.logger.With(zap.String("project", h.Project))); err != nil {
		return err
	}
	if h.signIns.readFront() && h.ForeignToken == config.Pass {
		return errInFrontAndForeign
	}
	for _, set := range h.PublicRaw {
		if err := checkPublic(set); err != nil {
			return err
		}
	}
	matchers, err := ctx.LoadModule(h, "PublicRaw")
	if err == nil {
		err = h.public.FromInterface(matchers)
	}
	if err != nil {
		return fmt.Errorf("public: %w", err)
	}
	if h.scopes, err = provisionScopes(ctx, h.Scopes); err != nil {
		return err
	}
	rules, err := h.newRules()
	if err != nil {
		return err
	}
	if err := checkUsable(&rules); err != nil {
		return err
	}
	if err := h.provisionIdentity(); err != nil {
		return err
	}
	h.challenge = tokenapi.Challenge{Realm: h.Project, Basic: h.signIns.takeBasic(), Carriers: *h.rules.Carriers()}
	app, err := ctx.App(appName)
	if err != nil {
		return err
	}
	h.app = app.(*App)
	return h.app.addSite(h.Project, h.Prefix, rules, *h.rules.Carriers())
}

// Cleanup implements caddy.CleanerUpper. It also runs after a Provision that failed.
func (h *Handler) Cleanup() error {
	if h.counts != nil {
		h.counts.Release()
	}
	return nil
}

var errInFrontAndForeign = errors.New("`sign_in placeholder`, or another sign-in that reads whom a handler in front established, can't stand beside `foreign_token pass`: whoever that handler took the API's own token for would pass for a user of ours; remove one of them")

// metKey is the variable that marks a request as seen.
const metKey = "access_tokens.met"

// countedKey is the variable that marks a request as counted: it was refused for
// its credentials, or because too many sign-ins have failed.
const countedKey = "access_tokens.counted"

func markCounted(r *http.Request) { caddyhttp.SetVar(r.Context(), countedKey, true) }

func isCounted(r *http.Request) bool { return caddyhttp.GetVar(r.Context(), countedKey) != nil }

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (err error) {
	line, w := h.accessLog.Begin(w, r, h.masking)
	defer func() { line.End(err) }()
	err = h.serve(w, r, next)
	if refusal, ours := errors.AsType[refused](err); ours {
		h.answer(w, r, func(http.ResponseWriter) error { return refusal.reason })
		return nil
	}
	return line.Failed(w, r, err)
}

// bodies reads what is left of the bodies of requests that are answered here, of
// all configurations.
var bodies = lingering.New(lingering.Defaults)

// serveOwn answers r, which is for one of our own paths, and counts it unless that
// has been done.
func (h *Handler) serveOwn(w http.ResponseWriter, r *http.Request, how func(http.ResponseWriter) error) {
	defer func() { // also where the answer is cut off
		if !isCounted(r) {
			h.counts.Passed()
		}
	}()
	h.answer(w, r, how)
}

// answer answers r here, such that the answer arrives. An error is what to refuse
// it with.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, how func(http.ResponseWriter) error) {
	a := bodies.Begin(w, r, signinlimit.Client(caddyvalue.ClientAddress(r)))
	defer a.End()
	if err := how(a); err != nil {
		h.refuse(a, r, err)
	}
}

// refused is an error of our own, as opposed to one of the handlers behind.
type refused struct{ reason error }

func (e refused) Error() string { return e.reason.Error() }

// serve is one request's way: what comes in is made safe, then it is for the
// routes, for the page, or for the API behind.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	ctx := r.Context()
	if caddyhttp.GetVar(ctx, metKey) != nil {
		return refused{tokenapi.ErrMetTwice}
	}
	caddyhttp.SetVar(ctx, metKey, true)
	repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)

	found := h.signIns.readInFront(r)
	cookies := page.TakeCookies(r.Header)
	request, err := h.rules.Admit(r)
	h.forgetUser(repl)
	if err == nil {
		err = h.checkElsewhere(r, request.Authorization)
	}
	verify := h.verifyAt(r.URL)
	if err != nil && verify != nil {
		err = asUnauthorized(err)
	}
	if err != nil {
		return refused{err}
	}
	h.warnOfProxy(r)
	switch place, rest := request.Path.Locate(h.API); place {
	case incoming.NearMiss:
		return refused{tokenapi.ErrNoRoute}
	case incoming.Ours:
		h.serveOwn(w, r, func(w http.ResponseWriter) error { return h.manage(w, r, request.Authorization, rest, found) })
		return nil
	}
	switch place, rest := h.locatePage(&request.Path); place {
	case incoming.NearMiss:
		return refused{tokenapi.ErrNoRoute}
	case incoming.Ours:
		h.serveOwn(w, r, func(w http.ResponseWriter) error {
			return h.servePage(w, r, request.Authorization, rest, found, cookies)
		})
		return nil
	}
	switch {
	case verify != nil:
		h.serveOwn(w, r, func(w http.ResponseWriter) error { return h.verify(w, r, repl, verify) })
		return nil
	case h.isNearVerify(&request.Path):
		return refused{tokenapi.ErrNoRoute}
	}
	opener, err := h.forward(r, repl, &request, found)
	if err != nil {
		return refused{err}
	}
	h.counts.Passed()
	if request.Upgraded && r.ProtoMajor == 1 {
		// The client is told what it could upgrade to (RFC 9110 section 7.8).
		w.Header().Set("Upgrade", "websocket")
		w.Header().Add("Connection", "Upgrade")
	}
	if opener.Token == uuid.Nil || h.OpenStreams == config.Leave {
		return next.ServeHTTP(w, r)
	}
	return h.follow(w, r, next, opener)
}

// forward prepares r for the next handler, as its token's user's or without a
// token, or returns why it can't go on.
func (h *Handler) forward(r *http.Request, repl *caddy.Replacer, request *incoming.Request, found inFront) (streams.Opener, error) {
	anonymous, err := h.needsNoToken(r, request)
	switch {
	case err != nil:
		return streams.Opener{}, err
	case anonymous:
		return streams.Opener{}, h.forwardWithoutToken(r, repl, request, found)
	}
	return h.forwardWithToken(r, repl, request)
}

// follow ends what the next handler does once the token doesn't hold any more.
func (h *Handler) follow(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, o streams.Opener) error {
	stream := h.app.opened.streams.Begin(w, r, o)
	defer stream.End()
	err := next.ServeHTTP(stream, r)
	if stream.End() {
		panic(http.ErrAbortHandler)
	}
	return err
}

// needsNoToken tells whether r passes without one of our tokens.
func (h *Handler) needsNoToken(r *http.Request, request *incoming.Request) (bool, error) {
	bearer := request.Authorization.Scheme == incoming.Bearer
	switch {
	case h.app.isOurs(request.Authorization):
		return false, nil
	case bearer && h.ForeignToken == config.Pass:
		return true, nil
	case !bearer && h.WithoutToken == config.Pass:
		return true, nil
	}
	return h.isPublic(r, request)
}

func (h *Handler) isPublic(r *http.Request, request *incoming.Request) (bool, error) {
	if len(h.public) == 0 {
		return false, nil
	}
	public, err := request.Path.Everywhere(r, h.public.AnyMatchWithError)
	if err != nil {
		err = fmt.Errorf("public: %w", err)
	}
	return public, err
}

// forwardWithoutToken leaves r's credentials alone. It is anonymous, unless a
// handler in front has established a user; beside a bearer token such a user
// is none, as is one who is blocked where nobody has to be one.
func (h *Handler) forwardWithoutToken(r *http.Request, repl *caddy.Replacer, request *incoming.Request, found inFront) error {
	if request.Authorization.Scheme == incoming.Bearer {
		return nil
	}
	p, known, err := h.signIns.established(found)
	if err != nil || !known {
		return err
	}
	user := p.stored()
	if err := h.checkBlocked(r, user.ID); err != nil {
		if public, wrong := h.isPublic(r, request); wrong != nil || public && errors.Is(err, registry.ErrBlocked) {
			return wrong
		}
		return err
	}
	h.setUser(r, repl, &user, nil)
	return h.setIdentity(r, &user)
}

// forwardWithToken makes r its token's user's.
func (h *Handler) forwardWithToken(r *http.Request, repl *caddy.Replacer, request *incoming.Request) (streams.Opener, error) {
	record, err := h.authenticate(r, request.Authorization)
	if err != nil {
		return streams.Opener{}, err
	}
	h.rules.DropCredentials(r, request.Authorization)
	if record.Scopes != nil {
		if err := h.scopes.check(r, request, &record, nil); err != nil {
			return streams.Opener{}, err
		}
	}
	h.setUser(r, repl, &record.User, &record)
	expires, _ := record.Expires()
	o := streams.Opener{Project: h.Project, User: record.User.ID, Token: record.ID, Client: caddyvalue.ClientAddress(r), Expires: expires}
	return o, h.setIdentity(r, &record.User)
}

// registry returns the registry once the app has opened it.
func (h *Handler) registry(r *http.Request) (*registry.Registry, error) {
	return h.app.await(r.Context())
}

func (h *Handler) authenticate(r *http.Request, auth incoming.Authorization) (store.Record, error) {
	if !auth.ByToken() {
		return store.Record{}, tokenapi.ErrNotSignedIn
	}
	if auth.Value.IsZero() {
		return store.Record{}, h.app.whyInvalid(auth)
	}
	began := time.Now()
	defer func() { h.counts.Authenticated(time.Since(began)) }()
	tokens, err := h.registry(r)
	if err != nil {
		return store.Record{}, err
	}
	project, client := tokens.Project(h.Project), caddyvalue.ClientAddress(r)
	var record store.Record
	if found, looked := lookedUp(r, tokens, auth.Value); looked {
		record, err = tokens.AuthenticateFound(project, auth.Value, found, client)
	} else {
		record, err = tokens.Authenticate(project, auth.Value, client)
	}
	if denial, denied := errors.AsType[*registry.Denial](err); denied && errors.Is(err, registry.ErrAddress) {
		h.knowsAddress(r, &denial.Token) // the owner is told if that may be why
	}
	if err == nil && record.Addresses != nil && !h.knowsAddress(r, &record) {
		err = &registry.Denial{Reason: registry.ErrAddress, Why: registry.WhyAddress, Token: record}
	}
	return record, err
}

// manage answers r, which is for one of the routes. An error is what to answer
// instead.
func (h *Handler) manage(w http.ResponseWriter, r *http.Request, auth incoming.Authorization, rest string, found inFront) error {
	tokens, err := h.registry(r)
	if err != nil {
		return err
	}
	h.warnOfPassword(r, auth)
	api := tokenapi.API{
		Registry: tokens, Project: tokens.Project(h.Project), Prefix: h.Prefix, Scopes: h.scopes.names(), ScriptAccess: h.ScriptAccess, Identified: h.identified,
		SignIn:       func(r *http.Request) (registry.Caller, error) { return h.signIn(r, auth, found) },
		Authenticate: func(r *http.Request) (store.Record, error) { return h.authenticate(r, auth) },
	}
	err = api.Serve(w, r, auth, rest)
	if errors.Is(err, tokenapi.ErrCut) {
		if errors.Is(err, store.ErrUnavailable) { // and not that a client doesn't read
			h.logRefusal(r, http.StatusServiceUnavailable, err)
		}
		panic(http.ErrAbortHandler)
	}
	return err
}

// identified makes the access log name the user of a management request, and
// the audit log where it came from.
func (h *Handler) identified(r *http.Request, c *registry.Caller) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	h.setUser(r, repl, &c.User, c.Token)
	c.ClientIP = caddyvalue.ClientIP(r)
	c.RequestID, _ = repl.GetString("http.request.uuid")
	accesslog.Add(r, zap.String("uuid", c.RequestID)) // as Caddy does for its own line
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
