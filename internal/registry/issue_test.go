package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func (f *fixture) wantNotIssued(p *Project, c Caller, lifetime int64, want error) {
	f.Helper()
	value, t, err := f.Issue(context.Background(), p, c, Wish{Prefix: "cat", LifetimeSeconds: lifetime})
	if !errors.Is(err, want) || !value.IsZero() || t.ID != uuid.Nil {
		f.Errorf("issued %v, %v, want %v", t.ID, err, want)
	}
}

func TestIssueRemembersWhatWasAskedFor(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	c := SignedIn("", store.User{ID: "bob", Email: "b@example.com"}, true)
	_, got, err := f.Issue(context.Background(), p, c, Wish{Prefix: "cat", LifetimeSeconds: 86_400, Description: "nightly"})
	if err != nil {
		t.Fatal(err)
	}
	want := Token{Record: store.Record{
		ID: got.ID, Hash: got.Hash, Key: f.store.Key().ID(), Project: "p", User: c.User,
		SignedIn: epoch, SignedInAdmin: true, Description: "nightly", Created: epoch, Lifetime: 86_400,
		Revision: got.Revision, CreatedRevision: got.Revision,
	}}
	if d := cmp.Diff(want, got, alike); d != "" {
		t.Errorf("token (-want +got):\n%s", d)
	}
	if stored, err := f.Get(p, c, got.ID); err != nil || !cmp.Equal(got, stored, alike) {
		t.Errorf("it is stored as %+v, %v", stored, err)
	}
}

func TestRightsAreLookedAtBeforeLifetimes(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	p.rules.Load().Fixed.Generate = GenerateAdmins
	f.wantNotIssued(p, user("bob"), 0, ErrForbidden)
	f.wantNotIssued(p, user("alice"), 0, ErrInvalid)
}

