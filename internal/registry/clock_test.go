package registry

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// machine is a machine's clock that anybody can set, and the time that passes
// all the same.
type machine struct {
	wall   time.Time
	passed time.Duration
}

func (m *machine) Wall() time.Time       { return m.wall }
func (m *machine) Passed() time.Duration { return m.passed }

func (m *machine) pass(d time.Duration) {
	m.wall = m.wall.Add(d)
	m.passed += d
}

// onMachine gives a fixture the clock of its store, which takes the time from m.
func (f *fixture) onMachine(m *machine) {
	f.Helper()
	c := f.Registry.Config
	f.close()
	s, err := badgerstore.Open(f.dir, badgerstore.Options{Logger: zap.NewNop(), Time: m})
	if err != nil {
		f.Fatal(err)
	}
	f.store = s
	c.Store, c.Now, c.Certain = s, s.Clock().Now, s.Clock().Certain
	f.Registry = New(c)
	f.stop()
	f.keeper.Wait()
}

func TestExpiredStaysExpiredWhenTheClockIsSetBack(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m := &machine{wall: time.Now().Add(time.Minute)}
	f.onMachine(m)
	token := f.issue(p, user("bob"), 60)
	m.pass(time.Hour)
	f.wantInvalid(p, token.value)
	m.wall = m.wall.Add(-2 * time.Hour)
	f.wantInvalid(p, token.value)
	// The store remembers.
	f.onMachine(m)
	f.wantInvalid(p, token.value)
}

func TestNothingIsRemovedByAClockSetForward(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m := &machine{wall: time.Now().Add(time.Minute)}
	f.onMachine(m)
	token := f.issue(p, user("bob"), 60)
	m.wall = m.wall.Add(365 * day)
	f.wantInvalid(p, token.value)
	f.mustPurge()
	m.wall = m.wall.Add(-365 * day)
	if _, err := f.Authenticate(p, token.value, netip.Addr{}); err != nil {
		t.Errorf("after the clock was set right: %v", err)
	}
	m.pass(31 * day)
	f.mustPurge()
	if _, err := f.store.ByID(token.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("31 days later the record is still there: %v", err)
	}
}

func (f *fixture) wantInvalid(p *Project, v token.Value) {
	f.Helper()
	if _, err := f.Authenticate(p, v, netip.Addr{}); !errors.Is(err, ErrInvalidToken) {
		f.Errorf("at %v an expired token: %v", f.Now(), err)
	}
}
