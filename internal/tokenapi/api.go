// Package tokenapi serves the routes where tokens are made, listed and
// deleted. Credentials are looked at first, then route, method, rights, and
// only then the body.
package tokenapi

import (
	"errors"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// API serves the routes of one project. All fields but ScriptAccess are required.
type API struct {
	Registry *registry.Registry
	Project  *registry.Project
	// Prefix is what new tokens' values begin with.
	Prefix string
	// Scopes are the names of the site's.
	Scopes []string
	// Authenticate returns the record of the request's valid token, or fails
	// as registry.Registry.Authenticate does.
	Authenticate func(*http.Request) (store.Record, error)
	// SignIn says who sent a request without a token. It fails with
	// ErrNotSignedIn, or any other error if it can't tell.
	SignIn func(*http.Request) (registry.Caller, error)
	// Identified is told who the caller is before the request is carried out, and
	// adds where it comes from.
	Identified func(*http.Request, *registry.Caller)
	// ScriptAccess lets pages' scripts change something with what their browser
	// sends along by itself.
	ScriptAccess bool
}

// call is one request on its way.
type call struct {
	*API
	w      http.ResponseWriter
	r      *http.Request
	caller registry.Caller
	// id is the token id in the path, if the route has one.
	id uuid.UUID
}

// route is a resource and what it answers to each method. HEAD is GET.
type route struct {
	allow string
	// advice is for who tries another method.
	advice string
	calls  map[string]func(*call) error
}

var (
	collection = &route{"GET, HEAD, POST, DELETE, OPTIONS", "To delete a token, add its id to the path; to delete all of a user's, ?user=<id>.", map[string]func(*call) error{
		http.MethodGet:    (*call).list,
		http.MethodPost:   (*call).create,
		http.MethodDelete: (*call).deleteAll,
	}}
	item = &route{"GET, HEAD, DELETE, OPTIONS", "A token can't be changed; delete it and make another.", map[string]func(*call) error{
		http.MethodGet:    (*call).get,
		http.MethodDelete: (*call).delete,
	}}
	// current is the item of the token that asks.
	current = &route{item.allow, item.advice, map[string]func(*call) error{
		http.MethodGet:    onCurrent((*call).get),
		http.MethodDelete: onCurrent((*call).delete),
	}}
	settings = &route{"GET, HEAD, PATCH, OPTIONS", "To change settings, PATCH those that are to change.", map[string]func(*call) error{
		http.MethodGet:   (*call).settings,
		http.MethodPatch: (*call).changeSettings,
	}}
	blocked = &route{"GET, HEAD, PUT, DELETE, OPTIONS", "To block a user, PUT ?user=<id>; to unblock, DELETE it.", map[string]func(*call) error{
		http.MethodGet:    (*call).blocked,
		http.MethodPut:    (*call).block,
		http.MethodDelete: (*call).unblock,
	}}
)

// named are the routes that stand where tokens' ids do.
var named = map[string]*route{"current": current, "settings": settings, "blocked": blocked}

// Serve answers a request for one of our paths, of which rest is what follows
// the base. An error is what to answer instead; nothing has been written then.
func (a *API) Serve(w http.ResponseWriter, r *http.Request, auth incoming.Authorization, rest string) error {
	if incoming.Replayable(r) {
		return errTooEarly
	}
	to, id := find(rest)
	if r.Method == http.MethodOptions {
		return a.options(w, to)
	}
	caller, err := a.authenticate(r, auth, to)
	if err != nil {
		return err
	}
	a.Identified(r, &caller)
	if a.refusesScript(r, auth) {
		return errScript
	}
	if to == nil {
		return ErrNoRoute
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	handle := to.calls[method]
	if handle == nil {
		return methodNotAllowed(to)
	}
	if incoming.CrossOrigin(r) {
		return errCrossOrigin
	}
	if !mayMeet(&caller, to, id, method) {
		return errLimited
	}
	return handle(&call{API: a, w: w, r: r, caller: caller, id: id})
}

var errLimited = &registry.Refusal{Reason: registry.ErrForbidden,
	Details: "A token that is limited to scopes or addresses can look at itself, end itself, and make a successor. Sign in, or use a token without limits, for everything else."}

// mayMeet tells whether a caller may meet a route at all: a token with limits is for
// something else than to look after tokens.
func mayMeet(c *registry.Caller, to *route, id uuid.UUID, method string) bool {
	switch {
	case c.Token == nil || !registry.IsLimited(c.Token), to == current:
		return true
	case to == item:
		return id == c.Token.ID
	}
	return to == collection && method == http.MethodPost
}

// find returns the route that rest belongs to, nil if none, as for another
// spelling of a named one. What else can't be a token's id is the id of no token.
func find(rest string) (to *route, id uuid.UUID) {
	if rest == "" {
		return collection, id
	}
	name := strings.TrimPrefix(rest, "/")
	if to, found := named[name]; found {
		return to, id
	}
	_, near := misspelled(name, slices.Collect(maps.Keys(named)))
	if near || strings.Contains(name, "/") {
		return nil, id
	}
	if parsed, err := uuid.Parse(name); err == nil && parsed.String() == name {
		id = parsed
	}
	return item, id
}

func (a *API) options(w http.ResponseWriter, to *route) error {
	switch {
	case a.isOff():
		return errHidden
	case to == nil:
		return ErrNoRoute
	}
	w.Header().Set("Allow", to.allow)
	noStore(w.Header())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// errHidden is ErrNoRoute to whoever asks; the owner is told why.
var errHidden = &registry.Denial{Reason: ErrNoRoute, Why: registry.WhyOff}

func (a *API) isOff() bool { return !a.Registry.Policy(a.Project).Enabled }

func (a *API) authenticate(r *http.Request, auth incoming.Authorization, to *route) (registry.Caller, error) {
	if auth.ByToken() {
		return a.authenticateToken(r, to)
	}
	caller, err := a.SignIn(r)
	if a.isOff() && !mayKnow(a.Project, caller, err) {
		return registry.Caller{}, errHidden
	}
	return caller, err
}

// refusesScript tells whether a page's script would change something with what
// its browser sends along by itself. A token that was entered as a password is that
// too.
func (a *API) refusesScript(r *http.Request, auth incoming.Authorization) bool {
	return (!auth.ByToken() || auth.InBasic()) && !a.ScriptAccess && changes(r.Method) && incoming.ByScript(r.Header)
}

// changes tells whether a method is one that changes something, where a route
// has it.
func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// authenticateToken lets the holder of a token end it, also while it opens
// nothing else.
func (a *API) authenticateToken(r *http.Request, to *route) (registry.Caller, error) {
	record, err := a.Authenticate(r)
	denial, denied := errors.AsType[*registry.Denial](err)
	if denied && denial.Lives() && to == current && r.Method == http.MethodDelete {
		return registry.Holder(&denial.Token), nil
	}
	return registry.Holder(&record), err
}

// mayKnow tells whether a sign-in that ended like that may find out that there
// are routes while API access is off: nobody but an administrator. That it can't
// be told is told.
func mayKnow(p *registry.Project, c registry.Caller, err error) bool {
	if err == nil {
		return p.IsAdmin(c)
	}
	_, limited := errors.AsType[*signinlimit.LimitedError](err)
	return !limited && !errors.Is(err, ErrNotSignedIn) && !errors.Is(err, registry.ErrBlocked)
}

func (c *call) create() error {
	policy := c.Registry.Policy(c.Project)
	if err := policy.MayGenerate(c.caller, c.Registry.Now()); err != nil {
		return err
	}
	if c.r.URL.Query().Has("user") {
		return invalid("user can't be given here: a token is always made for the user who asks for it.")
	}
	body, err := c.body()
	if err != nil {
		return err
	}
	request, wrong := parseCreate(body)
	if wrong != nil {
		return wrongBody(wrong, createExample, policy)
	}
	value, made, err := c.Registry.Issue(c.r.Context(), c.Project, c.caller, registry.Wish{
		Prefix: c.Prefix, LifetimeSeconds: request.LifetimeSeconds, Description: request.Description, Replace: request.Replace,
		Scopes: request.Scopes, Addresses: request.Addresses, SiteScopes: c.Scopes,
	})
	if errors.Is(err, registry.ErrTokenInText) {
		return invalid("%s must not hold a token value. If others could have seen that token, delete it.", request.DescribedBy)
	}
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusCreated, struct {
		TokenValue string    `json:"tokenValue"`
		TokenInfo  tokenInfo `json:"tokenInfo"`
	}{value.Reveal(), c.infoOf(made)})
	return nil
}

// createExample is a body that is right.
const createExample = `{"lifetimeSeconds": 86400, "description": "nightly"}`

func wrongBody(wrong *fieldError, example string, policy registry.Policy) error {
	switch {
	case wrong.Field == "":
		return invalid("%s. For example: %s", wrong.details(), example)
	case wrong.Range:
		return invalid("%s: %s.", wrong.details(), policy.AllowedLifetimes())
	}
	return invalid("%s.", wrong.details())
}

// body returns the request's body if it is JSON.
func (c *call) body() ([]byte, error) {
	hasNone := c.r.ContentLength == 0
	mediaType, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if !hasNone && (err != nil || mediaType != "application/json") {
		return nil, errMediaType
	}
	if c.r.Header.Get("Content-Encoding") != "" {
		return nil, errEncoded
	}
	return incoming.ReadBody(c.w, c.r, incoming.BodyTime)
}

// errNoCurrent: there is no token that asks.
var errNoCurrent = &registry.Refusal{Reason: registry.ErrNotFound,
	Details: "`current` is the token that a request is sent with, and this one has none. List your tokens to see their ids."}

func onCurrent(do func(*call) error) func(*call) error {
	return func(c *call) error {
		if c.caller.Token == nil {
			return errNoCurrent
		}
		c.id = c.caller.Token.ID
		return do(c)
	}
}

func (c *call) get() error {
	t, err := c.Registry.Get(c.Project, c.caller, c.id)
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, c.infoOf(t))
	return nil
}

func (c *call) delete() error {
	successors, err := parseSuccessors(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	if err := c.Registry.Delete(c.r.Context(), c.Project, c.caller, c.id, successors); err != nil {
		return err
	}
	noStore(c.w.Header())
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
