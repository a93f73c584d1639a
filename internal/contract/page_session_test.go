package contract

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What another site's page sends changes nothing, though the cookie be there.
func TestPageCrossSite(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	p := signedIn(t, g, "bob")
	form := p.form(t, "30", "")
	for _, lines := range [][]string{
		{"Sec-Fetch-Site: cross-site"},
		{"Sec-Fetch-Site: same-site"},
		{"Origin: https://evil.example"},
		{"Origin: null"},
	} {
		wantSays(t, p.post(t, "/generate", form, lines...), http.StatusForbidden, "This came from another site")
		wantSays(t, p.post(t, "/sign-out", nil, lines...), http.StatusForbidden, "This came from another site")
		nobody := person{g: g}
		got := nobody.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {passwords["bob"]}}, lines...)
		wantSays(t, got, http.StatusForbidden, "This came from another site")
		if got.header.Get("Set-Cookie") != "" {
			t.Errorf("a session for another site's form: %s", got)
		}
	}
	wantSays(t, p.get(t, ""), http.StatusOK, "You have no access tokens", "Sign out")
	for _, kind := range []string{"text/plain", "application/json", "multipart/form-data; boundary=x", "none"} {
		a := p.ask(http.MethodPost, "/generate", form)
		a.kind = kind
		wantSays(t, g.do(t, a), http.StatusUnsupportedMediaType)
	}
	wantSays(t, p.post(t, "/generate", form, "Sec-Fetch-Site: same-origin"), http.StatusOK, "Your new token")
}

// Only a session of this project that the page began, and that hasn't ended,
// opens the page.
func TestPageSessions(t *testing.T) {
	t.Parallel()
	other := strings.Replace(siteAt("{$PORT2}", "project other\nallow_generate everyone"), "{$ALICE_HASH}", "{$BOB_HASH}", 1)
	g := start(t, site("allow_generate everyone")+other)
	p := signedIn(t, g, "bob")
	_, value, _ := strings.Cut(p.cookie, "=")

	for name, cookie := range map[string]string{
		"forged":            cookieName + "=" + strings.Repeat("A", 43),
		"empty":             cookieName + "=",
		"another project's": "access-tokens-other=" + value,
		"with __Host-":      "__Host-" + p.cookie,
		"twice":             p.cookie + "; " + cookieName + "=x",
		"quoted":            cookieName + `="` + value + `"`,
	} {
		t.Run(name, func(t *testing.T) { wantForm(t, (&person{g: g, cookie: cookie}).get(t, "")) })
	}
	wantForm(t, (&person{g: g, site: 1, cookie: "access-tokens-other=" + value}).get(t, ""))
	wantForm(t, (&person{g: g, site: 1, cookie: p.cookie}).get(t, ""))

	// A session that somebody else began doesn't become the one who signs in.
	planted := &person{g: g, cookie: p.cookie}
	got := planted.post(t, "/sign-in", url.Values{"user": {"carol"}, "password": {passwords["carol"]}})
	wantStatus(t, got, http.StatusSeeOther)
	planted.keep(t, got)
	if planted.cookie == p.cookie {
		t.Error("signing in kept the session")
	}
	wantSays(t, planted.get(t, ""), http.StatusOK, "carol")
	wantForm(t, p.get(t, ""))

	got = planted.post(t, "/sign-out", nil)
	wantStatus(t, got, http.StatusSeeOther)
	if !strings.Contains(got.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("the cookie stays: %s", got)
	}
	wantSays(t, planted.get(t, ""), http.StatusOK, "Your session has ended")
	wantSays(t, planted.post(t, "/generate", url.Values{}), http.StatusUnauthorized, "nothing was changed")
}

// A reload keeps sessions, a restart ends them.
func TestPageSessionsLife(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	p := signedIn(t, g, "bob")
	if complaint := g.reload(t, site("allow_generate everyone\nsign_in_limit 9 1m")); complaint != "" {
		t.Fatal(complaint)
	}
	wantSays(t, p.get(t, ""), http.StatusOK, "Sign out")
	g.restart(t)
	wantForm(t, p.get(t, ""))
}

