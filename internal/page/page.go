// Package page serves the Access Tokens page: where people sign in, see their
// tokens, generate and delete some, and administrators everyone's.
//
// All of it works without script. The page has sessions of its own, which open
// nothing but the page; a token opens neither.
package page

import (
	"errors"
	"net/http"
	"path"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/refusals"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// Connection says how a browser reaches the page.
type Connection int

const (
	// Open is a connection that others may listen to. No password is asked for
	// there, and no session kept.
	Open Connection = iota
	// Local is one without TLS that doesn't leave the machine.
	Local
	// Encrypted is one with TLS.
	Encrypted
)

// Scope is what a token can be limited to, and what that allows, for people.
type Scope struct{ Name, Text string }

// Page serves the page of one project to one request. All fields are required,
// but Scopes, Cookies, Origin, CutOff and Untrusted.
type Page struct {
	Registry *registry.Registry
	Project  *registry.Project
	// Prefix is what new tokens' values begin with.
	Prefix string
	// Scopes are what tokens can be limited to.
	Scopes []Scope
	Memory *Memory
	// Refusals are remembered of the store's tokens.
	Refusals *refusals.Refusals
	// Path is where the page is, API where the routes are.
	Path, API string
	// TakesPassword: one of the sign-ins takes user name and password.
	TakesPassword bool
	// Authenticate returns the record of the request's valid bearer token, or fails
	// as registry.Registry.Authenticate does.
	Authenticate func(*http.Request) (store.Record, error)
	// Check asks the sign-ins about a user name and password; Known asks who
	// has sent the request, by other means than the page's session. Both fail
	// with tokenapi.ErrNotSignedIn, with registry.ErrBlocked, or any other error
	// if it can't be told.
	Check func(r *http.Request, user, password string) (registry.Caller, error)
	Known func(*http.Request) (registry.Caller, error)
	// Identified is told who the caller is before the request is carried out, and
	// adds where it comes from.
	Identified func(*http.Request, *registry.Caller)

	Connection Connection
	// Cookies are the page's, which TakeCookies found.
	Cookies Cookies
	// Origin is the scheme, the host and what stands before API in a URL as
	// programs see it.
	Origin string
	// CutOff is what handlers in front have cut off the path that the browser
	// knows, as far as that can be told.
	CutOff string
	// Untrusted: something in front says that the connection is encrypted, and
	// isn't believed.
	Untrusted bool
}

// visit is one request on its way.
type visit struct {
	*Page
	w http.ResponseWriter
	r *http.Request
	// root is where the page is, as links of the answer have it.
	root string

	caller   registry.Caller
	signedIn bool
	// bySession: the page's session says so, and not the request alone.
	bySession bool
	// lapsed: the caller was an administrator when the session began.
	lapsed bool
	// expired: the request has a cookie that opens nothing.
	expired bool
	// nonce is for the forms of the document that answers.
	nonce  string
	policy registry.Policy
}

// place is one of the page's paths and what it answers.
type place struct {
	get, post func(*visit) error
	// always: for everybody who is signed in, also while API access is off and
	// for users who are blocked.
	always bool
	// open: for people who aren't signed in, too.
	open bool
	// part: not a document, but what one loads.
	part bool
}

var places = map[string]place{
	"":            {get: (*visit).list},
	"/sign-in":    {get: (*visit).toList, post: (*visit).signIn, open: true},
	"/sign-out":   {get: (*visit).toList, post: (*visit).signOut, always: true},
	"/token":      {get: (*visit).tokenPage},
	"/generate":   {get: (*visit).generateForm, post: (*visit).generate},
	"/delete":     {get: (*visit).deleteForm, post: (*visit).delete},
	"/delete-all": {get: (*visit).deleteAllForm, post: (*visit).deleteAll},
	"/block":      {get: (*visit).blockForm, post: (*visit).block},
	"/unblock":    {get: (*visit).toBlocked, post: (*visit).unblock},
	"/blocked":    {get: (*visit).blockedUsers},
	"/settings":   {get: (*visit).settingsForm, post: (*visit).changeSettings},
	"/page.css":   {get: (*visit).static, open: true, part: true},
	"/page.js":    {get: (*visit).static, open: true, part: true},
	"/icon.svg":   {get: (*visit).static, open: true, part: true},
}

// errToken: a valid token was sent where only people sign in.
var errToken = &tokenapi.Problem{Status: http.StatusForbidden, Name: "AccessControlException",
	Message: "A token doesn't open the page",
	Details: "Sign in on the page. Programs manage tokens at {api}."}

// Serve answers a request for one of the page's paths, of which rest is what
// follows Path. An error is what to answer instead; nothing has been written
// then.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request, auth incoming.Authorization, rest string) error {
	if auth.ByToken() {
		return p.refuseToken(r)
	}
	v := &visit{Page: p, w: w, r: r, root: p.root(strings.Count(rest, "/"), path.Base(p.Path))}
	p.protect(w, r)
	if err := v.serve(rest); IsAnswered(err) {
		return err
	} else if err != nil {
		return v.fail(err)
	}
	return nil
}

