package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func (f *fixture) wantDeletedAll(p *Project, c Caller, who string, want int) {
	f.Helper()
	if got, err := f.DeleteAll(context.Background(), p, c, who); err != nil || got != want {
		f.Errorf("deleting all of %s's tokens: %d, %v; want %d", who, got, err, want)
	}
}

func (f *fixture) mustSweep() {
	f.Helper()
	if err := f.sweep(context.Background()); err != nil {
		f.Fatal(err)
	}
	if left := f.store.Voids(); len(left) > 0 {
		f.Errorf("swept, and left are %v", left)
	}
}

func TestDeleteAll(t *testing.T) {
	f, p, q := newFixture(t), newProject("p"), newProject("q")
	live, deleted, expired := f.issue(p, user("bob"), 3600), f.issue(p, user("bob"), 3600), f.issue(p, user("bob"), 1)
	others, elsewhere := f.issue(p, user("carol"), 3600), f.issue(q, user("bob"), 3600)
	successor := f.issue(p, f.holder(p, live), 3600)
	f.delete(p, user("bob"), deleted.ID, false)
	f.clock.advance(time.Minute)
	f.wantDeletedAll(p, user("alice"), "bob", 2)
	check := func() {
		t.Helper()
		for _, m := range []made{live, deleted, expired, successor} {
			f.wantRefused(p, m, ErrInvalidToken)
			if _, err := f.Get(p, user("bob"), m.ID); err != ErrNotFound {
				t.Errorf("getting it: %v", err)
			}
			if err := f.Delete(context.Background(), p, user("bob"), m.ID, true); err != ErrNotFound {
				t.Errorf("deleting it once more: %v", err)
			}
		}
		if list, n, err := f.List(p, user("bob"), Listing{Count: true}); err != nil || len(list) != 0 || n != 0 {
			t.Errorf("the list is %v, %d, %v", list, n, err)
		}
		f.wantAuthenticated(p, others)
		f.wantAuthenticated(q, elsewhere)
	}
	check()
	f.close()
	f.open()
	check()
	f.mustSweep()
	check()
	f.wantDeletedAll(p, user("alice"), "bob", 0)
	f.wantDeletedAll(p, user("alice"), "nobody", 0)
	next := f.issue(p, user("bob"), 3600)
	f.wantAuthenticated(p, next)
	f.wantDeletedAll(p, user("bob"), "bob", 1)
	f.wantRefused(p, next, ErrInvalidToken)
}

func TestWhoDeletesAll(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	bobs, alices := f.issue(p, user("bob"), 3600), f.issue(p, user("alice"), 3600)
	refused := func(what string, c Caller, who string, want error) {
		t.Helper()
		_, err := f.DeleteAll(context.Background(), p, c, who)
		wantRefusal(t, what, err, want)
	}
	refused("another's", user("carol"), "bob", ErrForbidden)
	refused("nobody's", user("carol"), "nobody", ErrForbidden)
	refused("one's own by a token", f.holder(p, bobs), "bob", ErrForbidden)
	refused("an administrator's own by a token", f.holder(p, alices), "alice", ErrForbidden)
	refused("everyone's", user("alice"), Everyone, ErrInvalid)
	refused("whose", user("alice"), "", ErrInvalid)
	f.wantAuthenticated(p, bobs)
	f.wantDeletedAll(p, f.holder(p, alices), "bob", 1)
	// A token that was deleted while its request was on its way.
	holder := f.holder(p, alices)
	f.delete(p, user("alice"), alices.ID, false)
	if _, err := f.DeleteAll(context.Background(), p, holder, "carol"); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("by a token that was deleted meanwhile: %v", err)
	}
	holder = f.holder(p, f.issue(p, user("alice"), 3600))
	p.rules.Load().Fixed.Enabled = new(false)
	if _, err := f.DeleteAll(context.Background(), p, holder, "carol"); !errors.Is(err, ErrOff) {
		t.Errorf("by a token that was switched off meanwhile: %v", err)
	}
}

