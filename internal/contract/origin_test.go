package contract

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestAnotherOriginsPageMayNotChangeAnything(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "")
	own := "http://" + g.addresses[0]
	for _, test := range []struct {
		name    string
		lines   []string
		allowed bool
	}{
		{"a program", nil, true},
		{"a page of this origin", []string{"Sec-Fetch-Site: same-origin", "Origin: " + own}, true},
		{"a page of this origin, an older browser", []string{"Origin: " + own}, true},
		{"the address bar", []string{"Sec-Fetch-Site: none"}, true},
		{"another site's page", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, false},
		{"another site's page, without Origin", []string{"Sec-Fetch-Site: cross-site"}, false},
		{"a neighbour's page", []string{"Sec-Fetch-Site: same-site", "Origin: https://blog.example"}, false},
		{"another site's page, an older browser", []string{"Origin: https://evil.example"}, false},
		{"another port's page, an older browser", []string{"Origin: http://127.0.0.1:1"}, false},
		{"a sandboxed page", []string{"Origin: null"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := g.create(t, as("alice"), 60, "").target()
			for _, a := range []ask{
				{method: "POST", target: api, body: `{"lifetimeSeconds": 60}`},
				{method: "DELETE", target: target},
			} {
				for who, auth := range map[string]string{"signed in": as("alice"), "with a token": bearer(made.value)} {
					if a.method == "DELETE" && who == "with a token" && test.allowed {
						continue // it is gone already
					}
					a.auth, a.lines = auth, test.lines
					got := g.do(t, a)
					if !test.allowed {
						wantRefused(t, got, http.StatusForbidden, "AccessControlException")
						continue
					}
					isGone := a.method == "DELETE" && got.status == http.StatusNotFound
					if got.status != http.StatusCreated && got.status != http.StatusNoContent && !isGone {
						t.Errorf("%s %s: %s", a.method, who, got)
					}
				}
			}
			got := g.do(t, ask{target: target, auth: as("alice")})
			if exists := got.status == http.StatusOK; exists == test.allowed {
				t.Errorf("after DELETE: %s", got)
			}
		})
	}
	t.Run("reading isn't changing", func(t *testing.T) {
		for _, method := range []string{"GET", "HEAD"} {
			got := g.do(t, ask{method: method, target: api, auth: as("alice"), lines: []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}})
			wantStatus(t, got, http.StatusOK)
		}
	})
	t.Run("and the API behind has rules of its own", func(t *testing.T) {
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			got := g.do(t, ask{method: method, target: "/v4/things", auth: bearer(made.value), body: "{}",
				lines: []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}})
			wantProxied(t, got, "alice")
		}
	})
}

// One script that somebody has injected into the API's own pages would make a
// token that outlives the session.
func TestAScriptMakesNoTokenWithWhatItsBrowserSendsAlong(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	inFront := `
http://:{$PORT2} {
	bind 127.0.0.1
	@browser not access_token
	basic_auth @browser {
		alice {$ALICE_HASH}
	}
	access_tokens {
		project in-front
		allow_generate everyone
		sign_in placeholder {http.auth.user.id}
	}
}
`
	g := start(t, realSite("")+inFront, a.behind())
	session := a.cookie("alice")
	programs := []ask{
		{auth: as("alice")},
		{lines: []string{session}},
		{site: 1, auth: as("alice")},
	}
	for _, mode := range []string{"cors", "same-origin", "no-cors", "", "Navigate", "navigate\r\nSec-Fetch-Mode: navigate"} {
		script := []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: empty", "Sec-Fetch-Mode: " + mode}
		for _, by := range programs {
			mine := g.createAt(t, by.site, as("alice"), 3600, "")
			for _, change := range []ask{
				{method: "POST", target: api, body: anHour}, {method: "DELETE", target: mine.target()}, {method: "PATCH", target: settingsTarget, body: `{"enabled": false}`},
			} {
				change.site, change.auth, change.lines = by.site, by.auth, slices.Concat(script, by.lines)
				e := wantRefused(t, g.do(t, change), http.StatusForbidden, "AccessControlException")
				if !strings.Contains(e.Details, "Send an access token") || !strings.Contains(e.Details, "script_access on") {
					t.Errorf("details %q", e.Details)
				}
			}
			look := ask{site: by.site, target: mine.target(), auth: by.auth, lines: slices.Concat(script, by.lines)}
			wantStatus(t, g.do(t, look), http.StatusOK)
			byToken := ask{site: by.site, method: "POST", target: api, auth: bearer(mine.value), body: anHour, lines: script}
			wantStatus(t, g.do(t, byToken), http.StatusCreated)
		}
		nobody := ask{method: "POST", target: api, body: anHour, lines: script}
		wantRefused(t, g.do(t, nobody), http.StatusUnauthorized, "AuthenticationRequired")
	}
	for _, by := range programs {
		by.method, by.target, by.body = "POST", api, anHour
		by.lines = append([]string{"Sec-Fetch-Mode: navigate"}, by.lines...)
		wantStatus(t, g.do(t, by), http.StatusCreated)
	}
	t.Run("unless the owner says so", func(t *testing.T) {
		if complaint := g.reload(t, realSite("script_access on")); complaint != "" {
			t.Fatal(complaint)
		}
		for _, by := range programs[:2] {
			by.method, by.target, by.body = "POST", api, anHour
			by.lines = append([]string{"Sec-Fetch-Mode: cors"}, by.lines...)
			wantStatus(t, g.do(t, by), http.StatusCreated)
		}
	})
}
