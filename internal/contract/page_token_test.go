package contract

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A token's owner learns on its page why a script is refused, an administrator
// of anybody's; to others there is no such token.
func TestPageOfAToken(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alice, bob, carol := signedIn(t, g, "alice"), signedIn(t, g, "bob"), signedIn(t, g, "carol")
	made := g.create(t, as("bob"), 86400*30, "nightly "+strings.Repeat("export ", 60)+"of everything")
	successor := g.create(t, bearer(made.value), 3600, "its successor")
	wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "bob")
	below := "/token?id=" + made.info.TokenID
	for _, p := range []*person{alice, bob} {
		wantSays(t, p.get(t, below), http.StatusOK, made.info.TokenID, "of everything", "Active", "in 30 days", "from <code>127.0.0.1</code>",
			"Made by", "bob", successor.info.TokenID, "No request with this token was refused", "Delete Token…")
		wantSays(t, p.get(t, "/token?id="+successor.info.TokenID), http.StatusOK, "Renews", made.info.TokenID, "Lifetime</dt><dd>1 hour")
	}
	wantSays(t, bob.get(t, ""), http.StatusOK, below)
	never := carol.get(t, "/token?id=00000000-0000-4000-8000-000000000000")
	if got := carol.get(t, below); got.status != http.StatusNotFound || got.body != never.body {
		t.Errorf("another's token: %s", got)
	}

	wantStatus(t, alice.post(t, "/block", about("bob")), http.StatusSeeOther)
	wantRefused(t, g.do(t, ask{auth: bearer(made.value)}), http.StatusForbidden, "AccessControlException")
	wantSays(t, alice.get(t, below), http.StatusOK, "Refused lately", "Its user was blocked.", "The user is blocked")
	wantStatus(t, alice.post(t, "/unblock", about("bob")), http.StatusSeeOther)
	wantStatus(t, bob.post(t, "/delete", url.Values{"id": {made.info.TokenID}}), http.StatusSeeOther)
	for range 2 {
		wantRefused(t, g.do(t, ask{auth: bearer(made.value)}), http.StatusUnauthorized, "InvalidToken")
	}
	wantSays(t, bob.get(t, below), http.StatusOK, ">Deleted<", "It had been deleted.</td><td>2</td>", "Its user was blocked.</td><td>1</td>", "127.0.0.1", successor.info.TokenID)
	wantProxied(t, g.do(t, ask{auth: bearer(successor.value)}), "bob")

	wantForm(t, (&person{g: g}).get(t, below))
	wantRefused(t, g.do(t, ask{target: pagePath + below, auth: bearer(successor.value)}), http.StatusForbidden, "AccessControlException")
	wantStatus(t, g.do(t, bob.ask(http.MethodPost, below, url.Values{})), http.StatusMethodNotAllowed)
}

// Renewing on the page makes a new token that is as the old one was, and offers
// to delete that one, which works until then.
func TestPageRenew(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alice, bob := signedIn(t, g, "alice"), signedIn(t, g, "bob")
	old := g.create(t, as("bob"), 86400*45, "nightly <export>")
	id := old.info.TokenID
	wantSays(t, bob.get(t, ""), http.StatusOK, "/generate?renews="+id)
	wantSays(t, bob.get(t, "/generate?renews="+id), http.StatusOK, "Renew Token", `value="nightly <export>"`, `value="45"`)
	form := url.Values{"renews": {id}, "lifetime": {"other"}, "days": {"45"}, "description": {"nightly <export>"}}
	wantSays(t, alice.get(t, "/generate?renews="+id), http.StatusNotFound, "There is no such token")
	wantSays(t, alice.post(t, "/generate", form), http.StatusNotFound, "There is no such token")
	bob.get(t, "")
	got := bob.post(t, "/generate", form)
	wantSays(t, got, http.StatusOK, "Your new token", "is still there", "Delete the Old Token…", "/delete?id="+id)
	value := secret(valueField.FindStringSubmatch(got.body)[1])
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "bob")
	wantProxied(t, g.do(t, ask{auth: bearer(old.value)}), "bob")
	listed := g.list(t, as("bob"), "")
	if len(listed.Data) != 2 {
		t.Fatalf("%d tokens", len(listed.Data))
	}
	if made := listed.Data[1]; made.Description != "nightly <export>" || strings.Contains(g.do(t, ask{target: api + "/" + made.TokenID, auth: as("bob")}).body, "parentId") {
		t.Errorf("made %+v", made)
	}
	wantStatus(t, bob.post(t, "/delete", url.Values{"id": {id}}), http.StatusSeeOther)
	wantRefused(t, g.do(t, ask{auth: bearer(old.value)}), http.StatusUnauthorized, "InvalidToken")
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "bob")
}

