package page

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// perPage is how many tokens are shown at a time.
const perPage = 50

// view says which tokens to show, and how.
type view struct {
	// Filter is text that a token's description or id, or its user, contains.
	Filter string
	// User is whose tokens an administrator wants to see: "" for one's own, or
	// registry.Everyone.
	User string
	Sort column
	// Descending is the direction of Sort.
	Descending bool
	// Page counts from 1.
	Page int
	// Deleted is the short id of a token that was just deleted.
	Deleted string
}

// column is what tokens can be sorted by.
type column string

const (
	byDescription column = "description"
	byUser        column = "user"
	byStatus      column = "status"
	byCreated     column = "created"
	byExpires     column = "expires"
	byUsed        column = "used"
)

// descendsFirst tells in which direction a column is sorted at first.
func (c column) descendsFirst() bool { return c == byCreated || c == byUsed }

var columns = []column{byDescription, byUser, byStatus, byCreated, byExpires, byUsed}

// maxFilter is how many characters of a filter count.
const maxFilter = 200

// parseView reads a query. What makes no sense there is as if it weren't.
func parseView(rawQuery string) view {
	q, _ := url.ParseQuery(rawQuery)
	v := view{Filter: strings.TrimSpace(q.Get("q")), User: q.Get("user"), Sort: byCreated, Page: 1}
	if !utf8.ValidString(v.Filter) {
		v.Filter = ""
	}
	if runes := []rune(v.Filter); len(runes) > maxFilter {
		v.Filter = string(runes[:maxFilter])
	}
	if !utf8.ValidString(v.User) || utf8.RuneCountInString(v.User) > 256 {
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
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 0 {
		v.Page = n
	}
	if id := q.Get("deleted"); isShortID(id) {
		v.Deleted = id
	}
	return v
}

func isShortID(s string) bool {
	return len(s) == 8 && !strings.ContainsFunc(s, func(r rune) bool {
		return ('0' > r || r > '9') && ('a' > r || r > 'f')
	})
}

// Query is v as parseView reads it, "" for what is shown at first.
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

// apply returns the tokens to show, how many match, and what page it is.
func (v view) apply(tokens []registry.Token, now time.Time) (shown []registry.Token, matching, page int) {
	matches := slices.Clone(tokens)
	if v.Filter != "" {
		wanted := strings.ToLower(v.Filter)
		matches = slices.DeleteFunc(matches, func(t registry.Token) bool { return !v.contains(&t, wanted) })
	}
	compare := v.comparison(now)
	slices.SortStableFunc(matches, func(a, b registry.Token) int {
		if v.Descending {
			a, b = b, a
		}
		return cmp.Or(compare(&a, &b), a.Created.Compare(b.Created))
	})
	page = min(v.Page, max(1, (len(matches)+perPage-1)/perPage))
	first := (page - 1) * perPage
	return matches[first:min(first+perPage, len(matches))], len(matches), page
}

func (v view) contains(t *registry.Token, wanted string) bool {
	return strings.Contains(strings.ToLower(t.Description), wanted) ||
		strings.HasPrefix(t.ID.String(), wanted) ||
		v.User != "" && strings.Contains(strings.ToLower(t.User.ID), wanted)
}

// comparison returns how two tokens compare in the sorted column. What never
// happened comes before, and what never ends comes after all else.
func (v view) comparison(now time.Time) func(a, b *registry.Token) int {
	switch v.Sort {
	case byDescription:
		return func(a, b *registry.Token) int {
			return cmp.Compare(strings.ToLower(a.Description), strings.ToLower(b.Description))
		}
	case byUser:
		return func(a, b *registry.Token) int { return cmp.Compare(a.User.ID, b.User.ID) }
	case byStatus:
		return func(a, b *registry.Token) int { return cmp.Compare(statusOf(a, now), statusOf(b, now)) }
	case byExpires:
		return compareExpiry
	case byUsed:
		return func(a, b *registry.Token) int { return a.LastUsed.Compare(b.LastUsed) }
	}
	return func(a, b *registry.Token) int { return a.Created.Compare(b.Created) }
}

func compareExpiry(a, b *registry.Token) int {
	atA, endsA := a.Expires()
	atB, endsB := b.Expires()
	switch {
	case endsA && endsB:
		return atA.Compare(atB)
	case endsA:
		return -1
	case endsB:
		return 1
	}
	return 0
}
