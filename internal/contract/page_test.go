package contract

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// pagePath is where the page is by default.
const pagePath = "/access-tokens"

// A caller of the page without a browser: what a browser does with cookies,
// forms and redirects, written out.
type person struct {
	g      *gateway
	site   int
	cookie string // name=value, "" before signing in
}

const cookieName = "access-tokens-dataprep"

func (p *person) get(t testing.TB, below string) answered {
	t.Helper()
	return p.g.do(t, p.ask(http.MethodGet, below, nil))
}

func (p *person) ask(method, below string, form url.Values, lines ...string) ask {
	if p.cookie != "" {
		lines = append(lines, "Cookie: "+p.cookie)
	}
	a := ask{site: p.site, method: method, target: pagePath + below, lines: lines}
	if method == http.MethodPost {
		a.kind, a.body = "application/x-www-form-urlencoded", form.Encode()
	}
	return a
}

func (p *person) post(t testing.TB, below string, form url.Values, lines ...string) answered {
	t.Helper()
	return p.g.do(t, p.ask(http.MethodPost, below, form, lines...))
}

// signIn signs in and keeps the cookie.
func (p *person) signIn(t testing.TB, user string) {
	t.Helper()
	got := p.post(t, "/sign-in", url.Values{"user": {user}, "password": {passwords[user]}})
	wantStatus(t, got, http.StatusSeeOther)
	p.keep(t, got)
}

// keep keeps the cookie of an answer.
func (p *person) keep(t testing.TB, got answered) {
	t.Helper()
	pair, attributes, _ := strings.Cut(got.header.Get("Set-Cookie"), "; ")
	name, value, _ := strings.Cut(pair, "=")
	if name != cookieName || len(secret(value)) < 43 {
		t.Fatalf("cookie %q", pair)
	}
	if attributes != "Path=/; HttpOnly; SameSite=Strict" {
		t.Errorf("the cookie's attributes are %q", attributes)
	}
	p.cookie = pair
}

func signedIn(t testing.TB, g *gateway, user string) *person {
	t.Helper()
	p := &person{g: g}
	p.signIn(t, user)
	return p
}

var (
	nonceField = regexp.MustCompile(`name="nonce" value="([^"]+)"`)
	valueField = regexp.MustCompile(`id="value"[^>]* value="([^"]+)"`)
	wholeID    = regexp.MustCompile(`title="([0-9a-f-]{36})"`)
)

// form is a form for a new token, with a nonce of its own.
func (p *person) form(t testing.TB, days, description string) url.Values {
	t.Helper()
	got := p.get(t, "/generate")
	wantStatus(t, got, http.StatusOK)
	nonce := nonceField.FindStringSubmatch(got.body)
	if nonce == nil {
		t.Fatalf("no nonce: %s", got)
	}
	return url.Values{"nonce": {nonce[1]}, "lifetime": {days}, "days": {""}, "description": {description}}
}

// generate makes a token and returns its value.
func (p *person) generate(t testing.TB, days, description string) string {
	t.Helper()
	got := p.post(t, "/generate", p.form(t, days, description))
	wantStatus(t, got, http.StatusOK)
	value := valueField.FindStringSubmatch(got.body)
	if value == nil {
		t.Fatalf("no value: %s", got)
	}
	return secret(value[1])
}

// wantForm wants the form for signing in, and nothing behind it.
func wantForm(t testing.TB, got answered) {
	t.Helper()
	if !strings.Contains(got.body, `id="password"`) || strings.Contains(got.body, "Sign out") {
		t.Errorf("want the sign-in form: %s", got)
	}
	if got.reached != 0 {
		t.Errorf("%d requests reached the API behind", got.reached)
	}
}

func wantSays(t testing.TB, got answered, status int, texts ...string) {
	t.Helper()
	wantStatus(t, got, status)
	for _, text := range texts {
		if !strings.Contains(html.UnescapeString(got.body), text) {
			t.Errorf("doesn't say %q: %s", text, got)
		}
	}
}

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
			"Cross-Origin-Opener-Policy":   "same-origin",
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
		a.auth = "Bearer  x"
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
	wantSays(t, signedIn(t, g, "carol").post(t, "/generate", form), http.StatusOK, "Your new token")
	form.Set("nonce", "")
	wantSays(t, p.post(t, "/generate", form), http.StatusBadRequest)
	if n := len(g.list(t, as("bob"), "").Data); n != 1 {
		t.Errorf("%d tokens", n)
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
// administrators see the switch.
func TestPageOff(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alice, bob := signedIn(t, g, "alice"), signedIn(t, g, "bob")
	value := bob.generate(t, "30", "")
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
	carol := signedIn(t, g, "carol")
	wantSays(t, carol.post(t, "/settings", url.Values{"switch": {"1"}, "enabled": {"on"}}), http.StatusForbidden, "API access is off")
	wantStatus(t, alice.post(t, "/settings", url.Values{"switch": {"1"}, "enabled": {"on"}}), http.StatusSeeOther)
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "bob")
	wantSays(t, bob.get(t, "/generate"), http.StatusOK, "100 days")
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

// Whoever has a session of the API's, or was established in front, needs no
// form; but the form asks about what was entered into it alone.
func TestPageSignedInOtherwise(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, `
http://:{$PORT} {
	bind 127.0.0.1
	@erin header X-Front erin
	vars @erin user erin
	access_tokens {
		project dataprep
		allow_generate everyone
		sign_in placeholder {http.vars.user}
		sign_in upstream http://{$API}`+whoAmI+` {
			basic off
			cookies `+session+`
		}
		sign_in basic {
			bob {$BOB_HASH}
		}
	}
	reverse_proxy {$UPSTREAM}
}`, a.behind())
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

// After deleting, administrators are back in the list that they came from.
func TestPageBackToAUsersList(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alice := signedIn(t, g, "alice")
	for from, want := range map[string]string{"": "*", "bob": "bob", "carol": "*", "&x=y": "*"} {
		id := g.create(t, as("bob"), 3600, "").info.TokenID
		wantStatus(t, alice.get(t, "/delete?id="+id+"&from="+url.QueryEscape(from)), http.StatusOK)
		got := alice.post(t, "/delete", url.Values{"id": {id}, "from": {from}})
		if location := got.header.Get("Location"); location != "../access-tokens?deleted="+id[:8]+"&user="+url.QueryEscape(want) {
			t.Errorf("from %q to %q", from, location)
		}
	}
}
