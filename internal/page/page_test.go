package page

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/refusals"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// desk is the page with a clock of the test's. Everybody's password is
// "open"; the sign-in calls alice an administrator, and can't tell who dora is.
type desk struct {
	*clock
	page   Page
	store  *badgerstore.Store
	cookie string
	gone   map[string]bool // users whom the sign-ins know no more
	rules  registry.Rules
}

// fix puts a configuration in force that fixes these settings.
func (d *desk) fix(fixed store.Settings) {
	d.rules.Fixed = fixed
	d.page.Project = registry.NewProject("p", d.rules)
}

type noAudit struct{}

func (noAudit) Ready() error                    { return nil }
func (noAudit) Lines([]registry.Event) [][]byte { return nil }
func (noAudit) Changed([]registry.Event) error  { return nil }

func newDesk(t *testing.T, changes ...func(*registry.Config)) *desk {
	t.Helper()
	opened, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{clock: newClock(), store: opened, gone: make(map[string]bool)}
	d.rules.SignIns = []registry.SignIn{{Knows: func(user string) bool { return !d.gone[user] }, NamesAdmins: true}}
	config := registry.Config{
		Notices: registry.Nobody{},
		Ended:   func(string, string) {},
		Store:   opened, Now: d.Now, Certain: d.Now, Random: rand.Reader,
		Retain: registry.Retain{Expired: day, Deleted: day}, Audit: noAudit{}, Logger: zap.NewNop(),
	}
	for _, change := range changes {
		change(&config)
	}
	tokens := registry.New(config)
	t.Cleanup(func() {
		if err := errors.Join(tokens.Close(), opened.Close()); err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Error(err)
		}
	})
	d.page = Page{
		Registry: tokens, Project: registry.NewProject("p", d.rules), Prefix: "cat", Memory: NewMemory(d.Now, rand.Reader), Refusals: new(refusals.Refusals),
		Path: "/access-tokens", API: "/api", TakesPassword: true, Connection: Encrypted, Origin: "https://example.com",
		Authenticate: func(r *http.Request) (store.Record, error) {
			auth, err := incoming.ParseAuthorization(r.Header)
			if err != nil || auth.Value.IsZero() {
				return store.Record{}, registry.ErrInvalidToken
			}
			return d.page.Registry.Authenticate(d.page.Project, auth.Value, netip.Addr{})
		},
		Check: func(_ *http.Request, user, password string) (registry.Caller, error) {
			switch {
			case user == "dora":
				return registry.Caller{}, errors.New("the directory is down")
			case password != "open":
				return registry.Caller{}, tokenapi.ErrNotSignedIn
			case tokens.IsBlocked(d.page.Project, user):
				return registry.Caller{}, registry.ErrBlocked
			}
			return registry.SignedIn("", store.User{ID: user}, user == "alice"), nil
		},
		Known:      func(*http.Request) (registry.Caller, error) { return registry.Caller{}, tokenapi.ErrNotSignedIn },
		Identified: func(*http.Request, *registry.Caller) {},
	}
	return d
}

// ask sends a request and keeps the cookie of its answer.
func (d *desk) ask(t *testing.T, r *http.Request) (*httptest.ResponseRecorder, error) {
	t.Helper()
	p := d.page
	if d.cookie != "" {
		p.Cookies = Cookies{d.cookie}
	}
	w := httptest.NewRecorder()
	err := p.Serve(w, r, incoming.Authorization{}, strings.TrimPrefix(r.URL.Path, p.Path))
	for _, c := range w.Result().Cookies() {
		if d.cookie = c.Name + "=" + c.Value; c.MaxAge < 0 {
			d.cookie = ""
		}
	}
	return w, err
}

