package contract

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A realAPI is an API that has users already: with passwords, sessions and
// bearer tokens of its own, and two versions of its routes. It takes the user
// from the identity header where there is one, and else signs in by itself. It
// listens on 127.0.0.1, as {$API}, and nothing but a gateway ever asks it.
type realAPI struct {
	address string
	// passes tells that the gateway is to pass credentials on; else only the
	// who-am-I route and the sign-in may receive some.
	passes bool

	key      []byte // signs its own bearer tokens
	mu       sync.Mutex
	users    map[string]*account // by name
	sessions map[string]string   // names by cookie
	plays    map[string]http.HandlerFunc
	heard    []heard
	asked    int
}

// An account is a row of its user table. The JSON fields are what the who-am-I
// route says.
type account struct {
	ID        int            `json:"id"`
	Email     string         `json:"email"`
	Name      string         `json:"name"`
	IsAdmin   any            `json:"isAdmin,omitempty"`
	Workspace map[string]any `json:"workspace"`

	password string
}

// heard is a request as the API understood it.
type heard struct {
	path   string
	header http.Header
	user   string // "" is nobody
	by     string // identity, password, session, jwt
}

// Where its own routes are.
const (
	whoAmI   = "/v4/people/current"
	logIn    = "/login"
	session  = "session.sid"
	heardNth = "Heard-Nth"
)

func newRealAPI(t testing.TB) *realAPI {
	a := &realAPI{
		key: []byte(rand.Text()), sessions: map[string]string{}, plays: map[string]http.HandlerFunc{},
		users: map[string]*account{
			"alice": {ID: 17, Email: "alice@example.com", Name: "Alice A.", IsAdmin: true, Workspace: map[string]any{"id": 7}},
			"bob":   {ID: 23, Email: "bob@example.com", Name: "Bob", IsAdmin: "true", Workspace: map[string]any{"id": 8}},
			"carol": {ID: 42, Email: "carol@example.com", IsAdmin: 1, Workspace: map[string]any{}},
		},
	}
	for name, row := range a.users {
		row.password = passwords[name]
	}
	server := httptest.NewServer(a)
	a.address = server.Listener.Addr().String()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		a.checkWhatItHeard(t)
	})
	return a
}

// at is the option that puts the API behind a gateway.
func (a *realAPI) behind() option { return env("API", a.address) }

var ourToken = regexp.MustCompile(`[a-z0-9]{2,12}_[0-9A-Za-z]{49}\b`)

// checkWhatItHeard: a token never reaches the API, and a sign-in's credentials
// only where they belong.
func (a *realAPI) checkWhatItHeard(t testing.TB) {
	for _, request := range a.heard {
		text := fmt.Sprint(request.path, request.header)
		if ourToken.MatchString(text) {
			t.Errorf("a token reached the API: %s", text)
		}
		if !a.passes && request.path != whoAmI && request.path != logIn && secrets.foundIn([]byte(text)) {
			t.Errorf("a sign-in's credentials reached %s of the API: %v", request.path, request.header)
		}
	}
}

// ServeHTTP is the whole API.
func (a *realAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	nth := len(a.heard)
	name, by := a.caller(r)
	a.heard = append(a.heard, heard{r.URL.Path, r.Header.Clone(), name, by})
	if r.URL.Path == whoAmI {
		a.asked++
	}
	presented, _, _ := r.BasicAuth()
	play := a.plays[presented]
	row := account{}
	if known := a.users[name]; known != nil {
		row = *known
		row.Workspace = maps.Clone(row.Workspace)
	}
	a.mu.Unlock()

	w.Header().Set(heardNth, strconv.Itoa(nth))
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == whoAmI && play != nil:
		play(w, r)
	case r.URL.Path == logIn && by == "password":
		http.SetCookie(w, &http.Cookie{Name: session, Value: a.logIn(name)})
	case name == "":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error": "the API itself doesn't know you"}`)
	case r.URL.Path == whoAmI:
		_ = json.NewEncoder(w).Encode(row)
	default:
		_ = json.NewEncoder(w).Encode(map[string]string{"user": name, "by": by, "path": r.URL.Path})
	}
}

// caller is who the API takes a request to be from.
func (a *realAPI) caller(r *http.Request) (user, by string) {
	if id := r.Header.Get("Remote-User"); id != "" {
		return id, "identity"
	}
	if name, password, ok := r.BasicAuth(); ok {
		if row := a.users[name]; row != nil && row.password == password {
			return name, "password"
		}
		return "", ""
	}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		payload, signature, _ := strings.Cut(strings.TrimPrefix(bearer, "e30."), ".")
		if name, err := base64.RawURLEncoding.DecodeString(payload); err == nil && signature == a.sign(payload) {
			return string(name), "jwt"
		}
		return "", ""
	}
	if cookie, err := r.Cookie(session); err == nil && a.sessions[cookie.Value] != "" {
		return a.sessions[cookie.Value], "session"
	}
	return "", ""
}

