package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// newOffice is a desk where everybody may make tokens, and root is an
// administrator by name.
func newOffice(t *testing.T, changes ...func(*registry.Config)) *desk {
	t.Helper()
	d := newDesk(t, changes...)
	d.rules.Admins = map[string]bool{"root": true}
	d.fix(store.Settings{Generate: "everyone"})
	return d
}

func (d *desk) block(t *testing.T, user string) {
	t.Helper()
	if err := d.page.Registry.Block(t.Context(), d.page.Project, registry.SignedIn("", store.User{ID: "root"}, false), user); err != nil {
		t.Fatal(err)
	}
}

func wantLacks(t *testing.T, w *httptest.ResponseRecorder, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(w.Body.String(), text) {
			t.Errorf("says %q: %s", text, w.Body)
		}
	}
}

func TestDeleteAllOfAUser(t *testing.T) {
	d := newOffice(t)
	bob := store.User{ID: "bob", Name: "Bob <B.>", Email: "bob@example.com"}
	d.issue(t, bob, 60, "expired")
	d.advance(day)
	var living []registry.Token
	for range 2 {
		_, made := d.issue(t, bob, 3600, "living")
		living = append(living, made)
	}
	_, carols := d.issue(t, store.User{ID: "carol"}, 3600, "carol's")
	d.signIn(t, "alice")
	wantSays(t, d.get(t, "?user=bob"), http.StatusOK, "Bob <B.>", "bob@example.com", `href="access-tokens/delete-all?user=bob&from=user%3dbob"`, "Delete all of this user’s tokens…")
	wantSays(t, d.get(t, "/delete-all?user=bob"), http.StatusOK, "one of these 2 tokens will be refused", "can’t be undone", "Bob <B.>", "Active tokens</dt><dd>2<", "Expired tokens</dt><dd>1,")
	w := d.post(t, "/delete-all", url.Values{"user": {"bob"}})
	if location := w.Header().Get("Location"); w.Code != http.StatusSeeOther || location != "../access-tokens?ended=2&user=bob" {
		t.Fatalf("%d, to %q", w.Code, location)
	}
	wantSays(t, d.get(t, "?user=bob&ended=2"), http.StatusOK, "2 active tokens are deleted. They are refused from now on.", "<bdi>bob</bdi> has no access token", "Delete all of this user’s tokens…")
	for _, gone := range living {
		if _, err := d.page.Registry.Get(d.page.Project, registry.SignedIn("", bob, false), gone.ID); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("a token is left: %v", err)
		}
	}
	if _, err := d.page.Registry.Get(d.page.Project, registry.SignedIn("", store.User{ID: "carol"}, false), carols.ID); err != nil {
		t.Errorf("carol's is gone: %v", err)
	}
	wantSays(t, d.get(t, "/delete-all?user=bob"), http.StatusOK, "There is no active token.")
	wantSays(t, d.get(t, "?user=bob&ended=0"), http.StatusOK, "There was no active token to delete.")
	wantSays(t, d.get(t, "?user=bob&ended=1"), http.StatusOK, "1 active token is deleted. It is refused from now on.")
	wantLacks(t, d.get(t, "?user=bob&ended=-1"), "active token")
}

func TestDeleteAllOfOnesOwn(t *testing.T) {
	d := newOffice(t)
	d.signIn(t, "bob")
	wantLacks(t, d.get(t, ""), "/delete-all")
	d.issue(t, store.User{ID: "bob"}, 3600, "bob's")
	d.issue(t, store.User{ID: "carol"}, 3600, "carol's")
	wantSays(t, d.get(t, ""), http.StatusOK, `href="access-tokens/delete-all"`, "Delete all your tokens…")
	wantSays(t, d.get(t, "/delete-all"), http.StatusOK, "Delete all your tokens", "uses this token will be refused")
	if location := d.post(t, "/delete-all", url.Values{}).Header().Get("Location"); location != "../access-tokens?ended=1" {
		t.Errorf("to %q", location)
	}
	wantSays(t, d.get(t, "?ended=1"), http.StatusOK, "1 active token is deleted", "You have no access tokens")
	carols, _, err := d.page.Registry.List(d.page.Project, registry.SignedIn("", store.User{ID: "carol"}, false), registry.Listing{})
	if err != nil || len(carols) != 1 {
		t.Errorf("carol has %d tokens, %v", len(carols), err)
	}
}

