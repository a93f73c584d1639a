package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// people are bob, who has a token, and everybody who may or may not see it.
func people(f *fixture, p *Project) (bobs made, sees, doesnt map[string]Caller) {
	f.Helper()
	bobs = f.issue(p, user("bob"), 3600)
	dora := SignedIn("", store.User{ID: "dora"}, true)
	sees = map[string]Caller{
		"its user":                   user("bob"),
		"its holder":                 f.holder(p, bobs),
		"another token of its user":  f.holder(p, f.issue(p, user("bob"), 60)),
		"a named admin":              user("alice"),
		"a named admin's token":      f.holder(p, f.issue(p, user("alice"), 60)),
		"whom a sign-in calls admin": dora,
	}
	doesnt = map[string]Caller{
		"somebody else":         user("carol"),
		"somebody else's token": f.holder(p, f.issue(p, user("carol"), 60)),
		"a sign-in's admin's token, which doesn't carry that": f.holder(p, f.issue(p, dora, 60)),
		"bob with other letters":                              user("Bob"),
		"nobody":                                              user(""),
	}
	return bobs, sees, doesnt
}

func TestWhoSeesAToken(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	bobs, sees, doesnt := people(f, p)
	for name, c := range sees {
		if got, err := f.Get(p, c, bobs.ID); err != nil || got.ID != bobs.ID {
			t.Errorf("%s gets %v, %v", name, got.ID, err)
		}
	}
	for name, c := range doesnt {
		_, err := f.Get(p, c, bobs.ID)
		_, never := f.Get(p, c, uuid.New())
		if err != ErrNotFound || never != ErrNotFound {
			t.Errorf("%s gets %v, and of a token that never was %v", name, err, never)
		}
		for _, successors := range []bool{false, true} {
			err := f.Delete(context.Background(), p, c, bobs.ID, successors)
			never := f.Delete(context.Background(), p, c, uuid.New(), successors)
			if err != ErrNotFound || never != ErrNotFound {
				t.Errorf("%s deletes: %v, and of a token that never was %v", name, err, never)
			}
		}
	}
	f.wantAuthenticated(p, bobs)
}

