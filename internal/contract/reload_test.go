package contract

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A hundred reloads, with a dozen clients that call, create and delete all the
// while: nobody notices, and nothing is left behind.
func TestAHundredReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	// A configuration that is the same as the running one wouldn't be loaded.
	numbered := func(n int) string {
		return answering(fmt.Sprintf("allow_generate everyone\nkeep_cookies reload-%d", n))
	}
	// Caddy answers by itself: its reverse_proxy keeps the connections of every
	// configuration to the API behind for two minutes.
	g := start(t, numbered(0), quietly)

	reloads := 0
	reload := func(times int) (goroutines, heap int) {
		atWork := putToWork(t, 40*time.Millisecond, g.dozen(t)...)
		for range times {
			reloads++
			if complaint := g.reload(t, numbered(reloads)); complaint != "" {
				t.Fatalf("reload %d: %s", reloads, complaint)
			}
			atWork.awaitTurns(t, g)
		}
		atWork.end(t)
		return g.atRest(t)
	}
	// What grows only at first, such as pools, has done so after ten.
	goroutines, heap := reload(10)
	goroutinesAfter, heapAfter := reload(100)
	t.Logf("%d goroutines, then %d; %d KiB, then %d KiB", goroutines, goroutinesAfter, heap>>10, heapAfter>>10)
	// Badger, certmagic and the collector have a goroutine more or less at times.
	// One that each reload leaves behind would make a hundred.
	if goroutinesAfter > goroutines+10 {
		t.Errorf("a hundred reloads left %d goroutines behind", goroutinesAfter-goroutines)
	}
	// The records of what clients made stay in memory, about a MiB, and pools grow
	// by less than 100 KiB. If each reload left its configuration behind, that would
	// be more than 30 KiB each time.
	if heapAfter > heap+2<<20 {
		t.Errorf("a hundred reloads left %d KiB behind", (heapAfter-heap)>>10)
	}
	// What Caddy dropped wasn't done, and what was sent once was done once.
	if left := g.list(t, as("alice"), "?user=*"); len(left.Data) != 2*12 {
		t.Errorf("%d tokens are left, want those of two dozen clients", len(left.Data))
	}
	for line := range strings.Lines(g.logs()) {
		if strings.Contains(line, "panic") || strings.Contains(line, `"level":"error"`) {
			t.Error(line)
		}
	}
}

// dozen returns twelve clients. Half of them only call the API behind.
func (g *gateway) dozen(t testing.TB) (workers []func() error) {
	t.Helper()
	for i := range 6 {
		user := []string{"alice", "bob", "carol"}[i%3]
		auth := bearer(g.create(t, as(user), 3600, "").value)
		calling := g.caller(t)
		workers = append(workers, func() error {
			got, err := calling.send(ask{auth: auth})
			if got, err = want(got, err, http.StatusOK); err != nil {
				return err
			}
			if got.body != user {
				return fmt.Errorf("passed on as another user than %s: %s", user, got)
			}
			return nil
		})
	}
	for range 6 {
		auth := bearer(g.create(t, as("bob"), 3600, "").value)
		calling := g.caller(t)
		workers = append(workers, func() error { return tokensLife(calling, auth) })
	}
	return workers
}

// tokensLife makes, uses, reads and deletes a token.
func tokensLife(calling *caller, auth string) error {
	got, err := calling.send(ask{method: "POST", target: api, auth: auth, body: `{"lifetimeSeconds": 60}`})
	if got, err = want(got, err, http.StatusCreated); err != nil {
		return fmt.Errorf("creating: %w", err)
	}
	made := got.token()
	got, err = calling.send(ask{auth: bearer(made.value)})
	if _, err = want(got, err, http.StatusOK); err != nil {
		return fmt.Errorf("using: %w", err)
	}
	got, err = calling.send(ask{target: made.target(), auth: auth})
	if _, err = want(got, err, http.StatusOK); err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	got, err = calling.send(ask{method: "DELETE", target: made.target(), auth: auth})
	if _, err = want(got, err, http.StatusNoContent); err != nil {
		return fmt.Errorf("deleting: %w", err)
	}
	got, err = calling.send(ask{auth: bearer(made.value)})
	if err == nil && !got.isInvalidToken() {
		err = fmt.Errorf("used once it is deleted: %s", got)
	}
	return err
}