// A token opens neither the page nor a session, and a session no route.
func TestPageTokens(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	made := g.create(t, as("bob"), 3600, "")
	for _, below := range []string{"", "/generate", "/page.css", "/nothing"} {
		a := ask{target: pagePath + below, auth: bearer(made.value)}
		if e := wantRefused(t, g.do(t, a), http.StatusForbidden, "AccessControlException"); !strings.Contains(e.Details, "Sign in") {
			t.Errorf("details %q", e.Details)
		}
		a.auth = bearer(neverIssued("cat"))
		wantRefused(t, g.do(t, a), http.StatusUnauthorized, "InvalidToken")
		a.auth = "Bearer x y"
		wantRefused(t, g.do(t, a), http.StatusBadRequest, "InvalidRequest")
	}
	wantForm(t, (&person{g: g, cookie: cookieName + "=" + made.value}).get(t, ""))
	p := signedIn(t, g, "bob")
	wantRefused(t, g.do(t, ask{target: api, lines: []string{"Cookie: " + p.cookie}}), http.StatusUnauthorized, "AuthenticationRequired")
	wantRefused(t, g.do(t, ask{lines: []string{"Cookie: " + p.cookie}}), http.StatusUnauthorized, "AuthenticationRequired")
	got := g.do(t, ask{target: pagePath, auth: bearer(made.value), lines: []string{"Cookie: " + p.cookie}})
	wantRefused(t, got, http.StatusForbidden, "AccessControlException")
}

// The page's cookies reach no API behind, in whatever mode.
func TestPageCookiesStay(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\nwithout_token pass\nforeign_token pass\npublic /health\nkeep_cookies locale access-tokens-dataprep"))
	p := signedIn(t, g, "bob")
	value := p.generate(t, "30", "")
	_, cookie, _ := strings.Cut(p.cookie, "=")
	for _, line := range []string{
		p.cookie, p.cookie + "; locale=de", "locale=de; " + p.cookie, "locale=de;" + p.cookie + ";x=y",
		"__Host-" + p.cookie, "ACCESS-TOKENS-DATAPREP=" + cookie + "; locale=de", "access-tokens-other=" + cookie, ` "access-tokens-x"=` + cookie,
	} {
		for _, a := range []ask{{}, {auth: bearer("foreign")}, {auth: bearer(value)}, {target: "/health"}, {auth: basic("nobody", "here")}} {
			a.lines = []string{"Cookie: " + line}
			got := g.do(t, a)
			wantStatus(t, got, http.StatusOK)
			if lines := got.received.lines("Cookie"); strings.Contains(fmt.Sprint(lines), cookie) {
				t.Errorf("Cookie %q: the API behind got %q", line, lines)
			} else if strings.Contains(line, "locale=de") && !strings.Contains(fmt.Sprint(lines), "locale=de") {
				t.Errorf("Cookie %q: the API behind got %q", line, lines)
			}
		}
	}
	got := g.do(t, ask{lines: []string{"Cookie: a=1;  b=2;c", "Cookie: d=access-tokens-"}})
	if lines := fmt.Sprint(got.received.lines("Cookie")); !strings.Contains(lines, "a=1;  b=2;c") || !strings.Contains(lines, "d=access-tokens-") {
		t.Errorf("others' cookies became %q", lines)
	}
}

// A wrong password is answered the same, whoever it is for.
func TestPageSignInRefused(t *testing.T) {
	t.Parallel()
	g := start(t, site("sign_in_limit 3 1h"))
	p := &person{g: g}
	try := func(user string) answered {
		return p.post(t, "/sign-in", url.Values{"user": {user}, "password": {secret("wrong pass phrase")}})
	}
	known, unknown := try("alice"), try("dora")
	wantSays(t, known, http.StatusUnauthorized, "User name or password is wrong.", `value="alice"`)
	if strings.ReplaceAll(unknown.body, "dora", "alice") != known.body {
		t.Errorf("the answers differ:\n%s\n%s", known, unknown)
	}
	if got := known.header.Values("WWW-Authenticate"); fmt.Sprint(got) != `[Bearer realm="dataprep"]` {
		t.Errorf("WWW-Authenticate %q", got)
	}
	wantSays(t, p.post(t, "/sign-in", url.Values{"user": {"a:b"}, "password": {"x"}}), http.StatusBadRequest, "can’t contain a colon")
	wantSays(t, p.post(t, "/sign-in", url.Values{"user": {""}, "password": {""}}), http.StatusBadRequest, "Enter your user name.", "Enter your password.")
	try("alice")
	try("alice")
	got := try("alice")
	wantSays(t, got, http.StatusTooManyRequests, "Too many sign-ins have failed. Try again in 20 minutes.")
	if after := got.header.Get("Retry-After"); after != "1200" {
		t.Errorf("Retry-After %q", after)
	}
	wantRefused(t, g.do(t, ask{target: api, auth: as("alice")}), http.StatusTooManyRequests, "TooManyRequestsException")
}

