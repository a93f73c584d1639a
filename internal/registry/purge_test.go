package registry

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func (f *fixture) mustPurge() {
	f.Helper()
	if err := f.purge(context.Background()); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) wantKept(what string, id uuid.UUID, want bool) {
	f.Helper()
	_, err := f.store.ByID(id)
	if kept := err == nil; kept != want || err != nil && !errors.Is(err, store.ErrNotFound) {
		f.Errorf("%s: %v, want it kept %v", what, err, want)
	}
}

func TestPurgeKeepsWhatIsToBeRetained(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	p.rules.Load().Fixed.MaxLifetimeDays = Unlimited
	expired, deleted := f.issue(p, user("bob"), 60), f.issue(p, user("bob"), 60)
	both, live, endless := f.issue(p, user("bob"), 60), f.issue(p, user("bob"), 1000*86_400), f.issue(p, user("bob"), store.Never)
	f.delete(p, user("bob"), deleted.ID, false)
	f.clock.advance(time.Hour)
	f.delete(p, user("bob"), both.ID, false)

	const expiry = time.Minute
	for _, at := range []struct {
		after                  time.Duration
		expired, deleted, both bool
	}{
		{time.Hour, true, true, true},
		{expiry + 30*day, true, true, true},
		{expiry + 30*day + time.Millisecond, false, true, true},
		{90 * day, false, true, true},
		{90*day + time.Millisecond, false, false, true},
		{time.Hour + 90*day, false, false, true},
		{time.Hour + 90*day + time.Millisecond, false, false, false},
	} {
		f.clock.set(epoch.Add(at.after))
		f.mustPurge()
		f.wantKept("the expired token", expired.ID, at.expired)
		f.wantKept("the deleted token", deleted.ID, at.deleted)
		f.wantKept("the token deleted once it had expired", both.ID, at.both)
		f.wantKept("the live token", live.ID, true)
		f.wantKept("the endless token", endless.ID, true)
		want := 2
		if at.expired {
			want = 3
		}
		if list, n, err := f.List(p, user("bob"), Listing{Count: true}); err != nil || len(list) != want || n != want {
			t.Errorf("%v later %d of %d are listed, %v; want %d", at.after, len(list), n, err, want)
		}
	}
	f.wantRefused(p, deleted, ErrInvalidToken)
	f.wantRefused(p, expired, ErrInvalidToken)
	f.wantAuthenticated(p, live)
	f.wantAuthenticated(p, endless)
}

// More than a round's worth, with uses, of several projects, and with one that
// has more successors than are passed on at once.
func TestPurgeTakesAll(t *testing.T) {
	f, p, q := newFixture(t), newProject("p"), newProject("q")
	parent := f.issue(p, user("bob"), 3600)
	holder := f.holder(p, parent)
	ids := make([]uuid.UUID, 100)
	err := sideBySide(ids, func(uuid.UUID) error {
		_, _, err := f.Issue(context.Background(), p, holder, Wish{Prefix: "cat", LifetimeSeconds: 3600})
		if err == nil {
			_, _, err = f.Issue(context.Background(), q, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// The parent goes first, while all of its successors are there.
	f.delete(p, user("bob"), parent.ID, false)
	f.Retain.Deleted = time.Second
	f.clock.advance(2 * time.Second)
	f.mustPurge()
	f.wantKept("a token with many successors", parent.ID, false)
	list, _, err := f.List(p, user("bob"), Listing{})
	if err != nil || len(list) != len(ids) {
		t.Fatalf("%d successors are left, %v", len(list), err)
	}
	for _, m := range list {
		if m.Parent != uuid.Nil {
			t.Fatalf("a successor's parent is %v", m.Parent)
		}
	}
	f.clock.advance(31 * day)
	f.mustPurge()
	for _, project := range []*Project{p, q} {
		if _, n, err := f.List(project, user("alice"), Listing{User: Everyone, Count: true}); err != nil || n != 0 {
			t.Errorf("%d tokens of %s are left, %v", n, project.Name, err)
		}
	}
	if left, err := f.store.Ended(f.clock.now(), f.clock.now(), 1); err != nil || len(left) != 0 {
		t.Errorf("left to purge: %v, %v", left, err)
	}
}

// A use that is noted before a token goes is not written after.
func TestPurgedTokensLeaveNoUse(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m := f.issue(p, user("bob"), 60)
	f.wantAuthenticated(p, m)
	f.clock.advance(31 * day)
	f.mustPurge()
	f.mustFlush()
	if used, err := f.store.LastUsed(m.ID); err != nil || !used[0].At.IsZero() {
		t.Errorf("a purged token was used at %v, %v", used, err)
	}
}

func TestRecordsArePurgedByThemselves(t *testing.T) {
	f, p := newFixture(t, func(c *Config) { c.Retain = Retain{Expired: time.Second, Deleted: time.Hour} }), newProject("p")
	expired, deleted := f.issue(p, user("bob"), 60), f.issue(p, user("bob"), 60)
	f.delete(p, user("bob"), deleted.ID, false)
	f.clock.advance(2 * time.Minute)
	f.tend()
	f.awaitPurge(expired.ID)
	f.wantKept("the deleted token", deleted.ID, true)
}

// For how long they stay can change meanwhile, and then the keeper doesn't wait
// for an hour to be over.
func TestRecordsArePurgedByWhatHoldsNow(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	expired, deleted := f.issue(p, user("bob"), 60), f.issue(p, user("bob"), 60)
	f.delete(p, user("bob"), deleted.ID, false)
	f.clock.advance(2 * time.Minute)
	f.tend()
	f.SetRetain(Retain{Expired: time.Hour, Deleted: time.Second})
	f.awaitPurge(deleted.ID)
	f.wantKept("the expired token", expired.ID, true)
	f.SetRetain(Retain{Expired: time.Second, Deleted: time.Hour})
	f.awaitPurge(expired.ID)
}

func (f *fixture) awaitPurge(id uuid.UUID) {
	f.Helper()
	for deadline := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		if _, err := f.store.ByID(id); errors.Is(err, store.ErrNotFound) {
			return
		}
		if time.Now().After(deadline) {
			f.Fatal("a minute later it is still there")
		}
	}
}

func TestPurgeOfAStoreThatCantBeWritten(t *testing.T) {
	var broken error
	f, p := newFixture(t, failing(func(m store.Mutation) error {
		if _, ok := m.(store.Purge); ok {
			return broken
		}
		return nil
	})), newProject("p")
	m := f.issue(p, user("bob"), 60)
	f.clock.advance(31 * day)
	broken = store.ErrFull
	if err := f.purge(context.Background()); !errors.Is(err, store.ErrFull) {
		t.Errorf("purging: %v", err)
	}
	f.wantKept("what can't be purged", m.ID, true)
	broken = nil
	f.mustPurge()
	f.wantKept("what can be purged again", m.ID, false)
}