func (d *desk) get(t *testing.T, below string) *httptest.ResponseRecorder {
	t.Helper()
	w, err := d.ask(t, httptest.NewRequest(http.MethodGet, "/access-tokens"+below, nil))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// post sends a form, with a nonce for whoever is signed in, unless it has one.
func (d *desk) post(t *testing.T, below string, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	if !form.Has("nonce") {
		form = maps.Clone(form)
		form.Set("nonce", d.nonce(t))
	}
	r := httptest.NewRequest(http.MethodPost, "/access-tokens"+below, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w, err := d.ask(t, r)
	if err != nil && !IsAnswered(err) {
		t.Fatal(err)
	}
	return w
}

// nonce returns one as the user's documents have it, "" for nobody.
func (d *desk) nonce(t *testing.T) string {
	t.Helper()
	_, secret, _ := strings.Cut(d.cookie, "=")
	caller, _, found := d.page.Memory.Sessions.find(d.page.Project.Name, secret)
	if !found {
		return ""
	}
	nonce, err := d.page.Memory.nonces.issue(sessionUser{d.page.Project.Name, caller.User.ID})
	if err != nil {
		t.Fatal(err)
	}
	return nonce
}

func (d *desk) signIn(t *testing.T, user string) {
	t.Helper()
	wantSays(t, d.post(t, "/sign-in", url.Values{"user": {user}, "password": {"open"}}), http.StatusSeeOther)
}

// issue makes a token of a user's, in seconds.
func (d *desk) issue(t *testing.T, user store.User, lifetime int64, description string) (token.Value, registry.Token) {
	t.Helper()
	value, made, err := d.page.Registry.Issue(t.Context(), d.page.Project, registry.SignedIn("", user, false), registry.Wish{Prefix: "cat", LifetimeSeconds: lifetime, Description: description})
	if err != nil {
		t.Fatal(err)
	}
	return value, made
}

func wantSays(t *testing.T, w *httptest.ResponseRecorder, status int, texts ...string) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	for _, text := range texts {
		if !strings.Contains(html.UnescapeString(w.Body.String()), text) {
			t.Fatalf("doesn't say %q: %s", text, w.Body)
		}
	}
}

// What a sign-in alone knew of an administrator lapses; the password brings it
// back, and the way goes on to what was wanted.
func TestAdministratorIsAskedAgain(t *testing.T) {
	d := newDesk(t)
	wantSays(t, d.post(t, "/sign-in", url.Values{"user": {"alice"}, "password": {"open"}}), http.StatusSeeOther)
	wantSays(t, d.get(t, "/settings"), http.StatusOK, "Save Settings")
	wantSays(t, d.get(t, "?user=*"), http.StatusOK, "Nobody has an access token yet.")
	_, bobs, err := d.page.Registry.Issue(t.Context(), registry.NewProject("p", registry.Rules{SignIns: d.rules.SignIns, Fixed: store.Settings{Generate: "everyone"}}),
		registry.SignedIn("", store.User{ID: "bob"}, false), registry.Wish{Prefix: "cat", LifetimeSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}

	d.advance(adminLimit)
	old := d.cookie
	wantSays(t, d.get(t, ""), http.StatusOK, "have lapsed", "Sign out", "Generate New Token")
	const why = "Administrator rights last 15 minutes"
	wantSays(t, d.get(t, "/settings"), http.StatusOK, why, `value="alice"`, `value="settings"`)
	wantSays(t, d.get(t, "?user=*"), http.StatusOK, why, `value="everyone"`)
	wantSays(t, d.get(t, "/generate"), http.StatusOK, why, `value="generate"`)
	wantSays(t, d.get(t, "/delete?id="+bobs.ID.String()), http.StatusOK, why, `value="delete:`+bobs.ID.String())
	wantSays(t, d.post(t, "/settings", url.Values{}), http.StatusUnauthorized, why, "Nothing was changed.")
	if policy := d.page.Registry.Policy(d.page.Project); !policy.Enabled {
		t.Error("settings were changed")
	}
	w := d.post(t, "/sign-in", url.Values{"user": {"alice"}, "password": {"open"}, "next": {"delete:" + bobs.ID.String()}})
	if location := w.Header().Get("Location"); location != "../access-tokens/delete?id="+bobs.ID.String() {
		t.Errorf("goes on to %q", location)
	}
	if d.cookie == old {
		t.Error("the session stayed the same")
	}
	wantSays(t, d.get(t, "/delete?id="+bobs.ID.String()), http.StatusOK, "bob")
	d.cookie = old
	wantSays(t, d.get(t, ""), http.StatusOK, "Your session has ended")
}

func TestSignInGoesNowhereElse(t *testing.T) {
	for next, want := range map[string]string{
		"": "", "generate": "/generate", "settings": "/settings", "everyone": "?user=*", "blocked": "/blocked",
		"user:bob": "?user=bob", "user:a&b": "?user=a%26b", "block:b b": "/block?user=b+b", "delete-all": "/delete-all", "delete-all:bob": "/delete-all?user=bob",
		"user:": "", "user:*": "", "block": "", "block: bob": "", "settings:bob": "", "unblock:bob": "", "unblock": "",
		"//evil.example": "", "https://evil.example": "", "token:6f9619ff-8b86-d011-b42d-00c04fc964ff": "/token?id=6f9619ff-8b86-d011-b42d-00c04fc964ff", "renew:6f9619ff-8b86-d011-b42d-00c04fc964ff": "/generate?renews=6f9619ff-8b86-d011-b42d-00c04fc964ff",
		"delete:6f9619ff-8b86-d011-b42d-00c04fc964ff 7f9619ff-8b86-d011-b42d-00c04fc964ff": "/delete?id=6f9619ff-8b86-d011-b42d-00c04fc964ff+7f9619ff-8b86-d011-b42d-00c04fc964ff",
		"delete:": "", "delete:../x": "", "token:": "", "renew:&x": "", "delete: 6f9619ff-8b86-d011-b42d-00c04fc964ff": "", "sign-out": "", "/generate": "",
		"delete:6F9619FF-8B86-D011-B42D-00C04FC964FF": "",
	} {
		d := newDesk(t)
		w := d.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {"open"}, "next": {next}})
		if got := w.Header().Get("Location"); got != "../access-tokens"+want {
			t.Errorf("%q goes on to %q", next, got)
		}
	}
}

