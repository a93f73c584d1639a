package contract

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Again and again the server is killed while clients make, renew and delete tokens
// and change settings, and while the audit's file is renamed, or before the next
// start. Whatever anybody was told is in the files afterwards, each change once, and
// what they say is what the store holds.
func TestTheAuditIsCompleteWhenTheServerIsKilled(t *testing.T) {
	t.Parallel()
	rounds := 5
	if text := os.Getenv("ACCESS_TOKENS_TEST_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		rounds = n
	}
	const clients = 6
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, clients))
	g := start(t, answering("allow_generate everyone"), audited, quietly, onLastingPorts(t))
	ledgers := make([]*ledger, clients)
	for i := range ledgers {
		ledgers[i] = newLedger(t, g, i, seed)
	}
	setter := &setter{g: g}
	files, changes := 0, 0
	rotate := func(makeNew bool) {
		files++
		if err := os.Rename(g.auditFile(), fmt.Sprintf("%s.%d", g.auditFile(), files)); err == nil && makeNew {
			if f, err := os.OpenFile(g.auditFile(), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
				f.Close()
			}
		}
	}
	for round := range rounds {
		killed := make(chan struct{})
		var beside sync.WaitGroup
		beside.Go(func() { setter.work(t, killed) })
		if pause, makeNew := time.Duration(random.IntN(100))*time.Millisecond, random.IntN(2) == 0; random.IntN(2) == 0 {
			beside.Go(func() {
				select {
				case <-time.After(pause):
					rotate(makeNew)
				case <-killed:
				}
			})
		}
		g.workUntilKilled(t, ledgers, 10+random.IntN(60))
		close(killed)
		beside.Wait()
		if random.IntN(3) == 0 {
			rotate(random.IntN(2) == 0)
		}
		if random.IntN(5) == 0 {
			g.killWhileStarting(t)
		}
		g.up(t)

		lines := g.auditLines(t)
		changes = len(lines)
		living := replay(t, lines)
		listed := g.everyone(t)
		var want []string
		for _, info := range listed {
			want = append(want, info.TokenID)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(living))); diff != "" {
			t.Errorf("round %d: living tokens (-in the store +by the audit):\n%s", round, diff)
		}
		for _, l := range ledgers {
			l.compare(listed)
			l.compareAudit(lines)
			for _, err := range l.errors {
				t.Errorf("round %d, %s: %v", round, l.name, err)
			}
		}
		setter.compare(t, lines)
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d changes in %d files", changes, files+1)
}

// replay returns the tokens that are living once all lines have happened.
func replay(t testing.TB, lines []auditLine) (living map[string]auditLine) {
	t.Helper()
	living = make(map[string]auditLine)
	children := make(map[string][]string)
	var end func(id string, successors bool)
	end = func(id string, successors bool) {
		delete(living, id)
		if successors {
			for _, child := range children[id] {
				end(child, true)
			}
		}
	}
	for _, line := range lines {
		switch line.Event {
		case "token_created", "token_renewed":
			if _, twice := living[line.TokenID]; twice {
				t.Errorf("it is made twice: %s", line.text)
			}
			living[line.TokenID] = line
			children[line.ParentID] = append(children[line.ParentID], line.TokenID)
		case "token_deleted":
			if _, there := living[line.TokenID]; !there && !line.Successors {
				t.Errorf("it isn't there: %s", line.text)
			}
			end(line.TokenID, line.Successors)
		}
	}
	return living
}

// compareAudit holds what the client knows of its tokens against the audit.
func (l *ledger) compareAudit(lines []auditLine) {
	made := make(map[string]auditLine)
	for _, line := range lines {
		if line.Event == "token_created" || line.Event == "token_renewed" {
			made[line.TokenID] = line
		}
	}
	for _, e := range l.entries {
		if e.value == "" {
			continue
		}
		line, there := made[e.info.TokenID]
		event, by, parent := "token_created", "access_tokens.sign_in.basic", ""
		if e.parent != nil {
			event, by, parent = "token_renewed", "token", e.parent.info.TokenID
		}
		if !there || line.Event != event || line.User != l.user || line.Actor.User != l.user || line.Actor.By != by ||
			line.Actor.TokenID != parent || line.ParentID != parent || line.Expires != *e.info.ExpiredAt {
			l.fail("%q is in the audit as %q", e.info.Description, line.text)
		}
	}
}

// setter changes one setting again and again, to a number that is one higher.
type setter struct {
	g            *gateway
	next         int
	acknowledged []int
}

func (s *setter) work(t testing.TB, killed <-chan struct{}) {
	calling := s.g.caller(t)
	for {
		select {
		case <-killed:
			return
		default:
		}
		s.next++
		got, _, err := calling.sendOnce(ask{method: "PATCH", target: api + "/settings", auth: as("alice"), body: fmt.Sprintf(`{"maxLifetimeDays": %d}`, s.next)})
		if _, err := want(got, err, http.StatusOK); err != nil {
			continue
		}
		s.acknowledged = append(s.acknowledged, s.next)
	}
}

func (s *setter) compare(t testing.TB, lines []auditLine) {
	t.Helper()
	last := 0
	seen := make(map[int]bool)
	for _, line := range lines {
		if line.Event != "settings_changed" {
			continue
		}
		var after struct{ MaxLifetimeDays int }
		if err := json.Unmarshal(line.After, &after); err != nil || after.MaxLifetimeDays <= last {
			t.Errorf("after %d comes %s, %v", last, line.text, err)
		}
		last = after.MaxLifetimeDays
		seen[last] = true
	}
	for _, n := range s.acknowledged {
		if !seen[n] {
			t.Errorf("the setting %d isn't in the audit", n)
		}
	}
	var now struct{ MaxLifetimeDays int }
	s.g.do(t, ask{target: api + "/settings", auth: as("alice")}).into(t, &now)
	if last != 0 && now.MaxLifetimeDays != last {
		t.Errorf("the setting is %d, and %d by the audit", now.MaxLifetimeDays, last)
	}
}
