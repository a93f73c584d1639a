package page

import (
	"fmt"
	"net/url"
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

func TestApply(t *testing.T) {
	now := newClock().now
	ago := func(days int) time.Time { return now.Add(-time.Duration(days) * day) }
	tokens := []registry.Token{
		tokenOf("old", ago(100), 30*day, ago(80)),
		tokenOf("Between", ago(50), 0, time.Time{}),
		tokenOf("new", ago(28), 30*day, ago(1)),
		tokenOf("newest", ago(1), 90*day, time.Time{}),
	}
	for i := range tokens {
		tokens[i].User.ID = []string{"bob", "alice"}[i%2]
	}
	for query, want := range map[string][]string{
		"":                            {"newest", "new", "Between", "old"},
		"dir=asc":                     {"old", "Between", "new", "newest"},
		"sort=description":            {"Between", "new", "newest", "old"},
		"sort=expires":                {"old", "new", "newest", "Between"},
		"sort=expires&dir=desc":       {"Between", "newest", "new", "old"},
		"sort=used":                   {"new", "old", "newest", "Between"},
		"sort=status":                 {"Between", "newest", "new", "old"},
		"sort=user&user=*":            {"Between", "newest", "old", "new"},
		"q=NEW":                       {"newest", "new"},
		"q=bob":                       {},
		"q=bob&user=*":                {"new", "old"},
		"q=" + shortID(tokens[0].ID):  {"old"},
		"q=" + tokens[1].ID.String():  {"Between"},
		"sort=nonsense&dir=x&page=-1": {"newest", "new", "Between", "old"},
		"page=7":                      {"newest", "new", "Between", "old"},
	} {
		shown, matching, page := parseView(query).apply(tokens, now)
		got := []string{}
		for _, s := range shown {
			got = append(got, s.Description)
		}
		if diff := cmp.Diff(want, got); diff != "" || matching != len(want) || page != 1 {
			t.Errorf("%s: %d on page %d (-want +got):\n%s", query, matching, page, diff)
		}
	}
	if tokens[0].Description != "old" {
		t.Error("the tokens were moved")
	}
}

func TestPaging(t *testing.T) {
	now := newClock().now
	var tokens []registry.Token
	for i := range 10_000 {
		tokens = append(tokens, tokenOf(fmt.Sprintf("token %d", i), now.Add(time.Duration(i)*time.Second), day, time.Time{}))
	}
	for page, want := range map[int][2]string{1: {"token 9999", "token 9950"}, 2: {"token 9949", "token 9900"}, 200: {"token 49", "token 0"}, 201: {"token 49", "token 0"}} {
		shown, matching, _ := view{Sort: byCreated, Descending: true, Page: page}.apply(tokens, now)
		if len(shown) != perPage || matching != 10_000 || shown[0].Description != want[0] || shown[perPage-1].Description != want[1] {
			t.Errorf("page %d: %d tokens, from %s", page, len(shown), shown[0].Description)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	now := newClock().now
	var tokens []registry.Token
	for i := range 10_000 {
		tokens = append(tokens, tokenOf(fmt.Sprintf("token %d", i), now.Add(time.Duration(i%977)*time.Hour), time.Duration(i%400+1)*day, time.Time{}))
	}
	for b.Loop() {
		view{Filter: "token", Sort: byStatus, Page: 100}.apply(tokens, now)
	}
}

// Whatever a query says, the page has an answer, and its own links say the same
// again.
func FuzzView(f *testing.F) {
	for _, query := range []string{"", "q=x&sort=used&dir=asc&page=3&user=*", "deleted=0123abcd", "%zz", "q=%ff", "a;b", "sort=created&dir=desc&page=1"} {
		f.Add(query)
	}
	now := newClock().now
	tokens := []registry.Token{tokenOf("a", now, day, now), tokenOf("b", now, 0, now)}
	f.Fuzz(func(t *testing.T, query string) {
		v := parseView(query)
		shown, matching, page := v.apply(tokens, now)
		if len(shown) > matching || page < 1 {
			t.Errorf("%q: %d of %d on page %d", query, len(shown), matching, page)
		}
		v.Deleted = ""
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
