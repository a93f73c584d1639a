package contract

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The page's forms work without a browser's script.
func TestPage(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	p := &person{g: g}
	wantForm(t, p.get(t, ""))
	wantForm(t, p.get(t, "/generate"))
	p.signIn(t, "bob")
	wantSays(t, p.get(t, ""), http.StatusOK, "You have no access tokens", "Sign out", "bob")
	value := p.generate(t, "30", "nightly & daily <b>")
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "bob")
	list := p.get(t, "")
	wantSays(t, list, http.StatusOK, "nightly & daily <b>", "Active", "in 30 days")
	if strings.Contains(list.body, "<b>") || strings.Contains(list.body, value) {
		t.Errorf("the list has markup, or the value: %s", list)
	}
	id := wholeID.FindStringSubmatch(list.body)[1]
	wantSays(t, p.get(t, "/delete?id="+id), http.StatusOK, id, "can’t be undone")
	got := p.post(t, "/delete", url.Values{"id": {id}})
	wantStatus(t, got, http.StatusSeeOther)
	if location := got.header.Get("Location"); location != "../access-tokens?deleted="+id[:8] {
		t.Errorf("Location %q", location)
	}
	wantRefused(t, g.do(t, ask{auth: bearer(value)}), http.StatusUnauthorized, "InvalidToken")
	wantSays(t, p.post(t, "/delete", url.Values{"id": {id}}), http.StatusNotFound, "There is no such token")
	wantSays(t, p.get(t, "?deleted="+id[:8]), http.StatusOK, "is deleted")
	if got := p.get(t, "?deleted=<script>"); strings.Contains(got.body, "is deleted") {
		t.Errorf("says that something is deleted: %s", got)
	}
}

// Every answer forbids what the page doesn't need.
func TestPageHeaders(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	p := &person{g: g}
	for _, below := range []string{"", "/generate", "/page.css", "/page.js", "/icon.svg", "/nothing"} {
		got := p.get(t, below)
		for name, want := range map[string]string{
			"Content-Security-Policy":      "frame-ancestors 'none'",
			"Cache-Control":                "no-store",
			"Referrer-Policy":              "no-referrer",
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Cross-Origin-Opener-Policy":   "noopener-allow-popups",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if !strings.Contains(got.header.Get(name), want) {
				t.Errorf("%s: %s %q, want %q", below, name, got.header.Get(name), want)
			}
		}
		if policy := got.header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'; script-src 'self'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %s", below, policy)
		}
		if strings.Contains(got.body, "<style") || strings.Contains(got.body, " style=") || strings.Contains(got.body, " onclick") || strings.Contains(got.body, "<script>") {
			t.Errorf("%s has something inline: %s", below, got)
		}
	}
	if got := p.g.do(t, p.ask(http.MethodHead, "", nil)); got.status != http.StatusOK || got.body != "" {
		t.Errorf("HEAD: %s", got)
	}
	got := p.g.do(t, p.ask(http.MethodPut, "/generate", nil))
	wantStatus(t, got, http.StatusMethodNotAllowed)
	if allow := got.header.Get("Allow"); allow != "GET, HEAD, POST" {
		t.Errorf("Allow %q", allow)
	}
}

