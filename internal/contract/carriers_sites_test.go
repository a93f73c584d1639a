package contract

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Two sites of one server, basic_auth in front of both: one takes tokens from
// everywhere, the other bearer tokens only. The matcher, which can't know the site,
// lets every token that was issued here past basic_auth, and no site passes it on.
func TestNoCarrierOfAnotherSiteGetsPastTheMatcher(t *testing.T) {
	t.Parallel()
	siteWith := func(port, options string) string {
		return `
http://:` + port + ` {
	bind 127.0.0.1
	@browser not access_token
	basic_auth @browser {
		alice {$ALICE_HASH}
		bob {$BOB_HASH}
	}
	access_tokens {
		allow_generate everyone
		sign_in placeholder {http.auth.user.id}
		` + options + `
	}
	reverse_proxy {$UPSTREAM}
}
`
	}
	for _, mode := range []string{"", "without_token pass", "public /v3/*"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			g := start(t, siteWith("{$PORT}", "token_from basic\ntoken_from header X-API-Key\n"+mode)+siteWith("{$PORT2}", mode)+
				siteWith("{$PORT3}", "project other\ntoken_from header Private-Token\n"+mode),
				// At DEBUG Caddy logs the requests that basic_auth refuses, header and all.
				globals("log {\n\tlevel INFO\n}"))
			bobs := g.create(t, as("bob"), 3600, "").value
			deleted := g.create(t, as("bob"), 3600, "")
			g.remove(t, as("bob"), deleted.target())
			unknown := neverIssued("cat")
			basicAuths := func(got answered) {
				t.Helper()
				if got.status != http.StatusUnauthorized || got.reached != 0 || !strings.Contains(got.header.Get("WWW-Authenticate"), "restricted") {
					t.Errorf("basic_auth was passed: %s", got)
				}
			}
			for _, a := range []ask{{auth: bearer(bobs)}, {auth: encoded("bob:" + bobs)}, {lines: apiKey(bobs)}} {
				got := g.do(t, a)
				wantProxied(t, got, "bob")
				wantNoKeys(t, got)
			}
			for _, a := range []ask{{auth: bearer(deleted.value)}, {auth: encoded("alice:" + deleted.value)}, {lines: apiKey(deleted.value)}} {
				wantRefused(t, g.do(t, a), http.StatusUnauthorized, "InvalidToken")
			}
			for _, site := range []int{1, 2} {
				for _, value := range []string{bobs, deleted.value} {
					for _, a := range []ask{
						{auth: encoded("bob:" + value)},
						{auth: encoded(value + ":")},
						{lines: apiKey(value)},
						{lines: []string{"x-api-key: " + value}},
						{lines: apiKey(value), auth: as("alice")},
						{lines: apiKey(value), auth: bearer("foreign")},
						{lines: []string{"X-API-Key: own", "X-API-Key: " + value}},
					} {
						a.site = site
						wantRefused(t, g.do(t, a), http.StatusBadRequest, "InvalidRequest")
					}
				}
			}
			// Of two tokens neither is let past basic_auth, or both are refused.
			for _, site := range []int{0, 1, 2} {
				for _, a := range []ask{
					{lines: []string{"X-API-Key: " + bobs, "X-API-Key: " + bobs}},
					{lines: []string{"X-API-Key: " + bobs, "Private-Token: " + deleted.value}},
					{lines: apiKey(bobs), auth: bearer(bobs)},
				} {
					a.site = site
					got, _ := g.try(a)
					if got.reached != 0 || got.status != http.StatusUnauthorized && got.status != http.StatusBadRequest {
						t.Errorf("site %d, %s: %s", site, a.text(""), got)
					}
				}
				// What nobody has issued opens nothing.
				for _, a := range []ask{
					{lines: apiKey(unknown)},
					{auth: encoded("bob:" + unknown)},
					{lines: []string{"x~api~key: " + bobs}},
					{lines: apiKey(bobs + "x")},
					{},
				} {
					a.site = site
					got, _ := g.try(a)
					basicAuths(got)
				}
			}
			// Past basic_auth, by a password, a token in the other spelling is refused.
			for _, a := range []ask{{lines: []string{"x~api~key: " + bobs}}, {lines: []string{"X-API-Key: key=" + bobs}}} {
				for site := range 3 {
					a.site, a.auth = site, as("alice")
					wantRefused(t, g.do(t, a), http.StatusBadRequest, "InvalidRequest")
				}
			}
		})
	}
}

