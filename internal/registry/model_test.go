package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// modelToken is all that matters of a token.
type modelToken struct {
	made
	user        string
	admin       bool
	signedIn    time.Time
	created     time.Time
	lifetime    int64
	parent      *modelToken
	used, ended time.Time // ended: deleted
	gone        bool
}

func (t *modelToken) expiry() time.Time {
	if t.lifetime == store.Never {
		return epoch.Add(1 << 62)
	}
	return t.created.Add(time.Duration(t.lifetime) * time.Second)
}

func (t *modelToken) valid(now time.Time) bool {
	return !t.gone && t.ended.IsZero() && now.Before(t.expiry())
}

func (t *modelToken) visible() bool { return !t.gone && t.ended.IsZero() }

// model is a registry in a dozen lines: a list of tokens, oldest first.
type model []*modelToken

func (m model) purge(now time.Time, r Retain) {
	for _, t := range m {
		old := t.ended.IsZero() && t.expiry().Before(now.Add(-r.Expired)) || !t.ended.IsZero() && t.ended.Before(now.Add(-r.Deleted))
		if old && !t.gone {
			t.gone = true
			for _, child := range m {
				if child.parent == t {
					child.parent = t.parent
				}
			}
		}
	}
}

// delete ends t and, with successors, all that descend from it and are there.
func (m model) delete(t *modelToken, now time.Time, successors bool) {
	if t.ended.IsZero() {
		t.ended = now
	}
	for _, child := range m {
		if successors && child.parent == t && !child.gone {
			m.delete(child, now, true)
		}
	}
}

// hasSuccessors tells whether something that descends from t isn't deleted.
func (m model) hasSuccessors(t *modelToken) bool {
	return slices.ContainsFunc(m, func(child *modelToken) bool {
		return child.parent == t && (child.visible() || !child.gone && m.hasSuccessors(child))
	})
}