func (a *realAPI) sign(payload string) string {
	mac := hmac.New(sha256.New, a.key)
	mac.Write([]byte("e30." + payload))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// jwt is a bearer token of the API's own.
func (a *realAPI) jwt(name string) string {
	payload := base64.RawURLEncoding.EncodeToString([]byte(name))
	return "Bearer " + secret("e30."+payload+"."+a.sign(payload))
}

// logIn starts a session, and returns its cookie's value.
func (a *realAPI) logIn(name string) string {
	value := secret("s3ss10n-" + rand.Text())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[value] = name
	return value
}

// cookie is the header line of a session.
func (a *realAPI) cookie(name string) string { return "Cookie: " + session + "=" + a.logIn(name) }

// change changes a row of the user table.
func (a *realAPI) change(name string, change func(*account)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.users[name] == nil {
		a.users[name] = &account{}
	}
	change(a.users[name])
}

// play makes the who-am-I route answer by hand whoever shows this user name.
func (a *realAPI) play(name string, answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.plays[name] = answer
}

// timesAsked is how often the who-am-I route was asked so far.
func (a *realAPI) timesAsked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func (a *realAPI) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.heard)
}

// of is the request that the API gave this answer to, nil if it gave none.
func (a *realAPI) of(got answered) *heard {
	nth, err := strconv.Atoi(got.header.Get(heardNth))
	if err != nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	request := a.heard[nth]
	return &request
}

// wantBy wants the API to have answered this user, known to it in this way.
func (a *realAPI) wantBy(t testing.TB, got answered, user, by string) *heard {
	t.Helper()
	wantStatus(t, got, http.StatusOK)
	request := a.of(got)
	if request == nil {
		t.Fatalf("the API didn't answer this: %s", got)
	}
	if request.user != user || request.by != by {
		t.Errorf("to the API this was %q by %q, want %q by %q", request.user, request.by, user, by)
	}
	return request
}

// wantUser wants the API to have been told exactly this user's id.
func (a *realAPI) wantUser(t testing.TB, got answered, id string) *heard {
	t.Helper()
	return a.wantBy(t, got, id, "identity")
}

// realSite is a site whose users are those of {$API}.
func realSite(options string) string { return realSiteAt("{$PORT}", options) }

func realSiteAt(port, options string) string {
	return `
http://:` + port + ` {
	bind 127.0.0.1
	access_tokens {
		allow_generate everyone
		` + options + `
		` + askRealAPI + `
		identity {
			Remote-User {http.auth.user.id}
			Remote-Email {http.auth.user.email}
			Remote-Name {http.auth.user.name}
			X-Trifacta-Workspace-Id {http.auth.user.workspace_id}
		}
		strip X-Trifacta-*
	}
	reverse_proxy {$API}
}
`
}

// askRealAPI signs in the users of {$API}.
const askRealAPI = `sign_in upstream http://{$API}` + whoAmI + ` {
			user_id id
			email email
			name name
			admin isAdmin
			claim workspace_id workspace.id
			cookies ` + session + `
			timeout 2s
		}`

func TestTheRealAPIIsOne(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	a.passes = true
	for name, test := range map[string]struct {
		key, value string
		path       string
		status     int
		user       string
	}{
		"password":       {"Authorization", as("alice"), "/v4/x", 200, "alice"},
		"wrong password": {"Authorization", basic("alice", "guess"), "/v4/x", 401, ""},
		"session":        {"Cookie", strings.TrimPrefix(a.cookie("bob"), "Cookie: "), "/v3/x", 200, "bob"},
		"no session":     {"Cookie", session + "=1", "/v3/x", 401, ""},
		"jwt":            {"Authorization", a.jwt("carol"), "/v4/x", 200, "carol"},
		"forged jwt":     {"Authorization", a.jwt("carol") + "x", "/v4/x", 401, ""},
		"identity":       {"Remote-User", "17", "/v4/x", 200, "17"},
		"login":          {"Authorization", as("alice"), logIn, 200, "alice"},
		"who am I":       {"Authorization", as("alice"), whoAmI, 200, "alice"},
		"nobody":         {"Accept", "*/*", "/v4/x", 401, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+a.address+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(test.key, test.value)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		request := a.of(answered{header: resp.Header})
		if resp.StatusCode != test.status || request == nil || request.user != test.user {
			t.Errorf("%s: status %d, %+v", name, resp.StatusCode, request)
		}
	}
	if a.timesAsked() != 1 {
		t.Errorf("who-am-I was asked %d times", a.timesAsked())
	}
}
