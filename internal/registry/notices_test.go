package registry

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// notes remember what there was to tell.
type notes struct {
	mu      sync.Mutex
	unready bool
	unheard map[string]bool
	said    []Notice
}

func (n *notes) Ready() bool             { return !n.unready }
func (n *notes) Wanted(kind string) bool { return !n.unheard[kind] }

func (n *notes) Notice(what Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.said = append(n.said, what)
}

// take returns what was said since, of some kinds.
func (n *notes) take(kinds ...string) (said []Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, what := range n.said {
		for _, kind := range kinds {
			if what.Kind == kind {
				said = append(said, what)
			}
		}
	}
	n.said = nil
	return said
}

func noticed(n *notes) with { return func(c *Config) { c.Notices = n } }

// wantTold wants these to be told of once expiries are looked at d after the epoch.
func (f *fixture) wantTold(n *notes, d time.Duration, want ...Notice) {
	f.Helper()
	f.clock.set(epoch.Add(d + tellingLate))
	if err := f.tellExpiries(context.Background()); err != nil {
		f.Fatal(err)
	}
	if diff := cmp.Diff(want, n.take(TokenExpiring, TokenExpired)); diff != "" {
		f.Errorf("after %v (-want +got):\n%s", d, diff)
	}
}

func expiring(m made, before time.Duration) Notice {
	return Notice{Kind: TokenExpiring, TokenID: m.ID, Before: before}
}
func expired(m made) Notice { return Notice{Kind: TokenExpired, TokenID: m.ID} }

func TestExpiriesAreToldOnceAndInTime(t *testing.T) {
	t.Parallel()
	n := new(notes)
	f, p := newFixture(t, noticed(n)), newProject("p")
	f.wantTold(n, -time.Hour)
	f.clock.set(epoch)
	long, week, short := f.issue(p, user("bob"), 60*24*3600), f.issue(p, user("bob"), 7*24*3600), f.issue(p, user("bob"), 60)
	f.wantTold(n, 59*time.Second)
	f.wantTold(n, time.Minute+time.Millisecond, expired(short))
	f.wantTold(n, 2*time.Minute)
	f.wantTold(n, 6*day+time.Second, expiring(week, day)) // not 7 days before: that is all its life
	f.wantTold(n, 7*day+time.Second, expired(week))
	f.wantTold(n, 30*day-time.Second)
	f.wantTold(n, 30*day+time.Second, expiring(long, 30*day))
	f.wantTold(n, 53*day+time.Second, expiring(long, 7*day))
	f.wantTold(n, 59*day+time.Second, expiring(long, day))
	f.wantTold(n, 60*day+time.Second, expired(long))
	f.wantTold(n, 90*day)
}

func TestOverARestartExpiriesAreToldOnce(t *testing.T) {
	t.Parallel()
	n := new(notes)
	f, p := newFixture(t, noticed(n)), newProject("p")
	first, second, third := f.issue(p, user("bob"), 3600), f.issue(p, user("bob"), 7200), f.issue(p, user("bob"), 50*24*3600)
	f.wantTold(n, 0)
	f.wantTold(n, time.Hour+time.Second, expired(first))
	f.close()
	f.open(noticed(n))
	f.wantTold(n, time.Hour+2*time.Second)
	f.close()
	f.open(noticed(n))
	// What went by while nobody looked is told late, of a token the last alone.
	f.wantTold(n, 45*day, expired(second), expiring(third, 7*day))
	f.close()
	f.open(noticed(n))
	f.wantTold(n, 46*day)
}

func TestWhatIsToldHasBeenNoted(t *testing.T) {
	t.Parallel()
	n := new(notes)
	f, p := newFixture(t, noticed(n)), newProject("p")
	f.wantTold(n, -time.Hour)
	f.clock.set(epoch)
	m := f.issue(p, user("bob"), 60)
	f.clock.set(epoch.Add(time.Hour))
	s := f.Registry.Config.Store
	f.Registry.Config.Store = refusing{s}
	if err := f.tellExpiries(context.Background()); !errors.Is(err, store.ErrFull) {
		t.Errorf("a store that can't note it: %v", err)
	}
	if said := n.take(TokenExpired); said != nil {
		t.Errorf("it is told without being noted: %v", said)
	}
	f.Registry.Config.Store = s
	f.wantTold(n, time.Hour, expired(m))
}

