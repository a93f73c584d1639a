package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

func (f *fixture) configure(p *Project, change store.Settings) Policy {
	f.Helper()
	policy, err := f.Configure(context.Background(), p, user("alice"), change)
	if err != nil {
		f.Fatal(err)
	}
	return policy
}

// openProject returns a project of which nothing is fixed.
func openProject(name string) *Project {
	return NewProject(name, Rules{Admins: map[string]bool{"alice": true}, SignIns: anySignIn})
}

func TestDefaultPolicy(t *testing.T) {
	f := newFixture(t)
	got := f.Policy(openProject("p"))
	if !got.Enabled || got.Generate != GenerateAdmins || got.Users == nil || len(got.Users) > 0 || got.MaxLifetimeDays != 365 {
		t.Errorf("%+v", got)
	}
}

func TestWhoMayConfigure(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	for name, c := range callers() {
		if c.Token != nil && p.IsAdmin(c) {
			c = f.holder(p, f.issue(p, SignedIn("", c.User, false), 60))
		}
		_, err := f.Configure(context.Background(), p, c, store.Settings{MaxLifetimeDays: 100})
		if may := p.IsAdmin(c); may != (err == nil) {
			t.Errorf("%s: %v, want allowed %v", name, err, may)
		}
		if err != nil {
			wantRefusal(t, name, err, ErrForbidden)
		}
	}
}

func TestSettingsThatCantBeSet(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	for field, wrong := range map[string][]store.Settings{
		SettingGenerate:        {{Generate: "nobody"}, {Generate: "Admins"}, {Generate: "admins "}},
		SettingUsers:           {{Users: []string{""}}, {Users: []string{"bob", "*"}}, {Users: []string{"bob", "bob"}}, {Users: []string{" bob"}}, {Users: []string{"b\nb"}}, {Users: []string{strings.Repeat("é", 257)}}, {Users: []string{"\xff"}}},
		SettingMaxLifetimeDays: {{MaxLifetimeDays: -2}, {MaxLifetimeDays: 36_526}},
	} {
		for _, change := range wrong {
			change.Enabled = new(false)
			_, err := f.Configure(context.Background(), p, user("alice"), change)
			wantRefusal(t, field, err, ErrInvalid)
			var refusal *Refusal
			if errors.As(err, &refusal) && !strings.HasPrefix(refusal.Details, field+" ") {
				t.Errorf("%+v: %s doesn't say that %s is wrong", change, refusal.Details, field)
			}
		}
	}
	if got := f.Policy(p); !got.Enabled {
		t.Error("a refused change has changed something")
	}
	for _, change := range []store.Settings{{Users: []string{strings.Repeat("é", 256)}}, {MaxLifetimeDays: 36_525}, {MaxLifetimeDays: 1}, {MaxLifetimeDays: -1}, {Generate: GenerateUsers}} {
		f.configure(p, change)
	}
}

// Settings are their project's alone.
func TestSettingsOfAnotherProject(t *testing.T) {
	f, p, q := newFixture(t), openProject("p"), openProject("q")
	bobs := f.issue(q, user("alice"), 60)
	f.configure(p, store.Settings{Enabled: new(false), Generate: GenerateEveryone, MaxLifetimeDays: 1})
	f.wantAuthenticated(q, bobs)
	if diff := cmp.Diff(f.Policy(openProject("r")).Enabled, f.Policy(q).Enabled); diff != "" {
		t.Error(diff)
	}
	f.wantNotIssued(q, user("bob"), 60, ErrForbidden)
}

// What is fixed wins over what was set before, which is there again once it
// isn't fixed any more.
func TestFixedWinsOverWhatWasSet(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	f.configure(p, store.Settings{Generate: GenerateUsers, Users: []string{"bob"}, MaxLifetimeDays: 7})
	p.rules.Load().Fixed = store.Settings{Generate: GenerateAdmins, Users: []string{}}
	if got := f.Policy(p); got.Generate != GenerateAdmins || len(got.Users) != 0 || got.MaxLifetimeDays != 7 {
		t.Errorf("fixed: %+v", got)
	}
	p.rules.Load().Fixed = store.Settings{}
	if got := f.Policy(p); got.Generate != GenerateUsers || !slices.Equal(got.Users, []string{"bob"}) {
		t.Errorf("not fixed any more: %+v", got)
	}
}