// create makes a token that lives an hour without waiting for the user's turn.
func (f *fixture) create(p *Project, who string) token.Value {
	value, err := token.Make("cat", rand.Reader)
	if err != nil {
		f.Error(err)
	}
	key, now := f.store.Key(), f.clock.now()
	_, err = f.store.Commit(context.Background(), store.Create{Record: store.Record{
		ID: uuid.New(), Hash: key.Hash(value), Key: key.ID(), Project: p.Name, User: store.User{ID: who},
		SignedIn: now, Created: now, Lifetime: 3600,
	}})
	if err != nil {
		f.Error(err)
	}
	return value
}

// However fast a script renews, with however many tokens: what it made before
// is ended, and what it holds makes no more.
func TestDeleteAllUnderRenewals(t *testing.T) {
	const scripts = 8
	tokens := storetest.Rounds(2_000, 10_000)
	f, p := newFixture(t), newProject("p")
	f.tend()
	values := make([]token.Value, tokens)
	var next atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(tokens); i = next.Add(1) - 1 {
				values[i] = f.create(p, "bob")
			}
		})
	}
	all.Wait()
	other := f.issue(p, user("carol"), 3600)

	var renewed atomic.Int64
	last := make([]token.Value, scripts)
	for i := range scripts {
		last[i] = values[i]
		all.Go(func() {
			for {
				record, err := f.Authenticate(p, last[i], netip.Addr{})
				if err != nil {
					if !errors.Is(err, ErrInvalidToken) {
						t.Error(err)
					}
					return
				}
				value, _, err := f.Issue(context.Background(), p, Holder(&record), Wish{Prefix: "cat", LifetimeSeconds: 3600, Replace: i%2 == 0})
				if err != nil {
					if !errors.Is(err, ErrInvalidToken) {
						t.Error(err)
					}
					return
				}
				last[i] = value
				renewed.Add(1)
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); renewed.Load() < 50; {
		if time.Now().After(deadline) {
			t.Fatalf("a minute later %d are renewed", renewed.Load())
		}
		<-time.After(time.Millisecond)
	}
	begun := time.Now()
	deleted, err := f.DeleteAll(context.Background(), p, user("alice"), "bob")
	took := time.Since(begun)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range values {
		if _, err := f.Authenticate(p, value, netip.Addr{}); !errors.Is(err, ErrInvalidToken) {
			t.Fatalf("a deleted token: %v", err)
		}
	}
	all.Wait()
	for _, value := range last {
		if _, err := f.Authenticate(p, value, netip.Addr{}); !errors.Is(err, ErrInvalidToken) {
			t.Errorf("a token renewed meanwhile: %v", err)
		}
	}
	// Every second renewal ended its parent, and the others added one.
	if deleted < tokens || deleted > tokens+int(renewed.Load()) {
		t.Errorf("%d tokens were deleted, of %d and %d renewals", deleted, tokens, renewed.Load())
	}
	if list, n, err := f.List(p, user("bob"), Listing{Count: true}); err != nil || len(list)+n != 0 {
		t.Errorf("%d tokens are left, %v", len(list), err)
	}
	f.wantAuthenticated(p, other)
	// The keeper does the rest.
	for deadline := time.Now().Add(time.Minute); len(f.store.Voids()) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("a minute later the tokens aren't swept")
		}
		<-time.After(10 * time.Millisecond)
	}
	if _, err := f.Authenticate(p, values[0], netip.Addr{}); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("once it is swept: %v", err)
	}
	t.Logf("%d tokens and %d renewals: %d deleted in %v, swept %v later", tokens, renewed.Load(), deleted, took, time.Since(begun)-took)
}

