package contract

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// What a script that was injected into the API's own pages can do is done here
// by a real browser, in which bob is signed in on the page.

// pageOfTheAPI is a site whose API has pages of its own, at /app, /app/same-origin
// and so on: each with another Cross-Origin-Opener-Policy.
func pageOfTheAPI(options string) string {
	return strings.Replace(site(options), "bind 127.0.0.1", `bind 127.0.0.1
	handle /app* {
		header Content-Type text/html
		header /app/same-origin Cross-Origin-Opener-Policy same-origin
		header /app/allow-popups Cross-Origin-Opener-Policy same-origin-allow-popups
		header /app/noopener Cross-Origin-Opener-Policy noopener-allow-popups
		header /app/isolated Cross-Origin-Opener-Policy same-origin
		header /app/isolated Cross-Origin-Embedder-Policy require-corp
		respond "<!DOCTYPE html><html lang=en><title>The API's</title><body>injected"
	}`, 1)
}

// injected opens a page of the API's and lets a script run there, which returns
// what it could read. What the browser reports of it are no errors of the page's.
func (v *visitor) injected(t testing.TB, at, script string) (read string) {
	t.Helper()
	v.run(t, chromedp.Navigate(strings.Replace(v.url(""), pagePath, at, 1)))
	read = eval[string](t, v, `(async () => { `+script+` })()`)
	v.forgive()
	return read
}

func (v *visitor) forgive() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.errors = nil
}

// hasRead tells whether a script has got at what is signed in people's alone.
func hasRead(text string) bool {
	return strings.Contains(text, "nonce") || strings.Contains(text, "Sign out") || strings.Contains(text, "Generate")
}

func TestBrowserInjectedScript(t *testing.T) {
	t.Parallel()
	for name, encrypted := range map[string]bool{"loopback": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := pageOfTheAPI("allow_generate everyone\nwithout_token pass")
			options := []option{}
			if encrypted {
				text, options = overTLS(text), append(options, globals("servers {\nprotocols h1 h2\n}"))
			}
			g := prepare(t, text, options...)
			g.writeCertificate(t)
			g.up(t)
			v := browse(t, g)
			v.encrypted = encrypted
			v.open(t, "")
			v.signIn(t, "bob")
			v.make(t, "bob's own")

			t.Run("fetches", func(t *testing.T) { v.scriptFetches(t) })
			t.Run("frames", func(t *testing.T) { v.scriptFrames(t) })
			t.Run("opens windows", func(t *testing.T) { v.scriptOpensWindows(t) })
			t.Run("sends forms", func(t *testing.T) { v.scriptSendsForms(t) })

			v.make(t, "another")
			v.open(t, "")
			if diff := cmp.Diff([]string{"another", "bob's own"}, v.texts(t, "td.c-description")); diff != "" {
				t.Errorf("bob's tokens (-want +got):\n%s", diff)
			}
		})
	}
}

// make generates a token on the page.
func (v *visitor) make(t testing.TB, description string) {
	t.Helper()
	v.open(t, "/generate")
	v.fill(t, "#description", description)
	v.follow(t, "form button.primary")
	v.wants(t, "Your new token")
	secret(eval[string](t, v, `document.getElementById("value").value`))
}

func (v *visitor) scriptFetches(t *testing.T) {
	for _, below := range []string{"", "/generate", "/settings"} {
		for _, mode := range []string{"cors", "same-origin", "no-cors"} {
			got := v.injected(t, "/app", fmt.Sprintf(`
				const got = await fetch("/access-tokens%s", { mode: %q, credentials: "include", headers: { "Accept": "text/html" } });
				return got.status + " " + await got.text();`, below, mode))
			if !strings.HasPrefix(got, "403 ") || hasRead(got) {
				t.Errorf("%s, %s: %s", below, mode, got)
			}
		}
	}
	got := v.injected(t, "/app", `
		const got = await fetch("/access-tokens/generate", { method: "POST", body: new URLSearchParams({ nonce: "AAECAwQFBgcICQoLDA0ODw", lifetime: "365", days: "", description: "" }) });
		return got.status + " " + await got.text();`)
	if !strings.HasPrefix(got, "403 ") || hasRead(got) {
		t.Errorf("a form by fetch: %s", got)
	}
	got = v.injected(t, "/app", `
		const asked = new XMLHttpRequest();
		asked.open("GET", "/access-tokens/generate", false);
		asked.send();
		return asked.status + " " + asked.responseText;`)
	if !strings.HasPrefix(got, "403 ") || hasRead(got) {
		t.Errorf("XMLHttpRequest: %s", got)
	}
}