func (m model) list(user string) (out []*modelToken) {
	for _, t := range m {
		if t.visible() && (user == Everyone || t.user == user) {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b *modelToken) int {
		if c := a.created.Compare(b.created); c != 0 {
			return c
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return out
}

// comparison drives a registry and the model, which have to agree.
type comparison struct {
	*rapid.T
	*fixture
	p     *Project
	model model
}

func (c *comparison) Fatalf(format string, args ...any) { c.T.Helper(); c.T.Fatalf(format, args...) }

func (c *comparison) token() *modelToken {
	if len(c.model) == 0 {
		c.T.SkipNow()
	}
	// Mostly the latest, of which more is going on.
	back := rapid.IntRange(0, len(c.model)-1).Draw(c.T, "token, counted from the latest")
	return c.model[len(c.model)-1-back]
}

var names = rapid.SampledFrom([]string{"alice", "bob", "carol", "dora"})

// signIn is somebody who signs in. Dora is called an administrator.
func (c *comparison) signIn(label string) Caller {
	id := names.Draw(c.T, label)
	return SignedIn("", store.User{ID: id}, id == "dora")
}

func isAdmin(caller Caller) bool { return caller.User.ID == "alice" || caller.User.ID == "dora" }

func (c *comparison) sees(caller Caller, t *modelToken) bool {
	return t.visible() && (t.user == caller.User.ID || isAdmin(caller))
}

var lifetimes = rapid.SampledFrom([]int64{store.Never, 1, 60, 3600, 86_400, 30 * 86_400})

func (c *comparison) create(*rapid.T) {
	caller, lifetime := c.signIn("user"), lifetimes.Draw(c.T, "lifetime")
	value, token, err := c.Issue(context.Background(), c.p, caller, Wish{Prefix: "cat", LifetimeSeconds: lifetime})
	if err != nil {
		c.Fatalf("creating: %v", err)
	}
	now := c.clock.now()
	c.model = append(c.model, &modelToken{
		made: made{token, value}, user: caller.User.ID, admin: caller.SignedInAdmin,
		signedIn: now, created: now, lifetime: lifetime,
	})
}

func (c *comparison) renew(*rapid.T) {
	parent, lifetime, now := c.token(), lifetimes.Draw(c.T, "lifetime"), c.clock.now()
	record, err := c.Authenticate(c.p, parent.value, netip.Addr{})
	if valid := parent.valid(now); valid != (err == nil) {
		c.Fatalf("authenticating: %v, want valid %v", err, valid)
	}
	if err != nil {
		return
	}
	parent.used = now
	// Between a token's authentication and its renewal it may be deleted.
	if rapid.IntRange(0, 4).Draw(c.T, "deleted meanwhile") == 0 {
		c.mustDelete(parent, false)
	}
	value, token, err := c.Issue(context.Background(), c.p, Holder(&record), Wish{Prefix: "cat", LifetimeSeconds: lifetime})
	want := error(nil)
	switch {
	case parent.lifetime != store.Never && (lifetime == store.Never || lifetime > parent.lifetime):
		want = ErrForbidden
	case !parent.valid(now):
		want = ErrInvalidToken
	}
	if !errors.Is(err, want) {
		c.Fatalf("renewing: %v, want %v", err, want)
	}
	if err != nil {
		return
	}
	if token.User.ID != parent.user || token.SignedInAdmin != parent.admin || !token.SignedIn.Equal(parent.signedIn) {
		c.Fatalf("renewed %+v as %+v", parent, token)
	}
	c.model = append(c.model, &modelToken{
		made: made{token, value}, user: parent.user, admin: parent.admin,
		signedIn: parent.signedIn, created: now, lifetime: lifetime, parent: parent,
	})
}

func (c *comparison) authenticate(*rapid.T) {
	t, now := c.token(), c.clock.now()
	record, err := c.Authenticate(c.p, t.value, netip.Addr{})
	if !t.valid(now) {
		if !errors.Is(err, ErrInvalidToken) {
			c.Fatalf("authenticating a token that ended: %v", err)
		}
		return
	}
	if err != nil || record.ID != t.ID || record.User.ID != t.user {
		c.Fatalf("authenticating a valid token: %+v, %v", record, err)
	}
	t.used = now
}

func (c *comparison) get(*rapid.T) {
	t, caller := c.token(), c.signIn("caller")
	got, err := c.Get(c.p, caller, t.ID)
	if !c.sees(caller, t) {
		if err != ErrNotFound {
			c.Fatalf("getting what isn't to be seen: %v", err)
		}
		return
	}
	if err != nil {
		c.Fatalf("getting: %v", err)
	}
	c.same(t, got)
}

func (c *comparison) same(want *modelToken, got Token) {
	parent := uuid.Nil
	if want.parent != nil {
		parent = want.parent.ID
	}
	if got.ID != want.ID || !got.LastUsed.Equal(want.used) || got.Lifetime != want.lifetime || !got.Created.Equal(want.created) || got.Parent != parent {
		c.Fatalf("got %+v\nwant %+v of parent %v", got, want, parent)
	}
}

func (c *comparison) list(*rapid.T) {
	caller := c.signIn("caller")
	l := Listing{
		User:   rapid.SampledFrom([]string{"", "bob", "dora", Everyone}).Draw(c.T, "whose"),
		Offset: rapid.IntRange(0, 4).Draw(c.T, "offset"), Limit: rapid.IntRange(0, 4).Draw(c.T, "limit"),
		Count: rapid.Bool().Draw(c.T, "count"),
	}
	got, count, err := c.List(c.p, caller, l)
	if l.User != "" && !isAdmin(caller) {
		if !errors.Is(err, ErrForbidden) {
			c.Fatalf("listing others': %v", err)
		}
		return
	}
	if err != nil {
		c.Fatalf("listing: %v", err)
	}
	whose := l.User
	if whose == "" {
		whose = caller.User.ID
	}
	want := c.model.list(whose)
	if l.Count && count != len(want) || !l.Count && count != 0 {
		c.Fatalf("counted %d, want %d", count, len(want))
	}
	want = want[min(l.Offset, len(want)):]
	if l.Limit > 0 {
		want = want[:min(l.Limit, len(want))]
	}
	if d := cmp.Diff(idsOf(want, func(t *modelToken) uuid.UUID { return t.ID }), idsOf(got, func(t Token) uuid.UUID { return t.ID })); d != "" {
		c.Fatalf("listed (-want +got):\n%s", d)
	}
	for i := range want {
		c.same(want[i], got[i])
	}
}

func idsOf[T any](tokens []T, id func(T) uuid.UUID) (ids []uuid.UUID) {
	for _, t := range tokens {
		ids = append(ids, id(t))
	}
	return ids
}

func (c *comparison) deleteOne(*rapid.T) {
	t, caller, successors := c.token(), c.signIn("caller"), rapid.Bool().Draw(c.T, "successors")
	err := c.Delete(context.Background(), c.p, caller, t.ID, successors)
	// What is left of a deleted token's line can be deleted by its name.
	line := successors && !t.gone && (t.user == caller.User.ID || isAdmin(caller)) && c.model.hasSuccessors(t)
	if !c.sees(caller, t) && !line {
		if err != ErrNotFound {
			c.Fatalf("deleting what isn't to be seen: %v", err)
		}
		return
	}
	if err != nil {
		c.Fatalf("deleting: %v", err)
	}
	c.model.delete(t, c.clock.now(), successors)
}

func (c *comparison) mustDelete(t *modelToken, successors bool) {
	if err := c.Delete(context.Background(), c.p, user("alice"), t.ID, successors); err != nil {
		c.Fatalf("deleting: %v", err)
	}
	c.model.delete(t, c.clock.now(), successors)
}

var steps = rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Hour, day, 31 * day, 91 * day})

func (c *comparison) wait(*rapid.T) { c.clock.advance(steps.Draw(c.T, "time")) }

func (c *comparison) flushUses(*rapid.T) {
	if err := c.flush(context.Background()); err != nil {
		c.Fatalf("flushing: %v", err)
	}
}

func (c *comparison) purgeAll(*rapid.T) {
	if err := c.purge(context.Background()); err != nil {
		c.Fatalf("purging: %v", err)
	}
	c.model.purge(c.clock.now(), c.Retain)
}

// restart is rare, because it takes a while.
func (c *comparison) restart(*rapid.T) {
	if rapid.IntRange(0, 7).Draw(c.T, "restart") > 0 {
		c.T.SkipNow()
	}
	c.close()
	c.open()
}

// everything holds after every step: each value is valid or not as the model
// says. It doesn't go through Authenticate, which would note a use.
func (c *comparison) everything(*rapid.T) {
	now := c.clock.now()
	for _, t := range c.model {
		r, err := c.store.ByHash(c.store.Key().Hash(t.value))
		valid := err == nil && !r.IsRevoked() && !r.Expired(now)
		if valid != t.valid(now) || t.gone != errors.Is(err, store.ErrNotFound) {
			c.Fatalf("token %v is %+v, %v; the model has %+v", t.ID, r, err, t)
		}
	}
}

func TestRegistryIsWhatTheModelSays(t *testing.T) {
	f := newFixture(t)
	project := 0
	rapid.Check(t, func(t *rapid.T) {
		project++
		f.clock.set(epoch)
		p := newProject(fmt.Sprint("project", project))
		p.rules.Load().Fixed.MaxLifetimeDays = Unlimited
		c := &comparison{T: t, fixture: f, p: p}
		t.Repeat(map[string]func(*rapid.T){
			"create": c.create, "create another": c.create, "renew": c.renew, "renew again": c.renew,
			"authenticate": c.authenticate, "get": c.get, "list": c.list, "delete": c.deleteOne,
			"wait": c.wait, "flush": c.flushUses, "purge": c.purgeAll, "restart": c.restart, "": c.everything,
		})
	})
}