func TestRenewalInherits(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	bob := store.User{ID: "bob", Email: "bob@example.com", Name: "Bob", Claims: map[string]string{"w": "7"}}
	first := f.issue(p, SignedIn("", bob, true), 3600)
	f.clock.advance(time.Minute)
	second := f.issue(p, f.holder(p, first), 3600)
	f.clock.advance(time.Minute)
	third := f.issue(p, f.holder(p, second), 60)
	for _, c := range []struct {
		m      made
		parent uuid.UUID
		age    time.Duration
	}{{first, uuid.Nil, 0}, {second, first.ID, time.Minute}, {third, second.ID, 2 * time.Minute}} {
		r, err := f.Authenticate(p, c.m.value, netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(bob, r.User); d != "" {
			t.Errorf("user (-want +got):\n%s", d)
		}
		if r.Parent != c.parent || !r.SignedIn.Equal(epoch) || !r.SignedInAdmin || !r.Created.Equal(epoch.Add(c.age)) {
			t.Errorf("renewed as %+v", r)
		}
	}
	// The parents live on until somebody deletes them.
	f.delete(p, user("bob"), first.ID, false)
	f.wantRefused(p, first, ErrInvalidToken)
	f.wantAuthenticated(p, second)
	f.wantAuthenticated(p, third)
}

func TestSuccessorLivesNoLongerThanItsParentsLifetime(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	p.rules.Load().Fixed.MaxLifetimeDays = Unlimited
	hour, endless := f.issue(p, user("bob"), 3600), f.issue(p, user("bob"), store.Never)
	f.clock.advance(30 * time.Minute)

	// A lifetime counts from when a token is made.
	same := f.issue(p, f.holder(p, hour), 3600)
	if at, _ := same.Expires(); !at.Equal(epoch.Add(90 * time.Minute)) {
		t.Errorf("expires at %v", at)
	}
	_, _, err := f.Issue(context.Background(), p, f.holder(p, hour), Wish{Prefix: "cat", LifetimeSeconds: 3601})
	wantRefusal(t, "a second more", err, ErrForbidden)
	_, _, err = f.Issue(context.Background(), p, f.holder(p, hour), Wish{Prefix: "cat", LifetimeSeconds: store.Never})
	wantRefusal(t, "without end", err, ErrForbidden)
	short := f.issue(p, f.holder(p, same), 60)
	f.wantNotIssued(p, f.holder(p, short), 61, ErrForbidden)
	f.issue(p, f.holder(p, endless), store.Never)
	f.issue(p, f.holder(p, endless), 3_155_760_000)
	f.wantNotIssued(p, f.holder(p, endless), 0, ErrInvalid)

	// The project's maximum binds too, also one that was set later.
	p.rules.Load().Fixed.MaxLifetimeDays = 1
	f.wantNotIssued(p, f.holder(p, endless), store.Never, ErrInvalid)
	f.wantNotIssued(p, f.holder(p, endless), 86_401, ErrInvalid)
	f.issue(p, f.holder(p, endless), 86_400)
}

func TestRenewalTakesTheRightToGenerate(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m := f.issue(p, user("bob"), 3600)
	holder := f.holder(p, m)
	p.rules.Load().Fixed.Generate = GenerateAdmins
	f.wantNotIssued(p, holder, 60, ErrForbidden)
	p.rules.Load().Fixed.Generate, p.rules.Load().Fixed.Users = GenerateUsers, []string{"bob"}
	f.issue(p, holder, 60)
}

// The line of a sign-in's administrator ends one maximum after that sign-in,
// however often it was renewed since, and never administrates.
func TestSignInsAdminRenewsForOneMaximum(t *testing.T) {
	for _, maxDays := range []int{10, Unlimited} {
		f, p := newFixture(t), newProject("p")
		p.rules.Load().Fixed.Generate, p.rules.Load().Fixed.MaxLifetimeDays = GenerateAdmins, maxDays
		lapse := 10 * day
		if maxDays == Unlimited {
			lapse = 365 * day
		}
		dora := SignedIn("", store.User{ID: "dora"}, true)
		m := f.issue(p, dora, 10*86_400)
		for at := 9 * day; at < lapse; at += 9 * day {
			f.clock.set(epoch.Add(at))
			m = f.issue(p, f.holder(p, m), 10*86_400)
		}
		holder := f.holder(p, m)
		f.clock.set(epoch.Add(lapse - 1))
		f.issue(p, holder, 60)
		f.clock.set(epoch.Add(lapse))
		f.wantAuthenticated(p, m)
		f.wantNotIssued(p, holder, 60, ErrForbidden)
		if _, _, err := f.List(p, holder, Listing{User: Everyone}); !errors.Is(err, ErrForbidden) {
			t.Errorf("a token lists everyone's: %v", err)
		}
		// A new sign-in begins a new line.
		f.issue(p, dora, 60)
	}
}

func TestTokenThatEndedMeanwhileIsNotRenewed(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	deleted, expired, purged := f.issue(p, user("bob"), 3600), f.issue(p, user("bob"), 60), f.issue(p, user("bob"), 3600)
	holders := map[string]Caller{"deleted": f.holder(p, deleted), "expired": f.holder(p, expired), "purged": f.holder(p, purged)}
	f.delete(p, user("alice"), deleted.ID, false)
	if _, err := f.store.Commit(context.Background(), store.Purge{ID: purged.ID}); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(time.Minute)
	before, _, err := f.List(p, user("bob"), Listing{})
	if err != nil {
		t.Fatal(err)
	}
	for name, holder := range holders {
		value, _, err := f.Issue(context.Background(), p, holder, Wish{Prefix: "cat", LifetimeSeconds: 1})
		if !errors.Is(err, ErrInvalidToken) || !value.IsZero() {
			t.Errorf("renewing a token that was %s: %v", name, err)
		}
	}
	if after, _, err := f.List(p, user("bob"), Listing{}); err != nil || len(after) != len(before) {
		t.Errorf("%d tokens became %d, %v", len(before), len(after), err)
	}
}

// A record that changed without ending, as when its parent was purged, is read
// again and renewed.
func TestTokenThatChangedMeanwhileIsRenewed(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	first := f.issue(p, user("bob"), 3600)
	second := f.issue(p, f.holder(p, first), 3600)
	stale := f.holder(p, second)
	stale.Token.Revision--
	third := f.issue(p, stale, 60)
	if third.Parent != second.ID {
		t.Errorf("the parent is %v", third.Parent)
	}
}

func TestRandomSourceThatFails(t *testing.T) {
	// 32 bytes are the secret's, 16 the id's.
	for _, bytes := range []int{0, 1, 31, 32, 47} {
		f, p := newFixture(t, func(c *Config) { c.Random = &brokenReader{bytes} }), newProject("p")
		f.wantNotIssued(p, user("bob"), 60, store.ErrUnavailable)
		if list, _, err := f.List(p, user("bob"), Listing{}); err != nil || len(list) != 0 {
			t.Errorf("after %d random bytes: %d tokens, %v", bytes, len(list), err)
		}
	}
	f, p := newFixture(t, func(c *Config) { c.Random = &brokenReader{48} }), newProject("p")
	f.wantAuthenticated(p, f.issue(p, user("bob"), 60))
}

// zeros is a source of random bytes that is stuck.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestRandomSourceThatRepeatsItself(t *testing.T) {
	f, p := newFixture(t, func(c *Config) { c.Random = zeros{} }), newProject("p")
	m := f.issue(p, user("bob"), 60)
	f.wantNotIssued(p, user("carol"), 60, store.ErrUnavailable)
	f.wantNotIssued(p, f.holder(p, m), 60, store.ErrUnavailable)
	if got, err := f.Get(p, user("bob"), m.ID); err != nil || got.User.ID != "bob" {
		t.Errorf("the first is %+v, %v", got, err)
	}
}

