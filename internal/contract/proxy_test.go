package contract

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The table of what a request's Authorization means, with the defaults.
func TestCredentials(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	valid := g.create(t, as("bob"), 3600, "").value
	doomed := g.create(t, as("bob"), 3600, "")
	g.remove(t, as("bob"), doomed.target())

	const authentication, invalid, malformed = "AuthenticationRequired", "InvalidToken", "InvalidRequest"
	line := func(values ...string) (lines []string) {
		for _, value := range values {
			lines = append(lines, "Authorization: "+value)
		}
		return lines
	}
	for _, test := range []struct {
		name   string
		lines  []string
		proxy  string // the exception; "" is passed on as bob
		routes string // the same; "" is 200
	}{
		{"none", nil, authentication, authentication},
		{"Basic, right", line(as("bob")), authentication, ""},
		{"Basic, wrong", line(basic("bob", "guess")), authentication, authentication},
		{"Basic, no password", line(basic("bob", "")), authentication, authentication},
		{"Basic, nobody", line(basic("", "")), authentication, authentication},
		{"Basic, no colon", line("Basic Ym9i"), authentication, authentication},
		{"Basic, a token for a password", line(basic("bob", valid)), malformed, malformed},
		{"Basic, a token for a name", line(basic(valid, "")), malformed, malformed},
		{"Digest", line(`Digest username="bob", realm="dataprep", nonce="x", uri="/", response="y"`), authentication, authentication},
		{"Negotiate", line("Negotiate YIIabc=="), authentication, authentication},
		{"a scheme nobody knows, with a token", line("Token " + valid), malformed, malformed},
		{"a scheme that begins like ours", line("Bearerx " + valid), malformed, malformed},

		{"our token, valid", line(bearer(valid)), "", ""},
		{"the scheme in another case", line("bearer " + valid), "", ""},
		{"two spaces, which are RFC 9110's 1*SP", line("Bearer  " + valid), "", ""},
		{"the scheme in capitals", line("BEARER " + valid), "", ""},
		{"the header's name in another case", []string{"aUTHORIZATION: " + bearer(valid)}, "", ""},
		{"space around it, which is HTTP's", []string{"Authorization:   " + bearer(valid) + "  "}, "", ""},

		{"our token, deleted", line(bearer(doomed.value)), invalid, invalid},
		{"our token, never issued", line(bearer(neverIssued("cat"))), invalid, invalid},
		{"our token, mistyped", line(bearer(mistyped(valid))), invalid, invalid},
		{"our token, cut off", line(bearer(valid[:52])), invalid, invalid},
		{"our token, and one character", line(bearer(valid + "0")), invalid, invalid},
		{"our token, padded", line(bearer(valid + "=")), invalid, invalid},
		{"our token, without prefix", line(bearer(valid[4:])), invalid, invalid},
		{"our token, in capitals", line(bearer(strings.ToUpper(valid))), invalid, invalid},
		{"our token, another prefix", line(bearer("dog" + valid[3:])), invalid, invalid},
		{"only our prefix", line("Bearer cat_"), invalid, invalid},
		{"of our shape, another prefix", line(bearer(neverIssued("github"))), invalid, invalid},
		{"a JWT", line("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"), invalid, invalid},
		{"an opaque token", line("Bearer abc-._~+/123=="), invalid, invalid},
		{"the shortest", line("Bearer a"), invalid, invalid},

		{"Bearer and nothing", line("Bearer"), malformed, malformed},
		{"Bearer and a space", line("Bearer "), malformed, malformed},
		{"Bearer, two words", line("Bearer " + valid + " x"), malformed, malformed},
		{"Bearer, quoted", line(`Bearer "` + valid + `"`), malformed, malformed},
		{"Bearer, a comma", line("Bearer " + valid + ","), malformed, malformed},
		{"Bearer, padding only", line("Bearer ="), malformed, malformed},
		{"Bearer, padding within", line("Bearer a=b"), malformed, malformed},
		{"Bearer, not ASCII", line("Bearer caté"), malformed, malformed},
		{"bearer in another case, malformed", line("bEARER a b"), malformed, malformed},
		{"Basic and nothing", line("Basic"), malformed, malformed},
		{"Basic, not base64", line("Basic bob:pass"), malformed, malformed},
		{"two in one line", line(bearer(valid) + ", " + as("bob")), malformed, malformed},

		{"two, the same", line(bearer(valid), bearer(valid)), malformed, malformed},
		{"two, the first valid", line(bearer(valid), bearer(neverIssued("cat"))), malformed, malformed},
		{"two, the second valid", line(as("bob"), bearer(valid)), malformed, malformed},
		{"two sign-ins", line(as("bob"), as("alice")), malformed, malformed},
		{"two, one of them empty", line("", bearer(valid)), malformed, malformed},
		{"two, in different cases", []string{"authorization: " + bearer(valid), "AUTHORIZATION: " + as("bob")}, malformed, malformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			status := map[string]int{authentication: 401, invalid: 401, malformed: 400}
			t.Run("proxied", func(t *testing.T) {
				got := g.do(t, ask{lines: test.lines})
				if test.proxy == "" {
					wantProxied(t, got, "bob")
					return
				}
				wantRefused(t, got, status[test.proxy], test.proxy)
			})
			t.Run("the routes", func(t *testing.T) {
				got := g.do(t, ask{target: api, lines: test.lines})
				if test.routes == "" {
					wantStatus(t, got, http.StatusOK)
					return
				}
				wantRefused(t, got, status[test.routes], test.routes)
			})
		})
	}
}

