package contract

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What administrators change while the server runs.

const settingsTarget = api + "/settings"

// settings are what an administrator reads.
type settings struct {
	Enabled         bool     `json:"enabled"`
	Generate        string   `json:"generate"`
	Users           []string `json:"users"`
	MaxLifetimeDays int      `json:"maxLifetimeDays"`
	Fixed           []string `json:"fixed"`
}

// openSite are the options of a site that leaves all settings to administrators.
const openSite = ""

func byDefault() settings {
	return settings{Enabled: true, Generate: "admins", Users: []string{}, MaxLifetimeDays: 365, Fixed: []string{}}
}

func (g *gateway) settings(t testing.TB, auth string) settings {
	t.Helper()
	got := g.do(t, ask{target: settingsTarget, auth: auth})
	wantStatus(t, got, http.StatusOK)
	var s settings
	got.into(t, &s)
	return s
}

// patch changes settings, and wants the answer to be all that there are.
func (g *gateway) patch(t testing.TB, auth, body string) settings {
	t.Helper()
	got := g.do(t, ask{method: "PATCH", target: settingsTarget, auth: auth, body: body})
	wantStatus(t, got, http.StatusOK)
	var s settings
	got.into(t, &s)
	return s
}

func wantSettings(t testing.TB, what string, got, want settings) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (g *gateway) tryCreate(t testing.TB, auth string, lifetime int64) answered {
	t.Helper()
	return g.do(t, ask{method: "POST", target: api, auth: auth, body: fmt.Sprintf(`{"lifetimeSeconds": %d}`, lifetime)})
}

func TestSettingsAreForAdministrators(t *testing.T) {
	t.Parallel()
	g := start(t, site(openSite))
	alices := g.create(t, as("alice"), 3600, "")
	g.patch(t, as("alice"), `{"generate": "everyone"}`)
	bobs := g.create(t, as("bob"), 3600, "")
	want := byDefault()
	want.Generate = "everyone"
	for _, auth := range []string{as("alice"), bearer(alices.value)} {
		wantSettings(t, "read", g.settings(t, auth), want)
		wantSettings(t, "changed", g.patch(t, auth, `{"enabled": true}`), want)
		wantStatus(t, g.do(t, ask{method: "HEAD", target: settingsTarget, auth: auth}), http.StatusOK)
	}
	for _, auth := range []string{as("bob"), bearer(bobs.value)} {
		for _, method := range []string{"GET", "PATCH"} {
			wantRefused(t, g.do(t, ask{method: method, target: settingsTarget, auth: auth, body: `{"generate": "admins"}`}), http.StatusForbidden, "AccessControlException")
		}
	}
	for _, auth := range []string{"", basic("alice", "wrong"), basic("nobody", "x")} {
		for _, method := range []string{"GET", "PATCH"} {
			wantRefused(t, g.do(t, ask{method: method, target: settingsTarget, auth: auth, body: `{"generate": "admins"}`}), http.StatusUnauthorized, "AuthenticationRequired")
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		got := g.do(t, ask{method: method, target: settingsTarget, auth: as("alice"), body: `{}`})
		wantRefused(t, got, http.StatusMethodNotAllowed, "MethodNotAllowed")
		if allow := got.header.Get("Allow"); allow != "GET, HEAD, PATCH, OPTIONS" {
			t.Errorf("%s: Allow %q", method, allow)
		}
	}
	for _, target := range []string{settingsTarget + "/", api + "/Settings", api + "//settings", api + "/settings/x", api + "/%73ettings"} {
		got := g.do(t, ask{method: "PATCH", target: target, auth: as("alice"), body: `{"enabled": false}`})
		wantRefused(t, got, http.StatusNotFound, "RouteNotFoundException")
	}
	wantRefused(t, g.do(t, ask{method: "PATCH", target: settingsTarget, auth: as("alice"), body: `{"enabled": false}`, lines: []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}}),
		http.StatusForbidden, "AccessControlException")
	wantSettings(t, "after all that", g.settings(t, as("alice")), want)
}

