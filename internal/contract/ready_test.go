package contract

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whether tokens can be authenticated, for load balancers and containers.

// withHealth are the sites, and one at the last port that says whether it is ready.
func withHealth(sites string) string {
	return sites + `
http://:{$PORT3} {
	bind 127.0.0.1
	@ready access_tokens_ready
	respond @ready 200
	respond 503
}
`
}

const (
	livePath  = "/access_tokens/health/live"
	readyPath = "/access_tokens/health/ready"
)

// health asks the admin endpoint. why is "" where all is well.
func (g *gateway) health(t testing.TB, path string) (status int, why string) {
	t.Helper()
	var body string
	// Each reload replaces the admin endpoint.
	g.wait(t, "the admin endpoint answers", func() (answered bool) {
		var err error
		status, body, err = g.askAdmin(http.MethodGet, path, "", "")
		return err == nil
	})
	var said struct{ Status, Error string }
	if err := json.Unmarshal([]byte(body), &said); err != nil || (said.Status == "ok") != (status == http.StatusOK) || (said.Error == "") != (status == http.StatusOK) {
		t.Errorf("%s: %d %s", path, status, body)
	}
	return status, said.Error
}

// wantHealth wants these statuses of the two routes, and with a site that matches
// access_tokens_ready the same of that.
func (g *gateway) wantHealth(t testing.TB, what string, live, ready int) {
	t.Helper()
	if status, why := g.health(t, livePath); status != live {
		t.Errorf("%s: live is %d: %s", what, status, why)
	}
	if status, why := g.health(t, readyPath); status != ready {
		t.Errorf("%s: ready is %d: %s", what, status, why)
	}
	if got := g.do(t, ask{site: 2}); got.status != ready {
		t.Errorf("%s: a site that is ready answers %d", what, got.status)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	g := start(t, withHealth(site("allow_generate everyone")))
	g.wantHealth(t, "at the start", 200, 200)
	for _, test := range []struct {
		method, path, body string
		status             int
	}{
		{"HEAD", livePath, "", 200},
		{"HEAD", readyPath, "", 200},
		{"POST", livePath, "{}", 405},
		{"DELETE", readyPath, "", 405},
		{"GET", readyPath + "/", "", 404},
		{"GET", "/access_tokens/health", "", 404},
	} {
		if status, body, err := g.askAdmin(test.method, test.path, "", test.body); err != nil || status != test.status {
			t.Errorf("%s %s: %d %s, %v, want %d", test.method, test.path, status, body, err, test.status)
		}
	}

	// Neither says more than whether tokens can be authenticated.
	g.patch(t, as("alice"), `{"enabled": false}`)
	g.wantHealth(t, "while API access is off", 200, 200)
	for _, app := range []string{"retain expired 7d", ""} {
		if complaint := g.reloadWith(t, app, withHealth(site("allow_generate everyone\nstrip X-"+app[:min(len(app), 1)]+"*"))); complaint != "" {
			t.Fatal(complaint)
		}
		g.wantHealth(t, "after a reload, with the global option "+app, 200, 200)
	}
	for what, sites := range map[string]string{
		"provisioning": withHealth(strings.Replace(site(""), "admins alice", "admins {env.NOT_SET_ANYWHERE}", 1)),
		"starting":     withHealth(site("")) + "http://:" + portOf(g.api.address) + " {\n\tbind 127.0.0.1\n}\n",
	} {
		for range 4 { // apps start in random order
			if complaint := g.reload(t, sites); complaint == "" {
				t.Fatalf("%s didn't fail", what)
			}
			g.wantHealth(t, "after a reload that fails at "+what, 200, 200)
		}
	}
	if complaint := g.reload(t, withHealth(without)); complaint != "" {
		t.Fatal(complaint)
	}
	g.wantHealth(t, "without tokens", 200, 503)
	if complaint := g.reload(t, withHealth(site(""))); complaint != "" {
		t.Fatal(complaint)
	}
	g.wantHealth(t, "with tokens again", 200, 200)
	g.restart(t)
	g.wantHealth(t, "after a restart", 200, 200)
	if lines := g.logLines("admin.api"); len(lines) > 0 {
		for _, line := range lines {
			if line.text("level") == "error" && strings.Contains(line.text("error"), "health") && !strings.Contains(line.text("error"), "takes") {
				t.Errorf("a probe is an error in the log: %v", line)
			}
		}
	}
}

// A store that is found damaged answers nobody until a restart.
func TestHealthOfADamagedStore(t *testing.T) {
	t.Parallel()
	g := start(t, withHealth(site("allow_generate everyone")))
	made := g.create(t, as("bob"), 3600, "")
	g.restart(t) // which puts what there is into a table
	g.wantHealth(t, "a sound store", 200, 200)
	tables, err := filepath.Glob(filepath.Join(g.store(), "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("%v, %v", tables, err)
	}
	for _, table := range tables {
		if err := os.Truncate(table, 0); err != nil {
			t.Fatal(err)
		}
	}
	wantCantTell(t, g.do(t, askFor(made)))
	g.wantHealth(t, "a damaged one", 503, 503)
	if _, why := g.health(t, readyPath); !strings.Contains(why, "store") {
		t.Errorf("it isn't ready because %q", why)
	}
	if n := g.metrics(t)["store_writable"]; n != 0 {
		t.Errorf("it is writable: %v", n)
	}
}
