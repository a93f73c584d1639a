package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// usersModel is what holds of users as a whole, in a dozen lines.
type usersModel struct {
	model
	enabled bool
	blocked map[string]store.BlockedUser
}

func (m *usersModel) living(user string, now time.Time) (n int) {
	for _, t := range m.model {
		if t.user == user && t.valid(now) {
			n++
		}
	}
	return n
}

// usersComparison drives a registry and the model, which have to agree: users
// are blocked and rid of their tokens while those are renewed, settings, keys
// and the limit change, and the server stops and crashes.
type usersComparison struct {
	*comparison
	model usersModel
}

func (c *usersComparison) anyToken() *modelToken {
	if len(c.model.model) == 0 {
		c.T.SkipNow()
	}
	back := rapid.IntRange(0, len(c.model.model)-1).Draw(c.T, "token, counted from the latest")
	return c.model.model[len(c.model.model)-1-back]
}

// want fails unless err is what the first condition that holds says, nil if
// none does.
func (c *usersComparison) want(what string, err error, conditions ...condition) (ok bool) {
	want := error(nil)
	for _, one := range conditions {
		if one.holds {
			want = one.err
			break
		}
	}
	if !errors.Is(err, want) {
		c.Fatalf("%s: %v, want %v", what, err, want)
	}
	return want == nil
}

type condition struct {
	holds bool
	err   error
}

func (c *usersComparison) isBlocked(user string) bool { return c.model.blocked[user].User != "" }

func (c *usersComparison) create(*rapid.T) {
	who, lifetime, now := names.Draw(c.T, "user"), lifetimes.Draw(c.T, "lifetime"), c.clock.now()
	value, t, err := c.Issue(context.Background(), c.p, user(who), Wish{Prefix: "cat", LifetimeSeconds: lifetime})
	if c.want("creating", err, condition{!c.model.enabled, ErrOff}, condition{c.isBlocked(who), ErrBlocked}, c.full(who, now)) {
		c.add(&modelToken{made: made{t, value}, user: who, created: now, lifetime: lifetime})
	}
}

func (c *usersComparison) full(who string, now time.Time) condition {
	return condition{c.p.rules.Load().MaxTokensPerUser > 0 && c.model.living(who, now) >= c.p.rules.Load().MaxTokensPerUser, ErrLimit}
}

func (c *usersComparison) add(t *modelToken) { c.model.model = append(c.model.model, t) }

// use authenticates a token, and returns its record if it is to be valid.
func (c *usersComparison) use(t *modelToken) (record store.Record, ok bool) {
	now := c.clock.now()
	record, err := c.Authenticate(c.p, t.value, netip.Addr{})
	ok = c.want("authenticating", err, condition{!t.valid(now), ErrInvalidToken}, condition{!c.model.enabled, ErrOff}, condition{c.isBlocked(t.user), ErrBlocked})
	if ok {
		t.used = now
	}
	return record, ok
}

func (c *usersComparison) authenticate(*rapid.T) { c.use(c.anyToken()) }

func (c *usersComparison) renew(t *rapid.T) {
	parent, lifetime, now := c.anyToken(), lifetimes.Draw(c.T, "lifetime"), c.clock.now()
	record, ok := c.use(parent)
	if !ok {
		return
	}
	for range rapid.IntRange(0, 2).Draw(c.T, "what happens meanwhile") {
		meanwhile := []func(*rapid.T){c.deleteOne, c.deleteAll, c.block, c.unblock, c.configure, c.rotate, c.limit, c.sweepAll}
		rapid.SampledFrom(meanwhile).Draw(c.T, "event")(t)
	}
	replace := rapid.Bool().Draw(c.T, "replace")
	value, got, err := c.Issue(context.Background(), c.p, Holder(&record), Wish{Prefix: "cat", LifetimeSeconds: lifetime, Replace: replace})
	full := c.full(parent.user, now)
	full.holds = full.holds && !replace
	ok = c.want("renewing", err,
		condition{!c.model.enabled, ErrOff},
		condition{outlives(lifetime, parent.lifetime), ErrForbidden},
		condition{!parent.valid(now), ErrInvalidToken},
		condition{c.isBlocked(parent.user), ErrBlocked}, full)
	if !ok {
		return
	}
	if replace {
		parent.ended = now
	}
	c.add(&modelToken{made: made{got, value}, user: parent.user, created: now, lifetime: lifetime, parent: parent})
}

