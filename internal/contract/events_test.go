package contract

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const hookSecret = "a secret that both of them know"

// hook is another program that is told of events.
type hook struct {
	*httptest.Server
	mu  sync.Mutex
	got []hooked
}

// hooked is an event as it arrives.
type hooked struct {
	ID, Event, Time, Project string
	Data                     map[string]any

	text string
}

// newHook returns a program that takes everything that is signed.
func newHook(t *testing.T) *hook {
	h := new(hook)
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mac := hmac.New(sha256.New, []byte(hookSecret))
		fmt.Fprintf(mac, "%s.%s", r.Header.Get("X-Access-Tokens-Timestamp"), body)
		if want := fmt.Sprintf("sha256=%x", mac.Sum(nil)); r.Header.Get("X-Access-Tokens-Signature") != want {
			t.Errorf("an event that isn't signed: %s", body)
		}
		e := hooked{text: string(body)}
		if err := json.Unmarshal(body, &e); err != nil {
			t.Errorf("%v: %s", err, body)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got = append(h.got, e)
	}))
	t.Cleanup(h.Close)
	return h
}

// on subscribes it to events.
func (h *hook) on(names ...string) option {
	var lines strings.Builder
	lines.WriteString("\nevents {\n")
	for _, name := range names {
		fmt.Fprintf(&lines, "on access_tokens.%s access_tokens_webhook %s/hook {\nsecret %q\n}\n", name, h.URL, hookSecret)
	}
	return globals(lines.String() + "}\n")
}

func (h *hook) all() []hooked {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got)
}

// about returns the events of a token by name, sorted.
func (h *hook) about(id string) (names []string) {
	for _, e := range h.all() {
		if e.Data["token_id"] == id {
			names = append(names, strings.TrimPrefix(e.Event, "access_tokens."))
		}
	}
	slices.Sort(names)
	return names
}

// wantAbout waits until these events of a token have come, and no others.
func (h *hook) wantAbout(t *testing.T, g *gateway, k token, want ...string) {
	t.Helper()
	g.wait(t, fmt.Sprintf("events %v of %s", want, k.info.Description), func() bool { return len(h.about(k.info.TokenID)) >= len(want) })
	if diff := cmp.Diff(want, h.about(k.info.TokenID)); diff != "" {
		t.Errorf("events of %s (-want +got):\n%s", k.info.Description, diff)
	}
}

func (h *hook) find(t *testing.T, name, id string) hooked {
	t.Helper()
	for _, e := range h.all() {
		if e.Event == "access_tokens."+name && e.Data["token_id"] == id {
			return e
		}
	}
	t.Fatalf("no event %s of %s in %v", name, id, h.all())
	return hooked{}
}

func TestEventsTellWhatBecomesOfTokens(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	g := start(t, siteAt("{$PORT}", "project p\nmax_lifetime unlimited"), h.on("token_created", "token_deleted", "token_expired", "token_expiring"))

	parent := g.create(t, as("alice"), 3600, "parent")
	child := g.create(t, bearer(parent.value), 3600, "child")
	h.wantAbout(t, g, parent, "token_created")
	h.wantAbout(t, g, child, "token_created")
	e := h.find(t, "token_created", child.info.TokenID)
	if e.Project != "p" || e.Time == "" || e.ID == "" {
		t.Errorf("event %+v", e)
	}
	want := map[string]any{
		"token_id": child.info.TokenID, "user": "alice", "user_email": "alice@example.com", "user_name": "Alice A.",
		"description": "child", "created": child.info.CreatedAt, "expires": *child.info.ExpiredAt, "parent_id": parent.info.TokenID,
		"actor": map[string]any{"by": "token", "user": "alice", "token_id": parent.info.TokenID},
	}
	if diff := cmp.Diff(want, e.Data); diff != "" {
		t.Errorf("data of token_created (-want +got):\n%s", diff)
	}
	g.remove(t, as("alice"), parent.target()+"?successors=true")
	h.wantAbout(t, g, parent, "token_created", "token_deleted")
	h.wantAbout(t, g, child, "token_created", "token_deleted")
	if e := h.find(t, "token_deleted", child.info.TokenID); e.Data["deleted"] == nil {
		t.Errorf("token_deleted without when: %s", e.text)
	}

	short := g.create(t, as("alice"), 1, "short")
	forever := g.create(t, as("alice"), -1, "forever")
	h.wantAbout(t, g, short, "token_created", "token_expired")
	wantStatus(t, g.do(t, ask{method: "DELETE", target: api + "?user=alice", auth: as("alice")}), http.StatusOK)
	h.wantAbout(t, g, forever, "token_created", "token_deleted")
	h.wantAbout(t, g, short, "token_created", "token_deleted", "token_expired")
}

func TestEventsGoThroughTheConfigurationThatRuns(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	site := siteAt("{$PORT}", "project p")
	g := start(t, site)
	before := g.create(t, as("alice"), 3600, "before")
	h.on("token_created")(g)
	if complaint := g.reload(t, site); complaint != "" {
		t.Fatal(complaint)
	}
	g.settle(t)
	during := g.create(t, as("alice"), 3600, "during")
	h.wantAbout(t, g, during, "token_created")
	g.globals = ""
	if complaint := g.reload(t, site); complaint != "" {
		t.Fatal(complaint)
	}
	g.settle(t)
	after := g.create(t, as("alice"), 3600, "after")
	h.on("token_deleted")(g)
	if complaint := g.reload(t, site); complaint != "" {
		t.Fatal(complaint)
	}
	g.settle(t)
	for _, k := range []token{before, during, after} {
		g.remove(t, as("alice"), k.target())
	}
	h.wantAbout(t, g, after, "token_deleted")
	h.wantAbout(t, g, before, "token_deleted")
	h.wantAbout(t, g, during, "token_created", "token_deleted")
}

func TestEventsOfTimeComeOnceOverKills(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	g := start(t, siteAt("{$PORT}", "project p"), h.on("token_expired"))
	first := g.create(t, as("alice"), 1, "first")
	h.wantAbout(t, g, first, "token_expired")
	second := g.create(t, as("alice"), 1, "second")
	g.kill9(t)
	g.up(t)
	h.wantAbout(t, g, second, "token_expired")
	third := g.create(t, as("alice"), 1, "third")
	h.wantAbout(t, g, third, "token_expired")
	g.restart(t)
	last := g.create(t, as("alice"), 1, "last")
	h.wantAbout(t, g, last, "token_expired")
	for _, k := range []token{first, second, third} {
		h.wantAbout(t, g, k, "token_expired")
	}
}

func TestLimitedSignInsAreAnEvent(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	g := start(t, siteAt("{$PORT}", "project p\nsign_in_limit 1 1h"), h.on("sign_in_limited"))
	for range 4 {
		g.do(t, ask{target: api, auth: basic("alice", "a guess")})
	}
	g.wait(t, "an event", func() bool { return len(h.all()) > 0 })
	e := h.all()[0]
	if diff := cmp.Diff(map[string]any{"client_ip": "127.0.0.1"}, e.Data); diff != "" || e.Project != "p" || e.Event != "access_tokens.sign_in_limited" {
		t.Errorf("%s\n%s", e.text, diff)
	}
	if n := len(h.all()); n != 1 {
		t.Errorf("%d events within a minute", n)
	}
}