// tape records what is read.
type tape struct {
	io.Reader
	read []byte
}

func (r *tape) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.read = append(r.read, b[:n]...)
	return n, err
}

// A token id is public: nothing of the secret may show in it.
func TestIDsAndSecretsShareNoRandomness(t *testing.T) {
	random := &tape{Reader: rand.Reader}
	f, p := newFixture(t, func(c *Config) { c.Random = random }), newProject("p")
	ids, values := make(map[uuid.UUID]bool), make(map[string]bool)
	for range 20 {
		random.read = nil
		m := f.issue(p, user("bob"), 60)
		if len(random.read) != 48 {
			t.Fatalf("%d random bytes were read, want 32 for the secret and 16 for the id", len(random.read))
		}
		fromID, err := uuid.NewRandomFromReader(&sliceReader{random.read[32:]})
		if err != nil || fromID != m.ID {
			t.Errorf("the id is %v, and not of the bytes after the secret's", m.ID)
		}
		if m.ID.Version() != 4 || m.ID.Variant() != uuid.RFC4122 {
			t.Errorf("the id is %v, no random UUID", m.ID)
		}
		ids[m.ID], values[m.value.Reveal()] = true, true
	}
	if len(ids) != 20 || len(values) != 20 {
		t.Errorf("%d ids and %d values of 20 tokens", len(ids), len(values))
	}
}

type sliceReader struct{ b []byte }

func (r *sliceReader) Read(b []byte) (int, error) {
	n := copy(b, r.b)
	r.b = r.b[n:]
	return n, nil
}

func TestFullStoreSaysSo(t *testing.T) {
	f, p := newFixture(t, failing(func(m store.Mutation) error {
		if _, ok := m.(store.Create); ok {
			return store.ErrFull
		}
		return nil
	})), newProject("p")
	f.wantNotIssued(p, user("bob"), 60, store.ErrFull)
}

// What people paste by mistake would be kept, for others to read.
func TestTokenInADescription(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m := f.issue(p, user("bob"), 3600)
	for _, description := range []string{m.value.Reveal(), "for " + m.value.Reveal() + "."} {
		_, _, err := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60, Description: description})
		if !errors.Is(err, ErrInvalid) || !errors.Is(err, ErrTokenInText) || strings.Contains(err.Error(), m.value.Reveal()) {
			t.Errorf("%v", err)
		}
	}
	_, err := f.Configure(context.Background(), openProject("q"), user("alice"), store.Settings{Users: []string{"bob", m.value.Reveal()}})
	wantRefusal(t, "a token as a user id", err, ErrInvalid)
	if strings.Contains(err.Error(), m.value.Reveal()) {
		t.Errorf("%v", err)
	}
	if _, _, err := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60, Description: "cat_ and the like"}); err != nil {
		t.Error(err)
	}
}
