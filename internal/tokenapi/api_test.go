package tokenapi

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
)

// base is where the routes of these tests are.
const base = "/tokens"

// A desk serves the routes of one project from a store on disk.
type desk struct {
	API
	store *badgerstore.Store
	// now is what the clock shows, identified who was said to be the caller.
	now        time.Time
	identified []string
}

// newDesk lets everyone generate. root is the administrator.
func newDesk(t *testing.T) *desk {
	t.Helper()
	opened, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{store: opened, now: time.Date(2019, 1, 16, 0, 6, 41, 743_999_999, time.UTC)}
	d.API = API{
		Registry: registry.New(registry.Config{
			Notices: registry.Nobody{},
			Ended:   func(string, string) {},
			Store:   opened, Random: rand.Reader, Audit: noAudit{}, Logger: zap.NewNop(),
			Now:     func() time.Time { return d.now },
			Certain: func() time.Time { return d.now },
			Retain:  registry.Retain{Expired: 24 * time.Hour, Deleted: 24 * time.Hour},
		}),
		Prefix: "cat",
		SignIn: signIn,
		Authenticate: func(r *http.Request) (store.Record, error) {
			auth, err := incoming.ParseAuthorization(r.Header)
			if err != nil || auth.Value.IsZero() {
				return store.Record{}, registry.ErrInvalidToken
			}
			return d.Registry.Authenticate(d.Project, auth.Value, netip.Addr{})
		},
		Identified: func(_ *http.Request, c *registry.Caller) {
			d.identified = append(d.identified, c.User.ID)
		},
	}
	d.fix(store.Settings{Generate: registry.GenerateEveryone, MaxLifetimeDays: 1})
	t.Cleanup(func() {
		if err := errors.Join(d.Registry.Close(), d.store.Close()); err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Error(err)
		}
	})
	return d
}

// fix puts a configuration in force that fixes these settings.
func (d *desk) fix(fixed store.Settings) {
	d.Project = registry.NewProject("p", registry.Rules{
		Admins: map[string]bool{"root": true}, Fixed: fixed,
		SignIns: []registry.SignIn{{Knows: func(string) bool { return true }, NamesAdmins: true}},
	})
}

type noAudit struct{}

func (noAudit) Ready() error                    { return nil }
func (noAudit) Lines([]registry.Event) [][]byte { return nil }
func (noAudit) Changed([]registry.Event) error  { return nil }

// errDown is a sign-in's own trouble.
var errDown = errors.New("the sign-in's server is down")

// signIn believes every user name, except one that it knows nothing about.
func signIn(r *http.Request) (registry.Caller, error) {
	name, _, ok := r.BasicAuth()
	switch {
	case name == "troubled":
		return registry.Caller{}, errDown
	case name == "limited":
		return registry.Caller{}, &signinlimit.LimitedError{RetryAfter: time.Second}
	case !ok || name == "unknown":
		return registry.Caller{}, ErrNotSignedIn
	}
	return registry.SignedIn("", store.User{ID: name}, false), nil
}

// ServeHTTP does with a request what its handler does.
func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	auth, err := incoming.ParseAuthorization(r.Header)
	if err == nil {
		err = ErrNoRoute
		path := incoming.PathOf(r.URL)
		if place, rest := path.Locate(base); place == incoming.Ours {
			err = d.Serve(w, r, auth, rest)
		}
	}
	if err != nil {
		ProblemOf(err).Write(w, r, Challenge{Realm: "p", Basic: true})
	}
}

