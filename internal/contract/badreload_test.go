package contract

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A configuration that can't be used, wherever that is found out, leaves the
// running one as it was. Clients are at work all the while, on connections that
// they keep and on new ones.
func TestABadConfigurationLeavesTheRunningOneAsItWas(t *testing.T) {
	t.Parallel()
	other := start(t, site("")) // has a store in use
	const options = "allow_generate everyone"
	g := start(t, answering(options), quietly, env("SHORT", "correct horse"), env("OTHER", other.store()))
	kept := g.create(t, as("bob"), 3600, "")
	running := g.config(t)
	if err := os.WriteFile(filepath.Join(g.dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		app     string // the global option's block
		sites   string
		want    string // in the complaint
		repeats int    // where apps are started, which is in random order
		also    int    // what a client may be answered, besides 200
	}{
		{"the Caddyfile can't be parsed", "", answering("no_such_option"), "no_such_option", 1, 0},
		{"the hash key is too short", "hash_key {env.SHORT}", answering(options), "hash_key", 1, 0},
		{"the hash key isn't there", "hash_key {env.NOT_THERE}", answering(options), "hash_key", 1, 0},
		{"nobody could make a token", "", strings.Replace(answering(""), "admins alice", "", 1), "may make tokens", 1, 0},
		{"a handler behind can't be provisioned", "", answering(options) + strings.Replace(siteAt("{$PORT2}", options),
			"reverse_proxy {$UPSTREAM}", "reverse_proxy {$UPSTREAM} {\n\ttransport http {\n\t\ttls_trust_pool file /nonexistent/ca.pem\n\t}\n}", 1), "ca.pem", 1, 0},
		{"a port is taken", "", answering(options) + siteAt(portOf(g.api.address), options), "address already in use", 8, 0},
		{"the hash key is another one", "hash_key 0123456789012345678901234567890123456789", answering(options), "living token", 4, 0},
		{"the store is a new one", "store badger {$DIR}/new", answering(options), "restart required", 4, 0},
		{"the store is another process's", "store badger {env.OTHER}", answering(options), "restart required", 4, 0},
		{"the store's directory is a file", "store badger {$DIR}/file", answering(options), "restart required", 4, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			atWork := putToWork(t, 5*time.Millisecond, g.callers(t, kept, http.StatusOK, test.also)...)
			for range test.repeats {
				complaint := g.reloadWith(t, test.app, test.sites)
				if !strings.Contains(complaint, test.want) {
					t.Fatalf("the complaint is %q, want %q in it", complaint, test.want)
				}
				if now := g.config(t); now != running {
					t.Fatalf("another configuration runs:\n%s\nit was:\n%s", now, running)
				}
				atWork.awaitTurns(t, g)
			}
			atWork.end(t)
			if err := tokensLife(g.caller(t), bearer(kept.value)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("the running one can still be replaced", func(t *testing.T) {
		if complaint := g.reload(t, answering(options+"\nprefix new")); complaint != "" {
			t.Fatal(complaint)
		}
		wantStatus(t, g.do(t, ask{auth: bearer(kept.value)}), http.StatusOK)
		if made := g.create(t, bearer(kept.value), 60, ""); !strings.HasPrefix(made.value, "new_") {
			t.Error("the new prefix isn't used")
		}
	})
	t.Run("the other process has noticed nothing", func(t *testing.T) {
		wantProxied(t, other.do(t, ask{auth: bearer(other.create(t, as("alice"), 60, "").value)}), "alice")
	})
	t.Run("nothing holds the store any more when its configuration is taken away", func(t *testing.T) {
		if complaint := g.reload(t, without); complaint != "" {
			t.Fatal(complaint)
		}
		// So another one can be opened in its place.
		if complaint := g.reloadWith(t, "store badger {$DIR}/new", answering(options)); complaint != "" {
			t.Fatal(complaint)
		}
		wantRefused(t, g.do(t, ask{auth: bearer(kept.value)}), http.StatusUnauthorized, "InvalidToken")
		for _, sites := range []string{without, answering(options)} {
			if complaint := g.reload(t, sites); complaint != "" {
				t.Fatal(complaint)
			}
		}
		wantStatus(t, g.do(t, ask{auth: bearer(kept.value)}), http.StatusOK)
	})
	t.Run("what requires a restart works after one", func(t *testing.T) {
		g.stop(t)
		if err := os.Rename(g.store(), filepath.Join(g.dir, "moved")); err != nil {
			t.Fatal(err)
		}
		g.globals += "access_tokens {\n\tstore badger {$DIR}/moved\n}\n"
		g.write(t, answering(options))
		g.up(t)
		wantStatus(t, g.do(t, ask{auth: bearer(kept.value)}), http.StatusOK)
	})
}

// A configuration that fails to start may have taken requests by then. They
// are answered, too.
func TestAConfigurationThatFailsHalfwayLetsNobodyWait(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		sites string // the running ones
		also  int    // what a client may be answered, besides 200
	}{
		{"the running configuration has the store open", answering("allow_generate everyone"), 0},
		{"the store is closed", without, http.StatusServiceUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, answering("allow_generate everyone"), quietly)
			made := g.create(t, as("bob"), 3600, "")
			halfway := g.halfway(t)
			if complaint := g.reload(t, test.sites); complaint != "" && !strings.Contains(complaint, "unchanged") {
				t.Fatal(complaint)
			}
			atWork := putToWork(t, 5*time.Millisecond, g.callers(t, made, http.StatusOK, test.also)...)
			for range 12 { // apps start in random order
				_, complaint, err := g.askAdmin(http.MethodPost, "/load", "application/json", halfway)
				if err != nil || !strings.Contains(complaint, "address already in use") {
					t.Fatalf("the complaint is %q, error %v", complaint, err)
				}
				atWork.awaitTurns(t, g)
			}
			atWork.end(t)
		})
	}
}

// halfway is the running configuration, but its server, once it serves, goes on
// to listen at many addresses, the last of which is taken.
func (g *gateway) halfway(t testing.TB) string {
	t.Helper()
	first := fmt.Sprintf("%q", g.addresses[0])
	var b strings.Builder
	for i := range 50 {
		fmt.Fprintf(&b, `,"unix/%s/%d.sock"`, g.dir, i)
	}
	config := strings.Replace(g.config(t), first, first+b.String()+`,"`+g.api.address+`"`, 1)
	if !strings.Contains(config, "49.sock") {
		t.Fatalf("no address %s in %s", first, config)
	}
	return config
}

// callers returns clients that use a token, half of them on connections that
// they keep. Nothing else than the given answers will do.
func (g *gateway) callers(t testing.TB, made token, statuses ...int) (workers []func() error) {
	t.Helper()
	for i := range 8 {
		calling := g.caller(t)
		if i%2 == 0 {
			calling.hurried()
		}
		workers = append(workers, func() error {
			got, err := calling.send(ask{auth: bearer(made.value)})
			_, err = want(got, err, statuses...)
			return err
		})
	}
	return workers
}

// config is the configuration that runs, as Caddy shows it.
func (g *gateway) config(t testing.TB) string {
	t.Helper()
	var text string
	// Each reload replaces the admin endpoint, and one that fails puts it back.
	g.wait(t, "Caddy's admin endpoint shows the configuration", func() bool {
		status, shown, err := g.askAdmin(http.MethodGet, "/config/", "", "")
		text = shown
		return err == nil && status == http.StatusOK
	})
	return text
}

// store is the store's directory where the Caddyfile names none.
func (g *gateway) store() string { return filepath.Join(g.dir, "data", "caddy", "access-tokens") }

// reloadWith is reload with options in the global access_tokens block.
func (g *gateway) reloadWith(t testing.TB, app, sites string) (complaint string) {
	t.Helper()
	if app != "" {
		before := g.globals
		g.globals += "access_tokens {\n\t" + app + "\n}\n"
		defer func() { g.globals = before }()
	}
	return g.reload(t, sites)
}