// Refuse answers people whose request is for none of the page's paths, but
// nearly so, or holds a token in its URL. Of p it needs Project, Path,
// Connection and CutOff.
func (p *Page) Refuse(w http.ResponseWriter, r *http.Request, reason error) {
	// However the path is written, the browser takes its slashes for levels.
	levels := max(0, strings.Count(r.URL.EscapedPath(), "/")-1)
	v := &visit{Page: p, w: w, r: r, root: p.root(levels, strings.TrimPrefix(p.Path, "/"))}
	p.protect(w, r)
	problem := v.problemOf(reason)
	v.render(problem.status, "message", document{Title: problem.title, Body: message{problem.details, errors.Is(reason, incoming.ErrTokenInURL)}})
}

func (p *Page) refuseToken(r *http.Request) error {
	record, err := p.Authenticate(r)
	if err != nil {
		return err
	}
	holder := registry.Holder(&record)
	p.Identified(r, &holder)
	return errToken
}

func (v *visit) serve(rest string) error {
	if incoming.Replayable(v.r) {
		return errTooEarly
	}
	to, found := places[rest]
	if !found {
		return errNoPage
	}
	handle := to.get
	switch v.r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		handle = to.post
	default:
		handle = nil
	}
	if handle == nil {
		return v.methodNotAllowed(to)
	}
	if incoming.CrossOrigin(v.r) {
		return errCrossOrigin
	}
	if !to.part && !isNavigation(v.r.Header) {
		return errNoNavigation
	}
	if v.r.Method == http.MethodPost {
		if err := v.readForm(); err != nil {
			return err
		}
	}
	if to.open {
		return handle(v)
	}
	if v.refresh() {
		return nil
	}
	if err := v.identify(); err != nil {
		return err
	}
	if !v.signedIn {
		return v.askToSignIn(rest)
	}
	v.policy = v.Registry.Policy(v.Project)
	var err error
	if v.nonce, err = v.Memory.nonces.issue(v.user()); err != nil {
		return err
	}
	if err := v.Registry.CheckBlocked(v.Project, v.caller.User.ID); err != nil && !to.always {
		return err
	}
	switch {
	case v.r.Method == http.MethodPost && !v.Memory.nonces.issued(v.user(), v.r.PostForm.Get("nonce")):
		return errNotOurForm
	case !to.always && !v.policy.Enabled && !v.isAdmin():
		return v.off(rest)
	}
	return handle(v)
}

// user is who is signed in, in what the page remembers.
func (v *visit) user() sessionUser { return sessionUser{v.Project.Name, v.caller.User.ID} }

// identify finds out who has sent the request: the page's session decides, or
// else the sign-ins are asked.
func (v *visit) identify() error {
	if err := v.Project.Exists(); err != nil {
		return err // and nobody's session ends by it
	}
	if secret, sent := v.Cookies.value(v.cookieName()); sent {
		v.caller, v.lapsed, v.bySession = v.Memory.Sessions.find(v.Project.Name, secret)
		if v.bySession && !v.Project.Knows(v.caller) {
			v.Memory.Sessions.end(v.Project.Name, secret)
			v.bySession, v.lapsed = false, false
		}
		v.signedIn, v.expired = v.bySession, !v.bySession
	}
	if !v.signedIn {
		caller, err := v.Known(v.r)
		switch {
		case errors.Is(err, tokenapi.ErrNotSignedIn):
			return nil
		case err != nil:
			return err
		}
		v.caller, v.signedIn = caller, true
	}
	v.Identified(v.r, &v.caller)
	return nil
}

// isAdmin tells whether the caller administrates the project now.
func (v *visit) isAdmin() bool { return v.Project.IsAdmin(v.caller) }

// lacksAdmin tells that the caller would be an administrator after entering
// the password again.
func (v *visit) lacksAdmin() bool { return v.lapsed && !v.isAdmin() }
