package contract

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rotating is a gateway without hash_key, and what gives it one. Its Caddyfile
// calls some keys {env.KEY_1} to {env.KEY_9}. At {$PORT2} is a site that says
// what the matcher finds.
func rotating(t testing.TB) (g *gateway, keys func(option string)) {
	t.Helper()
	options := []option{quietly, onLastingPorts(t)}
	for n := range 9 {
		options = append(options, env(fmt.Sprint("KEY_", n+1), strings.Repeat(fmt.Sprint("key ", n+1, " "), 6)))
	}
	g = prepare(t, rotatingSites, options...)
	globals := g.globals
	return g, func(option string) { g.globals = globals + "access_tokens {\n\t" + option + "\n}\n" }
}

var rotatingSites = answering("allow_generate everyone") + `
http://:{$PORT2} {
	bind 127.0.0.1
	@issued access_token
	respond @issued "issued here"
	respond "not issued here"
}
`

// take is a reload that must succeed.
func (g *gateway) take(t testing.TB) {
	t.Helper()
	if complaint := g.reload(t, rotatingSites); complaint != "" {
		t.Fatal(complaint)
	}
}

// complain is a reload that must be refused.
func (g *gateway) complain(t testing.TB, want string) {
	t.Helper()
	if complaint := g.reload(t, rotatingSites); !strings.Contains(complaint, want) {
		t.Errorf("the complaint is %q, want %q in it", complaint, want)
	}
}

