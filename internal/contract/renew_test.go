package contract

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
)

func TestATokensHolderRenewsIt(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	parent := g.create(t, as("bob"), 3600, "parent")
	child := g.create(t, bearer(parent.value), 3600, "child")
	wantProxied(t, g.do(t, ask{auth: bearer(child.value)}), "bob")
	wantProxied(t, g.do(t, ask{auth: bearer(parent.value)}), "bob")
	if child.info.TokenID == parent.info.TokenID || child.value == parent.value {
		t.Error("a successor is a token of its own")
	}
	if ids := g.list(t, as("bob"), "").ids(); len(ids) != 2 || !slices.Contains(ids, child.info.TokenID) {
		t.Errorf("bob's list: %v", ids)
	}
	t.Run("the successor's lifetime begins when it is made", func(t *testing.T) {
		created, expired := at(t, child.info.CreatedAt), at(t, *child.info.ExpiredAt)
		if expired.Sub(created).Seconds() != 3600 {
			t.Errorf("from %v to %v", created, expired)
		}
		if created.Before(at(t, parent.info.CreatedAt)) {
			t.Errorf("older than its parent: %v", created)
		}
	})
	t.Run("with its parent deleted it goes on", func(t *testing.T) {
		g.remove(t, bearer(child.value), parent.target())
		wantRefused(t, g.do(t, ask{auth: bearer(parent.value)}), http.StatusUnauthorized, "InvalidToken")
		wantProxied(t, g.do(t, ask{auth: bearer(child.value)}), "bob")
	})
}

func TestASuccessorLivesNoLongerThanItsParentsLifetime(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\nmax_lifetime unlimited"))
	forever := g.create(t, as("bob"), -1, "")
	hour := g.create(t, as("bob"), 3600, "")
	renewed := g.create(t, bearer(hour.value), 3600, "")
	shorter := g.create(t, bearer(hour.value), 60, "")
	ofForever := g.create(t, bearer(forever.value), 7200, "")
	for _, test := range []struct {
		name     string
		parent   token
		lifetime int64
		allowed  bool
	}{
		{"as long as its parent", hour, 3600, true},
		{"shorter", hour, 3599, true},
		{"longer", hour, 3601, false},
		{"for ever, of an hour's", hour, -1, false},
		{"much longer", hour, 86400, false},
		{"of a successor, as long", renewed, 3600, true},
		{"of a successor, longer", renewed, 3601, false},
		{"of a shorter successor, its lifetime counts", shorter, 61, false},
		{"of a shorter successor, as long", shorter, 60, true},
		{"for ever, of one for ever", forever, -1, true},
		{"any time, of one for ever", forever, 31536000, true},
		{"for ever, of what one for ever limited", ofForever, -1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := g.do(t, ask{method: "POST", target: api, auth: bearer(test.parent.value),
				body: fmt.Sprintf(`{"lifetimeSeconds": %d}`, test.lifetime)})
			if test.allowed {
				wantStatus(t, got, http.StatusCreated)
				return
			}
			wantRefused(t, got, http.StatusForbidden, "AccessControlException")
		})
	}
}

