package registry

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// rulesFor knows some users by sign-in "basic", and whoever "upstream" says.
func rulesFor(known ...string) Rules {
	return Rules{
		Fixed: store.Settings{Generate: GenerateEveryone},
		SignIns: []SignIn{
			{Kind: "basic", Knows: func(user string) bool {
				for _, id := range known {
					if id == user {
						return true
					}
				}
				return false
			}},
			{Kind: "upstream", Knows: func(string) bool { return true }, NamesAdmins: true},
		},
	}
}

// What callers who signed in under one configuration want is decided by the one
// that runs when it is committed.
func TestAnotherConfigurationDecides(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	f.Adopt(map[string]Rules{"p": rulesFor("bob", "carol")})
	p := f.Project("p")
	bob := SignedIn("basic", store.User{ID: "bob"}, false)
	carol := SignedIn("basic", store.User{ID: "carol"}, false)
	dora := SignedIn("upstream", store.User{ID: "dora"}, true)
	kept := f.issue(p, bob, 60)
	holder := f.holder(p, kept)
	if _, err := f.Configure(ctx, p, dora, store.Settings{MaxLifetimeDays: 7}); err != nil {
		t.Fatal(err)
	}

	f.Adopt(map[string]Rules{"p": rulesFor("carol")})
	_, _, err := f.Issue(ctx, p, bob, Wish{Prefix: "cat", LifetimeSeconds: 60})
	wantRefusal(t, "a user who is gone makes a token", err, ErrForbidden)
	wantRefusal(t, "a user who is gone deletes one", f.Delete(ctx, p, bob, kept.ID, false), ErrForbidden)
	f.issue(p, carol, 60)
	f.wantAuthenticated(p, kept)
	f.issue(p, holder, 60) // a token is its own proof

	without := rulesFor("bob")
	without.SignIns[1].NamesAdmins = false
	without.Fixed.Generate = GenerateAdmins
	f.Adopt(map[string]Rules{"p": without})
	_, err = f.Configure(ctx, p, dora, store.Settings{MaxLifetimeDays: 8})
	wantRefusal(t, "an administrator who is one no more changes settings", err, ErrForbidden)
	_, _, err = f.Issue(ctx, p, holder, Wish{Prefix: "cat", LifetimeSeconds: 60})
	wantRefusal(t, "a token is renewed whose user may not generate any more", err, ErrForbidden)

	without.SignIns = without.SignIns[:1]
	f.Adopt(map[string]Rules{"p": without})
	wantRefusal(t, "the way to sign in is gone", f.Delete(ctx, p, dora, kept.ID, false), ErrForbidden)

	f.Adopt(map[string]Rules{"q": rulesFor("bob"), "a": {}})
	if got := f.Projects(); !slices.Equal(got, []string{"a", "q"}) {
		t.Errorf("the projects are %v", got)
	}
	for what, err := range map[string]error{
		"authenticate": func() error { _, err := f.Authenticate(p, kept.value, netip.Addr{}); return err }(),
		"issue":        func() error { _, _, err := f.Issue(ctx, p, carol, Wish{LifetimeSeconds: 60}); return err }(),
		"renew":        func() error { _, _, err := f.Issue(ctx, p, holder, Wish{LifetimeSeconds: 60}); return err }(),
		"delete":       f.Delete(ctx, p, holder, kept.ID, false),
		"configure":    func() error { _, err := f.Configure(ctx, p, dora, store.Settings{MaxLifetimeDays: 9}); return err }(),
		"administrate": p.MayAdministrate(dora),
	} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s where the project is gone: %v, want %v", what, err, store.ErrUnavailable)
		}
	}
	if f.Project("p") != p {
		t.Error("a project is another one after it was gone")
	}
	f.Adopt(map[string]Rules{"p": rulesFor("bob")})
	f.wantAuthenticated(p, kept)
}

// Adopt waits for what was decided before, so that nothing is committed after it
// by older rules.
func TestAdoptWaitsForWhatWasDecidedBefore(t *testing.T) {
	f := newFixture(t)
	f.Adopt(map[string]Rules{"p": rulesFor("bob")})
	p := f.Project("p")
	bob := SignedIn("basic", store.User{ID: "bob"}, false)
	made := make(chan uint64)
	go func() {
		defer close(made)
		for {
			_, token, err := f.Issue(context.Background(), p, bob, Wish{Prefix: "cat", LifetimeSeconds: 60})
			if err != nil {
				return
			}
			made <- token.Revision
		}
	}()
	<-made
	adopted := make(chan uint64)
	go func() {
		f.Adopt(map[string]Rules{"p": rulesFor()})
		adopted <- f.Store.Revision()
	}()
	var last uint64
	for revision := range made {
		last = revision
	}
	if at := <-adopted; last > at {
		t.Errorf("a token was made at revision %d by rules that had gone at %d", last, at)
	}
}
