package contract

import (
	"net/http"
	"strings"
	"testing"
)

// Another proxy has a request before it, and asks whether that may pass.

const trustsThisMachine = `
	servers {
		trusted_proxies static 127.0.0.1/32
		trusted_proxies_strict
	}`

const verifyOptions = scopeOptions + `
		scope secure {
			protocol https
		}
		scope http1 {
			not {
				protocol http/2
			}
		}
		scope one {
			host one.example.com
		}
		verify /original x_original
		verify /forwarded x_forwarded
		verify /below path`

func original(method, uri string, more ...string) []string {
	return append([]string{"X-Original-Method: " + method, "X-Original-URI: " + uri}, more...)
}

func forwarded(method, host, uri string, more ...string) []string {
	return append([]string{"X-Forwarded-Method: " + method, "X-Forwarded-Host: " + host, "X-Forwarded-Uri: " + uri}, more...)
}

// wantLetPass wants 200 with every identity header, as this user's or nobody's.
func wantLetPass(t testing.TB, what string, got answered, user string) {
	t.Helper()
	email, name := "", ""
	if user == "alice" {
		email, name = "alice@example.com", "Alice A."
	}
	for header, want := range map[string]string{"Remote-User": user, "Remote-Email": email, "Remote-Name": name} {
		if lines, there := got.header[header]; !there || len(lines) != 1 || lines[0] != want {
			t.Errorf("%s: %s is %q, want %q", what, header, lines, want)
		}
	}
	if got.status != http.StatusOK || got.body != "" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %s", what, got)
	}
}

func TestVerifyTellsWhoseARequestIs(t *testing.T) {
	t.Parallel()
	g := start(t, site(verifyOptions), globals(trustsThisMachine))
	k := g.create(t, as("alice"), 3600, "")
	auth := bearer(k.value)
	for what, asked := range map[string]ask{
		"original":             {target: "/original", lines: original("DELETE", "/v4/jobs/1?x=y")},
		"below the path":       {target: "/original/x", lines: original("GET", "/")},
		"by another method":    {method: "POST", target: "/original", lines: original("GET", "/"), body: "x"},
		"forwarded":            {target: "/forwarded", lines: forwarded("GET", "one.example.com", "/v4/jobs")},
		"path":                 {method: "PUT", target: "/below/v4/jobs?x=y"},
		"nothing but the path": {target: "/below"},
		"the other family":     {target: "/original", lines: original("GET", "/", forwarded("", "", "nonsense")...)},
	} {
		asked.auth = auth
		wantLetPass(t, what, g.do(t, asked), "alice")
	}
	if n := g.api.count(); n != 0 {
		t.Errorf("%d requests have reached the API", n)
	}
	g.remove(t, as("alice"), k.target())
	wantRefused(t, g.do(t, ask{target: "/original", auth: auth, lines: original("GET", "/")}), http.StatusUnauthorized, "InvalidToken")
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	g := start(t, site(verifyOptions+"\nwithout_token pass\nforeign_token pass"), globals(trustsThisMachine))
	k := g.create(t, as("bob"), 3600, "")
	auth := bearer(k.value)
	for what, asked := range map[string]ask{
		"nothing is said":              {target: "/original", auth: auth},
		"no method":                    {target: "/original", auth: auth, lines: []string{"X-Original-URI: /"}},
		"no target":                    {target: "/original", auth: auth, lines: []string{"X-Original-Method: GET"}},
		"two methods":                  {target: "/original", auth: auth, lines: original("GET", "/", "X-Original-Method: GET")},
		"two targets":                  {target: "/original", auth: auth, lines: original("GET", "/", "X-Original-URI: /")},
		"a method that is none":        {target: "/original", auth: auth, lines: original("GE T", "/")},
		"a target that is no path":     {target: "/original", auth: auth, lines: original("GET", "http://x/")},
		"the other family's word":      {target: "/forwarded", auth: auth, lines: original("GET", "/")},
		"no host":                      {target: "/forwarded", auth: auth, lines: []string{"X-Forwarded-Method: GET", "X-Forwarded-Uri: /"}},
		"a host that is none":          {target: "/forwarded", auth: auth, lines: forwarded("GET", "a, b", "/")},
		"no token":                     {target: "/original", lines: original("GET", "/")},
		"a password":                   {target: "/original", auth: as("bob"), lines: original("GET", "/")},
		"another's token":              {target: "/original", auth: bearer("abc"), lines: original("GET", "/")},
		"two tokens":                   {target: "/original", auth: auth, lines: original("GET", "/", "Authorization: "+auth)},
		"a token in the URL":           {target: "/original", auth: auth, lines: original("GET", "/?t="+k.value)},
		"a made-up token on a public":  {target: "/original", auth: bearer("cat_" + strings.Repeat("0", 49)), lines: original("GET", "/health")},
		"a header in another spelling": {target: "/original", auth: auth, lines: []string{"X_Original_Method: GET", "X-Original-URI: /"}},
	} {
		t.Run(what, func(t *testing.T) { wantStatus(t, g.do(t, asked), http.StatusUnauthorized) })
	}
	for _, own := range []string{api, api + "/current", "/access-tokens", "/access-tokens/x", "/v4/APIaccessTokens", "/v4/x/../apiAccessTokens", "/original", "/Below/x"} {
		wantRefused(t, g.do(t, ask{target: "/original", auth: auth, lines: original("GET", own)}), http.StatusForbidden, "AccessControlException")
	}
	wantLetPass(t, "a public path", g.do(t, ask{target: "/original", lines: original("GET", "/health")}), "")
	wantLetPass(t, "a public path, another's token", g.do(t, ask{target: "/original", auth: bearer("abc"), lines: original("GET", "/health")}), "")
	wantLetPass(t, "a public path, a token", g.do(t, ask{target: "/original", auth: auth, lines: original("GET", "/health")}), "bob")
	for _, near := range []string{"/Original", "/x/../original", "/original%2f", "/forwarded;x"} {
		wantStatus(t, g.do(t, ask{target: near, auth: auth, lines: original("GET", "/")}), http.StatusNotFound)
	}
}