// ask sends a request that edit may change; by is a user's name or a token's value.
func (d *desk) ask(method, target, by, body string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	var content io.Reader // nil: none
	if body != "" {
		content = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, content)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	switch {
	case strings.Contains(by, "_"):
		r.Header.Set("Authorization", "Bearer "+by)
	case by != "":
		r.SetBasicAuth(by, "x")
	}
	for _, change := range edit {
		change(r)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

// make makes a token and returns its value and id.
func (d *desk) make(t *testing.T, by string) (value, id string) {
	t.Helper()
	w := d.ask("POST", base, by, `{"lifetimeSeconds": 60}`)
	var made struct {
		TokenValue string
		TokenInfo  struct{ TokenID string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return made.TokenValue, made.TokenInfo.TokenID
}

// Every method of every route, for every kind of caller.
func TestRoutes(t *testing.T) {
	d := newDesk(t)
	const (
		collectionAllows = "GET, HEAD, POST, DELETE, OPTIONS"
		itemAllows       = "GET, HEAD, DELETE, OPTIONS"
		settingsAllow    = "GET, HEAD, PATCH, OPTIONS"
	)
	const blockedAllow = "GET, HEAD, PUT, DELETE, OPTIONS"
	unknown := "cat_" + strings.Repeat("0", 49)
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "TRACE", "PROPFIND", "get", "DELETE", "OPTIONS"}
	none := uuid.NewString()
	for _, test := range []struct {
		who, what string // what: "" or the rest of a path, or whose token's
		want      []int  // by method
		allow     string
	}{
		{"ann", "", []int{200, 200, 201, 405, 405, 405, 405, 405, 400, 204}, collectionAllows},
		{"ann", "ann's", []int{200, 200, 405, 405, 405, 405, 405, 405, 204, 204}, itemAllows},
		{"ann", "ben's", []int{404, 404, 405, 405, 405, 405, 405, 405, 404, 204}, itemAllows},
		{"ann", "/" + none, []int{404, 404, 405, 405, 405, 405, 405, 405, 404, 204}, itemAllows},
		{"ann", "/settings", []int{403, 403, 405, 405, 403, 405, 405, 405, 405, 204}, settingsAllow},
		{"root", "/settings", []int{200, 200, 405, 405, 200, 405, 405, 405, 405, 204}, settingsAllow},
		{"root's token", "/settings", []int{200, 200, 405, 405, 200, 405, 405, 405, 405, 204}, settingsAllow},
		{"ann's token", "/settings", []int{403, 403, 405, 405, 403, 405, 405, 405, 405, 204}, settingsAllow},
		{"root", "/blocked", []int{200, 200, 405, 400, 405, 405, 405, 405, 400, 204}, blockedAllow},
		{"root's token", "/blocked", []int{200, 200, 405, 400, 405, 405, 405, 405, 400, 204}, blockedAllow},
		{"ann", "/blocked", []int{403, 403, 405, 403, 405, 405, 405, 405, 403, 204}, blockedAllow},
		{"ann's token", "/blocked", []int{403, 403, 405, 403, 405, 405, 405, 405, 403, 204}, blockedAllow},
		{"", "/settings", []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 204}, settingsAllow},
		{"ann", "/current", []int{404, 404, 405, 405, 405, 405, 405, 405, 404, 204}, itemAllows},
		{"root", "/current", []int{404, 404, 405, 405, 405, 405, 405, 405, 404, 204}, itemAllows},
		{"ann's token", "/current", []int{200, 200, 405, 405, 405, 405, 405, 405, 204, 204}, itemAllows},
		{"root's token", "/current", []int{200, 200, 405, 405, 405, 405, 405, 405, 204, 204}, itemAllows},
		{"", "/current", []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 204}, itemAllows},
		{unknown, "/current", []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 204}, itemAllows},
		{"ann's token", "/Current", []int{404, 404, 404, 404, 404, 404, 404, 404, 404, 404}, ""},
		{"ann's token", "/cur-rent", []int{404, 404, 404, 404, 404, 404, 404, 404, 404, 404}, ""},
		{"ann's token", "/current/", []int{404, 404, 404, 404, 404, 404, 404, 404, 404, 404}, ""},
		{"root", "/SETTINGS", []int{404, 404, 404, 404, 404, 404, 404, 404, 404, 404}, ""},
		{"root", "/Blocked", []int{404, 404, 404, 404, 404, 404, 404, 404, 404, 404}, ""},
		{"root", "/settings/", []int{404, 404, 404, 404, 404, 404, 404, 404, 404, 404}, ""},
		{"root", "/settings/x", []int{404, 404, 404, 404, 404, 404, 404, 404, 404, 404}, ""},
		{"ann", "/x/y", []int{404, 404, 404, 404, 404, 404, 404, 404, 404, 404}, ""},
		{"ann", "/", []int{404, 404, 404, 404, 404, 404, 404, 404, 404, 404}, ""},
		{"ann", "/ann's/", []int{404, 404, 404, 404, 404, 404, 404, 404, 404, 404}, ""},
		{"root", "", []int{200, 200, 201, 405, 405, 405, 405, 405, 400, 204}, collectionAllows},
		{"root", "ann's", []int{200, 200, 405, 405, 405, 405, 405, 405, 204, 204}, itemAllows},
		{"root", "/" + none, []int{404, 404, 405, 405, 405, 405, 405, 405, 404, 204}, itemAllows},
		{"ann's token", "", []int{200, 200, 201, 405, 405, 405, 405, 405, 400, 204}, collectionAllows},
		{"ann's token", "ann's", []int{200, 200, 405, 405, 405, 405, 405, 405, 204, 204}, itemAllows},
		{"ann's token", "ben's", []int{404, 404, 405, 405, 405, 405, 405, 405, 404, 204}, itemAllows},
		{"root's token", "ann's", []int{200, 200, 405, 405, 405, 405, 405, 405, 204, 204}, itemAllows},
		{"", "", []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 204}, collectionAllows},
		{"", "ann's", []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 204}, itemAllows},
		{"", "/x/y", []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 404}, ""},
		{"unknown", "ann's", []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 204}, itemAllows},
		{unknown, "ann's", []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 204}, itemAllows},
		{unknown, "/x/y", []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 404}, ""},
		{"cat_foreign", "", []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 204}, collectionAllows},
		{"troubled", "", []int{503, 503, 503, 503, 503, 503, 503, 503, 503, 204}, collectionAllows},
		{"troubled", "/x/y", []int{503, 503, 503, 503, 503, 503, 503, 503, 503, 404}, ""},
	} {
		t.Run(cmp.Or(test.who, "nobody")+" "+test.what, func(t *testing.T) {
			by, _, byToken := strings.Cut(test.who, "'s token")
			if byToken {
				by, _ = d.make(t, by)
			}
			target := base + test.what
			if owner, found := strings.CutSuffix(test.what, "'s"); found {
				_, id := d.make(t, owner)
				target = base + "/" + id
			}
			for n, method := range methods {
				body := ""
				switch method {
				case "POST":
					body = `{"lifetimeSeconds": 60}`
				case "PATCH":
					body = `{"enabled": true}`
				}
				w := d.ask(method, target, by, body)
				if w.Code != test.want[n] {
					t.Errorf("%s %s: %d, want %d: %s", method, test.what, w.Code, test.want[n], w.Body)
				}
				checkHeader(t, method, w, test.allow)
			}
		})
	}
}

