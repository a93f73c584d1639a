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
	"pgregory.net/rapid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// policyModel is what a project allows, in a dozen lines. Of the people, alice
// is named as administrator, and dora's sign-in calls her one.
type policyModel struct {
	enabled  bool
	generate string
	users    []string
	days     int
}

func (m policyModel) create(user string, isAdmin bool, lifetime int64) error {
	switch {
	case !m.enabled:
		return ErrOff
	case !isAdmin && m.generate != "everyone" && (m.generate != "users" || !slices.Contains(m.users, user)):
		return ErrForbidden
	case m.days != -1 && (lifetime == -1 || lifetime > int64(m.days)*86_400):
		return ErrInvalid
	}
	return nil
}

// patch sets fields as they come: nil leaves one as it is.
func (m policyModel) patch(s store.Settings) policyModel {
	if s.Enabled != nil {
		m.enabled = *s.Enabled
	}
	if s.Generate != "" {
		m.generate = s.Generate
	}
	if s.Users != nil {
		m.users = s.Users
	}
	if s.MaxLifetimeDays != 0 {
		m.days = s.MaxLifetimeDays
	}
	return m
}

// policyComparison drives a registry and the model, which have to agree.
type policyComparison struct {
	*rapid.T
	*fixture
	p      *Project
	model  policyModel
	tokens []*modelToken
}

func (c *policyComparison) Fatalf(format string, args ...any) {
	c.T.Helper()
	c.T.Fatalf(format, args...)
}

var someSettings = rapid.Custom(func(t *rapid.T) (s store.Settings) {
	for range rapid.IntRange(0, 2).Draw(t, "fields") {
		switch rapid.IntRange(0, 3).Draw(t, "field") {
		case 0:
			s.Enabled = new(rapid.Bool().Draw(t, "enabled"))
		case 1:
			s.Generate = rapid.SampledFrom([]string{"admins", "everyone", "users"}).Draw(t, "generate")
		case 2:
			s.Users = append([]string{}, rapid.SliceOfNDistinct(names, 0, 2, rapid.ID).Draw(t, "users")...)
		case 3:
			s.MaxLifetimeDays = rapid.SampledFrom([]int{-1, 1, 30}).Draw(t, "days")
		}
	}
	return s
})

func (c *policyComparison) patchSome(*rapid.T) {
	id, change := names.Draw(c.T, "who"), someSettings.Draw(c.T, "change")
	policy, err := c.Configure(context.Background(), c.p, SignedIn("", store.User{ID: id}, id == "dora"), change)
	fixed := c.p.rules.Load().Fixed
	want := error(nil)
	switch {
	case id != "alice" && id != "dora":
		want = ErrForbidden
	case fixed.Enabled != nil && change.Enabled != nil, fixed.Generate != "" && (change.Generate != "" || change.Users != nil),
		fixed.MaxLifetimeDays != 0 && change.MaxLifetimeDays != 0:
		want = ErrFixed
	default:
		c.model = c.model.patch(change)
	}
	if !errors.Is(err, want) {
		c.Fatalf("%s sets %+v: %v, want %v", id, change, err, want)
	}
	if err == nil {
		c.same(policy)
	}
}

func (c *policyComparison) same(p Policy) {
	got := policyModel{p.Enabled, p.Generate, p.Users, p.MaxLifetimeDays}
	if diff := cmp.Diff(c.model, got, cmp.AllowUnexported(policyModel{})); diff != "" {
		c.Fatalf("policy (-want +got):\n%s", diff)
	}
}

func (c *policyComparison) create(*rapid.T) {
	id, lifetime := names.Draw(c.T, "user"), lifetimes.Draw(c.T, "lifetime")
	admin := id == "dora"
	value, token, err := c.Issue(context.Background(), c.p, SignedIn("", store.User{ID: id}, admin), Wish{Prefix: "cat", LifetimeSeconds: lifetime})
	if want := c.model.create(id, admin || id == "alice", lifetime); !errors.Is(err, want) {
		c.Fatalf("%s creates a token of %d seconds: %v, want %v", id, lifetime, err, want)
	}
	if err == nil {
		now := c.clock.now()
		c.tokens = append(c.tokens, &modelToken{made: made{token, value}, user: id, admin: admin, signedIn: now, created: now, lifetime: lifetime})
	}
}

