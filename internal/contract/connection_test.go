package contract

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// warnings are the messages of the log's warnings that name a project.
func (g *gateway) warnings(t testing.TB) (messages []string) {
	t.Helper()
	for line := range strings.Lines(g.logs()) {
		var entry struct{ Level, Msg, Project, From string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "warn" && entry.Project != "" {
			messages = append(messages, entry.Project+": "+entry.Msg)
		}
	}
	return messages
}

// A proxy in front that says that it ends TLS, and isn't trusted, is why the page
// asks for no password: the page and, once a site, the log say what to set.
func TestUntrustedProxyInFront(t *testing.T) {
	t.Parallel()
	sites := site("") + siteAt("{$PORT2}", "project other")
	g := start(t, sites)
	https := []string{"X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.1"}
	got := g.do(t, ask{target: pagePath, host: "tokens.example", lines: https})
	wantSays(t, got, http.StatusOK, "trusted_proxies")
	if strings.Contains(got.body, `id="password"`) {
		t.Errorf("asks for a password: %s", got)
	}
	wantSays(t, g.do(t, ask{target: pagePath, host: "tokens.example"}), http.StatusOK, "https://")
	for range 3 {
		g.do(t, ask{target: pagePath, host: "tokens.example", lines: https})
		g.do(t, ask{target: api, host: "tokens.example", lines: https, auth: as("alice")})
	}
	if complaint := g.reload(t, strings.Replace(sites, "project other", "project other\nsign_in_limit 9 1m", 1)); complaint != "" {
		t.Fatal(complaint)
	}
	g.do(t, ask{target: pagePath, host: "tokens.example", lines: https})
	g.do(t, ask{target: "/v3/x", site: 1, host: "other.example", lines: https})
	g.wait(t, "both sites are warned of", func() bool { return len(g.warnings(t)) >= 2 })
	for i, project := range []string{"dataprep", "other"} {
		if message := g.warnings(t)[i]; !strings.HasPrefix(message, project+": X-Forwarded-Proto") || !strings.Contains(message, "trusted_proxies") {
			t.Errorf("the log warns: %s", message)
		}
	}
	if all := g.warnings(t); len(all) != 2 {
		t.Errorf("the log warns %d times: %q", len(all), all)
	}
}

// A password that comes unencrypted from another machine is taken, since
// programs may have no other way, but the owner learns of it.
func TestPasswordOverPlainHTTP(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ask  ask
		warn bool
	}{
		"from another machine":             {ask{target: api, host: "api.example", auth: as("alice")}, true},
		"a wrong one":                      {ask{target: api, host: "api.example", auth: basic("alice", "guess")}, true},
		"through a proxy without TLS":      {ask{target: api, host: "api.example", auth: as("alice"), lines: []string{"X-Forwarded-For: 192.0.2.1"}}, true},
		"on this machine":                  {ask{target: api, host: "localhost", auth: as("alice")}, false},
		"no password":                      {ask{target: api, host: "api.example"}, false},
		"a token":                          {ask{target: api, host: "api.example", auth: bearer(neverIssued("cat"))}, false},
		"for the API behind":               {ask{target: "/v3/x", host: "api.example", auth: as("alice")}, false},
		"through a trusted proxy with TLS": {ask{target: api, site: 1, host: "api.example", auth: as("alice"), lines: []string{"X-Forwarded-Proto: https"}}, false},
		"a trusted proxy without TLS":      {ask{target: api, site: 1, host: "api.example", auth: as("alice"), lines: []string{"X-Forwarded-Proto: http"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := prepare(t, site("")+siteAt("{$PORT2}", "project other"))
			g.globals = "servers 127.0.0.1:" + g.vars["PORT2"] + " {\ntrusted_proxies static 127.0.0.1\n}"
			g.write(t, site("")+siteAt("{$PORT2}", "project other"))
			g.up(t)
			for range 2 {
				g.do(t, test.ask)
			}
			g.stop(t) // what is logged is there then
			of := slices.DeleteFunc(g.warnings(t), func(message string) bool { return !strings.Contains(message, "a password has come unencrypted") })
			if want := map[bool]int{true: 1, false: 0}[test.warn]; len(of) != want {
				t.Errorf("%d warnings, want %d: %q", len(of), want, of)
			}
		})
	}
}
