package contract

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a token is limited to: scopes, which the owner names and its maker picks, and
// addresses.

const scopeOptions = `allow_generate everyone
		max_lifetime unlimited
		public /health
		scope read "Read only" {
			method GET HEAD
		}
		scope jobs "Run and watch jobs" {
			path /v4/jobs /v4/jobs/*
		}
		scope events {
			path /v4/events
			header Upgrade *
		}
		scope notadmin {
			method POST
			not {
				path /v4/admin /v4/admin/*
			}
		}`

// limited makes a token with limits, such as `"scopes": ["read"]`.
func (g *gateway) limited(t testing.TB, auth, limits string) token {
	t.Helper()
	return made(t, g.do(t, ask{method: "POST", target: api, auth: auth, body: `{"lifetimeSeconds": 3600, ` + limits + `}`}))
}

func wantOutside(t testing.TB, got answered, scope string) {
	t.Helper()
	wantRefused(t, got, http.StatusForbidden, "AccessControlException")
	want := `Bearer realm="dataprep", error="insufficient_scope", scope="` + scope + `"`
	if challenge := got.header.Get("WWW-Authenticate"); challenge != want {
		t.Errorf("WWW-Authenticate %q, want %q", challenge, want)
	}
}

func TestATokenDoesNoMoreThanItsScopes(t *testing.T) {
	t.Parallel()
	g := start(t, answering(scopeOptions))
	read := g.limited(t, as("bob"), `"scopes": ["read"]`)
	jobs := g.limited(t, as("bob"), `"scopes": ["jobs"]`)
	both := g.limited(t, as("bob"), `"scopes": ["jobs", "read", "jobs"]`)
	free := g.create(t, as("bob"), 3600, "")
	if diff := cmp.Diff([]string{"jobs", "read"}, both.info.Scopes); diff != "" {
		t.Errorf("scopes (-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		token          token
		method, target string
		scope          string // "" if it is within
	}{
		{read, "GET", "/", ""}, {read, "HEAD", "/x", ""}, {read, "POST", "/", "notadmin"}, {read, "DELETE", "/x", "read"},
		{read, "POST", "/v4/jobs", "jobs notadmin"}, {read, "PUT", "/v4/jobs/1", "jobs"}, {read, "POST", "/v4/admin/x", "read"},
		{read, "get", "/", "read"},
		{jobs, "POST", "/v4/jobs", ""}, {jobs, "DELETE", "/v4/jobs/17/x", ""}, {jobs, "GET", "/v4/job", "read"}, {jobs, "GET", "/v4/jobsx", "read"},
		{jobs, "GET", "/V4/JOBS", ""}, // as Caddy's path matcher has it
		{both, "GET", "/x", ""}, {both, "DELETE", "/v4/jobs", ""}, {both, "DELETE", "/x", "jobs read"},
		{free, "DELETE", "/x", ""},
		// However a server reads it.
		{jobs, "GET", "/v4/jobs/../admin", "read"}, {jobs, "GET", "/v4/jobs/%2e%2e/admin", "read"}, {jobs, "GET", "/v4/jobs/..%2fadmin", "read"},
		{jobs, "GET", "/v4/jobs/%252e%252e/admin", "read"}, {jobs, "GET", `/v4/jobs/..\admin`, "read"}, {jobs, "GET", "/v4/jobs/..;/admin", "read"},
		{jobs, "GET", "//v4/jobs", "read"}, {jobs, "GET", "/v4/jobs/x.php/../../admin", "read"}, {jobs, "DELETE", "/admin?/v4/jobs", "jobs"},
		{jobs, "GET", "/v4/jobs%00", "read"}, {jobs, "GET", "/admin%3f/../v4/jobs", "read"},
		// What makes another method of it.
		{read, "GET", "/?_method=DELETE", "read"}, {read, "GET", "/?x=1&_METHOD=DELETE", "read"}, {read, "GET", "/?%5fmethod=DELETE", "read"},
		{read, "GET", "/?.method=x", "read"}, {read, "GET", "/?a;_method[]=x", "read"}, {read, "GET", "/?%255fmethod=x", "read"}, {read, "GET", "/?method=x", ""}, {read, "GET", "/?_methods=x", ""},
		// A public path doesn't widen it.
		{jobs, "GET", "/health", "read"}, {read, "GET", "/health", ""},
	} {
		got := g.do(t, ask{method: test.method, target: test.target, auth: bearer(test.token.value)})
		if test.scope == "" {
			if got.status != http.StatusOK || test.method != "HEAD" && got.body != "bob" {
				t.Errorf("%s %s: %s", test.method, test.target, got)
			}
			continue
		}
		t.Run(test.method+" "+test.target, func(t *testing.T) { wantOutside(t, got, test.scope) })
	}
}

func TestAScopedRequestIsTheRequestThatTheAPIReads(t *testing.T) {
	t.Parallel()
	g := start(t, site(scopeOptions))
	read := g.limited(t, as("bob"), `"scopes": ["read"]`)
	got := g.do(t, ask{target: "/", auth: bearer(read.value), lines: []string{
		"X-HTTP-Method-Override: DELETE", "x_http_method: DELETE", "X.Method.Override: DELETE", "X-Original-URL: /admin", "X-Rewrite-Url: /admin", "X-Kept: 1",
	}})
	wantProxied(t, got, "bob")
	for _, name := range []string{"Override", "X-Http-Method", "Original", "Rewrite"} {
		if strings.Contains(strings.ToLower(got.body), strings.ToLower(name)) {
			t.Errorf("%s has come through:\n%s", name, got.body)
		}
	}
	// A token without scopes leaves them alone.
	free := g.create(t, as("bob"), 3600, "")
	if got := g.do(t, ask{target: "/", auth: bearer(free.value), lines: []string{"X-HTTP-Method-Override: DELETE"}}); !strings.Contains(strings.ToLower(got.body), "method-override") {
		t.Errorf("without scopes: %s", got)
	}
}

func TestAnUpgradeIsWithinAScopeThatAsksForIt(t *testing.T) {
	t.Parallel()
	g := start(t, answering(scopeOptions))
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	read, events := g.limited(t, as("bob"), `"scopes": ["read"]`), g.limited(t, as("bob"), `"scopes": ["events"]`)
	wantOutside(t, g.do(t, ask{target: "/v4/events", auth: bearer(read.value), lines: upgrade}), "events")
	wantStatus(t, g.do(t, ask{target: "/v4/events", auth: bearer(events.value), lines: upgrade}), http.StatusOK)
	wantOutside(t, g.do(t, ask{target: "/v4/events", auth: bearer(events.value)}), "read")
}

func TestRoutesOfALimitedToken(t *testing.T) {
	t.Parallel()
	g := start(t, answering(scopeOptions))
	other := g.create(t, as("bob"), 3600, "other")
	for _, limits := range []string{`"scopes": ["jobs"]`, `"addresses": ["127.0.0.0/8"]`} {
		k := g.limited(t, as("bob"), limits)
		self := bearer(k.value)
		wantStatus(t, g.do(t, ask{target: api + "/current", auth: self}), http.StatusOK)
		wantStatus(t, g.do(t, ask{target: k.target(), auth: self}), http.StatusOK)
		for _, refused := range []ask{
			{target: api}, {target: api + "?user=*"}, {target: other.target()}, {target: api + "/00000000-0000-4000-8000-000000000000"}, {target: api + "/x"},
			{method: "DELETE", target: other.target()}, {method: "DELETE", target: api + "?user=bob"}, {target: settingsTarget}, {target: blockedTarget},
			{method: "PATCH", target: settingsTarget, body: `{}`}, {method: "PUT", target: blockedTarget + "?user=carol"},
		} {
			refused.auth = self
			wantRefused(t, g.do(t, refused), http.StatusForbidden, "AccessControlException")
		}
		next := g.create(t, self, 60, "")
		wantStatus(t, g.do(t, ask{method: "DELETE", target: k.target() + "?successors=true", auth: self}), http.StatusNoContent)
		for _, gone := range []token{k, next} {
			if got := g.do(t, ask{target: "/v4/jobs", auth: bearer(gone.value)}); !got.isInvalidToken() {
				t.Errorf("it is still there: %s", got)
			}
		}
	}
}

func TestSuccessorsOnlyNarrow(t *testing.T) {
	t.Parallel()
	g := start(t, answering(scopeOptions))
	k := g.limited(t, as("bob"), `"scopes": ["read", "jobs"], "addresses": ["127.0.0.0/8", "2001:db8::/32"]`)
	inherits := g.create(t, bearer(k.value), 60, "")
	if diff := cmp.Diff(k.info.Scopes, inherits.info.Scopes) + cmp.Diff(k.info.Addresses, inherits.info.Addresses); diff != "" {
		t.Errorf("a successor (-want +got):\n%s", diff)
	}
	narrower := g.limited(t, bearer(k.value), `"scopes": ["read"], "addresses": ["127.0.0.1"]`)
	if diff := cmp.Diff([]string{"127.0.0.1"}, narrower.info.Addresses); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	for _, wider := range []string{`"scopes": ["events"]`, `"scopes": ["read", "events"]`, `"addresses": ["0.0.0.0/0"]`, `"addresses": ["127.0.0.1", "192.0.2.1"]`, `"addresses": ["2001:db8::/31"]`} {
		got := g.do(t, ask{method: "POST", target: api, auth: bearer(k.value), body: `{"lifetimeSeconds": 60, ` + wider + `}`})
		wantRefused(t, got, http.StatusForbidden, "AccessControlException")
	}
	for _, wrong := range []string{`"scopes": []`, `"scopes": null`, `"scopes": ["unknown"]`, `"scopes": "read"`, `"scopes": [1]`, `"addresses": []`, `"addresses": null`, `"addresses": ["localhost"]`, `"Scopes": ["read"]`,
		`"addresses": ["192.0.2.1"` + manyAddresses(16) + `]`} {
		for _, auth := range []string{as("bob"), bearer(k.value)} {
			got := g.do(t, ask{method: "POST", target: api, auth: auth, body: `{"lifetimeSeconds": 60, ` + wrong + `}`})
			wantRefused(t, got, http.StatusBadRequest, "ApiValidationFailed")
		}
	}
}

func manyAddresses(n int) (list string) {
	for i := range n {
		list += fmt.Sprintf(`, "198.51.100.%d"`, i)
	}
	return list
}

// A scope that is gone from the file grants nothing; nor does one that another site
// of the project has.
func TestAScopeThatIsGoneGrantsNothing(t *testing.T) {
	t.Parallel()
	g := start(t, answering(scopeOptions)+siteAt("{$PORT2}", "allow_generate everyone\nmax_lifetime unlimited"))
	k := g.limited(t, as("bob"), `"scopes": ["jobs"]`)
	wantStatus(t, g.do(t, ask{target: "/v4/jobs", auth: bearer(k.value)}), http.StatusOK)
	wantOutside(t, g.do(t, ask{site: 1, target: "/v4/jobs", auth: bearer(k.value)}), "jobs")
	if complaint := g.reload(t, answering("allow_generate everyone\nmax_lifetime unlimited")); complaint != "" {
		t.Fatal(complaint)
	}
	wantOutside(t, g.do(t, ask{target: "/v4/jobs", auth: bearer(k.value)}), "jobs")
	// It can still be renewed, and ended.
	next := g.create(t, bearer(k.value), 60, "")
	wantOutside(t, g.do(t, ask{target: "/v4/jobs", auth: bearer(next.value)}), "jobs")
	wantStatus(t, g.do(t, ask{method: "DELETE", target: api + "/current", auth: bearer(next.value)}), http.StatusNoContent)
	got := g.do(t, ask{method: "POST", target: api, auth: as("bob"), body: `{"lifetimeSeconds": 60, "scopes": ["jobs"]}`})
	wantRefused(t, got, http.StatusBadRequest, "ApiValidationFailed")
}

func TestScopesArePlaceholders(t *testing.T) {
	t.Parallel()
	g := start(t, strings.Replace(answering(scopeOptions), `respond "{http.auth.user.id}"`, `respond "{http.auth.user.id}: {http.auth.user.scopes}"`, 1))
	for _, test := range []struct{ limits, want string }{{`"scopes": ["read", "jobs"]`, "bob: read jobs"}, {`"addresses": ["127.0.0.1"]`, "bob: "}} {
		if got := g.do(t, ask{target: "/", auth: bearer(g.limited(t, as("bob"), test.limits).value)}); got.body != test.want {
			t.Errorf("%s: %s", test.limits, got)
		}
	}
}

func TestATokenIsForItsAddresses(t *testing.T) {
	t.Parallel()
	const trusted = "servers {\n\ttrusted_proxies static 127.0.0.1/32\n\tSTRICT\n}\n"
	for _, strict := range []string{"", "trusted_proxies_strict"} {
		t.Run(strict, func(t *testing.T) {
			t.Parallel()
			g := start(t, answering(scopeOptions), globals(strings.Replace(trusted, "STRICT", strict, 1)))
			k := g.limited(t, as("bob"), `"addresses": ["192.0.2.0/24", "2001:db8::1"]`)
			for _, test := range []struct {
				lines   []string
				allowed bool
			}{
				{from("192.0.2.7"), true}, {from("::ffff:192.0.2.7"), true}, {from("2001:db8::1"), true}, {from("192.0.3.1"), false}, {from("2001:db8::2"), false},
				{nil, false}, // the proxy doesn't say it
				{from("nonsense"), false},
				{from("198.51.100.1, 192.0.2.7"), strict != ""}, // the last hop is the truth
				{from("192.0.2.7, 198.51.100.1"), false},        // the first is the client's own word
				{append(from("192.0.2.7"), from("198.51.100.1")...), false},
			} {
				got := g.do(t, ask{target: "/", auth: bearer(k.value), lines: test.lines})
				if test.allowed {
					wantStatus(t, got, http.StatusOK)
				} else {
					wantRefused(t, got, http.StatusForbidden, "AccessControlException")
				}
			}
			// It can end itself from anywhere, and do nothing else.
			wantRefused(t, g.do(t, ask{target: api + "/current", auth: bearer(k.value), lines: from("198.51.100.1")}), http.StatusForbidden, "AccessControlException")
			wantStatus(t, g.do(t, ask{method: "DELETE", target: api + "/current", auth: bearer(k.value), lines: from("198.51.100.1")}), http.StatusNoContent)
			for _, says := range []string{"isn't certain", "trusted_proxies"} {
				if !strings.Contains(g.logs(), says) {
					t.Errorf("the log doesn't say %q", says)
				}
			}
		})
	}
}

func TestWrongScopesAreRefused(t *testing.T) {
	t.Parallel()
	for block, want := range map[string]string{
		"scope read":                                     "it has no matchers",
		"scope":                                          "takes a name",
		"scope Read {\nmethod GET\n}":                    "is no name",
		"scope read {\npath *\n}":                        "every request would be within it",
		"scope read {\npath /*\n}":                       "every request would be within it",
		"scope read {\npath /**\n}":                      "every request would be within it",
		"scope read {\nquery a=b\n}":                     "can't be in a scope",
		"scope read {\nexpression true\n}":               "can't be in a scope",
		"scope read {\nnot {\nremote_ip 127.0.0.1\n}\n}": "can't be in a scope",
		"scope read {\nnot {\n}\n}":                      "it has no matchers",
		"scope read {\nmethod GET\n}\nscope read {\nmethod HEAD\n}": "written twice",
		"scope read \"a\" b {\nmethod GET\n}":                       "takes a name",
	} {
		g := prepare(t, site("allow_generate everyone\n"+block))
		out, exit := g.caddy(t, "validate", "--config", g.configFile(), "--adapter", "caddyfile")
		if exit == 0 || !strings.Contains(out, want) {
			t.Errorf("%q: exit %d, want %q in\n%s", block, exit, want, out)
		}
	}
}

// Without any scope in the file nothing changes for anybody.
func TestWithoutScopesNothingChanges(t *testing.T) {
	t.Parallel()
	g := start(t, answering("allow_generate everyone"))
	got := g.do(t, ask{method: "POST", target: api, auth: as("bob"), body: anHour})
	wantStatus(t, got, http.StatusCreated)
	if strings.Contains(got.body, "scopes") || strings.Contains(got.body, "addresses") {
		t.Errorf("%s", got.body)
	}
}

func TestRecipeForTokensThatMayDoLess(t *testing.T) {
	t.Parallel()
	g := start(t, here(recipe(t, "recipes.md", "Tokens that may do less")), behindUpstream)
	read, jobs := g.limited(t, as("alice"), `"scopes": ["read"]`), g.limited(t, as("alice"), `"scopes": ["jobs"]`)
	for _, within := range []ask{{target: "/x", auth: bearer(read.value)}, {method: "POST", target: "/v4/jobGroups", auth: bearer(jobs.value)}, {target: "/v4/jobGroups/7", auth: bearer(jobs.value)}} {
		wantProxied(t, g.do(t, within), "alice")
	}
	for _, outside := range []ask{{method: "POST", target: "/v4/jobGroups", auth: bearer(read.value)}, {target: "/v4/people", auth: bearer(jobs.value)}, {method: "DELETE", target: "/v4/jobGroups/7", auth: bearer(jobs.value)}} {
		wantRefused(t, g.do(t, outside), http.StatusForbidden, "AccessControlException")
	}
	here := g.limited(t, as("alice"), `"scopes": ["read"], "addresses": ["192.0.2.0/24"]`)
	wantRefused(t, g.do(t, ask{auth: bearer(here.value)}), http.StatusForbidden, "AccessControlException")
}

func TestRecipeForSomeToolsOfAnMCPServer(t *testing.T) {
	t.Parallel()
	g := start(t, here(recipe(t, "recipes.md", "Some tools of an MCP server")), behindUpstream)
	k := g.limited(t, as("alice"), `"scopes": ["search", "list"]`)
	call := func(lines ...string) answered {
		return g.do(t, ask{method: "POST", target: "/mcp", auth: bearer(k.value), lines: lines, body: "{}"})
	}
	wantProxied(t, call("Mcp-Method: tools/call", "Mcp-Name: search"), "alice")
	wantProxied(t, call("Mcp-Method: tools/list"), "alice")
	for _, lines := range [][]string{{"Mcp-Method: tools/call", "Mcp-Name: delete"}, {"Mcp-Method: tools/call"}, {"Mcp-Name: search"}, nil} {
		wantRefused(t, call(lines...), http.StatusForbidden, "AccessControlException")
	}
}