func TestExactlyOneUserReachesTheAPI(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\nkeep_cookies locale theme"))
	alices := g.create(t, as("alice"), 3600, "")
	bobs := g.create(t, as("bob"), 3600, "")
	carols := g.create(t, as("carol"), 3600, "")

	t.Run("with what the sign-in knew when the token was made", func(t *testing.T) {
		for _, test := range []struct {
			made token
			want map[string][]string
		}{
			{alices, map[string][]string{"Remote-User": {"Remote-User: alice"}, "Remote-Email": {"Remote-Email: alice@example.com"}, "Remote-Name": {"Remote-Name: Alice A."}}},
			{bobs, map[string][]string{"Remote-User": {"Remote-User: bob"}, "Remote-Email": nil, "Remote-Name": nil}},
			{carols, map[string][]string{"Remote-User": {"Remote-User: carol"}, "Remote-Email": {"Remote-Email: carol@example.com"}, "Remote-Name": nil}},
		} {
			got := g.do(t, ask{auth: bearer(test.made.value)})
			wantStatus(t, got, http.StatusOK)
			for name, want := range test.want {
				if diff := cmp.Diff(want, got.received.lines(name)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			if strings.Contains(got.received.raw, "{") {
				t.Errorf("a placeholder was sent as it is:\n%s", got.received.raw)
			}
		}
	})
	t.Run("the token stays behind", func(t *testing.T) {
		got := g.do(t, ask{auth: bearer(alices.value)})
		wantProxied(t, got, "alice")
		if lines := got.received.lines("Authorization"); len(lines) != 0 || secrets.foundIn([]byte(got.received.raw)) {
			t.Errorf("sent on: %s", got.received.raw)
		}
	})
	t.Run("and so do cookies, but those that keep_cookies names", func(t *testing.T) {
		for _, test := range []struct {
			lines []string
			want  []string
		}{
			{[]string{"Cookie: session.sid=s3ss10n"}, nil},
			{[]string{"Cookie: session.sid=s3ss10n; locale=de; other=1; theme=dark"}, []string{"Cookie: locale=de; theme=dark"}},
			{[]string{"Cookie: a=1", "Cookie: locale=fr", "cookie: session=s3ss10n"}, []string{"Cookie: locale=fr"}},
			{[]string{"Cookie: Locale=de; xlocale=en; locale2=fr"}, nil},
		} {
			got := g.do(t, ask{auth: bearer(alices.value), lines: test.lines})
			wantProxied(t, got, "alice")
			if diff := cmp.Diff(test.want, got.received.lines("Cookie")); diff != "" {
				t.Errorf("%q (-want +got):\n%s", test.lines, diff)
			}
			if strings.Contains(got.received.raw, "s3ss10n") {
				t.Errorf("the session was sent on: %s", got.received.raw)
			}
		}
	})
	t.Run("whoever else the request says it is from: the token decides alone", func(t *testing.T) {
		got := g.do(t, ask{auth: bearer(alices.value), lines: []string{
			"Remote-User: bob", "Cookie: user=bob; session=bob", "X-Forwarded-User: bob", "From: bob@example.com",
		}})
		wantProxied(t, got, "alice")
		got = g.do(t, ask{target: api, auth: bearer(alices.value), lines: []string{"Remote-User: bob", "Cookie: user=bob"}})
		if !strings.Contains(got.body, alices.info.TokenID) || strings.Contains(got.body, bobs.info.TokenID) {
			t.Errorf("alice's token lists %s", got)
		}
	})
	t.Run("other headers pass as they are", func(t *testing.T) {
		got := g.do(t, ask{auth: bearer(alices.value), lines: []string{
			"Accept: text/csv", "X-Request-Id: 17", "X-Remote-User-Agent: a", "Remote: b", "Remote-Users: c", "Accept-Language: de",
		}})
		for _, want := range []string{"Accept: text/csv", "X-Request-Id: 17", "X-Remote-User-Agent: a", "Remote: b", "Remote-Users: c", "Accept-Language: de"} {
			if !strings.Contains(got.received.raw, "\r\n"+want+"\r\n") {
				t.Errorf("%s is missing in %s", want, got.received.raw)
			}
		}
	})
}

func TestAnyRequestIsProxiedAsItIs(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	auth := bearer(g.create(t, as("alice"), 3600, "").value)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT"} {
		got := g.do(t, ask{method: method, target: "/v4/things", auth: auth})
		wantProxied(t, got, "alice")
		if got.received.method != method {
			t.Errorf("%s arrived as %s", method, got.received.method)
		}
		refused := g.do(t, ask{method: method, target: "/v4/things"})
		if refused.status != http.StatusUnauthorized || refused.reached != 0 {
			t.Errorf("%s without a token: %s", method, refused)
		}
	}
	for _, target := range []string{
		"/", "/v3/x", "/v4/people/current", "/v4/open-api-spec", "/v9/future",
		"/v4/things?a=1&b=%2F&b=;c", "/v4/files/a%2Fb%20c", "/v4/Ümlaut", "/v4/x%00y", "/?", "/x?y=cat_", "/x?y=%63at_short",
		// Close to a route, but none.
		"/v4/apiAccessToken", "/v4/apiAccessTokensX", "/v4/apiAccessTokens-x/1", "/v5/apiAccessTokens",
		"/x/v4/apiAccessTokens", "/apiAccessTokens", "/v4", "/v4/", "/v4/x?next=/v4/apiAccessTokens",
	} {
		got := g.do(t, ask{target: target, auth: auth})
		if strings.Contains(target, "Ü") {
			target = "/v4/%C3%9Cmlaut"
		}
		wantProxied(t, got, "alice")
		if got.received.target != target {
			t.Errorf("%s arrived as %s", target, got.received.target)
		}
	}
	t.Run("with any body", func(t *testing.T) {
		body := strings.Repeat("\x00\xff{\"binary\": 1}\r\n\r\n", 20000)
		got := g.do(t, ask{method: "PUT", target: "/v4/upload", auth: auth, kind: "application/octet-stream", body: body})
		wantProxied(t, got, "alice")
		if got.received.body != body || got.received.header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("%d bytes arrived as %d of type %s", len(body), len(got.received.body), got.received.header.Get("Content-Type"))
		}
	})
}

