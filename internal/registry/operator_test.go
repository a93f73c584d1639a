package registry

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// operated is a fixture with the projects p and q, in which everyone may make
// tokens, and who runs it.
func operated(t *testing.T) (f *fixture, o *Operator, p, q *Project) {
	t.Helper()
	f = newFixture(t)
	rules := *newProject("").current()
	f.Adopt(map[string]Rules{"p": rules, "q": rules})
	return f, f.Operator(Origin{ClientIP: "192.0.2.7"}), f.Project("p"), f.Project("q")
}

// listed are the ids of the tokens that are listed.
func listed(t *testing.T, o *Operator, project string, l Listing) (ids []uuid.UUID) {
	t.Helper()
	for some, err := range o.Tokens(t.Context(), project, l) {
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range some {
			ids = append(ids, one.ID)
		}
	}
	return ids
}

// wantByOperator wants events of these kinds, by the operator from where he is.
func (f *fixture) wantByOperator(kinds ...string) {
	f.Helper()
	var got []string
	for _, e := range f.audit.take() {
		if e.Actor != (Actor{By: "admin"}) || e.ClientIP != "192.0.2.7" || e.Revision == 0 {
			f.Errorf("%+v", e)
		}
		got = append(got, e.Kind)
	}
	if !slices.Equal(got, kinds) {
		f.Errorf("the events are %q, want %q", got, kinds)
	}
}

func (f *fixture) wantDeleted(err error, got, want Deleted) {
	f.Helper()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		f.Errorf("deleted: %v (-want +got):\n%s", err, diff)
	}
}

