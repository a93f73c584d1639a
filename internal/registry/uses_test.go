package registry

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// failingStore is a store of which some mutations fail.
type failingStore struct {
	store.Store
	mu   sync.Mutex
	fail func(store.Mutation) error
}

func (s *failingStore) Commit(ctx context.Context, m store.Mutation, lines ...[]byte) (store.Outcome, error) {
	s.mu.Lock()
	err := s.fail(m)
	s.mu.Unlock()
	if err != nil {
		return store.Outcome{}, err
	}
	return s.Store.Commit(ctx, m, lines...)
}

func failing(fail func(store.Mutation) error) with {
	return func(c *Config) { c.Store = &failingStore{Store: c.Store, fail: fail} }
}

func (f *fixture) wantLastUsed(p *Project, m made, want time.Time) {
	f.Helper()
	got, err := f.Get(p, user(m.User.ID), m.ID)
	if err != nil || !got.LastUsed.Equal(want) {
		f.Errorf("Get: last used at %v, %v; want %v", got.LastUsed, err, want)
	}
	list, _, err := f.List(p, user(m.User.ID), Listing{})
	if err != nil {
		f.Fatal(err)
	}
	for _, t := range list {
		if t.ID == m.ID && !t.LastUsed.Equal(want) {
			f.Errorf("List: last used at %v, want %v", t.LastUsed, want)
		}
	}
}

func (f *fixture) mustFlush() {
	f.Helper()
	if err := f.flush(context.Background()); err != nil {
		f.Fatal(err)
	}
}

func TestLastUseShowsAtOnce(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m, other := f.issue(p, user("bob"), 3600), f.issue(p, user("bob"), 3600)
	f.wantLastUsed(p, m, time.Time{})
	f.clock.set(epoch.Add(time.Second + 999_999))
	f.wantAuthenticated(p, m)
	f.wantLastUsed(p, m, epoch.Add(time.Second))
	f.mustFlush()
	f.wantLastUsed(p, m, epoch.Add(time.Second))
	if stored, err := f.store.LastUsed(m.ID); err != nil || !stored[0].At.Equal(epoch.Add(time.Second)) {
		t.Errorf("stored: %v, %v", stored, err)
	}
	f.clock.set(epoch.Add(time.Minute))
	f.wantAuthenticated(p, m)
	f.wantLastUsed(p, m, epoch.Add(time.Minute))
	f.wantLastUsed(p, other, time.Time{})
}

func TestRefusedUsesDontShow(t *testing.T) {
	f, p, q := newFixture(t), newProject("p"), newProject("q")
	m := f.issue(p, user("bob"), 60)
	f.wantRefused(q, m, ErrInvalidToken)
	p.rules.Load().Fixed.Enabled = new(false)
	f.wantRefused(p, m, ErrOff)
	f.clock.advance(time.Minute)
	p.rules.Load().Fixed.Enabled = new(true)
	f.wantRefused(p, m, ErrInvalidToken)
	f.wantLastUsed(p, m, time.Time{})
}

func TestLastUseSurvivesACleanStop(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m := f.issue(p, user("bob"), 3600)
	f.clock.advance(time.Second)
	f.wantAuthenticated(p, m)
	f.close()
	f.open()
	f.wantLastUsed(p, m, epoch.Add(time.Second))
}