// Caddy's reverse proxy sends an opaque target on as it is, and the API behind
// would read a host and a path from it that nobody here has looked at.
func TestATargetThatIsNoPathIsNeverForwarded(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("allow_generate everyone"), "bind 127.0.0.1", "bind 127.0.0.1\nlog", 1))
	made := g.create(t, as("alice"), 3600, "")
	for _, target := range []string{
		"x:http://h/v4/people/current", "x:http://h" + api, "x:http://evil.example/v4/people", "x:" + made.value, "x:http://h/" + made.value, "http:opaque",
		"http://bob:" + secret("password-in-the-target") + "@h/v4/people/current", "http://" + secret("user-in-the-target") + "@h" + api,
	} {
		for _, auth := range []string{bearer(made.value), as("alice"), ""} {
			wantRefused(t, g.do(t, ask{target: target, auth: auth}), http.StatusBadRequest, "InvalidRequest")
		}
	}
	// Neither does the access log get what a browser says of where it was.
	wantRefused(t, g.do(t, ask{target: "x:y", lines: []string{"Referer: http://h/?t=" + made.value}}), http.StatusBadRequest, "InvalidRequest")
	wantProxied(t, g.do(t, ask{target: "http://h/v4/people/current", auth: bearer(made.value)}), "alice")
}

