package contract

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// While the server starts and while it stops, a token is good, or it can't be
// told yet. It is never said to be invalid: clients would throw it away.
func TestNoTokenIsRefusedWhileTheServerStartsOrStops(t *testing.T) {
	t.Parallel()
	g := start(t, answering("allow_generate everyone"), quietly, onLastingPorts(t))
	made := g.create(t, as("bob"), 3600, "")
	var clients []func() error
	for range 6 {
		calling := g.caller(t).hurried()
		clients = append(clients, func() error { return g.onceReachable(calling, made) })
	}
	atWork := putToWork(t, 5*time.Millisecond, clients...)
	for round := range 6 {
		atWork.awaitTurns(t, g)
		if round%2 == 0 {
			g.kill9(t)
		}
		g.restart(t)
	}
	atWork.awaitTurns(t, g)
}

// onceReachable uses a token until somebody answers.
func (g *gateway) onceReachable(calling *caller, made token) error {
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		var got answered
		got, _, err = calling.sendOnce(ask{auth: bearer(made.value)})
		if err != nil {
			continue // nobody listens, or no longer
		}
		if got.status == http.StatusServiceUnavailable {
			if got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"ServiceUnavailable"`) {
				return fmt.Errorf("503, but not as the contract has it: %s", got)
			}
			continue
		}
		_, err = want(got, nil, http.StatusOK)
		return err
	}
	return fmt.Errorf("never reached it: %w", err)
}

// without is a site that doesn't use the module.
const without = "http://:{$PORT} {\n\tbind 127.0.0.1\n\trespond \"open to all\"\n}\n"

// Taking all of the configuration away closes the store, so that another
// process can have it, and giving it back opens the store.
func TestTheStoreIsOpenAsLongAsTheConfigurationWantsIt(t *testing.T) {
	t.Parallel()
	g := start(t, answering("allow_generate everyone"), quietly)
	made := g.create(t, as("bob"), 3600, "")
	take := func(t *testing.T, sites string) {
		t.Helper()
		if complaint := g.reload(t, sites); complaint != "" {
			t.Fatal(complaint)
		}
	}
	t.Run("again and again, under load", func(t *testing.T) {
		atWork := putToWork(t, 5*time.Millisecond, g.callers(t, made, http.StatusOK, http.StatusServiceUnavailable)...)
		for range 6 {
			take(t, without)
			atWork.awaitTurns(t, g)
			take(t, answering("allow_generate everyone"))
			atWork.awaitTurns(t, g)
			wantStatus(t, g.do(t, ask{target: made.target(), auth: bearer(made.value)}), http.StatusOK)
		}
		atWork.end(t)
	})
	t.Run("requests under way when it is closed aren't carried out", func(t *testing.T) {
		slow := g.beginCreating(t, bearer(made.value))
		take(t, without)
		wantCantTell(t, slow.finish(t))

		take(t, answering("allow_generate everyone"))
		slow = g.beginCreating(t, bearer(made.value))
		take(t, without)
		take(t, answering("allow_generate everyone"))
		wantCantTell(t, slow.finish(t))
		if ids := g.list(t, as("bob"), "").ids(); len(ids) != 1 {
			t.Errorf("bob has %v, and was given one token", ids)
		}
	})
	t.Run("requests under way when it stays open are", func(t *testing.T) {
		slow := g.beginCreating(t, bearer(made.value))
		take(t, answering("allow_generate everyone\nprefix new"))
		got := slow.finish(t)
		wantStatus(t, got, http.StatusCreated)
		wantStatus(t, g.do(t, ask{auth: bearer(got.token().value)}), http.StatusOK)
	})
	t.Run("another process can have it meanwhile", func(t *testing.T) {
		take(t, without)
		other := start(t, site("allow_generate everyone"), env("STORE", g.store()),
			globals("access_tokens {\n\tstore badger {env.STORE}\n}\n"))
		theirs := other.create(t, bearer(made.value), 3600, "")
		if complaint := g.reload(t, answering("allow_generate everyone")); !strings.Contains(complaint, "in use by another process") {
			t.Errorf("the complaint is %q", complaint)
		}
		if got := g.do(t, ask{}); got.body != "open to all" {
			t.Errorf("the running configuration has changed: %s", got)
		}
		wantProxied(t, other.do(t, ask{auth: bearer(theirs.value)}), "bob")
		other.stop(t)
		take(t, answering("allow_generate everyone"))
		for _, value := range []string{made.value, theirs.value} {
			wantStatus(t, g.do(t, ask{auth: bearer(value)}), http.StatusOK)
		}
	})
}

// wantCantTell wants the answer that says nothing about a token.
func wantCantTell(t testing.TB, got answered) {
	t.Helper()
	wantRefused(t, got, http.StatusServiceUnavailable, "ServiceUnavailable")
	if got.header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %s", got)
	}
}

func TestASecondCaddyOnTheSameStore(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	made := g.create(t, as("bob"), 3600, "")
	second := prepare(t, site("allow_generate everyone"), env("STORE", g.store()),
		globals("access_tokens {\n\tstore badger {env.STORE}\n}\n"))
	output, exit := second.caddy(t, "run", "--config", second.configFile(), "--adapter", "caddyfile")
	if exit == 0 || !strings.Contains(output, g.store()+" is in use by another process") {
		t.Errorf("exit code %d:\n%s", exit, output)
	}
	wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "bob")
	g.create(t, bearer(made.value), 60, "")
	if output, exit := second.caddy(t, "validate", "--config", second.configFile(), "--adapter", "caddyfile"); exit != 0 {
		t.Errorf("validate opens nothing, and has nothing to complain of; exit code %d:\n%s", exit, output)
	}
	t.Run("it can have it when the first has stopped", func(t *testing.T) {
		g.stop(t)
		second.up(t)
		wantProxied(t, second.do(t, ask{auth: bearer(made.value)}), "bob")
	})
}

// Without its key a store is worth nothing, and with another one it would
// refuse every token. So neither is ever put right silently.
func TestTheHashKeysFile(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"), onLastingPorts(t))
	made := g.create(t, as("bob"), 3600, "")
	file := filepath.Join(g.store(), "hash.key")
	key := g.read(t, file)
	if mode := modeOf(t, file); mode != 0o600 {
		t.Errorf("the hash key has mode %04o", mode)
	}
	if mode := modeOf(t, g.store()); mode != 0o700 {
		t.Errorf("the store's directory has mode %04o", mode)
	}
	g.stop(t)
	write := func(t *testing.T, text string, mode fs.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, []byte(text), mode), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		do   func(t *testing.T)
		want string
	}{
		{"it is missing", func(t *testing.T) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}, file + " is missing"},
		{"it is empty", func(t *testing.T) { write(t, "", 0o600) }, file},
		{"it is cut short", func(t *testing.T) { write(t, key[:20], 0o600) }, file},
		{"it is another store's", func(t *testing.T) { write(t, strings.Repeat("0123456789abcdef", 4)+"\n", 0o600) }, "1 living token in"},
		{"everybody can read it", func(t *testing.T) { write(t, key, 0o644) }, "chmod 600"},
		{"its group can read it", func(t *testing.T) { write(t, key, 0o640) }, "chmod 600"},
		{"everybody can write it", func(t *testing.T) { write(t, key, 0o602) }, "chmod 600"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.do(t)
			output, exit := g.caddy(t, "run", "--config", g.configFile(), "--adapter", "caddyfile")
			if exit == 0 || !strings.Contains(output, test.want) {
				t.Errorf("exit code %d, want %q in\n%s", exit, test.want, output)
			}
			if strings.Contains(output, key[:16]) {
				t.Error("the key itself is in the output")
			}
			if _, err := os.Stat(file); test.name == "it is missing" && err == nil {
				t.Error("a new key was made")
			}
		})
	}
	t.Run("put back, all is as it was", func(t *testing.T) {
		write(t, key, 0o400)
		// The database's own files can be read by everybody; the directory keeps everybody out.
		if err := os.Chmod(filepath.Join(g.store(), "db"), 0o755); err != nil {
			t.Fatal(err)
		}
		g.up(t)
		wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "bob")
		if mode := modeOf(t, filepath.Join(g.store(), "db")); mode != 0o700 {
			t.Errorf("the database's directory has mode %04o", mode)
		}
	})
}

func modeOf(t testing.TB, name string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func (g *gateway) read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// validate looks at a configuration, and at nothing else.
func TestValidateTouchesNothing(t *testing.T) {
	t.Parallel()
	bad := func(g *gateway, sites string) string {
		name := filepath.Join(g.dir, "bad.Caddyfile")
		if err := os.WriteFile(name, []byte(g.caddyfile(sites)), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	running := start(t, site("allow_generate everyone"))
	made := running.create(t, as("bob"), 3600, "")
	never := prepare(t, site("allow_generate everyone"))
	for _, test := range []struct {
		name, file string
		g          *gateway
		want       []string
	}{
		{"a good one, before the first start", never.configFile(), never, nil},
		{"a good one, beside the server", running.configFile(), running, nil},
		{"what the parser sees", bad(running, site("max_lifetime a_while")), running, []string{"bad.Caddyfile:", "max_lifetime", "365d"}},
		{"what is provisioned", bad(never, site("sign_in basic {\n\tdave {env.NO_HASH}\n}")), never, []string{"dataprep", "NO_HASH"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, exit := test.g.caddy(t, "validate", "--config", test.file, "--adapter", "caddyfile")
			if (exit == 0) != (test.want == nil) {
				t.Errorf("exit code %d:\n%s", exit, output)
			}
			for _, part := range test.want {
				if !strings.Contains(output, part) {
					t.Errorf("no %q in\n%s", part, output)
				}
			}
		})
	}
	if _, err := os.Stat(never.store()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("validate made a store: %v", err)
	}
	wantProxied(t, running.do(t, ask{auth: bearer(made.value)}), "bob")
	running.create(t, bearer(made.value), 60, "")
}

// A start says which store it is, so that whoever misses tokens finds out.
func TestAStartSaysWhichStoreItIs(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	said := func(message string) (line logLine) {
		g.wait(t, message, func() bool {
			for _, line = range g.logLines("access_tokens") {
				if line.text("msg") == message {
					return true
				}
			}
			return false
		})
		return line
	}
	said("made a new token store")
	for range 3 {
		g.create(t, as("bob"), 3600, "")
	}
	g.remove(t, as("bob"), g.create(t, as("bob"), 3600, "").target())
	g.restart(t)
	if line := said("opened the token store"); line["tokens"] != 3.0 || line["dir"] != g.store() {
		t.Errorf("%v", line)
	}
}

// Without HOME Caddy keeps its data where it was started, which is another place
// the next time.
func TestAStoreInTheWorkingDirectoryIsWarnedAbout(t *testing.T) {
	t.Parallel()
	const warning = "neither HOME nor XDG_DATA_HOME is set"
	if g := start(t, site("")); strings.Contains(g.logs(), warning) {
		t.Error("warned though they are set")
	}
	g := start(t, site(""), env("HOME", ""), env("XDG_DATA_HOME", ""))
	if !strings.Contains(g.logs(), warning) {
		t.Error("not warned")
	}
}
