package contract

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// What an administrator does when a user's tokens have leaked.
func TestBrowserUsers(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	value := g.create(t, as("carol"), 86400*30, "Dashboard refresh").value
	g.create(t, as("carol"), 86400*90, "Nightly export to the warehouse")
	g.create(t, as("bob"), 86400*90, "Continuous integration")
	v, other := browse(t, g), browse(t, g)
	other.open(t, "")
	other.signIn(t, "carol")
	other.wants(t, "Dashboard refresh", "Delete all your tokens…")

	v.open(t, "/blocked")
	v.signIn(t, "alice")
	v.at(t, v.url("/blocked"))
	v.wants(t, "Nobody is blocked")
	v.look(t, "blocked-nobody")
	v.open(t, "?user=*")
	v.wants(t, "carol@example.com")
	v.follow(t, "td.c-user a[href$=carol]")
	v.wants(t, "carol@example.com", "Delete all of this user’s tokens…", "Block this user…")
	v.look(t, "user")

	v.follow(t, ".subject a[href*='/block?']")
	v.wants(t, "Block this user", "Every token of this user is refused", "can’t sign in", "Nothing is deleted.", "carol@example.com")
	v.look(t, "block")
	v.follow(t, "main .actions a") // Cancel
	v.at(t, v.url("?user=carol"))
	wantProxied(t, g.do(t, ask{auth: bearer(value)}), "carol")
	v.follow(t, ".subject a[href*='/block?']")
	v.follow(t, "button.destructive")
	v.at(t, v.url("?user=carol"))
	v.wants(t, "Blocked by alice just now", "Unblock")
	v.look(t, "user-blocked")
	wantRefused(t, g.do(t, ask{auth: bearer(value)}), http.StatusForbidden, "AccessControlException")
	other.run(t, chromedp.Reload())
	other.wants(t, "You are blocked", "Ask an administrator")
	other.look(t, "you-are-blocked")
	other.follow(t, ".who button")
	other.signIn(t, "carol")
	other.wants(t, "You are blocked")
	if got := other.text(t, ".who"); got != "" {
		t.Errorf("signed in is %q", got)
	}

	v.follow(t, ".tabs a:nth-child(2)")
	v.look(t, "everyone-blocked")
	v.fill(t, "#q", "carol@example")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "2 of 3 tokens")
	v.follow(t, ".tabs a[href$=blocked]")
	v.fill(t, "#user", "somebody@long-gone.example.com")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "Block this user", "somebody@long-gone.example.com")
	v.follow(t, "button.destructive")
	v.follow(t, ".tabs a[href$=blocked]")
	v.wants(t, "2 blocked users", "carol@example.com")
	v.look(t, "blocked")
	v.follow(t, "tbody tr:nth-child(2) button")
	v.wants(t, "User somebody@long-gone.example.com isn’t blocked any more.", "1 blocked user")

	v.follow(t, "td.c-user a")
	v.follow(t, ".subject a[href*=delete-all]")
	v.wants(t, "Delete all of this user’s tokens", "one of these 2 tokens will be refused")
	v.look(t, "delete-all")
	v.follow(t, "button.destructive")
	v.wants(t, "2 active tokens are deleted. They are refused from now on.", "carol has no access token")
	v.look(t, "user-deleted-all")
	v.follow(t, ".subject button")
	v.wants(t, "This user isn’t blocked any more.", "Block this user…")
	wantRefused(t, g.do(t, ask{auth: bearer(value)}), http.StatusUnauthorized, "InvalidToken")
	other.open(t, "")
	other.signIn(t, "carol")
	other.wants(t, "You have no access tokens")
}

// Who can't be blocked, and why, and what is no user's id.
func TestBrowserWhoCanBeBlocked(t *testing.T) {
	t.Parallel()
	v := browse(t, start(t, site("")))
	v.open(t, "/blocked")
	v.signIn(t, "alice")
	v.fill(t, "#user", neverIssued("cat")) // what is pasted by mistake goes into no address
	v.click(t, "main form button")
	v.wants(t, "That was a token. Enter a user’s id instead")
	v.at(t, v.url("/blocked"))
	v.fill(t, "#user", "alice")
	v.follow(t, "main form button")
	v.wants(t, "This user can’t be blocked", "You can't block yourself.")
	v.look(t, "cant-be-blocked")
}

// All of it without script, and by keyboard alone.
func TestBrowserUsersWithoutScript(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	bobs := g.create(t, as("bob"), 3600, "bob's own").value
	v := browse(t, g)
	v.script(t, false)
	v.open(t, "/block?user=bob")
	v.signIn(t, "alice")
	v.at(t, v.url("/block?user=bob"))
	v.follow(t, "button.destructive")
	v.wants(t, "Blocked by alice")
	wantRefused(t, g.do(t, ask{auth: bearer(bobs)}), http.StatusForbidden, "AccessControlException")
	v.follow(t, ".subject button")
	v.wants(t, "isn’t blocked any more")
	wantProxied(t, g.do(t, ask{auth: bearer(bobs)}), "bob")
	v.follow(t, ".subject a[href*=delete-all]")
	v.follow(t, "button.destructive")
	v.wants(t, "1 active token is deleted. It is refused from now on.")
	wantRefused(t, g.do(t, ask{auth: bearer(bobs)}), http.StatusUnauthorized, "InvalidToken")
}

func TestBrowserUsersKeyboard(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	g.create(t, as("bob"), 3600, "bob's own")
	v := browse(t, g)
	v.open(t, "?user=bob")
	v.signIn(t, "alice")
	v.at(t, v.url("?user=bob"))
	v.tabTo(t, ".subject a[href*='/block?']")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.tabTo(t, "button.destructive")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "Blocked by alice")
	v.tabTo(t, ".tabs a[href$=blocked]")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.tabTo(t, "tbody button")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "User bob isn’t blocked any more.")
	v.tabTo(t, "#user")
	v.press(t, "bob")
	v.leave(t, chromedp.KeyEvent(kb.Enter))
	v.wants(t, "Block this user")
}
