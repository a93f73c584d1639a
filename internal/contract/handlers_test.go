package contract

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Here the directive is one handler among others of the owner's.

func TestPlaceholdersReachTheHandlersBehind(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("project dp\nallow_generate everyone"), "reverse_proxy {$UPSTREAM}", `
	respond "{http.auth.user.id}|{http.auth.user.email}|{http.auth.user.name}|{http.auth.user.token_id}|{http.auth.user.project}"
`, 1))
	for user, told := range map[string]string{
		"alice": "alice|alice@example.com|Alice A.|",
		"bob":   "bob|||",
		"carol": "carol|carol@example.com||",
	} {
		made := g.create(t, as(user), 3600, "")
		got := g.do(t, ask{auth: bearer(made.value)})
		if want := told + made.info.TokenID + "|dp"; got.status != http.StatusOK || got.body != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// What handlers behind change of a request shows in Caddy's placeholders, as it
// does without the directive.
func TestChangesOfHandlersBehindShowInPlaceholders(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("allow_generate everyone"), "reverse_proxy {$UPSTREAM}", `
	handle {
		request_header Host behind.example
		method PUT
		rewrite * /behind
		respond "{http.request.method} {http.request.host}{http.request.uri}"
	}
`, 1))
	got := g.do(t, ask{auth: bearer(g.create(t, as("bob"), 3600, "").value)})
	if want := "PUT behind.example/behind"; got.status != http.StatusOK || got.body != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// An error route has a request that hasn't ended.
func TestErrorRoutesCanProxy(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("allow_generate everyone"), "reverse_proxy {$UPSTREAM}", `
	reverse_proxy 127.0.0.1:{$PORT3}
	handle_errors {
		reverse_proxy {$UPSTREAM}
	}
`, 1))
	wantProxied(t, g.do(t, ask{auth: bearer(g.create(t, as("bob"), 3600, "").value)}), "bob")
}

func TestTheAccessLogNamesTheUser(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("allow_generate everyone"), "bind 127.0.0.1", "bind 127.0.0.1\n\tlog", 1))
	made := g.create(t, as("bob"), 3600, "")
	wantProxied(t, g.do(t, ask{target: "/by-token", auth: bearer(made.value)}), "bob")
	wantRefused(t, g.do(t, ask{target: "/by-nobody", lines: []string{"Remote-User: bob"}}), 401, "AuthenticationRequired")
	wantStatus(t, g.do(t, ask{target: api + "?limit=1", auth: as("carol")}), http.StatusOK)
	wantStatus(t, g.do(t, ask{target: api + "?limit=2", auth: bearer(made.value)}), http.StatusOK)
	for uri, want := range map[string]string{"/by-token": "bob", "/by-nobody": "", api + "?limit=1": "carol", api + "?limit=2": "bob"} {
		var line accessLine
		g.wait(t, "the access log has a line for "+uri, func() bool {
			var found bool
			line, found = g.accessLine(uri)
			return found
		})
		if line.UserID != want {
			t.Errorf("user_id of %s is %q, want %q", uri, line.UserID, want)
		}
	}
}

type accessLine struct {
	Logger  string
	UserID  string `json:"user_id"`
	Request struct{ URI string }
}

func (g *gateway) accessLine(uri string) (accessLine, bool) {
	for text := range strings.Lines(g.logs()) {
		var line accessLine
		if json.Unmarshal([]byte(text), &line) == nil && strings.HasPrefix(line.Logger, "http.log.access") && line.Request.URI == uri {
			return line, true
		}
	}
	return accessLine{}, false
}