func TestBlockAndUnblock(t *testing.T) {
	d := newOffice(t)
	d.issue(t, store.User{ID: "bob", Name: "Bob B."}, 3600, "bob's")
	d.signIn(t, "alice")
	wantSays(t, d.get(t, "/blocked"), http.StatusOK, "Nobody is blocked", "No blocked users")
	wantSays(t, d.get(t, "?user=bob"), http.StatusOK, `href="access-tokens/block?user=bob&from=user%3dbob"`, "Block this user…")
	wantSays(t, d.get(t, "/block?user=bob"), http.StatusOK, "Every token of this user is refused", "can’t sign in", "Nothing is deleted.", "Bob B.", "Active tokens</dt><dd>1<")
	if d.page.Registry.IsBlocked(d.page.Project, "bob") {
		t.Fatal("blocked without a confirmation")
	}
	if location := d.post(t, "/block", url.Values{"user": {"bob"}}).Header().Get("Location"); location != "../access-tokens?user=bob" {
		t.Errorf("blocking leads to %q", location)
	}
	d.advance(time.Second)
	const mark = `<span class="status blocked">Blocked</span>`
	wantSays(t, d.get(t, "?user=*"), http.StatusOK, mark)
	w := d.get(t, "?user=bob")
	wantSays(t, w, http.StatusOK, mark, "Blocked by <bdi class=\"text\">alice</bdi> just now", `action="access-tokens/unblock"`)
	wantLacks(t, w, "Block this user")
	if location := d.get(t, "/block?user=bob").Header().Get("Location"); location != "../access-tokens?user=bob" {
		t.Errorf("asks to block once more: %q", location)
	}
	d.advance(2 * day)
	wantSays(t, d.post(t, "/sign-in", url.Values{"user": {"alice"}, "password": {"open"}}), http.StatusSeeOther)
	wantSays(t, d.get(t, "/blocked"), http.StatusOK, "1 blocked user", "Bob B.", "alice", "2 days ago", "Unblock")
	wantSays(t, d.get(t, "/delete-all?user=bob"), http.StatusOK, mark)
	for from, want := range map[string]string{"from": "../access-tokens?unblocked=&user=bob", "page": "../access-tokens/blocked?page=1&unblocked=bob"} {
		if location := d.post(t, "/unblock", url.Values{"user": {"bob"}, from: {""}}).Header().Get("Location"); location != want {
			t.Errorf("unblocking leads to %q", location)
		}
		if d.page.Registry.IsBlocked(d.page.Project, "bob") {
			t.Error("is blocked")
		}
	}
	const unblocked = "isn’t blocked any more"
	wantSays(t, d.get(t, "?user=bob&unblocked"), http.StatusOK, unblocked)
	wantSays(t, d.get(t, "/blocked?unblocked=bob"), http.StatusOK, unblocked)
	d.block(t, "bob")
	wantLacks(t, d.get(t, "?user=bob&unblocked"), unblocked)
	wantLacks(t, d.get(t, "/blocked?unblocked=bob"), unblocked)
}

// Anybody can be blocked, known or not, but oneself and whom the Caddyfile
// names as an administrator.
func TestWhoCanBeBlocked(t *testing.T) {
	d := newOffice(t)
	d.signIn(t, "alice")
	wantSays(t, d.post(t, "/block", url.Values{"user": {"nobody we know"}}), http.StatusSeeOther)
	wantSays(t, d.get(t, "/blocked"), http.StatusOK, "nobody we know", `href="../access-tokens?user=nobody+we+know"`)
	for user, why := range map[string]string{"alice": "You can't block yourself.", "root": "whoever runs the gateway can remove the name"} {
		wantLacks(t, d.get(t, "?user="+user), "Block this user")
		for _, w := range []*httptest.ResponseRecorder{d.get(t, "/block?user="+user), d.post(t, "/block", url.Values{"user": {user}})} {
			wantSays(t, w, http.StatusConflict, "This user can’t be blocked", why)
		}
	}
	for _, user := range []string{"", "*", " bob", strings.Repeat("x", 257)} {
		asked := "?user=" + url.QueryEscape(user)
		for _, w := range []*httptest.ResponseRecorder{
			d.get(t, "/block"+asked), d.post(t, "/block", url.Values{"user": {user}}), d.post(t, "/unblock", url.Values{"user": {user}}),
			d.get(t, "/delete-all"+asked), d.post(t, "/delete-all", url.Values{"user": {user}}),
		} {
			wantSays(t, w, http.StatusBadRequest, "This can’t be a user’s id")
		}
	}
}