func TestDeletingATokenWithItsSuccessors(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	//	root ─ a ─ b ─ c
	//	     └ d
	root := g.create(t, as("bob"), 3600, "root")
	a := g.create(t, bearer(root.value), 3600, "a")
	b := g.create(t, bearer(a.value), 3600, "b")
	c := g.create(t, bearer(b.value), 3600, "c")
	d := g.create(t, bearer(root.value), 3600, "d")
	other := g.create(t, as("bob"), 3600, "of another line")
	works := func(t *testing.T, want bool, tokens ...token) {
		t.Helper()
		for _, made := range tokens {
			got := g.do(t, ask{auth: bearer(made.value)})
			if want {
				wantProxied(t, got, "bob")
			} else {
				wantRefused(t, got, http.StatusUnauthorized, "InvalidToken")
			}
		}
	}
	t.Run("?successors=false is as without", func(t *testing.T) {
		lone := g.create(t, as("bob"), 3600, "")
		next := g.create(t, bearer(lone.value), 3600, "")
		g.remove(t, as("bob"), lone.target()+"?successors=false")
		works(t, false, lone)
		works(t, true, next)
	})
	t.Run("one in the middle, without them: what follows it stays in the line", func(t *testing.T) {
		g.remove(t, as("bob"), b.target())
		works(t, false, b)
		works(t, true, root, a, c, d, other)
	})
	t.Run("the first, with them: the whole line goes", func(t *testing.T) {
		g.remove(t, as("bob"), root.target()+"?successors=true")
		works(t, false, root, a, b, c, d)
		works(t, true, other)
		for _, info := range g.list(t, as("bob"), "").Data {
			if slices.Contains([]string{"root", "a", "b", "c", "d"}, info.Description) {
				t.Errorf("%s is still listed", info.Description)
			}
		}
	})
	t.Run("one, with them: what came before stays", func(t *testing.T) {
		first := g.create(t, as("bob"), 3600, "")
		second := g.create(t, bearer(first.value), 3600, "")
		third := g.create(t, bearer(second.value), 3600, "")
		sibling := g.create(t, bearer(first.value), 3600, "")
		g.remove(t, as("alice"), second.target()+"?successors=true")
		works(t, false, second, third)
		works(t, true, first, sibling)
	})
	t.Run("someone else's, with them: 404 and nothing happens", func(t *testing.T) {
		line := g.create(t, as("bob"), 3600, "")
		got := g.do(t, ask{method: "DELETE", target: line.target() + "?successors=true", auth: as("carol")})
		wantRefused(t, got, http.StatusNotFound, "DataNotFoundException")
		works(t, true, line)
	})
}

func TestRenewingTakesTheRightToGenerate(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	bobs := g.create(t, as("bob"), 3600, "")
	alices := g.create(t, as("alice"), 3600, "")
	if complaint := g.reload(t, site("allow_generate users carol")); complaint != "" {
		t.Fatal(complaint)
	}
	got := g.do(t, ask{method: "POST", target: api, auth: bearer(bobs.value), body: `{"lifetimeSeconds": 60}`})
	wantRefused(t, got, http.StatusForbidden, "AccessControlException")
	wantProxied(t, g.do(t, ask{auth: bearer(bobs.value)}), "bob") // it still opens the API
	g.create(t, bearer(alices.value), 60, "")                     // administrators always may
	t.Run("and the token itself has to be valid", func(t *testing.T) {
		g.remove(t, as("alice"), alices.target())
		got := g.do(t, ask{method: "POST", target: api, auth: bearer(alices.value), body: `{"lifetimeSeconds": 60}`})
		wantRefused(t, got, http.StatusUnauthorized, "InvalidToken")
	})
}

// A token does what its user may: it is the names under admins that count, at the
// time of the request.
func TestWhatATokenMayAdministrate(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alices := g.create(t, as("alice"), 3600, "")
	bobs := g.create(t, as("bob"), 3600, "")
	administrates := func(t *testing.T, made token, want bool) {
		t.Helper()
		got := g.do(t, ask{target: api + "?user=*", auth: bearer(made.value)})
		if want {
			wantStatus(t, got, http.StatusOK)
			return
		}
		wantRefused(t, got, http.StatusForbidden, "AccessControlException")
	}
	administrates(t, alices, true)
	administrates(t, bobs, false)
	got := g.do(t, ask{method: "DELETE", target: alices.target(), auth: bearer(bobs.value)})
	wantRefused(t, got, http.StatusNotFound, "DataNotFoundException")

	t.Run("named or no longer named under admins", func(t *testing.T) {
		complaint := g.reload(t, site("project dataprep\nallow_generate everyone")+`
http://:{$PORT2} {
	bind 127.0.0.1
	access_tokens {
		project other
		admins bob
		sign_in basic {
			bob {$BOB_HASH}
		}
	}
	reverse_proxy {$UPSTREAM}
}`)
		if complaint != "" {
			t.Fatal(complaint)
		}
		// An administrator of one project is none of another.
		administrates(t, bobs, false)
		if complaint := g.reload(t, adminIs("bob")); complaint != "" {
			t.Fatal(complaint)
		}
		administrates(t, bobs, true)
		administrates(t, alices, false)
	})
}

// adminIs is the site of these tests with another administrator.
func adminIs(user string) string {
	return `
http://:{$PORT} {
	bind 127.0.0.1
	access_tokens {
		project dataprep
		admins ` + user + `
		allow_generate everyone
		sign_in basic {
			alice {$ALICE_HASH}
			bob {$BOB_HASH}
		}
	}
	reverse_proxy {$UPSTREAM}
}`
}
