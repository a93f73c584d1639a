package contract

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

// How many living tokens a user can have: max_tokens_per_user.

// wantLimited wants no token to be made, for want of a place.
func (g *gateway) wantLimited(t testing.TB, site int, auth string) {
	t.Helper()
	got := g.do(t, ask{site: site, method: "POST", target: api, auth: auth, body: `{"lifetimeSeconds": 3600}`})
	if e := wantRefused(t, got, http.StatusConflict, "ConflictException"); !strings.Contains(e.Details, "Delete one") {
		t.Errorf("details %q", e.Details)
	}
}

func TestMaxTokensPerUser(t *testing.T) {
	t.Parallel()
	limited := func(limit string) string {
		options := "allow_generate everyone\n" + limit
		return siteAt("{$PORT}", options) + siteAt("{$PORT2}", options) + siteAt("{$PORT3}", options+"\nproject other")
	}
	g := start(t, limited("max_tokens_per_user 3"))
	var made []token
	for n := range 3 {
		made = append(made, g.createAt(t, n%2, as("bob"), 3600, ""))
	}
	t.Run("at the limit no other is made", func(t *testing.T) {
		g.wantLimited(t, 0, as("bob"))
		g.wantLimited(t, 1, as("bob"))
		g.wantLimited(t, 0, bearer(made[0].value)) // by renewing
		if ids := g.list(t, as("bob"), "").ids(); len(ids) != 3 {
			t.Errorf("bob has %v", ids)
		}
		for _, made := range made {
			wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "bob")
		}
	})
	t.Run("others have their own", func(t *testing.T) {
		g.createAt(t, 2, as("bob"), 3600, "another project's")
		g.create(t, as("carol"), 3600, "")
		for range 3 {
			g.create(t, as("alice"), 3600, "")
		}
		g.wantLimited(t, 0, as("alice")) // an administrator, too
	})
	t.Run("a token that is deleted leaves its place", func(t *testing.T) {
		g.remove(t, as("bob"), made[2].target())
		made[2] = g.create(t, bearer(made[0].value), 3600, "")
		g.wantLimited(t, 0, as("bob"))
	})
	t.Run("so does one that has expired", func(t *testing.T) {
		g.remove(t, as("bob"), made[2].target())
		short := g.create(t, as("bob"), 1, "")
		g.wait(t, "there is a place again", func() bool {
			got := g.do(t, ask{method: "POST", target: api, auth: as("bob"), body: `{"lifetimeSeconds": 3600}`})
			return got.status == http.StatusCreated
		})
		wantRefused(t, g.do(t, ask{auth: bearer(short.value)}), http.StatusUnauthorized, "InvalidToken")
		g.wantLimited(t, 0, as("bob"))
	})
	t.Run("it survives the process", func(t *testing.T) {
		g.restart(t)
		g.wantLimited(t, 0, as("bob"))
		g.kill9(t)
		g.up(t)
		g.wantLimited(t, 0, as("bob"))
	})
	take := func(t *testing.T, limit string) {
		t.Helper()
		if complaint := g.reload(t, limited(limit)); complaint != "" {
			t.Fatal(complaint)
		}
	}
	t.Run("lowered by a reload, it takes nobody's tokens", func(t *testing.T) {
		take(t, "max_tokens_per_user 2")
		for _, made := range made[:2] {
			wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "bob")
		}
		g.wantLimited(t, 0, as("bob"))
		g.remove(t, as("bob"), made[0].target())
		g.wantLimited(t, 0, as("bob"))
		g.remove(t, as("bob"), made[1].target())
		g.create(t, as("bob"), 3600, "")
		g.wantLimited(t, 1, as("bob"))
	})
	t.Run("raised, it leaves more", func(t *testing.T) {
		take(t, "max_tokens_per_user 3")
		g.create(t, as("bob"), 3600, "")
		g.wantLimited(t, 0, as("bob"))
	})
	t.Run("by default there is none", func(t *testing.T) {
		take(t, "")
		for range 10 {
			g.create(t, as("bob"), 60, "")
		}
	})
	t.Run("two sites that differ in it aren't taken", func(t *testing.T) {
		differing := siteAt("{$PORT}", "max_tokens_per_user 3") + siteAt("{$PORT2}", "max_tokens_per_user 4")
		want := "two directives of this project differ in max_tokens_per_user"
		if complaint := g.reload(t, differing); !strings.Contains(complaint, want) {
			t.Errorf("the complaint is %q, want %q in it", complaint, want)
		}
	})
}

// Of many that are asked for at once, as many are made as there are places.
func TestMaxTokensPerUserAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, answering("allow_generate everyone\nmax_tokens_per_user 6"), quietly)
	parent := bearer(g.create(t, as("bob"), 3600, "").value)
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			got, err := g.try(ask{method: "POST", target: api, auth: parent, body: `{"lifetimeSeconds": 3600}`})
			if _, err = want(got, err, http.StatusCreated, http.StatusConflict); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if ids := g.list(t, as("bob"), "").ids(); len(ids) != 6 {
		t.Errorf("bob has %d tokens, want 6", len(ids))
	}
	g.wantLimited(t, 0, as("bob"))
}
