// Package storetest is what every store.Store has to pass.
package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Open returns a new, empty store that is closed when the test ends.
type Open func(testing.TB) store.Store

// Run runs the suite against the stores that open returns.
func Run(t *testing.T, open Open) {
	for _, c := range slices.Concat(tokenTests, expiryTests, accountTests, outboxTests, keyTests, snapshotTests) {
		t.Run(c.name, func(t *testing.T) { c.test(t, &fixture{T: t, Store: open(t)}) })
	}
}

type test struct {
	name string
	test func(*testing.T, *fixture)
}

var tokenTests = []test{
	{"a created record is found by hash and id", createAndFind},
	{"what limits a token is kept", limits},
	{"tokens are numbered", numbers},
	{"what isn't there is not found", notFound},
	{"an id or a hash can't be taken twice", createTwice},
	{"revoking overwrites the record and unlists it", revoke},
	{"revoking what changed meanwhile is a conflict", revokeConflict},
	{"of many who revoke one token one succeeds", revokeRace},
	{"a successor of a revoked token can't be created", createAfterRevoke},
	{"a line of renewals is revoked whole", revokeLine},
	{"a line too long to be revoked at once is not changed at all", revokeLongLine},
	{"successors are those that descend and aren't revoked", successors},
	{"lists are oldest first, by project and user", list},
	{"lists are read on from a place", listAfter},
	{"lists are read in pages", listPages},
	{"names that begin alike don't share lists", listNames},
	{"last uses are kept", lastUsed},
	{"last uses never go back, and only known tokens have one", lastUsedMonotonic},
	{"ended tokens are found and purged", purge},
	{"a line stays one line when a link is purged", purgeLink},
	{"a token with many successors is purged, however often it takes", purgeManySuccessors},
	{"settings are kept by project", configure},
	{"settings that changed meanwhile are a conflict", configureConflict},
	{"settings can't be changed by a token that has been revoked", configureByToken},
	{"a token can't be created under settings that changed meanwhile", createUnderOldSettings},
	{"revisions grow by one", revisions},
	{"a cancelled context commits nothing later", cancelled},
	{"concurrent creates are all there", concurrent},
}

// Rounds returns how often something is tried that gains by being repeated: few
// times, or many where ACCESS_TOKENS_TEST_LONG is 1.
func Rounds(few, many int) int {
	if os.Getenv("ACCESS_TOKENS_TEST_LONG") == "1" {
		return many
	}
	return few
}

// Epoch is when the records of this suite begin to be made.
var Epoch = time.UnixMilli(1_547_597_201_743).UTC()

// NewRecord returns the nth record of a user: made n seconds after Epoch, and
// never expiring.
func NewRecord(project, user string, n int) store.Record {
	at := Epoch.Add(time.Duration(n) * time.Second)
	r := store.Record{
		Project: project, User: store.User{ID: user},
		Description: fmt.Sprintf("%s's token %d", user, n),
		Created:     at, SignedIn: at, Lifetime: store.Never,
	}
	id := uuid.NewSHA1(uuid.Nil, []byte(r.Project+"/"+r.Description))
	r.ID = id
	copy(r.Hash[:], id[:])
	binary.BigEndian.PutUint64(r.Hash[24:], uint64(n))
	return r
}

type fixture struct {
	*testing.T
	store.Store
}

func (f *fixture) commit(m store.Mutation) uint64 {
	f.Helper()
	return f.outcome(m).Revision
}

func (f *fixture) outcome(m store.Mutation) store.Outcome {
	f.Helper()
	done, err := f.Commit(context.Background(), m)
	if err != nil {
		f.Fatalf("committing %T: %v", m, err)
	}
	return done
}

func (f *fixture) wantSettings(project string, want store.Settings, wantRevision uint64) {
	f.Helper()
	got, revision := f.Settings(project)
	if revision != wantRevision {
		f.Errorf("settings of %q are at revision %d, want %d", project, revision, wantRevision)
	}
	diff(f.T, "settings of "+project, want, got)
}

func (f *fixture) create(r store.Record) store.Record {
	f.Helper()
	r.Revision = f.commit(store.Create{Record: r, ParentRevision: f.parentRevision(r), AccountRevision: f.account(r.Project, r.User.ID).Revision})
	r.CreatedRevision, r.Number = r.Revision, f.byID(r.ID).Number
	return r
}

