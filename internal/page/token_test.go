package page

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// A token's page says all that is known of it, to its owner and administrators.
func TestTokenPage(t *testing.T) {
	d := newOffice(t)
	bob := store.User{ID: "bob", Name: "Bob B.", Email: "bob@example.com", Claims: map[string]string{"workspace_id": "<w 7>"}}
	long := strings.Repeat("all of a long description ", 30) + "to its end"
	value, root := d.issue(t, bob, 30*86400, long)
	if _, err := d.page.Registry.Authenticate(d.page.Project, value, netip.MustParseAddr("192.0.2.7")); err != nil {
		t.Fatal(err)
	}
	renew := func(of store.Record) registry.Token {
		t.Helper()
		_, made, err := d.page.Registry.Issue(t.Context(), d.page.Project, registry.Holder(&of), registry.Wish{Prefix: "cat", LifetimeSeconds: 86400,
			Scopes: []string{"read"}, SiteScopes: []string{"read"}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	child := renew(root.Record)
	d.advance(2 * time.Hour)
	for range 3 {
		d.page.Refusals.Note(root.ID, registry.WhyAddress, d.Now().Add(-time.Hour), netip.MustParseAddr("198.51.100.9"))
	}
	d.page.Refusals.Note(root.ID, "scope", d.Now(), netip.Addr{})
	d.page.Refusals.Note(root.ID, "a new word", d.Now(), netip.Addr{})

	page := "/token?id=" + root.ID.String()
	for _, user := range []string{"bob", "alice"} {
		d.signIn(t, user)
		w := d.get(t, page)
		wantSays(t, w, http.StatusOK, root.ID.String(), long, "Bob B.", "bob@example.com", "workspace_id", "<w 7>", "Active", "2 hours ago", "in 30 days",
			"Lifetime</dt><dd>30 days", "from <code>192.0.2.7</code>", `title="`+child.ID.String(),
			"It came from an address that it isn’t for.</td><td>3</td><td>1 hour ago", "198.51.100.9", "outside of its scopes", "a new word", "Delete Token…")
		if body := w.Body.String(); strings.Index(body, "a new word") > strings.Index(body, "It came from") {
			t.Error("the last refusal isn't first")
		}
		renewable := strings.Contains(w.Body.String(), "/generate?renews="+root.ID.String())
		if renewable != (user == "bob") {
			t.Errorf("%s can renew: %v", user, renewable)
		}
		wantSays(t, d.get(t, "/token?id="+child.ID.String()), http.StatusOK, "Renews", root.ID.String(), "Scopes</dt><dd><code>read</code>", "192.0.2.0/24", "Last used</dt><dd>Never", "No request with this token was refused")
	}
	// Whose token it isn't learns nothing, not even that there is one.
	d.signIn(t, "carol")
	others, none := d.get(t, page), d.get(t, "/token?id="+uuid.NewString())
	wantSays(t, others, http.StatusNotFound, "There is no such token")
	if diff := cmp.Diff(none.Body.String(), others.Body.String()); diff != "" {
		t.Errorf("another's token is told from none (-none +another's):\n%s", diff)
	}
	for _, id := range []string{"", "x", strings.ToUpper(root.ID.String()), root.ID.String() + " " + child.ID.String()} {
		wantSays(t, d.get(t, "/token?id="+url.QueryEscape(id)), http.StatusNotFound)
	}
}

// A token that was deleted has a page as long as its record stays: there its
// owner learns why it is refused.
func TestPageOfADeletedToken(t *testing.T) {
	d := newOffice(t)
	_, made := d.issue(t, store.User{ID: "bob"}, 86400, "gone")
	d.signIn(t, "bob")
	page := "/token?id=" + made.ID.String()
	wantSays(t, d.post(t, "/delete", url.Values{"id": {made.ID.String()}}), http.StatusSeeOther)
	d.advance(5 * time.Minute)
	d.page.Refusals.Note(made.ID, registry.WhyDeleted, d.Now(), netip.Addr{})
	w := d.get(t, page)
	wantSays(t, w, http.StatusOK, ">Deleted<", "was deleted 5 minutes ago", "It had been deleted.", "gone")
	wantLacks(t, w, "/delete?id=", "/generate?renews=")
	d.signIn(t, "carol")
	wantSays(t, d.get(t, page), http.StatusNotFound)
}

// More successors than a page shows are counted.
func TestTokenWithManySuccessors(t *testing.T) {
	d := newOffice(t)
	_, root := d.issue(t, store.User{ID: "bob"}, 86400, "")
	for range maxRenewed + 3 {
		if _, _, err := d.page.Registry.Issue(t.Context(), d.page.Project, registry.Holder(&root.Record), registry.Wish{Prefix: "cat", LifetimeSeconds: 60}); err != nil {
			t.Fatal(err)
		}
	}
	d.signIn(t, "bob")
	w := d.get(t, "/token?id="+root.ID.String())
	wantSays(t, w, http.StatusOK, "and 3 others")
	if n := strings.Count(w.Body.String(), "<li>"); n != maxRenewed {
		t.Errorf("%d successors are shown", n)
	}
}

// An administrator whose rights have lapsed goes on to the token after entering
// the password; so does whoever wasn't signed in.
func TestSignInOnTheWayToAToken(t *testing.T) {
	d := newOffice(t)
	_, made := d.issue(t, store.User{ID: "bob"}, 86400, "")
	id := made.ID.String()
	wantSays(t, d.get(t, "/token?id="+id), http.StatusOK, `name="next" value="token:`+id)
	wantSays(t, d.get(t, "/generate?renews="+id), http.StatusOK, `name="next" value="renew:`+id)
	d.signIn(t, "alice")
	d.advance(adminLimit)
	wantSays(t, d.get(t, "/token?id="+id), http.StatusOK, "Enter your password again", `name="next" value="token:`+id)
	other := made.ID
	other[15] ^= 1
	wantSays(t, d.post(t, "/delete", url.Values{"id": {id + " " + other.String()}}), http.StatusUnauthorized, "Nothing was changed.")
}

// Several tokens go together, after one confirmation that names each.
func TestDeleteSeveral(t *testing.T) {
	d := newOffice(t)
	var ids []string
	for _, description := range []string{"one", "two", "three", "stays"} {
		_, made := d.issue(t, store.User{ID: "bob"}, 86400, description)
		ids = append(ids, made.ID.String())
		d.advance(time.Second)
	}
	_, carols := d.issue(t, store.User{ID: "carol"}, 86400, "carol's")
	d.signIn(t, "bob")
	w := d.get(t, "?sort=expires&q=o")
	wantSays(t, w, http.StatusOK, `name="id" value="`+ids[0]+`" form="marked"`, `name="from" value="q=o&sort=expires"`)
	w = d.get(t, "/delete?from="+url.QueryEscape("q=o&sort=expires")+"&id="+strings.Join(ids[:2], "&id=")+"&id="+carols.ID.String())
	wantSays(t, w, http.StatusOK, "Delete 2 Tokens", "one of these 2 tokens will be refused", "one", "two", "Never used", `name="id" value="`+strings.Join(ids[:2], " ")+`"`)
	wantLacks(t, w, "three", "carol")
	form := url.Values{"id": {strings.Join(append(ids[:3:3], carols.ID.String()), " ")}, "from": {"q=o&sort=expires"}}
	if location := d.post(t, "/delete", form).Header().Get("Location"); location != "../access-tokens?gone=3&q=o&sort=expires" {
		t.Errorf("to %q", location)
	}
	wantSays(t, d.get(t, "?gone=3"), http.StatusOK, "3 tokens are deleted. They are refused from now on.", "stays")
	wantSays(t, d.post(t, "/delete", form), http.StatusNotFound, "There is no such token")
	if _, err := d.page.Registry.Get(d.page.Project, registry.SignedIn("", store.User{ID: "carol"}, false), carols.ID); err != nil {
		t.Errorf("carol's is gone: %v", err)
	}

	if location := d.get(t, "/delete?from=status%3Dactive").Header().Get("Location"); location != "../access-tokens?none-marked=&status=active" {
		t.Errorf("without a mark to %q", location)
	}
	wantSays(t, d.get(t, "?none-marked="), http.StatusOK, "Mark the tokens that are to be deleted first.")
	many := ids[3]
	for range perPage {
		many += " " + uuid.NewString()
	}
	for _, wrong := range []string{"", " ", "x", ids[3] + " " + ids[3], ids[3] + ",", many} {
		wantSays(t, d.post(t, "/delete", url.Values{"id": {wrong}}), http.StatusNotFound)
	}
	wantSays(t, d.get(t, ""), http.StatusOK, "stays")
}

// Who deletes several learns how many are left if the store fails in between.
func TestDeleteSeveralFailsInBetween(t *testing.T) {
	d := newOffice(t, func(c *registry.Config) { c.Store = &failsAfter{Store: c.Store, commits: 1} })
	_, first := d.issue(t, store.User{ID: "bob"}, 86400, "")
	_, second := d.issue(t, store.User{ID: "bob"}, 86400, "")
	d.signIn(t, "bob")
	w := d.post(t, "/delete", url.Values{"id": {first.ID.String() + " " + second.ID.String()}})
	wantSays(t, w, http.StatusServiceUnavailable, "1 of 2 tokens are deleted", "still work")
	if w.Header().Get("Retry-After") == "" {
		t.Error("and isn't told when to go on")
	}
}

// failsAfter is a store that fails to revoke once it has done so many times.
type failsAfter struct {
	store.Store
	commits int
}

// What a list was is kept through everything that is done from there.
func TestListIsKept(t *testing.T) {
	d := newOffice(t)
	_, made := d.issue(t, store.User{ID: "bob"}, 86400, "x")
	id := made.ID.String()
	d.signIn(t, "bob")
	const kept = "expiring=30&page=2&q=x&sort=used&status=active&unused=7"
	from := "from=" + url.QueryEscape(kept)
	hidden, back := `name="from" value="`+kept+`"`, `href="../access-tokens?`+kept+`"`
	wantSays(t, d.get(t, "/token?id="+id+"&"+from), http.StatusOK, back, "/delete?id="+id+"&from=expiring%3d30%26page%3d2")
	wantSays(t, d.get(t, "/delete?id="+id+"&"+from), http.StatusOK, back, hidden)
	wantSays(t, d.get(t, "/delete-all?"+from), http.StatusOK, back, hidden)
	wantSays(t, d.get(t, "/generate?"+from), http.StatusOK, back, hidden)
	wantSays(t, d.get(t, "/generate?renews="+id+"&"+from), http.StatusOK, back, hidden)
	wantSays(t, d.post(t, "/generate", url.Values{"lifetime": {"x"}, "from": {kept}}), http.StatusBadRequest, back, hidden)
	wantSays(t, d.post(t, "/generate", url.Values{"lifetime": {"7"}, "from": {kept}, "renews": {id}}), http.StatusOK, back, "/delete?id="+id+"&from=expiring%3d30")
	if location := d.post(t, "/delete-all", url.Values{"from": {kept}}).Header().Get("Location"); location != "../access-tokens?ended=2&"+kept {
		t.Errorf("deleting all leads to %q", location)
	}

	// It is a list of the page's, whatever is asked for.
	for wanted, want := range map[string]string{
		"https://evil.example/": "", "//evil.example": "", "/settings": "", "../x?q=y": "", "q=y&deleted=01234567&next=https://evil.example": "&q=y", "%zz": "", "user=bob&x=y": "&user=bob",
		"\r\nSet-Cookie: x=y": "", "#x": "",
	} {
		_, made := d.issue(t, store.User{ID: "bob"}, 86400, "")
		w := d.post(t, "/delete", url.Values{"id": {made.ID.String()}, "from": {wanted}})
		if location := w.Header().Get("Location"); location != "../access-tokens?deleted="+shortID(made.ID)+want {
			t.Errorf("from %q to %q", wanted, location)
		}
	}

	d.signIn(t, "alice")
	const carols = "sort=used&user=carol"
	for place, want := range map[string]string{"/block": "?" + carols, "/unblock": "?sort=used&unblocked=&user=carol", "/delete-all": "?ended=0&" + carols} {
		if location := d.post(t, place, url.Values{"user": {"carol"}, "from": {carols}}).Header().Get("Location"); location != "../access-tokens"+want {
			t.Errorf("%s leads to %q", place, location)
		}
		if location := d.post(t, place, url.Values{"user": {"carol"}, "from": {"user=bob"}}).Header().Get("Location"); !strings.HasSuffix(location, "user=carol") {
			t.Errorf("%s from another's list leads to %q", place, location)
		}
	}
}

// Renewing fills in the form as the old token was, and makes a token of the
// caller's that isn't less limited.
func TestRenew(t *testing.T) {
	d := newOffice(t)
	d.fix(store.Settings{Generate: "everyone", MaxLifetimeDays: 60})
	addresses := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	_, old, err := d.page.Registry.Issue(t.Context(), d.page.Project, registry.SignedIn("", store.User{ID: "bob"}, false),
		registry.Wish{Prefix: "cat", LifetimeSeconds: 45 * 86400, Description: "nightly", Scopes: []string{"read"}, SiteScopes: []string{"read"}, Addresses: addresses})
	if err != nil {
		t.Fatal(err)
	}
	id := old.ID.String()
	d.advance(50 * day) // it has expired
	d.signIn(t, "bob")
	wantSays(t, d.get(t, ""), http.StatusOK, "/generate?renews="+id)
	wantSays(t, d.get(t, "/generate?renews="+id), http.StatusOK, "Renew Token", `value="nightly"`, `value="other" checked`, `value="45"`, "limited as the old one is", "192.0.2.0/24")
	w := d.post(t, "/generate", url.Values{"renews": {id}, "lifetime": {"other"}, "days": {"45"}, "description": {"nightly"}})
	wantSays(t, w, http.StatusOK, "Your new token", "is still there", "Delete the Old Token…", "/delete?id="+id)
	tokens, _, err := d.page.Registry.List(d.page.Project, registry.SignedIn("", store.User{ID: "bob"}, false), registry.Listing{Descending: true})
	if err != nil || len(tokens) != 2 {
		t.Fatalf("%d tokens, %v", len(tokens), err)
	}
	made := tokens[0]
	if made.Parent != uuid.Nil || made.Description != "nightly" || made.Lifetime != 45*86400 || !cmp.Equal(made.Scopes, []string{"read"}) || len(made.Addresses) != 1 || made.Addresses[0] != addresses[0] {
		t.Errorf("%+v", made)
	}
	// An error keeps what it is about.
	wantSays(t, d.post(t, "/generate", url.Values{"renews": {id}, "lifetime": {"x"}}), http.StatusBadRequest, "Renew Token", `name="renews" value="`+id)

	// Nobody renews another's, administrators neither.
	for _, user := range []string{"carol", "alice"} {
		d.signIn(t, user)
		wantSays(t, d.get(t, "/generate?renews="+id), http.StatusNotFound)
		wantSays(t, d.post(t, "/generate", url.Values{"renews": {id}, "lifetime": {"30"}}), http.StatusNotFound)
	}
	d.signIn(t, "bob")
	for _, none := range []string{"", "x", uuid.NewString()} {
		wantSays(t, d.post(t, "/generate", url.Values{"renews": {none}, "lifetime": {"30"}}), http.StatusNotFound)
	}
}

func TestRenewForm(t *testing.T) {
	limited, free := registry.Policy{MaxLifetimeDays: 60}, registry.Policy{MaxLifetimeDays: registry.Unlimited}
	for _, test := range []struct {
		policy         registry.Policy
		seconds        int64
		lifetime, days string
	}{
		{limited, 30 * 86400, "30", ""},
		{limited, 45 * 86400, "other", "45"},
		{limited, 365 * 86400, "60", ""},
		{limited, store.Never, "60", ""},
		{limited, 1, "other", "1"},
		{limited, 7*86400 + 1, "other", "8"},
		{free, store.Never, "never", ""},
		{free, 400 * 86400, "other", "400"},
		{registry.Policy{MaxLifetimeDays: 400}, 500 * 86400, "other", "400"},
	} {
		got := renewForm(test.policy, &store.Record{Lifetime: test.seconds, Description: "x"})
		if got.Lifetime.Value != test.lifetime || got.Days.Value != test.days || got.Description.Value != "x" {
			t.Errorf("%+v of %d: %+v", test.policy, test.seconds, got)
		}
		if _, wrong, wrongDays := parseLifetime(test.policy, got.Lifetime.Value, got.Days.Value); wrong+wrongDays != "" {
			t.Errorf("%+v of %d can't be sent: %s%s", test.policy, test.seconds, wrong, wrongDays)
		}
	}
}

// What a list looks for, by itself and together.
func TestListFilters(t *testing.T) {
	d := newOffice(t)
	for _, made := range []struct {
		description string
		days        int64
		user        string
	}{{"expired", 5, "bob"}, {"soon", 45, "bob"}, {"active", 365, "bob"}, {"hers", 65, "carol"}} {
		d.issue(t, store.User{ID: made.user}, made.days*86400, made.description)
		d.advance(time.Second)
	}
	d.advance(42 * day)
	value, _ := d.issue(t, store.User{ID: "bob"}, 90*86400, "used")
	if _, err := d.page.Registry.Authenticate(d.page.Project, value, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	d.advance(time.Second)
	d.signIn(t, "alice")
	for query, want := range map[string][]string{
		"user=bob":                              {"used", "active", "soon", "expired"},
		"user=bob&status=active":                {"used", "active", "soon"},
		"user=bob&status=soon":                  {"soon"},
		"user=bob&status=expired":               {"expired"},
		"user=bob&status=nonsense":              {"used", "active", "soon", "expired"},
		"user=*&expiring=7":                     {"soon"},
		"user=*&expiring=30":                    {"hers", "soon"},
		"user=*&expiring=1":                     {},
		"user=*&unused=30":                      {"hers", "active", "soon", "expired"},
		"user=*&unused=30&status=active":        {"hers", "active", "soon"},
		"user=*&unused=43":                      {},
		"user=*&of=carol":                       {"hers"},
		"user=*&of=+bob+&status=soon":           {"soon"},
		"user=*&of=":                            {"used", "hers", "active", "soon", "expired"},
		"of=bob":                                {},
		"user=*&q=s&expiring=30&sort=expires":   {"soon", "hers"},
		"user=*&q=s&expiring=x&unused=0&page=9": {"used", "hers", "soon"},
	} {
		w := d.get(t, "?"+query)
		wantSays(t, w, http.StatusOK)
		if diff := cmp.Diff(want, descriptions(w)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	wantSays(t, d.get(t, "?user=bob&status=soon&unused=43&expiring=8"), http.StatusOK, "No token is like that.", `href="access-tokens?user=bob">Clear`,
		`value="soon" selected>Expires soon`, `value="43" selected>Unused for 43 days`, `value="8" selected>Expires within 8 days`)
	wantSays(t, d.get(t, "?user=bob&status=soon"), http.StatusOK, "1 of 4 tokens", `sort=expires&status=soon&user=bob`, "Tokens: 3 active, 1 expired. Last used just now")
}

func (s *failsAfter) Commit(ctx context.Context, m store.Mutation, lines ...[]byte) (store.Outcome, error) {
	if _, revokes := m.(store.Revoke); revokes {
		if s.commits == 0 {
			return store.Outcome{}, store.ErrUnavailable
		}
		s.commits--
	}
	return s.Store.Commit(ctx, m, lines...)
}

// Where the site has scopes, the form asks for some, and for addresses.
func TestGenerateWithScopes(t *testing.T) {
	d := newOffice(t)
	d.fix(store.Settings{Generate: "everyone", MaxLifetimeDays: 60})
	d.signIn(t, "bob")
	if w := d.get(t, "/generate"); strings.Contains(w.Body.String(), "scope") {
		t.Error("a site without scopes asks for some")
	}
	d.page.Scopes = []Scope{{"read", "Read only"}, {"jobs", ""}}
	wantSays(t, d.get(t, "/generate"), http.StatusOK, "What it may do", `name="scope.read"`, "Read only", `name="scope.jobs"`, `name="addresses"`)
	form := url.Values{"lifetime": {"30"}, "scope.read": {"1"}, "addresses": {"192.0.2.7/24, 2001:db8::1"}}
	wantSays(t, d.post(t, "/generate", url.Values{"lifetime": {"30"}, "addresses": {"localhost"}, "scope.jobs": {"1"}}), http.StatusBadRequest,
		"Enter addresses such as", `name="scope.jobs" value="1" checked`, `value="localhost"`)
	wantSays(t, d.post(t, "/generate", form), http.StatusOK, "Your new token", "<code>read</code>", "192.0.2.0/24")
	tokens, _, err := d.page.Registry.List(d.page.Project, registry.SignedIn("", store.User{ID: "bob"}, false), registry.Listing{})
	if err != nil || len(tokens) != 1 || !cmp.Equal(tokens[0].Scopes, []string{"read"}) || len(tokens[0].Addresses) != 2 {
		t.Fatalf("%+v, %v", tokens, err)
	}
	// A scope that isn't asked for can't be chosen.
	wantSays(t, d.post(t, "/generate", url.Values{"lifetime": {"30"}, "scope.other": {"1"}}), http.StatusOK, "Your new token")

	d.page.Scopes = []Scope{{"jobs", ""}}
	id := tokens[0].ID.String()
	wantSays(t, d.get(t, ""), http.StatusOK, "Its scopes are gone")
	wantSays(t, d.get(t, "/token?id="+id), http.StatusOK, "read: not there any more, and grants nothing")
	wantSays(t, d.get(t, "/generate?renews="+id), http.StatusOK, `name="scope.read" value="1" checked`, "not there any more", `value="192.0.2.0/24, 2001:db8::1"`)
}