// What nobody has issued is no token at a site that takes none from there.
func TestAHeaderIsTheAPIsOwnWhereNoTokensAreTakenFromIt(t *testing.T) {
	t.Parallel()
	g := start(t, carriersAt("without_token pass"))
	bobs := g.create(t, as("bob"), 3600, "").value
	unknown := neverIssuedUnnoted()
	got := g.do(t, ask{site: 1, auth: bearer(bobs), lines: apiKey(unknown)})
	wantProxied(t, got, "bob")
	if sent := got.received.header.Get("X-API-Key"); sent != unknown {
		t.Errorf("the API was sent %q", sent)
	}
}

// A token as a password is no guess at a password.
func TestATokenAsAPasswordIsNoGuess(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"token_from basic", ""} {
		g := start(t, site("allow_generate everyone\nsign_in_limit 2 1h\n"+from))
		deleted := g.create(t, as("bob"), 3600, "")
		g.remove(t, as("bob"), deleted.target())
		for range 5 {
			for _, value := range []string{deleted.value, neverIssued("cat")} {
				if got := g.do(t, ask{target: api, auth: basic("bob", value)}); got.status != http.StatusUnauthorized && got.status != http.StatusBadRequest {
					t.Fatalf("%s", got)
				}
				form := url.Values{"user": {"bob"}, "password": {value}}
				wantStatus(t, (&person{g: g}).post(t, "/sign-in", form), http.StatusUnauthorized)
			}
		}
		wantStatus(t, g.do(t, ask{target: api, auth: as("bob")}), http.StatusOK)
		for range 2 {
			wantRefused(t, g.do(t, ask{target: api, auth: basic("bob", "guess")}), http.StatusUnauthorized, "AuthenticationRequired")
		}
		wantLimited(t, g.do(t, ask{target: api, auth: as("bob")}))
	}
}

// Caddy logs every header but those that it knows for credentials.
func TestTheAccessLogMasksTokensInHeaders(t *testing.T) {
	t.Parallel()
	g := start(t, logging("allow_generate everyone\ntoken_from basic\ntoken_from header X-API-Key"))
	made := g.create(t, as("bob"), 3600, "")
	id := "[token " + made.info.TokenID + "]"
	for agent, test := range map[string]struct {
		ask     ask
		status  int
		logged  string
		refusal string
	}{
		"a-valid-one":    {ask{lines: apiKey(made.value)}, 200, id, ""},
		"an-unknown-one": {ask{lines: apiKey(neverIssued("cat"))}, 401, "[token]", "unknown"},
		"two":            {ask{lines: apiKey(made.value), auth: bearer(made.value)}, 400, id, "malformed"},
		"amid-text":      {ask{lines: apiKey("Bearer " + made.value)}, 400, "Bearer " + id, "malformed"},
		"none":           {ask{lines: apiKey("own")}, 401, "own", "missing"},
		"basic":          {ask{auth: basic("bob", made.value)}, 200, "", ""},
	} {
		test.ask.lines = append(test.ask.lines, "User-Agent: "+agent)
		wantStatus(t, g.do(t, test.ask), test.status)
		line := g.accessLogLine(t, agent)
		headers := line["request"].(map[string]any)["headers"].(map[string]any)
		logged := ""
		if values, ok := headers["X-Api-Key"].([]any); ok {
			logged = values[0].(string)
		}
		if logged != test.logged || line.text("refusal") != test.refusal {
			t.Errorf("%s: %v", agent, line)
		}
		if test.status == 200 && (line.text("user_id") != "bob" || line.text("token_id") != made.info.TokenID) {
			t.Errorf("%s: %v", agent, line)
		}
	}
}

