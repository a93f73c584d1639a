package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

var snapshotTests = []test{
	{"a snapshot has all that there is", snapshotHasAll},
	{"a snapshot stays as it is, whatever is changed and purged", snapshotStays},
	{"a snapshot is of one position, however many write", snapshotOfOnePosition},
	{"a snapshot can be read in part and is read no more once it is closed", snapshotEnds},
}

// Contents is all that a snapshot says, in an order.
type Contents struct {
	Head     store.Head
	Records  []store.Record
	Uses     []store.Use
	Accounts []store.UserAccount
	Settings []store.ProjectSettings
}

// Read reads all of a snapshot.
func Read(s store.Snapshot) (c Contents, err error) {
	c.Head = s.Head()
	err = errors.Join(
		s.Records(func(r store.Record) error { c.Records = append(c.Records, r); return nil }),
		s.Uses(func(u store.Use) error { c.Uses = append(c.Uses, u); return nil }),
		s.Accounts(func(a store.UserAccount) error { c.Accounts = append(c.Accounts, a); return nil }),
		s.Settings(func(p store.ProjectSettings) error { c.Settings = append(c.Settings, p); return nil }),
	)
	slices.SortFunc(c.Records, func(a, b store.Record) int { return cmp.Compare(a.CreatedRevision, b.CreatedRevision) })
	slices.SortFunc(c.Uses, func(a, b store.Use) int { return slices.Compare(a.ID[:], b.ID[:]) })
	slices.SortFunc(c.Accounts, func(a, b store.UserAccount) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.User, b.User))
	})
	slices.SortFunc(c.Settings, func(a, b store.ProjectSettings) int { return cmp.Compare(a.Project, b.Project) })
	return c, err
}

func (f *fixture) snapshot() store.Snapshot {
	f.Helper()
	s, err := f.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	return s
}

func (f *fixture) contents(s store.Snapshot) Contents {
	f.Helper()
	c, err := Read(s)
	if err != nil {
		f.Fatal(err)
	}
	return c
}

// Fill puts something of everything into a new store, and returns all of it.
func Fill(t *testing.T, s store.Store) Contents {
	t.Helper()
	return fill(&fixture{T: t, Store: s})
}

func fill(f *fixture) (c Contents) {
	f.Helper()
	line := f.line(3)
	limited := NewRecord("p", "carol", 0)
	limited.Lifetime, limited.Scopes, limited.User.Claims = 60, []string{"read"}, map[string]string{"w": "7"}
	limited = f.create(limited)
	moved := f.rehash(f.create(NewRecord("q", "alice", 0)), 2)
	line[1].Revoked = Epoch.Add(time.Hour)
	line[1].Revision = f.commit(store.Revoke{ID: line[1].ID, Revision: line[1].Revision, At: line[1].Revoked})
	purged := f.create(NewRecord("p", "bob", 0))
	f.commit(store.Revoke{ID: purged.ID, Revision: purged.Revision, At: Epoch})
	f.commit(store.Purge{ID: purged.ID})
	voided := f.create(NewRecord("p", "dora", 0))
	f.void("dora", 0, 1)
	swept := f.create(NewRecord("p", "frank", 0))
	sweep := store.Sweep{Voided: store.Voided{Project: "p", User: "frank", Before: f.void("frank", time.Hour, 1)}, IDs: []uuid.UUID{swept.ID}, Last: true}
	swept.Revoked, swept.Revision = Epoch.Add(time.Hour), f.commit(sweep)
	f.commit(store.Block{Project: "q", User: "erin", At: Epoch, By: "carol"})
	settings := store.Settings{Enabled: new(true), Generate: "users", Users: []string{"bob"}}
	atSettings := f.commit(store.Configure{Project: "p", Settings: settings})
	uses := []store.Use{{ID: line[0].ID, At: Epoch, Address: v4}, {ID: moved.ID, At: Epoch.Add(time.Second)}}
	f.commit(store.Touch{Uses: uses})
	slices.SortFunc(uses, func(a, b store.Use) int { return slices.Compare(a.ID[:], b.ID[:]) })

	c = Contents{
		Head:     store.Head{Position: f.Position(), Number: 8},
		Records:  append(slices.Clone(line), limited, moved, voided, swept),
		Uses:     uses,
		Settings: []store.ProjectSettings{{Project: "p", Settings: settings, Revision: atSettings}},
	}
	for _, key := range f.Keys() {
		c.Head.Keys = append(c.Head.Keys, key.ID())
	}
	for _, name := range [][2]string{{"p", "alice"}, {"p", "bob"}, {"p", "carol"}, {"p", "dora"}, {"p", "frank"}, {"q", "alice"}, {"q", "erin"}} {
		c.Accounts = append(c.Accounts, store.UserAccount{Project: name[0], User: name[1], Account: f.account(name[0], name[1]), Swept: name[1] == "frank"})
	}
	return c
}