// A form that is sent again makes no second token.
func TestPageFormOnce(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\nmax_lifetime 60d"))
	p := signedIn(t, g, "bob")
	form := p.form(t, "30", "once")
	for _, wrong := range []struct{ lifetime, days, says string }{
		{"365", "", "Choose how long"}, {"never", "", "Choose how long"}, {"", "", "Choose how long"},
		{"other", "", "Enter a number of days."}, {"other", "61", "from 1 to 60"}, {"other", "-1", "from 1 to 60"}, {"other", "1.5", "from 1 to 60"},
		{"30", "45", "Choose “Other”"},
	} {
		again := url.Values{"nonce": form["nonce"], "lifetime": {wrong.lifetime}, "days": {wrong.days}, "description": {"once"}}
		wantSays(t, p.post(t, "/generate", again), http.StatusBadRequest, wrong.says, `value="once"`)
	}
	long := url.Values{"nonce": form["nonce"], "lifetime": {"30"}, "description": {strings.Repeat("€", 1025)}}
	wantSays(t, p.post(t, "/generate", long), http.StatusBadRequest, "at most 1024 characters")
	pasted := url.Values{"nonce": form["nonce"], "lifetime": {"30"}, "description": {"is it " + neverIssued("cat")}}
	wantSays(t, p.post(t, "/generate", pasted), http.StatusBadRequest, "That was a token.", `name="description" value=""`)
	got := p.post(t, "/generate", form)
	wantSays(t, got, http.StatusOK, "Your new token")
	secret(valueField.FindStringSubmatch(got.body)[1])
	wantSays(t, p.post(t, "/generate", form), http.StatusConflict, "made already")
	wantSays(t, signedIn(t, g, "carol").post(t, "/generate", form), http.StatusForbidden, "This form can’t be used any more")
	for _, nonce := range []string{"", "AAECAwQFBgcICQoLDA0ODw"} {
		form.Set("nonce", nonce)
		wantSays(t, p.post(t, "/generate", form), http.StatusForbidden, "Nothing was changed.")
	}
	if n := len(g.list(t, as("bob"), "").Data); n != 1 {
		t.Errorf("%d tokens", n)
	}
}

// Where the page is, and where it isn't.
func TestPagePath(t *testing.T) {
	t.Parallel()
	g := start(t, site("page /a/tokens\nwithout_token pass")+siteAt("{$PORT2}", "page off\nwithout_token pass\nproject off")+`
http://:{$PORT3} {
	bind 127.0.0.1
	handle_path /pre/* {
		access_tokens {
			project pre
			admins alice
			sign_in basic {
				alice {$ALICE_HASH}
			}
		}
		reverse_proxy {$UPSTREAM}
	}
}`)
	wantForm(t, g.do(t, ask{target: "/a/tokens"}))
	for target, status := range map[string]int{
		"/a/tokens/": 404, "/a//tokens": 404, "/A/tokens": 404, "/a/%74okens": 404, "/a/tokens;x": 404, "/b/../a/tokens": 404, "/a/tokens/sign-in/": 404,
		"/a/tokens/nothing": 404, "/a/tokensx": 200, "/access-tokens": 200,
	} {
		got := g.do(t, ask{target: target})
		wantStatus(t, got, status)
		if reached := status == 200; (got.reached > 0) != reached {
			t.Errorf("%s: %d requests reached the API behind", target, got.reached)
		}
	}
	if got := g.do(t, ask{site: 1, target: pagePath}); got.reached != 1 {
		t.Errorf("page off: %s", got)
	}
	got := g.do(t, ask{site: 2, target: "/pre" + pagePath})
	wantForm(t, got)
	for _, link := range []string{`action="access-tokens/sign-in"`, `href="access-tokens/page.css"`} {
		if !strings.Contains(got.body, link) {
			t.Errorf("no %s: %s", link, got)
		}
	}
	form := url.Values{"user": {"alice"}, "password": {passwords["alice"]}, "next": {"generate"}}.Encode()
	got = g.do(t, ask{site: 2, method: "POST", target: "/pre" + pagePath + "/sign-in", kind: "application/x-www-form-urlencoded", body: form})
	if location := got.header.Get("Location"); got.status != http.StatusSeeOther || location != "../access-tokens/generate" {
		t.Errorf("Location %q: %s", location, got)
	}
}

