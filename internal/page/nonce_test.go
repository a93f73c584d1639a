package page

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func TestNonces(t *testing.T) {
	c := newClock()
	alice := sessionUser{"p", "alice"}
	n, restarted := newNonces(c.Now, rand.Reader), newNonces(c.Now, rand.Reader)
	issue := func(user sessionUser) string {
		t.Helper()
		nonce, err := n.issue(user)
		if err != nil {
			t.Fatal(err)
		}
		return nonce
	}
	nonce := issue(alice)
	if !n.issued(alice, nonce) {
		t.Fatal("what was issued isn't known")
	}
	if nonce == issue(alice) {
		t.Error("two forms are one")
	}
	for _, other := range []sessionUser{{"p", "bob"}, {"q", "alice"}, {"p", ""}, {"palice", ""}, {"", "palice"}} {
		if n.issued(other, nonce) {
			t.Errorf("%q has been issued alice's", other)
		}
	}
	if restarted.issued(alice, nonce) {
		t.Error("a restart keeps it")
	}
	c.advance(nonceLimit - time.Second)
	if !n.issued(alice, nonce) {
		t.Error("it ends too early")
	}
	c.advance(time.Second)
	if n.issued(alice, nonce) {
		t.Error("it never ends")
	}
	if _, err := (&nonces{now: c.Now, random: strings.NewReader("too short")}).issue(alice); err == nil {
		t.Error("a nonce without randomness")
	}
}

// A nonce has one spelling, and none is taken that wasn't issued.
func FuzzNonce(f *testing.F) {
	n := newNonces(newClock().Now, rand.Reader)
	user := sessionUser{"p", "alice"}
	nonce, err := n.issue(user)
	if err != nil {
		f.Fatal(err)
	}
	bytes, _ := base64.RawURLEncoding.DecodeString(nonce)
	for at := range bytes {
		changed := append([]byte(nil), bytes...)
		changed[at] ^= 1
		f.Add(base64.RawURLEncoding.EncodeToString(changed))
	}
	for _, text := range []string{
		"", "AAECAwQFBgcICQoLDA0ODw", nonce + "\n", "\n" + nonce, nonce[:len(nonce)-1], nonce + "=", nonce + "A",
		nonce[:10] + "\n" + nonce[11:], strings.Repeat("A", len(nonce)), strings.Repeat("A", 1<<10),
	} {
		f.Add(text)
	}
	// The last character has bits that stand for nothing.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, last := range alphabet {
		f.Add(nonce[:len(nonce)-1] + string(last))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n.issued(user, text) != (text == nonce) {
			t.Errorf("%q", text)
		}
	})
}

// Whoever can send a form, as a script of the API's can by a navigation, but
// has seen none, changes nothing.
func TestFormsThatNobodyWasShown(t *testing.T) {
	d := newDesk(t)
	d.fix(store.Settings{Generate: "everyone"})
	nonceOf := func(user string) string {
		d.post(t, "/sign-in", url.Values{"user": {user}, "password": {"open"}})
		return d.nonce(t)
	}
	old := nonceOf("alice")
	d.advance(nonceLimit)
	bobs, alices := nonceOf("bob"), nonceOf("alice")
	alice := registry.SignedIn("", store.User{ID: "alice"}, true)
	_, made, err := d.page.Registry.Issue(t.Context(), d.page.Project, alice, registry.Wish{Prefix: "cat", LifetimeSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	forms := []struct {
		below string
		form  url.Values
	}{
		{"/generate", url.Values{"lifetime": {"30"}}},
		{"/delete", url.Values{"id": {made.ID.String()}}},
		{"/settings", url.Values{"switch": {"1"}}},
		{"/sign-out", url.Values{}},
	}
	for _, f := range forms {
		for name, nonce := range map[string]string{"none": "", "made up": "AAECAwQFBgcICQoLDA0ODw", "another's": bobs, "an old one": old, "no base64": strings.Repeat("!", len(alices))} {
			f.form.Set("nonce", nonce)
			if w := d.post(t, f.below, f.form); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "Nothing was changed.") {
				t.Errorf("%s, %s: %d\n%s", f.below, name, w.Code, w.Body)
			}
		}
	}
	tokens, _, err := d.page.Registry.List(d.page.Project, alice, registry.Listing{User: registry.Everyone})
	if err != nil || len(tokens) != 1 || !d.page.Registry.Policy(d.page.Project).Enabled {
		t.Errorf("something was changed: %d tokens, %v", len(tokens), err)
	}
	wantSays(t, d.get(t, ""), http.StatusOK, "Sign out")
	for _, f := range forms {
		f.form.Set("nonce", alices)
		if w := d.post(t, f.below, f.form); w.Code >= http.StatusBadRequest {
			t.Errorf("%s with a nonce of its own: %d\n%s", f.below, w.Code, w.Body)
		}
	}
}
