package contract

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const youAreBlocked = "You are blocked"

// about is what a form says that is about a user.
func about(user string) url.Values { return url.Values{"user": {user}} }

// An administrator ends all that a user has, once the page has said what breaks.
func TestPageDeleteAllOfAUser(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alice := signedIn(t, g, "alice")
	first := g.create(t, as("bob"), 3600, "")
	values := []string{first.value, g.create(t, bearer(first.value), 3600, "its successor").value}
	carols := g.create(t, as("carol"), 3600, "")

	wantSays(t, alice.get(t, "?user=bob"), http.StatusOK, "Delete all of this user’s tokens…")
	wantSays(t, alice.get(t, "/delete-all?user=bob"), http.StatusOK, "one of these 2 tokens will be refused", "can’t be undone")
	for _, value := range values {
		wantProxied(t, g.do(t, ask{auth: bearer(value)}), "bob")
	}
	got := alice.post(t, "/delete-all", about("bob"))
	wantStatus(t, got, http.StatusSeeOther)
	for _, value := range values {
		wantRefused(t, g.do(t, ask{auth: bearer(value)}), http.StatusUnauthorized, "InvalidToken")
	}
	wantProxied(t, g.do(t, ask{auth: bearer(carols.value)}), "carol")
	if location := got.header.Get("Location"); location != "../access-tokens?user=bob&ended=2" {
		t.Errorf("Location %q", location)
	}
	wantSays(t, alice.get(t, "?user=bob&ended=2"), http.StatusOK, "2 active tokens are deleted. They are refused from now on.", "has no access token")
	wantProxied(t, g.do(t, ask{auth: bearer(g.create(t, as("bob"), 3600, "afterwards").value)}), "bob")
}

// People end all that they have themselves; nobody else's.
func TestPageDeleteAllOfOnesOwn(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	bob := signedIn(t, g, "bob")
	bobs, carols := bob.generate(t, "30", ""), g.create(t, as("carol"), 3600, "").value
	wantSays(t, bob.get(t, ""), http.StatusOK, "Delete all your tokens…")
	wantSays(t, bob.get(t, "/delete-all"), http.StatusOK, "Delete all your tokens", "uses this token will be refused")
	for _, user := range []string{"carol", "nobody", "bob"} {
		wantSays(t, bob.get(t, "/delete-all?user="+user), http.StatusForbidden, "administrator")
		wantSays(t, bob.post(t, "/delete-all", about(user)), http.StatusForbidden, "administrator")
	}
	got := bob.post(t, "/delete-all", nil)
	wantStatus(t, got, http.StatusSeeOther)
	wantSays(t, bob.get(t, strings.TrimPrefix(got.header.Get("Location"), "../access-tokens")), http.StatusOK, "1 active token is deleted", "You have no access tokens")
	wantRefused(t, g.do(t, ask{auth: bearer(bobs)}), http.StatusUnauthorized, "InvalidToken")
	wantProxied(t, g.do(t, ask{auth: bearer(carols)}), "carol")
}

// Whoever is blocked is refused everywhere from the next request on, learns it
// once the password was right, and has all back when unblocked.
func TestPageBlock(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alice, bob, elsewhere := signedIn(t, g, "alice"), signedIn(t, g, "bob"), signedIn(t, g, "bob")
	value := bob.generate(t, "30", "bob's own")
	alice.get(t, "")
	wantSays(t, alice.get(t, "/block?user=bob"), http.StatusOK, "Every token of this user is refused", "can’t sign in", "Nothing is deleted.")
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "bob")
	wantSays(t, bob.get(t, ""), http.StatusOK, "bob's own")

	wantStatus(t, alice.post(t, "/block", about("bob")), http.StatusSeeOther)
	wantRefused(t, g.do(t, ask{auth: bearer(value)}), http.StatusForbidden, "AccessControlException")
	for _, below := range []string{"", "/generate", "/delete-all", "/settings", "/blocked"} {
		got := bob.get(t, below)
		wantSays(t, got, http.StatusForbidden, youAreBlocked, "Ask an administrator", "Sign out")
		if strings.Contains(got.body, "bob's own") {
			t.Errorf("%s shows a blocked user something: %s", below, got)
		}
	}
	for _, below := range []string{"/generate", "/delete-all", "/unblock"} {
		wantSays(t, bob.post(t, below, about("bob")), http.StatusForbidden, youAreBlocked)
	}
	wantStatus(t, bob.post(t, "/sign-out", nil), http.StatusSeeOther)
	wantForm(t, bob.get(t, ""))
	nobody := &person{g: g}
	got := nobody.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {passwords["bob"]}})
	wantSays(t, got, http.StatusForbidden, youAreBlocked, "Ask an administrator")
	if got.header.Get("Set-Cookie") != "" {
		t.Errorf("a blocked user has a session: %s", got)
	}
	wantSays(t, nobody.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {secret("not what bob says")}}), http.StatusUnauthorized, "User name or password is wrong.")

	wantSays(t, alice.get(t, "?user=*"), http.StatusOK, "bob's own", ">Blocked<")
	wantSays(t, alice.get(t, "?user=bob"), http.StatusOK, `Blocked by <bdi class="text">alice</bdi>`, "Unblock")
	wantSays(t, alice.get(t, "/blocked"), http.StatusOK, "1 blocked user", "bob", "alice")
	wantStatus(t, alice.post(t, "/unblock", about("bob")), http.StatusSeeOther)
	wantSays(t, alice.get(t, "/blocked"), http.StatusOK, "Nobody is blocked")
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "bob")
	wantSays(t, elsewhere.get(t, ""), http.StatusOK, "bob's own")
	bob.signIn(t, "bob")
}

