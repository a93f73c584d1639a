package contract

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"
)

// The whole way of a token, as people go it.
func TestBrowserTokensLife(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	v := browse(t, g)

	v.open(t, "")
	v.wants(t, "Sign in")
	v.look(t, "sign-in")

	v.fill(t, "#user", "alice")
	v.fill(t, "#password", secret("not alice's password"))
	v.follow(t, "form button")
	v.wants(t, "User name or password is wrong.")
	if got := eval[string](t, v, `document.getElementById("user").value + "|" + document.getElementById("password").value`); got != "alice|" {
		t.Errorf("the form holds %q, want the user's name and no password", got)
	}
	v.look(t, "wrong-password")

	v.fill(t, "#password", passwords["alice"])
	v.follow(t, "form button")
	v.wants(t, "You have no access tokens")
	v.look(t, "empty")

	v.follow(t, "main a.primary")
	v.look(t, "generate")
	v.fill(t, "#description", "Nightly export")
	v.click(t, "input[name=lifetime][value='90']")
	v.follow(t, "form button.primary")
	v.wants(t, "Your new token", "You can’t see this value again")
	value := secret(eval[string](t, v, `document.getElementById("value").value`))
	v.look(t, "made")

	v.click(t, "[data-copy-from=value]")
	v.until(t, `document.getElementById("live").textContent === "Token copied"`)
	if got := eval[string](t, v, `navigator.clipboard.readText()`); got != value {
		t.Errorf("the clipboard has %d characters, want the token's %d", len(got), len(value))
	}
	v.click(t, "[data-copy-from=command]")
	v.until(t, `document.getElementById("live").textContent === "Command copied"`)
	command := eval[string](t, v, `navigator.clipboard.readText()`)
	if want := fmt.Sprintf(`curl -H "Authorization: Bearer %s" "%s"`, value, strings.TrimSuffix(v.url(""), "/access-tokens")+api); command != want {
		t.Errorf("the command isn't as expected, but has %d characters instead of %d", len(command), len(want))
	}
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "alice")

	// Neither the history nor another look shows it again.
	if got := eval[string](t, v, `location.href`); got != v.url("") {
		t.Errorf("the history's entry is %s", got)
	}
	v.run(t, chromedp.Reload())
	v.wants(t, "Nightly export", "1 token")
	v.hidesSecret(t, value)
	v.run(t, chromedp.NavigateBack())
	v.hidesSecret(t, value)
	v.run(t, chromedp.NavigateForward())
	v.hidesSecret(t, value)

	v.open(t, "")
	v.wants(t, "Nightly export", "Active", "in 90 days", "just now")
	id := eval[string](t, v, `document.querySelector("td.c-id code").title`)
	v.click(t, "td.c-id button")
	v.until(t, `document.getElementById("live").textContent === "Token ID copied"`)
	if got := eval[string](t, v, `navigator.clipboard.readText()`); got != id {
		t.Errorf("copied %q, want %q", got, id)
	}
	v.click(t, "td.c-menu summary")
	v.look(t, "menu")
	v.follow(t, "td.c-menu a.danger")
	v.wants(t, "Delete Token", id, "Nightly export", "Last used", "can’t be undone")
	v.look(t, "delete")
	v.follow(t, "button.destructive")
	v.wants(t, "Token "+id[:8]+" is deleted", "You have no access tokens")
	v.look(t, "deleted")
	wantRefused(t, g.do(t, ask{auth: bearer(value)}), http.StatusUnauthorized, "InvalidToken")

	v.follow(t, ".who button")
	v.wants(t, "Sign in")
	v.run(t, chromedp.NavigateBack())
	v.open(t, "/generate")
	v.wants(t, "Sign in")
}

// A form that is sent again shows what it has made.
func TestBrowserFormSentTwice(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	v, elsewhere := browse(t, g), signedIn(t, g, "bob")
	v.open(t, "")
	v.signIn(t, "bob")
	v.open(t, "/generate")
	form := elsewhere.form(t, "30", "once")
	form.Set("nonce", eval[string](t, v, `document.querySelector("input[name=nonce]").value`))
	wantStatus(t, elsewhere.post(t, "/generate", form), http.StatusOK)
	v.follow(t, "form button.primary")
	v.wants(t, "This token has been made already", "Delete Token…")
	v.look(t, "already-made")
	v.follow(t, "main a[href*=delete]")
	v.wants(t, "Delete Token", "once")
}

