package contract

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// What is asked of administrators 15 minutes after signing in, and what is said
// of a wrong answer.
func TestBrowserPasswordAgain(t *testing.T) {
	t.Parallel()
	v := browse(t, start(t, site("")))
	v.open(t, "")
	eval[bool](t, v, `(() => {
		const again = Object.assign(document.createElement("input"), { type: "hidden", name: "again", value: "1" });
		document.querySelector("main form").append(again);
		return true;
	})()`)
	v.fill(t, "#user", "alice")
	v.fill(t, "#password", secret("not her password either"))
	v.follow(t, "main form button")
	v.wants(t, "Enter your password again", "Administrator rights last 15 minutes", "User name or password is wrong.")
	v.look(t, "password-again")
	v.fill(t, "#password", passwords["alice"])
	v.follow(t, "main form button")
	v.wants(t, "You have no access tokens")
}

// Too many wrong passwords are answered with how long to wait.
func TestBrowserSignInLimit(t *testing.T) {
	t.Parallel()
	g := start(t, site("sign_in_limit 2 1h"))
	v := browse(t, g)
	v.open(t, "")
	for range 3 {
		v.fill(t, "#user", "alice")
		v.fill(t, "#password", secret("neither is this"))
		v.follow(t, "form button")
	}
	v.wants(t, "Too many sign-ins have failed. Try again in 30 minutes.")
	v.look(t, "limited")
}

// A link on another site leads to the list: the session's cookie isn't sent with
// its first request.
func TestBrowserLinkFromAnotherSite(t *testing.T) {
	t.Parallel()
	g := start(t, site("")+`
http://:{$PORT2} {
	bind 127.0.0.1
	header Content-Type text/html
	respond "<a href='http://localhost:{$PORT}/access-tokens'>Your tokens</a><iframe src='http://localhost:{$PORT}/access-tokens'></iframe>"
}`)
	v := browse(t, g)
	v.open(t, "")
	v.signIn(t, "alice")
	v.run(t, chromedp.Navigate("http://"+g.addresses[1]))
	v.follow(t, "a")
	v.until(t, `document.querySelector(".who")`)
	v.wants(t, "You have no access tokens")
	v.at(t, v.url(""))
	v.mu.Lock()
	defer v.mu.Unlock()
	// The frame is refused, which is what the browser reports.
	if len(v.errors) == 0 || !strings.Contains(v.errors[0], "frame-ancestors") {
		t.Errorf("the page could be framed: %q", v.errors)
	}
	v.errors = nil
}

// Whoever is signed in otherwise needs no form, and has nothing to sign out of.
// Without a secure connection there is no clipboard: what is to be copied is
// selected.
func TestBrowserSignedInOtherwise(t *testing.T) {
	t.Parallel()
	g := start(t, `
http://:{$PORT} {
	bind 127.0.0.1
	@erin not header Cookie *stranger*
	forward_auth @erin 127.0.0.1:{$PORT2} {
		uri /
		copy_headers Remote-User
	}
	access_tokens {
		allow_generate everyone
		sign_in placeholder {http.reverse_proxy.header.Remote-User}
	}
	reverse_proxy {$UPSTREAM}
}`+erinsPortal)
	v := browse(t, g)
	base := strings.Replace(v.url(""), "localhost", "tokens.example", 1)
	v.run(t, chromedp.Navigate(base))
	v.wants(t, "You have no access tokens")
	if got := v.text(t, ".who"); !strings.HasSuffix(got, "erin") {
		t.Errorf("signed in is %q", got)
	}
	v.follow(t, "main a.primary")
	v.follow(t, "form button.primary")
	value := secret(eval[string](t, v, `document.getElementById("value").value`))
	v.click(t, "[data-copy-from=value]")
	v.until(t, `document.getElementById("live").textContent.startsWith("Press Ctrl+C")`)
	if got := eval[string](t, v, `getSelection().toString()`); got != value {
		t.Errorf("%d characters are selected, want the token's", len(got))
	}
	eval[string](t, v, `document.cookie = "stranger=yes"`)
	v.run(t, chromedp.Navigate(base))
	v.wants(t, "Sign in at the application first")
	v.look(t, "sign-in-elsewhere")
}

// A password isn't asked for where others can read along, or seem to.
func TestBrowserWithoutTLS(t *testing.T) {
	t.Parallel()
	g := start(t, site("")+`
http://:{$PORT2} {
	bind 127.0.0.1
	reverse_proxy 127.0.0.1:{$PORT} {
		header_up X-Forwarded-Proto https
	}
}`)
	v := browse(t, g)
	v.run(t, chromedp.Navigate(strings.Replace(v.url(""), "localhost", "tokens.example", 1)))
	v.wants(t, "https://")
	if eval[bool](t, v, `!!document.querySelector("input")`) {
		t.Error("there is a field")
	}
	v.look(t, "sign-in-unencrypted")
	v.run(t, chromedp.Navigate("http://"+g.addresses[1]+pagePath))
	v.wants(t, "trusted_proxies")
	v.look(t, "sign-in-untrusted")
}

// A restart ends sessions, and what was wanted goes on after signing in again.
func TestBrowserSessionEnds(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	v := browse(t, g)
	v.open(t, "/generate")
	v.signIn(t, "bob")
	g.restart(t)
	v.follow(t, "form button.primary")
	v.wants(t, "Your session has ended, and nothing was changed.")
	v.look(t, "session-ended")
	v.signIn(t, "bob")
	v.at(t, v.url("/generate"))
	if n := len(g.list(t, as("bob"), "").Data); n != 0 {
		t.Errorf("%d tokens", n)
	}
}

// Over TLS the browser takes the cookie under its guarded name.
func TestBrowserTLS(t *testing.T) {
	t.Parallel()
	g := prepare(t, overTLS(site("allow_generate everyone")), globals("servers {\nprotocols h1 h2\n}"))
	g.writeCertificate(t)
	g.up(t)
	v := browse(t, g)
	v.encrypted = true
	base := v.url("")
	v.open(t, "")
	v.signIn(t, "bob")
	v.wants(t, "You have no access tokens")
	cookies, err := chromedp.Run(v.ctx, func(ctx context.Context, target *chromedp.Target) ([]*network.Cookie, error) {
		got, err := cdp.Call(ctx, target, network.GetCookies, network.GetCookiesParams{})
		return got.Cookies, err
	})
	if err != nil || len(cookies) != 1 {
		t.Fatalf("%d cookies: %v", len(cookies), err)
	}
	secret(cookies[0].Value)
	if c := cookies[0]; c.Name != "__Host-"+cookieName || !c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteStrict || c.Path != "/" || !c.Session {
		t.Errorf("the cookie %s: secure %v, HttpOnly %v, SameSite %s, path %s, session %v", c.Name, c.Secure, c.HTTPOnly, c.SameSite, c.Path, c.Session)
	}
	if got := eval[string](t, v, "document.cookie"); got != "" {
		t.Errorf("script sees %d characters of cookies", len(got))
	}
	v.follow(t, "main a.primary")
	v.follow(t, "form button.primary")
	secret(eval[string](t, v, `document.getElementById("value").value`))
	if command := v.text(t, "#command"); !strings.HasSuffix(command, ` "`+strings.TrimSuffix(base, pagePath)+api+`"`) {
		t.Error("the command's address isn't as expected")
	}
	v.follow(t, ".who button")
	v.wants(t, "Sign in")
}