// A value in a URL is in logs and histories already. It is refused before
// anything else, so that nobody gets used to it, and goes no further: not even
// to the access log, as the search for secrets finds out.
func TestATokenValueInTheURLIsNeverForwarded(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(site("allow_generate everyone"), "bind 127.0.0.1", "bind 127.0.0.1\nlog", 1))
	carrier := g.create(t, as("alice"), 3600, "")
	value := g.create(t, as("bob"), 3600, "").value
	encoded := func(text string) string { // every character
		var b strings.Builder
		for _, c := range []byte(text) {
			b.WriteString("%" + strings.ToUpper(string("0123456789abcdef"[c>>4])+string("0123456789abcdef"[c&15])))
		}
		return b.String()
	}
	for _, target := range []string{
		"/v4/people/current?access_token=" + value,
		"/v4/people/current?x=1&token=" + value + "&y=2",
		"/v4/people/current?" + value,
		"/v4/people/current?" + value + "=1",
		"/?a;t=" + value,
		"/?authorization=Bearer%20" + value,
		"/?authorization=Bearer+" + value,
		"/?next=https%3A%2F%2Fexample.com%2F%3Ftoken%3D" + value,
		"/?t=%63at" + value[3:],
		"/?t=cat%5F" + value[4:],
		"/?t=" + encoded(value),
		"/?t=" + strings.ToLower(encoded(value)),
		"/" + value,
		"/v4/" + value + "/people",
		"/v4/people/" + value,
		"/v4/people;token=" + value + "/x",
		"/v4/people/%63at" + value[3:],
		"/v4/people/" + encoded(value),
		"//" + value,
		"/x/../" + value,
		api + "/" + value, // mistaken for its id
		api + "?token=" + value,
		api + "/?token=" + value,
		"/?t=" + neverIssued("cat"),
		"/?t=" + neverIssued("a0"),
		"/" + neverIssued("abcdefghijkl"),
	} {
		for who, auth := range map[string]string{"nobody": "", "alice": as("alice"), "a token": bearer(carrier.value), "malformed": "Bearer"} {
			for _, method := range []string{"GET", "DELETE", "OPTIONS"} {
				got := g.do(t, ask{method: method, target: target, auth: auth})
				wantRefused(t, got, http.StatusBadRequest, "InvalidRequest")
				if t.Failed() {
					t.Fatalf("%s %s by %s", method, target, who)
				}
			}
		}
	}
	t.Run("what only looks like one passes", func(t *testing.T) {
		for _, target := range []string{"/?t=" + mistyped(neverIssuedUnnoted()), "/x/cat_" + strings.Repeat("0", 49), "/?t=cat_abc"} {
			wantProxied(t, g.do(t, ask{target: target, auth: bearer(carrier.value)}), "alice")
		}
	})
}

