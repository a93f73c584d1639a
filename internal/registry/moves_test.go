package registry

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func (f *fixture) useKeys(keys ...*token.Key) {
	f.Helper()
	err := f.store.CheckKeys(keys, f.clock.now())
	if err == nil {
		err = f.store.NoteKeys(context.Background(), keys)
	}
	if err != nil {
		f.Fatal(err)
	}
	f.UseKeys(keys)
}

func (f *fixture) wantKeyUse(want map[token.KeyID]int) {
	f.Helper()
	got, err := f.store.KeyUse(f.clock.now())
	if d := cmp.Diff(want, got); err != nil || d != "" {
		f.Errorf("keys in use, %v (-want +got):\n%s", err, d)
	}
}

func TestTokensMoveToTheFirstKeyAsTheyAreUsed(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	first := f.store.Key()
	second, err := token.NewKey(strings.Repeat("2", 32))
	if err != nil {
		t.Fatal(err)
	}
	used, unused, refused := f.issue(p, user("bob"), 3600), f.issue(p, user("bob"), 3600), f.issue(p, user("carol"), 3600)
	f.useKeys(second, first)
	next := f.issue(p, user("bob"), 3600)
	f.wantKeyUse(map[token.KeyID]int{first.ID(): 3, second.ID(): 1})
	if err := f.Block(context.Background(), p, user("alice"), "carol"); err != nil {
		t.Fatal(err)
	}
	move := func() {
		t.Helper()
		if err := f.moveUsed(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	holder := f.holder(p, used)
	f.wantAuthenticated(p, used)
	f.wantAuthenticated(p, next)
	f.wantRefused(p, refused, ErrBlocked)
	move()
	f.wantKeyUse(map[token.KeyID]int{first.ID(): 2, second.ID(): 2})
	// Whoever was about to renew it when it moved still does.
	if _, _, err := f.Issue(context.Background(), p, holder, Wish{Prefix: "cat", LifetimeSeconds: 60}); err != nil {
		t.Errorf("renewing a token that has moved: %v", err)
	}
	f.clock.advance(time.Minute)
	f.wantAuthenticated(p, used)
	f.wantLastUsed(p, used, f.clock.now())
	move()

	// With the keys the other way round it goes back, and forth again.
	f.useKeys(first, second)
	for range 2 {
		f.wantAuthenticated(p, used)
		f.wantAuthenticated(p, unused)
		move()
	}
	f.wantKeyUse(map[token.KeyID]int{first.ID(): 3, second.ID(): 1})
	f.useKeys(second, first)
	f.wantAuthenticated(p, used)
	move()
	f.wantKeyUse(map[token.KeyID]int{first.ID(): 2, second.ID(): 2})

	// A token that is deleted before it can be moved stays deleted.
	f.wantAuthenticated(p, unused)
	f.delete(p, user("bob"), unused.ID, false)
	move()
	f.wantRefused(p, unused, ErrInvalidToken)
	f.useKeys(first, second)
	f.wantRefused(p, unused, ErrInvalidToken)
	f.useKeys(second, first)

	if n, err := f.Operator(Origin{}).EndUnderOtherKeys(context.Background()); err != nil || n != 1 {
		t.Errorf("%d tokens were ended, %v, want carol's", n, err)
	}
	f.wantRefused(p, refused, ErrInvalidToken)
	f.useKeys(second)
	f.wantAuthenticated(p, used)
	f.wantAuthenticated(p, next)
}

// Moving is tended to by itself, and a token works at every moment.
func TestTokensMoveWhileTheyAreUsed(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	f.tend()
	first := f.store.Key()
	second, err := token.NewKey(strings.Repeat("2", 32))
	if err != nil {
		t.Fatal(err)
	}
	var all []made
	for range 20 {
		all = append(all, f.issue(p, user("bob"), 3600))
	}
	f.useKeys(second, first)
	for deadline := time.Now().Add(time.Minute); ; {
		for _, m := range all {
			r, err := f.Authenticate(p, m.value, netip.Addr{})
			if err != nil || r.ID != m.ID {
				t.Fatalf("%v: %v", r.ID, err)
			}
		}
		use, err := f.store.KeyUse(f.clock.now())
		if err != nil {
			t.Fatal(err)
		}
		if use[second.ID()] == len(all) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute later they are under %v", use)
		}
	}
	if r, err := f.store.ByHash(first.Hash(all[0].value)); err != nil || r.Key != second.ID() || r.ID != all[0].ID {
		t.Errorf("by its earlier hash: %+v, %v", r, err)
	}
	if err := f.Delete(context.Background(), p, user("bob"), all[0].ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Commit(context.Background(), store.Purge{ID: all[0].ID}); err != nil {
		t.Fatal(err)
	}
	f.wantRefused(p, all[0], ErrInvalidToken)
}

// Whatever is under way when the keys change, nothing is made under or moved to
// a key that isn't the first any more: it may be left out next, once no token is
// under it.
func TestNothingComesUnderAKeyThatWasTheFirst(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	keys := []*token.Key{f.store.Key()}
	stop := make(chan struct{})
	var working sync.WaitGroup
	forever := func(work func() error) {
		working.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := work(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var all []made
	for range 8 {
		m := f.issue(p, user("bob"), 3600)
		all = append(all, m)
		forever(func() error { _, err := f.Authenticate(p, m.value, netip.Addr{}); return err })
	}
	for _, who := range []string{"alice", "carol", "dora"} {
		forever(func() error {
			_, _, err := f.Issue(context.Background(), p, user(who), Wish{Prefix: "cat", LifetimeSeconds: 3600})
			return err
		})
	}
	forever(func() error { return f.moveUsed(context.Background()) })

	was := make(map[token.KeyID]uint64) // the first, until a revision
	for n := range 20 {
		next, err := token.NewKey(strings.Repeat(string(rune('a'+n)), 32))
		if err != nil {
			t.Fatal(err)
		}
		before := keys[0].ID()
		keys = slices.Insert(slices.Clone(keys), 0, next)
		f.useKeys(keys...)
		was[before] = f.store.Revision()
		f.issue(p, user("erin"), 3600)
	}
	close(stop)
	working.Wait()
	if err := f.store.UnderOtherKeys(f.clock.now(), func(r store.Record) bool {
		if r.Revision > was[r.Key] {
			t.Errorf("revision %d is a token's under a key that was the first until revision %d", r.Revision, was[r.Key])
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		f.wantAuthenticated(p, m)
	}
}
