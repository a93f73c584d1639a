package contract

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Requests without a token of ours: without_token pass, foreign_token pass,
// public, and who they are from.

// told sends every placeholder of a user's to the API behind, whoever it is.
const told = `{
		header_up X-Told "id={http.auth.user.id} email={http.auth.user.email} name={http.auth.user.name} token={http.auth.user.token_id} project={http.auth.user.project}"
	}`

const toldNobody = "X-Told: id= email= name= token= project="

// passSite is a site with options, and matchers in front of the directive.
func passSite(port, front, options string) string {
	return strings.Replace(siteAt(port, options), "bind 127.0.0.1", "bind 127.0.0.1\n"+front, 1)
}

func withTold(sites string) string {
	return strings.ReplaceAll(sites, "reverse_proxy {$UPSTREAM}\n", "reverse_proxy {$UPSTREAM} "+told+"\n")
}

const preflight = `
	@preflight {
		method OPTIONS
		header Origin *
		header Access-Control-Request-Method *
	}`

// wantNobody wants the API behind to have got a request of nobody's, with this
// Authorization and Cookie as they came.
func wantNobody(t testing.TB, got answered, authorization, cookie []string) {
	t.Helper()
	wantStatus(t, got, http.StatusOK)
	if got.received == nil {
		t.Fatalf("the API behind didn't answer this: %s", got)
	}
	for _, name := range []string{"Remote-User", "Remote-Email", "Remote-Name"} {
		if lines := got.received.lines(name); len(lines) != 0 {
			t.Errorf("the API behind was told %q", lines)
		}
	}
	if lines := got.received.lines("X-Told"); !slices.Equal(lines, []string{toldNobody}) {
		t.Errorf("placeholders say %q", lines)
	}
	if diff := cmp.Diff(authorization, got.received.lines("Authorization")); diff != "" {
		t.Errorf("Authorization (-sent +arrived):\n%s", diff)
	}
	if diff := cmp.Diff(cookie, got.received.lines("Cookie")); diff != "" {
		t.Errorf("Cookie (-sent +arrived):\n%s", diff)
	}
}