// Over an open connection no password is asked for, and none is taken.
func TestPageWithoutTLS(t *testing.T) {
	t.Parallel()
	g := start(t, site(""), globals("servers {\ntrusted_proxies static 127.0.0.1\n}"))
	got := g.do(t, ask{target: pagePath, host: "tokens.example"})
	if strings.Contains(got.body, `id="password"`) || !strings.Contains(got.body, "https://") {
		t.Errorf("asks for a password: %s", got)
	}
	send := ask{method: "POST", target: pagePath + "/sign-in", host: "tokens.example", kind: "application/x-www-form-urlencoded",
		body: url.Values{"user": {"alice"}, "password": {passwords["alice"]}}.Encode()}
	if got := g.do(t, send); got.status != http.StatusForbidden || got.header.Get("Set-Cookie") != "" {
		t.Errorf("takes a password: %s", got)
	}
	send.lines = []string{"X-Forwarded-Proto: https"}
	got = g.do(t, send)
	wantStatus(t, got, http.StatusSeeOther)
	cookie, attributes, _ := strings.Cut(got.header.Get("Set-Cookie"), "; ")
	_, value, _ := strings.Cut(cookie, "=")
	secret(value)
	if !strings.HasPrefix(cookie, "__Host-access-tokens-dataprep=") || attributes != "Path=/; HttpOnly; Secure; SameSite=Strict" {
		t.Errorf("behind a trusted proxy with TLS: %s", got)
	}
	untrusting := start(t, site(""))
	if got := untrusting.do(t, send); got.status != http.StatusForbidden {
		t.Errorf("believes a client that its connection is encrypted: %s", got)
	}
}

// erinsPortal says to forward_auth that it is erin who asks.
const erinsPortal = `
http://:{$PORT2} {
	bind 127.0.0.1
	header Remote-User erin
	respond ok
}`

// Whoever has a session of the API's, or was established in front, needs no
// form; but the form asks about what was entered into it alone.
func TestPageSignedInOtherwise(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
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
		allow_generate everyone
		sign_in placeholder {http.reverse_proxy.header.Remote-User}
		sign_in upstream http://{$API}`+whoAmI+` {
			basic off
			cookies `+session+`
		}
		sign_in basic {
			bob {$BOB_HASH}
		}
	}
	reverse_proxy {$UPSTREAM}
}
`+erinsPortal, a.behind())
	alice := "Cookie: " + session + "=" + a.logIn("alice")
	nobody := &person{g: g}
	for id, line := range map[string]string{"17": alice, "erin": "X-Front: erin"} {
		got := g.do(t, ask{target: pagePath, lines: []string{line}})
		if got.status != http.StatusOK || !strings.Contains(got.body, "<bdi>"+id+"</bdi>") || strings.Contains(got.body, "Sign out") || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s has to be signed in, and nothing stored: %s", id, got)
		}
		got = nobody.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {secret("not bob's pass phrase")}}, line)
		wantSays(t, got, http.StatusUnauthorized, "User name or password is wrong.")
		got = nobody.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {passwords["bob"]}}, line)
		wantStatus(t, got, http.StatusSeeOther)
		p := &person{g: g}
		p.keep(t, got)
		wantSays(t, p.get(t, ""), http.StatusOK, "<bdi>bob</bdi>", "Sign out")
	}
	wantForm(t, nobody.get(t, ""))
	wantForm(t, g.do(t, ask{target: pagePath, lines: []string{"Cookie: " + session + "=ended"}}))
}

// A user who is gone from the Caddyfile is gone from the page.
func TestPageSessionOfARemovedUser(t *testing.T) {
	t.Parallel()
	whole := site("allow_generate everyone")
	g := start(t, whole)
	alice, bob := signedIn(t, g, "alice"), signedIn(t, g, "bob")
	if complaint := g.reload(t, strings.Replace(whole, "bob {$BOB_HASH}", "", 1)); complaint != "" {
		t.Fatal(complaint)
	}
	wantForm(t, bob.get(t, ""))
	wantSays(t, alice.get(t, ""), http.StatusOK, "Sign out")
	if complaint := g.reload(t, whole); complaint != "" {
		t.Fatal(complaint)
	}
	wantForm(t, bob.get(t, ""))
}
