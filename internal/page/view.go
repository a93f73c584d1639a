package page

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// view says which tokens to show, and how.
type view struct {
	// Filter is text that a token's description contains or its id begins with,
	// or its user where they are everyone's.
	Filter string
	// User is whose tokens an administrator wants to see: "" for one's own, or
	// registry.Everyone.
	User string
	Sort column
	// Descending is the direction of Sort.
	Descending bool
	// Page counts from 1.
	Page int
	Said said
}

// said is what the form before has done, to be said in the list that it led to.
type said struct {
	// Deleted is the short id of a token.
	Deleted string
	// AllDeleted: all tokens of a user, of which Ended hadn't expired.
	AllDeleted bool
	Ended      int
	// Unblocked: the user isn't blocked any more.
	Unblocked bool
}

// column is what tokens can be sorted by.
type column string

const (
	byCreated column = "created"
	byExpires column = "expires"
	byUsed    column = "used"
)

var columns = []column{byCreated, byExpires, byUsed}

func (c column) label() string {
	return map[column]string{byCreated: "Created", byExpires: "Expires", byUsed: "Last Used"}[c]
}

func (c column) order() registry.Order {
	return map[column]registry.Order{byCreated: registry.ByCreation, byExpires: registry.ByExpiry, byUsed: registry.ByLastUse}[c]
}

// descendsFirst tells in which direction a column is sorted at first.
func (c column) descendsFirst() bool { return c != byExpires }

// maxFilter is how many characters of a filter count.
const maxFilter = 200

// parseView reads a query. What makes no sense there is as if it weren't.
func parseView(rawQuery string) view {
	q, _ := url.ParseQuery(rawQuery)
	v := view{Filter: strings.TrimSpace(q.Get("q")), User: q.Get("user"), Sort: byCreated, Page: parsePage(q.Get("page"))}
	if !utf8.ValidString(v.Filter) {
		v.Filter = ""
	}
	if runes := []rune(v.Filter); len(runes) > maxFilter {
		v.Filter = string(runes[:maxFilter])
	}
	if v.User != registry.Everyone && registry.CheckUserID(v.User) != nil {
		v.User = ""
	}
	if c := column(q.Get("sort")); slices.Contains(columns, c) {
		v.Sort = c
	}
	v.Descending = v.Sort.descendsFirst()
	switch q.Get("dir") {
	case "asc":
		v.Descending = false
	case "desc":
		v.Descending = true
	}
	if id := q.Get("deleted"); isShortID(id) {
		v.Said.Deleted = id
	}
	if n, err := strconv.ParseUint(q.Get("ended"), 10, 31); err == nil {
		v.Said.AllDeleted, v.Said.Ended = true, int(n)
	}
	v.Said.Unblocked = q.Has("unblocked")
	return v
}

func isShortID(s string) bool {
	return len(s) == 8 && !strings.ContainsFunc(s, func(r rune) bool {
		return ('0' > r || r > '9') && ('a' > r || r > 'f')
	})
}

// Query is v as parseView reads it, "" for what is shown at first. What was said
// isn't said again.
func (v view) Query() string {
	q := url.Values{}
	if v.Filter != "" {
		q.Set("q", v.Filter)
	}
	if v.User != "" {
		q.Set("user", v.User)
	}
	if v.Sort != byCreated || !v.Descending {
		q.Set("sort", string(v.Sort))
		if v.Descending != v.Sort.descendsFirst() {
			q.Set("dir", map[bool]string{true: "desc", false: "asc"}[v.Descending])
		}
	}
	if v.Page > 1 {
		q.Set("page", strconv.Itoa(v.Page))
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// listing is what to ask the registry for.
func (v view) listing() registry.Listing {
	l := registry.Listing{User: v.User, Order: v.Sort.order(), Descending: v.Descending}
	if v.Filter != "" {
		wanted := strings.ToLower(v.Filter)
		l.Match = func(r *store.Record) bool { return v.contains(r, wanted) }
	}
	return l
}

func (v view) contains(r *store.Record, wanted string) bool {
	texts := []string{r.Description}
	if v.User == registry.Everyone {
		texts = append(texts, r.User.ID, r.User.Name, r.User.Email)
	}
	return strings.HasPrefix(r.ID.String(), wanted) ||
		slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(strings.ToLower(text), wanted) })
}