// Who looks for a token by its value is told what to do instead. The value goes
// nowhere: with script not even to the server, and without, no further than
// there. The search for secrets finds out what the browser asks for next.
func TestBrowserTokenInTheFilter(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("allow_generate everyone\nwithout_token pass"), "bind 127.0.0.1", "bind 127.0.0.1\nlog", 1))
	value := g.create(t, as("bob"), 3600, "").value
	v := browse(t, g)
	v.open(t, "")
	v.signIn(t, "bob")
	v.fill(t, "#q", value)
	v.click(t, "form.filter button")
	v.wants(t, "That was a token.")
	v.look(t, "token-in-filter")
	if href := eval[string](t, v, `location.href`); href != v.url("") {
		t.Error("the filter was sent")
	}
	v.open(t, "?q="+value)
	v.wants(t, "That was a token", "delete that token")
	v.look(t, "token-in-address")
	if href := eval[string](t, v, `location.href`); href != v.url("") {
		t.Error("the address holds the value")
	}
	for n := range g.api.count() {
		if strings.Contains(g.api.request(n).raw, value) {
			t.Error("the API behind was told the value")
		}
	}
}

func TestBrowserNearMiss(t *testing.T) {
	t.Parallel()
	v := browse(t, start(t, site("")))
	v.open(t, "/")
	v.wants(t, "This page doesn’t exist")
	v.look(t, "not-found")
	v.follow(t, "main a.button")
	v.wants(t, "Sign in")
}

// hidesSecret wants a token's value nowhere in the document.
func (v *visitor) hidesSecret(t testing.TB, value string) {
	t.Helper()
	shown := eval[string](t, v, `document.documentElement.outerHTML + [...document.querySelectorAll("input")].map((i) => i.value)`)
	if strings.Contains(shown, value) {
		t.Error("the value is shown again")
	}
}

// Sorting, filtering and paging, with descriptions that try to be more.
func TestBrowserList(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\nmax_lifetime unlimited"))
	descriptions := []string{"Nightly export", `<img src=x onerror="reportViolation('ran')">`, "\u202eright to left\u202c \u2066marks", "Übersicht", ""}
	for i, d := range descriptions {
		g.create(t, as("bob"), int64(86400*(i+1)), d)
	}
	g.create(t, as("bob"), -1, "Dashboard of the warehouse team, refreshed every five minutes")
	soon := g.create(t, as("bob"), 1, "Ends at once")
	g.wait(t, "a token has expired", func() bool {
		return g.do(t, ask{auth: bearer(soon.value)}).status == http.StatusUnauthorized
	})
	used := g.create(t, as("bob"), 86400*365, "Continuous integration")
	wantProxied(t, g.do(t, ask{auth: bearer(used.value)}), "bob")

	v := browse(t, g)
	v.open(t, "")
	v.signIn(t, "bob")
	if got := v.texts(t, "td.c-description")[0]; got != "Continuous integration" {
		t.Errorf("first is %q, want the newest", got)
	}
	if n := eval[int](t, v, `document.querySelectorAll("main img").length`); n != 0 {
		t.Errorf("%d images", n)
	}
	v.wants(t, `<img src=x onerror="reportViolation('ran')">`, "Expired", "Never", "8 tokens")
	v.look(t, "list")

	v.follow(t, "th.c-expires a")
	if got := v.texts(t, "td.c-description")[0]; got != "Ends at once" {
		t.Errorf("the first to expire is %q", got)
	}
	if got := eval[string](t, v, `document.querySelector("[aria-sort]").innerText.trim() + " " + document.querySelector("[aria-sort]").ariaSort`); got != "Expires\n↑ ascending" && got != "Expires↑ ascending" {
		t.Errorf("sorted by %q", got)
	}
	v.follow(t, "th.c-expires a")
	if got := v.texts(t, "td.c-expires")[0]; got != "Never" {
		t.Errorf("the last to expire expires %q", got)
	}

	v.fill(t, "#q", "ÜBER")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	if diff := cmp.Diff([]string{"Übersicht"}, v.texts(t, "td.c-description")); diff != "" {
		t.Errorf("filtered (-want +got):\n%s", diff)
	}
	v.look(t, "filtered")
	v.fill(t, "#q", "there is no such token")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "Nothing matches")
	v.look(t, "no-match")
	v.follow(t, "main .empty a")
	v.wants(t, "8 tokens")
}