func TestAnIDHasOneSpelling(t *testing.T) {
	d := newDesk(t)
	_, id := d.make(t, "ann")
	for strings.ToUpper(id) == id { // until it has a letter
		_, id = d.make(t, "ann")
	}
	for _, name := range []string{strings.ToUpper(id), strings.ReplaceAll(id, "-", ""), "urn:uuid:" + id, "{" + id + "}", id[1:], uuid.Nil.String()} {
		r := httptest.NewRequest("GET", base, nil)
		r.URL.Path += "/" + name
		w := httptest.NewRecorder()
		r.SetBasicAuth("root", "x")
		d.ServeHTTP(w, r)
		if w.Code != 404 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := d.ask("GET", base+"/"+id, "root", ""); w.Code != 200 {
		t.Errorf("%s: %d %s", id, w.Code, w.Body)
	}
}

func TestTimestampsAreUTCWithMilliseconds(t *testing.T) {
	east := time.FixedZone("", 2*60*60)
	for want, at := range map[string]time.Time{
		"2019-01-16T00:06:41.743Z": time.Date(2019, 1, 16, 2, 6, 41, 743_999_999, east),
		"2018-12-31T23:00:00.000Z": time.Date(2019, 1, 1, 1, 0, 0, 0, east),
		"2119-01-16T00:06:41.007Z": time.Date(2119, 1, 16, 0, 6, 41, 7_000_000, time.UTC),
	} {
		if got, err := timestamp(at).MarshalText(); err != nil || string(got) != want {
			t.Errorf("%v: %s, %v", at, got, err)
		}
	}
}

// checkHeader checks what answers of this status have, and no other.
func checkHeader(t *testing.T, method string, w *httptest.ResponseRecorder, allow string) {
	t.Helper()
	h := w.Header()
	if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s: %d may be stored or sniffed: %v", method, w.Code, h)
	}
	if got := h.Get("Content-Type"); w.Code == 204 && (got != "" || w.Body.Len() > 0) || w.Code != 204 && got != "application/json" {
		t.Errorf("%s: %d with Content-Type %q and %d bytes", method, w.Code, got, w.Body.Len())
	}
	wantAllow := ""
	if w.Code == 405 || w.Code == 204 && method == "OPTIONS" {
		wantAllow = allow
	}
	if got := h.Get("Allow"); got != wantAllow {
		t.Errorf("%s: %d with Allow %q, want %q", method, w.Code, got, wantAllow)
	}
	for name, status := range map[string]int{"WWW-Authenticate": 401, "Retry-After": 503} {
		if there := h.Get(name) != ""; there != (w.Code == status) {
			t.Errorf("%s: %d with %s %q", method, w.Code, name, h.Get(name))
		}
	}
}