func (f *fixture) parentRevision(r store.Record) uint64 {
	f.Helper()
	if r.Parent == uuid.Nil {
		return 0
	}
	return f.byID(r.Parent).Revision
}

func (f *fixture) byID(id uuid.UUID) store.Record {
	f.Helper()
	r, err := f.ByID(id)
	if err != nil {
		f.Fatal(err)
	}
	return r
}

func (f *fixture) wantError(m store.Mutation, want error) {
	f.Helper()
	if _, err := f.Commit(context.Background(), m); !errors.Is(err, want) {
		f.Errorf("committing %T: %v, want %v", m, err, want)
	}
}

// List returns the records that a query finds, read a few at a time.
func List(t testing.TB, s store.Store, q store.Query) (records []store.Record) {
	t.Helper()
	limit := q.Limit
	for {
		q.Limit = 7
		if limit > 0 {
			q.Limit = min(q.Limit, limit-len(records))
		}
		entries, err := s.Scan(q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			some, err := s.Records(e.ID)
			if err != nil || len(some) != 1 {
				t.Fatalf("a listed token: %v, %v", some, err)
			}
			at, _ := some[0].Expires()
			if r := some[0]; r.ID != e.ID || !r.Created.Equal(e.Created) || !at.Equal(e.Expires) {
				t.Fatalf("%+v is listed as %+v", r, e)
			}
			records = append(records, some[0])
		}
		if len(entries) < q.Limit || len(records) == limit {
			return records
		}
		q.After = entries[len(entries)-1].Place
	}
}

func (f *fixture) account(project, user string) store.Account {
	f.Helper()
	a, err := f.Account(project, user)
	if err != nil {
		f.Fatal(err)
	}
	return a
}

func (f *fixture) descriptions(q store.Query) []string {
	f.Helper()
	out := []string{}
	for _, r := range List(f, f.Store, q) {
		out = append(out, r.Description)
	}
	return out
}

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func createAndFind(t *testing.T, f *fixture) {
	want := NewRecord("p", "alice", 1)
	want.User = store.User{ID: "alice", Email: "alice@example.com", Name: "Alice A.", Claims: map[string]string{"w": "7"}}
	want.Lifetime, want.SignedInAdmin = 60, true
	want = f.create(want)
	byHash, err := f.ByHash(want.Hash)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "by hash", want, byHash)
	diff(t, "by id", want, f.byID(want.ID))
}

func limits(t *testing.T, f *fixture) {
	want := NewRecord("p", "alice", 1)
	want.Scopes = []string{"read", "jobs"}
	want.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128")}
	want = f.create(want)
	diff(t, "the record", want, f.byID(want.ID))
	at := Epoch.Add(time.Hour)
	want.Revision = f.commit(store.Revoke{ID: want.ID, Revision: want.Revision, At: at})
	want.Revoked = at
	diff(t, "the revoked record", want, f.byID(want.ID))
}