func TestSettingsChangeAllOrNothing(t *testing.T) {
	t.Parallel()
	g := start(t, site(openSite))
	want := byDefault()
	for _, change := range []struct {
		body string
		set  func()
	}{
		{`{"generate": "users", "users": ["bob"]}`, func() { want.Generate, want.Users = "users", []string{"bob"} }},
		{`{"maxLifetimeDays": 7}`, func() { want.MaxLifetimeDays = 7 }},
		{`{"maxLifetimeDays": -1, "users": []}`, func() { want.MaxLifetimeDays, want.Users = -1, []string{} }},
		{`{"maxLifetimeDays": 36525, "unknown": [1]}`, func() { want.MaxLifetimeDays = 36525 }},
		{`{}`, func() {}},
	} {
		change.set()
		wantSettings(t, change.body, g.patch(t, as("alice"), change.body), want)
		wantSettings(t, "after "+change.body, g.settings(t, as("alice")), want)
	}
	for _, body := range []string{
		`{"maxLifetimeDays": 1, "generate": "nobody"}`, `{"maxLifetimeDays": 1, "users": ["*"]}`, `{"generate": "admins", "maxLifetimeDays": 0}`,
		`{"generate": "admins", "maxLifetimeDays": 36526}`, `{"generate": "admins", "maxLifetimeDays": 1.5}`, `{"generate": "admins", "enabled": "no"}`,
		`{"generate": "admins", "Enabled": false}`, `{"generate": "admins", "generate": "admins"}`, `{"generate": "admins"} {}`, `{"enabled": null, "generate": "admins"}`,
		"{\"generate\": \"admins\", \"x\": \"\xff\"}", `[]`, `{`, `{"enable": false}`,
	} {
		wantRefused(t, g.do(t, ask{method: "PATCH", target: settingsTarget, auth: as("alice"), body: body}), http.StatusBadRequest, "ApiValidationFailed")
	}
	wantRefused(t, g.do(t, ask{method: "PATCH", target: settingsTarget, auth: as("alice"), body: `{"enabled": false}`, kind: "text/plain"}), http.StatusUnsupportedMediaType, "UnsupportedMediaType")
	wantRefused(t, g.do(t, ask{method: "PATCH", target: settingsTarget, auth: as("alice"), body: `{"x": "` + strings.Repeat("x", 64<<10) + `"}`}), http.StatusRequestEntityTooLarge, "PayloadTooLarge")
	wantSettings(t, "after what was refused", g.settings(t, as("alice")), want)
}

func TestWhatTheCaddyfileSetsIsFixed(t *testing.T) {
	t.Parallel()
	g := start(t, site(openSite))
	g.patch(t, as("alice"), `{"generate": "users", "users": ["bob"], "maxLifetimeDays": 7}`)
	for _, test := range []struct {
		options string
		want    settings
		refused []string
	}{
		{"allow_generate admins", settings{true, "admins", []string{}, 7, []string{"generate"}},
			[]string{`{"generate": "everyone"}`, `{"generate": "admins"}`, `{"users": []}`, `{"maxLifetimeDays": 30, "generate": "everyone"}`}},
		{"allow_generate users carol bob", settings{true, "users", []string{"bob", "carol"}, 7, []string{"generate"}}, []string{`{"users": ["bob", "carol"]}`}},
		{"max_lifetime unlimited", settings{true, "users", []string{"bob"}, -1, []string{"maxLifetimeDays"}}, []string{`{"maxLifetimeDays": 30}`, `{"enabled": false, "maxLifetimeDays": -1}`}},
		{"api_access on", settings{true, "users", []string{"bob"}, 7, []string{"enabled"}}, []string{`{"enabled": false}`, `{"enabled": true}`}},
		{"api_access on\nmax_lifetime 30d\nallow_generate everyone", settings{true, "everyone", []string{}, 30, []string{"enabled", "generate", "maxLifetimeDays"}}, []string{`{"users": []}`}},
		// What was set before is there again.
		{openSite, settings{true, "users", []string{"bob"}, 7, []string{}}, nil},
	} {
		if complaint := g.reload(t, site(test.options)); complaint != "" {
			t.Fatal(complaint)
		}
		wantSettings(t, test.options, g.settings(t, as("alice")), test.want)
		for _, body := range test.refused {
			e := wantRefused(t, g.do(t, ask{method: "PATCH", target: settingsTarget, auth: as("alice"), body: body}), http.StatusConflict, "ConflictException")
			if option, _, _ := strings.Cut(test.options, " "); !strings.Contains(e.Details, option) && strings.Count(test.options, "\n") == 0 {
				t.Errorf("%s: %q doesn't name %s", body, e.Details, option)
			}
		}
		wantSettings(t, test.options+", after what was refused", g.settings(t, as("alice")), test.want)
	}
}