// refusing is a store that takes nothing.
type refusing struct{ store.Store }

func (refusing) Commit(context.Context, store.Mutation, ...[]byte) (store.Outcome, error) {
	return store.Outcome{}, store.ErrFull
}

func TestWhoListensLaterIsNotToldOfBefore(t *testing.T) {
	t.Parallel()
	n := &notes{unheard: map[string]bool{TokenExpired: true}}
	f, p := newFixture(t, noticed(n)), newProject("p")
	f.wantTold(n, -time.Hour)
	f.clock.set(epoch)
	f.issue(p, user("bob"), 60)
	later := f.issue(p, user("bob"), 3*3600)
	f.wantTold(n, time.Hour)
	f.close()
	n.unheard = nil
	f.open(noticed(n))
	f.wantTold(n, 2*time.Hour)
	f.wantTold(n, 4*time.Hour, expired(later))
}

func TestNothingPassesBeforeItIsKnownWhoListens(t *testing.T) {
	t.Parallel()
	n := new(notes)
	f, p := newFixture(t, noticed(n)), newProject("p")
	f.wantTold(n, -time.Hour)
	f.clock.set(epoch)
	m := f.issue(p, user("bob"), 60)
	n.unready = true
	f.wantTold(n, time.Hour)
	n.unready = false
	f.wantTold(n, time.Hour, expired(m))
}

func TestManyThatExpireTogetherAreAllTold(t *testing.T) {
	t.Parallel()
	n := new(notes)
	f, p := newFixture(t, noticed(n)), newProject("p")
	f.wantTold(n, -time.Hour)
	f.clock.set(epoch)
	want := make(map[uuid.UUID]int)
	for range 2*tellAtOnce + 10 {
		want[f.issue(p, user("bob"), 60).ID]++
	}
	f.clock.advance(time.Hour)
	if err := f.tellExpiries(context.Background()); err != nil {
		t.Fatal(err)
	}
	got := make(map[uuid.UUID]int)
	for _, what := range n.take(TokenExpired) {
		got[what.TokenID]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAClockThatWasAheadDoesNotSilenceWhatComes(t *testing.T) {
	t.Parallel()
	n := new(notes)
	f, p := newFixture(t, noticed(n)), newProject("p")
	f.wantTold(n, 1000*day)
	f.clock.set(epoch)
	m := f.issue(p, user("bob"), 60)
	f.wantTold(n, 0)
	f.wantTold(n, time.Hour, expired(m))
}

func TestDeletedTokensAreTold(t *testing.T) {
	t.Parallel()
	n := new(notes)
	f, p := newFixture(t, noticed(n)), newProject("p")
	bob := &Actor{User: "bob"}
	first := f.issue(p, user("bob"), 3600)
	second := f.issue(p, f.holder(p, first), 3600)
	third := f.issue(p, f.holder(p, second), 3600)
	byFirst := &Actor{User: "bob", By: ByToken, TokenID: first.ID}
	bySecond := &Actor{User: "bob", By: ByToken, TokenID: second.ID}
	if diff := cmp.Diff([]Notice{
		{Kind: TokenCreated, TokenID: first.ID, Actor: bob},
		{Kind: TokenCreated, TokenID: second.ID, Actor: byFirst},
		{Kind: TokenCreated, TokenID: third.ID, Actor: bySecond},
	}, n.take(TokenCreated)); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if err := f.Delete(context.Background(), p, user("bob"), first.ID, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Notice{
		{Kind: TokenDeleted, TokenID: first.ID, Actor: bob},
		{Kind: TokenDeleted, TokenID: second.ID, Actor: bob},
		{Kind: TokenDeleted, TokenID: third.ID, Actor: bob},
	}, n.take(TokenDeleted)); diff != "" {
		t.Errorf("a line (-want +got):\n%s", diff)
	}

	fourth := f.issue(p, user("bob"), 3600)
	if _, err := f.DeleteAll(context.Background(), p, user("bob"), "bob"); err != nil {
		t.Fatal(err)
	}
	if err := f.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Notice{{Kind: TokenDeleted, TokenID: fourth.ID}}, n.take(TokenDeleted)); diff != "" {
		t.Errorf("all of a user's (-want +got):\n%s", diff)
	}
}
