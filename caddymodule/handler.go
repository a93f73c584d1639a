package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/credentials"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/identity"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/page"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler takes API access tokens. It serves the routes and the page where they
// are made and deleted, and hands on requests with a valid token as their
// user's, in headers that no client can send itself. All others it refuses.
//
// It sets the placeholders {http.auth.user.id}, {http.auth.user.email},
// {http.auth.user.name}, {http.auth.user.token_id} and
// {http.auth.user.project}; they are empty where there is no user.
type Handler struct {
	config.Site

	app      *App
	logger   *zap.Logger
	project  registry.Project
	rules    *identity.Rules
	identity []identityHeader
	claims   []string
	signIns  []SignIn
	public   caddyhttp.MatcherSets
	failures *signinlimit.Limiter

	challenge tokenapi.Challenge
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
	h.logger = ctx.Logger()
	h.Site = h.Complete()
	if err := h.provision(ctx); err != nil {
		return fmt.Errorf("access_tokens, project %q: %w", h.Project, err)
	}
	return nil
}

func (h *Handler) provision(ctx caddy.Context) error {
	if err := h.Validate(); err != nil {
		return err
	}
	modules, err := ctx.LoadModule(h, "SignInsRaw")
	if err != nil {
		return err
	}
	for _, m := range modules.([]any) {
		s, ok := m.(SignIn)
		if !ok {
			return fmt.Errorf("sign_in: %T is no SignIn", m)
		}
		h.signIns = append(h.signIns, s)
	}
	if err := h.checkSignIns(); err != nil {
		return err
	}
	matchers, err := ctx.LoadModule(h, "PublicRaw")
	if err == nil {
		err = h.public.FromInterface(matchers)
	}
	if err != nil {
		return fmt.Errorf("public: %w", err)
	}
	h.failures = signinlimit.New(h.SignInLimit.Failures, time.Duration(h.SignInLimit.Window))
	if h.project, err = h.newProject(); err != nil {
		return err
	}
	if err := h.checkUsable(); err != nil {
		return err
	}
	if err := h.provisionIdentity(); err != nil {
		return err
	}
	h.challenge = tokenapi.Challenge{Realm: h.Project, Basic: h.takesBasic(), API: h.API}
	app, err := ctx.App(appName)
	if err != nil {
		return err
	}
	h.app = app.(*App)
	return h.app.addProject(h.project)
}

func (h *Handler) takesBasic() bool {
	for _, s := range h.signIns {
		if b, ok := s.(BasicTaker); ok && b.TakesBasic() {
			return true
		}
	}
	return false
}

// metKey is the variable that marks a request as seen.
const metKey = "access_tokens.met"

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	err := h.serve(w, r, next)
	if refusal, ours := errors.AsType[refused](err); ours {
		h.refuse(w, r, refusal.reason)
		return nil
	}
	return err
}

// refused is an error of our own, as opposed to one of the handlers behind.
type refused struct{ reason error }

func (e refused) Error() string { return e.reason.Error() }

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	ctx := r.Context()
	if caddyhttp.GetVar(ctx, metKey) != nil {
		return refused{tokenapi.ErrMetTwice}
	}
	caddyhttp.SetVar(ctx, metKey, true)
	repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)

	inFront := h.establishedInFront(repl)
	pageCookies := page.TakeCookies(r.Header)
	h.rules.Scrub(r)
	if tokenapi.DropReferer(r.Header) {
		// The access log has a copy of the header.
		caddyhttp.SetVar(ctx, caddyhttp.LogSkipVar, true)
		h.logger.Warn("kept a request out of the access log: its Referer holds a token", zap.String("project", h.Project), zap.String("method", r.Method))
	}
	h.forgetUser(repl)
	if tokenapi.HoldsToken(r.URL) {
		// The access log would hold the URL; refuse logs that there was one.
		caddyhttp.SetVar(ctx, caddyhttp.LogSkipVar, true)
		return refused{tokenapi.ErrTokenInURL}
	}
	// Caddy's reverse proxy sends an opaque target on as it is: x:http://h/p
	// would choose path and host at the API behind. And a target with user name
	// and password (RFC 9110 section 4.2.4) would stand in the access log.
	if r.URL.Opaque != "" || r.URL.User != nil {
		if r.URL.User != nil {
			caddyhttp.SetVar(ctx, caddyhttp.LogSkipVar, true)
		}
		return refused{tokenapi.ErrTarget}
	}
	auth, err := credentials.Parse(r.Header)
	if err != nil {
		return refused{err}
	}
	place, rest := tokenapi.Locate(h.API, r.URL.Path, r.URL.EscapedPath())
	switch place {
	case tokenapi.NearMiss:
		return refused{tokenapi.ErrNoRoute}
	case tokenapi.Ours:
		return h.manage(w, r, auth, rest, inFront)
	}
	switch place, rest := h.locatePage(r); place {
	case tokenapi.NearMiss:
		return refused{tokenapi.ErrNoRoute}
	case tokenapi.Ours:
		return h.servePage(w, r, auth, rest, inFront, pageCookies)
	}
	if err := h.handOn(r, repl, auth, inFront); err != nil {
		return refused{err}
	}
	return next.ServeHTTP(w, r)
}

// handOn prepares r for the next handler, with the token's user or without a
// token, or returns why it can't go on.
func (h *Handler) handOn(r *http.Request, repl *caddy.Replacer, auth credentials.Authorization, inFront established) error {
	withoutToken, err := h.needsNoToken(r, auth)
	switch {
	case err != nil:
		return err
	case withoutToken:
		return h.handOnWithoutToken(r, repl, auth, inFront)
	}
	return h.handOnWithToken(r, repl, auth)
}

