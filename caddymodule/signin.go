package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"

	// The built-in sign-ins.
	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin/basic"
	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin/placeholder"
	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin/upstream"
)

// signInTimeout is how long the context of a request with credentials allows
// its sign-ins to take.
const signInTimeout = time.Minute

// signIn returns who sent r, as the site's sign-ins say. A user who is blocked is
// refused once one of them has said yes.
func (h *Handler) signIn(r *http.Request, auth incoming.Authorization, found inFront) (registry.Caller, error) {
	caller, err := h.askSignIns(r, auth, found)
	if err == nil {
		err = h.checkBlocked(r, caller.User.ID)
	}
	return caller, err
}

func (h *Handler) checkBlocked(r *http.Request, user string) error {
	tokens, err := h.registry(r)
	if err != nil {
		return err
	}
	return tokens.CheckBlocked(tokens.Project(h.Project), user)
}

// askSignIns asks the site's sign-ins who sent r. Attempts that fail are counted;
// those that go beyond the limit are refused before a sign-in is asked.
func (h *Handler) askSignIns(r *http.Request, auth incoming.Authorization, found inFront) (registry.Caller, error) {
	if auth.Scheme == incoming.NoScheme && !h.signIns.haveCredentials(r) {
		p, _, err := h.signIns.ask(r, found)
		return p.caller(), err
	}
	attempt, err := h.app.failures.Load().Begin(r.Context(), h.limit(), signinlimit.Guess{
		Authorities: h.signIns.authorities(), Address: caddyvalue.ClientAddress(r), User: basicUser(auth), Credentials: credentialsIn(r),
	})
	if _, limited := errors.AsType[*signinlimit.LimitedError](err); limited {
		h.counts.Limited()
		h.app.opened.events.SignInLimited(h.Project, caddyvalue.ClientIP(r))
		markCounted(r)
	}
	if err != nil {
		return registry.Caller{}, err
	}
	failed := true
	defer func() { attempt.End(failed) }() // however a guest module ends
	// Its client can't end it: whoever goes away before a slow "no" has still
	// been told that it was no quick "yes", and that has to count.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), signInTimeout)
	defer cancel()
	p, failed, err := h.signIns.ask(r.WithContext(ctx), found)
	return p.caller(), err
}

func (h *Handler) limit() signinlimit.Limit {
	return signinlimit.Limit{Failures: h.SignInLimit.Failures, Window: time.Duration(h.SignInLimit.Window)}
}

// credentialsIn is all of r that can hold credentials.
func credentialsIn(r *http.Request) string {
	var b strings.Builder
	b.WriteString(r.URL.String())
	_ = r.Header.Write(&b) // sorted; a strings.Builder takes all
	return b.String()
}

// basicUser is the user that Basic credentials name, "" if they name none.
func basicUser(auth incoming.Authorization) string {
	if auth.Scheme != incoming.Basic {
		return ""
	}
	user, _, _ := incoming.DecodeBasic(auth.Token68)
	return user
}