func TestBlock(t *testing.T) {
	f, p, q := newFixture(t), newProject("p"), newProject("q")
	m, elsewhere, others := f.issue(p, user("bob"), 3600), f.issue(q, user("bob"), 3600), f.issue(p, user("carol"), 3600)
	holder := f.holder(p, m)
	block := func(who string) {
		t.Helper()
		if err := f.Block(context.Background(), p, user("alice"), who); err != nil {
			t.Fatal(err)
		}
	}
	block("bob")
	at := f.clock.now()
	f.clock.advance(time.Minute)
	// The first one stays.
	if err := f.Block(context.Background(), p, SignedIn("", store.User{ID: "dora"}, true), "bob"); err != nil {
		t.Fatal(err)
	}
	block("never seen")
	check := func() {
		t.Helper()
		f.wantRefused(p, m, ErrBlocked)
		if !f.IsBlocked(p, "bob") || f.IsBlocked(q, "bob") || f.IsBlocked(p, "carol") {
			t.Error("others are blocked than should be")
		}
		for what, c := range map[string]Caller{"by a sign-in": user("bob"), "by a token": holder} {
			if _, _, err := f.Issue(context.Background(), p, c, Wish{Prefix: "cat", LifetimeSeconds: 60}); !errors.Is(err, ErrBlocked) {
				t.Errorf("making a token %s: %v", what, err)
			}
		}
		f.wantAuthenticated(q, elsewhere)
		f.wantAuthenticated(p, others)
		want := []store.BlockedUser{{User: "bob", At: at, By: "alice"}, {User: "never seen", At: at.Add(time.Minute), By: "alice"}}
		if got, err := f.Blocked(p, user("alice")); err != nil || !cmp.Equal(want, got) {
			t.Errorf("blocked are %v, %v", got, err)
		}
		if r, err := recognise(f.Registry, p, m.value); err != nil || r.ID != m.ID {
			t.Errorf("a blocked user's token is %v, %v", r.ID, err)
		}
	}
	check()
	f.close()
	f.open()
	check()
	for range 2 {
		if err := f.Unblock(context.Background(), p, user("alice"), "bob"); err != nil {
			t.Fatal(err)
		}
	}
	f.wantAuthenticated(p, m)
	f.issue(p, user("bob"), 60)
	if f.IsBlocked(p, "bob") {
		t.Error("bob is still blocked")
	}
}

