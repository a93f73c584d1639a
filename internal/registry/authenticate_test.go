package registry

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func TestAuthenticateReturnsWhatWasSignedIn(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	want := store.User{ID: "bob", Email: "bob@example.com", Name: "Bob B.", Claims: map[string]string{"workspace_id": "7"}}
	m := f.issue(p, SignedIn("", want, true), 60)
	r, err := f.Authenticate(p, m.value, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, r.User); d != "" {
		t.Errorf("user (-want +got):\n%s", d)
	}
	if d := cmp.Diff(m.Record, r, alike); d != "" {
		t.Errorf("the record and what Issue returned (-want +got):\n%s", d)
	}
}

func TestUnknownValueIsRefused(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	f.issue(p, user("bob"), 60)
	value, err := token.Make("cat", f.Random)
	if err != nil {
		t.Fatal(err)
	}
	f.wantRefused(p, made{value: value}, ErrInvalidToken)
	f.wantRefused(p, made{}, ErrInvalidToken)
}

// There is no leeway: the last valid millisecond is the one before the expiry.
func TestTokenExpiresAtTheMillisecond(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	f.clock.set(epoch.Add(999_999 * time.Nanosecond))
	m := f.issue(p, user("bob"), 60)
	if !m.Created.Equal(epoch) {
		t.Errorf("created at %v, want the millisecond %v", m.Created, epoch)
	}
	f.clock.set(epoch.Add(time.Minute - 1))
	f.wantAuthenticated(p, m)
	f.clock.set(epoch.Add(time.Minute))
	f.wantRefused(p, m, ErrInvalidToken)
	f.clock.set(epoch.Add(100 * 365 * day))
	f.wantRefused(p, m, ErrInvalidToken)
}

func TestTokenWithoutExpiryLives(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	p.rules.Load().Fixed.MaxLifetimeDays = Unlimited
	m := f.issue(p, user("bob"), store.Never)
	f.clock.advance(200 * 365 * day)
	f.wantAuthenticated(p, m)
}

func TestDeletedTokenIsRefused(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m, other := f.issue(p, user("bob"), 60), f.issue(p, user("bob"), 60)
	f.delete(p, user("bob"), m.ID, false)
	f.wantRefused(p, m, ErrInvalidToken)
	f.wantAuthenticated(p, other)
}

func TestTokenOfAnotherProjectIsNothing(t *testing.T) {
	f, p, q := newFixture(t), newProject("p"), newProject("q")
	m := f.issue(p, user("alice"), 60)
	f.wantRefused(q, m, ErrInvalidToken)
	q.rules.Load().Fixed.Enabled = new(false)
	f.wantRefused(q, m, ErrInvalidToken)
	f.wantAuthenticated(p, m)
}

func TestOffRefusesEveryTokenAndForgetsNone(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	valid, deleted, expired := f.issue(p, user("bob"), 60), f.issue(p, user("alice"), 60), f.issue(p, user("bob"), 1)
	f.delete(p, user("alice"), deleted.ID, false)
	f.clock.advance(time.Second)
	p.rules.Load().Fixed.Enabled = new(false)
	f.wantRefused(p, valid, ErrOff)
	// These are not said to be any good.
	f.wantRefused(p, deleted, ErrInvalidToken)
	f.wantRefused(p, expired, ErrInvalidToken)
	if got, err := f.Get(p, user("bob"), valid.ID); err != nil || !got.LastUsed.IsZero() {
		t.Errorf("a refused use shows at %v, %v", got.LastUsed, err)
	}
	p.rules.Load().Fixed.Enabled = new(true)
	f.wantAuthenticated(p, valid)
}

// A prefix is part of the value, and no policy: older tokens keep working.
func TestTokensWithAnOldPrefixKeepWorking(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	old := f.issue(p, user("bob"), 60)
	value, token, err := f.Issue(t.Context(), p, user("bob"), Wish{Prefix: "dataprep", LifetimeSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	m := made{token, value}
	if got := m.value.String(); got != "dataprep_…" {
		t.Errorf("the new token is %s", got)
	}
	f.wantAuthenticated(p, old)
	f.wantAuthenticated(p, m)
}

// recognise returns a token that hasn't ended, and isn't a use of it.
func recognise(r *Registry, p *Project, v token.Value) (store.Record, error) {
	found, err := r.find(v)
	if err == nil {
		err = checkEnded(p, &found.record, r.Now())
	}
	return found.record, err
}
