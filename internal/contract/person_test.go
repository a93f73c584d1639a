package contract

import (
	"html"
	"maps"
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
	nonce  string // of a form that the person was shown
}

const cookieName = "access-tokens-dataprep"

var (
	nonceField = regexp.MustCompile(`name="nonce" value="([^"]+)"`)
	valueField = regexp.MustCompile(`id="value"[^>]* value="([^"]+)"`)
	wholeID    = regexp.MustCompile(`title="([0-9a-f-]{36})"`)
)

func (p *person) get(t testing.TB, below string) answered {
	t.Helper()
	got := p.g.do(t, p.ask(http.MethodGet, below, nil))
	if nonce := nonceField.FindStringSubmatch(got.body); nonce != nil {
		p.nonce = nonce[1]
	}
	return got
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

// post sends a form, with the nonce of one that the person was shown, unless it
// has one.
func (p *person) post(t testing.TB, below string, form url.Values, lines ...string) answered {
	t.Helper()
	if p.cookie != "" && p.nonce == "" {
		p.get(t, "")
	}
	if !form.Has("nonce") && p.nonce != "" {
		form = maps.Clone(form)
		if form == nil {
			form = url.Values{}
		}
		form.Set("nonce", p.nonce)
	}
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
	p.cookie, p.nonce = pair, ""
}

func signedIn(t testing.TB, g *gateway, user string) *person {
	t.Helper()
	p := &person{g: g}
	p.signIn(t, user)
	return p
}

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