func TestLastUseIsWrittenByItself(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	f.tend()
	m := f.issue(p, user("bob"), 3600)
	f.wantAuthenticated(p, m)
	// Within a minute, says the contract; every second, says the registry.
	for deadline := time.Now().Add(time.Minute); ; {
		stored, err := f.store.LastUsed(m.ID)
		if err != nil {
			t.Fatal(err)
		}
		if stored[0].At.Equal(epoch) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute later it is stored as %v", stored[0])
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestLastUseSurvivesAStoreThatCantBeWritten(t *testing.T) {
	var broken error = store.ErrFull
	f, p := newFixture(t, failing(func(m store.Mutation) error {
		if _, ok := m.(store.Touch); ok {
			return broken
		}
		return nil
	})), newProject("p")
	a, b := f.issue(p, user("bob"), 3600), f.issue(p, user("bob"), 3600)
	began := time.Now()
	f.wantAuthenticated(p, a)
	f.wantAuthenticated(p, b)
	for i := range 3 {
		if err := f.flush(context.Background()); !errors.Is(err, broken) {
			t.Fatalf("flush %d: %v", i, err)
		}
		f.wantLastUsed(p, a, epoch)
	}
	f.clock.advance(time.Second)
	f.wantAuthenticated(p, b)
	if err := f.flush(context.Background()); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if waited, age := time.Since(began), f.FlushAge(); age < waited {
		t.Errorf("uses have been in memory alone for %v, and it says %v", waited, age)
	}
	broken = nil
	began = time.Now()
	f.mustFlush()
	if age, passed := f.FlushAge(), time.Since(began); age > passed {
		t.Errorf("they were written %v ago, and it says %v", passed, age)
	}
	for m, want := range map[*made]time.Time{&a: epoch, &b: epoch.Add(time.Second)} {
		f.wantLastUsed(p, *m, want)
		if stored, err := f.store.LastUsed(m.ID); err != nil || !stored[0].At.Equal(want) {
			t.Errorf("stored: %v, %v, want %v", stored, err, want)
		}
	}
}

// Part of many uses may be written when the store stops taking them.
func TestManyLastUsesAreWrittenInParts(t *testing.T) {
	const n = 3*flushAtOnce + 100
	writes, broken := 0, true
	f := newFixture(t, failing(func(m store.Mutation) error {
		touch, ok := m.(store.Touch)
		if !ok {
			return nil
		}
		if writes++; writes == 2 && broken {
			return store.ErrFull
		}
		if len(touch.Uses) > flushAtOnce {
			return errors.New("more than is to be written at a time")
		}
		return nil
	}))
	for i := range n {
		f.uses.note(uuid.UUID{byte(i >> 8), byte(i), 15: byte(i)}, uint64(i+1), epoch, netip.Addr{})
	}
	f.Store.(*failingStore).Store = discard{}
	if err := f.flush(context.Background()); !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	left := 0
	for i := range n {
		if f.uses.last(uuid.UUID{byte(i >> 8), byte(i), 15: byte(i)}).At.Equal(epoch) {
			left++
		}
	}
	if left != n-flushAtOnce {
		t.Errorf("%d uses are left, want %d", left, n-flushAtOnce)
	}
	broken = false
	f.mustFlush()
	if again := f.uses.take(); len(again) != 0 {
		t.Errorf("%d uses are left", len(again))
	}
}

// discard is a store that takes everything.
type discard struct{ store.Store }

func (discard) Commit(context.Context, store.Mutation, ...[]byte) (store.Outcome, error) {
	return store.Outcome{}, nil
}

// Clocks are set back; last uses don't go with them.
func TestLastUseNeverGoesBack(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	m := f.issue(p, user("bob"), 3600)
	later := epoch.Add(time.Minute)
	f.clock.set(later)
	f.wantAuthenticated(p, m)
	f.clock.set(epoch)
	f.wantAuthenticated(p, m)
	f.wantLastUsed(p, m, later)
	f.mustFlush()
	f.wantAuthenticated(p, m)
	f.wantLastUsed(p, m, later)
	f.mustFlush()
	f.wantLastUsed(p, m, later)
	f.close()
	f.open()
	f.wantLastUsed(p, m, later)
}

// lateStore answers what was last used as of before something happened.
type lateStore struct {
	store.Store
	meanwhile func()
}

func (s *lateStore) LastUsed(ids ...uuid.UUID) ([]store.Use, error) {
	times, err := s.Store.LastUsed(ids...)
	s.meanwhile()
	return times, err
}

// A use is either in memory or in the store, whenever one looks.
func TestLastUseShowsWhileItIsWritten(t *testing.T) {
	s := &lateStore{meanwhile: func() {}}
	f, p := newFixture(t, func(c *Config) { s.Store, c.Store = c.Store, s }), newProject("p")
	m := f.issue(p, user("bob"), 3600)
	f.wantAuthenticated(p, m)
	s.meanwhile = f.mustFlush
	if got, err := f.Get(p, user("bob"), m.ID); err != nil || !got.LastUsed.Equal(epoch) {
		t.Errorf("last used at %v, %v, want %v", got.LastUsed, err, epoch)
	}
}

func TestUsesOfManyAtOnce(t *testing.T) {
	f, p := newFixture(t), newProject("p")
	tokens := make([]made, 8)
	for i := range tokens {
		tokens[i] = f.issue(p, user("bob"), 3600)
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := range 200 {
				if _, err := f.Authenticate(p, tokens[i%len(tokens)].value, netip.Addr{}); err != nil {
					t.Error(err)
				}
				f.clock.advance(time.Millisecond)
			}
		})
	}
	all.Go(func() {
		for range 20 {
			if err := f.flush(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	for _, m := range tokens {
		f.wantAuthenticated(p, m)
		f.wantLastUsed(p, m, f.clock.now())
	}
	f.mustFlush()
	for _, m := range tokens {
		f.wantLastUsed(p, m, f.clock.now())
	}
}

// What the keeper can't do is said once, however often it tries.
func TestTroubleIsSaidOnce(t *testing.T) {
	var last trouble
	broken, other := errors.New("broken"), errors.New("broken otherwise")
	for i, step := range []struct {
		err   error
		isNew bool
	}{{nil, false}, {broken, true}, {broken, false}, {other, true}, {other, false}, {nil, false}, {other, true}, {store.ErrFull, false}} {
		if got := last.isNew(step.err); got != step.isNew {
			t.Errorf("%d, %v: %v", i, step.err, got)
		}
	}
}
