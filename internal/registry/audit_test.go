package registry

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
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
	signedIn := Actor{User: "alice"}

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
			if from := e.Origin; e.Project != "p" || e.Time.IsZero() || e.Revision == 0 || from != (Origin{}) && from != alice.Origin || e.Actor.By == "" && from == (Origin{}) {
				t.Errorf("%s: %+v", what, e)
			}
			got = append(got, line{Kind: e.Kind, Actor: e.Actor, Token: e.TokenID, Successors: e.Successors})
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
	if diff := cmp.Diff(&store.Settings{MaxLifetimeDays: 7}, e.Before); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&store.Settings{MaxLifetimeDays: 7, Users: []string{"bob"}, Enabled: new(false)}, e.After); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
}

// Who goes away has changed something all the same, or not at all; and the
// auditor is told who it was.
func TestWhoGoesAwayIsAudited(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	made := f.issue(p, user("alice"), 60)
	for name, change := range f.changes(ctx, p, made) {
		f.audit.take()
		before := f.store.Revision()
		err := change()
		if events := len(f.audit.take()); (err == nil) != (f.store.Revision() > before) || (err == nil) != (events > 0) {
			t.Errorf("%s: %v, at revision %d before and %d after, %d events", name, err, before, f.store.Revision(), events)
		}
	}
}

// changes are all that can be changed in p, one after the other. The token is
// alice's.
func (f *fixture) changes(ctx context.Context, p *Project, m made) iter.Seq2[string, func() error] {
	alice := user("alice")
	wish := Wish{Prefix: "cat", LifetimeSeconds: 60}
	replace := wish
	replace.Replace = true
	issue := func(c Caller, w Wish) func() error {
		return func() error { _, _, err := f.Issue(ctx, p, c, w); return err }
	}
	configure := func(s store.Settings) func() error {
		return func() error { _, err := f.Configure(ctx, p, alice, s); return err }
	}
	other, err := token.NewKey(strings.Repeat("2", 32))
	if err != nil {
		f.Fatal(err)
	}
	return func(yield func(string, func() error) bool) {
		all := yield("create", issue(alice, wish)) &&
			yield("renew", issue(f.holder(p, m), wish)) &&
			yield("replace", issue(f.holder(p, f.issue(p, alice, 60)), replace)) &&
			yield("delete", func() error { return f.Delete(ctx, p, alice, m.ID, false) }) &&
			yield("delete its successors", func() error { return f.Delete(ctx, p, alice, m.ID, true) }) &&
			yield("delete all", func() error { _, err := f.DeleteAll(ctx, p, alice, "bob"); return err }) &&
			yield("block", func() error { return f.Block(ctx, p, alice, "bob") }) &&
			yield("unblock", func() error { return f.Unblock(ctx, p, alice, "bob") }) &&
			yield("configure", configure(store.Settings{MaxLifetimeDays: 7})) &&
			yield("switch off", configure(store.Settings{Enabled: new(false)})) &&
			yield("switch on", configure(store.Settings{Enabled: new(true)})) &&
			yield("switch off and more", configure(store.Settings{Enabled: new(false), MaxLifetimeDays: 8}))
		f.useKeys(other, f.store.Key())
		o := f.Operator(Origin{})
		_ = all && yield("end what is under other keys", func() error { _, err := o.EndUnderOtherKeys(ctx); return err }) &&
			yield("rotate keys", func() error { return o.RotateKeys(ctx, []*token.Key{other}) }) &&
			yield("the operator blocks", func() error { _, err := o.SetBlocked(ctx, "p", "carol", true, false); return err }) &&
			yield("the operator unblocks", func() error { _, err := o.SetBlocked(ctx, "p", "carol", false, false); return err })
	}
}