// The same over a connection, where HEAD has no body and Content-Length counts.
func TestHeadOverAConnection(t *testing.T) {
	d := newDesk(t)
	server := httptest.NewServer(d)
	defer server.Close()
	_, id := d.make(t, "ann")
	for _, target := range []string{base, base + "/" + id, base + "/none", base + "?limit=x"} {
		var length int64
		for _, method := range []string{"GET", "HEAD"} {
			r, err := http.NewRequest(method, server.URL+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth("ann", "x")
			resp, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case method == "GET":
				length = resp.ContentLength
				if int64(len(body)) != length || !bytes.HasSuffix(body, []byte("}\n")) {
					t.Errorf("GET %s: Content-Length %d, %d bytes: %q", target, length, len(body), body)
				}
			case len(body) != 0 || resp.ContentLength != length:
				t.Errorf("HEAD %s: Content-Length %d, want %d; %d bytes", target, resp.ContentLength, length, len(body))
			}
		}
	}
}

func TestAnswersInFull(t *testing.T) {
	d := newDesk(t)
	w := d.ask("POST", base, "ann", `{"lifetimeSeconds": 86400, "description": "<nightly> & \"é\""}`)
	var made struct {
		TokenValue string         `json:"tokenValue"`
		TokenInfo  map[string]any `json:"tokenInfo"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	info := map[string]any{
		"tokenId": made.TokenInfo["tokenId"], "description": `<nightly> & "é"`, "lastUsed": nil,
		// Cut to milliseconds, not rounded.
		"createdAt": "2019-01-16T00:06:41.743Z", "expiredAt": "2019-01-17T00:06:41.743Z",
	}
	if diff := gocmp.Diff(info, made.TokenInfo); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	item := base + "/" + fmt.Sprint(info["tokenId"])
	same := func(what, by, target string, want map[string]any) {
		t.Helper()
		var got map[string]any
		w := d.ask("GET", target, by, "")
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", what, w.Code, w.Body)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	same("got", "ann", item, info)
	forOthers := maps.Clone(info)
	forOthers["userId"] = "ann"
	same("got by an administrator", "root", item, forOthers)
	same("listed", "ann", base, map[string]any{"data": []any{info}})
	same("counted", "ann", base+"?offset=7&includeCount=true", map[string]any{"data": []any{}, "count": 1.0})
	same("listed, nothing there", "ben", base, map[string]any{"data": []any{}})
	same("counted, nothing there", "ben", base+"?includeCount=true", map[string]any{"data": []any{}, "count": 0.0})

	d.now = time.Date(2019, 1, 16, 9, 0, 0, 7_000_000, time.FixedZone("", 3600))
	d.fix(store.Settings{Generate: registry.GenerateEveryone, MaxLifetimeDays: registry.Unlimited})
	w = d.ask("POST", base, made.TokenValue, `{"lifetimeSeconds": 60}`)
	if w.Code != 201 {
		t.Fatalf("renewing: %d %s", w.Code, w.Body)
	}
	info["lastUsed"] = "2019-01-16T08:00:00.007Z"
	same("used", "ann", item, info)

	w = d.ask("POST", base, "root", `{"lifetimeSeconds": -1}`)
	var forever struct{ TokenInfo map[string]any }
	if err := json.Unmarshal(w.Body.Bytes(), &forever); err != nil || w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if end, found := forever.TokenInfo["expiredAt"]; !found || end != nil {
		t.Errorf("for ever ends at %v", end)
	}
	info["userId"] = "ann"
	forever.TokenInfo["userId"] = "root"
	same("listed to an administrator", "root", base+"?user=ann&limit=1", map[string]any{"data": []any{info}})
	same("listed of one", "root", base+"?user=root", map[string]any{"data": []any{forever.TokenInfo}})
	same("listed of nobody", "root", base+"?user="+strings.Repeat("x", 70_000), map[string]any{"data": []any{}})
	if w := d.ask("GET", base+"?user=*&includeCount=true", "root", ""); !strings.HasSuffix(w.Body.String(), `"count":3}`+"\n") {
		t.Errorf("everyone's: %s", w.Body)
	}
}

func TestRenewalAndItsLine(t *testing.T) {
	d := newDesk(t)
	parent, id := d.make(t, "ann")
	child, childID := d.make(t, parent)
	_, grandchildID := d.make(t, child)
	if w := d.ask("POST", base, child, `{"lifetimeSeconds": 61}`); w.Code != 403 || !strings.Contains(w.Body.String(), "60 seconds") {
		t.Errorf("a successor that outlives its parent: %d %s", w.Code, w.Body)
	}
	for _, wrong := range []string{"maybe", "", "true&successors=true"} {
		if w := d.ask("DELETE", base+"/"+id+"?successors="+wrong, "ann", ""); w.Code != 400 {
			t.Errorf("successors=%s: %d %s", wrong, w.Code, w.Body)
		}
	}
	if w := d.ask("DELETE", base+"/"+id, "ann", ""); w.Code != 204 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := d.ask("GET", base+"/"+childID, child, ""); w.Code != 200 {
		t.Errorf("a successor went with its parent: %d %s", w.Code, w.Body)
	}
	if w := d.ask("DELETE", base+"/"+childID+"?successors=true", "ann", ""); w.Code != 204 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := d.ask("GET", base+"/"+grandchildID, "ann", ""); w.Code != 404 {
		t.Errorf("a successor is left: %d %s", w.Code, w.Body)
	}
}

// HandshakeComplete is false while a request comes in TLS early data.
func TestEarlyDataIsRefusedBeforeAnythingElse(t *testing.T) {
	d := newDesk(t)
	value, id := d.make(t, "ann")
	d.identified = nil
	early := func(r *http.Request) { r.TLS = new(tls.ConnectionState) }
	late := func(r *http.Request) { r.TLS = &tls.ConnectionState{HandshakeComplete: true} }
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT"} {
		for _, target := range []string{base, base + "/" + id, base + "/x/y"} {
			for _, by := range []string{"ann", value, "", "unknown", "troubled"} {
				if w := d.ask(method, target, by, "", early); w.Code != http.StatusTooEarly {
					t.Errorf("%s %s by %q: %d", method, target, by, w.Code)
				}
			}
		}
	}
	if d.identified != nil {
		t.Errorf("looked at the credentials of %q", d.identified)
	}
	if w := d.ask("DELETE", base+"/"+id, value, "", late); w.Code != 204 {
		t.Errorf("once the handshake is complete: %d %s", w.Code, w.Body)
	}
}

func TestTheCallerIsToldBeforeAnythingIsDone(t *testing.T) {
	d := newDesk(t)
	value, _ := d.make(t, "ann")
	for _, test := range []struct {
		method, target, by string
		want               []string
	}{
		{"GET", base, "ann", []string{"ann"}},
		{"GET", base, value, []string{"ann"}},
		{"GET", base + "/none", "ben", []string{"ben"}},
		{"PUT", base, "ben", []string{"ben"}},
		{"GET", base + "/x/y", "ben", []string{"ben"}},
		{"GET", base + "?user=*", "ben", []string{"ben"}},
		{"GET", base, "", nil},
		{"GET", base, "unknown", nil},
		{"GET", base, "troubled", nil},
		{"GET", base, "cat_x", nil},
		{"OPTIONS", base, "ann", nil},
	} {
		d.identified = nil
		d.ask(test.method, test.target, test.by, "")
		if !slices.Equal(test.want, d.identified) {
			t.Errorf("%s %s by %q: %q, want %q", test.method, test.target, test.by, d.identified, test.want)
		}
	}
}

func TestBodies(t *testing.T) {
	d := newDesk(t)
	const right = `{"lifetimeSeconds": 60}`
	header := func(name string, lines ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = lines }
	}
	unknownLength := func(r *http.Request) { r.ContentLength = -1 }
	padded := right + strings.Repeat(" ", incoming.MaxBody-len(right))
	for _, test := range []struct {
		when string
		body string
		edit []func(*http.Request)
		want int
	}{
		{"as it should be", right, nil, 201},
		{"of unknown length", right, []func(*http.Request){unknownLength}, 201},
		{"with a charset", right, []func(*http.Request){header("Content-Type", "application/json; charset=utf-8")}, 201},
		{"in capitals", right, []func(*http.Request){header("Content-Type", "Application/JSON")}, 201},
		{"as large as may be", padded, nil, 201},
		{"too large", padded + " ", nil, 413},
		{"too large, of unknown length", padded + " ", []func(*http.Request){unknownLength}, 413},
		{"none", "", nil, 400},
		{"none, of unknown length", "", []func(*http.Request){unknownLength}, 415},
		{"none, declared", "", []func(*http.Request){header("Content-Type", "application/json")}, 400},
		{"undeclared", right, []func(*http.Request){header("Content-Type")}, 415},
		{"of a form", right, []func(*http.Request){header("Content-Type", "application/x-www-form-urlencoded")}, 415},
		{"as text, which any page may send", right, []func(*http.Request){header("Content-Type", "text/plain")}, 415},
		{"almost JSON", right, []func(*http.Request){header("Content-Type", "application/json-seq")}, 415},
		{"a JSON dialect", right, []func(*http.Request){header("Content-Type", "application/merge-patch+json")}, 415},
		{"a type that is none", right, []func(*http.Request){header("Content-Type", "application/json; =")}, 415},
		{"compressed", right, []func(*http.Request){header("Content-Encoding", "gzip")}, 415},
		{"cut off", right, []func(*http.Request){func(r *http.Request) {
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(right), iotest.ErrReader(io.ErrUnexpectedEOF)))
		}}, 400},
		{"a field wrong", `{"lifetimeSeconds": "60"}`, nil, 400},
		{"longer than the project allows", `{"lifetimeSeconds": 86401}`, nil, 400},
		{"for ever, which the project doesn't allow", `{"lifetimeSeconds": -1}`, nil, 400},
	} {
		if w := d.ask("POST", base, "ann", test.body, test.edit...); w.Code != test.want {
			t.Errorf("%s: %d, want %d: %s", test.when, w.Code, test.want, w.Body)
		}
	}
	if w := d.ask("POST", base+"?user=ben", "root", right); w.Code != 400 || !strings.Contains(w.Body.String(), "user can't be given here") {
		t.Errorf("for somebody else: %d %s", w.Code, w.Body)
	}
}

func TestATokenIsNoDescription(t *testing.T) {
	d := newDesk(t)
	value, _ := d.make(t, "ann")
	for _, field := range []string{"description", "name"} {
		w := d.ask("POST", base, "ann", fmt.Sprintf(`{"lifetimeSeconds": 60, %q: "for %s"}`, field, value))
		if w.Code != 400 || !strings.Contains(w.Body.String(), `"`+field+" must not hold a token value.") || strings.Contains(w.Body.String(), value) {
			t.Errorf("%s: %d %s", field, w.Code, w.Body)
		}
	}
}

