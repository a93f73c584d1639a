package page

import (
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/refusals"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// tokenPage is the document with all that is known of a token.
type tokenPage struct {
	row
	// Others: the token isn't the caller's.
	Others bool
	// Lifetime is how long it was made for, "" for ever.
	Lifetime   string
	DeletedAgo string
	Claims     []claim
	// Renews is the token that it is the successor of, Renewed those that descend
	// from it, the first of RenewedAll.
	Renews     uuid.UUID
	Renewed    []row
	RenewedAll int
	Refusals   []refusal
	// CanRenew: the caller may make a token in its place.
	CanRenew bool
	Back     view
}

// HasParent tells that the token renews another one.
func (p *tokenPage) HasParent() bool { return p.Renews != uuid.Nil }

// MoreRenewed is how many successors aren't shown.
func (p *tokenPage) MoreRenewed() int { return p.RenewedAll - len(p.Renewed) }

// claim is a further fact of a user, as the sign-in said when the token was made.
type claim struct{ Name, Value string }

// refusal is a reason for which a token was refused lately.
type refusal struct {
	Why   string
	Count int
	Last  time.Time
	Ago   string
	// Address is the client's, zero if unknown.
	Address netip.Addr
}

// whyRefused says in words what the access log says in one.
var whyRefused = map[string]string{
	registry.WhyExpired: "It had expired.",
	registry.WhyDeleted: "It had been deleted.",
	registry.WhyOff:     "API access was off.",
	registry.WhyBlocked: "Its user was blocked.",
	registry.WhyProject: "It was sent to a site of another project.",
	registry.WhyAddress: "It came from an address that it isn’t for.",
	"scope":             "The request was outside of its scopes.",
}

// maxRenewed is how many successors of a token its page shows.
const maxRenewed = 20

func (v *visit) tokenPage() error {
	text := v.asked().Get("id")
	id, ok := parseID(text)
	if !ok {
		return v.gone()
	}
	t, err := v.Registry.Recall(v.Project, v.caller, id)
	switch {
	case errors.Is(err, registry.ErrNotFound) && v.lacksAdmin():
		return v.askAgain(nextAbout("token", text))
	case errors.Is(err, registry.ErrNotFound):
		return v.gone()
	case err != nil:
		return err
	}
	p, err := v.tokenPageOf(&t)
	if err != nil {
		return err
	}
	v.render(http.StatusOK, "token", document{Title: "Token " + shortID(t.ID), Section: "tokens", Body: p})
	return nil
}

func (v *visit) tokenPageOf(t *registry.Token) (*tokenPage, error) {
	now := v.Registry.Now()
	one := []registry.Token{*t}
	p := &tokenPage{row: v.rowOf(t, now), Others: v.others(one), Back: v.backFrom(one), Renews: t.Parent, Lifetime: lifetimeOf(&t.Record)}
	if t.IsRevoked() {
		p.DeletedAgo = relative(now, t.Revoked)
	}
	for _, name := range slices.Sorted(maps.Keys(t.User.Claims)) {
		p.Claims = append(p.Claims, claim{name, t.User.Claims[name]})
	}
	renewed, all, err := v.Registry.Successors(v.r.Context(), v.Project, v.caller, t.ID, maxRenewed)
	if err != nil {
		return nil, err
	}
	p.RenewedAll = all
	for i := range renewed {
		p.Renewed = append(p.Renewed, v.rowOf(&renewed[i], now))
	}
	for _, r := range v.Refusals.Of(t.ID) {
		p.Refusals = append(p.Refusals, refusalOf(r, now))
	}
	if !p.Others && !t.IsRevoked() {
		p.CanRenew, _ = v.canGenerate()
	}
	return p, nil
}

func refusalOf(r refusals.Refusal, now time.Time) refusal {
	why, known := whyRefused[r.Why]
	if !known {
		why = r.Why
	}
	return refusal{why, r.Count, r.Last, relative(now, r.Last), r.Address}
}

// lifetimeOf says how long a token was made for, "" for ever.
func lifetimeOf(r *store.Record) string {
	if r.Lifetime == store.Never {
		return ""
	}
	d := time.Duration(r.Lifetime) * time.Second
	if d < time.Minute {
		return plural(int(r.Lifetime), "second")
	}
	return amount(d, time.Duration.Round)
}
