package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/accesslog"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// refuse answers r with the problem that reason is.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, reason error) {
	p := tokenapi.ProblemOf(reason)
	h.logRefusal(r, p.Status, reason)
	if h.refuseOnPage(w, r, reason) {
		return
	}
	challenge := h.challenge
	path := incoming.PathOf(r.URL)
	place, _ := path.Locate(h.API)
	challenge.Elsewhere = place != incoming.Ours
	challenge.Only = h.askFor(p.Status, r)
	challenge.API = cutOff(r) + h.API
	p.Write(w, r, challenge)
}

// askFor returns the one scheme that a 401 asks r for where tokens are taken from
// Basic credentials. Programs that know Basic alone send it when asked for that, and
// for nothing else. Browsers are never asked: they would open a window of their own,
// and send what was entered there along with whatever the site's pages do.
func (h *Handler) askFor(status int, r *http.Request) incoming.Scheme {
	if !h.challenge.Carriers.Basic || status != http.StatusUnauthorized {
		return incoming.NoScheme
	}
	if incoming.ByBrowser(r.Header) {
		return incoming.Bearer
	}
	auth, err := h.challenge.Carriers.Read(r.Header)
	if err == nil && !auth.InHeader && (auth.Scheme == incoming.NoScheme || auth.Scheme == incoming.Basic) {
		return incoming.Basic
	}
	return incoming.NoScheme
}

// logRefusal tells the owner why a request was refused: its line in the access
// log in a word, and the log in a sentence what only the owner can change. Other
// refusals are the callers' business, and are for debugging.
func (h *Handler) logRefusal(r *http.Request, status int, reason error) {
	accesslog.Add(r, zap.String("project", h.Project))
	switch refusal := refusalOf(status, reason); {
	case hasGone(r, reason):
		markCounted(r) // nobody was refused, and nobody has passed
	case refusal != "":
		accesslog.Add(r, zap.String("refusal", refusal))
		h.counts.Refused(refusal)
		markCounted(r)
	}
	if denial, ok := errors.AsType[*registry.Denial](reason); ok && denial.Token.ID != uuid.Nil {
		accesslog.Add(r, zap.String("token_id", denial.Token.ID.String()))
		accesslog.Add(r, zap.String("token_user_id", denial.Token.User.ID))
		h.app.opened.refusals.Note(denial.Token.ID, denial.Why, time.Now(), caddyvalue.ClientAddress(r))
	}
	level, message := zapcore.DebugLevel, "refused a request"
	switch {
	case errors.Is(reason, incoming.ErrTokenInURL):
		level, message = zapcore.WarnLevel, "refused a request with a token in its URL"
	case errors.Is(reason, tokenapi.ErrMetTwice):
		level, message = zapcore.ErrorLevel, "a request met access_tokens twice: keep one access_tokens for each request, for example one in each `handle` instead of another one around them"
	case status >= http.StatusInternalServerError && r.Context().Err() == nil:
		level = zapcore.ErrorLevel // and not that a client has gone
	}
	if c := h.logger.Check(level, message); c != nil {
		c.Write(zap.String("project", h.Project), zap.String("client_ip", caddyvalue.ClientIP(r)), zap.String("method", r.Method), zap.Int("status", status), zap.Error(reason))
	}
}

// hasGone tells whether r couldn't be decided because its client didn't wait for it.
// That says nothing of the store or a sign-in, which may just be as slow as ever: it
// is no refusal, and alerts nobody. A decision that failed by itself is another
// matter, whoever has gone meanwhile.
func hasGone(r *http.Request, reason error) bool {
	return r.Context().Err() != nil && errors.Is(reason, context.Canceled)
}

// refusalOf is the access log's word for why a request was refused, "" where it
// was for want of rights, or had another fault than its credentials.
func refusalOf(status int, reason error) string {
	denial, denied := errors.AsType[*registry.Denial](reason)
	switch {
	case denied:
		return denial.Why
	case errors.Is(reason, tokenapi.ErrNotSignedIn):
		return "missing"
	case errors.Is(reason, incoming.ErrMalformed), errors.Is(reason, incoming.ErrRepeated), errors.Is(reason, incoming.ErrMisplacedToken),
		errors.Is(reason, incoming.ErrTwoTokens), errors.Is(reason, incoming.ErrTokenInHeader), errors.Is(reason, incoming.ErrTokenInURL), errors.Is(reason, incoming.ErrTarget):
		return "malformed"
	case status == http.StatusServiceUnavailable:
		return "unavailable"
	}
	return ""
}

// mask returns what stands for a token in the access log.
func (h *Handler) mask(v token.Value) string {
	if tokens := h.app.registry.Load(); tokens != nil {
		if id, known := tokens.IDOf(v); known {
			return "[token " + id.String() + "]"
		}
	}
	return "[token]"
}