// The table of what a request's Authorization means, in every mode.
func TestTheWholeCredentialTable(t *testing.T) {
	t.Parallel()
	const public = "\npublic /health /open/* @preflight"
	withoutToken := start(t, withTold(passSite("{$PORT}", preflight, public)+passSite("{$PORT2}", preflight, "without_token pass"+public)), globals(""))
	foreign := start(t, withTold(passSite("{$PORT}", preflight, "foreign_token pass"+public)+passSite("{$PORT2}", preflight, "foreign_token pass\nwithout_token pass"+public)))
	modes := []struct {
		name         string
		g            *gateway
		site         int
		none, others bool // whether requests without a token, and with others' tokens pass
	}{
		{"reject", withoutToken, 0, false, false},
		{"without_token pass", withoutToken, 1, true, false},
		{"foreign_token pass", foreign, 0, false, true},
		{"both pass", foreign, 1, true, true},
	}
	// Where requests go: the first is not public, the second and third are.
	targets := []ask{
		{target: "/v4/things"}, {target: "/health"}, {target: "/open/a/b?c=d"},
		{method: "OPTIONS", target: "/v3/things", lines: []string{"Origin: https://page.example", "Access-Control-Request-Method: POST"}},
		{method: "OPTIONS", target: "/v3/things", lines: []string{"Origin: https://page.example"}},
		{target: "/healthy"}, {target: "/v4/health"},
	}
	isPublic := []bool{false, true, true, true, false, false, false}
	const authentication, invalid, malformed = "AuthenticationRequired", "InvalidToken", "InvalidRequest"
	for _, mode := range modes {
		valid := mode.g.createAt(t, mode.site, as("alice"), 3600, "").value
		for _, test := range []struct {
			name string
			auth string
			kind string // none, ours, foreign, malformed
			user string // whom it is from
		}{
			{"none", "", "none", ""},
			{"Basic, right", "Basic Ym9iOm5vIHNlY3JldA==", "none", ""},
			{"Basic, empty", "Basic Og==", "none", ""},
			{"Digest", `Digest username="bob", realm="dataprep", nonce="x", uri="/", response="y"`, "none", ""},
			{"a scheme nobody knows", "ApiKey 17,  18", "none", ""},
			{"our token, valid", bearer(valid), "ours", "alice"},
			{"never issued", bearer(neverIssued("cat")), "ours", ""},
			{"of our shape, another prefix", bearer(neverIssued("github")), "ours", ""},
			{"mistyped", bearer(mistyped(valid)), "ours", ""},
			{"only our prefix", "Bearer cat_", "ours", ""},
			{"a JWT", "Bearer e30.e30.c2ln", "foreign", ""},
			{"an opaque one", "bearer AbC-._~+/123==", "foreign", ""},
			{"of our shape but the checksum, another prefix", bearer("github_" + strings.Repeat("x", 49)), "foreign", ""},
			{"malformed", "Bearer a b", "malformed", ""},
			{"Bearer alone", "Bearer", "malformed", ""},
			{"Basic alone", "Basic", "malformed", ""},
			{"two", "Bearer a\r\nAuthorization: Bearer b", "malformed", ""},
		} {
			for i, target := range targets {
				for _, cookie := range []string{"", "Cookie: a=1; session.sid=x;b"} {
					request := target
					request.site, request.auth = mode.site, test.auth
					var cookies, auths []string
					if cookie != "" {
						request.lines = append(slices.Clone(request.lines), cookie)
						cookies = []string{cookie}
					}
					if test.auth != "" {
						auths = []string{"Authorization: " + test.auth}
					}
					t.Run(fmt.Sprintf("%s/%s/%s %s%s", mode.name, test.name, request.method, request.target, cookie), func(t *testing.T) {
						got := mode.g.do(t, request)
						switch {
						case test.kind == "malformed":
							wantRefused(t, got, http.StatusBadRequest, malformed)
						case test.user != "":
							wantProxied(t, got, test.user)
							if len(got.received.lines("Cookie"))+len(got.received.lines("Authorization")) != 0 {
								t.Errorf("credentials were passed on:\n%s", got.received.raw)
							}
							if lines := got.received.lines("X-Told"); len(lines) != 1 || !strings.HasPrefix(lines[0], "X-Told: id=alice email=alice@example.com name=Alice A. token=") {
								t.Errorf("placeholders say %q", lines)
							}
						case test.kind == "ours":
							wantRefused(t, got, http.StatusUnauthorized, invalid)
						case isPublic[i], test.kind == "none" && mode.none, test.kind == "foreign" && mode.others:
							wantNobody(t, got, auths, cookies)
						case test.kind == "foreign":
							wantRefused(t, got, http.StatusUnauthorized, invalid)
						default:
							wantRefused(t, got, http.StatusUnauthorized, authentication)
						}
					})
				}
			}
			t.Run(mode.name+"/"+test.name+"/the routes, as ever", func(t *testing.T) {
				got := mode.g.do(t, ask{site: mode.site, target: api, auth: test.auth})
				switch {
				case test.user != "":
					wantStatus(t, got, http.StatusOK)
				case test.kind == "malformed":
					wantRefused(t, got, http.StatusBadRequest, malformed)
				case test.kind == "none":
					wantRefused(t, got, http.StatusUnauthorized, authentication)
				default:
					wantRefused(t, got, http.StatusUnauthorized, invalid)
				}
			})
		}
	}
}

// An API's own users go on as before beside tokens.
func TestAnAPIsOwnCredentialsGoOnWorkingWhileASiteMigrates(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	a.passes = true
	g := start(t, realSite("without_token pass\nforeign_token pass"), a.behind())
	token := g.create(t, as("alice"), 3600, "")
	a.wantBy(t, g.do(t, ask{auth: as("bob")}), "bob", "password")
	a.wantBy(t, g.do(t, ask{lines: []string{a.cookie("carol")}}), "carol", "session")
	a.wantBy(t, g.do(t, ask{auth: a.jwt("bob")}), "bob", "jwt")
	a.wantBy(t, g.do(t, ask{auth: bearer(token.value)}), "17", "identity")
	got := g.do(t, ask{auth: basic("bob", "guess")})
	if wantStatus(t, got, http.StatusUnauthorized); a.of(got) == nil {
		t.Errorf("the API itself is to refuse this: %s", got)
	}
	login := g.do(t, ask{target: logIn, auth: as("bob")})
	wantStatus(t, login, http.StatusOK)
	cookie, _, _ := strings.Cut(login.header.Get("Set-Cookie"), ";")
	secret(strings.TrimPrefix(cookie, session+"="))
	a.wantBy(t, g.do(t, ask{lines: []string{"Cookie: " + cookie}}), "bob", "session")
	a.wantUser(t, g.do(t, ask{auth: bearer(g.bySession(t, "Cookie: "+cookie).value)}), "23")
	t.Run("but nobody says who he is", func(t *testing.T) {
		got := g.do(t, ask{lines: []string{"Remote-User: 17", "remote_user: 17"}})
		wantStatus(t, got, http.StatusUnauthorized)
		a.wantBy(t, g.do(t, ask{auth: as("bob"), lines: []string{"Remote-User: 17"}}), "bob", "password")
	})
}