// neverIssuedUnnoted is a value whose body may be seen, since no checksum makes
// it one of ours.
func neverIssuedUnnoted() string {
	value := "cat_" + strings.Repeat("0f1E", 10) + "abc"
	return value + checksum(value)
}

// The API behind decides what /v4/../x means only for paths that can't be ours.
func TestAlmostARouteIsNeverProxied(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "")
	id := made.info.TokenID
	targets := []string{
		"/v4/apiaccesstokens", "/V4/apiAccessTokens", "/v4/APIACCESSTOKENS",
		"/v4/apiAccessTokens/", "/v4/apiAccessTokens//", "/v4/apiAccessTokens/.",
		"//v4/apiAccessTokens", "/v4//apiAccessTokens", "/v4/./apiAccessTokens", "/./v4/apiAccessTokens",
		"/v4/x/../apiAccessTokens", "/x/../v4/apiAccessTokens", "/../v4/apiAccessTokens", "/v4/apiAccessTokens/../apiAccessTokens",
		"/v4/apiAccessTokens/x/..",
		"/v4/%61piAccessTokens", "/%76%34/apiAccessTokens", "/v4/apiAccess%54okens", "/v4/apiAccessToken%73",
		"/v4%2fapiAccessTokens", "/v4%2FapiAccessTokens", "/v4/apiAccessTokens%2f", "/%2fv4/apiAccessTokens",
		"/v4/%2e/apiAccessTokens", "/v4/x/%2e%2e/apiAccessTokens", "/v4/x%2f..%2fapiAccessTokens",
		"/v4/%2561piAccessTokens", "/v4%252fapiAccessTokens", "/v4/%25252561piAccessTokens",
		`/v4\apiAccessTokens`, `/v4/x\..\apiAccessTokens`, "/v4%5capiAccessTokens", "/v4%5CapiAccessTokens", "/v4%255capiAccessTokens",
		"/v4/apiAccessTokens;a=b", "/v4;a=b/apiAccessTokens", "/v4/apiAccessTokens;", "/v4;/apiAccessTokens;x/", "/v4/apiAccessTokens%3bx",
		"/;/v4/apiAccessTokens", "/v4/..;/v4/apiAccessTokens",
		"/v4/apiAccessTokens/" + id + "/", "/v4/APIAccessTokens/" + id, "/v4/apiAccessTokens//" + id,
		"/v4/apiAccessTokens/" + id + ";x", "/v4/apiAccessTokens%2f" + id, `/v4/apiAccessTokens\` + id,
		"/v4/apiAccessTokens/" + id + "/x", "/v4/%61piAccessTokens/" + id,
		"http://" + g.addresses[0] + "/v4/apiaccesstokens",
	}
	for _, target := range targets {
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
			for _, auth := range []string{bearer(made.value), as("alice")} {
				got := g.do(t, ask{method: method, target: target, auth: auth})
				if got.reached != 0 || got.received != nil {
					t.Errorf("%s %s reached the API behind: %s", method, target, got)
					continue
				}
				if got.status != http.StatusNotFound {
					t.Errorf("%s %s: %s", method, target, got)
					continue
				}
				if e := got.exception(t); e.Name != "RouteNotFoundException" {
					t.Errorf("%s %s: %s", method, target, e.Name)
				}
			}
		}
		if got := g.do(t, ask{target: target}); got.reached != 0 || got.status/100 != 4 {
			t.Errorf("GET %s without credentials: %s", target, got)
		}
	}
	if list := g.list(t, as("alice"), ""); !slices.Equal(list.ids(), []string{id}) {
		t.Errorf("after all this, alice has %v", list)
	}
}
