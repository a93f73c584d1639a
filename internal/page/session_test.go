package page

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// clock is a clock that a test moves.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time          { return c.now }
func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

func begin(t *testing.T, s *Sessions, project, user string, admin bool) string {
	t.Helper()
	secret, err := s.start(project, registry.SignedIn("", store.User{ID: user}, admin))
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func opens(s *Sessions, project, secret string) bool {
	_, _, found := s.find(project, secret)
	return found
}

func TestSessionEndsWhenIdle(t *testing.T) {
	c := newClock()
	s := NewSessions(c.Now, rand.Reader)
	secret := begin(t, s, "p", "alice", false)
	for range 3 {
		c.advance(idleLimit - time.Second)
		if !opens(s, "p", secret) {
			t.Fatal("ended while in use")
		}
	}
	c.advance(idleLimit)
	if opens(s, "p", secret) || s.byID.Len() != 0 || len(s.byUser) != 0 {
		t.Error("goes on when idle")
	}
}

func TestSessionEndsWhenOld(t *testing.T) {
	c := newClock()
	s := NewSessions(c.Now, rand.Reader)
	secret := begin(t, s, "p", "alice", false)
	for elapsed := time.Duration(0); elapsed < absoluteLimit; elapsed += 10 * time.Minute {
		if !opens(s, "p", secret) {
			t.Fatalf("ended after %v", elapsed)
		}
		c.advance(10 * time.Minute)
	}
	if opens(s, "p", secret) {
		t.Error("goes on for ever")
	}
}

func TestAdminRightsLapse(t *testing.T) {
	c := newClock()
	s := NewSessions(c.Now, rand.Reader)
	admin, plain := begin(t, s, "p", "alice", true), begin(t, s, "p", "bob", false)
	c.advance(adminLimit - time.Second)
	if caller, lapsed, _ := s.find("p", admin); !caller.SignedInAdmin || lapsed {
		t.Error("lapsed too early")
	}
	c.advance(time.Second)
	if caller, lapsed, found := s.find("p", admin); caller.SignedInAdmin || !lapsed || !found {
		t.Errorf("after %v: administrator %v, lapsed %v, found %v", adminLimit, caller.SignedInAdmin, lapsed, found)
	}
	if caller, lapsed, found := s.find("p", plain); caller.SignedInAdmin || lapsed || !found {
		t.Error("what never was lapsed")
	}
}

func TestSessionIsItsProjectsAlone(t *testing.T) {
	s := NewSessions(newClock().Now, rand.Reader)
	secret := begin(t, s, "p", "alice", false)
	if opens(s, "q", secret) {
		t.Error("opens another project")
	}
	s.end("q", secret)
	if !opens(s, "p", secret) {
		t.Error("another project ended it")
	}
	s.end("p", secret)
	if opens(s, "p", secret) {
		t.Error("goes on after its end")
	}
}

func TestSessionsOfOneUserAreFew(t *testing.T) {
	s := NewSessions(newClock().Now, rand.Reader)
	others := begin(t, s, "p", "bob", false)
	var secrets []string
	for range maxSessionsOfUser + 1 {
		secrets = append(secrets, begin(t, s, "p", "alice", false))
	}
	if opens(s, "p", secrets[0]) {
		t.Error("the oldest goes on")
	}
	for _, secret := range append(secrets[1:], others) {
		if !opens(s, "p", secret) {
			t.Error("a younger one has ended")
		}
	}
}

func TestIdleSessionsAreForgotten(t *testing.T) {
	c := newClock()
	s := NewSessions(c.Now, rand.Reader)
	for _, user := range []string{"alice", "bob", "carol"} {
		begin(t, s, "p", user, false)
	}
	c.advance(idleLimit)
	begin(t, s, "p", "dora", false)
	if s.byID.Len() != 1 || len(s.byUser) != 1 {
		t.Errorf("%d sessions of %d users in memory", s.byID.Len(), len(s.byUser))
	}
}

func TestSessionWithoutRandomness(t *testing.T) {
	s := NewSessions(newClock().Now, strings.NewReader("too short"))
	if _, err := s.start("p", registry.Caller{}); err == nil {
		t.Error("a session without a secret")
	}
}

func TestFormsAreUsedOnce(t *testing.T) {
	f := newForms()
	alice, bob := sessionUser{"p", "alice"}, sessionUser{"p", "bob"}
	use := func(user sessionUser, nonce string) bool { first, _ := f.use(user, nonce); return first }
	if !use(alice, "x") || use(alice, "x") || !use(bob, "x") || !use(sessionUser{"q", "alice"}, "x") {
		t.Error("a form is its user's, and used once")
	}
	f.release(alice, "x")
	if !use(alice, "x") {
		t.Error("a form that made nothing can't be sent again")
	}
	made := uuid.New()
	f.made(alice, "x", made)
	f.made(alice, "never sent", made)
	if first, what := f.use(alice, "x"); first || what != made {
		t.Errorf("the form has made %v, want %v", what, made)
	}
	if first, what := f.use(bob, "x"); first || what != uuid.Nil {
		t.Errorf("another user's has made %v", what)
	}
	if !use(alice, "never sent") {
		t.Error("a form that wasn't sent is used")
	}
	for i := range 3 * maxFormsOfUser {
		f.use(alice, strings.Repeat("y", i))
	}
	own, _ := f.users.Peek(alice)
	if own.Len() != maxFormsOfUser || use(bob, "x") {
		t.Errorf("%d forms are remembered", own.Len())
	}
}