// Whoever isn't a trusted proxy could say anything.
func TestVerifyBelievesTrustedProxiesAlone(t *testing.T) {
	t.Parallel()
	g := start(t, site(verifyOptions))
	k := g.create(t, as("bob"), 3600, "")
	for _, asked := range []ask{{target: "/original", lines: original("GET", "/")}, {target: "/forwarded", lines: forwarded("GET", "x", "/")}, {target: "/below/x"}, {target: "/original", lines: original("GET", "/health")}} {
		asked.auth = bearer(k.value)
		wantRefused(t, g.do(t, asked), http.StatusUnauthorized, "AuthenticationRequired")
	}
	if !strings.Contains(g.logs(), "trusted_proxies") {
		t.Error("the log doesn't say why")
	}
}

func TestVerifyHoldsScopesAgainstTheRequestAskedAbout(t *testing.T) {
	t.Parallel()
	g := start(t, site(verifyOptions), globals(trustsThisMachine))
	of := func(scope string) string { return bearer(g.limited(t, as("bob"), `"scopes": ["`+scope+`"]`).value) }
	read, jobs, secure, http1, one := of("read"), of("jobs"), of("secure"), of("http1"), of("one")
	https, plain := "X-Forwarded-Proto: https", "X-Forwarded-Proto: http"
	for _, test := range []struct {
		what  string
		asked ask
		pass  bool
	}{
		{"read", ask{method: "POST", target: "/original", auth: read, lines: original("GET", "/x")}, true},
		{"a POST by GET", ask{method: "GET", target: "/original", auth: read, lines: original("POST", "/v4/admin")}, false},
		{"jobs", ask{target: "/original", auth: jobs, lines: original("POST", "/v4/jobs/1")}, true},
		{"beside jobs", ask{target: "/original", auth: jobs, lines: original("POST", "/v4/jobs/../x")}, false},
		{"jobs below the path", ask{method: "POST", target: "/below/v4/jobs/1", auth: jobs}, true},
		{"beside jobs below the path", ask{method: "POST", target: "/below/v4/jobs/%2e%2e/x", auth: jobs}, false},
		{"method by query", ask{target: "/original", auth: read, lines: original("GET", "/?_method=DELETE")}, false},
		{"https", ask{target: "/original", auth: secure, lines: original("GET", "/", https)}, true},
		{"http", ask{target: "/original", auth: secure, lines: original("GET", "/", plain)}, false},
		{"it isn't said", ask{target: "/original", auth: secure, lines: original("GET", "/")}, false},
		{"what can't be known, under not", ask{target: "/original", auth: http1, lines: original("GET", "/", https)}, false},
		{"one's host", ask{target: "/forwarded", auth: one, lines: forwarded("GET", "one.example.com", "/")}, true},
		{"another's host", ask{target: "/forwarded", auth: one, lines: forwarded("GET", "two.example.com", "/")}, false},
		{"this request's host", ask{target: "/original", auth: one, lines: original("GET", "/", "X-Forwarded-Host: one.example.com")}, false},
	} {
		got := g.do(t, test.asked)
		if test.pass {
			wantLetPass(t, test.what, got, "bob")
		} else if got.status != http.StatusForbidden {
			t.Errorf("%s: %s", test.what, got)
		}
	}
	here := bearer(g.limited(t, as("bob"), `"addresses": ["192.0.2.1"]`).value)
	wantLetPass(t, "from its address", g.do(t, ask{target: "/original", auth: here, lines: original("GET", "/", from("192.0.2.1")...)}), "bob")
	for _, lines := range [][]string{from("192.0.2.2"), nil} {
		wantRefused(t, g.do(t, ask{target: "/original", auth: here, lines: original("GET", "/", lines...)}), http.StatusForbidden, "AccessControlException")
	}
}

func TestWrongVerifyIsRefused(t *testing.T) {
	t.Parallel()
	for block, want := range map[string]string{
		"verify":                           "takes a path and a form",
		"verify /verify":                   "takes a path and a form",
		"verify /verify nginx":             "is not known",
		"verify verify x_original":         "verify",
		"verify /access-tokens/x path":     "overlap",
		"verify /a path\nverify /A/b path": "overlap",
	} {
		g := prepare(t, site("allow_generate everyone\n"+block))
		out, exit := g.caddy(t, "validate", "--config", g.configFile(), "--adapter", "caddyfile")
		if exit == 0 || !strings.Contains(out, want) {
			t.Errorf("%q: exit %d, want %q in\n%s", block, exit, want, out)
		}
	}
}
