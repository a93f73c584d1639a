package storetest

import (
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

var accountTests = []test{
	{"living tokens are counted", living},
	{"tokens that expire leave the count", expiredLeaveTheCount},
	{"a user has no more tokens than the limit", limit},
	{"of many who create under a limit only so many succeed", limitRace},
	{"a token is replaced in one step", replace},
	{"all of a user's tokens end at once", voidAll},
	{"what was decided before a void is a conflict", voidConflict},
	{"what a revision ends is ended at that revision", voidRevision},
	{"a user's void is nobody else's", voidOthers},
	{"voided tokens are swept", sweep},
	{"a user is blocked and unblocked", block},
	{"what was decided before a block is a conflict", blockConflict},
	{"a token of a voided or blocked user changes nothing", byToken},
	{"epochs begin later ones", epochs},
}

func (f *fixture) wantLiving(project, user string, want uint64) {
	f.Helper()
	if got := f.account(project, user).Living; got != want {
		f.Errorf("%s has %d living tokens, want %d", user, got, want)
	}
}

func (f *fixture) wantRevoked(id uuid.UUID, want time.Time) {
	f.Helper()
	r := f.byID(id)
	byHash, err := f.ByHash(r.Hash)
	if err != nil || !r.Revoked.Equal(want) || !byHash.Revoked.Equal(want) {
		f.Errorf("%s is revoked at %v, and by its hash at %v, %v; want %v", r.Description, r.Revoked, byHash.Revoked, err, want)
	}
}

func living(_ *testing.T, f *fixture) {
	f.wantLiving("p", "alice", 0)
	line := f.line(4)
	f.create(NewRecord("p", "bob", 0))
	f.create(NewRecord("q", "alice", 0))
	f.wantLiving("p", "alice", 4)
	f.commit(store.Revoke{ID: line[3].ID, Revision: line[3].Revision, At: Epoch})
	f.wantLiving("p", "alice", 3)
	f.commit(store.Purge{ID: line[3].ID})
	f.wantLiving("p", "alice", 3)
	f.commit(store.Purge{ID: line[0].ID})
	f.wantLiving("p", "alice", 2)
	f.commit(store.Revoke{ID: line[1].ID, Revision: line[1].Revision, At: Epoch, Successors: true})
	f.wantLiving("p", "alice", 0)
	f.wantLiving("p", "bob", 1)
	f.wantLiving("q", "alice", 1)
}

// lived returns the nth record of alice, made then and living for so long.
func lived(n int, at, lifetime time.Duration) store.Record {
	r := NewRecord("p", "alice", n)
	r.Created, r.Lifetime = Epoch.Add(at), int64(lifetime/time.Second)
	return r
}

func (f *fixture) tryCreate(r store.Record, limit int) error {
	f.Helper()
	_, err := f.Commit(context.Background(), store.Create{Record: r, Limit: limit, AccountRevision: f.account(r.Project, r.User.ID).Revision})
	return err
}

func expiredLeaveTheCount(_ *testing.T, f *fixture) {
	var all []store.Record
	for i := range 3 {
		r := lived(i, 0, time.Duration(i+1)*time.Minute)
		f.create(r)
		all = append(all, f.byID(r.ID))
	}
	try := func(n int, at time.Duration, want error) {
		f.Helper()
		if err := f.tryCreate(lived(n, at, time.Hour), 3); !errors.Is(err, want) {
			f.Errorf("a token made after %v: %v, want %v", at, err, want)
		}
	}
	try(10, time.Minute-time.Millisecond, store.ErrLimit)
	try(11, time.Minute, nil) // one has expired
	try(12, time.Minute, store.ErrLimit)
	// What has left the count doesn't leave it again.
	f.commit(store.Revoke{ID: all[0].ID, Revision: all[0].Revision, At: Epoch})
	f.wantLiving("p", "alice", 3)
	try(13, time.Minute, store.ErrLimit)
	// What has expired and is still in the count leaves it once.
	f.commit(store.Purge{ID: all[1].ID})
	f.wantLiving("p", "alice", 2)
	try(14, 3*time.Minute, nil)
	try(15, 3*time.Minute, nil) // the third has expired
	try(16, 3*time.Minute, store.ErrLimit)
	// By an earlier clock nothing comes back.
	try(17, 0, store.ErrLimit)
}

func limit(_ *testing.T, f *fixture) {
	for i := range 2 {
		f.create(NewRecord("p", "alice", i))
	}
	for limit, want := range map[int]error{1: store.ErrLimit, 2: store.ErrLimit} {
		if err := f.tryCreate(NewRecord("p", "alice", 2), limit); !errors.Is(err, want) {
			f.Errorf("under a limit of %d: %v", limit, err)
		}
	}
	if _, err := f.ByID(NewRecord("p", "alice", 2).ID); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("the token is there: %v", err)
	}
	f.wantLiving("p", "alice", 2)
	for i, limit := range []int{3, 0} {
		if err := f.tryCreate(NewRecord("p", "alice", 2+i), limit); err != nil {
			f.Errorf("under a limit of %d: %v", limit, err)
		}
	}
	if err := f.tryCreate(NewRecord("p", "bob", 0), 1); err != nil {
		f.Errorf("another user: %v", err)
	}
	if err := f.tryCreate(NewRecord("q", "alice", 0), 1); err != nil {
		f.Errorf("another project: %v", err)
	}
}