// A browser remembers a password, and sends it along with what any script asks for.
func TestAScriptCannotRenewATokenThatItsBrowserRemembers(t *testing.T) {
	t.Parallel()
	g := start(t, carriersAt(""))
	bobs := g.create(t, as("bob"), 3600, "").value
	script := []string{"Sec-Fetch-Mode: cors"}
	renew := ask{method: "POST", target: api, body: anHour, lines: script}
	renew.auth = encoded("bob:" + bobs)
	wantRefused(t, g.do(t, renew), http.StatusForbidden, "AccessControlException")
	renew.auth = bearer(bobs)
	wantStatus(t, g.do(t, renew), http.StatusCreated)
	renew.auth, renew.lines = "", append(apiKey(bobs), script...)
	wantStatus(t, g.do(t, renew), http.StatusCreated)
}

// A token in a trailer is none, and is not passed on.
func TestTrailersCarryNoTokens(t *testing.T) {
	t.Parallel()
	g := start(t, carriersAt("without_token pass"))
	bobs := g.create(t, as("bob"), 3600, "").value
	for _, name := range []string{"X-API-Key", "x-api-key", "X~API~Key", "Private-Token"} {
		got := g.do(t, ask{method: "POST", kind: "none", lines: []string{"Transfer-Encoding: chunked", "Trailer: X-Checksum, " + name},
			body: "2\r\nhi\r\n0\r\nX-Checksum: 17\r\n" + name + ": " + bobs + "\r\n\r\n"})
		wantStatus(t, got, http.StatusOK)
		if strings.Contains(got.received.raw, bobs) || got.received.trailer.Get("X-Checksum") != "17" {
			t.Errorf("%s: the API was sent %s", name, got.received.raw)
		}
	}
}

// Nor does Caddy's log of errors show them, whoever answers, and whether there is an
// access log or not.
func TestTheErrorLogMasksTokensInHeaders(t *testing.T) {
	t.Parallel()
	const options = "allow_generate everyone\ntoken_from header X-API-Key"
	down := func(site string) string {
		return strings.ReplaceAll(site, "reverse_proxy {$UPSTREAM}", "reverse_proxy 127.0.0.1:9")
	}
	for name, test := range map[string]struct {
		sites, level, body string
		status             int
	}{
		"without an access log": {down(site(options)), "error", "", 502},
		"with one":              {down(logging(options)), "error", "", 502},
		"with error routes": {strings.Replace(down(logging(options)), "\n\treverse_proxy", `
	handle_errors 502 {
		respond "{http.request.uri.path} is down" 503
	}
	reverse_proxy`, 1), "debug", "/v3/down is down", 503},
		"with error routes for others": {strings.Replace(down(site(options)), "\n\treverse_proxy", `
	handle_errors 404 {
		respond "gone" 410
	}
	reverse_proxy`, 1), "debug", "", 502},
		"with error routes that fail": {strings.Replace(down(site(options)), "\n\treverse_proxy", `
	handle_errors {
		reverse_proxy 127.0.0.1:9
	}
	reverse_proxy`, 1), "error", "", 502},
		"another's refusal": {strings.Replace(site(options), "\n\treverse_proxy", "\n\terror /v3/down \"no\" 451\n\treverse_proxy", 1), "debug", "", 451},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, test.sites)
			made := g.create(t, as("bob"), 3600, "")
			got := g.do(t, ask{target: "/v3/down", lines: apiKey(made.value)})
			wantStatus(t, got, test.status)
			if got.body != test.body {
				t.Errorf("body %q, want %q", got.body, test.body)
			}
			g.wait(t, "the error is logged", func() bool { return len(g.logLines("http.log.error")) > 0 })
			for _, line := range g.logLines("http.log.error") {
				headers := line["request"].(map[string]any)["headers"].(map[string]any)
				if keys, _ := headers["X-Api-Key"].([]any); len(keys) != 1 || keys[0] != "[token "+made.info.TokenID+"]" || line.text("level") != test.level {
					t.Errorf("%v", line)
				}
			}
			// A bearer's goes Caddy's own way, and is answered in the same way.
			want := g.do(t, ask{target: "/v3/down", auth: bearer(made.value)})
			if want.status != got.status || want.body != got.body {
				t.Errorf("Caddy answers %s, and for a token in a header %s", want, got)
			}
		})
	}
}