func snapshotHasAll(t *testing.T, f *fixture) {
	empty := f.contents(f.snapshot())
	diff(t, "an empty snapshot", Contents{Head: store.Head{Position: f.Position(), Keys: empty.Head.Keys, Clock: empty.Head.Clock, Store: empty.Head.Store}}, empty)
	want := fill(f)
	got := f.contents(f.snapshot())
	if got.Head.Clock.IsZero() || len(got.Head.Keys) == 0 || got.Head.Store == uuid.Nil {
		t.Errorf("the head is %+v", got.Head)
	}
	got.Head.Clock, got.Head.Store = time.Time{}, uuid.Nil
	diff(t, "the snapshot", want, got)
}

func snapshotStays(t *testing.T, f *fixture) {
	fill(f)
	for i := range 100 {
		f.create(NewRecord("r", "many", i))
	}
	s := f.snapshot()
	want := f.contents(s)
	for _, r := range want.Records {
		f.commit(store.Touch{Uses: []store.Use{{ID: r.ID, At: Epoch.Add(time.Hour)}}})
		if now := f.byID(r.ID); !now.IsRevoked() {
			moved := f.rehash(now, 9)
			f.commit(store.Revoke{ID: r.ID, Revision: moved.Revision, At: Epoch})
		}
		f.commit(store.Purge{ID: r.ID})
	}
	for _, a := range want.Accounts {
		f.commit(store.Void{Project: a.Project, User: a.User, At: Epoch})
		now := f.account(a.Project, a.User)
		f.commit(store.Block{Project: a.Project, User: a.User, Revision: now.Revision, Lift: now.IsBlocked(), At: Epoch})
	}
	for _, p := range want.Settings {
		f.commit(store.Configure{Project: p.Project, Revision: p.Revision})
	}
	f.commit(store.Configure{Project: "new", Settings: store.Settings{Generate: "admins"}})
	f.create(NewRecord("r", "new", 0))
	want.Uses = nil // which aren't of a position
	diff(t, "the snapshot", want, f.contents(s))
	s.Close()
	now := f.contents(f.snapshot())
	if len(now.Records) != 1 || len(now.Uses) != 0 {
		t.Errorf("of the store are left %+v", now)
	}
}

// Every user always has one living token, of which the account knows.
func snapshotOfOnePosition(t *testing.T, f *fixture) {
	const users = 8
	var done atomic.Bool
	var all sync.WaitGroup
	defer all.Wait()
	defer done.Store(true)
	for u := range users {
		user := fmt.Sprint("user", u)
		last := f.create(NewRecord("p", user, 0))
		all.Go(func() {
			for i := 1; !done.Load(); i++ {
				next := NewRecord("p", user, i)
				next.Parent = last.ID
				made, err := f.Commit(context.Background(), store.Create{Record: next, ParentRevision: last.Revision, ReplacesParent: true})
				if err != nil {
					t.Error(err)
					return
				}
				last = next
				last.Revision = made.Revision
			}
		})
	}
	for range 10 {
		s := f.snapshot()
		c := f.contents(s)
		at := c.Head.Position
		living := make(map[string]int)
		for _, r := range c.Records {
			if r.Revision > at.Revision {
				t.Errorf("a record of revision %d is in a snapshot of %d", r.Revision, at.Revision)
			}
			if !r.IsRevoked() {
				living[r.User.ID]++
			}
		}
		for _, a := range c.Accounts {
			if a.Living != 1 || living[a.User] != 1 {
				t.Errorf("%s has %d living tokens at %v, and %d by the account", a.User, living[a.User], at, a.Living)
			}
		}
		if len(c.Accounts) != users {
			t.Errorf("there are %d accounts, want %d", len(c.Accounts), users)
		}
		s.Close()
	}
}

func snapshotEnds(t *testing.T, f *fixture) {
	for i := range 3 {
		f.create(NewRecord("p", "alice", i))
	}
	s := f.snapshot()
	enough := errors.New("enough")
	n := 0
	if err := s.Records(func(store.Record) error { n++; return enough }); !errors.Is(err, enough) || n != 1 {
		t.Errorf("%v after %d records", err, n)
	}
	s.Close()
	s.Close()
	f.wantEnded(s)
}

func (f *fixture) wantEnded(s store.Snapshot) {
	f.Helper()
	c, err := Read(s)
	if !errors.Is(err, store.ErrUnavailable) || len(c.Records)+len(c.Uses)+len(c.Accounts)+len(c.Settings) > 0 {
		f.Errorf("a snapshot that has ended: %+v, %v", c, err)
	}
}

// RunShortSnapshots tests a store whose snapshots end after a moment, or, if it is
// by size, soon after something is written.
func RunShortSnapshots(t *testing.T, open Open, bySize bool) {
	f := &fixture{T: t, Store: open(t)}
	f.create(NewRecord("p", "alice", 0))
	s := f.snapshot()
	if bySize {
		if c := f.contents(s); len(c.Records) != 1 {
			t.Errorf("before anything is written: %+v", c)
		}
		f.create(NewRecord("p", "alice", 1))
	} else {
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
			if err := s.Uses(func(store.Use) error { return nil }); err != nil {
				break
			}
		}
	}
	f.wantEnded(s)
	f.create(NewRecord("p", "alice", 2))
	f.byID(NewRecord("p", "alice", 0).ID)
	f.snapshot().Close()
}