// Who is told that he may not make tokens is told who could change that.
func TestWhoCouldAllowIt(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	for want, fixed := range map[string]store.Settings{
		"An administrator of the project can allow it": {},
		"Whoever runs this gateway can allow it":       {Generate: GenerateAdmins, Users: []string{}},
	} {
		p.rules.Load().Fixed = fixed
		_, _, err := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60})
		var refusal *Refusal
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Details, want) {
			t.Errorf("%+v: %v, want %q", fixed, err, want)
		}
	}
}

func TestLastChangeWins(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	const admins, each = 16, 10
	var all sync.WaitGroup
	for a := range admins {
		all.Go(func() {
			for i := range each {
				days := a*each + i + 1
				// Each changes one setting of his own and one of everybody's.
				policy, err := f.Configure(context.Background(), p, user("alice"), store.Settings{MaxLifetimeDays: days, Users: []string{fmt.Sprint("user", days)}})
				if err != nil {
					t.Error(err)
				}
				_ = policy
			}
		})
	}
	all.Wait()
	// All or nothing: the two come from one change.
	got := f.Policy(p)
	if want := []string{fmt.Sprint("user", got.MaxLifetimeDays)}; !slices.Equal(got.Users, want) {
		t.Errorf("%d days and users %v are of two changes", got.MaxLifetimeDays, got.Users)
	}
}

// After the answer to a change not one decision is taken by what held before,
// neither about a token's use nor about a new token.
func TestNoDecisionByOldSettings(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	f.configure(p, store.Settings{Generate: GenerateEveryone})
	bobs := f.issue(p, user("bob"), 3600)
	bob := f.holder(p, bobs)
	// changed is odd while a change is under way; the first one switches off.
	var changed atomic.Int64
	var stop atomic.Bool
	var all sync.WaitGroup
	for n := range 64 {
		all.Go(func() {
			for !stop.Load() {
				before := changed.Load()
				var err error
				switch n % 3 {
				case 0:
					_, err = f.Authenticate(p, bobs.value, netip.Addr{})
				case 1:
					_, _, err = f.Issue(context.Background(), p, user("carol"), Wish{Prefix: "cat", LifetimeSeconds: 60})
				case 2:
					_, _, err = f.Issue(context.Background(), p, bob, Wish{Prefix: "cat", LifetimeSeconds: 60})
				}
				after := changed.Load()
				if err != nil && !errors.Is(err, ErrOff) {
					t.Errorf("%v", err)
				}
				// Nothing changed meanwhile, and no change was under way.
				if before != after || before%2 != 0 {
					continue
				}
				if off := before%4 == 2; off != (err != nil) {
					t.Errorf("after change %d: %v, want refused %v", before/2, err, off)
				}
			}
		})
	}
	for n := range storetest.Rounds(20, 100) {
		changed.Add(1) // odd: under way
		f.configure(p, store.Settings{Enabled: new(n%2 == 1)})
		changed.Add(1)
	}
	stop.Store(true)
	all.Wait()
}

// A change that is on its way when its token is deleted, expires, or is
// switched off with all others, comes too late.
func TestChangesByTokensThatEndedMeanwhile(t *testing.T) {
	on := store.Settings{Enabled: new(true), Generate: GenerateEveryone}
	for name, test := range map[string]struct {
		meanwhile func(*fixture, *Project, made)
		want      error
	}{
		"nothing":      {func(*fixture, *Project, made) {}, nil},
		"deleted":      {func(f *fixture, p *Project, m made) { f.delete(p, user("alice"), m.ID, false) }, ErrInvalidToken},
		"expired":      {func(f *fixture, _ *Project, _ made) { f.clock.advance(time.Minute) }, ErrInvalidToken},
		"switched off": {func(f *fixture, p *Project, _ made) { f.configure(p, store.Settings{Enabled: new(false)}) }, ErrOff},
	} {
		f, p := newFixture(t), openProject("p")
		m := f.issue(p, user("alice"), 60)
		holder := f.holder(p, m)
		test.meanwhile(f, p, m)
		before := f.Policy(p)
		_, err := f.Configure(context.Background(), p, holder, on)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		// Nor is one told what holds where nothing would change.
		if _, err := f.Configure(context.Background(), p, holder, store.Settings{}); !errors.Is(err, test.want) {
			t.Errorf("%s, and a change that is none: %v, want %v", name, err, test.want)
		}
		if after := f.Policy(p); err != nil && !reflect.DeepEqual(before, after) {
			t.Errorf("%s: %+v has become %+v", name, before, after)
		}
	}
}
