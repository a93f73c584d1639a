package contract

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// currentTarget is the route of the token that asks.
const currentTarget = api + "/current"

func TestCurrentIsTheTokenThatAsks(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	parent := g.create(t, as("bob"), 3600, "the first")
	child := g.create(t, bearer(parent.value), 3600, "its successor")
	t.Run("it is looked at as by its id, and names its parent", func(t *testing.T) {
		for _, made := range []token{parent, child} {
			info := g.info(t, bearer(made.value), "current")
			if diff := cmp.Diff(g.info(t, bearer(made.value), made.info.TokenID).TokenID, info.TokenID); diff != "" {
				t.Errorf("(-by its id +current):\n%s", diff)
			}
			if info.LastUsed == nil {
				t.Error("this use doesn't show")
			}
		}
		if got := g.info(t, as("bob"), child.info.TokenID).ParentID; got != parent.info.TokenID || child.info.ParentID != got {
			t.Errorf("parentId %q and at first %q, want %q", got, child.info.ParentID, parent.info.TokenID)
		}
		if got := parent.info.ParentID; got != "" {
			t.Errorf("a token that a sign-in made has the parent %q", got)
		}
	})
	t.Run("HEAD, OPTIONS and 405 are as with an id", func(t *testing.T) {
		for _, method := range []string{"HEAD", "OPTIONS", "PUT", "POST", "PATCH"} {
			current := g.do(t, ask{method: method, target: currentTarget, auth: bearer(parent.value), body: "{}"})
			byID := g.do(t, ask{method: method, target: parent.target(), auth: bearer(parent.value), body: "{}"})
			for _, got := range []answered{current, byID} {
				got.header.Del("Date")
			}
			if diff := cmp.Diff(byID.String(), current.String()); diff != "" {
				t.Errorf("%s (-by its id +current):\n%s", method, diff)
			}
		}
	})
	t.Run("other spellings are no routes", func(t *testing.T) {
		for _, name := range []string{"Current", "CURRENT", "curren%74", "current/", "current/x", "%63urrent", "current;x", "./current", "Settings", "settingS", "Blocked", "BLOCKED"} {
			for _, method := range []string{"GET", "DELETE", "OPTIONS"} {
				wantRefused(t, g.do(t, ask{method: method, target: api + "/" + name, auth: bearer(parent.value)}), http.StatusNotFound, "RouteNotFoundException")
			}
		}
	})
	t.Run("whoever signs in has none", func(t *testing.T) {
		for _, auth := range []string{as("alice"), as("bob")} {
			for _, method := range []string{"GET", "DELETE"} {
				e := wantRefused(t, g.do(t, ask{method: method, target: currentTarget, auth: auth}), http.StatusNotFound, "DataNotFoundException")
				if !strings.Contains(e.Details, "`current` is the token") {
					t.Errorf("details %q", e.Details)
				}
			}
		}
		wantRefused(t, g.do(t, ask{target: currentTarget}), http.StatusUnauthorized, "AuthenticationRequired")
	})
	t.Run("it ends itself, and no other", func(t *testing.T) {
		g.remove(t, bearer(parent.value), currentTarget)
		wantRefused(t, g.do(t, ask{auth: bearer(parent.value)}), http.StatusUnauthorized, "InvalidToken")
		wantRefused(t, g.do(t, ask{method: "DELETE", target: currentTarget, auth: bearer(parent.value)}), http.StatusUnauthorized, "InvalidToken")
		wantProxied(t, g.do(t, ask{auth: bearer(child.value)}), "bob")
	})
	t.Run("or its whole line", func(t *testing.T) {
		grandchild := g.create(t, bearer(child.value), 3600, "")
		g.remove(t, bearer(child.value), currentTarget+"?successors=true")
		for _, made := range []token{child, grandchild} {
			wantRefused(t, g.do(t, ask{auth: bearer(made.value)}), http.StatusUnauthorized, "InvalidToken")
		}
		for _, made := range []token{parent, child, grandchild} {
			wantRefused(t, g.do(t, ask{method: "DELETE", target: made.target() + "?successors=true", auth: as("bob")}), http.StatusNotFound, "DataNotFoundException")
		}
	})
}