// Others are administrators' business, whether there are such users or not.
func TestOthersTakeAnAdministrator(t *testing.T) {
	d := newOffice(t)
	d.issue(t, store.User{ID: "carol"}, 3600, "carol's")
	d.signIn(t, "bob")
	var answers []string
	for _, user := range []string{"carol", "nobody"} {
		for _, w := range []*httptest.ResponseRecorder{
			d.get(t, "?user="+user), d.get(t, "/delete-all?user="+user), d.post(t, "/delete-all", url.Values{"user": {user}}), d.get(t, "/blocked"),
			d.get(t, "/block?user="+user), d.post(t, "/block", url.Values{"user": {user}}), d.post(t, "/unblock", url.Values{"user": {user}}),
		} {
			wantSays(t, w, http.StatusForbidden, "administrator")
			answers = append(answers, w.Body.String())
		}
	}
	for i := range answers[:len(answers)/2] {
		if answers[i] != answers[i+len(answers)/2] {
			t.Error("the answer tells who has tokens")
		}
	}
	if d.page.Registry.IsBlocked(d.page.Project, "carol") {
		t.Error("carol is blocked")
	}

	// Who was one enters the password again, and goes on to what was wanted.
	d.signIn(t, "alice")
	d.advance(adminLimit)
	for below, next := range map[string]string{
		"?user=carol": "user:carol", "?user=*": "everyone", "/delete-all?user=carol": "delete-all:carol", "/block?user=carol": "block:carol", "/blocked": "blocked",
	} {
		wantSays(t, d.get(t, below), http.StatusOK, "Enter your password again", `name="next" value="`+next+`"`)
	}
	for place, next := range map[string]string{"/delete-all": "delete-all:carol", "/block": "block:carol", "/unblock": "user:carol"} {
		wantSays(t, d.post(t, place, url.Values{"user": {"carol"}}), http.StatusUnauthorized, "Nothing was changed.", `name="next" value="`+next+`"`)
	}
	d.cookie = ""
	wantSays(t, d.get(t, "/delete-all"), http.StatusOK, `name="next" value="delete-all"`)
	wantSays(t, d.get(t, "/block?user=carol"), http.StatusOK, `name="next" value="block:carol"`)
}

// More blocked users than one document shows.
func TestManyBlockedUsers(t *testing.T) {
	d := newOffice(t)
	for i := range perPage + 2 {
		d.block(t, fmt.Sprintf("user %03d", i))
	}
	d.signIn(t, "alice")
	first, second := d.get(t, "/blocked"), d.get(t, "/blocked?page=2")
	wantSays(t, first, http.StatusOK, "1–50 of 52 blocked users", "user 000", "user 049", `rel="next" href="../access-tokens/blocked?page=2"`)
	wantLacks(t, first, "user 050")
	wantSays(t, second, http.StatusOK, "51–52 of 52 blocked users", "user 050", "user 051", `rel="prev" href="../access-tokens/blocked?page=1"`)
	wantLacks(t, second, "user 049")
}