// With API access off people sign in, and learn that it is off; only
// administrators see the switch, and the tokens, of which they delete what has
// leaked.
func TestPageOff(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alice, bob := signedIn(t, g, "alice"), signedIn(t, g, "bob")
	value, leaked := bob.generate(t, "30", "stays"), bob.generate(t, "30", "leaked")
	got := alice.post(t, "/settings", url.Values{"all": {"1"}, "generate": {"everyone"}, "limit": {"days"}, "days": {"100"}})
	wantStatus(t, got, http.StatusSeeOther)
	wantRefused(t, g.do(t, ask{auth: bearer(value)}), http.StatusForbidden, "AccessControlException")
	for _, below := range []string{"", "/generate", "/settings"} {
		wantSays(t, alice.get(t, below), http.StatusOK, "Switch API access on")
		wantSays(t, bob.get(t, below), http.StatusOK, "API access is off")
		if got := bob.get(t, below); strings.Contains(got.body, "Switch API") {
			t.Errorf("bob sees the switch: %s", got)
		}
	}
	list := alice.get(t, "?user=*")
	wantSays(t, list, http.StatusOK, "Switch API access on", "stays", "leaked")
	id := wholeID.FindStringSubmatch(alice.get(t, "?user=bob&q=leaked").body)[1]
	wantSays(t, alice.get(t, "/delete?id="+id), http.StatusOK, "Delete Token", "leaked")
	wantSays(t, bob.post(t, "/delete", url.Values{"id": {id}}), http.StatusForbidden, "API access is off")
	wantStatus(t, alice.post(t, "/delete", url.Values{"id": {id}}), http.StatusSeeOther)
	wantSays(t, alice.post(t, "/generate", url.Values{"lifetime": {"30"}}), http.StatusForbidden, "No token was made.")
	carol := signedIn(t, g, "carol")
	wantSays(t, carol.post(t, "/settings", url.Values{"switch": {"1"}, "enabled": {"on"}}), http.StatusForbidden, "API access is off")
	wantStatus(t, alice.post(t, "/settings", url.Values{"switch": {"1"}, "enabled": {"on"}}), http.StatusSeeOther)
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "bob")
	wantRefused(t, g.do(t, ask{auth: bearer(leaked)}), http.StatusUnauthorized, "InvalidToken")
	wantSays(t, bob.get(t, "/generate"), http.StatusOK, "100 days")
	wantStatus(t, carol.post(t, "/sign-out", nil), http.StatusSeeOther)
}

// Others' tokens are administrators' business.
func TestPageAdministrators(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	bobs := g.create(t, as("bob"), 3600, "bob's own")
	alice, carol := signedIn(t, g, "alice"), signedIn(t, g, "carol")
	wantSays(t, alice.get(t, "?user=*"), http.StatusOK, "bob's own", "bob")
	wantSays(t, alice.get(t, "?user=bob"), http.StatusOK, "bob's own")
	wantSays(t, carol.get(t, "?user=*"), http.StatusForbidden, "administrator")
	wantSays(t, carol.get(t, "/settings"), http.StatusForbidden, "administrator")
	wantSays(t, carol.post(t, "/settings", url.Values{}), http.StatusForbidden, "administrator")
	none := carol.get(t, "/delete?id=00000000-0000-4000-8000-000000000000")
	others := carol.get(t, "/delete?id="+bobs.info.TokenID)
	if none.body != others.body || others.status != http.StatusNotFound {
		t.Errorf("another's token: %s", others)
	}
	wantStatus(t, carol.post(t, "/delete", url.Values{"id": {bobs.info.TokenID}}), http.StatusNotFound)
	wantProxied(t, g.do(t, ask{auth: bearer(bobs.value)}), "bob")
	wantSays(t, alice.get(t, "/delete?id="+bobs.info.TokenID), http.StatusOK, "bob")
	wantStatus(t, alice.post(t, "/delete", url.Values{"id": {bobs.info.TokenID}}), http.StatusSeeOther)
	wantRefused(t, g.do(t, ask{auth: bearer(bobs.value)}), http.StatusUnauthorized, "InvalidToken")
}