func TestRightsComeBeforeTheRest(t *testing.T) {
	d := newDesk(t)
	d.fix(store.Settings{Generate: registry.GenerateAdmins, MaxLifetimeDays: 1})
	for _, test := range []struct {
		method, target, body string
	}{
		{"POST", base, ""},
		{"POST", base, "{"},
		{"POST", base + "?user=root", `{"lifetimeSeconds": 60}`},
		{"GET", base + "?user=ann", ""},
		{"GET", base + "?user=*&limit=x", ""},
		{"GET", base + "?limit=x&user=", ""},
		{"GET", base + "?user=root&user=ann", ""},
	} {
		if w := d.ask(test.method, test.target, "ann", test.body); w.Code != 403 {
			t.Errorf("%s %s: %d %s", test.method, test.target, w.Code, w.Body)
		}
	}
}

func TestOtherOriginsPagesChangeNothing(t *testing.T) {
	d := newDesk(t)
	_, id := d.make(t, "ann")
	page := func(site, origin string) func(*http.Request) {
		return func(r *http.Request) {
			if site != "" {
				r.Header.Set("Sec-Fetch-Site", site)
			}
			if origin != "" {
				r.Header.Set("Origin", origin)
			}
		}
	}
	for _, test := range []struct {
		page    func(*http.Request)
		refused bool
	}{
		{page("", ""), false},
		{page("same-origin", "http://example.com"), false},
		{page("none", ""), false},
		{page("", "http://example.com"), false},
		{page("cross-site", ""), true},
		{page("same-site", ""), true},
		{page("", "http://evil.example"), true},
		{page("", "null"), true},
	} {
		for method, target := range map[string]string{"POST": base, "DELETE": base + "/" + id + "?successors=maybe"} {
			w := d.ask(method, target, "ann", "", test.page)
			if refused := w.Code == 403; refused != test.refused || !refused && w.Code != 400 {
				t.Errorf("%s: %d %s", method, w.Code, w.Body)
			}
		}
		if w := d.ask("GET", base, "ann", "", test.page); w.Code != 200 {
			t.Errorf("GET: %d %s", w.Code, w.Body)
		}
	}
	// Method and credentials are looked at before.
	if w := d.ask("PUT", base, "ann", "", page("cross-site", "")); w.Code != 405 {
		t.Errorf("PUT: %d", w.Code)
	}
	if w := d.ask("POST", base, "", "", page("cross-site", "")); w.Code != 401 {
		t.Errorf("nobody: %d", w.Code)
	}
}