// A change holds through reloads, restarts and crashes from its answer on.
func TestSettingsAreDurable(t *testing.T) {
	t.Parallel()
	g := start(t, site(openSite))
	made := g.create(t, as("alice"), 3600, "")
	want := byDefault()
	for i, outage := range []struct {
		name string
		do   func()
	}{
		{"a reload", func() {
			if complaint := g.reload(t, site("keep_cookies locale")); complaint != "" {
				t.Fatal(complaint)
			}
		}},
		{"a restart", func() { g.restart(t) }},
		{"kill -9", func() { g.kill9(t); g.up(t) }},
		{"another kill -9", func() { g.kill9(t); g.up(t) }},
	} {
		want.Enabled, want.MaxLifetimeDays, want.Users = !want.Enabled, i+1, []string{fmt.Sprint("user", i)}
		body := fmt.Sprintf(`{"enabled": %v, "maxLifetimeDays": %d, "users": ["user%d"]}`, want.Enabled, i+1, i)
		g.patch(t, as("alice"), body)
		outage.do()
		got := g.do(t, ask{auth: bearer(made.value)})
		if want.Enabled {
			wantProxied(t, got, "alice")
		} else {
			wantRefused(t, got, http.StatusForbidden, "AccessControlException")
		}
		wantSettings(t, "after "+outage.name, g.settings(t, as("alice")), want)
	}
}

// A change whose body is still on its way when its token is deleted, or
// switched off with all others, comes too late.
func TestAChangeThatIsHeldBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		meanwhile func(*gateway, token)
		status    int
		exception string
	}{
		"switched off": {func(g *gateway, _ token) { g.patch(t, as("alice"), `{"enabled": false}`) }, 403, "AccessControlException"},
		"deleted":      {func(g *gateway, made token) { g.remove(t, as("alice"), made.target()) }, 401, "InvalidToken"},
	} {
		g := start(t, site(openSite))
		made := g.create(t, as("alice"), 3600, "")
		held := ask{method: "PATCH", target: settingsTarget, auth: bearer(made.value), body: `{"enabled": true, "generate": "everyone"}`}.text(g.addresses[0])
		conn, err := net.Dial("tcp", g.addresses[0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, held[:len(held)-10]); err != nil {
			t.Fatal(err)
		}
		// The token is looked at, which shows as a use, before the body is there.
		g.wait(t, "the request to be under way", func() bool {
			return g.info(t, as("alice"), made.info.TokenID).LastUsed != nil
		})
		test.meanwhile(g, made)
		before := g.settings(t, as("alice"))
		if _, err := io.WriteString(conn, held[len(held)-10:]); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != test.status || !strings.Contains(string(body), test.exception) {
			t.Errorf("%s: %d %s, %v", name, resp.StatusCode, body, err)
		}
		wantSettings(t, name, g.settings(t, as("alice")), before)
	}
}