// Anybody can be blocked, known or not, but oneself and those under admins.
func TestPageWhoCanBeBlocked(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("allow_generate everyone"), "admins alice", "admins alice dora", 1))
	alice, bob := signedIn(t, g, "alice"), signedIn(t, g, "bob")
	wantStatus(t, alice.post(t, "/block", about("not seen yet")), http.StatusSeeOther)
	wantSays(t, alice.get(t, "/blocked"), http.StatusOK, "not seen yet")
	for user, why := range map[string]string{"alice": "You can't block yourself.", "dora": "admins"} {
		for _, got := range []answered{alice.get(t, "/block?user="+user), alice.post(t, "/block", about(user))} {
			wantSays(t, got, http.StatusConflict, "This user can’t be blocked", why)
		}
	}
	for _, user := range []string{"", "*"} {
		wantSays(t, alice.get(t, "/block?user="+user), http.StatusBadRequest, "This can’t be a user’s id")
		for _, below := range []string{"/block", "/unblock", "/delete-all"} {
			wantSays(t, alice.post(t, below, about(user)), http.StatusBadRequest, "This can’t be a user’s id")
		}
	}
	for _, user := range []string{"carol", "nobody"} {
		for _, got := range []answered{
			bob.get(t, "/block?user="+user), bob.post(t, "/block", about(user)), bob.post(t, "/unblock", about(user)), bob.get(t, "/blocked"), bob.get(t, "?user="+user),
		} {
			wantSays(t, got, http.StatusForbidden, "administrator")
		}
	}
	signedIn(t, g, "carol")
}

// What changes users takes a form that its sender was shown, from a page that
// somebody navigates.
func TestPageUsersForms(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alice, bob := signedIn(t, g, "alice"), signedIn(t, g, "bob")
	value := bob.generate(t, "30", "")
	bob.get(t, "")
	for _, below := range []string{"/block", "/unblock", "/delete-all"} {
		for _, nonce := range []string{"", bob.nonce} {
			wantSays(t, alice.post(t, below, url.Values{"user": {"bob"}, "nonce": {nonce}}), http.StatusForbidden, "This form can’t be used any more")
		}
		for _, line := range []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"} {
			wantSays(t, alice.post(t, below, about("bob"), line), http.StatusForbidden, "This came from another site")
		}
		for _, line := range []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: iframe", "Sec-Purpose: prefetch"} {
			wantSays(t, alice.post(t, below, about("bob"), line), http.StatusForbidden, "Only people use this page")
		}
		wantStatus(t, g.do(t, alice.ask(http.MethodDelete, below+"?user=bob", nil)), http.StatusMethodNotAllowed)
		wantRefused(t, g.do(t, ask{method: "POST", target: pagePath + below, auth: bearer(value)}), http.StatusForbidden, "AccessControlException")
	}
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "bob")
	wantSays(t, bob.get(t, ""), http.StatusOK, "1 token")
}