// needsNoToken tells whether r passes without one of our tokens.
func (h *Handler) needsNoToken(r *http.Request, auth credentials.Authorization) (bool, error) {
	switch {
	case auth.Scheme == credentials.Bearer && h.app.isOurs(auth.Token68):
		return false, nil
	case auth.Scheme == credentials.Bearer && h.ForeignToken == config.Pass:
		return true, nil
	case auth.Scheme != credentials.Bearer && h.WithoutToken == config.Pass:
		return true, nil
	case len(h.public) == 0:
		return false, nil
	}
	return h.isPublic(r)
}

// isPublic tells whether r needs no token however its path is read: a server
// behind may take /health/..;/admin for /admin.
func (h *Handler) isPublic(r *http.Request) (bool, error) {
	if plain, same := tokenapi.Plain(r.URL.Path); !same {
		asSent := *r.URL
		r.URL.Path, r.URL.RawPath = plain, ""
		matches, err := h.public.AnyMatchWithError(r)
		*r.URL = asSent
		if err != nil || !matches {
			return false, wrapPublic(err)
		}
	}
	matches, err := h.public.AnyMatchWithError(r)
	return matches && err == nil, wrapPublic(err)
}

func wrapPublic(err error) error {
	if err != nil {
		err = fmt.Errorf("public: %w", err)
	}
	return err
}

// handOnWithoutToken leaves r's credentials alone. It is nobody's, unless a
// handler in front has established a user; beside a bearer token such a user
// is none.
func (h *Handler) handOnWithoutToken(r *http.Request, repl *caddy.Replacer, auth credentials.Authorization, inFront established) error {
	if auth.Scheme == credentials.Bearer {
		return nil
	}
	user, known := h.firstOf(inFront)
	if !known {
		return nil
	}
	setUser(repl, h.Project, &user, "")
	return h.setIdentity(r, repl, &user)
}

// handOnWithToken makes r its token's user's.
func (h *Handler) handOnWithToken(r *http.Request, repl *caddy.Replacer, auth credentials.Authorization) error {
	record, err := h.authenticate(r, auth)
	if err != nil {
		return err
	}
	setUser(repl, h.Project, &record.User, record.ID.String())
	h.rules.DropCredentials(r)
	return h.setIdentity(r, repl, &record.User)
}

// registry returns the registry once the app has opened it. Caddy's HTTP
// servers may start first.
func (h *Handler) registry(r *http.Request) (*registry.Registry, error) {
	if tokens := h.app.registry.Load(); tokens != nil {
		return tokens, nil
	}
	select {
	case <-h.app.started:
	case <-r.Context().Done():
	}
	if tokens := h.app.registry.Load(); tokens != nil {
		return tokens, nil
	}
	return nil, store.ErrUnavailable
}

func (h *Handler) authenticate(r *http.Request, auth credentials.Authorization) (store.Record, error) {
	if auth.Scheme != credentials.Bearer {
		return store.Record{}, tokenapi.ErrNotSignedIn
	}
	value, ok := token.Parse(auth.Token68)
	if !ok {
		return store.Record{}, registry.ErrInvalidToken
	}
	tokens, err := h.registry(r)
	if err != nil {
		return store.Record{}, err
	}
	return tokens.Authenticate(&h.project, value, clientAddress(r))
}

func (h *Handler) manage(w http.ResponseWriter, r *http.Request, auth credentials.Authorization, rest string, inFront established) error {
	tokens, err := h.registry(r)
	if err != nil {
		return refused{err}
	}
	api := tokenapi.API{
		Registry: tokens, Project: &h.project, Identified: h.identified, Client: clientAddress(r),
		SignIn: func(r *http.Request) (registry.Caller, error) { return h.signIn(r, auth, inFront) },
	}
	if err := api.Serve(w, r, auth, rest); err != nil {
		return refused{err}
	}
	return nil
}

// identified makes the access log name the user of a management request.
func (h *Handler) identified(r *http.Request, c registry.Caller) {
	tokenID := ""
	if c.Token != nil {
		tokenID = c.Token.ID.String()
	}
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	setUser(repl, h.Project, &c.User, tokenID)
}

// refuse answers r with the problem that reason is.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, reason error) {
	p := tokenapi.ProblemOf(reason)
	h.logRefusal(r, p.Status, reason)
	if h.refuseOnPage(w, r, reason) {
		return
	}
	challenge := h.challenge
	place, _ := tokenapi.Locate(h.API, r.URL.Path, r.URL.EscapedPath())
	challenge.Elsewhere = place != tokenapi.Ours
	p.Write(w, r, challenge)
}

// logRefusal tells the owner what only the owner can change. Other refusals
// are the callers' business, and are for debugging.
func (h *Handler) logRefusal(r *http.Request, status int, reason error) {
	level, message := zapcore.DebugLevel, "refused a request"
	switch {
	case errors.Is(reason, tokenapi.ErrTokenInURL):
		level, message = zapcore.WarnLevel, "refused a request with a token in its URL, and kept it out of the access log"
	case errors.Is(reason, tokenapi.ErrMetTwice):
		level, message = zapcore.ErrorLevel, "a request met access_tokens twice: keep one access_tokens for each request, for example one in each `handle` instead of another one around them"
	case status >= http.StatusInternalServerError && r.Context().Err() == nil:
		level = zapcore.ErrorLevel // and not that a client has gone
	}
	if c := h.logger.Check(level, message); c != nil {
		client, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
		c.Write(zap.String("project", h.Project), zap.String("client_ip", client), zap.String("method", r.Method), zap.Int("status", status), zap.Error(reason))
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