// A browser sends cookies and passwords along by itself, and one script injected
// into the API's pages would make tokens.
func TestScriptsNeedAToken(t *testing.T) {
	mode := func(lines ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header["Sec-Fetch-Mode"] = lines }
	}
	for _, test := range []struct {
		mode   func(*http.Request)
		script bool
	}{
		{mode(), false}, {mode("navigate"), false}, {mode("cors"), true}, {mode("same-origin"), true}, {mode("no-cors"), true},
		{mode(""), true}, {mode("Navigate"), true}, {mode("navigate", "navigate"), true},
	} {
		for _, access := range []bool{false, true} {
			d := newDesk(t)
			d.ScriptAccess = access
			value, _ := d.make(t, "ann")
			_, id := d.make(t, "ann")
			refused := test.script && !access
			for _, ask := range []struct {
				method, target, by, body string
				want                     int
			}{
				{"POST", base, "ann", `{"lifetimeSeconds": 60}`, 201},
				{"PATCH", base + "/settings", "root", `{"enabled": true}`, 200},
				{"PUT", base, "ann", "", 405},
				{"POST", base + "/x/y", "ann", "", 404},
				{"DELETE", base + "/" + id, "ann", "", 204},
			} {
				want := ask.want
				if refused {
					want = 403
				}
				w := d.ask(ask.method, ask.target, ask.by, ask.body, test.mode)
				if w.Code != want || refused && !strings.Contains(w.Body.String(), "script_access on") {
					t.Errorf("%s %s, script %v, access %v: %d, want %d: %s", ask.method, ask.target, test.script, access, w.Code, want, w.Body)
				}
				if w := d.ask(ask.method, ask.target, "unknown", ask.body, test.mode); w.Code != 401 {
					t.Errorf("%s by nobody: %d", ask.method, w.Code)
				}
			}
			if w := d.ask("GET", base, "ann", "", test.mode); w.Code != 200 {
				t.Errorf("looking: %d", w.Code)
			}
			if w := d.ask("POST", base, value, `{"lifetimeSeconds": 60}`, test.mode); w.Code != 201 {
				t.Errorf("with a token: %d %s", w.Code, w.Body)
			}
		}
	}
	// While it is off, only administrators are told.
	d := newDesk(t)
	d.fix(store.Settings{Enabled: new(false), Generate: registry.GenerateEveryone})
	for by, want := range map[string]int{"root": 403, "ann": 404, "": 404} {
		if w := d.ask("DELETE", base+"/"+uuid.NewString(), by, "", mode("cors")); w.Code != want {
			t.Errorf("off, by %q: %d, want %d", by, w.Code, want)
		}
	}
}

