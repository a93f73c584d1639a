package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// maxTokens is how many tokens are shown, the newest.
const maxTokens = 10_000

// tokenList is the document that shows tokens.
type tokenList struct {
	view
	Headers []header
	Rows    []row
	// Total is how many tokens there are, Matching how many the filter lets
	// through, First and Last which of these are shown, from 1.
	Total, Matching, First, Last int
	Previous, Next               string
	// Others: these aren't the caller's own alone.
	Others bool
	// Everyone: the tokens are all users'.
	Everyone bool
	// Clear is the query without the filter.
	Clear string
	// Hidden is how many older tokens there are.
	Hidden      int
	CanGenerate bool
	// Why says why the caller may not generate.
	Why    string
	Lapsed bool
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
	UserQuery                  string
}

func (v *visit) list() error {
	wanted := parseView(v.r.URL.RawQuery)
	if wanted.User != "" && !v.isAdmin() {
		if v.lapsed {
			return v.askAgain("everyone")
		}
		return v.Project.MayAdministrate(v.caller)
	}
	tokens, count, err := v.tokens(wanted.User)
	if err != nil {
		return err
	}
	list := v.listOf(wanted, tokens)
	list.Hidden = max(0, count-maxTokens)
	v.render(http.StatusOK, "list", document{Title: "Access Tokens", Section: "tokens", Body: list})
	return nil
}

func (v *visit) listOf(wanted view, tokens []registry.Token) tokenList {
	now := v.Registry.Now()
	total := len(tokens)
	shown, matching, page := wanted.apply(tokens, now)
	wanted.Page = page
	list := tokenList{
		view: wanted, Headers: headersOf(wanted),
		Total: total, Matching: matching,
		First: (page-1)*perPage + 1, Last: (page-1)*perPage + len(shown),
		Others: wanted.User != "", Everyone: wanted.User == registry.Everyone,
		Lapsed: v.lacksAdmin(),
	}
	for i := range shown {
		list.Rows = append(list.Rows, rowOf(&shown[i], now))
	}
	at := func(page int) string { w := wanted; w.Page = page; return w.Query() }
	if page > 1 {
		list.Previous = at(page - 1)
		if list.Previous == "" {
			list.Previous = "?page=1"
		}
	}
	if page*perPage < matching {
		list.Next = at(page + 1)
	}
	clear := wanted
	clear.Filter, clear.Page = "", 1
	list.Clear = clear.Query()
	list.CanGenerate, list.Why = v.canGenerate()
	return list
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
	labels := []struct {
		column column
		label  string
	}{
		{byDescription, "Description"}, {byUser, "User"}, {byStatus, "Status"},
		{byCreated, "Created"}, {byExpires, "Expires"}, {byUsed, "Last Used"},
	}
	headers := []header{{Label: "Token ID", Column: "id", Plain: true}}
	for _, l := range labels {
		if l.column == byUser && v.User == "" {
			continue
		}
		sorted := v
		sorted.Page, sorted.Sort, sorted.Descending = 1, l.column, l.column.descendsFirst()
		h := header{Label: l.label, Column: l.column}
		if v.Sort == l.column {
			h.Sorted = map[bool]string{true: "descending", false: "ascending"}[v.Descending]
			sorted.Descending = !v.Descending
		}
		h.Query = sorted.Query()
		headers = append(headers, h)
	}
	return headers
}

func rowOf(t *registry.Token, now time.Time) row {
	r := row{Token: *t, Status: statusOf(t, now), CreatedAgo: relative(now, t.Created)}
	if at, ends := t.Expires(); ends {
		r.ExpiresAt, r.ExpiresIn = &at, relative(now, at)
	}
	if !t.LastUsed.IsZero() {
		r.Ago = relative(now, t.LastUsed)
	}
	r.UserQuery = view{User: t.User.ID, Sort: byCreated, Descending: true}.Query()
	return r
}

// tokens returns the caller's own tokens, or a user's or everyone's, but not
// more than maxTokens, the newest; and how many there are.
func (v *visit) tokens(user string) (tokens []registry.Token, count int, err error) {
	ctx := v.r.Context()
	select {
	case v.Memory.listing <- struct{}{}:
		defer func() { <-v.Memory.listing }()
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	_, count, err = v.Registry.List(v.Project, v.caller, registry.Listing{User: user, Limit: 1, Count: true})
	if err != nil {
		return nil, 0, err
	}
	seen := make(map[uuid.UUID]bool)
	for offset := max(0, count-maxTokens); offset < count; offset += registry.MaxPage {
		if ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		some, _, err := v.Registry.List(v.Project, v.caller, registry.Listing{User: user, Offset: offset, Limit: registry.MaxPage})
		if err != nil {
			return nil, 0, err
		}
		for _, t := range some {
			if !seen[t.ID] { // a deletion meanwhile moves the others
				seen[t.ID] = true
				tokens = append(tokens, t)
			}
		}
	}
	return tokens, count, nil
}

// Range says in words which tokens are shown.
func (l tokenList) Range() string {
	switch {
	case l.Matching == 0:
		return "No tokens"
	case l.Matching <= perPage:
		if l.Filter != "" {
			return number(l.Matching) + " of " + plural(l.Total, "token")
		}
		return plural(l.Matching, "token")
	}
	return fmt.Sprintf("%s–%s of %s", number(l.First), number(l.Last), plural(l.Matching, "token"))
}