// Another proxy that asks is told of tokens from wherever the site takes them, and of
// a 400 as a 401.
func TestVerifyKnowsCarriers(t *testing.T) {
	t.Parallel()
	g := start(t, siteAt("{$PORT}", verifyOptions+"\ntoken_from basic\ntoken_from header X-API-Key\nwithout_token pass\nforeign_token pass\npublic /open/*")+
		siteAt("{$PORT2}", verifyOptions), globals(trustsThisMachine))
	made := g.create(t, as("bob"), 3600, "")
	scoped := g.limited(t, as("bob"), `"scopes": ["read"]`)
	about := func(method, uri string, a ask, more ...string) ask {
		a.target, a.lines = "/original", original(method, uri, append(more, a.lines...)...)
		return a
	}
	for what, a := range map[string]ask{
		"a password":                       {auth: encoded("x:" + made.value)},
		"a name":                           {auth: encoded(made.value + ":")},
		"a header":                         {lines: apiKey(made.value)},
		"a header, a foreign token beside": {lines: apiKey(made.value), auth: bearer("foreign")},
		"a scoped one as a password":       {auth: encoded("x:" + scoped.value)},
		"a scoped one in a header":         {lines: apiKey(scoped.value)},
	} {
		for _, uri := range []string{"/v4/jobs", "/open/x"} {
			wantLetPass(t, what, g.do(t, about("GET", uri, a)), "bob")
		}
	}
	for _, a := range []ask{{auth: encoded("x:" + scoped.value)}, {lines: apiKey(scoped.value)}} {
		wantRefused(t, g.do(t, about("DELETE", "/v4/jobs", a)), http.StatusForbidden, "AccessControlException")
		a.method, a.target = "DELETE", "/v4/jobs"
		wantRefused(t, g.do(t, a), http.StatusForbidden, "AccessControlException")
	}
	for what, a := range map[string]ask{
		"nothing":         {},
		"two":             {auth: bearer(made.value), lines: apiKey(made.value)},
		"a header twice":  {lines: []string{"X-API-Key: " + made.value, "X-API-Key: own"}},
		"amid text":       {lines: apiKey("key " + made.value)},
		"a key":           {lines: apiKey("own")},
		"another's":       {auth: basic("x", neverIssued("cat"))},
		"a password":      {auth: encoded("bob:own")},
		"a foreign token": {auth: bearer("foreign")},
	} {
		if got := g.do(t, about("GET", "/v4/jobs", a)); got.status != http.StatusUnauthorized {
			t.Errorf("%s: %s", what, got)
		}
	}
	for what, a := range map[string]ask{
		"a password where none is taken": {site: 1, auth: encoded("x:" + made.value)},
		"a header where none is taken":   {site: 1, lines: apiKey(made.value)},
	} {
		if got := g.do(t, about("GET", "/v4/jobs", a)); got.status != http.StatusUnauthorized {
			t.Errorf("%s: %s", what, got)
		}
	}
	// What other proxies hand on has to make git and docker send a password.
	got := g.do(t, about("GET", "/app.git/info/refs", ask{}))
	if asked := got.header.Values("WWW-Authenticate"); len(asked) != 1 || asked[0] != `Basic realm="dataprep", charset="UTF-8"` {
		t.Errorf("asks for %q", asked)
	}
}