// A number names a place, so that none is given twice and none left out.
func numbers(t *testing.T, f *fixture) {
	first := f.create(NewRecord("p", "alice", 1))
	f.wantError(store.Create{Record: first}, store.ErrConflict)
	f.commit(store.Revoke{ID: first.ID, Revision: first.Revision, At: Epoch})
	f.commit(store.Purge{ID: first.ID})
	var wg sync.WaitGroup
	const n = 50
	for i := range n {
		wg.Go(func() {
			if _, err := f.Commit(context.Background(), store.Create{Record: NewRecord("q", "bob", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := map[uint64]int{first.Number: 1}
	for i := range n {
		got[f.byID(NewRecord("q", "bob", i).ID).Number]++
	}
	want := map[uint64]int{}
	for i := range uint64(n + 1) {
		want[i+1] = 1
	}
	diff(t, "numbers", want, got)
}

func notFound(t *testing.T, f *fixture) {
	r := NewRecord("p", "alice", 1)
	if _, err := f.ByHash(r.Hash); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("by hash: %v", err)
	}
	if _, err := f.ByID(r.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("by id: %v", err)
	}
	f.wantError(store.Revoke{ID: r.ID, At: Epoch}, store.ErrNotFound)
	f.commit(store.Purge{ID: r.ID})
	diff(t, "list", []string{}, f.descriptions(store.Query{Project: "p"}))
}

func createTwice(t *testing.T, f *fixture) {
	r := f.create(NewRecord("p", "alice", 1))
	sameID, sameHash := NewRecord("p", "alice", 2), NewRecord("p", "alice", 3)
	sameID.ID, sameHash.Hash = r.ID, r.Hash
	f.wantError(store.Create{Record: sameID}, store.ErrConflict)
	f.wantError(store.Create{Record: sameHash}, store.ErrConflict)
	diff(t, "the first", r, f.byID(r.ID))
	diff(t, "list", []string{"alice's token 1"}, f.descriptions(store.Query{Project: "p"}))
}

func revoke(t *testing.T, f *fixture) {
	r := f.create(NewRecord("p", "alice", 1))
	f.create(NewRecord("p", "alice", 2))
	at := Epoch.Add(time.Hour)
	r.Revision = f.commit(store.Revoke{ID: r.ID, Revision: r.Revision, At: at})
	r.Revoked = at
	diff(t, "the revoked record", r, f.byID(r.ID))
	for _, user := range []string{"", "alice"} {
		diff(t, "list", []string{"alice's token 2"}, f.descriptions(store.Query{Project: "p", User: user}))
	}
}

func revokeConflict(_ *testing.T, f *fixture) {
	r := f.create(NewRecord("p", "alice", 1))
	f.wantError(store.Revoke{ID: r.ID, Revision: r.Revision + 1, At: Epoch}, store.ErrConflict)
	second := f.commit(store.Revoke{ID: r.ID, Revision: r.Revision, At: Epoch})
	f.wantError(store.Revoke{ID: r.ID, Revision: second, At: Epoch}, store.ErrConflict)
	f.wantError(store.Revoke{ID: r.ID, Revision: r.Revision, At: Epoch}, store.ErrConflict)
}

func revokeRace(t *testing.T, f *fixture) {
	for i := range 20 {
		revokeByMany(t, f, f.create(NewRecord("p", "alice", i)))
	}
}

func revokeByMany(t *testing.T, f *fixture, r store.Record) {
	results := make(chan error)
	const n = 16
	for range n {
		go func() {
			_, err := f.Commit(context.Background(), store.Revoke{ID: r.ID, Revision: r.Revision, At: Epoch})
			// Who is told of a conflict reads again, and has to see it.
			if now, errNow := f.ByID(r.ID); errNow != nil || !now.IsRevoked() {
				t.Errorf("after %v the record is %+v, %v", err, now, errNow)
			}
			results <- err
		}()
	}
	won := 0
	for range n {
		switch err := <-results; {
		case err == nil:
			won++
		case !errors.Is(err, store.ErrConflict):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d revocations of one token succeeded", won)
	}
}

func createAfterRevoke(t *testing.T, f *fixture) {
	parent := f.create(NewRecord("p", "alice", 1))
	child := NewRecord("p", "alice", 2)
	child.Parent = parent.ID
	revoked := f.commit(store.Revoke{ID: parent.ID, Revision: parent.Revision, At: Epoch})
	f.wantError(store.Create{Record: child, ParentRevision: parent.Revision}, store.ErrConflict)
	f.wantError(store.Create{Record: child, ParentRevision: revoked}, store.ErrConflict)
	child.Parent = uuid.UUID{1}
	f.wantError(store.Create{Record: child, ParentRevision: parent.Revision}, store.ErrConflict)
	diff(t, "list", []string{}, f.descriptions(store.Query{Project: "p"}))
}

// line creates tokens of which each renews the one before.
func (f *fixture) line(n int) []store.Record {
	f.Helper()
	var line []store.Record
	for i := range n {
		r := NewRecord("p", "alice", i)
		if i > 0 {
			r.Parent = line[i-1].ID
		}
		line = append(line, f.create(r))
	}
	return line
}

func revokeLine(t *testing.T, f *fixture) {
	line := f.line(4)
	branch := NewRecord("p", "alice", 10)
	branch.Parent = line[1].ID
	branch = f.create(branch)
	// One link is revoked alone; that doesn't cut the line.
	f.commit(store.Revoke{ID: line[2].ID, Revision: line[2].Revision, At: Epoch.Add(time.Minute)})
	f.commit(store.Revoke{ID: line[1].ID, Revision: line[1].Revision, At: Epoch.Add(time.Hour), Successors: true})
	diff(t, "list", []string{"alice's token 0"}, f.descriptions(store.Query{Project: "p"}))
	if at := f.byID(line[2].ID).Revoked; !at.Equal(Epoch.Add(time.Minute)) {
		t.Errorf("a link revoked before is said to be revoked at %v", at)
	}
	for _, r := range []store.Record{line[1], line[3], branch} {
		if at := f.byID(r.ID).Revoked; !at.Equal(Epoch.Add(time.Hour)) {
			t.Errorf("%s: revoked at %v", r.Description, at)
		}
	}
}

// revokeLongLine holds for stores that can revoke the line at once, too.
func revokeLongLine(t *testing.T, f *fixture) {
	line := f.line(120)
	root := line[0]
	m := store.Revoke{ID: root.ID, Revision: root.Revision, At: Epoch, Successors: true}
	_, err := f.Commit(context.Background(), m)
	if errors.Is(err, store.ErrTooLarge) {
		for _, r := range line {
			diff(t, "a token of a line that was not revoked", r, f.byID(r.ID))
		}
		for _, r := range line[1:] {
			f.commit(store.Revoke{ID: r.ID, Revision: r.Revision, At: Epoch})
		}
		f.commit(m)
	} else if err != nil {
		t.Fatal(err)
	}
	diff(t, "list", []string{}, f.descriptions(store.Query{Project: "p"}))
}

func successors(t *testing.T, f *fixture) {
	line := f.line(4)
	branch := NewRecord("p", "alice", 10)
	branch.Parent = line[1].ID
	branch = f.create(branch)
	f.create(NewRecord("p", "alice", 11))
	of := func(r store.Record) []uuid.UUID {
		t.Helper()
		ids, err := f.Successors(r.ID)
		if err != nil {
			t.Fatal(err)
		}
		return append([]uuid.UUID{}, ids...)
	}
	sorted := func(ids []uuid.UUID) []uuid.UUID {
		slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
		return ids
	}
	all := of(line[0])
	if slices.Index(all, line[1].ID) != 0 || slices.Index(all, line[2].ID) > slices.Index(all, line[3].ID) {
		t.Errorf("a successor comes before what it renews: %v", all)
	}
	diff(t, "of the first", sorted([]uuid.UUID{line[1].ID, line[2].ID, line[3].ID, branch.ID}), sorted(all))
	diff(t, "of the last", []uuid.UUID{}, of(line[3]))
	diff(t, "of an unknown token", []uuid.UUID{}, of(NewRecord("p", "alice", 12)))

	f.commit(store.Revoke{ID: line[2].ID, Revision: line[2].Revision, At: Epoch})
	diff(t, "past one that is revoked", sorted([]uuid.UUID{line[3].ID, branch.ID}), sorted(of(line[1])))
}

func list(t *testing.T, f *fixture) {
	for _, n := range []int{3, 1, 2} {
		f.create(NewRecord("p", "alice", n))
	}
	f.create(NewRecord("p", "bob", 0))
	f.create(NewRecord("q", "alice", 9))

	for _, c := range []struct {
		query store.Query
		want  []string
	}{
		{store.Query{Project: "p", User: "alice"}, []string{"alice's token 1", "alice's token 2", "alice's token 3"}},
		{store.Query{Project: "p"}, []string{"bob's token 0", "alice's token 1", "alice's token 2", "alice's token 3"}},
		{store.Query{Project: "p", User: "alice", Limit: 2}, []string{"alice's token 1", "alice's token 2"}},
		{store.Query{Project: "p", User: "alice", Descending: true}, []string{"alice's token 3", "alice's token 2", "alice's token 1"}},
		{store.Query{Project: "p", Descending: true, Limit: 3}, []string{"alice's token 3", "alice's token 2", "alice's token 1"}},
		{store.Query{Project: "q"}, []string{"alice's token 9"}},
		{store.Query{Project: "r"}, []string{}},
		{store.Query{Project: "r", Descending: true}, []string{}},
	} {
		diff(t, fmt.Sprintf("%+v", c.query), c.want, f.descriptions(c.query))
	}
}

// Places are kept between pages, whatever is made and revoked meanwhile.
func listAfter(t *testing.T, f *fixture) {
	var all []store.Record
	for n := range 5 {
		all = append(all, f.create(NewRecord("p", "alice", n)))
	}
	for _, descending := range []bool{false, true} {
		for i, r := range all {
			q := store.Query{Project: "p", User: "alice", After: store.Place{Created: r.Created, ID: r.ID}, Descending: descending}
			want := []string{}
			for j := range all {
				if !descending && j > i {
					want = append(want, all[j].Description)
				}
				if descending && j < i {
					want = append([]string{all[j].Description}, want...)
				}
			}
			diff(t, fmt.Sprintf("after %d, descending %v", i, descending), want, f.descriptions(q))
		}
	}
	gone := all[2]
	f.commit(store.Revoke{ID: gone.ID, Revision: gone.Revision, At: Epoch})
	q := store.Query{Project: "p", After: store.Place{Created: gone.Created, ID: gone.ID}}
	diff(t, "after one that is gone", []string{all[3].Description, all[4].Description}, f.descriptions(q))
	q.Descending = true
	diff(t, "before one that is gone", []string{all[1].Description, all[0].Description}, f.descriptions(q))
	// Tokens of one moment have an order, too.
	var ids []uuid.UUID
	for n := range 20 {
		r := NewRecord("q", "bob", n)
		r.Created = Epoch
		ids = append(ids, f.create(r).ID)
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	for _, descending := range []bool{false, true} {
		var got []uuid.UUID
		for _, r := range List(t, f.Store, store.Query{Project: "q", Descending: descending}) {
			got = append(got, r.ID)
		}
		diff(t, fmt.Sprintf("tokens of one moment, descending %v", descending), ids, got)
		slices.Reverse(ids)
	}
}

// A page is never larger than it may be.
func listPages(t *testing.T, f *fixture) {
	const n = store.MaxScan + 1
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := f.Commit(context.Background(), store.Create{Record: NewRecord("p", "alice", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, limit := range []int{0, n} {
		entries, err := f.Scan(store.Query{Project: "p", Limit: limit})
		if err != nil || len(entries) != store.MaxScan {
			t.Errorf("%d entries, %v", len(entries), err)
		}
	}
	if got := List(t, f.Store, store.Query{Project: "p"}); len(got) != n {
		t.Errorf("%d tokens are listed, want %d", len(got), n)
	}
}

func listNames(t *testing.T, f *fixture) {
	for _, name := range []struct{ project, user string }{{"p", "a"}, {"p", "ab"}, {"pa", "b"}, {"p", "\x00"}, {"p", "a\x00\x00"}} {
		f.create(NewRecord(name.project, name.user, 1))
	}
	diff(t, "user a", []string{"a's token 1"}, f.descriptions(store.Query{Project: "p", User: "a"}))
	diff(t, "project pa", []string{"b's token 1"}, f.descriptions(store.Query{Project: "pa"}))
}

var v4, v6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")

func lastUsed(t *testing.T, f *fixture) {
	a, b, c := f.create(NewRecord("p", "alice", 1)), f.create(NewRecord("p", "alice", 2)), f.create(NewRecord("p", "alice", 3))
	f.commit(store.Touch{Uses: []store.Use{{ID: a.ID, At: Epoch, Address: v4}, {ID: c.ID, At: Epoch.Add(time.Minute)}}})
	f.commit(store.Touch{Uses: []store.Use{{ID: a.ID, At: Epoch.Add(time.Hour), Address: v6}}})
	got, err := f.LastUsed(a.ID, b.ID, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "last uses", []store.Use{{ID: a.ID, At: Epoch.Add(time.Hour), Address: v6}, {ID: b.ID}, {ID: c.ID, At: Epoch.Add(time.Minute)}}, got)
}

func lastUsedMonotonic(t *testing.T, f *fixture) {
	r, unknown := f.create(NewRecord("p", "alice", 1)), NewRecord("p", "alice", 2)
	// The address is that of the last use, and of no other.
	used := func(at time.Time, from netip.Addr) {
		f.commit(store.Touch{Uses: []store.Use{{ID: r.ID, At: at, Address: from}, {ID: unknown.ID, At: at, Address: from}}})
	}
	used(Epoch.Add(time.Hour), v6)
	used(Epoch.Add(time.Minute), v4)
	got, err := f.LastUsed(r.ID, unknown.ID)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "last uses", []store.Use{{ID: r.ID, At: Epoch.Add(time.Hour), Address: v6}, {ID: unknown.ID}}, got)
	// Made under that id only now, the token was never used.
	f.create(unknown)
	if got, err := f.LastUsed(unknown.ID); err != nil || !got[0].At.IsZero() {
		t.Errorf("a new token was used at %v, %v", got, err)
	}
}

func purge(t *testing.T, f *fixture) {
	short, long, gone := NewRecord("p", "alice", 0), NewRecord("p", "alice", 1), NewRecord("p", "alice", 2)
	short.Lifetime, long.Lifetime, gone.Lifetime = 60, 3600, 30
	short, long, gone = f.create(short), f.create(long), f.create(gone)
	f.create(NewRecord("p", "alice", 3)) // never expires
	f.commit(store.Revoke{ID: gone.ID, Revision: gone.Revision, At: Epoch.Add(10 * time.Second)})
	f.commit(store.Touch{Uses: []store.Use{{ID: short.ID, At: Epoch}}})

	ended := func(expired, revoked time.Duration) []uuid.UUID {
		t.Helper()
		ids, err := f.Ended(Epoch.Add(expired), Epoch.Add(revoked), 100)
		if err != nil {
			t.Fatal(err)
		}
		return append([]uuid.UUID{}, ids...)
	}
	diff(t, "too early", []uuid.UUID{}, ended(time.Minute, 10*time.Second))
	diff(t, "one expired", []uuid.UUID{short.ID}, ended(time.Minute+time.Millisecond, 0))
	diff(t, "one revoked", []uuid.UUID{gone.ID}, ended(0, time.Hour))
	diff(t, "all", []uuid.UUID{short.ID, long.ID, gone.ID}, ended(2*time.Hour, time.Hour))
	if ids, err := f.Ended(Epoch.Add(time.Hour), Epoch.Add(time.Hour), 1); err != nil || len(ids) != 1 {
		t.Errorf("at most one: %v, %v", ids, err)
	}

	for _, id := range []uuid.UUID{short.ID, gone.ID} {
		f.commit(store.Purge{ID: id})
		if _, err := f.ByID(id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a purged token by id: %v", err)
		}
	}
	for _, r := range []store.Record{short, gone} {
		if _, err := f.ByHash(r.Hash); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a purged token by hash: %v", err)
		}
	}
	diff(t, "what is left to purge", []uuid.UUID{long.ID}, ended(2*time.Hour, time.Hour))
	diff(t, "list", []string{"alice's token 1", "alice's token 3"}, f.descriptions(store.Query{Project: "p"}))
	if used, err := f.LastUsed(short.ID); err != nil || !used[0].At.IsZero() {
		t.Errorf("a purged token's last use: %v, %v", used, err)
	}
}

func purgeLink(t *testing.T, f *fixture) {
	line := f.line(5)
	f.commit(store.Purge{ID: line[2].ID})
	f.commit(store.Purge{ID: line[1].ID})
	if parent := f.byID(line[3].ID).Parent; parent != line[0].ID {
		t.Errorf("the parent is %v, want the nearest that is left, %v", parent, line[0].ID)
	}
	f.commit(store.Revoke{ID: line[0].ID, Revision: line[0].Revision, At: Epoch, Successors: true})
	diff(t, "list", []string{}, f.descriptions(store.Query{Project: "p"}))

	f.commit(store.Purge{ID: line[0].ID})
	if parent := f.byID(line[3].ID).Parent; parent != uuid.Nil {
		t.Errorf("the first that is left has a parent, %v", parent)
	}
}

func purgeManySuccessors(t *testing.T, f *fixture) {
	const many = 100
	line := f.line(2)
	for i := range many {
		child := NewRecord("p", "bob", i)
		child.Parent = line[1].ID
		f.create(child)
	}
	gone := false
	for range many + 1 {
		f.commit(store.Purge{ID: line[1].ID})
		// At no time is a link of the line missing.
		if ids, err := f.Successors(line[0].ID); err != nil || len(ids) < many {
			t.Fatalf("%d successors, %v", len(ids), err)
		}
		if _, err := f.ByID(line[1].ID); errors.Is(err, store.ErrNotFound) {
			gone = true
			break
		}
	}
	if !gone {
		t.Fatal("the token is still there")
	}
	diff(t, "list", []string{"alice's token 0"}, f.descriptions(store.Query{Project: "p", User: "alice"}))
	if ids, err := f.Successors(line[0].ID); err != nil || len(ids) != many {
		t.Errorf("%d successors, %v, want %d", len(ids), err, many)
	}
	for i := range many {
		if parent := f.byID(NewRecord("p", "bob", i).ID).Parent; parent != line[0].ID {
			t.Fatalf("the parent is %v", parent)
		}
	}
}

func configure(_ *testing.T, f *fixture) {
	f.wantSettings("p", store.Settings{}, 0)
	first := store.Settings{Enabled: new(false), Generate: "users", Users: []string{"bob", "carol"}, MaxLifetimeDays: -1}
	at := f.commit(store.Configure{Project: "p", Settings: first})
	f.wantSettings("p", first, at)
	f.wantSettings("", store.Settings{}, 0)
	f.wantSettings("pp", store.Settings{}, 0)

	// What isn't set is set no more.
	second := store.Settings{Users: []string{}}
	atSecond := f.commit(store.Configure{Project: "p", Settings: second, Revision: at})
	atOther := f.commit(store.Configure{Project: "pp", Settings: first})
	f.wantSettings("p", second, atSecond)
	f.wantSettings("pp", first, atOther)
}

func configureConflict(_ *testing.T, f *fixture) {
	on, off := store.Settings{Enabled: new(true)}, store.Settings{Enabled: new(false)}
	f.wantError(store.Configure{Project: "p", Settings: off, Revision: 1}, store.ErrConflict)
	f.wantSettings("p", store.Settings{}, 0)
	at := f.commit(store.Configure{Project: "p", Settings: off})
	for _, revision := range []uint64{0, at - 1, at + 1} {
		f.wantError(store.Configure{Project: "p", Settings: on, Revision: revision}, store.ErrConflict)
	}
	f.wantSettings("p", off, at)
}

func configureByToken(_ *testing.T, f *fixture) {
	token := f.create(NewRecord("p", "alice", 1))
	on, off := store.Settings{Enabled: new(true)}, store.Settings{Enabled: new(false)}
	at := f.commit(store.Configure{Project: "p", Settings: off, Token: token.ID, TokenRevision: token.Revision})
	revoked := f.commit(store.Revoke{ID: token.ID, Revision: token.Revision, At: Epoch})
	f.wantError(store.Configure{Project: "p", Settings: on, Revision: at, Token: token.ID, TokenRevision: token.Revision}, store.ErrConflict)
	f.wantError(store.Configure{Project: "p", Settings: on, Revision: at, Token: NewRecord("p", "bob", 1).ID, TokenRevision: revoked}, store.ErrConflict)
	f.wantSettings("p", off, at)
}

func createUnderOldSettings(_ *testing.T, f *fixture) {
	r := NewRecord("p", "alice", 1)
	f.wantError(store.Create{Record: r, SettingsRevision: 1}, store.ErrConflict)
	at := f.commit(store.Configure{Project: "p", Settings: store.Settings{Generate: "admins"}})
	f.wantError(store.Create{Record: r}, store.ErrConflict)
	again := f.commit(store.Configure{Project: "p", Settings: store.Settings{Generate: "admins"}, Revision: at})
	f.wantError(store.Create{Record: r, SettingsRevision: at}, store.ErrConflict)
	if _, err := f.ByID(r.ID); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("the token is there: %v", err)
	}
	f.commit(store.Create{Record: r, SettingsRevision: again})
	// Another project's are its own.
	f.commit(store.Create{Record: NewRecord("q", "alice", 1)})
}

func revisions(t *testing.T, f *fixture) {
	a := f.create(NewRecord("p", "alice", 1))
	b := f.create(NewRecord("p", "alice", 2))
	touched := f.commit(store.Touch{Uses: []store.Use{{ID: a.ID, At: Epoch}}})
	revoked := f.commit(store.Revoke{ID: a.ID, Revision: a.Revision, At: Epoch})
	diff(t, "revisions", []uint64{a.Revision + 1, a.Revision + 2, a.Revision + 3}, []uint64{b.Revision, touched, revoked})
}

func cancelled(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Commit(ctx, store.Create{Record: NewRecord("p", "alice", 1)}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("committing: %v", err)
	}
	f.create(NewRecord("p", "alice", 2))
	diff(t, "list", []string{"alice's token 2"}, f.descriptions(store.Query{Project: "p"}))
}

func concurrent(t *testing.T, f *fixture) {
	const writers, each = 16, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				r := NewRecord("p", fmt.Sprint("user", w), i)
				if _, err := f.Commit(context.Background(), store.Create{Record: r}); err != nil {
					t.Error(err)
				}
				if got, err := f.ByHash(r.Hash); err != nil || got.ID != r.ID {
					t.Errorf("a created token isn't there: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if records := List(t, f.Store, store.Query{Project: "p"}); len(records) != writers*each {
		t.Errorf("%d tokens, want %d", len(records), writers*each)
	}
}