func TestChangesOfUsersAreAudited(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	f.issue(p, user("bob"), 3600)
	holder := f.holder(p, f.issue(p, user("bob"), 3600))
	if _, _, err := f.Issue(context.Background(), p, holder, Wish{Prefix: "cat", LifetimeSeconds: 60, Replace: true}); err != nil {
		t.Fatal(err)
	}
	f.wantDeletedAll(p, user("alice"), "bob", 2)
	for range 2 {
		if err := f.Block(context.Background(), p, user("alice"), "bob"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := f.Unblock(context.Background(), p, user("alice"), "bob"); err != nil {
			t.Fatal(err)
		}
	}
	f.mustSweep()
	var got []string
	last := store.Position{}
	for _, e := range f.audit.events {
		got = append(got, fmt.Sprintf("%s by %s of %s", e.Kind, e.Actor.User, e.User))
		if e.Position.Before(last) || e.Epoch != 1 || !e.Time.Equal(epoch) || e.Project != "p" {
			t.Errorf("after %v comes %+v", last, e)
		}
		last = e.Position
	}
	want := []string{
		"token_created by bob of bob", "token_created by bob of bob", "token_renewed by bob of bob", "token_deleted by bob of bob",
		"tokens_deleted by alice of bob", "user_blocked by alice of bob", "user_unblocked by alice of bob",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

// What the file says by the time a change is committed holds.
func TestChangesOfUsersUnderOtherRules(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m := f.issue(p, user("bob"), 3600)
	f.wantAuthenticated(p, m)
	p.rules.Load().SignIns = nil
	for what, err := range map[string]error{
		"deleting all": func() error { _, err := f.DeleteAll(context.Background(), p, user("alice"), "bob"); return err }(),
		"blocking":     f.Block(context.Background(), p, user("alice"), "bob"),
		"unblocking":   f.Unblock(context.Background(), p, user("alice"), "bob"),
	} {
		wantRefusal(t, what, err, ErrForbidden)
	}
	f.wantAuthenticated(p, m)
}

func TestWhoBlocksWhom(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	p.rules.Load().Admins["amy"] = true
	dora := SignedIn("", store.User{ID: "dora"}, true)
	for _, c := range []struct {
		caller Caller
		who    string
		want   error
	}{
		{user("bob"), "carol", ErrForbidden},
		{f.holder(p, f.issue(p, dora, 60)), "carol", ErrForbidden},
		{user("alice"), "alice", ErrProtected},
		{user("alice"), "amy", ErrProtected},
		{dora, "dora", ErrProtected},
		{dora, "alice", ErrProtected},
		{user("alice"), "", ErrInvalid},
		{user("alice"), Everyone, ErrInvalid},
	} {
		wantRefusal(t, fmt.Sprintf("%s blocks %q", c.caller.User.ID, c.who), f.Block(context.Background(), p, c.caller, c.who), c.want)
	}
	wantRefusal(t, "somebody unblocks", f.Unblock(context.Background(), p, user("bob"), "bob"), ErrForbidden)
	_, err := f.Blocked(p, user("bob"))
	wantRefusal(t, "somebody lists", err, ErrForbidden)

	// An administrator who is blocked while the request is on its way.
	holder := f.holder(p, f.issue(p, user("amy"), 60))
	delete(p.rules.Load().Admins, "amy")
	if err := f.Block(context.Background(), p, user("alice"), "amy"); err != nil {
		t.Fatal(err)
	}
	p.rules.Load().Admins["amy"] = true
	if err := f.Unblock(context.Background(), p, holder, "amy"); !errors.Is(err, ErrBlocked) {
		t.Errorf("a blocked administrator unblocks: %v", err)
	}
	if _, err := f.Configure(context.Background(), p, holder, store.Settings{Enabled: new(false)}); !errors.Is(err, ErrBlocked) {
		t.Errorf("a blocked administrator changes settings: %v", err)
	}
}

func TestLimitOfTokens(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	p.rules.Load().MaxTokensPerUser = 2
	first, short := f.issue(p, user("bob"), 3600), f.issue(p, user("bob"), 60)
	_, _, err := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60})
	wantRefusal(t, "one too many", err, ErrLimit)
	_, _, err = f.Issue(context.Background(), p, f.holder(p, first), Wish{Prefix: "cat", LifetimeSeconds: 60})
	wantRefusal(t, "renewing", err, ErrLimit)
	f.issue(p, user("carol"), 60)

	// What is replaced makes its own place, even when there are too many.
	p.rules.Load().MaxTokensPerUser = 1
	value, replaced, err := f.Issue(context.Background(), p, f.holder(p, first), Wish{Prefix: "cat", LifetimeSeconds: 3600, Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	f.wantRefused(p, first, ErrInvalidToken)
	f.wantAuthenticated(p, made{replaced, value})
	f.wantAuthenticated(p, short)
	_, _, err = f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60})
	wantRefusal(t, "one too many", err, ErrLimit)
	f.delete(p, user("bob"), replaced.ID, false)
	f.clock.advance(time.Minute)
	f.issue(p, user("bob"), 60)
}

// A parent that is to be replaced lives on if its successor is refused.
func TestReplaceIsWholeOrNotAtAll(t *testing.T) {
	var broken error
	f, p := newFixture(t, failing(func(m store.Mutation) error {
		if _, ok := m.(store.Create); ok {
			return broken
		}
		return nil
	})), newProject("p")
	m := f.issue(p, user("bob"), 3600)
	holder := f.holder(p, m)
	refused := func(c Caller, w Wish, want error) {
		t.Helper()
		w.Prefix, w.Replace = "cat", true
		if _, _, err := f.Issue(context.Background(), p, c, w); !errors.Is(err, want) {
			t.Errorf("replacing: %v, want %v", err, want)
		}
		f.wantAuthenticated(p, m)
	}
	refused(user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60}, ErrInvalid)
	refused(holder, Wish{Prefix: "cat", LifetimeSeconds: 7200}, ErrForbidden)
	refused(holder, Wish{Prefix: "cat", LifetimeSeconds: 0}, ErrInvalid)
	for _, broken = range []error{store.ErrUnavailable, store.ErrFull} {
		refused(holder, Wish{Prefix: "cat", LifetimeSeconds: 60}, broken)
	}
	broken = nil
	if _, _, err := f.Issue(context.Background(), p, holder, Wish{Prefix: "cat", LifetimeSeconds: 60, Replace: true}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Issue(context.Background(), p, holder, Wish{Prefix: "cat", LifetimeSeconds: 60, Replace: true}); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("replacing it once more: %v", err)
	}
}