func TestSignInCannotTell(t *testing.T) {
	d := newDesk(t)
	w := d.post(t, "/sign-in", url.Values{"user": {"dora"}, "password": {"open"}})
	wantSays(t, w, http.StatusServiceUnavailable, "Signing in isn’t possible right now.", `value="dora"`)
	if w.Header().Get("Retry-After") == "" || w.Header().Get("Set-Cookie") != "" || strings.Contains(w.Body.String(), "directory") {
		t.Errorf("%v\n%s", w.Header(), w.Body)
	}
	d.page.Known = func(*http.Request) (registry.Caller, error) { return registry.Caller{}, store.ErrUnavailable }
	w, err := d.ask(t, httptest.NewRequest(http.MethodGet, "/access-tokens", nil))
	wantSays(t, w, http.StatusServiceUnavailable, "This can’t be answered right now")
	if !IsAnswered(err) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the owner is told %v", err)
	}
}

// Whoever is signed in by other means is asked about at each request, and can't
// sign out here.
func TestKnownOtherwise(t *testing.T) {
	d := newDesk(t)
	known := true
	d.page.Known = func(*http.Request) (registry.Caller, error) {
		if !known {
			return registry.Caller{}, tokenapi.ErrNotSignedIn
		}
		return registry.SignedIn("", store.User{ID: "erin", Name: "Erin E."}, false), nil
	}
	w := d.get(t, "")
	wantSays(t, w, http.StatusOK, "Erin E.", "You have no access tokens")
	if strings.Contains(w.Body.String(), "Sign out") || w.Header().Get("Set-Cookie") != "" || d.page.Memory.Sessions.byID.Len() != 0 {
		t.Errorf("something of it is stored: %v\n%s", w.Header(), w.Body)
	}
	known = false
	d.page.TakesPassword = false
	wantSays(t, d.get(t, ""), http.StatusOK, "Sign in at the application first")
}