// Several tokens are marked and go together, once the page has named them.
func TestPageDeleteSeveral(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alice, bob := signedIn(t, g, "alice"), signedIn(t, g, "bob")
	first, second, stays := g.create(t, as("bob"), 3600, "the first"), g.create(t, as("bob"), 3600, "the second"), g.create(t, as("bob"), 3600, "stays")
	carols := g.create(t, as("carol"), 3600, "carol's")
	asked := bob.get(t, "/delete?id="+first.info.TokenID+"&id="+second.info.TokenID+"&id="+carols.info.TokenID)
	wantSays(t, asked, http.StatusOK, "Delete 2 Tokens", "the first", "the second", "can’t be undone")
	if strings.Contains(asked.body, "carol") {
		t.Errorf("bob is shown carol's: %s", asked)
	}
	wantProxied(t, g.do(t, ask{auth: bearer(first.value)}), "bob")
	form := url.Values{"id": {first.info.TokenID + " " + second.info.TokenID + " " + carols.info.TokenID}}
	got := bob.post(t, "/delete", form)
	if location := got.header.Get("Location"); got.status != http.StatusSeeOther || location != "../access-tokens?gone=2" {
		t.Errorf("to %q: %s", location, got)
	}
	for _, gone := range []string{first.value, second.value} {
		wantRefused(t, g.do(t, ask{auth: bearer(gone)}), http.StatusUnauthorized, "InvalidToken")
	}
	wantProxied(t, g.do(t, ask{auth: bearer(stays.value)}), "bob")
	wantProxied(t, g.do(t, ask{auth: bearer(carols.value)}), "carol")

	// It takes a form that its sender was shown, from a page that somebody navigates.
	form = url.Values{"id": {stays.info.TokenID + " " + carols.info.TokenID}}
	form.Set("nonce", bob.nonce)
	wantSays(t, alice.post(t, "/delete", form), http.StatusForbidden, "This form can’t be used any more")
	form.Del("nonce")
	for line, says := range map[string]string{"Origin: https://evil.example": "This came from another site", "Sec-Fetch-Mode: cors": "Only people use this page"} {
		wantSays(t, alice.post(t, "/delete", form, line), http.StatusForbidden, says)
	}
	wantSays(t, alice.get(t, "/delete?id="+stays.info.TokenID+"+"+carols.info.TokenID), http.StatusOK, "Delete 2 Tokens", "bob", "carol")
	wantStatus(t, alice.post(t, "/delete", form), http.StatusSeeOther)
	for _, gone := range []string{stays.value, carols.value} {
		wantRefused(t, g.do(t, ask{auth: bearer(gone)}), http.StatusUnauthorized, "InvalidToken")
	}
}

// After whatever is done, people are back in the list as it was: one of the
// page's, whatever the request says.
func TestPageListIsKept(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alice := signedIn(t, g, "alice")
	for from, want := range map[string]string{
		"": "&user=%2A", "user=bob": "&user=bob", "user=*&status=soon&unused=30&expiring=7&q=x&sort=used&page=3": "&expiring=7&page=3&q=x&sort=used&status=soon&unused=30&user=%2A",
		"https://evil.example/?user=bob": "&user=%2A", "//evil.example": "&user=%2A", "&x=y": "&user=%2A", "user=bob&deleted=01234567&next=%2Fx": "&user=bob",
	} {
		id := g.create(t, as("bob"), 3600, "").info.TokenID
		wantStatus(t, alice.get(t, "/delete?id="+id+"&from="+url.QueryEscape(from)), http.StatusOK)
		got := alice.post(t, "/delete", url.Values{"id": {id}, "from": {from}})
		if location := got.header.Get("Location"); location != "../access-tokens?deleted="+id[:8]+want {
			t.Errorf("from %q to %q", from, location)
		}
	}
	for below, want := range map[string]string{"/block": "?status=active&user=bob", "/unblock": "?status=active&unblocked=&user=bob", "/delete-all": "?ended=0&status=active&user=bob"} {
		got := alice.post(t, below, url.Values{"user": {"bob"}, "from": {"user=bob&status=active"}})
		if location := got.header.Get("Location"); location != "../access-tokens"+want {
			t.Errorf("%s leads to %q", below, location)
		}
	}
}

// A list shows what is looked for: by state, use, expiry, user and text.
func TestPageFilters(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	soon, later, carols := g.create(t, as("bob"), 86400*6, "within a week"), g.create(t, as("bob"), 86400*60, "in two months"), g.create(t, as("carol"), 86400*20, "carol's")
	ended := g.create(t, as("bob"), 1, "ended")
	g.wait(t, "a token has expired", func() bool { return g.do(t, ask{auth: bearer(ended.value)}).status == http.StatusUnauthorized })
	alice := signedIn(t, g, "alice")
	for query, want := range map[string][]token{
		"?user=*":                     {soon, later, carols, ended},
		"?user=*&status=active":       {soon, later, carols},
		"?user=*&status=expired":      {ended},
		"?user=*&status=soon":         {},
		"?user=*&expiring=7":          {soon},
		"?user=*&expiring=30":         {soon, carols},
		"?user=*&of=carol":            {carols},
		"?user=*&of=bob&expiring=30":  {soon},
		"?user=*&unused=1":            {},
		"?user=bob&q=in&expiring=100": {soon, later},
	} {
		got := alice.get(t, query)
		wantStatus(t, got, http.StatusOK)
		for _, made := range []token{soon, later, carols, ended} {
			wanted := false
			for _, w := range want {
				wanted = wanted || w.info.TokenID == made.info.TokenID
			}
			if strings.Contains(got.body, `value="`+made.info.TokenID+`"`) != wanted {
				t.Errorf("%s: %q shown: %v, want %v", query, made.info.Description, !wanted, wanted)
			}
		}
	}
}
