package contract

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const blockedTarget = api + "/blocked"

type blockedUser struct {
	UserID    string `json:"userId"`
	BlockedAt string `json:"blockedAt"`
	BlockedBy string `json:"blockedBy"`
}

func (g *gateway) blocked(t testing.TB, auth string) []blockedUser {
	t.Helper()
	got := g.do(t, ask{target: blockedTarget, auth: auth})
	wantStatus(t, got, http.StatusOK)
	var all struct {
		Data []blockedUser `json:"data"`
	}
	got.into(t, &all)
	if all.Data == nil {
		t.Errorf("data is to be a list: %s", got.body)
	}
	return all.Data
}

// setBlocked blocks by PUT, and unblocks by DELETE.
func (g *gateway) setBlocked(t testing.TB, method, auth, user string) {
	t.Helper()
	got := g.do(t, ask{method: method, target: blockedTarget + "?user=" + url.QueryEscape(user), auth: auth})
	wantStatus(t, got, http.StatusNoContent)
	if got.body != "" {
		t.Errorf("204 with a body: %q", got.body)
	}
}

func TestABlockedUserIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\npublic /health")+siteAt("{$PORT2}", "allow_generate everyone\nproject other"))
	mine, ending := g.create(t, as("bob"), 3600, ""), g.create(t, as("bob"), 3600, "")
	others, elsewhere := g.create(t, as("carol"), 3600, ""), g.createAt(t, 1, as("bob"), 3600, "")
	wantProxied(t, g.do(t, askFor(mine)), "bob")

	g.setBlocked(t, "PUT", as("alice"), "bob")
	refused := func(t *testing.T) {
		t.Helper()
		for _, asked := range []ask{
			{auth: bearer(mine.value)},
			{auth: bearer(mine.value), target: "/health"},
			{auth: bearer(mine.value), target: api},
			{auth: bearer(mine.value), target: currentTarget},
			{auth: bearer(mine.value), target: mine.target(), method: "DELETE"},
			{auth: bearer(mine.value), target: api, method: "POST", body: `{"lifetimeSeconds": 60}`},
			{auth: as("bob"), target: api},
			{auth: as("bob"), target: api + "/" + mine.info.TokenID},
			{auth: as("bob"), target: api, method: "POST", body: `{"lifetimeSeconds": 60}`},
			{auth: as("bob"), target: api + "?user=bob", method: "DELETE"},
		} {
			e := wantRefused(t, g.do(t, asked), http.StatusForbidden, "AccessControlException")
			if !strings.Contains(e.Message, "blocked") || !strings.Contains(e.Details, "administrator") {
				t.Errorf("%s %s: %v", asked.method, asked.target, e)
			}
		}
	}
	refused(t)
	// Who doesn't know the password doesn't learn of it.
	wantRefused(t, g.do(t, ask{target: api, auth: basic("bob", "wrong")}), http.StatusUnauthorized, "AuthenticationRequired")
	got := g.do(t, ask{target: "/health"})
	if wantStatus(t, got, http.StatusOK); got.received == nil || len(got.received.lines("Remote-User")) > 0 {
		t.Errorf("a public path without a token: %s", got)
	}
	wantProxied(t, g.do(t, askFor(others)), "carol")
	wantProxied(t, g.do(t, ask{site: 1, auth: bearer(elsewhere.value)}), "bob")

	t.Run("blocking once more changes nothing", func(t *testing.T) {
		before := g.blocked(t, as("alice"))
		g.setBlocked(t, "PUT", as("alice"), "bob")
		if diff := cmp.Diff(before, g.blocked(t, as("alice"))); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
		if len(before) != 1 || before[0].UserID != "bob" || before[0].BlockedBy != "alice" || at(t, before[0].BlockedAt).IsZero() {
			t.Errorf("blocked are %v", before)
		}
	})
	t.Run("a token can still end itself", func(t *testing.T) {
		g.remove(t, bearer(ending.value), currentTarget)
		wantRefused(t, g.do(t, askFor(ending)), http.StatusUnauthorized, "InvalidToken")
	})
	t.Run("it is as before after the server was killed", func(t *testing.T) {
		g.kill9(t)
		g.up(t)
		refused(t)
	})
	t.Run("and ends with an unblocking", func(t *testing.T) {
		for range 2 {
			g.setBlocked(t, "DELETE", as("alice"), "bob")
			wantProxied(t, g.do(t, askFor(mine)), "bob")
			g.list(t, as("bob"), "")
		}
		if left := g.blocked(t, as("alice")); len(left) != 0 {
			t.Errorf("blocked are %v", left)
		}
	})
}

