package registry

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// callers are all that a policy can tell apart. In their project alice is named
// as administrator and carol under users.
func callers() map[string]Caller {
	hold := func(id string, admin bool, signedIn time.Time) Caller {
		return Holder(&store.Record{User: store.User{ID: id}, SignedIn: signedIn, SignedInAdmin: admin})
	}
	return map[string]Caller{
		"named admin, signed in":                  user("alice"),
		"named admin, called so by the sign-in":   SignedIn("", store.User{ID: "alice"}, true),
		"named admin's token":                     hold("alice", false, epoch),
		"named admin's old token":                 hold("alice", true, epoch.Add(-1000*day)),
		"sign-in's admin, signed in":              SignedIn("", store.User{ID: "dora"}, true),
		"sign-in's admin's token":                 hold("dora", true, epoch),
		"sign-in's admin's token, on the last ms": hold("dora", true, epoch.Add(-100*day+time.Millisecond)),
		"sign-in's admin's token, lapsed":         hold("dora", true, epoch.Add(-100*day)),
		"listed user, signed in":                  user("carol"),
		"listed user's token":                     hold("carol", false, epoch),
		"somebody, signed in":                     user("bob"),
		"somebody's token":                        hold("bob", false, epoch),
		"somebody named *":                        user("*"),
		"nobody":                                  user(""),
	}
}

func mayGenerate(p *Project, c Caller, at time.Time) error {
	policy := p.policy(store.Settings{}, 0)
	return policy.MayGenerate(c, at)
}

func TestWhoMayGenerate(t *testing.T) {
	admins := []string{
		"named admin, signed in", "named admin, called so by the sign-in", "named admin's token", "named admin's old token",
		"sign-in's admin, signed in", "sign-in's admin's token", "sign-in's admin's token, on the last ms",
	}
	for generate, may := range map[string][]string{
		GenerateAdmins: admins,
		GenerateUsers:  append([]string{"listed user, signed in", "listed user's token"}, admins...),
		"":             admins, // what isn't known allows nobody else
	} {
		p := newProject("p")
		p.rules.Load().Fixed.Generate, p.rules.Load().Fixed.Users, p.rules.Load().Fixed.MaxLifetimeDays = generate, []string{"carol"}, 100
		for name, c := range callers() {
			err := mayGenerate(p, c, epoch)
			if want := contains(may, name); want != (err == nil) {
				t.Errorf("generate %q, %s: %v, want allowed %v", generate, name, err, want)
			}
			if err != nil {
				wantRefusal(t, name, err, ErrForbidden)
			}
		}
	}
	p := newProject("p")
	for name, c := range callers() {
		if err := mayGenerate(p, c, epoch); err != nil {
			t.Errorf("generate everyone, %s: %v", name, err)
		}
	}
	// Users matter only where users may.
	p.rules.Load().Fixed.Generate, p.rules.Load().Fixed.Users = GenerateAdmins, []string{"carol"}
	wantRefusal(t, "a listed user where admins may", mayGenerate(p, user("carol"), epoch), ErrForbidden)
}

func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}

// A token never carries a right to administrate that only a sign-in knew.
func TestWhoMayAdministrate(t *testing.T) {
	p := newProject("p")
	p.rules.Load().Fixed.Users = []string{"carol"}
	may := []string{
		"named admin, signed in", "named admin, called so by the sign-in", "named admin's token", "named admin's old token",
		"sign-in's admin, signed in",
	}
	for name, c := range callers() {
		err := p.MayAdministrate(c)
		if want := contains(may, name); want != (err == nil) || want != p.IsAdmin(c) {
			t.Errorf("%s: %v and %v, want allowed %v", name, err, p.IsAdmin(c), want)
		}
		if err != nil {
			wantRefusal(t, name, err, ErrForbidden)
		}
	}
}

// What a sign-in said of an administrator serves renewal for as long as a token
// may live, and a year where that is without end.
func TestSignInsWordLapses(t *testing.T) {
	for _, c := range []struct {
		maxDays int
		lapse   time.Duration
	}{{1, day}, {365, 365 * day}, {MaxLifetimeDays, MaxLifetimeDays * day}, {Unlimited, 365 * day}} {
		p := newProject("p")
		p.rules.Load().Fixed.Generate, p.rules.Load().Fixed.MaxLifetimeDays = GenerateAdmins, c.maxDays
		h := Holder(&store.Record{User: store.User{ID: "dora"}, SignedIn: epoch, SignedInAdmin: true})
		if err := mayGenerate(p, h, epoch.Add(c.lapse-1)); err != nil {
			t.Errorf("%d days: just before: %v", c.maxDays, err)
		}
		if err := mayGenerate(p, h, epoch.Add(c.lapse)); !errors.Is(err, ErrForbidden) {
			t.Errorf("%d days: on the dot: %v", c.maxDays, err)
		}
	}
}

func TestLifetimes(t *testing.T) {
	f := newFixture(t)
	const hundredYears = 3_155_760_000
	for _, c := range []struct {
		maxDays int
		seconds int64
		ok      bool
	}{
		{1, 1, true},
		{1, 86_400, true},
		{1, 86_401, false},
		{1, 0, false},
		{1, -1, false},
		{1, -2, false},
		{365, 365 * 86_400, true},
		{365, 365*86_400 + 1, false},
		{MaxLifetimeDays, hundredYears, true},
		{MaxLifetimeDays, hundredYears + 1, false},
		{MaxLifetimeDays, -1, false},
		{Unlimited, 1, true},
		{Unlimited, hundredYears, true},
		{Unlimited, hundredYears + 1, false},
		{Unlimited, -1, true},
		{Unlimited, 0, false},
		{Unlimited, -2, false},
		{Unlimited, 1<<63 - 1, false},
		{Unlimited, -1 << 63, false},
	} {
		p := newProject("p")
		p.rules.Load().Fixed.MaxLifetimeDays = c.maxDays
		_, made, err := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: c.seconds})
		if !c.ok {
			wantRefusal(t, "lifetime", err, ErrInvalid)
			continue
		}
		if err != nil {
			t.Errorf("at most %d days, %d seconds: %v", c.maxDays, c.seconds, err)
			continue
		}
		at, expires := made.Expires()
		if expires != (c.seconds != store.Never) || expires && !at.Equal(made.Created.Add(time.Duration(c.seconds)*time.Second)) {
			t.Errorf("a token of %d seconds, made at %v, expires at %v, %v", c.seconds, made.Created, at, expires)
		}
	}
}