// atRest returns how many goroutines and how many bytes the server keeps when
// nobody calls it.
func (g *gateway) atRest(t testing.TB) (goroutines, heap int) {
	t.Helper()
	// Until they have become fewer for the last time.
	goroutines = math.MaxInt
	for unchanged := 0; unchanged < 50; unchanged++ {
		if n := g.profiled(t, "goroutine?debug=1", `total (\d+)`); n < goroutines {
			goroutines, unchanged = n, 0
		}
	}
	// The second collection takes what pools have kept over the first.
	for range 3 {
		heap = g.profiled(t, "heap?debug=1&gc=1", `# HeapAlloc = (\d+)`)
	}
	return goroutines, heap
}

// profiled reads a number from a profile of the server.
func (g *gateway) profiled(t testing.TB, profile, number string) int {
	t.Helper()
	status, text, err := g.askAdmin(http.MethodGet, "/debug/pprof/"+profile, "", "")
	found := regexp.MustCompile(number).FindStringSubmatch(text)
	if err != nil || status != http.StatusOK || found == nil {
		t.Fatalf("%s: status %d, error %v\n%s", profile, status, err, text)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A policy that a reload changes holds for the next request, on a connection
// that is kept as on a new one.
func TestAReloadsPolicyHoldsForTheNextRequest(t *testing.T) {
	t.Parallel()
	g := start(t, answering("allow_generate everyone"), quietly)
	kept := g.caller(t)
	held := bearer(g.create(t, as("bob"), 3600, "").value)
	call := ask{auth: held}
	create := func(auth, lifetime string) ask {
		return ask{method: "POST", target: api, auth: auth, body: `{"lifetimeSeconds": ` + lifetime + `}`}
	}
	everyones := func(user string) ask { return ask{target: api + "?user=*", auth: as(user)} }
	for _, step := range []struct {
		options string
		ask     ask
		status  int
	}{
		{"allow_generate everyone\napi_access off", call, http.StatusForbidden},
		{"allow_generate everyone\napi_access off\nstrip X-Y", call, http.StatusForbidden},
		{"allow_generate everyone\napi_access on", call, http.StatusOK},
		{"allow_generate admins", create(held, "60"), http.StatusForbidden},
		{"allow_generate users carol bob", create(held, "60"), http.StatusCreated},
		{"allow_generate users carol", create(as("bob"), "60"), http.StatusForbidden},
		{"allow_generate everyone", create(as("bob"), "60"), http.StatusCreated},
		{"allow_generate everyone\nmax_lifetime 1d", create(as("bob"), "86401"), http.StatusBadRequest},
		{"allow_generate everyone\nmax_lifetime 2d", create(as("bob"), "86401"), http.StatusCreated},
		{"allow_generate everyone\nmax_lifetime unlimited", create(as("bob"), "-1"), http.StatusCreated},
		{"max_lifetime 365d", everyones("bob"), http.StatusForbidden},
		{"project elsewhere", call, http.StatusUnauthorized},
		{"project dataprep", call, http.StatusOK},
	} {
		if complaint := g.reload(t, answering(step.options)); complaint != "" {
			t.Fatalf("%q: %s", step.options, complaint)
		}
		got, err := kept.send(step.ask)
		if _, err := want(got, err, step.status); err != nil {
			t.Errorf("%q, on the kept connection: %v", step.options, err)
		}
		if got := g.do(t, step.ask); got.status != step.status {
			t.Errorf("%q, on a new connection: status %d, want %d: %s", step.options, got.status, step.status, got)
		}
	}
	if complaint := g.reload(t, strings.Replace(answering(""), "admins alice", "admins bob", 1)); complaint != "" {
		t.Fatal(complaint)
	}
	got, err := kept.send(everyones("alice"))
	if _, err := want(got, err, http.StatusForbidden); err != nil {
		t.Errorf("alice is no administrator any more: %v", err)
	}
	got, err = kept.send(everyones("bob"))
	if _, err := want(got, err, http.StatusOK); err != nil {
		t.Errorf("bob is one now: %v", err)
	}
}