func TestTheOperatorSeesEverybodysTokens(t *testing.T) {
	f, o, p, q := operated(t)
	first := f.issue(p, user("alice"), 3600)
	f.clock.advance(time.Millisecond)
	short, last := f.issue(p, user("bob"), 1), f.issue(p, user("bob"), 3600)
	elsewhere := f.issue(q, user("bob"), 3600)
	f.delete(p, user("bob"), last.ID, false)
	f.clock.advance(time.Minute)
	f.wantAuthenticated(p, first)
	for name, test := range map[string]struct {
		project string
		l       Listing
		want    []uuid.UUID
	}{
		"all":     {"p", Listing{}, []uuid.UUID{first.ID, short.ID}},
		"another": {"q", Listing{}, []uuid.UUID{elsewhere.ID}},
		"none":    {"r", Listing{}, nil},
		"bob's":   {"p", Listing{User: "bob"}, []uuid.UUID{short.ID}},
		"active":  {"p", Listing{State: Active}, []uuid.UUID{first.ID}},
		"unused":  {"p", Listing{UnusedFor: time.Second}, []uuid.UUID{short.ID}},
		"one":     {"p", Listing{Limit: 1}, []uuid.UUID{first.ID}},
		"behind":  {"p", Listing{After: first.ID}, []uuid.UUID{short.ID}},
	} {
		if got := listed(t, o, test.project, test.l); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if err := o.CheckProject("r"); !errors.Is(err, ErrUnknownProject) || !strings.Contains(err.Error(), `"q"`) {
		t.Errorf("a project that isn't there: %v", err)
	}
	// One that the configuration has no more.
	f.Adopt(map[string]Rules{"p": {}})
	if err := o.CheckProject("q"); err != nil {
		t.Errorf("a project that still has tokens: %v", err)
	}
	token, err := o.Get(elsewhere.ID)
	if why := o.WhyRefused(&token); err != nil || why != "unavailable" {
		t.Errorf("a token of it would be refused as %q, %v", why, err)
	}
	for id, want := range map[uuid.UUID]string{first.ID: "", short.ID: WhyExpired, last.ID: WhyDeleted} {
		token, err := o.Get(id)
		if why := o.WhyRefused(&token); err != nil || why != want {
			t.Errorf("%v would be refused as %q, %v; want %q", id, why, err, want)
		}
	}
	limited := token
	limited.Record = first.Record
	limited.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	if why := o.WhyRefused(&limited); why != "" {
		t.Errorf("a token that works from somewhere would be refused as %q", why)
	}
	if _, err := o.Get(uuid.New()); err != ErrNotFound {
		t.Errorf("a token that nobody knows: %v", err)
	}
}

func TestTheOperatorDeletesTokens(t *testing.T) {
	f, o, p, q := operated(t)
	short := f.issue(p, user("bob"), 1)
	f.clock.advance(time.Minute)
	one, other, gone := f.issue(p, user("bob"), 3600), f.issue(q, user("carol"), 3600), f.issue(p, user("bob"), 3600)
	successor := f.issue(p, f.holder(p, one), 3600)
	f.delete(p, user("bob"), gone.ID, false)
	f.audit.take()
	ids := []uuid.UUID{one.ID, other.ID, short.ID, gone.ID, one.ID}
	want := Deleted{Living: 2, Expired: 1, Unknown: []uuid.UUID{gone.ID}}
	got, err := o.DeleteEach(t.Context(), ids, true)
	f.wantDeleted(err, got, want)
	f.wantByOperator()
	f.wantAuthenticated(p, one)
	got, err = o.DeleteEach(t.Context(), ids, false)
	f.wantDeleted(err, got, want)
	f.wantByOperator(TokenDeleted, TokenDeleted, TokenDeleted)
	f.wantRefused(p, one, ErrInvalidToken)
	f.wantRefused(q, other, ErrInvalidToken)
	f.wantAuthenticated(p, successor)
}

func TestTheOperatorDeletesAllOfAUser(t *testing.T) {
	f, o, p, q := operated(t)
	f.issue(p, user("bob"), 1)
	f.clock.advance(time.Minute)
	one, others, elsewhere := f.issue(p, user("bob"), 3600), f.issue(p, user("alice"), 3600), f.issue(q, user("bob"), 3600)
	f.audit.take()
	for _, dryRun := range []bool{true, false} {
		got, err := o.DeleteAll(t.Context(), "p", "bob", dryRun)
		f.wantDeleted(err, got, Deleted{Living: 1, Expired: 1})
	}
	f.wantByOperator(TokensDeleted)
	f.wantRefused(p, one, ErrInvalidToken)
	f.wantAuthenticated(p, others)
	f.wantAuthenticated(q, elsewhere)
	// Nothing is left, and nothing is said of it.
	got, err := o.DeleteAll(t.Context(), "p", "bob", false)
	f.wantDeleted(err, got, Deleted{})
	f.wantByOperator()
}

// All of a project's tokens end, however many users have them, and nobody else's.
func TestTheOperatorDeletesAProject(t *testing.T) {
	f, o, p, q := operated(t)
	var all []made
	for range 3 {
		for _, who := range []string{"alice", "bob", "carol", "dan"} {
			all = append(all, f.issue(p, user(who), 3600))
		}
	}
	// One that says that it was made in the future, as a forged one may.
	f.clock.advance(time.Hour)
	all = append(all, f.issue(p, user("eve"), 7200))
	f.clock.advance(-time.Hour)
	elsewhere := f.issue(q, user("bob"), 3600)
	f.audit.take()
	for _, dryRun := range []bool{true, false} {
		got, err := o.DeleteEverything(t.Context(), "p", dryRun)
		f.wantDeleted(err, got, Deleted{Living: 13})
	}
	f.wantByOperator(TokensDeleted, TokensDeleted, TokensDeleted, TokensDeleted, TokensDeleted)
	for _, m := range all {
		f.wantRefused(p, m, ErrInvalidToken)
	}
	f.wantAuthenticated(q, elsewhere)
	f.clock.advance(time.Second)
	f.wantAuthenticated(p, f.issue(p, user("bob"), 3600))
}

func TestTheOperatorBlocksAnybody(t *testing.T) {
	f, o, p, q := operated(t)
	here, there := f.issue(p, user("alice"), 3600), f.issue(q, user("alice"), 3600) // an administrator
	f.audit.take()
	set := func(blocked, dryRun, want bool) {
		t.Helper()
		if changed, err := o.SetBlocked(t.Context(), "p", "alice", blocked, dryRun); err != nil || changed != want {
			t.Errorf("changed is %t, %v", changed, err)
		}
	}
	set(true, true, true)
	f.wantAuthenticated(p, here)
	set(true, false, true)
	set(true, false, false)
	f.wantRefused(p, here, ErrBlocked)
	f.wantAuthenticated(q, there)
	if blocked := o.Blocked("p"); len(blocked) != 1 || blocked[0].User != "alice" || blocked[0].By != operatorsName {
		t.Errorf("blocked are %v", blocked)
	}
	if token, err := o.Get(here.ID); err != nil || o.WhyRefused(&token) != WhyBlocked {
		t.Errorf("her token: %v", err)
	}
	set(false, true, true)
	set(false, false, true)
	set(false, false, false)
	f.wantAuthenticated(p, here)
	f.wantByOperator(UserBlocked, UserUnblocked)
}

func TestTheOperatorRotatesKeys(t *testing.T) {
	f, o, p, _ := operated(t)
	first := f.store.Key()
	second, err := token.NewKey(strings.Repeat("2", 32))
	if err != nil {
		t.Fatal(err)
	}
	var all []made
	for range readAtOnce + 3 {
		all = append(all, f.issue(p, user("bob"), 3600))
	}
	f.audit.take()
	if err := o.RotateKeys(t.Context(), []*token.Key{second, first}); err != nil {
		t.Fatal(err)
	}
	e := f.audit.take()[0]
	if e.Kind != KeyRotated || e.Key != second.ID().String() || !slices.Equal(e.PreviousKeys, []string{first.ID().String()}) {
		t.Errorf("the event is %s", e.Text())
	}
	f.wantAuthenticated(p, all[0])
	if err := f.moveUsed(context.Background()); err != nil {
		t.Fatal(err)
	}
	under := func() (n int) {
		for some, err := range o.UnderOtherKeys(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			n += len(some)
		}
		return n
	}
	if n := under(); n != len(all)-1 {
		t.Errorf("%d tokens are under the first key, want %d", n, len(all)-1)
	}
	for some, err := range o.UnderOtherKeys(t.Context()) {
		if len(some) == 0 || err != nil {
			t.Errorf("a page is empty, %v", err)
		}
		break // which has to be possible
	}
	if n, err := o.EndUnderOtherKeys(t.Context()); err != nil || n != len(all)-1 || under() != 0 {
		t.Errorf("%d were ended, %v, %d are left", n, err, under())
	}
	f.wantAuthenticated(p, all[0])
}

// Whoever reads the audit finds what has ended a token by its record alone.
func TestWhatHasEndedAToken(t *testing.T) {
	f, _, p, _ := operated(t)
	f.clock.advance(time.Second)
	deleted := f.issue(p, user("bob"), 3600)
	successor := f.issue(p, f.holder(p, deleted), 3600)
	f.clock.advance(time.Second)
	f.delete(p, user("bob"), deleted.ID, true)
	f.clock.advance(time.Second)
	all := f.issue(p, user("carol"), 3600)
	f.clock.advance(time.Second)
	f.wantDeletedAll(p, user("alice"), "carol", 1)
	living := f.issue(p, user("bob"), 3600)
	events := f.audit.take()
	for what, test := range map[string]struct {
		made
		kinds []string
	}{"deleted": {deleted, []string{TokenDeleted}}, "deleted with its parent": {successor, []string{TokenDeleted}}, "one of all": {all, []string{TokensDeleted}}, "living": {living, nil}} {
		for range 2 { // before its record says so by itself, and afterwards
			record, err := f.store.ByID(test.ID)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, e := range events {
				if e.Ended(&record) {
					kinds = append(kinds, e.Kind)
				}
			}
			if !slices.Equal(kinds, test.kinds) {
				t.Errorf("%s: ended by %q, want %q", what, kinds, test.kinds)
			}
			f.mustSweep()
		}
	}
	if e := (&Event{Kind: TokenDeleted}); e.Ended(&store.Record{}) {
		t.Error("nothing has ended a token that isn't deleted")
	}
}