func TestCurrentIsTheTokenThatAsks(t *testing.T) {
	d := newDesk(t)
	parent, parentID := d.make(t, "ann")
	child, childID := d.make(t, parent)
	grandchild, _ := d.make(t, child)
	for value, id := range map[string]string{parent: parentID, child: childID} {
		current, byID := d.ask("GET", base+"/current", value, ""), d.ask("GET", base+"/"+id, value, "")
		if diff := gocmp.Diff(byID.Body.String(), current.Body.String()); current.Code != 200 || diff != "" {
			t.Errorf("%d (-by its id +current):\n%s", current.Code, diff)
		}
		if named := strings.Contains(current.Body.String(), `"parentId":"`+parentID+`"`); named != (value == child) {
			t.Errorf("its parent: %s", current.Body)
		}
	}
	if w := d.ask("GET", base+"/current", "ann", ""); !strings.Contains(w.Body.String(), `"DataNotFoundException"`) {
		t.Errorf("a sign-in's: %s", w.Body)
	}
	if w := d.ask("GET", base+"/Current", child, ""); !strings.Contains(w.Body.String(), `"RouteNotFoundException"`) {
		t.Errorf("another spelling: %s", w.Body)
	}
	if w := d.ask("DELETE", base+"/current?successors=maybe", child, ""); w.Code != 400 {
		t.Errorf("a wrong parameter: %d %s", w.Code, w.Body)
	}
	if w := d.ask("DELETE", base+"/current?successors=true", child, ""); w.Code != 204 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for value, want := range map[string]int{parent: 200, child: 401, grandchild: 401} {
		if w := d.ask("GET", base, value, ""); w.Code != want {
			t.Errorf("%d, want %d", w.Code, want)
		}
	}
	// Signed in, the line's end is found out by its ids.
	for target, want := range map[string]int{parentID: 204, childID: 404} {
		if w := d.ask("DELETE", base+"/"+target+"?successors=true", "ann", ""); w.Code != want {
			t.Errorf("%d, want %d: %s", w.Code, want, w.Body)
		}
	}
}