func TestWhoMayBlockWhom(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("allow_generate everyone"), "admins alice", "admins alice dora", 1))
	bobs, alices := g.create(t, as("bob"), 3600, ""), g.create(t, as("alice"), 3600, "")
	for _, method := range []string{"PUT", "DELETE", "GET"} {
		for _, query := range []string{"?user=carol", "?user=bob", "?user=nobody", ""} {
			for _, auth := range []string{as("bob"), bearer(bobs.value)} {
				wantRefused(t, g.do(t, ask{method: method, target: blockedTarget + query, auth: auth}), http.StatusForbidden, "AccessControlException")
			}
		}
	}
	for _, method := range []string{"PUT", "DELETE"} {
		for _, query := range []string{"", "?user=", "?user", "?user=*", "?user=bob&user=carol", "?USER=bob"} {
			wantRefused(t, g.do(t, ask{method: method, target: blockedTarget + query, auth: as("alice")}), http.StatusBadRequest, "ApiValidationFailed")
		}
	}
	for _, user := range []string{"alice", "dora"} {
		for _, auth := range []string{as("alice"), bearer(alices.value)} {
			wantRefused(t, g.do(t, ask{method: "PUT", target: blockedTarget + "?user=" + user, auth: auth}), http.StatusConflict, "ConflictException")
		}
		g.setBlocked(t, "DELETE", as("alice"), user)
	}
	if blocked := g.blocked(t, as("alice")); len(blocked) != 0 {
		t.Fatalf("blocked are %v", blocked)
	}
	// Anybody can be blocked, known or not, and a token of a named administrator does.
	want := []string{"Bob", "bob", "nobody yet/?&ü"}
	for _, user := range want {
		g.setBlocked(t, "PUT", bearer(alices.value), user)
	}
	var got []string
	for _, u := range g.blocked(t, bearer(alices.value)) {
		got = append(got, u.UserID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("blocked (-want +got):\n%s", diff)
	}
	wantRefused(t, g.do(t, askFor(bobs)), http.StatusForbidden, "AccessControlException")
}

// A block stays when its user is made an administrator later, and can be lifted.
func TestABlockOutlivesAReload(t *testing.T) {
	t.Parallel()
	sites := site("allow_generate everyone")
	g := start(t, sites)
	bobs := g.create(t, as("bob"), 3600, "")
	g.setBlocked(t, "PUT", as("alice"), "bob")
	g.reload(t, strings.Replace(sites, "admins alice", "admins alice bob", 1))
	wantRefused(t, g.do(t, askFor(bobs)), http.StatusForbidden, "AccessControlException")
	wantRefused(t, g.do(t, ask{method: "DELETE", target: blockedTarget + "?user=bob", auth: as("bob")}), http.StatusForbidden, "AccessControlException")
	g.setBlocked(t, "DELETE", as("alice"), "bob")
	wantProxied(t, g.do(t, askFor(bobs)), "bob")
}

// Whom a handler in front established is nobody on a public path, and refused
// elsewhere.
func TestABlockedUserInFront(t *testing.T) {
	t.Parallel()
	g := start(t, `
http://:{$PORT} {
	bind 127.0.0.1
	@browser not access_token
	basic_auth @browser {
		alice {$ALICE_HASH}
		bob {$BOB_HASH}
	}
	access_tokens {
		project dataprep
		admins alice
		allow_generate everyone
		sign_in placeholder {http.auth.user.id}
		without_token pass
		public /health
	}
	reverse_proxy {$UPSTREAM}
}`)
	wantProxied(t, g.do(t, ask{auth: as("bob")}), "bob")
	wantProxied(t, g.do(t, ask{auth: as("bob"), target: "/health"}), "bob")
	g.setBlocked(t, "PUT", as("alice"), "bob")
	wantRefused(t, g.do(t, ask{auth: as("bob")}), http.StatusForbidden, "AccessControlException")
	wantRefused(t, g.do(t, ask{auth: as("bob"), target: api}), http.StatusForbidden, "AccessControlException")
	got := g.do(t, ask{auth: as("bob"), target: "/health"})
	if wantStatus(t, got, http.StatusOK); got.received == nil || len(got.received.lines("Remote-User")) > 0 {
		t.Errorf("a public path: %s", got)
	}
	wantProxied(t, g.do(t, ask{auth: as("alice")}), "alice")
	g.api.mu.Lock()
	g.api.requests = nil // they were passed on with their passwords, as written
	g.api.mu.Unlock()
}

func TestTheAccessLogSaysThatAUserIsBlocked(t *testing.T) {
	t.Parallel()
	g := start(t, logging("allow_generate everyone"))
	made := g.create(t, as("bob"), 3600, "")
	g.setBlocked(t, "PUT", as("alice"), "bob")
	wantRefused(t, g.do(t, ask{auth: bearer(made.value), lines: []string{"User-Agent: token"}}), http.StatusForbidden, "AccessControlException")
	wantRefused(t, g.do(t, ask{auth: as("bob"), target: api, lines: []string{"User-Agent: sign-in"}}), http.StatusForbidden, "AccessControlException")
	byToken, bySignIn := g.accessLogLine(t, "token"), g.accessLogLine(t, "sign-in")
	if byToken["refusal"] != "blocked" || byToken["token_id"] != made.info.TokenID || byToken["token_user_id"] != "bob" {
		t.Errorf("by a token: %v", byToken)
	}
	if bySignIn["refusal"] != "blocked" {
		t.Errorf("by a sign-in: %v", bySignIn)
	}
}