func TestMeetingTheDirectiveASecondTimeIsAnError(t *testing.T) {
	t.Parallel()
	directive := `
	access_tokens {
		project dataprep
		admins alice
		sign_in basic {
			alice {$ALICE_HASH}
		}
	}`
	g := start(t, `
http://:{$PORT} {
	bind 127.0.0.1`+directive+`
	handle /twice/* {`+directive+`
		reverse_proxy {$UPSTREAM}
	}
	reverse_proxy {$UPSTREAM}
}`)
	made := g.create(t, as("alice"), 3600, "")
	wantProxied(t, g.do(t, ask{target: "/once", auth: bearer(made.value)}), "alice")
	got := g.do(t, ask{target: "/twice/x", auth: bearer(made.value)})
	if got.status != http.StatusInternalServerError || got.reached != 0 {
		t.Errorf("the second time: %s", got)
	}
	g.wait(t, "the log says what to do", func() bool {
		for line := range strings.Lines(g.logs()) {
			if strings.Contains(line, `"level":"error"`) && strings.Contains(line, "access_tokens") {
				return true
			}
		}
		return false
	})
}

// access_token is true for a request with exactly one bearer token that was issued
// here, in whatever state it is now.
func TestTheMatcher(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("prefix dp"), "bind 127.0.0.1", `bind 127.0.0.1
	handle /matched {
		@ours access_token
		respond @ours "ours"
		respond "not ours"
	}
	handle {`, 1)+"}\n"+siteAt("{$PORT2}", "project another"))
	value := g.create(t, as("alice"), 3600, "").value
	deleted := g.create(t, as("alice"), 3600, "")
	g.remove(t, as("alice"), deleted.target())
	others := g.createAt(t, 1, as("alice"), 3600, "")
	const ours, notOurs = "ours", "not ours"
	for _, test := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"none", nil, notOurs},
		{"a valid one", []string{"Authorization: " + bearer(value)}, ours},
		{"the scheme in another case", []string{"Authorization: bEARER " + value}, ours},
		{"two spaces", []string{"Authorization: Bearer  " + value}, ours},
		{"a deleted one", []string{"Authorization: " + bearer(deleted.value)}, ours},
		{"another project's", []string{"Authorization: " + bearer(others.value)}, ours},
		{"unknown, but of our shape", []string{"Authorization: " + bearer(neverIssued("dp"))}, notOurs},
		{"another prefix, with a right checksum", []string{"Authorization: " + bearer(neverIssued("github"))}, notOurs},
		{"the longest prefix", []string{"Authorization: " + bearer(neverIssued("abcdefghijk1"))}, notOurs},
		{"the shortest", []string{"Authorization: " + bearer(neverIssued("7z"))}, notOurs},
		{"a prefix too long", []string{"Authorization: " + bearer(neverIssued("abcdefghijklm"))}, notOurs},
		{"a prefix too short", []string{"Authorization: " + bearer(neverIssued("a"))}, notOurs},
		{"a prefix in capitals", []string{"Authorization: " + bearer(neverIssued("CAT"))}, notOurs},
		{"a configured prefix and a wrong checksum", []string{"Authorization: " + bearer(mistyped(value))}, notOurs},
		{"a configured prefix and anything", []string{"Authorization: Bearer dp_x"}, notOurs},
		{"a configured prefix alone", []string{"Authorization: Bearer dp_"}, notOurs},
		{"a configured prefix without _", []string{"Authorization: Bearer dpx"}, notOurs},
		{"a prefix configured nowhere, and a wrong checksum", []string{"Authorization: " + bearer(mistyped(neverIssuedUnnoted()))}, notOurs},
		{"a JWT", []string{"Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"}, notOurs},
		{"Basic", []string{"Authorization: " + as("alice")}, notOurs},
		{"a token as a password", []string{"Authorization: " + basic("alice", value)}, notOurs},
		{"another scheme", []string{"Authorization: Token " + value}, notOurs},
		{"two", []string{"Authorization: " + bearer(value), "Authorization: " + bearer(value)}, notOurs},
		{"two, one of them Basic", []string{"Authorization: " + bearer(value), "Authorization: " + as("alice")}, notOurs},
		{"malformed", []string{"Authorization: Bearer " + value + " x"}, notOurs},
		{"in a cookie", []string{"Cookie: token=" + value}, notOurs},
		{"in another header", []string{"X-Api-Key: " + value}, notOurs},
	} {
		if got := g.do(t, ask{target: "/matched", lines: test.lines}); got.body != test.want {
			t.Errorf("%s: %q, want %q", test.name, got.body, test.want)
		}
	}
}