func TestEarlyData(t *testing.T) {
	d := newDesk(t)
	r := httptest.NewRequest(http.MethodGet, "/access-tokens", nil)
	r.TLS = &tls.ConnectionState{}
	w, err := d.ask(t, r)
	if w.Code != http.StatusTooEarly || err != nil {
		t.Errorf("%d, %v", w.Code, err)
	}
}

// A link on another site leads to the list, although the browser doesn't send
// the cookie with its first request.
func TestLinkFromAnotherSite(t *testing.T) {
	d := newDesk(t)
	r := httptest.NewRequest(http.MethodGet, "/access-tokens", nil)
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
		r.Header.Set(name, value)
	}
	w, _ := d.ask(t, r)
	wantSays(t, w, http.StatusOK)
	if w.Header().Get("Refresh") != "0" || strings.Contains(w.Body.String(), "password") {
		t.Errorf("%v\n%s", w.Header(), w.Body)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if w, _ := d.ask(t, r); w.Header().Get("Refresh") != "" {
		t.Error("again and again")
	}
}

func TestTooLargeForm(t *testing.T) {
	d := newDesk(t)
	wantSays(t, d.post(t, "/sign-in", url.Values{"user": {strings.Repeat("x", incoming.MaxBody)}}), http.StatusRequestEntityTooLarge, "too much text")
}