func limitRace(t *testing.T, f *fixture) {
	const tries, limit = 40, 7
	var mu sync.Mutex
	made := 0
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() {
			_, err := f.Commit(context.Background(), store.Create{Record: NewRecord("p", "alice", i), Limit: limit})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case !errors.Is(err, store.ErrLimit):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != limit {
		t.Errorf("%d tokens were made, the limit is %d", made, limit)
	}
	f.wantLiving("p", "alice", limit)
}

func replace(t *testing.T, f *fixture) {
	parent := f.create(NewRecord("p", "alice", 0))
	child := NewRecord("p", "alice", 1)
	child.Parent = parent.ID
	m := store.Create{Record: child, ReplacesParent: true, Limit: 1, ParentRevision: parent.Revision}

	refused := m
	refused.ParentRevision++
	f.wantError(refused, store.ErrConflict)
	diff(t, "the parent, after a refusal", parent, f.byID(parent.ID))

	at := f.commit(m)
	f.wantRevoked(parent.ID, child.Created)
	if r := f.byID(parent.ID); r.Revision != at {
		t.Errorf("the parent is at revision %d, want %d", r.Revision, at)
	}
	diff(t, "list", []string{"alice's token 1"}, f.descriptions(store.Query{Project: "p"}))
	f.wantLiving("p", "alice", 1)
	f.wantError(m, store.ErrConflict)
	if ids, err := f.Successors(parent.ID); err != nil || len(ids) != 1 {
		t.Errorf("the parent's successors: %v, %v", ids, err)
	}
	// Without a parent there is nothing to replace.
	f.wantError(store.Create{Record: NewRecord("p", "alice", 2), ReplacesParent: true, Limit: 1}, store.ErrLimit)
}

func (f *fixture) void(user string, at time.Duration, ended int) uint64 {
	f.Helper()
	done := f.outcome(store.Void{Project: "p", User: user, At: Epoch.Add(at)})
	if done.Ended != ended {
		f.Errorf("%d tokens of %s ended, want %d", done.Ended, user, ended)
	}
	return done.Revision
}

func voidAll(t *testing.T, f *fixture) {
	line := f.line(3)
	deleted, expired := f.create(NewRecord("p", "alice", 10)), f.create(lived(11, 0, time.Minute))
	f.commit(store.Revoke{ID: deleted.ID, Revision: deleted.Revision, At: Epoch})
	f.void("alice", time.Hour, 3)
	for _, r := range append(line, expired) {
		f.wantRevoked(r.ID, Epoch.Add(time.Hour))
	}
	f.wantRevoked(deleted.ID, Epoch)
	for _, q := range []store.Query{{Project: "p"}, {Project: "p", User: "alice"}, {Project: "p", Descending: true}} {
		diff(t, fmt.Sprintf("%+v", q), []string{}, f.descriptions(q))
	}
	if records, err := f.Records(line[0].ID, line[1].ID); err != nil || len(records) != 0 {
		t.Errorf("records of voided tokens: %v, %v", records, err)
	}
	if ids, err := f.Successors(line[0].ID); err != nil || len(ids) != 0 {
		t.Errorf("successors that are voided: %v, %v", ids, err)
	}
	f.wantLiving("p", "alice", 0)
	f.void("alice", time.Hour, 0)
	f.void("nobody", time.Hour, 0)

	next := f.create(NewRecord("p", "alice", 20))
	f.wantRevoked(next.ID, time.Time{})
	diff(t, "list", []string{"alice's token 20"}, f.descriptions(store.Query{Project: "p", User: "alice"}))
	f.wantLiving("p", "alice", 1)
	// Those that a void ended leave no trace in the count later, either.
	f.commit(store.Revoke{ID: line[0].ID, Revision: line[0].Revision, At: Epoch})
	f.commit(store.Purge{ID: line[1].ID})
	f.wantLiving("p", "alice", 1)
}

func voidConflict(_ *testing.T, f *fixture) {
	parent := f.create(NewRecord("p", "alice", 0))
	child, other := NewRecord("p", "alice", 1), NewRecord("p", "alice", 2)
	child.Parent = parent.ID
	at := f.void("alice", 0, 1)
	f.wantError(store.Create{Record: other}, store.ErrConflict)
	f.wantError(store.Create{Record: child, ParentRevision: parent.Revision}, store.ErrConflict)
	// A voided token has no successor, though its record is as it was.
	f.wantError(store.Create{Record: child, ParentRevision: parent.Revision, AccountRevision: at}, store.ErrConflict)
	f.commit(store.Create{Record: other, AccountRevision: at})
	f.wantLiving("p", "alice", 1)
}

func voidOthers(t *testing.T, f *fixture) {
	f.create(NewRecord("p", "alice", 0))
	others := []store.Record{f.create(NewRecord("p", "alic", 0)), f.create(NewRecord("p", "alicea", 0)), f.create(NewRecord("q", "alice", 0))}
	f.void("alice", 0, 1)
	for _, r := range others {
		f.wantRevoked(r.ID, time.Time{})
	}
	diff(t, "list", []string{"alic's token 0", "alicea's token 0"}, f.descriptions(store.Query{Project: "p"}))
}

func sweep(t *testing.T, f *fixture) {
	var made []store.Record
	for i := range 30 {
		made = append(made, f.create(NewRecord("p", "alice", i)))
	}
	at := f.void("alice", time.Hour, len(made))
	next := f.create(NewRecord("p", "alice", 100))
	v := store.Voided{Project: "p", User: "alice", Before: at}
	diff(t, "voids", []store.Voided{v}, f.Voids())

	f.wantError(store.Sweep{Voided: store.Voided{Project: "p", User: "alice", Before: at - 1}, Last: true}, store.ErrConflict)
	f.wantError(store.Sweep{Voided: store.Voided{Project: "p", User: "bob"}, Last: true}, store.ErrConflict)
	f.commit(store.Purge{ID: made[29].ID})
	swept := 0
	for {
		ids, err := f.VoidedTokens(v, 4)
		if err != nil || len(ids) > 4 || slices.Contains(ids, next.ID) {
			t.Fatalf("voided tokens: %v, %v", ids, err)
		}
		if len(ids) == 0 {
			break
		}
		swept += len(ids)
		// What isn't voided, or not there, is passed over.
		f.commit(store.Sweep{Voided: v, IDs: append(ids, next.ID, made[29].ID)})
	}
	if swept != 29 {
		t.Errorf("%d tokens were swept, want 29", swept)
	}
	f.commit(store.Sweep{Voided: v, Last: true})
	if left := f.Voids(); len(left) != 0 {
		t.Errorf("voids: %v", left)
	}
	f.wantError(store.Sweep{Voided: v, Last: true}, store.ErrConflict)
	for _, r := range made[:29] {
		f.wantRevoked(r.ID, Epoch.Add(time.Hour))
	}
	f.wantRevoked(next.ID, time.Time{})
	f.wantLiving("p", "alice", 1)
	diff(t, "list", []string{"alice's token 100"}, f.descriptions(store.Query{Project: "p"}))
	ended, err := f.Ended(Epoch, Epoch.Add(2*time.Hour), 100)
	if err != nil || len(ended) != 29 {
		t.Errorf("%d tokens wait to be purged, %v, want 29", len(ended), err)
	}
	if a := f.account("p", "alice"); a.Void != at || a.Revision != at {
		t.Errorf("the account is %+v, want it at %d", a, at)
	}
}

func block(t *testing.T, f *fixture) {
	token := f.create(NewRecord("p", "alice", 0))
	m := store.Block{Project: "p", User: "alice", At: Epoch, By: "carol"}
	wantBlocked := func(want ...store.BlockedUser) {
		t.Helper()
		diff(t, "blocked", append([]store.BlockedUser{}, want...), f.Blocked("p"))
		if f.IsBlocked("p", "alice") != slices.ContainsFunc(want, func(b store.BlockedUser) bool { return b.User == "alice" }) {
			t.Errorf("IsBlocked says otherwise than %v", want)
		}
	}
	wantBlocked()
	at := f.commit(m)
	alice := store.BlockedUser{User: "alice", At: Epoch, By: "carol"}
	wantBlocked(alice)
	if a := f.account("p", "alice"); a.Revision != at || !a.IsBlocked() || a.BlockedBy != "carol" {
		t.Errorf("the account is %+v", a)
	}
	if f.IsBlocked("q", "alice") || f.IsBlocked("p", "alic") || len(f.Blocked("q")) > 0 {
		t.Error("somebody else is blocked")
	}
	f.commit(store.Block{Project: "p", User: "aaron", At: Epoch.Add(time.Minute), By: "alice"})
	wantBlocked(store.BlockedUser{User: "aaron", At: Epoch.Add(time.Minute), By: "alice"}, alice)

	// The tokens are as they were.
	diff(t, "a blocked user's token", token, f.byID(token.ID))
	f.wantLiving("p", "alice", 1)
	f.commit(store.Revoke{ID: token.ID, Revision: token.Revision, At: Epoch})

	f.void("alice", 0, 0)
	wantBlocked(store.BlockedUser{User: "aaron", At: Epoch.Add(time.Minute), By: "alice"}, alice)
	v := f.Voids()[0]
	f.commit(store.Sweep{Voided: v, Last: true})
	wantBlocked(store.BlockedUser{User: "aaron", At: Epoch.Add(time.Minute), By: "alice"}, alice)

	m.Lift, m.Revision = true, f.account("p", "alice").Revision
	f.commit(m)
	wantBlocked(store.BlockedUser{User: "aaron", At: Epoch.Add(time.Minute), By: "alice"})
	if a := f.account("p", "alice"); a.IsBlocked() || a.BlockedBy != "" {
		t.Errorf("the account is %+v", a)
	}
}

func blockConflict(t *testing.T, f *fixture) {
	m := store.Block{Project: "p", User: "alice", At: Epoch, By: "carol"}
	at := f.commit(m)
	f.wantError(m, store.ErrConflict)
	f.wantError(store.Create{Record: NewRecord("p", "alice", 0)}, store.ErrConflict)
	m.Lift, m.Revision = true, at
	again := f.commit(m)
	f.wantError(m, store.ErrConflict)
	f.wantError(store.Create{Record: NewRecord("p", "alice", 0)}, store.ErrConflict)
	f.wantError(store.Create{Record: NewRecord("p", "alice", 0), AccountRevision: at}, store.ErrConflict)
	f.commit(store.Create{Record: NewRecord("p", "alice", 0), AccountRevision: again})
	diff(t, "list", []string{"alice's token 0"}, f.descriptions(store.Query{Project: "p"}))
}

func byToken(_ *testing.T, f *fixture) {
	all := func(by store.Record, want error) {
		f.Helper()
		for i, m := range []store.Mutation{
			store.Configure{Project: "q", Settings: store.Settings{Generate: "admins"}, Token: by.ID, TokenRevision: by.Revision},
			store.Block{Project: "q", User: "bob", At: Epoch, Token: by.ID, TokenRevision: by.Revision},
			store.Void{Project: "q", User: "bob", At: Epoch, Token: by.ID, TokenRevision: by.Revision},
		} {
			if _, err := f.Commit(context.Background(), m); !errors.Is(err, want) {
				f.Errorf("change %d: %v, want %v", i, err, want)
			}
		}
	}
	unknown, voided, blocked := NewRecord("p", "nobody", 0), f.create(NewRecord("p", "alice", 0)), f.create(NewRecord("p", "carol", 0))
	revoked, good := f.create(NewRecord("p", "bob", 0)), f.create(NewRecord("p", "bob", 1))
	f.void("alice", 0, 1)
	f.commit(store.Block{Project: "p", User: "carol", At: Epoch})
	before := revoked
	revoked.Revision = f.commit(store.Revoke{ID: revoked.ID, Revision: revoked.Revision, At: Epoch})
	all(before, store.ErrConflict)
	all(unknown, store.ErrConflict)
	all(voided, store.ErrConflict)
	all(blocked, store.ErrConflict)
	all(revoked, store.ErrConflict)
	all(good, nil)
}

func epochs(t *testing.T, f *fixture) {
	before := f.Position()
	if before.Epoch != 1 {
		t.Errorf("a new store is in epoch %d", before.Epoch)
	}
	done := f.outcome(store.Create{Record: NewRecord("p", "alice", 0)})
	diff(t, "position", done.Position, f.Position())
	if !before.Before(done.Position) || done.Position.Before(before) || before.Before(before) {
		t.Errorf("%v comes before %v", done.Position, before)
	}
	f.wantError(store.BeginEpoch{Epoch: 1}, store.ErrConflict)
	begun := f.outcome(store.BeginEpoch{Epoch: 7})
	if begun.Epoch != 7 || begun.Revision != done.Revision+1 {
		t.Errorf("an epoch begins at %v", begun.Position)
	}
	next := f.outcome(store.Create{Record: NewRecord("p", "alice", 1)})
	if next.Epoch != 7 || next.Revision != begun.Revision+1 {
		t.Errorf("in it follows %v", next.Position)
	}
	f.wantError(store.BeginEpoch{Epoch: 7}, store.ErrConflict)
	diff(t, "position", next.Position, f.Position())
	if (store.Position{Epoch: 2, Revision: 1}).Before(store.Position{Epoch: 1, Revision: 9}) {
		t.Error("an epoch comes before an earlier one")
	}
}

// Whoever has looked a token up, and finds the store at the same revision once a
// void is acknowledged, has been told that the token is ended.
func voidRevision(t *testing.T, f *fixture) {
	for i := range Rounds(30, 150) {
		r := f.create(NewRecord("p", "alice", i))
		var done atomic.Bool
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for last := false; !last; {
					last = done.Load()
					before := f.Revision()
					found, err := f.ByHash(r.Hash)
					if err != nil {
						t.Error(err)
						return
					}
					if acknowledged := done.Load(); acknowledged && f.Revision() == before && !found.IsRevoked() {
						t.Error("a voided token was found living at the revision that ended it")
						return
					}
				}
			})
		}
		f.void("alice", 0, 1)
		done.Store(true)
		all.Wait()
		f.commit(store.Sweep{Voided: f.Voids()[0], Last: true, IDs: []uuid.UUID{r.ID}})
	}
}