// Who looks for a token by its value gets an answer for people, and the value
// goes no further: neither by the address nor by what the browser asks next.
func TestPageATokenInTheFilter(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("allow_generate everyone\nwithout_token pass"), "bind 127.0.0.1", "bind 127.0.0.1\nlog", 1))
	p := signedIn(t, g, "bob")
	value := p.generate(t, "30", "")
	got := g.do(t, p.ask(http.MethodGet, "?q="+value, nil, "Accept: text/html,*/*"))
	wantSays(t, got, http.StatusBadRequest, "That was a token", "data-forget")
	if policy := got.header.Get("Referrer-Policy"); policy != "no-referrer" && policy != "same-origin" {
		t.Errorf("Referrer-Policy %q", policy)
	}
	program := g.do(t, p.ask(http.MethodGet, "?q="+value, nil))
	wantRefused(t, program, http.StatusBadRequest, "InvalidRequest")
	elsewhere := g.do(t, ask{target: "/v3/x?t=" + value})
	for _, got := range []answered{program, elsewhere} {
		if policy := got.header.Get("Referrer-Policy"); policy != "no-referrer" {
			t.Errorf("Referrer-Policy %q", policy)
		}
	}
	for _, referer := range []string{"http://x/access-tokens?q=" + value, "http://x/" + strings.ReplaceAll(value, "_", "%5F")} {
		got := g.do(t, ask{target: "/favicon.ico", lines: []string{"Referer: " + referer}})
		wantStatus(t, got, http.StatusOK)
		if lines := got.received.lines("Referer"); len(lines) > 0 {
			t.Errorf("the API behind was told %q", lines)
		}
	}
	got = g.do(t, ask{target: "/favicon.ico", lines: []string{"Referer: http://x/access-tokens?q=cat_"}})
	if lines := got.received.lines("Referer"); len(lines) != 1 {
		t.Errorf("a Referer without a token has become %q", lines)
	}
}

// People who nearly find the page are told so; programs get what they get
// everywhere.
func TestPageNearMisses(t *testing.T) {
	t.Parallel()
	g := start(t, site("without_token pass"))
	for _, path := range []string{"/access-tokens/", "/Access-Tokens", "/access-tokens;x", "/access-tokens//", "/access%2Dtokens/generate", "/x/../access-tokens"} {
		got := g.do(t, ask{target: path, lines: []string{"Accept: text/html"}})
		wantSays(t, got, http.StatusNotFound, "This page doesn’t exist")
		if got.reached > 0 || got.header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %s", path, got)
		}
		wantRefused(t, g.do(t, ask{target: path}), http.StatusNotFound, "RouteNotFoundException")
	}
	got := g.do(t, ask{target: "/access-tokens/", lines: []string{"Accept: text/html"}})
	if !strings.Contains(got.body, `href="../access-tokens"`) {
		t.Errorf("no way back: %s", got)
	}
}

// However long a path is, what answers it is small, and leads to the page.
func TestPageDeepPaths(t *testing.T) {
	t.Parallel()
	g := start(t, site("without_token pass")+`
http://:{$PORT2} {
	bind 127.0.0.1
	handle_path /pre/* {
		access_tokens {
			project pre
			admins alice
			sign_in basic {
				alice {$ALICE_HASH}
			}
		}
	}
}`)
	many := func(text string) string { return strings.Repeat(text, 10_000/len(text)) }
	for _, path := range []string{
		pagePath + many("/"), "/x" + many("/..") + many("/") + pagePath, pagePath + many("/x"), many("/..") + pagePath, pagePath + many(";/"), pagePath + many("/%2e"), pagePath + many("%2F"),
	} {
		got := g.do(t, ask{target: path, lines: []string{"Accept: text/html"}})
		wantSays(t, got, http.StatusNotFound, "This page doesn’t exist")
		program := g.do(t, ask{target: path})
		wantStatus(t, program, http.StatusNotFound)
		if longest := max(len(got.body), len(program.body)); longest > 4<<10 || got.reached+program.reached > 0 {
			t.Errorf("%.40s of %d bytes is answered with %d", path, len(path), longest)
		}
	}
	got := g.do(t, ask{site: 1, target: "/pre" + pagePath + strings.Repeat("/x", 100), lines: []string{"Accept: text/html"}})
	if !strings.Contains(got.body, `href="/pre`+pagePath+`"`) {
		t.Errorf("no way back to where the prefix leads: %s", got.body)
	}
}

// A form that is sent twice leads to the token that it has made.
func TestPageAFormSentTwice(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	p := signedIn(t, g, "bob")
	form := p.form(t, "30", "")
	wantStatus(t, p.post(t, "/generate", form), http.StatusOK)
	listed := g.list(t, as("bob"), "")
	wantSays(t, p.post(t, "/generate", form), http.StatusConflict, "makes one token only", "../access-tokens/delete?id="+listed.ids()[0])
	if again := g.list(t, as("bob"), ""); len(again.Data) != 1 {
		t.Errorf("there are %d tokens", len(again.Data))
	}
}
