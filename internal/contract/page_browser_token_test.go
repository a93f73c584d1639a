package contract

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Somebody asks why a script is refused, renews its token and deletes the old
// one, in a list that stays as it was.
func TestBrowserTokenPage(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	old := g.create(t, as("bob"), 86400*45, "Nightly export of "+strings.Repeat("every table ", 30)+"to the warehouse")
	g.create(t, bearer(old.value), 3600, "its successor")
	wantProxied(t, g.do(t, ask{auth: bearer(old.value)}), "bob")
	wantStatus(t, signedIn(t, g, "alice").post(t, "/block", about("bob")), http.StatusSeeOther)
	wantRefused(t, g.do(t, ask{auth: bearer(old.value)}), http.StatusForbidden, "AccessControlException")
	wantStatus(t, signedIn(t, g, "alice").post(t, "/unblock", about("bob")), http.StatusSeeOther)

	v := browse(t, g)
	kept := v.url("?q=nightly&sort=expires")
	v.open(t, "")
	v.signIn(t, "bob")
	v.open(t, "?q=nightly&sort=expires")
	v.follow(t, "td.c-id a")
	v.wants(t, "Active", "to the warehouse", "from 127.0.0.1", "Successors", "Its user was blocked.", "45 days")
	v.look(t, "token")
	v.follow(t, "main .actions a.primary")
	v.wants(t, "Renew Token")
	if got := eval[string](t, v, `document.getElementById("days").value + "|" + document.getElementById("description").value.startsWith("Nightly export of every table")`); got != "45|true" {
		t.Errorf("the form holds %q", got)
	}
	v.look(t, "renew")
	v.follow(t, "form button.primary")
	v.wants(t, "Your new token", "is still there")
	secret(eval[string](t, v, `document.getElementById("value").value`))
	v.look(t, "renewed")
	v.follow(t, "main .actions a[href*=delete]")
	v.wants(t, "Delete Token", old.info.TokenID)
	v.follow(t, "button.destructive")
	v.at(t, v.url("?deleted="+old.info.TokenID[:8]+"&q=nightly&sort=expires"))
	v.wants(t, "is deleted", "1 of 2 tokens")
	v.open(t, "/token?id="+old.info.TokenID+"&from=q%3Dnightly%26sort%3Dexpires")
	v.wants(t, "Deleted", "It is refused for good.")
	v.look(t, "token-deleted")
	v.follow(t, ".back a")
	v.at(t, kept)
}

// Marking several, with script.
func TestBrowserDeleteSeveral(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	for _, description := range []string{"Migration of the old reports", "Dashboard refresh", "Nightly export"} {
		g.create(t, as("bob"), 86400*30, description)
	}
	v := browse(t, g)
	v.open(t, "?user=*&expiring=30")
	v.signIn(t, "alice")
	v.open(t, "?user=*&expiring=30")
	v.click(t, "[data-mark-all]")
	v.until(t, `document.querySelector("[data-marked]").textContent === "Delete marked (3)…"`)
	v.click(t, "tbody tr:first-child .c-mark input")
	v.until(t, `document.querySelector("[data-marked]").textContent === "Delete marked (2)…" && document.querySelector("[data-mark-all]").indeterminate`)
	v.look(t, "marked")
	v.follow(t, "#marked button")
	v.wants(t, "Delete 2 Tokens", "Migration of the old reports", "Dashboard refresh", "bob")
	v.look(t, "delete-several")
	v.follow(t, "main .actions a") // Cancel
	v.at(t, v.url("?expiring=30&user=%2A"))
	v.click(t, "tbody tr:first-child .c-mark input")
	v.follow(t, "#marked button")
	v.wants(t, "Delete Token", "Nightly export")
	v.follow(t, "button.destructive")
	v.wants(t, "is deleted", "2 tokens")
}

// The filter, the marks and renewing without script.
func TestBrowserTokenPageWithoutScript(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	g.create(t, as("bob"), 86400*6, "Dashboard refresh")
	g.create(t, as("bob"), 86400*300, "Nightly export")
	g.create(t, as("carol"), 86400*300, "Continuous integration")
	v := browse(t, g)
	v.script(t, false)
	v.open(t, "?user=*")
	v.signIn(t, "alice")
	v.fill(t, "#of", "bob")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "Dashboard refresh", "Nightly export", "2 active, 0 expired")
	eval[bool](t, v, `{ document.getElementById("expiring").value = "7"; true }`)
	v.follow(t, ".filter button")
	v.wants(t, "Dashboard refresh", "1 of 2 tokens", "Clear filter")
	v.follow(t, ".clear")
	v.follow(t, "#marked button")
	v.wants(t, "Mark the tokens that are to be deleted first.")
	v.click(t, "tbody tr:nth-child(1) .c-mark input")
	v.click(t, "tbody tr:nth-child(2) .c-mark input")
	v.follow(t, "#marked button")
	v.wants(t, "Delete 2 Tokens")
	v.follow(t, "button.destructive")
	v.wants(t, "2 tokens are deleted.", "bob has no access token")
}

// The same by keyboard alone.
func TestBrowserTokenPageKeyboard(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	g.create(t, as("bob"), 86400*45, "Nightly export")
	g.create(t, as("bob"), 86400*45, "Dashboard refresh")
	v := browse(t, g)
	v.open(t, "")
	v.signIn(t, "bob")
	v.tabTo(t, "#status")
	v.press(t, "A") // chooses Active
	v.tabTo(t, ".filter button")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.at(t, v.url("?q=&sort=created&dir=desc&status=active&unused=&expiring="))
	v.tabTo(t, "tbody tr:nth-child(2) td.c-id a")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "Nightly export", "Refused lately")
	v.tabTo(t, ".actions a.primary")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "Renew Token")
	v.tabTo(t, "button.primary")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	secret(eval[string](t, v, `document.getElementById("value").value`))
	v.tabTo(t, ".actions a[href*=delete]")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "Delete Token", "Nightly export")
	v.tabTo(t, "button.destructive")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "is deleted")
	v.tabTo(t, "[data-mark-all]")
	v.press(t, " ")
	v.tabTo(t, "#marked button")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "Delete 2 Tokens")
}
