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
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"

	// The built-in sign-ins.
	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin/basic"
	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin/placeholder"
	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin/upstream"
)

// signInTimeout is how long the context of a request with credentials allows
// its sign-ins to take.
const signInTimeout = time.Minute

// signIn asks the site's sign-ins who sent r. Attempts that fail are counted;
// those that go beyond the limit are refused before a sign-in is asked.
func (h *Handler) signIn(r *http.Request, auth incoming.Authorization, found inFront) (registry.Caller, error) {
	if auth.Scheme == incoming.NoScheme && !h.signIns.haveCredentials(r) {
		p, _, err := h.signIns.ask(r, found)
		return p.caller(), err
	}
	attempt, err := h.failures.Begin(r.Context(), caddyvalue.ClientAddress(r), basicUser(auth), credentialsIn(r))
	if err != nil {
		return registry.Caller{}, err
	}
	counts := false
	defer func() { attempt.End(counts) }() // however a guest module ends
	// Its client can't end it: whoever goes away before a slow "no" has still
	// been told that it was no quick "yes", and that has to count.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), signInTimeout)
	defer cancel()
	p, failed, err := h.signIns.ask(r.WithContext(ctx), found)
	counts = failed || errors.Is(err, tokenapi.ErrNotSignedIn) && auth.Scheme != incoming.NoScheme
	return p.caller(), err
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