func TestUsersOfBasicAuthInFront(t *testing.T) {
	t.Parallel()
	front := `
	@browser not access_token
	basic_auth @browser {
		alice {$ALICE_HASH}
		bob {$BOB_HASH}
	}`
	sites := ""
	for _, port := range []string{"{$PORT}", "{$PORT2}"} {
		mode := map[string]string{"{$PORT}": "", "{$PORT2}": "without_token pass"}[port]
		sites += `
http://:` + port + ` {
	bind 127.0.0.1
	` + front + `
	access_tokens {
		allow_generate everyone
		sign_in placeholder {http.auth.user.id}
		public /health
		` + mode + `
	}
	reverse_proxy {$UPSTREAM}
}
`
	}
	g := start(t, withTold(sites))
	for at := range 2 {
		token := g.createAt(t, at, as("bob"), 3600, "")
		wantProxied(t, g.do(t, ask{site: at, auth: bearer(token.value)}), "bob")
		renewed := g.createAt(t, at, bearer(token.value), 60, "")
		wantProxied(t, g.do(t, ask{site: at, auth: bearer(renewed.value)}), "bob")
		g.remove(t, bearer(token.value), token.target())
		wantRefused(t, g.do(t, ask{site: at, auth: bearer(token.value)}), http.StatusUnauthorized, "InvalidToken")
		for _, auth := range []string{"", basic("bob", "guess"), "Bearer e30.e30.e30", bearer(neverIssued("cat"))} {
			for _, target := range []string{"/v4/x", api, "/health"} {
				// The answer is basic_auth's own, at the routes too, and no more as they
				// are described; so that err is of no interest.
				got, _ := g.try(ask{site: at, target: target, auth: auth})
				if got.status != http.StatusUnauthorized || got.reached != 0 {
					t.Errorf("%q gets past basic_auth: %s", auth, got)
				}
			}
		}
	}
	g.api.mu.Lock()
	g.api.requests = nil // what follows is passed on with its password, as written
	g.api.mu.Unlock()
	wantRefused(t, g.do(t, ask{auth: as("bob")}), http.StatusUnauthorized, "AuthenticationRequired")
	t.Run("their requests are theirs with without_token pass, and on public paths", func(t *testing.T) {
		for _, request := range []ask{{site: 1}, {target: "/health"}, {site: 1, target: "/health"}} {
			request.auth = basic("alice", passwords["alice"])
			wantProxied(t, g.do(t, request), "alice")
		}
	})
	g.api.mu.Lock()
	g.api.requests = nil
	g.api.mu.Unlock()
}

// An authServer stands where Authelia and others do: who has the cookie is
// somebody, and all others are sent to a login page.
func newAuthServer(t testing.TB) (address string) {
	server := httptest.NewServer(authServer)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

var authServer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie("portal")
	switch {
	case err != nil:
		http.Redirect(w, r, "https://auth.example.com/", http.StatusFound)
	case cookie.Value == "guest": // a visitor without a name
	default:
		w.Header().Set("Remote-User", cookie.Value)
		w.Header().Set("Remote-Groups", "dev,"+cookie.Value)
		if cookie.Value != "bare" {
			w.Header().Set("Remote-Email", cookie.Value+"@example.com")
			w.Header().Set("Remote-Name", strings.ToUpper(cookie.Value[:1])+cookie.Value[1:])
		}
		if cookie.Value == "boss" {
			w.Header().Set("X-Admin", "true")
		}
		if cookie.Value == "almost" {
			w.Header().Set("X-Admin", "True")
		}
	}
	_, _ = io.WriteString(w, "")
})

// portal is the line of a browser that the auth server knows as this user.
func portal(user string) []string { return []string{"Cookie: portal=" + user} }