// However many tokens there are, a list leads to each of them, and to the first
// ten thousand where it is sorted by something that isn't in its keys.
func TestManyTokens(t *testing.T) {
	d := newDesk(t)
	d.fix(store.Settings{Generate: "everyone"})
	const many, users = 10_020, 60 // one of which makes one at a time
	var all sync.WaitGroup
	for i := range users {
		all.Go(func() {
			for range many / users {
				caller := registry.SignedIn("", store.User{ID: fmt.Sprintf("user %d", i)}, false)
				if _, _, err := d.page.Registry.Issue(t.Context(), d.page.Project, caller, registry.Wish{Prefix: "cat", LifetimeSeconds: 3600, Description: "one of many"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	d.signIn(t, "alice")
	wantSays(t, d.get(t, "?user=*&page=201"), http.StatusOK, "10,001–10,020 of 10,020 tokens")
	wantSays(t, d.get(t, "?user=*&q=many&page=100"), http.StatusOK, "4,951–5,000 of 10,020 tokens")
	wantSays(t, d.get(t, "?user=*&q=user+59"), http.StatusOK, "1–50 of 167 tokens")
	sorted := d.get(t, "?user=*&sort=used&page=201")
	wantSays(t, sorted, http.StatusOK, "9,951–10,000 of 10,000 tokens", "only the first 10,000 tokens are shown", `href="access-tokens?user=%2A">Sort by Created`)
	if strings.Contains(sorted.Body.String(), `rel="next"`) {
		t.Error("there is a link to more")
	}
	d.signIn(t, "user 7")
	wantSays(t, d.get(t, "?page=4&sort=expires"), http.StatusOK, "151–167 of 167 tokens")
}

// A user whom the sign-ins know no more has no session any more.
func TestSessionOfAUserWhoIsGone(t *testing.T) {
	d := newDesk(t)
	d.fix(store.Settings{Generate: "everyone"})
	d.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {"open"}})
	wantSays(t, d.get(t, ""), http.StatusOK, "Sign out")
	secret := d.cookie
	d.gone["bob"] = true
	wantSays(t, d.get(t, ""), http.StatusOK, "Your session has ended")
	d.gone["bob"], d.cookie = false, secret
	wantSays(t, d.get(t, ""), http.StatusOK, "Your session has ended")
}

// After a wrong password the form still says why it asks.
func TestAskedAgainAndWrong(t *testing.T) {
	d := newDesk(t)
	d.post(t, "/sign-in", url.Values{"user": {"alice"}, "password": {"open"}})
	d.advance(adminLimit)
	wantSays(t, d.get(t, "/settings"), http.StatusOK, `name="again"`)
	wantSays(t, d.post(t, "/sign-in", url.Values{"user": {"alice"}, "password": {"wrong"}, "next": {"settings"}, "again": {"1"}}),
		http.StatusUnauthorized, "User name or password is wrong.", "Enter your password again", "Administrator rights last 15 minutes", `name="again"`)
}

// An empty form would switch API access off.
func TestEmptySettingsForm(t *testing.T) {
	d := newDesk(t)
	d.post(t, "/sign-in", url.Values{"user": {"alice"}, "password": {"open"}})
	wantSays(t, d.post(t, "/settings", url.Values{}), http.StatusBadRequest, "The form can’t be read")
	if !d.page.Registry.Policy(d.page.Project).Enabled {
		t.Error("API access is off")
	}
}

// A form that was loaded before an emergency doesn't end it.
func TestSettingsFormSetsWhatWasChanged(t *testing.T) {
	d := newDesk(t)
	d.post(t, "/sign-in", url.Values{"user": {"alice"}, "password": {"open"}})
	loaded := url.Values{"all": {"1"}, "was-enabled": {"true"}, "was-generate": {"admins"}, "was-users": {""}, "was-limit": {"365"},
		"enabled": {"on"}, "generate": {"users"}, "users": {"bob\r\ncarol"}, "limit": {"days"}, "days": {"365"}}
	change := func(s store.Settings) {
		t.Helper()
		if _, err := d.page.Registry.Configure(t.Context(), d.page.Project, registry.SignedIn("", store.User{ID: "root"}, true), s); err != nil {
			t.Fatal(err)
		}
	}
	change(store.Settings{Enabled: new(false), MaxLifetimeDays: 7})
	wantSays(t, d.post(t, "/settings", loaded), http.StatusSeeOther)
	got := d.page.Registry.Policy(d.page.Project)
	if got.Enabled || got.MaxLifetimeDays != 7 || got.Generate != "users" || strings.Join(got.Users, " ") != "bob carol" {
		t.Errorf("%+v", got)
	}
	change(store.Settings{Enabled: new(true)})
	form := d.get(t, "/settings").Body.String()
	for _, field := range []string{`name="was-enabled" value="true"`, `name="was-generate" value="users"`, "name=\"was-users\" value=\"bob\ncarol\"", `name="was-limit" value="7"`} {
		if !strings.Contains(form, field) {
			t.Errorf("no %s in %s", field, form)
		}
	}
	// What is sent back as it was changes nothing.
	before := d.page.Registry.Policy(d.page.Project)
	wantSays(t, d.post(t, "/settings", url.Values{"all": {"1"}, "was-enabled": {"true"}, "was-generate": {"users"}, "was-users": {"bob\r\ncarol"}, "was-limit": {"7"},
		"enabled": {"on"}, "generate": {"users"}, "users": {"bob\r\ncarol"}, "limit": {"days"}, "days": {"7"}}), http.StatusSeeOther)
	if after := d.page.Registry.Policy(d.page.Project); !cmp.Equal(before, after, cmp.AllowUnexported(registry.Policy{}), cmpopts.IgnoreFields(registry.Policy{}, "project")) {
		t.Errorf("%+v has become %+v", before, after)
	}
}

// What can't be saved is said once, and beside what holds.
func TestSettingsThatCantBeSaved(t *testing.T) {
	d := newDesk(t)
	d.post(t, "/sign-in", url.Values{"user": {"alice"}, "password": {"open"}})
	if err := d.store.Close(); err != nil {
		t.Fatal(err)
	}
	got := d.post(t, "/settings", url.Values{"all": {"1"}, "generate": {"admins"}, "limit": {"days"}, "days": {"365"}})
	wantSays(t, got, http.StatusServiceUnavailable, "couldn’t be saved", "Save Settings")
	if body := got.Body.String(); strings.Contains(body, "API access is off") || strings.Count(body, "<!DOCTYPE") != 1 {
		t.Errorf("%s", body)
	}
}

// A browser that gives up on a form doesn't make it usable again: the token may
// be made all the same.
func TestAFormWhoseBrowserHasGone(t *testing.T) {
	d := newDesk(t)
	d.fix(store.Settings{Generate: "everyone"})
	d.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {"open"}})
	form := url.Values{"nonce": {d.nonce(t)}, "lifetime": {"30"}, "days": {""}, "description": {""}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest(http.MethodPost, "/access-tokens/generate", strings.NewReader(form.Encode())).WithContext(ctx)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, err := d.ask(t, r); err != nil {
		t.Error(err)
	}
	wantSays(t, d.post(t, "/generate", form), http.StatusConflict, "makes one token only")
}

// Wherever a near miss leads, its links lead to the page.
func TestLinksOfNearMisses(t *testing.T) {
	p := Page{Project: registry.NewProject("p", registry.Rules{}), Path: "/tools/tokens", Connection: Encrypted}
	for target, want := range map[string]string{
		"/tools/tokens/": "../../tools/tokens", "/Tools/tokens": "../tools/tokens", "/tools%2Ftokens": "tools/tokens", "/x/..;/tools/tokens": "../../../tools/tokens",
	} {
		w := httptest.NewRecorder()
		p.Refuse(w, httptest.NewRequest(http.MethodGet, target, nil), tokenapi.ErrNoRoute)
		wantSays(t, w, http.StatusNotFound, `href="`+want+`"`, `href="`+want+`/page.css"`)
	}
}

// However deep a path is, the answer is a small document, whose links lead to
// the page, also where something was cut off.
func TestDeepPaths(t *testing.T) {
	for _, path := range []string{
		"/access-tokens" + strings.Repeat("/", 10_000), strings.Repeat("/", 10_000) + "access-tokens",
		"/access-tokens" + strings.Repeat("/x", 10_000), strings.Repeat("/..", 10_000) + "/access-tokens", "/access-tokens/generate" + strings.Repeat("/", 20),
	} {
		d := newDesk(t)
		d.page.CutOff = "/pre"
		near := httptest.NewRecorder()
		d.page.Refuse(near, httptest.NewRequest(http.MethodGet, path, nil), tokenapi.ErrNoRoute)
		ours, err := d.ask(t, httptest.NewRequest(http.MethodGet, "/access-tokens"+path, nil))
		if err != nil {
			t.Fatal(err)
		}
		for name, w := range map[string]*httptest.ResponseRecorder{"a near miss": near, "below the page": ours} {
			wantSays(t, w, http.StatusNotFound, "This page doesn’t exist", `href="/pre/access-tokens"`, `href="/pre/access-tokens/page.css"`)
			if size := w.Body.Len(); size > 4<<10 {
				t.Errorf("%s with %d bytes is answered with %d: %.30s", name, len(path), size, path)
			}
		}
	}
}

// While API access is off, administrators manage tokens all the same, and can
// switch it on; but nobody makes any.
func TestOff(t *testing.T) {
	d := newDesk(t)
	signIn := func(user string) { d.post(t, "/sign-in", url.Values{"user": {user}, "password": {"open"}}) }
	d.fix(store.Settings{Generate: "everyone"})
	bobs := make([]string, 2)
	for i := range bobs {
		_, made, err := d.page.Registry.Issue(t.Context(), d.page.Project, registry.SignedIn("", store.User{ID: "bob"}, false), registry.Wish{Prefix: "cat", LifetimeSeconds: 3600, Description: "bob's own"})
		if err != nil {
			t.Fatal(err)
		}
		bobs[i] = made.ID.String()
	}
	signIn("alice")
	wantSays(t, d.post(t, "/settings", url.Values{"switch": {"1"}}), http.StatusSeeOther)
	const isOff, toSwitch, fixed = "API access is off", "Switch API access on", "It is set in the Caddyfile."
	lacks := func(w *httptest.ResponseRecorder, text string) {
		t.Helper()
		if strings.Contains(w.Body.String(), text) {
			t.Errorf("says %q: %s", text, w.Body)
		}
	}

	wantSays(t, d.get(t, ""), http.StatusOK, isOff, toSwitch, "You have no access tokens")
	lacks(d.get(t, ""), "Generate New Token")
	wantSays(t, d.get(t, "?user=*"), http.StatusOK, isOff, toSwitch, "bob's own", "/delete?id="+bobs[0])
	wantSays(t, d.get(t, "/delete?id="+bobs[0]), http.StatusOK, "Delete Token", "bob's own")
	wantSays(t, d.post(t, "/delete", url.Values{"id": {bobs[0]}}), http.StatusSeeOther)
	wantSays(t, d.get(t, "/settings"), http.StatusOK, isOff, toSwitch)
	lacks(d.get(t, "/settings"), "Save Settings")
	wantSays(t, d.get(t, "/generate"), http.StatusOK, isOff, toSwitch)
	wantSays(t, d.post(t, "/generate", url.Values{"lifetime": {"30"}}), http.StatusForbidden, isOff, "No token was made.")

	// Who has to enter the password again goes on to what was wanted.
	d.advance(adminLimit)
	wantSays(t, d.get(t, "?user=*"), http.StatusOK, "Enter your password again", `value="everyone"`)
	wantSays(t, d.get(t, "/delete?id="+bobs[1]), http.StatusOK, "Enter your password again", `value="delete:`+bobs[1])
	wantSays(t, d.post(t, "/delete", url.Values{"id": {bobs[1]}}), http.StatusUnauthorized, "Nothing was changed.")

	signIn("bob")
	for _, below := range []string{"", "?user=*", "/generate", "/delete?id=" + bobs[1], "/settings"} {
		w := d.get(t, below)
		wantSays(t, w, http.StatusOK, isOff, "once an administrator of the project has switched", "Sign out")
		lacks(w, toSwitch)
		lacks(w, "bob's own")
	}
	wantSays(t, d.post(t, "/delete", url.Values{"id": {bobs[1]}}), http.StatusForbidden, isOff)
	wantSays(t, d.post(t, "/generate", url.Values{"lifetime": {"30"}}), http.StatusForbidden, isOff)
	wantSays(t, d.post(t, "/settings", url.Values{"switch": {"1"}, "enabled": {"on"}}), http.StatusForbidden, isOff)
	wantSays(t, d.post(t, "/sign-out", url.Values{}), http.StatusSeeOther)
	if d.cookie != "" {
		t.Error("bob can't sign out")
	}

	signIn("alice")
	d.fix(store.Settings{Enabled: new(false)})
	for _, below := range []string{"", "/settings"} {
		w := d.get(t, below)
		wantSays(t, w, http.StatusOK, isOff, fixed)
		lacks(w, toSwitch)
	}
	d.fix(store.Settings{})
	wantSays(t, d.post(t, "/settings", url.Values{"switch": {"1"}, "enabled": {"on"}}), http.StatusSeeOther)
	w := d.get(t, "")
	wantSays(t, w, http.StatusOK, "Generate New Token")
	lacks(w, isOff)
	if tokens, _, err := d.page.Registry.List(d.page.Project, registry.SignedIn("", store.User{ID: "bob"}, false), registry.Listing{}); err != nil || len(tokens) != 1 {
		t.Errorf("%d tokens, %v", len(tokens), err)
	}
}

// Who can't sign in because the proxy in front isn't trusted learns who can
// mend that.
func TestUntrustedProxy(t *testing.T) {
	d := newDesk(t)
	d.page.Connection, d.page.Untrusted = Open, true
	wantSays(t, d.get(t, ""), http.StatusOK, "trusted_proxies", "the gateway isn’t told to believe that")
	d.page.Untrusted = false
	wantSays(t, d.get(t, ""), http.StatusOK, "https://")
	d.page.Untrusted, d.page.TakesPassword = true, false
	if body := d.get(t, "").Body.String(); strings.Contains(body, "trusted_proxies") {
		t.Errorf("nobody takes a password here: %s", body)
	}
}
