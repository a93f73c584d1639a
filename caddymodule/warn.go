package caddymodule

import (
	"net"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/page"
)

// warning is one thing that the owner of a site is told once, whatever reloads
// there are and however many requests show it.
type warning struct{ server, project, message string }

// warned are the warnings that this process has given. Only the configuration
// makes new ones, so they stay few.
var warned sync.Map // of warning

// warnOnce tells the owner of the site that r is for.
func (h *Handler) warnOnce(r *http.Request, message string) {
	server := ""
	if s, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server = s.Name()
	}
	if _, known := warned.LoadOrStore(warning{server, h.Project, message}, true); known {
		return
	}
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr // a Unix socket's
	}
	h.logger.Warn(message, zap.String("server", server), zap.String("project", h.Project), zap.String("from", from))
}

const (
	untrustedProxy = "X-Forwarded-Proto says https, but Caddy doesn't trust who says so: the connection counts as unencrypted, and the page asks for no password; " +
		"if it is your own proxy, name its address under trusted_proxies, in the global option servers"
	openPassword = "a password has come unencrypted, over plain http from another machine, and whoever listens there can use it: " +
		"let clients use https; if a proxy in front ends TLS, name its address under trusted_proxies, in the global option servers, and let it send X-Forwarded-Proto"
)

// warnOfProxy tells the owner if what ends TLS in front isn't trusted.
func (h *Handler) warnOfProxy(r *http.Request) {
	if saysHTTPSUntrusted(r) {
		h.warnOnce(r, untrustedProxy)
	}
}

// warnOfPassword tells the owner if a password for the routes comes where
// others can read it. Of an untrusted proxy warnOfProxy tells.
func (h *Handler) warnOfPassword(r *http.Request, auth incoming.Authorization) {
	if auth.Scheme == incoming.Basic && !auth.ByToken() && connectionOf(r) == page.Open && !saysHTTPSUntrusted(r) {
		h.warnOnce(r, openPassword)
	}
}
