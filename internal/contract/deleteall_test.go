package contract

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// deleteAll deletes all of a user's tokens, and returns how many were living.
func (g *gateway) deleteAll(t testing.TB, auth, user string) int {
	t.Helper()
	got := g.do(t, ask{method: "DELETE", target: api + "?user=" + url.QueryEscape(user), auth: auth})
	wantStatus(t, got, http.StatusOK)
	var answer struct {
		Deleted *int `json:"deleted"`
	}
	got.into(t, &answer)
	if answer.Deleted == nil {
		t.Fatalf("the number is missing: %s", got.body)
	}
	return *answer.Deleted
}

func TestAllTokensOfAUserEndAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone")+siteAt("{$PORT2}", "allow_generate everyone\nproject other"))
	others := g.create(t, as("carol"), 3600, "of another user")
	elsewhere := g.createAt(t, 1, as("bob"), 3600, "of another project")
	for _, by := range []string{"bob", "alice"} {
		tokens := []token{g.create(t, as("bob"), 3600, ""), g.create(t, as("bob"), 3600, "")}
		tokens = append(tokens, g.create(t, bearer(tokens[0].value), 3600, "renewed"))
		short := g.create(t, as("bob"), 1, "soon expired")
		g.wait(t, "it has expired", func() bool { return time.Now().After(at(t, *short.info.ExpiredAt)) })
		if deleted := g.deleteAll(t, as(by), "bob"); deleted != 3 {
			t.Errorf("by %s: %d were living, want 3", by, deleted)
		}
		for _, made := range append(tokens, short) {
			wantRefused(t, g.do(t, ask{auth: bearer(made.value)}), http.StatusUnauthorized, "InvalidToken")
		}
		if left := g.list(t, as("bob"), "?includeCount=true"); len(left.Data) != 0 || *left.Count != 0 {
			t.Errorf("by %s: listed are %v, counted %d", by, left.ids(), *left.Count)
		}
		if deleted := g.deleteAll(t, as(by), "bob"); deleted != 0 {
			t.Errorf("by %s, once more: %d", by, deleted)
		}
	}
	wantProxied(t, g.do(t, ask{auth: bearer(others.value)}), "carol")
	wantProxied(t, g.do(t, ask{site: 1, auth: bearer(elsewhere.value)}), "bob")
	wantProxied(t, g.do(t, ask{auth: bearer(g.create(t, as("bob"), 60, "made afterwards").value)}), "bob")
}

func TestWhoMayDeleteAllOfAUsersTokens(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	bobs, alices := g.create(t, as("bob"), 3600, ""), g.create(t, as("alice"), 3600, "")
	ask := func(auth, query string) answered {
		return g.do(t, ask{method: "DELETE", target: api + query, auth: auth})
	}
	for what, test := range map[string]struct{ auth, user string }{
		"one's own by a token":                {bearer(bobs.value), "bob"},
		"an administrator's own by a token":   {bearer(alices.value), "alice"},
		"another's":                           {as("bob"), "carol"},
		"another's by a token":                {bearer(bobs.value), "alice"},
		"those of somebody whom nobody knows": {as("bob"), "nobody"},
	} {
		if e := wantRefused(t, ask(test.auth, "?user="+test.user), http.StatusForbidden, "AccessControlException"); e.Details == "" {
			t.Errorf("%s: %v", what, e)
		}
	}
	for _, query := range []string{"", "?", "?user", "?user=", "?user=*", "?user=%2A", "?user=bob&user=bob", "?User=bob", "?user=" + strings.Repeat("x", 257)} {
		wantRefused(t, ask(as("alice"), query), http.StatusBadRequest, "ApiValidationFailed")
	}
	wantRefused(t, ask("", "?user=bob"), http.StatusUnauthorized, "AuthenticationRequired")
	wantProxied(t, g.do(t, askFor(bobs)), "bob")
	wantProxied(t, g.do(t, askFor(alices)), "alice")
	if deleted := g.deleteAll(t, as("alice"), "nobody"); deleted != 0 {
		t.Errorf("a user whom nobody knows had %d tokens", deleted)
	}
	// A token of a named administrator administrates.
	if deleted := g.deleteAll(t, bearer(alices.value), "bob"); deleted != 1 {
		t.Errorf("%d tokens, want 1", deleted)
	}
}