// startRefused starts the server with what a reload would have got, and wants it
// to say why it doesn't.
func (g *gateway) startRefused(t testing.TB, want string) {
	t.Helper()
	before := g.read(t, g.configFile())
	g.write(t, rotatingSites)
	output, exit := g.caddy(t, "run", "--config", g.configFile(), "--adapter", "caddyfile")
	if exit == 0 || !strings.Contains(output, want) {
		t.Errorf("exit code %d, want %q in\n%s", exit, want, output)
	}
	if err := os.WriteFile(g.configFile(), []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantRecognised wants a token to be valid, and the matcher to know it.
func (g *gateway) wantRecognised(t testing.TB, tokens ...token) {
	t.Helper()
	for _, made := range tokens {
		if got := g.do(t, ask{auth: bearer(made.value)}); got.status != http.StatusOK || got.body != "bob" {
			t.Errorf("%q: %s", made.info.Description, got)
		}
		g.wantIssued(t, made)
	}
}

func (g *gateway) wantIssued(t testing.TB, made token) {
	t.Helper()
	if got := g.do(t, ask{site: 1, auth: bearer(made.value)}); got.body != "issued here" {
		t.Errorf("%q, says the matcher: %s", made.info.Description, got)
	}
}

// A new key is put in front by a reload. Tokens are recognised by either, and
// move to the new one as they are used; until the last has, the old one can't be
// left out, by no reload or start, whatever becomes of the process meanwhile.
func TestHashKeysRotate(t *testing.T) {
	t.Parallel()
	g, keys := rotating(t)
	keys("hash_key {env.KEY_1}")
	g.write(t, rotatingSites)
	g.up(t)
	used, unused := g.create(t, as("bob"), 3600, "used"), g.create(t, as("bob"), 3600, "unused")
	renewed := g.create(t, bearer(used.value), 3600, "renewed")
	deleted, expired := g.create(t, as("bob"), 3600, "deleted"), g.create(t, as("bob"), 1, "expired")
	g.remove(t, as("bob"), deleted.target())
	g.wait(t, "it has expired", func() bool { return g.do(t, ask{auth: bearer(expired.value)}).isInvalidToken() })

	t.Run("the key in force has to follow", func(t *testing.T) {
		for _, option := range []string{"hash_key {env.KEY_2}", "hash_key {env.KEY_2} {\n\t\tprevious {env.KEY_3}\n\t}"} {
			keys(option)
			g.complain(t, "hash_key: 3 living tokens in")
		}
	})
	t.Run("while clients are at work", func(t *testing.T) {
		atWork := putToWork(t, 20*time.Millisecond, append(g.callers(t, used, http.StatusOK), g.dozen(t)...)...)
		atWork.awaitTurns(t, g)
		keys("hash_key {env.KEY_2} {\n\t\tprevious {env.KEY_3} {env.KEY_1}\n\t}")
		g.take(t)
		atWork.awaitTurns(t, g)
		atWork.end(t)
	})
	made := g.create(t, as("bob"), 3600, "under the new key")
	g.wantRecognised(t, used, renewed, made)
	for _, ended := range []token{deleted, expired} {
		g.wantIssued(t, ended)
		if got := g.do(t, ask{auth: bearer(ended.value)}); !got.isInvalidToken() {
			t.Errorf("%q: %s", ended.info.Description, got)
		}
	}
	keys("hash_key {env.KEY_2}")
	g.awaitComplaint(t, "hash_key: 1 living token in")

	t.Run("killed and started again", func(t *testing.T) {
		g.kill9(t)
		g.startRefused(t, "1 living token in")
		keys("hash_key {env.KEY_1}")
		g.startRefused(t, " living tokens in")
		g.up(t)
		g.wantRecognised(t, used, renewed, made)
	})
	t.Run("stopped and started again", func(t *testing.T) {
		g.restart(t)
		g.wantRecognised(t, used, unused, renewed, made)
	})
	keys("hash_key {env.KEY_2}")
	g.awaitComplaint(t, "")
	for range 2 {
		g.wantRecognised(t, used, unused, renewed, made)
		if got := g.do(t, ask{auth: bearer(deleted.value)}); !got.isInvalidToken() {
			t.Errorf("the deleted one: %s", got)
		}
		g.kill9(t)
		g.up(t)
	}
	t.Run("no key is ever shown", func(t *testing.T) {
		if strings.Contains(g.logs(), "key 1 key 1") || strings.Contains(g.logs(), "key 2 key 2") {
			t.Error("a key is in the log")
		}
	})
}

// awaitComplaint reloads until the complaint is the wanted one: tokens that have
// been used move within a moment.
func (g *gateway) awaitComplaint(t testing.TB, want string) {
	t.Helper()
	counted := regexp.MustCompile(`hash_key: [1-9]\d* living tokens? in`)
	g.wait(t, fmt.Sprintf("the complaint is %q", want), func() bool {
		complaint := g.reload(t, rotatingSites)
		if complaint != "" && !counted.MatchString(complaint) {
			t.Fatalf("the complaint is %q", complaint)
		}
		return complaint == want || want != "" && strings.Contains(complaint, want)
	})
}

// Where the store has made its key, that one can be followed by another, and
// isn't needed any more afterwards.
func TestTheKeyThatTheStoreMadeIsReplaced(t *testing.T) {
	t.Parallel()
	g, keys := rotating(t)
	g.up(t)
	file := filepath.Join(g.store(), "hash.key")
	made := g.create(t, as("bob"), 3600, "")

	keys("hash_key {env.KEY_1}")
	g.complain(t, "1 living token in")
	keys("hash_key {env.KEY_1} {\n\t\tprevious {file." + file + "}\n\t}")
	g.take(t)
	g.restart(t)
	g.wantRecognised(t, made)
	keys("hash_key {env.KEY_1}")
	g.awaitComplaint(t, "")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	g.restart(t)
	g.wantRecognised(t, made)
	keys("")
	g.complain(t, file+" is missing")
	g.wantRecognised(t, made)
}

// A configuration that fails to start, at any moment, leaves the keys in force
// that were: what was made meanwhile isn't under its key, and a start goes on as
// if it had never been.
func TestAConfigurationThatFailsLeavesTheKeysInForce(t *testing.T) {
	t.Parallel()
	g, keys := rotating(t)
	keys("hash_key {env.KEY_1}")
	g.write(t, rotatingSites)
	g.up(t)
	made := g.create(t, as("bob"), 3600, "")
	const old, both = `"hash_key":"{env.KEY_1}"`, `"hash_key":"{env.KEY_2}","previous_hash_keys":["{env.KEY_1}"]`
	halfway := strings.Replace(g.halfway(t), old, both, 1)
	if !strings.Contains(halfway, both) {
		t.Fatalf("no %s in %s", old, halfway)
	}
	var mu sync.Mutex
	values := []token{made}
	creating := func() func() error {
		calling := g.caller(t).hurried()
		return func() error {
			got, err := calling.send(ask{method: "POST", target: api, auth: bearer(made.value), body: `{"lifetimeSeconds": 3600}`})
			if got, err = want(got, err, http.StatusCreated); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			values = append(values, got.token())
			return nil
		}
	}
	atWork := putToWork(t, 5*time.Millisecond, append(g.callers(t, made, http.StatusOK), creating(), creating(), creating())...)
	for range 12 { // apps start in random order
		_, complaint, err := g.askAdmin(http.MethodPost, "/load", "application/json", halfway)
		if err != nil || !strings.Contains(complaint, "address already in use") {
			t.Fatalf("the complaint is %q, error %v", complaint, err)
		}
		atWork.awaitTurns(t, g)
	}
	atWork.end(t)
	g.wantAll(t, values)
	g.kill9(t)
	g.up(t)
	g.wantAll(t, values)
	keys("hash_key {env.KEY_2} {\n\t\tprevious {env.KEY_1}\n\t}")
	g.take(t)
	g.wantAll(t, values)
	keys("hash_key {env.KEY_2}")
	g.awaitComplaint(t, "")
	g.wantAll(t, values)
}

// Killed at any moment of a rotation: the server starts with the keys before and
// after, and with those before alone unless it says what that would refuse.
func TestKilledWhileHashKeysRotate(t *testing.T) {
	t.Parallel()
	g, keys := rotating(t)
	keys("hash_key {env.KEY_1}")
	g.write(t, rotatingSites)
	g.up(t)
	values := []token{g.create(t, as("bob"), 3600, "")}
	for round := range 8 {
		var mu sync.Mutex
		var made atomic.Int64
		var killing atomic.Bool
		var working sync.WaitGroup
		parent := values[0]
		for range 4 {
			calling := g.caller(t).hurried()
			working.Go(func() {
				for !killing.Load() {
					got, err := calling.send(ask{method: "POST", target: api, auth: bearer(parent.value), body: `{"lifetimeSeconds": 3600}`})
					if err == nil && got.status == http.StatusCreated {
						mu.Lock()
						values = append(values, got.token())
						mu.Unlock()
						made.Add(1)
					} else if !killing.Load() {
						t.Errorf("round %d: %v, %s", round, err, got)
						return
					}
				}
			})
		}
		before := g.globals
		previous := ""
		for n := range round + 1 {
			previous = fmt.Sprintf(" {env.KEY_%d}", n+1) + previous
		}
		keys(fmt.Sprintf("hash_key {env.KEY_%d} {\n\t\tprevious%s\n\t}", round+2, previous))
		reloaded := make(chan struct{})
		file := g.caddyfile(rotatingSites)
		go func() {
			defer close(reloaded)
			_, _, _ = g.askAdmin(http.MethodPost, "/load", "text/caddyfile", file)
		}()
		// A little later each round; in the last ones, only once it is over and tokens
		// have been made since.
		if round < 6 {
			<-time.After(time.Duration(round) * 8 * time.Millisecond)
		} else {
			<-reloaded
			before := made.Load()
			g.wait(t, "tokens are made", func() bool { return made.Load() > before+10 })
		}
		killing.Store(true)
		g.kill9(t)
		working.Wait()
		<-reloaded

		after := g.globals
		g.globals = before
		g.write(t, rotatingSites)
		switch output := g.tryUp(t); {
		case output == "":
			g.wantAll(t, values)
			g.stop(t)
		case !strings.Contains(output, " would be refused from now on without hash key"):
			t.Fatalf("round %d: %s", round, output)
		}
		g.globals = after
		g.write(t, rotatingSites)
		g.up(t)
		g.wantAll(t, values)
	}
}

// tryUp starts the server, and returns what it wrote if it doesn't.
func (g *gateway) tryUp(t testing.TB) string {
	t.Helper()
	before := len(g.logs())
	g.launch(t)
	if g.serving(t) {
		return ""
	}
	g.process.meant = true
	return g.logs()[before:]
}

func (g *gateway) wantAll(t testing.TB, values []token) {
	t.Helper()
	for _, made := range values {
		if got := g.do(t, ask{auth: bearer(made.value)}); got.status != http.StatusOK {
			t.Fatal(got)
		}
	}
}