// The next request in the same connection, sent before the change was
// answered, is decided by the change.
func TestSettingsHoldForWhatFollowsInTheConnection(t *testing.T) {
	t.Parallel()
	g := start(t, site(openSite))
	made := g.create(t, as("alice"), 3600, "")
	for _, enabled := range []bool{false, true, false} {
		conn, err := net.Dial("tcp", g.addresses[0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		host := g.addresses[0]
		change := ask{method: "PATCH", target: settingsTarget, auth: as("alice"), body: fmt.Sprintf(`{"enabled": %v}`, enabled)}
		if _, err := io.WriteString(conn, change.text(host)+ask{auth: bearer(made.value)}.text(host)); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		var statuses []int
		for range 2 {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			statuses = append(statuses, resp.StatusCode)
		}
		want := []int{200, 403}
		if enabled {
			want[1] = 200
		}
		if diff := cmp.Diff(want, statuses); diff != "" {
			t.Errorf("enabled %v (-want +got):\n%s", enabled, diff)
		}
	}
}

func TestOffAndOn(t *testing.T) {
	t.Parallel()
	g := start(t, site("without_token pass\npublic /health\nsign_in_limit 100 1m"))
	g.patch(t, as("alice"), `{"generate": "everyone"}`)
	alices, bobs := g.create(t, as("alice"), 3600, "kept"), g.create(t, as("bob"), 3600, "kept")
	leaked, found := g.create(t, as("bob"), 3600, "leaked"), g.create(t, as("bob"), 3600, "found")
	before := g.list(t, as("alice"), "?user=*")
	// A token may switch off, itself included.
	want := byDefault()
	want.Generate, want.Enabled = "everyone", false
	wantSettings(t, "off", g.patch(t, bearer(alices.value), `{"enabled": false}`), want)

	t.Run("every token is refused at once, with 403", func(t *testing.T) {
		for _, made := range []token{alices, bobs} {
			for _, a := range []ask{{}, {target: "/health"}, {target: api}, {target: settingsTarget}, {method: "PATCH", target: settingsTarget, body: `{"enabled": true}`}, {method: "DELETE", target: made.target()}, {target: currentTarget}} {
				a.auth = bearer(made.value)
				e := wantRefused(t, g.do(t, a), http.StatusForbidden, "AccessControlException")
				if !strings.Contains(e.Details, "Keep the token") {
					t.Errorf("details %q", e.Details)
				}
			}
		}
	})
	t.Run("what is no token is still refused as such", func(t *testing.T) {
		wantRefused(t, g.do(t, ask{auth: "Bearer cat_unknown"}), http.StatusUnauthorized, "InvalidToken")
	})
	t.Run("the routes are hidden, and all alike", func(t *testing.T) {
		var first string
		for _, auth := range []string{as("bob"), "", basic("alice", "wrong"), basic("nobody", "x"), "Token x"} {
			for _, a := range []ask{
				{target: api}, {target: bobs.target()}, {method: "POST", target: api, body: `{"lifetimeSeconds": 60}`}, {method: "OPTIONS", target: api}, {target: api + "/x/y"},
				{target: settingsTarget}, {method: "PATCH", target: settingsTarget, body: `{"enabled": true}`}, {method: "OPTIONS", target: settingsTarget}, {method: "POST", target: settingsTarget},
				{target: currentTarget}, {method: "DELETE", target: currentTarget}, {target: strings.ToUpper(api)}, {target: api + "/Settings"},
			} {
				a.auth = auth
				got := g.do(t, a)
				wantRefused(t, got, http.StatusNotFound, "RouteNotFoundException")
				got.header.Del("Date")
				if answer := fmt.Sprint(got.header, got.body); first == "" {
					first = answer
				} else if diff := cmp.Diff(first, answer); diff != "" {
					t.Errorf("%s %s by %q tells something:\n%s", a.method, a.target, auth, diff)
				}
			}
		}
	})
	t.Run("an administrator who signs in has them, but makes no tokens", func(t *testing.T) {
		wantSettings(t, "off", g.settings(t, as("alice")), want)
		if diff := cmp.Diff(before.ids(), g.list(t, as("alice"), "?user=*").ids()); diff != "" {
			t.Errorf("the list (-before +now):\n%s", diff)
		}
		wantStatus(t, g.do(t, ask{target: bobs.target(), auth: as("alice")}), http.StatusOK)
		wantRefused(t, g.do(t, ask{target: api + "/x/y", auth: as("alice")}), http.StatusNotFound, "RouteNotFoundException")
		e := wantRefused(t, g.tryCreate(t, as("alice"), 60), http.StatusForbidden, "AccessControlException")
		if !strings.Contains(e.Details, "in its settings") {
			t.Errorf("details %q", e.Details)
		}
		g.remove(t, as("alice"), leaked.target())
	})
	t.Run("whoever holds a token can end it", func(t *testing.T) {
		g.remove(t, bearer(found.value), currentTarget)
		for _, method := range []string{"GET", "DELETE"} {
			wantRefused(t, g.do(t, ask{method: method, target: currentTarget, auth: bearer(found.value)}), http.StatusUnauthorized, "InvalidToken")
		}
	})
	t.Run("requests without a token go on", func(t *testing.T) {
		wantStatus(t, g.do(t, ask{}), http.StatusOK)
		wantStatus(t, g.do(t, ask{target: "/health"}), http.StatusOK)
		got := g.do(t, ask{lines: []string{"Cookie: session=bob's", "Remote-User: bob"}})
		wantStatus(t, got, http.StatusOK)
		if got.received == nil || len(got.received.lines("Cookie")) != 1 || len(got.received.lines("Remote-User")) != 0 {
			t.Errorf("not as before: %s", got)
		}
	})
	t.Run("on again, all is as it was", func(t *testing.T) {
		want.Enabled = true
		wantSettings(t, "on", g.patch(t, as("alice"), `{"enabled": true}`), want)
		if diff := cmp.Diff(before.ids()[:2], g.list(t, as("alice"), "?user=*").ids()); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
		wantProxied(t, g.do(t, ask{auth: bearer(alices.value)}), "alice")
		wantProxied(t, g.do(t, ask{auth: bearer(bobs.value)}), "bob")
		wantStatus(t, g.tryCreate(t, as("bob"), 60), http.StatusCreated)
	})
}

// Settings are their project's alone.
func TestSettingsOfOneProject(t *testing.T) {
	t.Parallel()
	g := start(t, siteAt("{$PORT}", "project one")+siteAt("{$PORT2}", "project two")+siteAt("{$PORT3}", "project one"))
	one, two := g.createAt(t, 0, as("alice"), 3600, ""), g.createAt(t, 1, as("alice"), 3600, "")
	g.patch(t, as("alice"), `{"enabled": false}`)
	wantRefused(t, g.do(t, ask{auth: bearer(one.value)}), http.StatusForbidden, "AccessControlException")
	wantRefused(t, g.do(t, ask{site: 2, auth: bearer(one.value)}), http.StatusForbidden, "AccessControlException")
	wantProxied(t, g.do(t, ask{site: 1, auth: bearer(two.value)}), "alice")
}

func TestTheRightToGenerateWithdrawn(t *testing.T) {
	t.Parallel()
	g := start(t, site(openSite))
	g.patch(t, as("alice"), `{"generate": "users", "users": ["bob"]}`)
	bobs := g.create(t, as("bob"), 3600, "")
	wantStatus(t, g.tryCreate(t, bearer(bobs.value), 60), http.StatusCreated)

	for _, change := range []string{`{"users": ["carol"]}`, `{"generate": "admins", "users": ["bob"]}`} {
		g.patch(t, as("alice"), change)
		for what, auth := range map[string]string{"creating": as("bob"), "renewing": bearer(bobs.value)} {
			e := wantRefused(t, g.tryCreate(t, auth, 60), http.StatusForbidden, "AccessControlException")
			if !strings.Contains(e.Details, "An administrator of the project can allow it") {
				t.Errorf("%s: %q doesn't say who could change that", what, e.Details)
			}
		}
		wantProxied(t, g.do(t, ask{auth: bearer(bobs.value)}), "bob")
		if listed := g.list(t, as("bob"), ""); len(listed.Data) != 2 {
			t.Errorf("bob sees %d tokens", len(listed.Data))
		}
	}
	if listed := g.list(t, as("alice"), "?user=bob"); len(listed.Data) != 2 {
		t.Errorf("alice sees %d tokens of bob's", len(listed.Data))
	}
	g.remove(t, as("alice"), bobs.target())
	wantRefused(t, g.do(t, ask{auth: bearer(bobs.value)}), http.StatusUnauthorized, "InvalidToken")
	g.patch(t, as("alice"), `{"generate": "everyone"}`)
	wantStatus(t, g.tryCreate(t, as("carol"), 60), http.StatusCreated)
}

func TestALowerMaximumHoldsForNewTokens(t *testing.T) {
	t.Parallel()
	g := start(t, site(openSite))
	const day = 86400
	g.patch(t, as("alice"), `{"maxLifetimeDays": -1}`)
	year, endless := g.create(t, as("alice"), 400*day, ""), g.create(t, as("alice"), -1, "")
	g.patch(t, as("alice"), `{"maxLifetimeDays": 1}`)
	for _, made := range []token{year, endless} {
		wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "alice")
		if diff := cmp.Diff(made.info.ExpiredAt, g.info(t, as("alice"), made.info.TokenID).ExpiredAt); diff != "" {
			t.Errorf("it expires at another time (-before +after):\n%s", diff)
		}
		wantRefused(t, g.tryCreate(t, bearer(made.value), day+1), http.StatusBadRequest, "ApiValidationFailed")
		wantStatus(t, g.tryCreate(t, bearer(made.value), day), http.StatusCreated)
	}
	for _, lifetime := range []int64{day + 1, 400 * day, -1} {
		e := wantRefused(t, g.tryCreate(t, as("alice"), lifetime), http.StatusBadRequest, "ApiValidationFailed")
		if !strings.Contains(e.Details, "86400") {
			t.Errorf("%q doesn't say what is allowed", e.Details)
		}
	}
}

// While many use tokens, an administrator switches off and on: from the answer
// on not one request is decided by what held before.
func TestSwitchingOffAndOnUnderLoad(t *testing.T) {
	t.Parallel()
	g := start(t, site(openSite))
	g.patch(t, as("alice"), `{"generate": "everyone"}`)
	bobs := g.create(t, as("bob"), 3600, "")
	const clients, switches = 64, 40
	var (
		all      sync.WaitGroup
		stop     atomic.Bool
		changes  atomic.Int64 // odd while one is under way; the first one switches off
		requests atomic.Int64
		settled  atomic.Int64 // requests that no change was under way of
	)
	for n := range clients {
		c := g.connect(t)
		all.Go(func() {
			for !stop.Load() {
				before := changes.Load()
				status, body, err := c.ask(bearer(bobs.value))
				requests.Add(1)
				var wrong error
				switch {
				case err != nil:
					wrong = err
				case status != http.StatusOK && status != http.StatusForbidden:
					wrong = fmt.Errorf("status %d: %s", status, body)
				case before%2 == 0 && before == changes.Load():
					settled.Add(1)
					if off := before%4 == 2; off != (status == http.StatusForbidden) {
						wrong = fmt.Errorf("status %d after change %d was answered", status, before/2)
					}
				}
				if wrong != nil && !errors.Is(wrong, net.ErrClosed) {
					t.Errorf("client %d: %v", n, wrong)
					return
				}
				<-time.After(rest)
			}
		})
	}
	administrator := g.caller(t)
	for n := range switches {
		changes.Add(1)
		got, err := administrator.send(ask{method: "PATCH", target: settingsTarget, auth: as("alice"), body: fmt.Sprintf(`{"enabled": %v}`, n%2 == 1)})
		if _, err := want(got, err, http.StatusOK); err != nil {
			t.Fatal(err)
		}
		changes.Add(1)
		before := settled.Load()
		g.wait(t, "requests that the change has decided", func() bool { return t.Failed() || settled.Load() >= before+clients })
	}
	stop.Store(true)
	all.Wait()
	t.Logf("%d requests, %d of them between %d changes", requests.Load(), settled.Load(), switches)
}
