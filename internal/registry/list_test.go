package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func TestListOrdersAndFilters(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	// Made at moments of their own, in this order.
	f.clock.set(epoch)
	for i, c := range []struct{ lifetime, used int }{{10, 3}, {5, 0}, {30, 20}, {7, 4}, {-1, 0}, {20, 12}} {
		f.clock.set(epoch.Add(time.Duration(i) * time.Millisecond))
		name, lifetime := fmt.Sprintf("%c%d", 'a'+i, c.lifetime), int64(c.lifetime)*60
		if c.lifetime < 0 {
			name, lifetime = "e-never", -1
			p.rules.Load().Fixed.MaxLifetimeDays = Unlimited
		}
		value, _, err := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: lifetime, Description: name})
		if err != nil {
			t.Fatal(err)
		}
		if c.used > 0 {
			f.clock.set(epoch.Add(time.Duration(c.used) * time.Minute))
			if _, err := f.Authenticate(p, value, netip.Addr{}); err != nil {
				t.Fatal(err)
			}
		}
		if i%2 == 0 {
			f.mustFlush()
		}
	}
	f.clock.set(epoch.Add(15 * time.Minute))
	even := func(r *store.Record) bool { return r.Lifetime == store.Never || r.Lifetime%120 == 0 }
	for _, c := range []struct {
		name    string
		listing Listing
		want    []string
	}{
		{"oldest first", Listing{}, []string{"a10", "b5", "c30", "d7", "e-never", "f20"}},
		{"newest first", Listing{Descending: true}, []string{"f20", "e-never", "d7", "c30", "b5", "a10"}},
		{"newest first, a part", Listing{Descending: true, Offset: 1, Limit: 2}, []string{"e-never", "d7"}},
		{"by expiry", Listing{Order: ByExpiry}, []string{"b5", "d7", "a10", "f20", "c30", "e-never"}},
		{"by expiry, the last first", Listing{Order: ByExpiry, Descending: true}, []string{"e-never", "c30", "f20", "a10", "d7", "b5"}},
		{"by expiry, a part", Listing{Order: ByExpiry, Offset: 2, Limit: 3}, []string{"a10", "f20", "c30"}},
		{"by expiry, past the end", Listing{Order: ByExpiry, Offset: 6, Limit: 3}, []string{}},
		{"by last use", Listing{Order: ByLastUse}, []string{"b5", "e-never", "a10", "d7", "f20", "c30"}},
		{"by last use, the last first", Listing{Order: ByLastUse, Descending: true, Limit: 3}, []string{"c30", "f20", "d7"}},
		{"active", Listing{State: Active}, []string{"c30", "e-never", "f20"}},
		{"expired", Listing{State: Expired}, []string{"a10", "b5", "d7"}},
		{"expired, a part", Listing{State: Expired, Offset: 1, Limit: 1}, []string{"b5"}},
		{"expired, by last use", Listing{State: Expired, Order: ByLastUse}, []string{"b5", "a10", "d7"}},
		{"unused for 11 minutes", Listing{UnusedFor: 11 * time.Minute}, []string{"a10", "b5", "d7", "e-never"}},
		{"active and unused for 11 minutes", Listing{UnusedFor: 11 * time.Minute, State: Active}, []string{"e-never"}},
		{"matching", Listing{Match: even}, []string{"a10", "c30", "e-never", "f20"}},
		{"matching, the last to expire, a part", Listing{Match: even, Order: ByExpiry, Descending: true, Offset: 1, Limit: 2}, []string{"c30", "f20"}},
		{"matching and expired", Listing{Match: even, State: Expired}, []string{"a10"}},
		{"unused for as long as they are there", Listing{UnusedFor: 15*time.Minute - 3*time.Millisecond}, []string{"b5"}},
	} {
		for _, count := range []bool{false, true} {
			c.listing.Count = count
			got, n := f.descriptions(p, user("bob"), c.listing)
			all := c.listing
			all.Offset, all.Limit = 0, 0
			matching, _ := f.descriptions(p, user("bob"), all)
			if d := cmp.Diff(c.want, got); d != "" || count && n != len(matching) || !count && n != 0 {
				t.Errorf("%s: count %d of %d (-want +got):\n%s", c.name, n, len(matching), d)
			}
		}
	}
	for what, l := range map[string]Listing{
		"far": {Order: ByExpiry, Offset: MaxSorted, Limit: 1}, "farther": {Order: ByLastUse, Offset: 1 << 40, Limit: 1 << 40},
		"too many": {Order: ByExpiry, Offset: 1, Limit: MaxSorted}, "from a token on": {Order: ByLastUse, After: uuid.UUID{1}},
		"from an unknown token on": {After: uuid.UUID{1}},
	} {
		_, _, err := f.List(p, user("bob"), l)
		wantRefusal(t, what, err, ErrInvalid)
	}
}