// While API access is off, a token opens nothing, and the routes are there for
// nobody but administrators who sign in.
func TestAPIAccessOff(t *testing.T) {
	d := newDesk(t)
	value, id := d.make(t, "ann")
	roots, _ := d.make(t, "root")
	d.fix(store.Settings{Enabled: new(false), Generate: registry.GenerateEveryone, MaxLifetimeDays: 1})
	var hidden string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
		for _, target := range []string{base, base + "/" + uuid.NewString(), base + "/current", base + "/settings", base + "/x/y"} {
			for by, want := range map[string]int{
				value: 403, roots: 403, "cat_foreign": 401, "cat_" + strings.Repeat("0", 49): 401,
				"ann": 404, "": 404, "unknown": 404, "limited": 404, "troubled": 503,
			} {
				switch {
				case method == "OPTIONS":
					want = 404
				case method == "DELETE" && target == base+"/current" && want == 403:
					continue // see below
				}
				w := d.ask(method, target, by, "")
				if w.Code != want {
					t.Errorf("%s %s by %q: %d, want %d", method, target, by, w.Code, want)
				}
				if want != 404 {
					continue
				}
				// It tells nothing.
				if answer := fmt.Sprint(w.Header(), w.Body); hidden == "" {
					hidden = answer
				} else if diff := gocmp.Diff(hidden, answer); diff != "" {
					t.Errorf("%s %s by %q:\n%s", method, target, by, diff)
				}
			}
		}
	}
	for _, test := range []struct {
		method, target string
		want           int
	}{
		{"GET", base + "?user=*", 200}, {"GET", base + "/" + id, 200}, {"GET", base + "/settings", 200}, {"PUT", base, 405},
		{"GET", base + "/current", 404}, {"GET", base + "/x/y", 404}, {"DELETE", base + "/" + uuid.NewString(), 404},
	} {
		if w := d.ask(test.method, test.target, "root", ""); w.Code != test.want {
			t.Errorf("%s %s: %d, want %d: %s", test.method, test.target, w.Code, test.want, w.Body)
		}
	}
	w := d.ask("POST", base, "root", `{`)
	if w.Code != 403 || !strings.Contains(w.Body.String(), "AccessControlException") || !strings.Contains(w.Body.String(), "switch it on (api_access)") {
		t.Errorf("making a token: %d %s", w.Code, w.Body)
	}

	for _, deletion := range []struct {
		value string
		want  int
	}{{roots, 204}, {roots, 401}, {"ann", 404}} {
		if w := d.ask("DELETE", base+"/current", deletion.value, ""); w.Code != deletion.want {
			t.Errorf("ending the token that asks: %d, want %d: %s", w.Code, deletion.want, w.Body)
		}
	}
	d.now = d.now.Add(time.Minute)
	if w := d.ask("DELETE", base+"/current", value, ""); w.Code != 401 {
		t.Errorf("ending one that has expired: %d %s", w.Code, w.Body)
	}
	d.now = d.now.Add(-time.Minute)

	d.fix(store.Settings{Enabled: new(true), Generate: registry.GenerateEveryone, MaxLifetimeDays: 1})
	if w := d.ask("GET", base+"/"+id, value, ""); w.Code != 200 {
		t.Errorf("on again: %d %s", w.Code, w.Body)
	}
}

func TestAStoreThatCantAnswerIs503(t *testing.T) {
	d := newDesk(t)
	value, id := d.make(t, "ann")
	if err := d.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, by := range []string{"ann", "root", value} {
		for _, test := range []struct{ method, target, body string }{
			{"GET", base, ""}, {"GET", base + "/" + id, ""}, {"POST", base, `{"lifetimeSeconds": 60}`}, {"DELETE", base + "/" + id, ""},
		} {
			w := d.ask(test.method, test.target, by, test.body)
			if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
				t.Errorf("%s %s: %d %v", test.method, test.target, w.Code, w.Header())
			}
		}
	}
}
