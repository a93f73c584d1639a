package page

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func tokenOf(description string, created time.Time, lifetime time.Duration, used time.Time) registry.Token {
	t := registry.Token{LastUsed: used, Record: store.Record{
		ID: uuid.NewSHA1(uuid.Nil, []byte(description)), Description: description, Created: created, Lifetime: store.Never,
	}}
	if lifetime > 0 {
		t.Lifetime = int64(lifetime / time.Second)
	}
	return t
}

func TestStatus(t *testing.T) {
	now := newClock().now
	for _, test := range []struct {
		lifetime, age time.Duration
		want          status
	}{
		{0, 1000 * day, active},
		{30 * day, 27*day - time.Second, active},
		{30 * day, 27*day + time.Second, expiresSoon},
		{365 * day, 358*day - time.Second, active},
		{365 * day, 358*day + time.Second, expiresSoon},
		{time.Second, 0, active},
		{30 * day, 30*day - time.Millisecond, expiresSoon},
		{30 * day, 30 * day, expired},
		{30 * day, 300 * day, expired},
	} {
		made := tokenOf("", now.Add(-test.age), test.lifetime, time.Time{})
		if got := statusOf(&made, now); got != test.want {
			t.Errorf("%v of %v: %v, want %v", test.age, test.lifetime, got, test.want)
		}
	}
}

func TestRelative(t *testing.T) {
	now := newClock().now
	for d, want := range map[time.Duration]string{
		0:                              "in less than a minute",
		-time.Second:                   "just now",
		-59 * time.Second:              "just now",
		-time.Minute:                   "1 minute ago",
		-119 * time.Second:             "1 minute ago",
		-23*time.Hour - 59*time.Minute: "23 hours ago",
		-24 * time.Hour:                "1 day ago",
		-400 * day:                     "13 months ago",
		-800 * day:                     "2 years ago",
		30*day - time.Second:           "in 30 days",
		90 * day:                       "in 90 days",
		365*day - time.Second:          "in 1 year",
		time.Hour - time.Second:        "in 1 hour",
		36525 * day:                    "in 100 years",
	} {
		if got := relative(now, now.Add(d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

var shownDescription = regexp.MustCompile(`data-label="Description"><bdi class="text">([^<]*)<`)

// descriptions are those of the tokens that a list shows.
func descriptions(w *httptest.ResponseRecorder) []string {
	all := []string{}
	for _, found := range shownDescription.FindAllStringSubmatch(w.Body.String(), -1) {
		all = append(all, found[1])
	}
	return all
}

func TestListOrdersAndFilters(t *testing.T) {
	d := newDesk(t)
	d.fix(store.Settings{Generate: "everyone", MaxLifetimeDays: registry.Unlimited})
	ids := map[string]string{}
	for i, made := range []struct {
		description string
		days        int64
		used        bool
	}{{"old", 30, true}, {"Between", 0, false}, {"new", 31, true}, {"newest", 90, false}} {
		lifetime := store.Never
		if made.days > 0 {
			lifetime = made.days * int64(day/time.Second)
		}
		user := store.User{ID: []string{"bob", "carol"}[i%2], Name: []string{"", "Carol C."}[i%2], Email: []string{"bob@example.com", ""}[i%2]}
		value, issued := d.issue(t, user, lifetime, made.description)
		d.advance(day)
		if made.used {
			if _, err := d.page.Registry.Authenticate(d.page.Project, value, netip.Addr{}); err != nil {
				t.Fatal(err)
			}
		}
		ids[made.description] = issued.ID.String()
	}
	d.advance(26*day + time.Second) // old has expired
	d.signIn(t, "alice")
	for query, want := range map[string][]string{
		"":                              {"newest", "new", "Between", "old"},
		"dir=asc":                       {"old", "Between", "new", "newest"},
		"sort=expires":                  {"old", "new", "newest", "Between"},
		"sort=expires&dir=desc":         {"Between", "newest", "new", "old"},
		"sort=used":                     {"new", "old", "newest", "Between"},
		"sort=used&dir=asc":             {"Between", "newest", "old", "new"},
		"q=NEW":                         {"newest", "new"},
		"q=NEW&sort=expires":            {"new", "newest"},
		"q=bob":                         {"new", "old"},
		"q=example.com":                 {"new", "old"},
		"q=carol+c":                     {"newest", "Between"},
		"q=nothing":                     {},
		"q=" + ids["old"][:8]:           {"old"},
		"q=" + ids["Between"]:           {"Between"},
		"q=" + ids["Between"][1:]:       {},
		"sort=nonsense&dir=x&page=-1":   {"newest", "new", "Between", "old"},
		"page=7":                        {"newest", "new", "Between", "old"},
		"page=9223372036854775807&q=ne": {"newest", "new"},
	} {
		w := d.get(t, "?user=*&"+query)
		wantSays(t, w, http.StatusOK)
		if diff := cmp.Diff(want, descriptions(w)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	wantSays(t, d.get(t, "?user=*&q=new"), http.StatusOK, "2 of 4 tokens")
	d.signIn(t, "bob")
	for query, want := range map[string][]string{"": {"new", "old"}, "q=bob": {}, "q=old": {"old"}} {
		if diff := cmp.Diff(want, descriptions(d.get(t, "?"+query))); diff != "" {
			t.Errorf("bob's %s (-want +got):\n%s", query, diff)
		}
	}
}

func TestParts(t *testing.T) {
	at := func(page int) string { return fmt.Sprint(page) }
	for _, test := range []struct {
		matching, page        int
		shown, previous, next string
		first, last           int
	}{
		{0, 1, "No tokens", "", "", 1, 0},
		{0, 9, "No tokens", "", "", 1, 0},
		{1, 1, "1 token", "", "", 1, 1},
		{50, 1, "50 tokens", "", "", 1, 50},
		{51, 1, "1–50 of 51 tokens", "", "2", 1, 50},
		{51, 2, "51–51 of 51 tokens", "1", "", 51, 51},
		{51, 3, "51–51 of 51 tokens", "1", "", 51, 51},
		{12_345, 100, "4,951–5,000 of 12,345 tokens", "99", "101", 4951, 5000},
	} {
		p := partOf("token", test.matching, test.page, at)
		if p.Range() != test.shown || p.Previous != test.previous || p.Next != test.next || p.First != test.first || p.Last != test.last {
			t.Errorf("page %d of %d: %+v, %q", test.page, test.matching, p, p.Range())
		}
	}
}

// Whatever a query says, the page has an answer, and its own links say the same
// again.
func FuzzView(f *testing.F) {
	for _, query := range []string{"", "q=x&sort=used&dir=asc&page=3&user=*", "deleted=0123abcd", "ended=3&user=bob", "unblocked", "%zz", "q=%ff", "a;b", "sort=created&dir=desc&page=1"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		v := parseView(query)
		if part := partOf("token", 200, v.Page, func(int) string { return "" }); part.First < 1 || part.Last > 200 || part.First > part.Last {
			t.Errorf("%q: %+v", query, part)
		}
		v.Said = said{}
		again := parseView(trimQuestion(v.Query()))
		if diff := cmp.Diff(v, again); diff != "" {
			t.Errorf("%q (-first +again):\n%s", query, diff)
		}
	})
}

func trimQuestion(query string) string {
	if query == "" {
		return ""
	}
	u, err := url.Parse(query)
	if err != nil {
		return query
	}
	return u.RawQuery
}