func (v *visitor) scriptFrames(t *testing.T) {
	for _, element := range []string{`iframe.src`, `object.data`, `embed.src`} {
		name, attribute, _ := strings.Cut(element, ".")
		got := v.injected(t, "/app", fmt.Sprintf(`
			const frame = document.createElement(%q);
			frame.%s = "/access-tokens/generate";
			const loaded = new Promise((done) => { frame.onload = frame.onerror = done; });
			document.body.append(frame);
			await loaded;
			let inside = null;
			try { inside = (frame.contentDocument ?? frame.getSVGDocument?.())?.documentElement.outerHTML; } catch {}
			return String(inside);`, name, attribute))
		if hasRead(got) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A window that a script opens is out of its reach once it shows the page,
// whatever the policies of the API's own pages are.
func (v *visitor) scriptOpensWindows(t *testing.T) {
	const blank = `const opened = window.open("", "own");`
	ways := map[string]string{
		"at once":                 `const opened = window.open("/access-tokens/generate");`,
		"as a popup":              `const opened = window.open("/access-tokens/generate", "", "width=300");`,
		"by a blank one":          blank + `opened.location = "/access-tokens/generate";`,
		"by another of the API's": `const opened = window.open(location.pathname); await loaded(opened, location.pathname); if (!opened.closed) opened.location = "/access-tokens/generate";`,
		"by what the page loads":  `const opened = window.open("/access-tokens/page.css"); opened.location = "/access-tokens/generate";`,
		"by a link":               blank + `const link = add("a", { href: "/access-tokens/generate", target: "own", rel: "opener" }); link.click();`,
		"by a form":               blank + `add("form", { action: "/access-tokens/generate", target: "own" }).submit();`,
		"by a form with POST":     blank + `add("form", { action: "/access-tokens/generate", target: "own", method: "post" }).submit();`,
		"at a near miss":          `const opened = window.open("/access-tokens/");`,
	}
	for _, at := range []string{"/app", "/app/same-origin", "/app/allow-popups", "/app/noopener", "/app/isolated"} {
		for how, open := range ways {
			if at != "/app" && how != "at once" && how != "by another of the API's" {
				continue // which differ in nothing that such a policy is about
			}
			got := v.injected(t, at, `
				const add = (name, properties) => {
					const element = Object.assign(document.createElement(name), properties);
					document.body.append(element);
					return element;
				};
				const loaded = async (opened, path) => {
					for (;;) {
						if (opened.closed) return "closed";
						try {
							if (opened.document.readyState === "complete" && opened.location.pathname.startsWith(path)) return opened.document.documentElement.outerHTML;
						} catch {}
						await new Promise((done) => setTimeout(done, 5));
					}
				};
				`+open+`
				return await loaded(opened, "/access-tokens");`)
			if got != "closed" {
				t.Errorf("from %s, %s: the script reads %s", at, how, got)
			}
		}
	}
}

// A form that a script makes up and sends is a navigation like any other, but
// nobody was shown it.
func (v *visitor) scriptSendsForms(t *testing.T) {
	v.open(t, "")
	own := eval[string](t, v, `document.querySelector("td.c-id code").title`)
	for below, fields := range map[string]url.Values{
		"/generate": {"lifetime": {"365"}, "days": {""}, "description": {"made by a script"}},
		"/delete":   {"id": {own}},
		"/settings": {"switch": {"1"}},
		"/sign-out": {},
	} {
		fields.Set("nonce", strings.Repeat("A", 75))
		script := fmt.Sprintf(`{
			const form = Object.assign(document.createElement("form"), { method: "post", action: "/access-tokens%s" });
			for (const [name, value] of new URLSearchParams(%q)) form.append(Object.assign(document.createElement("input"), { name, value }));
			document.body.append(form);
			form.submit();
		}`, below, fields.Encode())
		v.run(t, chromedp.Navigate(strings.Replace(v.url(""), pagePath, "/app", 1)))
		v.leave(t, chromedp.Evaluate[chromedp.Void](script))
		v.wants(t, "This form can’t be used any more", "Nothing was changed.")
	}
}

// overTLS is a Caddyfile of the tests' with its first site over TLS, at the name
// localhost.
func overTLS(text string) string {
	text = strings.Replace(text, "http://:", "https://localhost:", 1)
	return strings.Replace(text, "bind 127.0.0.1", "bind 127.0.0.1\ntls {$DIR}/certificate.pem {$DIR}/key.pem", 1)
}

// What has no Fetch Metadata is a program's, or a browser's from before 2023:
// the form has to be one that it was shown all the same.
func TestPageScripts(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	p := signedIn(t, g, "bob")
	form := p.form(t, "30", "")
	for name, lines := range map[string][]string{
		"fetch":      {"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"},
		"a frame":    {"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"},
		"a prefetch": {"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Purpose: prefetch"},
	} {
		wantSays(t, p.post(t, "/generate", form, lines...), http.StatusForbidden, "Only people use this page")
		got := g.do(t, p.ask(http.MethodGet, "/generate", nil, lines...))
		wantSays(t, got, http.StatusForbidden, "Only people use this page")
		if hasRead(got.body) {
			t.Errorf("%s reads %s", name, got)
		}
		nobody := &person{g: g}
		if got := nobody.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {passwords["bob"]}}, lines...); got.status != http.StatusForbidden || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s signs in: %s", name, got)
		}
	}
	wantSays(t, p.post(t, "/generate", form, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), http.StatusOK, "Your new token")
	got := p.g.do(t, p.ask(http.MethodGet, "", nil, "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"))
	if opener, embedder := got.header.Get("Cross-Origin-Opener-Policy"), got.header.Get("Cross-Origin-Embedder-Policy"); opener != "same-origin" || embedder != "require-corp" {
		t.Errorf("Firefox is told %q, %q", opener, embedder)
	}
}
