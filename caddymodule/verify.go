package caddymodule

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// verify tells another proxy whether a request may pass that it has before it, and
// whose that is. What was wrong with it is 401 to a proxy, which may know no more
// than that and 403.
func (h *Handler) verify(w http.ResponseWriter, r *http.Request, repl *caddy.Replacer, at *config.Verify) error {
	return asUnauthorized(h.verifyAsked(w, r, repl, at))
}

func asUnauthorized(err error) error {
	if err != nil && tokenapi.ProblemOf(err).Status == http.StatusBadRequest {
		return &tokenapi.Unauthorized{Err: err}
	}
	return err
}

// verifyAt returns where a proxy asks with a URL, nil if it is about something else.
// What follows the path is the proxy's business.
func (h *Handler) verifyAt(u *url.URL) *config.Verify {
	for i := range h.Verify {
		rest, found := strings.CutPrefix(u.EscapedPath(), h.Verify[i].Path)
		if found && (rest == "" || rest[0] == '/') {
			return &h.Verify[i]
		}
	}
	return nil
}

// isNearVerify tells whether a path can be read as one where proxies ask.
func (h *Handler) isNearVerify(path *incoming.Path) bool {
	for _, v := range h.Verify {
		if place, _ := path.Locate(v.Path); place != incoming.Elsewhere {
			return true
		}
	}
	return false
}

func (h *Handler) verifyAsked(w http.ResponseWriter, r *http.Request, repl *caddy.Replacer, at *config.Verify) error {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return h.distrust(r, "this server's trusted_proxies doesn't name it")
	}
	asked, missing := askedAbout(r, at)
	if missing != "" {
		return h.distrust(r, missing+" has to be there once, and valid")
	}
	request, err := h.rules.Admit(asked)
	if err != nil {
		return err
	}
	if h.isOwn(&request.Path) {
		return errOwnPath
	}
	user, err := h.verifyUser(asked, &request)
	if err != nil {
		return err
	}
	if user != nil {
		h.setUser(r, repl, &user.User, user)
		if err := h.setIdentity(asked, &user.User); err != nil {
			return err
		}
	}
	for _, header := range h.identity {
		w.Header()[http.CanonicalHeaderKey(header.name.String())] = []string{asked.Header.Get(header.name.String())}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

var errOwnPath = &registry.Refusal{Reason: registry.ErrForbidden,
	Details: "This path is the gateway's own. Send it to the gateway, not to the API."}

// isOwn tells whether a path is, or can be read as, one of those that are served here.
func (h *Handler) isOwn(path *incoming.Path) bool {
	api, _ := path.Locate(h.API)
	page, _ := h.locatePage(path)
	return api != incoming.Elsewhere || page != incoming.Elsewhere || h.isNearVerify(path)
}

// verifyUser returns the record of the request's token, or nil if it needs none. It
// passes nobody else, whatever without_token and foreign_token say.
func (h *Handler) verifyUser(asked *http.Request, request *incoming.Request) (*store.Record, error) {
	if !h.app.isOurs(request.Authorization) {
		public, err := h.isPublic(asked, request)
		switch {
		case err != nil:
			return nil, err
		case public:
			return nil, nil
		}
	}
	record, err := h.authenticate(asked, request.Authorization)
	if err == nil && record.Scopes != nil {
		err = h.scopes.check(asked, request, &record, protocolsKnownOf(asked))
	}
	return &record, err
}

// protocolsKnownOf tells of which protocols it is known whether a request that another
// proxy has before it is one of them.
func protocolsKnownOf(asked *http.Request) func(string) bool {
	said := asked.Header["X-Forwarded-Proto"]
	encryption := len(said) == 1 && (said[0] == "http" || said[0] == "https")
	return func(protocol string) bool {
		return protocol == "grpc" || encryption && (protocol == "http" || protocol == "https")
	}
}

// distrust refuses whoever asks, and tells the owner why.
func (h *Handler) distrust(r *http.Request, why string) error {
	h.warnOnce(r, "whoever asks at verify isn't believed: "+why)
	return tokenapi.ErrNotSignedIn
}

// What names a method (RFC 9110 section 5.6.2) and a host.
var (
	methodName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$")
	authority  = regexp.MustCompile(`^[^\s,/@?#]{1,260}$`)
)

// askedAbout returns the request that a proxy asks about at a path, or which of its
// headers is missing or makes no sense. Its header is r's own.
func askedAbout(r *http.Request, v *config.Verify) (asked *http.Request, missing string) {
	asked = r.WithContext(r.Context())
	header := func(name string, valid *regexp.Regexp) (value string) {
		switch lines := r.Header[http.CanonicalHeaderKey(name)]; {
		case len(lines) == 1 && valid.MatchString(lines[0]):
			return lines[0]
		case missing == "":
			missing = name
		}
		return ""
	}
	target := strings.TrimPrefix(r.URL.EscapedPath(), v.Path)
	switch v.From {
	case config.XOriginal:
		asked.Method, target = header("X-Original-Method", methodName), header("X-Original-URI", anything)
	case config.XForwarded:
		asked.Method, target = header("X-Forwarded-Method", methodName), header("X-Forwarded-Uri", anything)
		asked.Host = header("X-Forwarded-Host", authority)
	default:
		if target == "" {
			target = "/"
		}
		if r.URL.RawQuery != "" {
			target += "?" + r.URL.RawQuery
		}
	}
	if missing != "" {
		return nil, missing
	}
	var err error
	if asked.URL, err = url.ParseRequestURI(target); err != nil || !strings.HasPrefix(target, "/") {
		return nil, "the target"
	}
	asked.RequestURI = target
	asked.TLS = nil
	if proto := r.Header["X-Forwarded-Proto"]; len(proto) == 1 && proto[0] == "https" {
		asked.TLS = new(tls.ConnectionState)
	}
	return asked, ""
}

var anything = regexp.MustCompile(`^.+$`)
