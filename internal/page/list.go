package page

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// tokenList is the document that shows tokens.
type tokenList struct {
	view
	part
	Headers []header
	Rows    []row
	// Total is how many tokens there are, Matching how many the filter lets
	// through.
	Total int
	Tabs  tabs
	// Owner is the user whose tokens an administrator looks at; nil for the
	// caller's own and for everyone's.
	Owner *subject
	// Clear is the query without the filter.
	Clear string
	// Statuses, Unused and Expiring are the filter's choices.
	Statuses, Unused, Expiring []choice
	// Sorted is how many tokens can be looked at in this order, if there are
	// more; ByCreation is the query of the order that has them all.
	Sorted      int
	ByCreation  string
	CanGenerate bool
	// Why says why the caller may not generate.
	Why    string
	Lapsed bool
}

// Others tells that the tokens aren't the caller's own alone.
func (l *tokenList) Others() bool { return l.User != "" }

// Everyone tells that the tokens are all users'.
func (l *tokenList) Everyone() bool { return l.User == registry.Everyone }

// Shown says in words which tokens are shown.
func (l *tokenList) Shown() string {
	if l.Filtered() && l.Matching > 0 && l.Whole() {
		return number(l.Matching) + " of " + plural(l.Total, "token")
	}
	return l.Range()
}

// header is one column's.
type header struct {
	Label, Query string
	// Sorted is the value of aria-sort, "" for none.
	Sorted string
	// Column names the column in styles; Plain: it can't be sorted by.
	Column column
	Plain  bool
}

// row is one token.
type row struct {
	registry.Token
	Status                     status
	CreatedAgo, ExpiresIn, Ago string
	ExpiresAt                  *time.Time
	// Owner is whose token it is, as administrators see users.
	Owner person
	// Gone are those of its scopes that the site has no more.
	Gone []string
}

// GrantsNothing: no scope is left that the token is limited to.
func (r row) GrantsNothing() bool { return len(r.Scopes) > 0 && len(r.Gone) == len(r.Scopes) }

func (v *visit) list() error {
	wanted := parseView(v.r.URL.RawQuery)
	if wanted.User != "" && !v.isAdmin() {
		return v.onlyAdmins(v.nextOf(""))
	}
	list, err := v.listOf(wanted)
	if err != nil {
		return err
	}
	v.render(http.StatusOK, "list", document{Title: "Access Tokens", Section: "tokens", Body: list})
	return nil
}

func (v *visit) listOf(wanted view) (*tokenList, error) {
	list := &tokenList{
		view: wanted, Headers: headersOf(wanted), Lapsed: v.lacksAdmin(), Clear: wanted.unfiltered().Query(), Statuses: chosen(statusFilters, string(wanted.Status)),
		Unused:   daysToChoose("Used at any time", "Unused for", unusedFor, wanted.UnusedFor),
		Expiring: daysToChoose("Expires at any time", "Expires within", expiringWithin, wanted.ExpiringWithin),
	}
	list.CanGenerate, list.Why = v.canGenerate()
	switch list.Tabs = (tabs{Root: v.root, Current: tabOwn}); wanted.User {
	case "":
	case registry.Everyone:
		list.Tabs.Current = tabEveryone
	default:
		owner, err := v.subject(wanted)
		if err != nil {
			return nil, err
		}
		list.Owner, list.Tabs = owner, tabs{Root: v.root, Owner: &owner.person}
	}
	return list, v.fill(list)
}

// chosen are choices with the one of this value chosen.
func chosen(choices []choice, value string) []choice {
	all := slices.Clone(choices)
	for i := range all {
		all[i].Chosen = all[i].Value == value
	}
	return all
}

// daysToChoose are numbers of days to look for, wanted among them, and 0 for any.
func daysToChoose(anyTime, what string, offered []int, wanted int) []choice {
	if wanted > 0 && !slices.Contains(offered, wanted) {
		offered = slices.Sorted(slices.Values(append(slices.Clone(offered), wanted)))
	}
	all := []choice{{Label: anyTime, Chosen: wanted == 0}}
	for _, days := range offered {
		all = append(all, choice{Value: strconv.Itoa(days), Label: what + " " + plural(days, "day"), Chosen: days == wanted})
	}
	return all
}

// fill reads the part of a list that is shown. No more is in memory, however
// long the list is.
func (v *visit) fill(list *tokenList) error {
	listing := list.listing()
	matching, err := v.Registry.Count(v.r.Context(), v.Project, v.caller, listing)
	if err != nil {
		return err
	}
	list.Total = matching
	if list.Filtered() {
		if list.Total, err = v.Registry.Count(v.r.Context(), v.Project, v.caller, registry.Listing{User: list.User}); err != nil {
			return err
		}
	}
	if list.Sort != byCreated && matching > registry.MaxSorted {
		list.Sorted, matching = registry.MaxSorted, registry.MaxSorted
		order := list.view
		order.Sort, order.Descending, order.Page = byCreated, true, 1
		list.ByCreation = order.Query()
	}
	list.part = partOf("token", matching, list.Page, func(page int) string { w := list.view; w.Page = page; return v.root + w.Query() })
	if matching == 0 {
		return nil
	}
	listing.Offset, listing.Limit = list.First-1, perPage
	now := v.Registry.Now()
	for tokens, err := range v.Registry.Tokens(v.r.Context(), v.Project, v.caller, listing) {
		if err != nil {
			return err
		}
		for i := range tokens {
			list.Rows = append(list.Rows, v.rowOf(&tokens[i], now))
		}
	}
	return nil
}

// canGenerate tells whether to offer generating, or else why not.
func (v *visit) canGenerate() (bool, string) {
	if !v.policy.Enabled {
		return false, "" // which the document says
	}
	err := v.policy.MayGenerate(v.caller, v.Registry.Now())
	if err == nil || v.lacksAdmin() {
		return true, ""
	}
	if refusal, ok := errors.AsType[*registry.Refusal](err); ok {
		return false, refusal.Details
	}
	return false, err.Error()
}

func headersOf(v view) []header {
	headers := []header{{Label: "Token ID", Column: "id", Plain: true}, {Label: "Description", Column: "description", Plain: true}}
	if v.User == registry.Everyone {
		headers = append(headers, header{Label: "User", Column: "user", Plain: true})
	}
	headers = append(headers, header{Label: "Status", Column: "status", Plain: true})
	for _, c := range columns {
		sorted := v
		sorted.Page, sorted.Sort, sorted.Descending = 1, c, c.descendsFirst()
		h := header{Label: c.label(), Column: c}
		if v.Sort == c {
			h.Sorted = map[bool]string{true: "descending", false: "ascending"}[v.Descending]
			sorted.Descending = !v.Descending
		}
		h.Query = sorted.Query()
		headers = append(headers, h)
	}
	return headers
}

func (v *visit) rowOf(t *registry.Token, now time.Time) row {
	r := row{Token: *t, Status: statusOf(t, now), CreatedAgo: relative(now, t.Created), Owner: v.personOf(t.User), Gone: v.goneScopes(t)}
	if at, ends := t.Expires(); ends {
		r.ExpiresAt, r.ExpiresIn = &at, relative(now, at)
	}
	if !t.LastUsed.IsZero() {
		r.Ago = relative(now, t.LastUsed)
	}
	return r
}