func TestWhoDeletesAToken(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	_, deletes, _ := people(f, p)
	for name, c := range deletes {
		m := f.issue(p, user("bob"), 3600)
		if err := f.Delete(context.Background(), p, c, m.ID, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		f.wantRefused(p, m, ErrInvalidToken)
		if _, err := f.Get(p, c, m.ID); err != ErrNotFound {
			t.Errorf("%s gets a deleted token: %v", name, err)
		}
		if err := f.Delete(context.Background(), p, c, m.ID, false); err != ErrNotFound {
			t.Errorf("%s deletes twice: %v", name, err)
		}
	}
}

func TestAdministratorsOfAProjectAreNobodyInAnother(t *testing.T) {
	f, p, q := newFixture(t), newProject("p"), newProject("q")
	m := f.issue(p, user("bob"), 60)
	for name, c := range map[string]Caller{"a named admin": user("alice"), "whom a sign-in calls admin": SignedIn("", store.User{ID: "dora"}, true), "the same name": user("bob")} {
		if _, err := f.Get(q, c, m.ID); err != ErrNotFound {
			t.Errorf("%s: %v", name, err)
		}
		if err := f.Delete(context.Background(), q, c, m.ID, true); err != ErrNotFound {
			t.Errorf("%s: %v", name, err)
		}
		for _, who := range []string{"", "bob", Everyone} {
			if list, n, err := f.List(q, c, Listing{User: who, Count: true}); err == nil && len(list)+n > 0 {
				t.Errorf("%s lists %d of %d", name, len(list), n)
			}
		}
	}
	f.wantAuthenticated(p, m)
}

func TestExpiredTokensAreSeenAndDeleted(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m := f.issue(p, user("bob"), 60)
	f.clock.advance(time.Hour)
	if got, err := f.Get(p, user("bob"), m.ID); err != nil || got.ID != m.ID {
		t.Errorf("getting it: %v", err)
	}
	if list, _, err := f.List(p, user("bob"), Listing{}); err != nil || len(list) != 1 {
		t.Errorf("listing: %d, %v", len(list), err)
	}
	f.delete(p, user("bob"), m.ID, false)
	if list, _, err := f.List(p, user("bob"), Listing{}); err != nil || len(list) != 0 {
		t.Errorf("listing once it is deleted: %d, %v", len(list), err)
	}
}

func (f *fixture) descriptions(p *Project, c Caller, l Listing) (out []string, count int) {
	f.Helper()
	list, count, err := f.List(p, c, l)
	if err != nil {
		f.Fatal(err)
	}
	out = []string{}
	for _, t := range list {
		out = append(out, t.Description)
	}
	return out, count
}

func TestListPaging(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	for _, who := range []string{"b1", "c1", "b2", "a1", "b3", "b4"} {
		id := map[byte]string{'a': "alice", 'b': "bob", 'c': "carol"}[who[0]]
		if _, _, err := f.Issue(context.Background(), p, user(id), Wish{Prefix: "cat", LifetimeSeconds: 60, Description: who}); err != nil {
			t.Fatal(err)
		}
		f.clock.advance(time.Millisecond)
	}
	bob, alice := user("bob"), user("alice")
	for _, c := range []struct {
		name    string
		caller  Caller
		listing Listing
		want    []string
		count   int
	}{
		{"one's own", bob, Listing{}, []string{"b1", "b2", "b3", "b4"}, 0},
		{"counted", bob, Listing{Count: true}, []string{"b1", "b2", "b3", "b4"}, 4},
		{"the first", bob, Listing{Limit: 1, Count: true}, []string{"b1"}, 4},
		{"the middle", bob, Listing{Offset: 1, Limit: 2, Count: true}, []string{"b2", "b3"}, 4},
		{"the end", bob, Listing{Offset: 3, Limit: 2, Count: true}, []string{"b4"}, 4},
		{"past the end", bob, Listing{Offset: 4, Limit: 2, Count: true}, []string{}, 4},
		{"far past the end", bob, Listing{Offset: 1<<31 - 1, Limit: 1<<31 - 1}, []string{}, 0},
		{"an admin's own", alice, Listing{}, []string{"a1"}, 0},
		{"an admin's of bob", alice, Listing{User: "bob", Offset: 1, Limit: 1, Count: true}, []string{"b2"}, 4},
		{"an admin's of herself", alice, Listing{User: "alice"}, []string{"a1"}, 0},
		{"an admin's of nobody", alice, Listing{User: "nobody", Count: true}, []string{}, 0},
		{"everyone's", alice, Listing{User: Everyone, Count: true}, []string{"b1", "c1", "b2", "a1", "b3", "b4"}, 6},
		{"some of everyone's", alice, Listing{User: Everyone, Offset: 2, Limit: 3}, []string{"b2", "a1", "b3"}, 0},
		{"a newcomer's", user("dora"), Listing{Count: true}, []string{}, 0},
	} {
		got, count := f.descriptions(p, c.caller, c.listing)
		if d := cmp.Diff(c.want, got); d != "" || count != c.count {
			t.Errorf("%s: count %d, want %d; (-want +got):\n%s", c.name, count, c.count, d)
		}
	}
	for name, c := range map[string]Caller{"somebody": bob, "a token of a sign-in's admin": f.holder(p, f.issue(p, SignedIn("", store.User{ID: "dora"}, true), 60))} {
		for _, who := range []string{"bob", "alice", Everyone} {
			_, _, err := f.List(p, c, Listing{User: who})
			wantRefusal(t, name, err, ErrForbidden)
		}
	}
}

func TestOthersTokensComeAThousandAtATime(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	const n = MaxPage + 1
	ids := make([]uuid.UUID, n)
	err := sideBySide(ids, func(uuid.UUID) error {
		_, _, err := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		caller  Caller
		listing Listing
		want    int
	}{
		{user("bob"), Listing{Count: true}, n},
		{user("alice"), Listing{User: "bob", Count: true}, MaxPage},
		{user("alice"), Listing{User: Everyone, Count: true}, MaxPage},
		{user("alice"), Listing{User: Everyone, Count: true, Limit: n}, MaxPage},
		{user("alice"), Listing{User: Everyone, Count: true, Offset: MaxPage}, 1},
	} {
		if list, count, err := f.List(p, c.caller, c.listing); err != nil || len(list) != c.want || count != n {
			t.Errorf("%+v: %d of %d, %v; want %d of %d", c.listing, len(list), count, err, c.want, n)
		}
	}
}

// line issues a token to bob, and renews it again and again.
func (f *fixture) line(p *Project, n int) []made {
	f.Helper()
	line := []made{f.issue(p, user("bob"), 3600)}
	for len(line) < n {
		line = append(line, f.issue(p, f.holder(p, line[len(line)-1]), 3600))
	}
	return line
}

func TestDeletingTakesTheLineIfAskedTo(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	line := f.line(p, 5)
	branch := f.issue(p, f.holder(p, line[1]), 60)
	f.delete(p, user("bob"), line[3].ID, false)
	f.wantAuthenticated(p, line[4])
	// Past a link that is deleted already.
	f.delete(p, user("bob"), line[1].ID, true)
	f.wantAuthenticated(p, line[0])
	for _, m := range append(slices.Clone(line[1:]), branch) {
		f.wantRefused(p, m, ErrInvalidToken)
	}
}

// Whoever holds a stolen token can renew it as often as it pleases: a line must
// never be too long to be deleted.
func TestDeletingTakesALineOfAnyLength(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	other := f.issue(p, user("bob"), 60)
	line := f.line(p, 300)
	root := line[0]
	_, err := f.store.Commit(context.Background(), store.Revoke{ID: root.ID, Revision: root.Revision, At: epoch, Successors: true})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Fatalf("revoking it at once: %v, want a line that is too long for that", err)
	}
	f.delete(p, user("bob"), root.ID, true)
	for _, m := range line {
		f.wantRefused(p, m, ErrInvalidToken)
	}
	f.wantAuthenticated(p, other)
	if list, _, err := f.List(p, user("bob"), Listing{}); err != nil || len(list) != 1 {
		t.Errorf("%d tokens are left, %v", len(list), err)
	}
}

// A long line whose deletion fails halfway can be deleted by the same name
// again. Its first token, which somebody wants to be rid of, goes first.
func TestDeletingALongLineCanBeTriedAgain(t *testing.T) {
	revocations := 0
	fail := true
	f, p := newFixture(t, failing(func(m store.Mutation) error {
		if r, ok := m.(store.Revoke); ok && !r.Successors && fail {
			if revocations++; revocations > 100 {
				return store.ErrFull
			}
		}
		return nil
	})), newProject("p")
	line := f.line(p, 300)
	if err := f.Delete(context.Background(), p, user("bob"), line[0].ID, true); !errors.Is(err, store.ErrFull) {
		t.Errorf("deleting on a full disk: %v", err)
	}
	f.wantRefused(p, line[0], ErrInvalidToken)
	fail = false
	f.delete(p, user("bob"), line[0].ID, true)
	for _, m := range line {
		f.wantRefused(p, m, ErrInvalidToken)
	}
}

// Whoever notices too late that a stolen token was renewed deletes its line by
// the name of the token that is deleted already.
func TestTheRestOfADeletedTokensLineCanBeDeleted(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	line := f.line(p, 3)
	f.delete(p, user("bob"), line[0].ID, false)
	if err := f.Delete(context.Background(), p, user("eve"), line[0].ID, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("somebody else: %v", err)
	}
	f.wantAuthenticated(p, line[2])
	f.delete(p, user("bob"), line[0].ID, true)
	for _, m := range line {
		f.wantRefused(p, m, ErrInvalidToken)
	}
	if err := f.Delete(context.Background(), p, user("bob"), line[0].ID, true); !errors.Is(err, ErrNotFound) {
		t.Errorf("once more: %v", err)
	}
}

func TestClosedStoreIsUnavailable(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m := f.issue(p, user("bob"), 60)
	f.close()
	_, errAuthenticate := f.Authenticate(p, m.value, netip.Addr{})
	_, _, errIssue := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60})
	_, errGet := f.Get(p, user("bob"), m.ID)
	_, _, errList := f.List(p, user("bob"), Listing{})
	errDelete := f.Delete(context.Background(), p, user("bob"), m.ID, false)
	for i, err := range []error{errAuthenticate, errIssue, errGet, errList, errDelete} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("operation %d on a closed store: %v", i, err)
		}
	}
}