func (c *policyComparison) anyToken() *modelToken {
	if len(c.tokens) == 0 {
		c.T.SkipNow()
	}
	return rapid.SampledFrom(c.tokens).Draw(c.T, "token")
}

// use authenticates a token, and returns its record if it is to be valid.
func (c *policyComparison) use(t *modelToken) (record store.Record, valid bool) {
	record, err := c.Authenticate(c.p, t.value, netip.Addr{})
	want := error(nil)
	switch {
	case !t.valid(c.clock.now()):
		want = ErrInvalidToken
	case !c.model.enabled:
		want = ErrOff
	}
	if !errors.Is(err, want) {
		c.Fatalf("authenticating: %v, want %v", err, want)
	}
	return record, err == nil
}

func (c *policyComparison) authenticate(*rapid.T) { c.use(c.anyToken()) }

func (c *policyComparison) renew(t *rapid.T) {
	parent, lifetime, now := c.anyToken(), lifetimes.Draw(c.T, "lifetime"), c.clock.now()
	record, valid := c.use(parent)
	if !valid {
		return
	}
	// What holds is what holds when the token is made.
	if rapid.Bool().Draw(c.T, "settings change meanwhile") {
		c.patchSome(t)
	}
	value, token, err := c.Issue(context.Background(), c.p, Holder(&record), Wish{Prefix: "cat", LifetimeSeconds: lifetime})
	lapse := time.Duration(c.model.days) * day
	if c.model.days == -1 {
		lapse = 365 * day
	}
	admin := parent.user == "alice" || parent.admin && now.Before(parent.signedIn.Add(lapse))
	want := c.model.create(parent.user, admin, lifetime)
	if want == nil && parent.lifetime != store.Never && (lifetime == store.Never || lifetime > parent.lifetime) {
		want = ErrForbidden
	}
	if !errors.Is(err, want) {
		c.Fatalf("renewing %s's token: %v, want %v", parent.user, err, want)
	}
	if err == nil {
		c.tokens = append(c.tokens, &modelToken{
			made: made{token, value}, user: parent.user, admin: parent.admin, signedIn: parent.signedIn, created: now, lifetime: lifetime,
		})
	}
}

func (c *policyComparison) wait(*rapid.T) { c.clock.advance(steps.Draw(c.T, "time")) }

// restart is rare, because it takes a while.
func (c *policyComparison) restart(*rapid.T) {
	if rapid.IntRange(0, 7).Draw(c.T, "restart") > 0 {
		c.T.SkipNow()
	}
	c.close()
	c.open()
}

func (c *policyComparison) everything(*rapid.T) { c.same(c.Policy(c.p)) }

func TestPolicyIsWhatTheModelSays(t *testing.T) {
	f := newFixture(t)
	project := 0
	rapid.Check(t, func(t *rapid.T) {
		project++
		f.clock.set(epoch)
		p := NewProject(fmt.Sprint("project", project), Rules{Admins: map[string]bool{"alice": true}, SignIns: anySignIn, Fixed: someSettings.Draw(t, "fixed")})
		switch {
		case p.rules.Load().Fixed.Generate == "":
			p.rules.Load().Fixed.Users = nil
		case p.rules.Load().Fixed.Users == nil:
			p.rules.Load().Fixed.Users = []string{}
		}
		c := &policyComparison{T: t, fixture: f, p: p, model: policyModel{true, "admins", []string{}, 365}.patch(p.rules.Load().Fixed)}
		t.Repeat(map[string]func(*rapid.T){
			"patch": c.patchSome, "create": c.create, "renew": c.renew, "authenticate": c.authenticate,
			"wait": c.wait, "restart": c.restart, "": c.everything,
		})
	})
}