func askFor(k token) ask { return ask{auth: bearer(k.value)} }

// Whatever renews in a loop meanwhile is gone too, and stays so after the server
// was killed.
func TestRenewalsUnderWayEndWithAllOthers(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	const loops = 8
	var all sync.WaitGroup
	values := make([][]string, loops)
	ready := make(chan struct{}, loops)
	for n := range loops {
		first := g.create(t, as("bob"), 3600, "")
		all.Go(func() {
			values[n] = []string{first.value}
			for i := 0; ; i++ {
				body := `{"lifetimeSeconds": 3600, "replace": true}`
				if i%2 == 0 {
					body = `{"lifetimeSeconds": 3600}`
				}
				got, err := g.try(ask{method: "POST", target: api, auth: bearer(values[n][len(values[n])-1]), body: body})
				if i == 3 {
					ready <- struct{}{}
				}
				if err != nil || got.status != http.StatusCreated {
					if err != nil || got.status != http.StatusUnauthorized {
						t.Errorf("%v %v", err, got)
					}
					return
				}
				values[n] = append(values[n], got.tokenValue())
			}
		})
	}
	for range loops {
		<-ready
	}
	g.deleteAll(t, as("alice"), "bob")
	all.Wait()
	for range 2 {
		for _, line := range values {
			for _, value := range line {
				wantRefused(t, g.do(t, ask{auth: bearer(value)}), http.StatusUnauthorized, "InvalidToken")
			}
		}
		g.kill9(t)
		g.up(t)
	}
}

func TestATokenReplacesItsParent(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	renew := func(auth, body string) answered {
		return g.do(t, ask{method: "POST", target: api, auth: auth, body: body})
	}
	parent := g.create(t, as("bob"), 3600, "")
	t.Run("which lives on when its successor is refused", func(t *testing.T) {
		for body, status := range map[string]int{
			`{"lifetimeSeconds": 3601, "replace": true}`:                                                   http.StatusForbidden,
			`{"lifetimeSeconds": 0, "replace": true}`:                                                      http.StatusBadRequest,
			`{"lifetimeSeconds": 60, "replace": "true"}`:                                                   http.StatusBadRequest,
			`{"lifetimeSeconds": 60, "replace": null}`:                                                     http.StatusBadRequest,
			`{"lifetimeSeconds": 60, "Replace": true}`:                                                     http.StatusBadRequest,
			`{"lifetimeSeconds": 60, "description": "` + strings.Repeat("x", 1025) + `", "replace": true}`: http.StatusBadRequest,
		} {
			wantStatus(t, renew(bearer(parent.value), body), status)
			wantProxied(t, g.do(t, askFor(parent)), "bob")
		}
	})
	t.Run("not by a sign-in", func(t *testing.T) {
		e := wantRefused(t, renew(as("bob"), `{"lifetimeSeconds": 60, "replace": true}`), http.StatusBadRequest, "ApiValidationFailed")
		if !strings.Contains(e.Details, "replace") {
			t.Errorf("the details don't name it: %s", e.Details)
		}
		wantStatus(t, renew(as("bob"), `{"lifetimeSeconds": 60, "replace": false}`), http.StatusCreated)
	})
	t.Run("and else ends with it", func(t *testing.T) {
		got := renew(bearer(parent.value), `{"lifetimeSeconds": 60, "replace": true}`)
		wantStatus(t, got, http.StatusCreated)
		wantRefused(t, g.do(t, askFor(parent)), http.StatusUnauthorized, "InvalidToken")
		wantProxied(t, g.do(t, ask{auth: bearer(got.tokenValue())}), "bob")
		var made struct{ TokenInfo tokenInfo }
		if err := json.Unmarshal([]byte(got.body), &made); err != nil || made.TokenInfo.ParentID != parent.info.TokenID {
			t.Errorf("parentId %q, want %q", made.TokenInfo.ParentID, parent.info.TokenID)
		}
		wantRefused(t, renew(bearer(parent.value), `{"lifetimeSeconds": 60, "replace": true}`), http.StatusUnauthorized, "InvalidToken")
	})
}
