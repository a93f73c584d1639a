package caddymodule

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/accesslog"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// userPrefix begins the placeholders that say who the user is. A handler in
// front may have set some; they are nothing beside a token.
const userPrefix = "http.auth.user."

// identityHeader is a header for the API behind. If its value is one of our
// own placeholders and nothing else, field is that one's name.
type identityHeader struct {
	name            incoming.Name
	template, field string
}

func (h *Handler) provisionIdentity() (err error) {
	var all bool
	h.claims, all = h.signIns.claims()
	for _, name := range slices.Sorted(maps.Keys(h.Identity)) {
		header := identityHeader{name: incoming.NewName(name), template: h.Identity[name]}
		if field, ok := strings.CutPrefix(header.template, "{"+userPrefix); ok && strings.Index(field, "}") == len(field)-1 {
			header.field = strings.TrimSuffix(field, "}")
		}
		if err := caddyvalue.CheckSource(header.template); err != nil {
			return fmt.Errorf("identity: %s: %w", name, err)
		}
		h.identity = append(h.identity, header)
		if all {
			h.warnOfUnknownClaim(header)
		}
	}
	h.rules, err = h.Rules()
	return err
}

// warnOfUnknownClaim tells the owner of a header that no new token will fill,
// where all sign-ins know their claims.
// It is no error: tokens that were made with a claim keep it.
func (h *Handler) warnOfUnknownClaim(header identityHeader) {
	if header.field == "" || signin.IsReserved(header.field) || slices.Contains(h.claims, header.field) {
		return
	}
	h.logger.Warn("no sign-in of this site has such a claim: the header will not be sent for new tokens; add `claim "+header.field+" …` to a sign-in, or correct the placeholder",
		zap.String("project", h.Project), zap.Stringer("header", header.name), zap.String("placeholder", header.template))
}

// setIdentity tells the API behind who the user is.
func (h *Handler) setIdentity(r *http.Request, u *store.User) error {
	room := make([]string, len(h.identity)) // for all of them at once
	for i, header := range h.identity {
		var value string
		switch header.field {
		case "id":
			value = u.ID
		case "email":
			value = u.Email
		case "name":
			value = u.Name
		default:
			// White space beside an empty placeholder is the template's own.
			value, _ = caddyvalue.Source(r, header.template)
			value = strings.Trim(value, " \t")
		}
		switch {
		case h.IdentityEncoding == config.Percent:
			value = incoming.PercentEncode(value)
		case header.field != "name" && incoming.StripsEnd(value):
			return fmt.Errorf("%w: identity: %s would end in a byte that some servers strip, so that it could become another user's; write `identity_encoding percent`, and decode it in the API", store.ErrUnavailable, header.name)
		}
		if err := header.name.Set(r.Header, value, room[i:i+1:i+1]); err != nil {
			return fmt.Errorf("%w: identity: %w", store.ErrUnavailable, err)
		}
	}
	return nil
}

// forgetUser empties the placeholders, whoever set them.
func (h *Handler) forgetUser(repl *caddy.Replacer) {
	repl.DeleteByPrefix(userPrefix)
	for _, name := range h.claims {
		repl.Set(userPrefix+name, "")
	}
	// The names are constants, which cost nothing.
	for _, name := range [...]string{
		userPrefix + "id", userPrefix + "email", userPrefix + "name", userPrefix + "token_id", userPrefix + "project", userPrefix + "scopes",
	} {
		repl.Set(name, "")
	}
}

// setUser says in placeholders, which are empty, and in the access log whose r is,
// and by which token, if by one.
func (h *Handler) setUser(r *http.Request, repl *caddy.Replacer, u *store.User, by *store.Record) {
	for name, value := range u.Claims {
		repl.Set(userPrefix+name, value)
	}
	repl.Set(userPrefix+"id", u.ID)
	repl.Set(userPrefix+"project", h.project)
	if u.Email != "" {
		repl.Set(userPrefix+"email", u.Email)
	}
	if u.Name != "" {
		repl.Set(userPrefix+"name", u.Name)
	}
	accesslog.Add(r, zap.String("project", h.Project))
	if by == nil {
		return
	}
	id := by.ID.String()
	repl.Set(userPrefix+"token_id", id)
	accesslog.Add(r, zap.String("token_id", id))
	if by.Scopes != nil {
		repl.Set(userPrefix+"scopes", strings.Join(by.Scopes, " "))
	}
}