// A user who is blocked is told so and no more, from the next request on; what
// is left is to sign out.
func TestABlockedUser(t *testing.T) {
	d := newOffice(t)
	d.issue(t, store.User{ID: "bob"}, 3600, "bob's own")
	d.signIn(t, "bob")
	nonce := d.nonce(t)
	d.block(t, "bob")
	const blocked = "You are blocked"
	for _, below := range []string{"", "?user=*", "/generate", "/delete-all", "/blocked", "/settings"} {
		w := d.refused(t, httptest.NewRequest(http.MethodGet, "/access-tokens"+below, nil))
		wantSays(t, w, http.StatusForbidden, blocked, "Ask an administrator", "Sign out")
		wantLacks(t, w, "bob's own", "/settings", "Generate")
	}
	for _, place := range []string{"/generate", "/delete", "/delete-all", "/block", "/unblock", "/settings"} {
		wantSays(t, d.post(t, place, url.Values{"nonce": {nonce}, "user": {"bob"}, "lifetime": {"30"}}), http.StatusForbidden, blocked)
	}
	if tokens, _, err := d.page.Registry.List(d.page.Project, registry.SignedIn("", store.User{ID: "bob"}, false), registry.Listing{}); err != nil || len(tokens) != 1 {
		t.Errorf("%d tokens, %v", len(tokens), err)
	}

	wantSays(t, d.post(t, "/sign-out", url.Values{}), http.StatusSeeOther)
	if d.cookie != "" {
		t.Error("there is no way out")
	}
	w := d.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {"open"}})
	wantSays(t, w, http.StatusForbidden, blocked)
	if d.cookie != "" || w.Header().Get("Set-Cookie") != "" {
		t.Error("a blocked user has a session")
	}
	wantSays(t, d.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {"wrong"}}), http.StatusUnauthorized, "User name or password is wrong.")

	// Whom the page knows otherwise is told the same.
	d.page.Known = func(*http.Request) (registry.Caller, error) { return registry.Caller{}, registry.ErrBlocked }
	wantSays(t, d.refused(t, httptest.NewRequest(http.MethodGet, "/access-tokens", nil)), http.StatusForbidden, blocked)

	// An administrator who is blocked is none.
	d.signIn(t, "alice")
	d.block(t, "alice")
	w = d.refused(t, httptest.NewRequest(http.MethodGet, "/access-tokens/blocked", nil))
	wantSays(t, w, http.StatusForbidden, blocked)
	wantLacks(t, w, "/settings")
	wantSays(t, d.post(t, "/unblock", url.Values{"user": {"alice"}, "nonce": {nonce}}), http.StatusForbidden, blocked)
}

// refused sends a request of a blocked user, which the owner's log is told of.
func (d *desk) refused(t *testing.T, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w, err := d.ask(t, r)
	if !IsAnswered(err) || !errors.Is(err, registry.ErrBlocked) {
		t.Errorf("the owner is told %v", err)
	}
	return w
}

// A session outlives a block.
func TestASessionOutlivesABlock(t *testing.T) {
	d := newOffice(t)
	d.signIn(t, "bob")
	d.block(t, "bob")
	wantSays(t, d.refused(t, httptest.NewRequest(http.MethodGet, "/access-tokens", nil)), http.StatusForbidden)
	if err := d.page.Registry.Unblock(context.Background(), d.page.Project, registry.SignedIn("", store.User{ID: "root"}, false), "bob"); err != nil {
		t.Fatal(err)
	}
	wantSays(t, d.get(t, ""), http.StatusOK, "You have no access tokens")
}

// Who has as many tokens as are allowed is told so in the form, which keeps what
// was entered, and can be sent again.
func TestTooManyTokens(t *testing.T) {
	d := newDesk(t)
	d.rules.MaxTokensPerUser = 2
	d.fix(store.Settings{Generate: "everyone"})
	_, first := d.issue(t, store.User{ID: "bob"}, 3600, "one")
	d.issue(t, store.User{ID: "bob"}, 3600, "two")
	d.signIn(t, "bob")
	w := d.post(t, "/generate", url.Values{"lifetime": {"other"}, "days": {"45"}, "description": {"three"}})
	wantSays(t, w, http.StatusConflict, "You have as many tokens as this project allows.", `value="three"`, `value="45"`, "Generate Token")
	wantSays(t, d.post(t, "/delete", url.Values{"id": {first.ID.String()}}), http.StatusSeeOther)
	_, nonce, _ := strings.Cut(w.Body.String(), `name="nonce" value="`)
	wantLacks(t, w, "made already")
	// The first nonce in the document is that of signing out.
	_, nonce, _ = strings.Cut(nonce, `name="nonce" value="`)
	nonce, _, _ = strings.Cut(nonce, `"`)
	wantSays(t, d.post(t, "/generate", url.Values{"nonce": {nonce}, "lifetime": {"other"}, "days": {"45"}, "description": {"three"}}), http.StatusOK, "Your new token", "three")
}

// Who reads too many lists at once is told so, and when to try again.
func TestTooManyLists(t *testing.T) {
	d := newOffice(t)
	d.page.Known = func(*http.Request) (registry.Caller, error) { return registry.Caller{}, registry.ErrBusy }
	w := d.get(t, "")
	wantSays(t, w, http.StatusTooManyRequests, "Too many of your lists are being read")
	if w.Header().Get("Retry-After") == "" {
		t.Error("and isn't told when")
	}
}