func (c *usersComparison) deleteOne(*rapid.T) {
	if len(c.model.model) == 0 {
		return
	}
	t, successors := c.anyToken(), rapid.Bool().Draw(c.T, "successors")
	err := c.Delete(context.Background(), c.p, user("alice"), t.ID, successors)
	there := t.visible() || successors && !t.gone && c.model.hasSuccessors(t)
	if c.want("deleting", err, condition{!there, ErrNotFound}) {
		c.model.delete(t, c.clock.now(), successors)
	}
}

func (c *usersComparison) deleteAll(*rapid.T) {
	who, now := names.Draw(c.T, "whose"), c.clock.now()
	by := rapid.SampledFrom([]string{"alice", who}).Draw(c.T, "by")
	n, err := c.DeleteAll(context.Background(), c.p, user(by), who)
	if !c.want("deleting all", err, condition{c.isBlocked(by), ErrBlocked}) {
		return
	}
	if want := c.model.living(who, now); n != want {
		c.Fatalf("%d tokens of %s were deleted, want %d", n, who, want)
	}
	for _, t := range c.model.model {
		if t.user == who && t.visible() {
			t.ended = now
		}
	}
}

func (c *usersComparison) block(*rapid.T) {
	who := names.Draw(c.T, "who")
	err := c.Block(context.Background(), c.p, user("alice"), who)
	if c.want("blocking", err, condition{who == "alice", ErrProtected}) && !c.isBlocked(who) {
		c.model.blocked[who] = store.BlockedUser{User: who, At: c.clock.now(), By: "alice"}
	}
}

func (c *usersComparison) unblock(*rapid.T) {
	who := names.Draw(c.T, "who")
	c.want("unblocking", c.Unblock(context.Background(), c.p, user("alice"), who))
	delete(c.model.blocked, who)
}

func (c *usersComparison) configure(*rapid.T) {
	enabled := rapid.IntRange(0, 3).Draw(c.T, "on") > 0
	_, err := c.Configure(context.Background(), c.p, user("alice"), store.Settings{Enabled: &enabled})
	c.want("configuring", err)
	c.model.enabled = enabled
}

func (c *usersComparison) limit(*rapid.T) {
	c.p.rules.Load().MaxTokensPerUser = rapid.IntRange(0, 4).Draw(c.T, "limit")
}

// rotate puts the last key in front, or tidies up what has been used since.
func (c *usersComparison) rotate(*rapid.T) {
	if rapid.Bool().Draw(c.T, "move") {
		c.want("moving", c.moveUsed(context.Background()))
		return
	}
	c.keys = append([]*token.Key{c.keys[len(c.keys)-1]}, c.keys[:len(c.keys)-1]...)
	c.useKeys(c.keys...)
}

func (c *usersComparison) sweepAll(*rapid.T) { c.mustSweep() }

func (c *usersComparison) purgeAll(*rapid.T) {
	c.mustSweep() // as the keeper has done long before
	c.want("purging", c.purge(context.Background()))
	c.model.purge(c.clock.now(), c.Retain)
}

func (c *usersComparison) list(*rapid.T) {
	now := c.clock.now()
	l := Listing{
		User:       rapid.SampledFrom([]string{"bob", "dora", Everyone}).Draw(c.T, "whose"),
		State:      rapid.SampledFrom([]State{AnyState, Active, Expired}).Draw(c.T, "state"),
		Order:      rapid.SampledFrom([]Order{ByCreation, ByExpiry, ByLastUse}).Draw(c.T, "order"),
		Descending: rapid.Bool().Draw(c.T, "descending"),
		UnusedFor:  rapid.SampledFrom([]time.Duration{0, time.Hour, 31 * day}).Draw(c.T, "unused for"),
		Offset:     rapid.IntRange(0, 3).Draw(c.T, "offset"), Limit: rapid.IntRange(0, 4).Draw(c.T, "limit"), Count: true,
	}
	got, count, err := c.List(c.p, user("alice"), l)
	c.want("listing", err)
	want := slices.DeleteFunc(c.model.list(l.User), func(t *modelToken) bool {
		expired := !now.Before(t.expiry())
		last := t.used
		if last.IsZero() {
			last = t.created
		}
		return l.State == Active && expired || l.State == Expired && !expired || l.UnusedFor > 0 && last.After(now.Add(-l.UnusedFor))
	})
	slices.SortStableFunc(want, func(a, b *modelToken) int {
		return map[Order]int{ByCreation: 0, ByExpiry: cmp.Compare(a.expiry().UnixMilli(), b.expiry().UnixMilli()), ByLastUse: a.used.Compare(b.used)}[l.Order]
	})
	if l.Descending {
		slices.Reverse(want)
	}
	if count != len(want) {
		c.Fatalf("counted %d, want %d", count, len(want))
	}
	want = want[min(l.Offset, len(want)):]
	if l.Limit > 0 {
		want = want[:min(l.Limit, len(want))]
	}
	if d := gocmp.Diff(idsOf(want, func(t *modelToken) uuid.UUID { return t.ID }), idsOf(got, func(t Token) uuid.UUID { return t.ID })); d != "" {
		c.Fatalf("%+v (-want +got):\n%s", l, d)
	}
	for i := range want {
		c.same(want[i], got[i])
	}
}

