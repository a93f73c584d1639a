package contract

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAListInAnotherOrder(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\nmax_lifetime unlimited"))
	// In the order of creation; a is used last, c first, the others never.
	names := map[string]string{}
	made := map[string]token{}
	for _, test := range []struct {
		name     string
		lifetime int64
	}{{"a", 5000}, {"b", -1}, {"c", 4000}, {"d", 6000}, {"e", 1}} {
		made[test.name] = g.create(t, as("bob"), test.lifetime, test.name)
		names[made[test.name].info.TokenID] = test.name
		created := at(t, made[test.name].info.CreatedAt)
		g.wait(t, "the clock goes on", func() bool { return time.Since(created) > 2*time.Millisecond })
	}
	for _, name := range []string{"c", "a"} {
		wantProxied(t, g.do(t, askFor(made[name])), "bob")
		used := time.Now()
		g.wait(t, "the clock goes on", func() bool { return time.Since(used) > 2*time.Millisecond })
	}
	g.wait(t, "e has expired", func() bool { return time.Now().After(at(t, *made["e"].info.ExpiredAt)) })
	listed := func(auth, query string) string {
		t.Helper()
		var all strings.Builder
		for _, id := range g.list(t, auth, query).ids() {
			all.WriteString(names[id])
		}
		return all.String()
	}
	for query, want := range map[string]string{
		"?sort=createdAt":                       "abcde",
		"?sort=-createdAt":                      "edcba",
		"?sort=expiredAt":                       "ecadb",
		"?sort=-expiredAt":                      "bdace",
		"?sort=lastUsed":                        "bdeca",
		"?sort=-lastUsed":                       "acedb",
		"?sort=-lastUsed&limit=2&offset=1":      "ce",
		"?sort=expiredAt&limit=900&offset=4":    "b",
		"?state=active":                         "abcd",
		"?state=expired":                        "e",
		"?state=active&sort=-expiredAt&limit=2": "bd",
		"?unusedFor=1":                          "",
		"?state=expired&unusedFor=36525":        "",
	} {
		for _, whose := range []struct{ auth, query string }{{as("bob"), query}, {as("alice"), query + "&user=bob"}} {
			if got := listed(whose.auth, whose.query); got != want {
				t.Errorf("%s: %s, want %s", whose.query, got, want)
			}
		}
	}
	if got := g.list(t, as("bob"), "?state=active&limit=1&includeCount=true"); *got.Count != 4 {
		t.Errorf("count %d, want that of the active ones, 4", *got.Count)
	}

	t.Run("behind a token of the list", func(t *testing.T) {
		after := func(name string) string { return "after=" + made[name].info.TokenID }
		for query, want := range map[string]string{
			"?" + after("b"):                           "cde",
			"?limit=2&" + after("b"):                   "cd",
			"?sort=-createdAt&" + after("b"):           "a",
			"?state=active&" + after("a"):              "bcd",
			"?" + after("e"):                           "",
			"?offset=0&" + after("d"):                  "e",
			"?includeCount=true&limit=1&" + after("a"): "b",
		} {
			if got := listed(as("bob"), query); got != want {
				t.Errorf("%s: %s, want %s", query, got, want)
			}
		}
		g.remove(t, as("bob"), made["c"].target())
		if got := listed(as("bob"), "?"+after("c")); got != "de" {
			t.Errorf("behind a deleted one: %s, want de", got)
		}
		carols := g.create(t, as("carol"), 60, "")
		for what, query := range map[string]string{
			"another user's":         "after=" + carols.info.TokenID,
			"one that never existed": "after=00000000-0000-4000-8000-000000000000",
			"no id":                  "after=c",
			"nothing":                "after=",
			"and an offset":          "offset=1&" + after("a"),
			"in another order":       "sort=lastUsed&" + after("a"),
			"twice":                  after("a") + "&" + after("a"),
		} {
			e := wantRefused(t, g.do(t, ask{target: api + "?" + query, auth: as("bob")}), http.StatusBadRequest, "ApiValidationFailed")
			if !strings.Contains(e.Details, "after") {
				t.Errorf("%s: the details don't name it: %s", what, e.Details)
			}
		}
	})
	t.Run("and a wrong parameter is named", func(t *testing.T) {
		for _, query := range []string{
			"sort=", "sort=createdat", "sort=+createdAt", "sort=createdAt,lastUsed", "sort=description", "sort=createdAt&sort=lastUsed",
			"state=", "state=deleted", "state=Active", "unusedFor=0", "unusedFor=-1", "unusedFor=1.5", "unusedFor=x", "unusedFor=",
			"limit=9001&sort=lastUsed&offset=1000", "offset=10001&sort=expiredAt",
		} {
			got := g.do(t, ask{target: api + "?" + query, auth: as("bob")})
			e := wantRefused(t, got, http.StatusBadRequest, "ApiValidationFailed")
			if name, _, _ := strings.Cut(query, "="); !strings.Contains(e.Details, name) {
				t.Errorf("?%s: the details don't name it: %s", query, e.Details)
			}
		}
	})
}