// What is wrong is said beside the field, and nothing that was entered is lost.
func TestBrowserGenerateErrors(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\nmax_lifetime 60d"))
	v := browse(t, g)
	v.open(t, "/generate")
	v.signIn(t, "bob")
	v.wants(t, "Generate New Token", "60 days")
	v.fill(t, "#description", "for later")
	v.fill(t, "#days", "45")
	v.until(t, `document.getElementById("days-date").textContent.startsWith("until ") && document.querySelector("[value=other]").checked`)
	v.fill(t, "#days", "61")
	v.follow(t, "form button.primary")
	v.wants(t, "Enter a whole number of days from 1 to 60.")
	if got := eval[string](t, v, `document.getElementById("description").value + "|" + document.getElementById("days").value + "|" + document.activeElement.id`); got != "for later|61|days" {
		t.Errorf("the form holds, and the focus is at, %q", got)
	}
	v.look(t, "generate-errors")
	v.fill(t, "#days", "45")
	v.follow(t, "form button.primary")
	v.wants(t, "in 45 days", "for later")
	secret(eval[string](t, v, `document.getElementById("value").value`))
}

// Administrators see everyone's tokens, and change what is allowed.
func TestBrowserAdministrator(t *testing.T) {
	t.Parallel()
	g := start(t, site("max_lifetime 90d"))
	v := browse(t, g)
	v.open(t, "/settings")
	v.signIn(t, "alice")
	v.wants(t, "Settings", "Set in the Caddyfile")
	if !eval[bool](t, v, `document.getElementById("days-limit").matches(":disabled")`) {
		t.Error("what is fixed can be changed")
	}
	v.look(t, "settings")
	v.click(t, "[name=generate][value=users]")
	v.fill(t, "#users", "*")
	v.follow(t, "form button.primary")
	v.wants(t, "Number 1 can’t be a user id")
	v.look(t, "settings-errors")
	v.fill(t, "#users", "bob\rcarol")
	v.follow(t, "form button.primary")
	v.wants(t, "Saved")
	v.look(t, "settings-saved")

	migration := g.create(t, as("carol"), 1, "Migration of the old reports")
	g.wait(t, "a token has expired", func() bool {
		return g.do(t, ask{auth: bearer(migration.value)}).status == http.StatusUnauthorized
	})
	g.create(t, as("carol"), 86400*30, "Dashboard refresh")
	wantProxied(t, g.do(t, ask{auth: bearer(g.create(t, as("bob"), 86400*90, "Nightly export to the warehouse").value)}), "bob")
	wantProxied(t, g.do(t, ask{auth: bearer(g.create(t, as("alice"), 86400*60, "Continuous integration").value)}), "alice")
	v.open(t, "")
	v.wants(t, "Continuous integration", "1 token")
	v.follow(t, ".tabs a:nth-child(2)")
	v.wants(t, "Nightly export", "Dashboard refresh", "4 tokens")
	v.look(t, "everyone")
	v.follow(t, "td.c-user a[href$=bob]")
	v.wants(t, "Nightly export", "1 token")
	v.click(t, "td.c-menu summary")
	v.follow(t, "td.c-menu a.danger")
	v.wants(t, "User", "bob")
	v.follow(t, "button.destructive")
	v.wants(t, "is deleted", "bob has no access token")
	v.follow(t, ".tabs a:nth-child(2)")
	v.wants(t, "Dashboard refresh", "3 tokens")

	v.open(t, "/settings")
	v.click(t, "[name=enabled]")
	v.follow(t, "form button.primary")
	v.wants(t, "API access is off", "Switch API access on")
	v.look(t, "settings-off")
	v.open(t, "?user=*")
	v.wants(t, "Switch API access on", "Dashboard refresh")
	v.look(t, "everyone-off")

	other := browse(t, g)
	other.open(t, "")
	other.signIn(t, "bob")
	other.wants(t, "API access is off", "once an administrator")
	other.look(t, "off")

	v.follow(t, "main form button.primary")
	v.wants(t, "Saved")
	other.open(t, "/settings")
	other.wants(t, "This takes an administrator")
	other.look(t, "forbidden")
}

// Whoever may not generate is told who can change that.
func TestBrowserMayNotGenerate(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	v := browse(t, g)
	v.open(t, "")
	v.signIn(t, "bob")
	v.wants(t, "You may not make tokens", "administrator")
	if got := v.text(t, "main a.primary"); got != "" {
		t.Errorf("there is a button %q", got)
	}
	v.look(t, "may-not-generate")
}