func TestUsersOfForwardAuthInFront(t *testing.T) {
	t.Parallel()
	authServer := newAuthServer(t)
	siteOf := func(port, mode string) string {
		return `
http://:` + port + ` {
	bind 127.0.0.1
	@browser {
		not access_token
		not path /health
	}
	forward_auth @browser {$AUTH} {
		uri /api/authz/forward-auth
		copy_headers Remote-User Remote-Groups Remote-Email Remote-Name X-Admin
	}
	access_tokens {
		allow_generate everyone
		sign_in placeholder {
			user_id {http.reverse_proxy.header.Remote-User}
			email {http.reverse_proxy.header.Remote-Email}
			name {http.reverse_proxy.header.Remote-Name}
			admin {http.reverse_proxy.header.X-Admin}
			claim groups {http.reverse_proxy.header.Remote-Groups}
		}
		identity {
			Remote-User {http.auth.user.id}
			Remote-Email {http.auth.user.email}
			Remote-Name {http.auth.user.name}
			Remote-Groups {http.auth.user.groups}
		}
		public /health /open
		` + mode + `
	}
	reverse_proxy {$UPSTREAM}
}
`
	}
	groups := func(sites string) string {
		return strings.ReplaceAll(withTold(sites), "project}", "project} groups={http.auth.user.groups}")
	}
	g := start(t, groups(siteOf("{$PORT}", "without_token pass")+siteOf("{$PORT2}", "")), env("AUTH", authServer))
	identity := func(got answered) (lines []string) {
		for _, name := range []string{"Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups"} {
			lines = append(lines, got.received.lines(name)...)
		}
		return lines
	}
	bob := []string{"Remote-User: bob", "Remote-Email: bob@example.com", "Remote-Name: Bob", "Remote-Groups: dev,bob"}
	bare := []string{"Remote-User: bare", "Remote-Groups: dev,bare"}
	forgedAll := []string{"Remote-User: forged", "Remote-Email: forged", "Remote-Name: forged", "Remote-Groups: forged", "X-Admin: true", "remote_groups: forged"}

	tokens := map[string]string{}
	for _, user := range []string{"bob", "bare", "boss", "almost"} {
		got := g.do(t, ask{method: "POST", target: api, lines: append(portal(user), forgedAll...), body: anHour})
		tokens[user] = made(t, got).value
	}
	for name, test := range map[string]struct {
		ask  ask
		want []string
	}{
		"a browser":                            {ask{lines: portal("bob")}, bob},
		"one that says it is another":          {ask{lines: append(portal("bob"), forgedAll...)}, bob},
		"one with a password for another":      {ask{lines: portal("bob"), auth: "Basic YWxpY2U6eA=="}, bob},
		"without e-mail":                       {ask{lines: append(portal("bare"), forgedAll...)}, bare},
		"a token":                              {ask{auth: bearer(tokens["bob"])}, bob},
		"a token beside another's browser":     {ask{auth: bearer(tokens["bob"]), lines: append(portal("boss"), forgedAll...)}, bob},
		"a token without e-mail":               {ask{auth: bearer(tokens["bare"]), lines: forgedAll}, bare},
		"a visitor without a name":             {ask{lines: append(portal("guest"), forgedAll...)}, nil},
		"past forward_auth, on a public path":  {ask{target: "/health", lines: append(portal("bob"), forgedAll...)}, nil},
		"a token on a public path":             {ask{target: "/health", auth: bearer(tokens["bob"]), lines: forgedAll}, bob},
		"another's token on a public path":     {ask{target: "/health", auth: "Bearer e30.e30.e30", lines: forgedAll}, nil},
		"another's token beside bob's browser": {ask{target: "/open", auth: "Bearer e30.e30.e30", lines: append(portal("bob"), forgedAll...)}, nil},
		"bob's browser on a public path":       {ask{site: 1, target: "/open", lines: append(portal("bob"), forgedAll...)}, bob},
		"reject: a token":                      {ask{site: 1, auth: bearer(tokens["bob"])}, bob},
		"reject: public, past forward_auth":    {ask{site: 1, target: "/health", lines: forgedAll}, nil},
		"an empty Authorization beside bob's":  {ask{lines: append(portal("bob"), "Authorization:")}, nil},
		"a scheme nobody knows beside bob's":   {ask{lines: portal("bob"), auth: "Other x"}, bob},
		"Connection that names what it is":     {ask{lines: append(portal("bob"), "Connection: Remote-User, Remote-Groups")}, bob},
		"a token, and Connection that does so": {ask{auth: bearer(tokens["bob"]), lines: []string{"Connection: Remote-User, Remote-Groups"}}, bob},
	} {
		t.Run(name, func(t *testing.T) {
			got := g.do(t, test.ask)
			if strings.Contains(name, "empty Authorization") {
				// Whether it is none or malformed, it is never another's.
				if got.received != nil && !slices.Equal(identity(got), bob) {
					t.Errorf("arrived as %q", identity(got))
				}
				return
			}
			wantStatus(t, got, http.StatusOK)
			if diff := cmp.Diff(test.want, identity(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(got.received.raw, forged) && !strings.Contains(strings.Join(test.ask.lines, ""), "X-Forged") {
				t.Errorf("arrived:\n%s", got.received.raw)
			}
			if test.want == nil {
				if lines := got.received.lines("X-Told"); !slices.Equal(lines, []string{toldNobody + " groups="}) {
					t.Errorf("placeholders say %q", lines)
				}
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		wantRefused(t, g.do(t, ask{site: 1, lines: portal("bob")}), http.StatusUnauthorized, "AuthenticationRequired")
		wantRefused(t, g.do(t, ask{target: api, lines: append(portal("guest"), forgedAll...)}), http.StatusUnauthorized, "AuthenticationRequired")
		got := g.do(t, ask{lines: forgedAll})
		if got.status != http.StatusFound || got.reached != 0 {
			t.Errorf("a stranger gets %s", got)
		}
		// A bearer decides alone: not ours, and so nobody's, whoever's browser it is.
		wantRefused(t, g.do(t, ask{auth: "Bearer e30.e30.e30", lines: portal("bob")}), http.StatusUnauthorized, "InvalidToken")
		wantRefused(t, g.do(t, ask{target: api, auth: "Bearer e30.e30.e30", lines: portal("bob")}), http.StatusUnauthorized, "InvalidToken")
		wantRefused(t, g.do(t, ask{target: api, auth: bearer(neverIssued("cat")), lines: portal("bob")}), http.StatusUnauthorized, "InvalidToken")
	})
	t.Run("only the text true makes an administrator", func(t *testing.T) {
		wantStatus(t, g.do(t, ask{target: api + "?user=*", lines: portal("boss")}), http.StatusOK)
		for _, user := range []string{"almost", "bob"} {
			got := g.do(t, ask{target: api + "?user=*", lines: append(portal(user), "X-Admin: true")})
			wantRefused(t, got, http.StatusForbidden, "AccessControlException")
		}
		wantRefused(t, g.do(t, ask{target: api + "?user=*", auth: bearer(tokens["boss"])}), http.StatusForbidden, "AccessControlException")
	})
}

// No client says who it is, in no mode, on no path.
// A lax server takes /open/..;/admin for /admin: only what is public however it
// is read needs no token.
func TestWhatIsPublicHoweverItIsRead(t *testing.T) {
	t.Parallel()
	g := start(t, withTold(passSite("{$PORT}", preflight, "public /health /open/* @preflight")))
	for _, target := range []string{"/health", "/open/a", "/open/a%20b", "/open/a/../b", "/open//a", "/open/a;v=1", "/open/%41", "/open/ä", "/open/100%25"} {
		wantNobody(t, g.do(t, ask{target: target}), nil, nil)
	}
	for _, target := range []string{
		"/open/../admin", "/open/%2e%2e/admin", "/open/..;/admin", "/open/..%5cadmin", "/open/%252e%252e/admin", "/open/x/..;a=b/..;/admin", "/open/..%2fadmin", "/open/..\\admin",
	} {
		got := g.do(t, ask{target: target})
		if got.status != http.StatusUnauthorized || got.reached > 0 {
			t.Errorf("%s: %s", target, got)
		}
	}
	// However a matcher gets at the path.
	read := start(t, withTold(passSite("{$PORT}", "@open expression `{path}.startsWith(\"/open/\")`", "public @open")))
	wantNobody(t, read.do(t, ask{target: "/open/a/../b"}), nil, nil)
	for _, target := range []string{"/open/..;/admin", "/open/%2e%2e/admin", "/open/..%2fadmin"} {
		if got := read.do(t, ask{target: target}); got.status != http.StatusUnauthorized || got.reached > 0 {
			t.Errorf("%s: %s", target, got)
		}
	}
	// What doesn't depend on the path is public at any.
	origin := []string{"Origin: https://page.example", "Access-Control-Request-Method: POST"}
	wantNobody(t, g.do(t, ask{method: "OPTIONS", target: "/v3/..;/things", lines: origin}), nil, nil)
}

func TestNoIdentityHeaderIsForgedInAnyMode(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	options := `identity {
			Remote-User {http.auth.user.id}
			Remote-Email {http.auth.user.email}
			Remote-Name {http.auth.user.name}
			Remote-Groups {http.auth.user.groups}
			X-Trifacta-Workspace-Id {http.auth.user.workspace_id}
		}
		strip X-Trifacta-* Remote-*
		public /health @preflight
		`
	names := append(slices.Clone(protected), "Remote-Groups", "Remote-Anything", "X-Trifacta-Workspace-Id", "X-Trifacta-User-Email")
	var attacks []attack
	for _, name := range names {
		for _, spelled := range spellings(name) {
			line := spelled + ": " + forged
			trailer := "2\r\nhi\r\n0\r\nX-Checksum: 17\r\n" + line + "\r\n\r\n"
			attacks = append(attacks, attack{name: "header " + spelled, lines: []string{line, "Connection: keep-alive, " + spelled}},
				attack{name: "trailer " + spelled, lines: []string{"Transfer-Encoding: chunked", "Trailer: X-Checksum, " + spelled}, chunked: trailer})
		}
	}
	// In a connection that has become one of HTTP/2 nobody would look at headers.
	for _, upgrade := range []string{"h2c", "H2C", "websocket, h2c", "TLS/1.3, h2c", "spdy/3.1", "forged"} {
		attacks = append(attacks, attack{name: "upgrade to " + upgrade,
			lines: []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: " + upgrade, "HTTP2-Settings: " + forged}})
	}
	allowed := strings.Replace(lenient, "protocols h1 h2c", "", 1)
	allowed = strings.Replace(allowed, "x_trifacta_*", "x_trifacta_* remote_*", 1)
	allowed = strings.Replace(allowed, "x.trifacta.*", "x.trifacta.* remote.*", 1)
	for _, mode := range []string{"", "without_token pass", "foreign_token pass", "without_token pass\nforeign_token pass"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			sites := passSite("{$PORT}", preflight, mode+"\n"+options+askRealAPI)
			g := start(t, sites, a.behind(), globals(allowed))
			token := g.create(t, as("alice"), 3600, "")
			reached := 0
			for _, attack := range attacks {
				for _, request := range []ask{
					{}, {auth: bearer(token.value)}, {auth: "Basic Ym9iOng="}, {auth: "Bearer e30.e30.e30"}, {target: "/health"},
					{method: "OPTIONS", lines: []string{"Origin: https://page.example", "Access-Control-Request-Method: POST"}},
					{target: api}, {target: api, auth: bearer(token.value)},
				} {
					request.lines = append(slices.Clone(request.lines), attack.lines...)
					if attack.chunked != "" {
						request.body = attack.chunked
						if request.method == "" {
							request.method = "POST"
						}
						if request.target == api {
							continue // a body that isn't one of the routes'
						}
					}
					got := g.do(t, request)
					if request.target == api && request.auth == "" {
						wantStatus(t, got, http.StatusUnauthorized)
					}
					if got.received == nil {
						continue
					}
					reached++
					if strings.Contains(got.received.raw, forged) {
						t.Errorf("%s reached the API behind:\n%s", attack.name, got.received.raw)
					}
					if upgrades := got.received.lines("Upgrade"); len(upgrades) > 0 {
						t.Errorf("%s reached the API behind: %q", attack.name, upgrades)
					}
					users := got.received.lines("Remote-User")
					if ours := request.auth == bearer(token.value); ours != slices.Equal(users, []string{"Remote-User: alice"}) || !ours && len(users) != 0 {
						t.Errorf("%s, %q: the API behind was told %q", attack.name, request.auth, users)
					}
				}
			}
			if reached < 3*len(attacks) {
				t.Errorf("only %d requests reached the API behind", reached)
			}
			for _, request := range a.heard {
				if strings.Contains(fmt.Sprint(request.header), forged) {
					t.Errorf("who-am-I was told %v", request.header)
				}
			}
		})
	}
}