// restart is rare, because it takes a while. A crash leaves what is on disk at
// that moment, and the uses that are in memory are lost; so it comes after they
// have been written.
func (c *usersComparison) restart(*rapid.T) {
	switch rapid.IntRange(0, 15).Draw(c.T, "restart") {
	case 0:
		c.close()
		c.open()
	case 1:
		c.mustFlush()
		image := c.image()
		c.close()
		c.dir = image
		c.open()
	default:
		c.T.SkipNow()
	}
}

// image copies the store as a crash would leave it. Badger tidies up by itself
// meanwhile; what is copied has to be of one moment.
func (c *usersComparison) image() (dir string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		dir = c.fixture.TempDir()
		before, errBefore := os.ReadFile(filepath.Join(c.dir, "db", "MANIFEST"))
		err := os.CopyFS(dir, os.DirFS(c.dir))
		after, errAfter := os.ReadFile(filepath.Join(c.dir, "db", "MANIFEST"))
		if errors.Join(errBefore, err, errAfter) != nil || !bytes.Equal(before, after) {
			continue
		}
		for _, private := range []string{dir, filepath.Join(dir, "db")} {
			if err := os.Chmod(private, 0o700); err != nil {
				c.Fatalf("%v", err)
			}
		}
		return dir
	}
	c.Fatalf("a minute later the store is still changing")
	return dir
}

func (c *usersComparison) everything(*rapid.T) {
	now := c.clock.now()
	for _, t := range c.model.model {
		r, err := recognise(c.Registry, c.p, t.value)
		if (err == nil) != t.valid(now) || err != nil && !errors.Is(err, ErrInvalidToken) {
			c.Fatalf("token %v is %+v, %v; the model has %+v", t.ID, r, err, t)
		}
	}
	want := []store.BlockedUser{}
	for _, b := range c.model.blocked {
		want = append(want, b)
	}
	slices.SortFunc(want, func(a, b store.BlockedUser) int { return strings.Compare(a.User, b.User) })
	if got := c.store.Blocked(c.p.Name); !gocmp.Equal(want, got) {
		c.Fatalf("blocked are %v, want %v", got, want)
	}
	for _, who := range []string{"alice", "bob", "carol", "dora"} {
		if got, err := c.store.Account(c.p.Name, who); err != nil || got.Living < uint64(c.model.living(who, now)) {
			c.Fatalf("%s has %d living tokens, %v, and counted are %d", who, c.model.living(who, now), err, got.Living)
		}
	}
}

func TestUsersAreWhatTheModelSays(t *testing.T) {
	f := newFixture(t)
	f.keys = []*token.Key{f.store.Key()}
	for _, letter := range []string{"x", "y"} {
		key, err := token.NewKey(strings.Repeat(letter, 32))
		if err != nil {
			t.Fatal(err)
		}
		f.keys = append(f.keys, key)
	}
	f.useKeys(f.keys...)
	project := 0
	rapid.Check(t, func(t *rapid.T) {
		project++
		f.clock.set(epoch)
		p := newProject(fmt.Sprint("users", project))
		p.rules.Load().Fixed.MaxLifetimeDays = Unlimited
		c := &usersComparison{comparison: &comparison{T: t, fixture: f, p: p}}
		c.model = usersModel{enabled: true, blocked: map[string]store.BlockedUser{}}
		t.Repeat(map[string]func(*rapid.T){
			"create": c.create, "create another": c.create, "renew": c.renew, "renew again": c.renew,
			"authenticate": c.authenticate, "list": c.list, "delete": c.deleteOne, "delete all": c.deleteAll,
			"block": c.block, "unblock": c.unblock, "configure": c.configure, "limit": c.limit, "rotate": c.rotate,
			"wait": c.wait, "flush": c.flushUses, "sweep": c.sweepAll, "purge": c.purgeAll, "restart": c.restart, "": c.everything,
		})
	})
}