// All of it without script.
func TestBrowserWithoutScript(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	v := browse(t, g)
	v.script(t, false)
	v.open(t, "")
	v.signIn(t, "bob")
	v.follow(t, "main a.primary")
	v.fill(t, "#description", "made without script")
	v.follow(t, "form button.primary")
	v.wants(t, "Your new token")
	value := secret(eval[string](t, v, `document.getElementById("value").value`))
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "bob")

	// The browser sends the form again, which makes no second token.
	v.run(t, chromedp.Reload())
	v.hidesSecret(t, value)
	v.wants(t, "This token has been made already")
	v.follow(t, "main a.primary")
	v.wants(t, "made without script", "1 token")
	// Going back, the browser has nothing to show, as nothing was kept.
	if err := chromedp.Do(v.ctx, chromedp.NavigateBack()); err == nil || !strings.Contains(err.Error(), "ERR_CACHE_MISS") {
		t.Errorf("going back: %v", err)
	}
	v.hidesSecret(t, value)

	v.open(t, "?q=without")
	v.click(t, "td.c-menu summary")
	v.follow(t, "td.c-menu a.danger")
	v.follow(t, "button.destructive")
	v.wants(t, "is deleted", "You have no access tokens")
	wantRefused(t, g.do(t, ask{auth: bearer(value)}), http.StatusUnauthorized, "InvalidToken")
}

// All of it by keyboard alone.
func TestBrowserKeyboard(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	v := browse(t, g)
	v.open(t, "")
	v.until(t, `document.activeElement.id === "user"`) // autofocus comes with the first frame
	v.press(t, "bob"+kb.Tab+passwords["bob"])
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.tabTo(t, "a.primary")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.until(t, `document.activeElement.id === "description"`)
	v.press(t, "typed")
	v.tabTo(t, "button.primary")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	secret(eval[string](t, v, `document.getElementById("value").value`))
	v.tabTo(t, "[data-copy-from=value]")
	v.press(t, kb.Enter)
	v.until(t, `document.getElementById("live").textContent === "Token copied"`)
	v.tabTo(t, ".actions a")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.tabTo(t, "td.c-menu summary")
	v.press(t, kb.Enter)
	v.until(t, `document.querySelector("details.menu").open`)
	v.press(t, kb.Escape)
	v.until(t, `!document.querySelector("details.menu").open && document.activeElement.matches("summary")`)
	v.press(t, kb.Enter)
	v.tabTo(t, "td.c-menu a.danger")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.tabTo(t, "button.destructive")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "is deleted")
}

// tabTo presses Tab until an element has the focus, which has to be seen.
func (v *visitor) tabTo(t testing.TB, selector string) {
	t.Helper()
	for range 40 {
		v.press(t, kb.Tab)
		if outline := eval[string](t, v, `document.activeElement.matches("a, button, summary, input") ? getComputedStyle(document.activeElement).outlineStyle : "solid"`); outline == "none" {
			t.Errorf("the focus isn't seen at %s", eval[string](t, v, `document.activeElement.outerHTML`))
		}
		if eval[bool](t, v, fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
			return
		}
	}
	t.Fatalf("Tab never comes to %s\n%s", selector, v.source())
}

// Behind handle_path all links go where they should, also after the value's page
// has taken itself out of the history.
func TestBrowserBehindAPrefix(t *testing.T) {
	t.Parallel()
	g := start(t, `
http://:{$PORT} {
	bind 127.0.0.1
	handle_path /pre/* {
		access_tokens {
			page /me/tokens
			admins alice
			sign_in basic {
				alice {$ALICE_HASH}
			}
		}
		reverse_proxy {$UPSTREAM}
	}
}`)
	v := browse(t, g)
	base := strings.Replace(v.url(""), "/access-tokens", "/pre/me/tokens", 1)
	v.run(t, chromedp.Navigate(base))
	v.signIn(t, "alice")
	v.at(t, base)
	v.follow(t, "main a.primary")
	v.at(t, base+"/generate")
	v.follow(t, "form button.primary")
	v.at(t, base)
	value := secret(eval[string](t, v, `document.getElementById("value").value`))
	command := v.text(t, "#command")
	if want := strings.Replace(base, "/me/tokens", api, 1); !strings.HasSuffix(command, ` "`+want+`"`) {
		t.Errorf("the command's address isn't %s", want)
	}
	v.follow(t, ".sections a:nth-child(2)")
	v.at(t, base+"/settings")
	v.run(t, chromedp.NavigateBack())
	v.hidesSecret(t, value)
	v.at(t, base)
	v.click(t, "td.c-menu summary")
	v.follow(t, "td.c-menu a.danger")
	v.follow(t, "button.destructive")
	v.wants(t, "is deleted")
	v.follow(t, ".who button")
	v.at(t, base)
	v.wants(t, "Sign in")
}

// at wants the browser to be at an address.
func (v *visitor) at(t testing.TB, address string) {
	t.Helper()
	if got := eval[string](t, v, `location.href`); got != address {
		t.Errorf("at %s, want %s", got, address)
	}
}