func TestRefusalsSayWhatAndWhy(t *testing.T) {
	err := refuse(ErrForbidden, "Ask %s.", "alice")
	if got := fmt.Sprint(err); got != "not allowed: Ask alice." {
		t.Errorf("error %q", got)
	}
}

// A token that was deleted is recalled by whom it was shown to, and leads to
// those that descend from it.
func TestWhoRecallsATokenAndItsLine(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	root := f.issue(p, user("bob"), 3600)
	child := f.issue(p, Holder(&root.Record), 3600)
	grandchild := f.issue(p, Holder(&child.Record), 3600)
	f.delete(p, user("bob"), root.ID, false)
	for _, c := range []Caller{user("bob"), user("alice")} {
		got, err := f.Recall(p, c, root.ID)
		if err != nil || !got.IsRevoked() || got.ID != root.ID {
			t.Errorf("%s recalls %+v, %v", c.User.ID, got, err)
		}
		for most, want := range map[int][]uuid.UUID{0: {}, 1: {child.ID}, 9: {child.ID, grandchild.ID}} {
			first, all, err := f.Successors(context.Background(), p, c, root.ID, most)
			ids := []uuid.UUID{}
			for _, s := range first {
				ids = append(ids, s.ID)
			}
			if diff := cmp.Diff(want, ids); err != nil || all != 2 || diff != "" {
				t.Errorf("%s, at most %d: %d, %v (-want +got):\n%s", c.User.ID, most, all, err, diff)
			}
		}
	}
	if _, err := f.Recall(p, user("eve"), root.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("eve: %v", err)
	}
	if _, _, err := f.Successors(context.Background(), p, user("eve"), root.ID, 9); !errors.Is(err, ErrNotFound) {
		t.Errorf("eve: %v", err)
	}
}
