package contract

import (
	"net/http"
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