func TestListAfter(t *testing.T) {
	f, p, q := newFixture(t), newProject("p"), newProject("q")
	var all []made
	for range 6 {
		f.clock.advance(time.Second)
		all = append(all, f.issue(p, user("bob"), 3600))
	}
	f.clock.advance(time.Second)
	carols, elsewhere := f.issue(p, user("carol"), 3600), f.issue(q, user("bob"), 3600)
	after := func(c Caller, l Listing, want ...made) {
		t.Helper()
		got, _, err := f.List(p, c, l)
		if err != nil {
			t.Fatal(err)
		}
		id := func(m made) uuid.UUID { return m.ID }
		if d := cmp.Diff(idsOf(want, id), idsOf(got, func(t Token) uuid.UUID { return t.ID })); d != "" {
			t.Errorf("after %v (-want +got):\n%s", l.After, d)
		}
	}
	bob, alice := user("bob"), user("alice")
	after(bob, Listing{After: all[2].ID}, all[3:]...)
	after(bob, Listing{After: all[2].ID, Limit: 2}, all[3:5]...)
	after(bob, Listing{After: all[5].ID})
	after(bob, Listing{After: all[2].ID, Descending: true}, all[1], all[0])
	after(alice, Listing{User: "bob", After: all[3].ID}, all[4:]...)
	after(alice, Listing{User: Everyone, After: all[4].ID}, all[5], carols)
	f.delete(p, bob, all[3].ID, false)
	after(bob, Listing{After: all[3].ID}, all[4:]...)
	after(bob, Listing{After: all[2].ID}, all[4:]...)
	f.wantDeletedAll(p, alice, "bob", 5)
	next := f.issue(p, bob, 60)
	after(bob, Listing{After: all[1].ID}, next)

	for what, l := range map[string]Listing{
		"another's": {After: carols.ID}, "another project's": {After: elsewhere.ID}, "with an offset": {After: all[0].ID, Offset: 1},
	} {
		_, _, err := f.List(p, bob, l)
		wantRefusal(t, what, err, ErrInvalid)
	}
	_, _, err := f.List(p, alice, Listing{User: "carol", After: all[0].ID})
	wantRefusal(t, "another's, of an administrator", err, ErrInvalid)
	if n, err := f.Count(context.Background(), p, alice, Listing{User: Everyone, After: all[4].ID, Limit: 1}); err != nil || n != 2 {
		t.Errorf("counted %d, %v, want 2", n, err)
	}
}

// Long lists are read as they are wanted, many records at no time, and whoever
// goes away ends that.
func TestTokensComeInPages(t *testing.T) {
	const n = 1050
	f, p := newFixture(t), newProject("p")
	ids := make([]uuid.UUID, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			_, m, err := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: int64(60 + rand.IntN(3600))})
			if err != nil {
				t.Error(err)
			}
			ids[i] = m.ID
		})
	}
	all.Wait()
	for _, l := range []Listing{{}, {Descending: true}, {Order: ByExpiry, Limit: n}, {User: "bob"}} {
		caller := user("bob")
		if l.User != "" {
			caller = user("alice")
		}
		seen := map[uuid.UUID]bool{}
		for page, err := range f.Tokens(context.Background(), p, caller, l) {
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 || len(page) > readAtOnce {
				t.Errorf("%+v: a page of %d", l, len(page))
			}
			for _, m := range page {
				seen[m.ID] = true
			}
		}
		want := n
		if l.User != "" {
			want = MaxPage
		}
		if len(seen) != want {
			t.Errorf("%+v: %d tokens, want %d", l, len(seen), want)
		}
	}
	// What is deleted meanwhile isn't shown, and everything else is.
	left := slices.Clone(ids)
	for page, err := range f.Tokens(context.Background(), p, user("bob"), Listing{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page {
			if !slices.Contains(left, m.ID) {
				t.Errorf("%v was deleted before it was read, or is there twice", m.ID)
			}
			left = slices.DeleteFunc(left, func(id uuid.UUID) bool { return id == m.ID })
		}
		if len(left) > 0 {
			f.delete(p, user("bob"), left[0], false)
			left = left[1:]
		}
	}
	if len(left) != 0 {
		t.Errorf("%d tokens were left out", len(left))
	}

	ctx, cancel := context.WithCancel(context.Background())
	pages := 0
	var last error
	for _, last = range f.Tokens(ctx, p, user("alice"), Listing{User: "bob", Order: ByLastUse}) {
		pages++
		break
	}
	if pages != 1 {
		t.Errorf("%d pages for who wanted one, %v", pages, last)
	}
	cancel()
	for _, last = range f.Tokens(ctx, p, user("bob"), Listing{}) {
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("for who has gone: %v", last)
	}
}

func TestListsUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListing()
		bob, carol := turnOf{"p", "bob"}, turnOf{"p", "carol"}
		var held []func()
		for range listsOfUserAtOnce {
			done, err := l.begin(context.Background(), bob)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, done)
		}
		begun := time.Now()
		if _, err := l.begin(context.Background(), bob); !errors.Is(err, ErrBusy) || time.Since(begun) != listTurn {
			t.Errorf("one too many of a user: %v after %v", err, time.Since(begun))
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := l.begin(gone, bob); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, ErrBusy) {
			t.Errorf("of a client that has gone: %v", err)
		}
		done, err := l.begin(context.Background(), carol)
		if err != nil {
			t.Fatal(err)
		}
		done()
		time.AfterFunc(time.Second, held[0])
		if done, err = l.begin(context.Background(), bob); err != nil {
			t.Fatal(err)
		}
		done()
		for i := range listsAtOnce - (listsOfUserAtOnce - 1) {
			if _, err := l.begin(context.Background(), turnOf{"q", fmt.Sprint(i)}); err != nil {
				t.Fatal(i, err)
			}
		}
		if _, err := l.begin(context.Background(), carol); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("one too many of all: %v", err)
		}
		// Whichever of the two it would have waited for.
		for range 20 {
			if _, err := l.begin(gone, carol); !errors.Is(err, context.Canceled) {
				t.Errorf("one too many of all, of a client that has gone: %v", err)
			}
		}
		held[1]()
		if _, err := l.begin(context.Background(), carol); err != nil {
			t.Error(err)
		}
	})
}
