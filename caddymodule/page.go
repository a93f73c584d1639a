package caddymodule

import (
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/page"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// locatePage says where a path stands relative to the page, if there is one.
func (h *Handler) locatePage(path *incoming.Path) (incoming.Place, string) {
	if h.Page == config.Off {
		return incoming.Elsewhere, ""
	}
	return path.Locate(h.Page)
}

// servePage answers r, which is for one of the page's paths. An error is what to
// answer instead.
func (h *Handler) servePage(w http.ResponseWriter, r *http.Request, auth incoming.Authorization, rest string, found inFront, cookies page.Cookies) error {
	tokens, err := h.registry(r)
	if err != nil {
		return err
	}
	p := page.Page{
		Registry: tokens, Project: tokens.Project(h.Project), Prefix: h.Prefix, Scopes: h.scopes.forPeople(), Memory: h.app.pages.Load(), Refusals: &h.app.opened.refusals,
		Path: h.Page, API: h.API, TakesPassword: h.signIns.takeBasic(),
		Authenticate: func(r *http.Request) (store.Record, error) { return h.authenticate(r, auth) },
		Check:        h.checkPassword,
		Known:        func(r *http.Request) (registry.Caller, error) { return h.signIn(r, auth, found) },
		Identified:   h.identified,
		Connection:   connectionOf(r), Untrusted: saysHTTPSUntrusted(r), Cookies: cookies, Origin: h.originOf(r), CutOff: cutOff(r),
	}
	err = p.Serve(w, r, auth, rest)
	if page.IsAnswered(err) {
		h.logRefusal(r, tokenapi.ProblemOf(err).Status, err)
		return nil
	}
	return err
}

// refuseOnPage answers people, who use browsers, in HTML where they nearly found
// the page.
func (h *Handler) refuseOnPage(w http.ResponseWriter, r *http.Request, reason error) bool {
	if !errors.Is(reason, tokenapi.ErrNoRoute) && !errors.Is(reason, incoming.ErrTokenInURL) {
		return false
	}
	path := incoming.PathOf(r.URL)
	if place, _ := h.locatePage(&path); place == incoming.Elsewhere || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return false
	}
	p := page.Page{Project: &registry.Project{Name: h.Project}, Path: h.Page, Connection: connectionOf(r), CutOff: cutOff(r)}
	p.Refuse(w, r, reason)
	return true
}

// checkPassword asks the sign-ins about a user name and password that the
// page's form was sent with. They are asked by a request that has nothing else
// of r's: neither its cookies nor what handlers in front have established.
func (h *Handler) checkPassword(r *http.Request, user, password string) (registry.Caller, error) {
	token68 := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	asking := r.Clone(r.Context())
	asking.Method, asking.Body, asking.ContentLength = http.MethodGet, http.NoBody, 0
	asking.Form, asking.PostForm, asking.Trailer = nil, nil, nil
	asking.Header = http.Header{"Authorization": {"Basic " + token68}}
	var caller registry.Caller
	auth, err := incoming.ParseAuthorization(asking.Header)
	if errors.Is(err, incoming.ErrMisplacedToken) {
		err = tokenapi.ErrNotSignedIn // a token is no guess at a password
	} else if err == nil {
		caller, err = h.signIn(asking, auth, nil)
	}
	if status := tokenapi.ProblemOf(err).Status; err != nil && status < http.StatusInternalServerError {
		h.logRefusal(r, status, err) // of others Serve tells
	}
	return caller, err
}

// connectionOf says how the browser reached whatever is in front. That is
// believed where Caddy trusts it (trusted_proxies).
func connectionOf(r *http.Request) page.Connection {
	switch {
	case isTrusted(r) && r.Header["X-Forwarded-Proto"] != nil:
		if saysHTTPS(r) {
			return page.Encrypted
		}
		return page.Open
	case r.TLS != nil:
		return page.Encrypted
	case isLocal(r):
		return page.Local
	}
	return page.Open
}

// isTrusted tells whether Caddy trusts whoever sent r (trusted_proxies).
func isTrusted(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// saysHTTPS tells whether whoever sent r says that it came to it over https.
func saysHTTPS(r *http.Request) bool {
	protocols := r.Header["X-Forwarded-Proto"]
	return len(protocols) > 0 && strings.EqualFold(protocols[len(protocols)-1], "https")
}

// saysHTTPSUntrusted tells whether trusting whoever sent r would make its
// connection an encrypted one.
func saysHTTPSUntrusted(r *http.Request) bool {
	return r.TLS == nil && saysHTTPS(r) && !isTrusted(r)
}

// isLocal tells whether r comes from a browser on this machine, and through
// nothing that says that it is in between.
func isLocal(r *http.Request) bool {
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "Via"} {
		if r.Header[name] != nil {
			return false
		}
	}
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && incoming.IsLoopback(from) && incoming.IsLoopback(hostName(r.Host))
}

// hostName is the host without port and brackets.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.Trim(strings.ToLower(host), "[]")
}

// What can be shown to be pasted into a shell, and in links.
var (
	plainHost = regexp.MustCompile(`^[A-Za-z0-9.\-\[\]:]+$`)
	plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~\-]+)*$`)
)

// originOf is what stands before the routes' path in a URL as the client knows
// it: what a handler in front has cut off is part of it.
func (h *Handler) originOf(r *http.Request) string {
	scheme := "http"
	if connectionOf(r) == page.Encrypted {
		scheme = "https"
	}
	host := r.Host
	if !plainHost.MatchString(host) {
		host = "localhost"
	}
	return (&url.URL{Scheme: scheme, Host: host, Path: cutOff(r)}).String()
}

// maxCutOff is how long a part of a path that was cut off can be, in bytes.
const maxCutOff = 256

// cutOff is what handlers in front, such as handle_path, have cut off the path
// that the client knows.
func cutOff(r *http.Request) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return ""
	}
	before, found := strings.CutSuffix(original.URL.Path, r.URL.Path)
	if !found || len(before) > maxCutOff || !plainPath.MatchString(before) {
		return ""
	}
	return before
}