// Who is known to the page without its form is told the same, and signs out of
// nothing.
func TestPageBlockedSignedInOtherwise(t *testing.T) {
	t.Parallel()
	g := start(t, `
http://:{$PORT} {
	bind 127.0.0.1
	@erin header X-Front erin
	forward_auth @erin 127.0.0.1:{$PORT2} {
		uri /
		copy_headers Remote-User
	}
	access_tokens {
		project dataprep
		admins alice
		sign_in placeholder {http.reverse_proxy.header.Remote-User}
		sign_in basic {
			alice {$ALICE_HASH}
		}
	}
	reverse_proxy {$UPSTREAM}
}
`+erinsPortal)
	alice := signedIn(t, g, "alice")
	erin := ask{target: pagePath, lines: []string{"X-Front: erin"}}
	wantSays(t, g.do(t, erin), http.StatusOK, "You have no access tokens")
	wantStatus(t, alice.post(t, "/block", about("erin")), http.StatusSeeOther)
	got := g.do(t, erin)
	wantSays(t, got, http.StatusForbidden, youAreBlocked)
	if strings.Contains(got.body, "Sign out") {
		t.Errorf("there is nothing to sign out of: %s", got)
	}
	wantStatus(t, alice.post(t, "/unblock", about("erin")), http.StatusSeeOther)
	wantSays(t, g.do(t, erin), http.StatusOK, "You have no access tokens")
}

// A block and its refusals stand where the owner looks.
func TestPageBlockIsLogged(t *testing.T) {
	t.Parallel()
	g := start(t, logging("allow_generate everyone"))
	alice, bob := signedIn(t, g, "alice"), signedIn(t, g, "bob")
	wantStatus(t, alice.post(t, "/block", about("bob")), http.StatusSeeOther)
	wantStatus(t, g.do(t, bob.ask(http.MethodGet, "", nil, "User-Agent: session")), http.StatusForbidden)
	nobody := &person{g: g}
	wantStatus(t, nobody.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {passwords["bob"]}}, "User-Agent: sign-in"), http.StatusForbidden)
	for _, agent := range []string{"session", "sign-in"} {
		if line := g.accessLogLine(t, agent); line["refusal"] != "blocked" {
			t.Errorf("%s: %v", agent, line)
		}
	}
}

// Administrators see names and e-mails beside ids, and look for them.
func TestPageNames(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	g.create(t, as("carol"), 3600, "carol's")
	g.create(t, as("alice"), 3600, "alice's")
	alice := signedIn(t, g, "alice")
	for _, below := range []string{"?user=*", "?user=*&q=Alice+A", "?user=*&q=alice@example", "?user=alice", "/delete-all?user=alice"} {
		wantSays(t, alice.get(t, below), http.StatusOK, "Alice A.", "alice@example.com")
	}
	for _, below := range []string{"?user=*", "?user=*&q=carol@", "?user=carol", "/block?user=carol", "/delete-all?user=carol"} {
		wantSays(t, alice.get(t, below), http.StatusOK, "carol@example.com")
	}
	wantStatus(t, alice.post(t, "/block", about("carol")), http.StatusSeeOther)
	wantSays(t, alice.get(t, "/blocked"), http.StatusOK, "carol@example.com")
	if own := alice.get(t, ""); strings.Contains(own.body, "alice@example.com") {
		t.Errorf("one's own list says whose it is: %s", own)
	}
}

var (
	nextLink = regexp.MustCompile(`rel="next" href="access-tokens([^"]+)"`)
	listedAs = regexp.MustCompile(`<bdi class="text">(token \d+)</bdi>`)
)

// A list leads from part to part, in each order, and shows each token once.
func TestPageParts(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	var made []string
	for i := range 52 {
		made = append(made, fmt.Sprintf("token %02d", i))
		g.create(t, as("bob"), int64(3600+i), made[i])
	}
	backwards := slices.Clone(made)
	slices.Reverse(backwards)
	bob := signedIn(t, g, "bob")
	for query, want := range map[string][]string{
		"": backwards, "?sort=created&dir=asc": made, "?sort=expires": made, "?sort=expires&dir=desc": backwards, "?sort=used": backwards, "?sort=used&dir=asc": made, "?q=TOKEN": backwards,
	} {
		var shown []string
		for below, parts := query, 0; ; parts++ {
			got := bob.get(t, below)
			wantSays(t, got, http.StatusOK, "of 52 tokens")
			for _, found := range listedAs.FindAllStringSubmatch(got.body, -1) {
				shown = append(shown, found[1])
			}
			next := nextLink.FindStringSubmatch(html.UnescapeString(got.body))
			if next == nil || parts > 2 {
				break
			}
			below = next[1]
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
}
