package contract

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Fifty times the server is killed while clients make, renew and delete tokens.
// Each client writes down what it was told. Nothing of that is lost afterwards,
// and of what was under way, all was done or nothing.
func TestNothingAcknowledgedIsLostWhenTheServerIsKilled(t *testing.T) {
	t.Parallel()
	const rounds, clients = 50, 8
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, clients))
	g := start(t, answering("allow_generate everyone"), quietly, onLastingPorts(t))
	ledgers := make([]*ledger, clients)
	for i := range ledgers {
		ledgers[i] = newLedger(t, g, i, seed)
	}
	for round := range rounds {
		acknowledged := g.workUntilKilled(t, ledgers, 10+random.IntN(30))
		if round%5 == 0 {
			g.killWhileStarting(t)
		}
		g.up(t)

		listed := g.everyone(t)
		for _, l := range ledgers {
			l.compare(listed)
		}
		for description := range listed {
			t.Errorf("round %d: %q is listed, and nobody made it", round, description)
		}
		var checking sync.WaitGroup
		for _, l := range ledgers {
			checking.Go(func() { l.tryOut(round == rounds-1) })
		}
		checking.Wait()
		for _, l := range ledgers {
			for _, err := range l.errors {
				t.Errorf("round %d, %s: %v", round, l.name, err)
			}
		}
		if t.Failed() {
			t.Fatalf("killed after %d acknowledgements", acknowledged)
		}
	}
	tokens, done, undone := 0, 0, 0
	for _, l := range ledgers {
		tokens, done, undone = tokens+len(l.entries), done+l.done, undone+l.undone
	}
	t.Logf("%d tokens; of the changes in doubt %d were done and %d were not", tokens, done, undone)
}

// workUntilKilled lets the clients work, and kills the server as soon as so many
// of their requests have been acknowledged.
func (g *gateway) workUntilKilled(t testing.TB, ledgers []*ledger, enough int) (acknowledged int64) {
	t.Helper()
	var count atomic.Int64
	var killing atomic.Bool
	reached := make(chan struct{})
	acknowledge := func() {
		if count.Add(1) == int64(enough) {
			close(reached)
		}
	}
	var working sync.WaitGroup
	for _, l := range ledgers {
		l.calling = g.caller(t)
		working.Go(func() { l.work(acknowledge, &killing) })
	}
	select {
	case <-reached:
	case <-g.process.done:
		t.Errorf("Caddy has ended by itself:\n%s", tail(g.logs(), 8000))
	case <-time.After(patience):
		t.Errorf("after %v only %d requests were acknowledged", patience, count.Load())
	}
	killing.Store(true)
	g.kill9(t)
	working.Wait()
	return count.Load()
}

// killWhileStarting starts the server and kills it when it has begun to speak.
func (g *gateway) killWhileStarting(t testing.TB) {
	t.Helper()
	before := len(g.logs())
	g.launch(t)
	g.wait(t, "Caddy says something", func() bool { return len(g.logs()) > before })
	g.kill9(t)
}

// everyone lists all tokens there are, by description.
func (g *gateway) everyone(t testing.TB) map[string]tokenInfo {
	t.Helper()
	found := make(map[string]tokenInfo)
	for {
		page := g.list(t, as("alice"), fmt.Sprintf("?user=*&limit=1000&includeCount=true&offset=%d", len(found)))
		for _, info := range page.Data {
			if _, twice := found[info.Description]; twice {
				t.Errorf("%q is listed twice", info.Description)
			}
			found[info.Description] = info
		}
		if len(page.Data) == 0 || len(found) >= *page.Count {
			return found
		}
	}
}

// Tokens, last uses and deletions survive a stop and a kill.
func TestEverythingSurvivesTheEndOfTheServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func(t *testing.T, g *gateway)
	}{
		{"stopped", func(t *testing.T, g *gateway) { g.stop(t) }},
		// Last uses are written in batches, within a minute.
		{"killed", func(t *testing.T, g *gateway) {
			g.awaitWrite(t)
			g.kill9(t)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, answering("allow_generate everyone"), quietly, onLastingPorts(t))
			kept := g.create(t, as("bob"), 3600, "kept")
			deleted := g.create(t, as("bob"), 3600, "deleted")
			renewed := g.create(t, bearer(kept.value), 1800, "renewed")
			g.remove(t, as("bob"), deleted.target())
			var before tokenInfo
			for deadline := time.Now().Add(time.Minute); ; {
				wantStatus(t, g.do(t, ask{auth: bearer(kept.value)}), http.StatusOK)
				before = g.info(t, as("bob"), kept.info.TokenID)
				if before.LastUsed == nil {
					t.Fatal("a use doesn't show at once")
				}
				test.end(t, g)
				g.up(t)
				after := g.info(t, as("bob"), kept.info.TokenID)
				if after.LastUsed != nil && *after.LastUsed == *before.LastUsed {
					break
				}
				// What was written may have been something else.
				if test.name == "stopped" || time.Now().After(deadline) {
					t.Fatalf("used at %s, and afterwards it is %v", *before.LastUsed, after.LastUsed)
				}
			}
			if ids := g.list(t, as("bob"), "").ids(); !slices.Equal(ids, []string{kept.info.TokenID, renewed.info.TokenID}) {
				t.Errorf("bob's list: %v", ids)
			}
			if after := g.info(t, as("bob"), renewed.info.TokenID); *after.ExpiredAt != *renewed.info.ExpiredAt || after.LastUsed != nil {
				t.Errorf("the renewed one was %+v and is %+v", renewed.info, after)
			}
			for _, k := range []token{kept, renewed} {
				if got := g.do(t, ask{auth: bearer(k.value)}); got.body != "bob" {
					t.Errorf("%s: %s", k.info.Description, got)
				}
			}
			if got := g.do(t, ask{auth: bearer(deleted.value)}); !got.isInvalidToken() {
				t.Errorf("the deleted one: %s", got)
			}
			t.Run("the line of renewals too", func(t *testing.T) {
				g.remove(t, as("bob"), kept.target()+"?successors=true")
				if got := g.do(t, ask{auth: bearer(renewed.value)}); !got.isInvalidToken() {
					t.Errorf("the successor: %s", got)
				}
			})
		})
	}
}

// awaitWrite waits until the server has written last uses once more.
func (g *gateway) awaitWrite(t testing.TB) {
	t.Helper()
	written := func() string {
		content, err := os.ReadFile(filepath.Join(g.store(), "uses"))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	before := written()
	g.wait(t, "last uses are written", func() bool { return written() != before })
}