// What is said of a change is committed with it.
func TestEachChangeIsCommittedWithItsLines(t *testing.T) {
	f, p := newFixture(t), openProject("p")
	for name, change := range f.changes(context.Background(), p, f.issue(p, user("alice"), 60)) {
		if err := change(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var want []store.Line
	events := f.audit.take() // in no particular order, where there are many at once
	slices.SortStableFunc(events, func(a, b Event) int { return a.Compare(b.Position) })
	for i, e := range events {
		place := store.LinePlace{Position: e.Position}
		if i > 0 && want[i-1].Position == e.Position {
			place.Number = want[i-1].Number + 1
		}
		want = append(want, store.Line{LinePlace: place, Text: e.Text()})
	}
	got, err := f.store.Outbox(store.LinePlace{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 16 {
		t.Errorf("%d lines in the outbox (-want +got):\n%s", len(got), diff)
	}
}

// takingAway are those changes that go on while nothing can be written down.
var takingAway = map[string]bool{"delete": true, "delete its successors": true, "delete all": true, "block": true, "switch off": true, "end what is under other keys": true, "rotate keys": true, "the operator blocks": true}

func TestOnlyTakingAwayGoesOnWithoutBeingWrittenDown(t *testing.T) {
	broken := errors.New("the disk is gone")
	f, p := newFixture(t), openProject("p")
	m := f.issue(p, user("alice"), 60)
	// The successors that are to be deleted.
	f.issue(p, f.holder(p, m), 60)
	for name, change := range f.changes(context.Background(), p, m) {
		before := f.store.Revision()
		f.audit.notReady, f.audit.notWritten = broken, broken
		err := change()
		f.audit.notReady, f.audit.notWritten = nil, nil
		if takingAway[name] {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, broken) || f.store.Revision() != before {
			t.Errorf("%s: %v, at revision %d before and %d after", name, err, before, f.store.Revision())
		}
		wantRefusal(t, name, err, store.ErrUnavailable)
		if name == "unblock" || name == "switch on" {
			if err := change(); err != nil {
				t.Errorf("%s once it can be written down: %v", name, err)
			}
		}
	}
}

// A creation that is committed when it turns out that it can't be written down
// ends again; but one that has ended its parent can't be taken back.
func TestACreationThatIsntWrittenDownEnds(t *testing.T) {
	broken := errors.New("the disk is gone")
	f, p := newFixture(t), openProject("p")
	parent := f.issue(p, user("alice"), 60)
	for name, test := range map[string]struct {
		caller  Caller
		replace bool
		want    []string
	}{
		"by a sign-in":                         {user("alice"), false, []string{TokenCreated, TokenDeleted}},
		"by a token":                           {f.holder(p, parent), false, []string{TokenRenewed, TokenDeleted}},
		"a successor that replaces its parent": {f.holder(p, f.issue(p, user("alice"), 60)), true, []string{TokenRenewed, TokenDeleted}},
	} {
		f.audit.take()
		f.audit.notWritten = broken
		_, token, err := f.Issue(context.Background(), p, test.caller, Wish{Prefix: "cat", LifetimeSeconds: 60, Replace: test.replace})
		f.audit.notWritten = nil
		var kinds []string
		events := f.audit.take()
		for _, e := range events {
			kinds = append(kinds, e.Kind)
		}
		if diff := cmp.Diff(test.want, kinds); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if test.replace {
			if err != nil || events[0].TokenID != token.ID || events[1].TokenID != test.caller.Token.ID {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, broken) || !errors.Is(err, store.ErrUnavailable) || events[0].TokenID != events[1].TokenID {
			t.Errorf("%s: %v", name, err)
		}
		if record, err := f.store.ByID(events[0].TokenID); err != nil || !record.IsRevoked() {
			t.Errorf("%s: the token that nobody was given is %+v, %v", name, record, err)
		}
	}
	f.wantAuthenticated(p, parent)
}

func TestTextsOfEvents(t *testing.T) {
	id, parent := uuid.UUID{15: 1}, uuid.UUID{15: 2}
	record := &store.Record{
		ID: id, Hash: token.Hash{1}, Project: "p", User: store.User{ID: "alice", Email: "alice@example.com"},
		Description: "nightly", Created: epoch, Lifetime: 3600, Parent: parent,
		Scopes: []string{"read", "jobs"}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128")},
	}
	p := NewProject("p", Rules{})
	signedIn := SignedIn("access_tokens.sign_in.basic", store.User{ID: "alice"}, false)
	signedIn.Origin = Origin{ClientIP: "192.0.2.1", RequestID: "r1"}
	odd := SignedIn("k", store.User{ID: "a\"b\\\n\u2028\u00e4<>&\x7f"}, false)
	holder := Holder(&store.Record{ID: parent, User: store.User{ID: "alice"}})
	at := epoch.Add(-43 * time.Millisecond)
	settings := signedIn.event(SettingsChanged, p, at)
	settings.Before, settings.After = &store.Settings{}, &store.Settings{Enabled: new(false), Users: []string{}, MaxLifetimeDays: Unlimited}
	blocked := odd.event(UserBlocked, p, at)
	blocked.User = "bob"
	for name, test := range map[string]struct {
		event Event
		want  string
	}{
		"all of a token": {signedIn.event(TokenCreated, p, at).of(record),
			`{"time":"2019-01-16T00:06:41.700Z","event":"token_created","project":"p","actor":{"user":"alice","by":"access_tokens.sign_in.basic"},"client_ip":"192.0.2.1","request_id":"r1",` +
				`"token_id":"00000000-0000-0000-0000-000000000001","user":"alice","expires":"2019-01-16T01:06:41.743Z","parent_id":"00000000-0000-0000-0000-000000000002","scopes":["read","jobs"],"addresses":["192.0.2.0/24","2001:db8::1/128"]}`},
		"for ever, by a token": {holder.event(TokenDeleted, p, at).of(&store.Record{ID: id, User: store.User{ID: "bob"}, Lifetime: store.Never}),
			`{"time":"2019-01-16T00:06:41.700Z","event":"token_deleted","project":"p","actor":{"user":"alice","by":"token","token_id":"00000000-0000-0000-0000-000000000002"},` +
				`"token_id":"00000000-0000-0000-0000-000000000001","user":"bob"}`},
		"settings": {settings,
			`{"time":"2019-01-16T00:06:41.700Z","event":"settings_changed","project":"p","actor":{"user":"alice","by":"access_tokens.sign_in.basic"},"client_ip":"192.0.2.1","request_id":"r1",` +
				`"before":{},"after":{"enabled":false,"users":[],"maxLifetimeDays":-1}}`},
		"whatever a user is called": {blocked,
			`{"time":"2019-01-16T00:06:41.700Z","event":"user_blocked","project":"p","actor":{"user":"a\"b\\\n\u2028ä<>&` + "\x7f" + `","by":"k"},"user":"bob"}`},
	} {
		if got := string(test.event.Text()); got != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, test.want)
		}
		var back Event
		if err := json.Unmarshal(test.event.Text(), &back); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if again := string(back.Text()); again != test.want {
			t.Errorf("%s is read as\n%s", name, again)
		}
	}
}