func TestATokenSaysWhereItWasUsed(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	made := g.create(t, as("bob"), 3600, "")
	if made.info.LastUsedAddress != "" {
		t.Errorf("used from %s before it was used", made.info.LastUsedAddress)
	}
	wantProxied(t, g.do(t, askFor(made)), "bob")
	for range 2 {
		if got := g.info(t, as("bob"), made.info.TokenID); got.LastUsed == nil || got.LastUsedAddress != "127.0.0.1" {
			t.Errorf("last used %v from %q", got.LastUsed, got.LastUsedAddress)
		}
		g.restart(t)
	}
}

func TestAdministratorsSeeNamesAndAddresses(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	carols, bobs := g.create(t, as("carol"), 3600, ""), g.create(t, as("bob"), 3600, "")
	alices := g.create(t, as("alice"), 3600, "")
	type whose struct{ id, email, name string }
	of := func(info tokenInfo) (w whose) {
		if info.UserID != nil {
			w.id = *info.UserID
		}
		return whose{w.id, info.UserEmail, info.UserName}
	}
	var listed []whose
	for _, info := range g.list(t, as("alice"), "?user=*").Data {
		listed = append(listed, of(info))
	}
	want := []whose{{"carol", "carol@example.com", ""}, {"bob", "", ""}, {"alice", "alice@example.com", "Alice A."}}
	if fmt.Sprint(listed) != fmt.Sprint(want) {
		t.Errorf("listed %v, want %v", listed, want)
	}
	for i, made := range []token{carols, bobs} {
		if got := of(g.info(t, as("alice"), made.info.TokenID)); got != want[i] {
			t.Errorf("got %v, want %v", got, want[i])
		}
	}
	for what, got := range map[string]whose{
		"an administrator's own":   of(g.info(t, as("alice"), alices.info.TokenID)),
		"one's own":                of(g.info(t, as("carol"), carols.info.TokenID)),
		"one's own in a list":      of(g.list(t, as("carol"), "").Data[0]),
		"an administrator's list":  of(g.list(t, as("alice"), "").Data[0]),
		"in the answer that makes": of(carols.info),
	} {
		if got != (whose{}) {
			t.Errorf("%s says %v", what, got)
		}
	}
}

// However long a list is and however slowly it is read, it costs little, and
// others don't wait.
func TestUnreadLists(t *testing.T) {
	t.Parallel()
	const lists, tokens = 60, 2000
	g := start(t, site("allow_generate everyone"), measured)
	text := strings.Repeat("\U0001f511", 1024)
	var ids []string
	for range tokens {
		ids = append(ids, g.create(t, as("bob"), 3600, text).info.TokenID)
	}
	_, before := g.atRest(t)
	var unread []*stalled
	for range lists {
		unread = append(unread, g.stall(t, ask{target: api, auth: as("bob")}))
	}
	begun := func() int {
		n := 0
		for _, s := range unread {
			if s.begun() {
				n++
			}
		}
		return n
	}
	g.wait(t, "four lists are under way", func() bool { return begun() >= 4 })
	heap := g.profiled(t, "heap?debug=1&gc=1", `# HeapAlloc = (\d+)`)
	t.Logf("%d unread lists of %d tokens with 4 KiB each hold %.1f MiB", lists, tokens, float64(heap-before)/(1<<20))
	if heap-before > 32<<20 {
		t.Errorf("they hold %d bytes", heap-before)
	}
	if got := g.list(t, as("alice"), "?user=bob&limit=1"); len(got.Data) != 1 {
		t.Errorf("an administrator sees %v", got.ids())
	}
	wantRefused(t, g.do(t, ask{target: api, auth: as("bob")}), http.StatusTooManyRequests, "TooManyRequestsException")
	// One that is read in the end is whole.
	for _, s := range unread {
		if !s.begun() {
			continue
		}
		var all listing
		s.rest(t).into(t, &all)
		if diff := cmp.Diff(ids, all.ids()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		break
	}
	for _, s := range unread {
		s.conn.Close()
	}
	g.wait(t, "a list can be read again", func() bool {
		return g.do(t, ask{target: api + "?limit=1", auth: as("bob")}).status == http.StatusOK
	})
	if !slices.Equal(ids, g.list(t, as("bob"), "").ids()) {
		t.Error("the list isn't whole")
	}
}