// The recipe for a site that has had basic_auth all along.
func TestPasswordsForBrowsersAndTokensForPrograms(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("allow_generate everyone"), "bind 127.0.0.1", `bind 127.0.0.1
	@browser not access_token
	basic_auth @browser {
		alice {$ALICE_HASH}
		bob {$BOB_HASH}
	}`, 1))
	made := g.create(t, as("bob"), 3600, "")
	wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "bob")
	wantStatus(t, g.do(t, ask{target: api, auth: bearer(made.value)}), http.StatusOK)
	gone := g.create(t, as("bob"), 3600, "")
	g.remove(t, as("bob"), gone.target())
	wantRefused(t, g.do(t, ask{auth: bearer(gone.value)}), http.StatusUnauthorized, "InvalidToken")
	for name, lines := range map[string][]string{
		"nobody":           nil,
		"a made-up token":  {"Authorization: " + bearer(neverIssued("cat"))},
		"a mistyped token": {"Authorization: " + bearer(mistyped(made.value))},
		"a wrong password": {"Authorization: " + basic("bob", "guess")},
		"a foreign token":  {"Authorization: Bearer eyJhbGciOiJub25lIn0.e30."},
		"two tokens":       {"Authorization: " + bearer(made.value), "Authorization: " + bearer(made.value)},
	} {
		if got := g.do(t, ask{lines: lines}); got.status/100 != 4 || got.reached != 0 {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestThePathIsTheOneAfterUriAndHandlePath(t *testing.T) {
	t.Parallel()
	stripped := func(port, begin, end string) string {
		s := strings.Replace(siteAt(port, "project dataprep"), "bind 127.0.0.1", "bind 127.0.0.1\n"+begin, 1)
		return strings.TrimSuffix(strings.TrimSpace(s), "}") + end + "\n}\n"
	}
	g := start(t, stripped("{$PORT}", "handle_path /dp/* {", "}")+stripped("{$PORT2}", "uri strip_prefix /dp", "")+
		strings.Replace(siteAt("{$PORT3}", "project elsewhere\napi /tokens"), "bind 127.0.0.1", "bind 127.0.0.1\nrewrite /secrets /tokens", 1))
	for n, how := range []string{"handle_path", "uri strip_prefix"} {
		t.Run(how, func(t *testing.T) {
			got := g.do(t, ask{site: n, method: "POST", target: "/dp" + api, auth: as("alice"), body: `{"lifetimeSeconds": 60}`})
			wantStatus(t, got, http.StatusCreated)
			auth := bearer(got.tokenValue())
			if got := g.do(t, ask{site: n, target: "/dp/v4/people/current"}); !strings.Contains(got.body, "POST to /dp"+api+" ") {
				t.Errorf("the refusal names another path than the client's: %s", got.body)
			}
			got = g.do(t, ask{site: n, target: "/dp/v4/people/current?x=%2F", auth: auth})
			wantProxied(t, got, "alice")
			if want := "/v4/people/current?x=%2F"; got.received.target != want {
				t.Errorf("arrived as %s, want %s", got.received.target, want)
			}
			for _, almost := range []string{
				"/dp/V4/apiAccessTokens", "/dp/v4/%61piAccessTokens", "/dp/v4/apiAccessTokens/",
			} {
				got := g.do(t, ask{site: n, target: almost, auth: auth})
				wantRefused(t, got, http.StatusNotFound, "RouteNotFoundException")
			}
		})
	}
	t.Run("api elsewhere, and rewrite", func(t *testing.T) {
		for _, target := range []string{"/tokens", "/secrets"} {
			wantStatus(t, g.do(t, ask{site: 2, target: target, auth: as("alice")}), http.StatusOK)
		}
		wantRefused(t, g.do(t, ask{site: 2, target: "/Tokens/", auth: as("alice")}), http.StatusNotFound, "RouteNotFoundException")
		made := g.do(t, ask{site: 2, method: "POST", target: "/tokens", auth: as("alice"), body: `{"lifetimeSeconds": 60}`})
		// What is no route of this site is the API's.
		wantProxied(t, g.do(t, ask{site: 2, target: api, auth: bearer(made.tokenValue())}), "alice")
	})
}
