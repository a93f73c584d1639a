package registry

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// take returns what the auditor was told since.
func (l *ledger) take() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	events := l.events
	l.events = nil
	return events
}

func TestEachChangeIsAudited(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	alice := SignedIn("", store.User{ID: "alice"}, false)
	alice.Origin = Origin{ClientIP: "192.0.2.1", RequestID: "r1"}
	signedIn := Actor{User: "alice", Origin: alice.Origin}

	type line struct {
		Kind       string
		Actor      Actor
		Token      uuid.UUID
		Successors bool
	}
	want := func(what string, lines ...line) {
		t.Helper()
		var got []line
		for _, e := range f.audit.take() {
			if e.Project != "p" || e.Time.IsZero() || e.Revision == 0 {
				t.Errorf("%s: %+v", what, e)
			}
			l := line{Kind: e.Kind, Actor: e.Actor, Successors: e.Successors}
			if e.Token != nil {
				l.Token = e.Token.ID
			}
			got = append(got, l)
		}
		if diff := cmp.Diff(lines, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}

	first := f.issue(p, alice, 60)
	want("made", line{Kind: TokenCreated, Actor: signedIn, Token: first.ID})
	holder := f.holder(p, first)
	second := f.issue(p, holder, 60)
	want("renewed", line{Kind: TokenRenewed, Actor: Actor{User: "alice", By: ByToken, TokenID: first.ID}, Token: second.ID})
	f.delete(p, alice, first.ID, true)
	want("deleted", line{Kind: TokenDeleted, Actor: signedIn, Token: first.ID, Successors: true})
	if err := f.Delete(context.Background(), p, alice, first.ID, false); err == nil {
		t.Error("deleted twice")
	}
	want("deleted again")
	if _, err := f.Configure(t.Context(), p, alice, store.Settings{MaxLifetimeDays: 7}); err != nil {
		t.Fatal(err)
	}
	want("settings", line{Kind: SettingsChanged, Actor: signedIn})
	f.configure(p, store.Settings{MaxLifetimeDays: 7})
	want("the same settings")
}

func TestSettingsAreAuditedBeforeAndAfter(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	f.configure(p, store.Settings{MaxLifetimeDays: 7})
	f.configure(p, store.Settings{Users: []string{"bob"}, Enabled: new(false)})
	e := f.audit.take()[1]
	if diff := cmp.Diff(store.Settings{MaxLifetimeDays: 7}, e.Before); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(store.Settings{MaxLifetimeDays: 7, Users: []string{"bob"}, Enabled: new(false)}, e.After); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
}

// Who goes away has changed the settings all the same, or not at all; and the
// auditor is told who it was.
func TestWhoGoesAwayIsAudited(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := f.Configure(ctx, p, user("alice"), store.Settings{MaxLifetimeDays: 7})
	events := len(f.audit.take())
	if applied := f.Policy(p).MaxLifetimeDays == 7; applied != (err == nil) || applied != (events == 1) {
		t.Errorf("%v, applied %v, %d lines", err, applied, events)
	}
}
