package contract

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// Rows of the error table that other files test: 413 and 415 in body_test.go, 425
// in earlydata_test.go, another origin's page in origin_test.go. 409, 429 and
// what else needs features of later times come with them.
func TestErrors(t *testing.T) {
	t.Parallel()
	g := start(t, site("")) // only administrators may generate
	alices := g.create(t, as("alice"), 3600, "")
	deleted := g.create(t, as("alice"), 3600, "")
	g.remove(t, as("alice"), deleted.target())
	never := api + "/" + uuid.NewString()

	const (
		bearerOnly  = `Bearer realm="dataprep"`
		basicToo    = `Basic`
		notAnymore  = `error="invalid_token"`
		aValidBody  = `{"lifetimeSeconds": 60}`
		notHisBody  = `{"lifetimeSeconds": "soon"}`
		otherTarget = "/v4/people/current"
	)
	for _, test := range []struct {
		when      string
		ask       ask
		status    int
		name      string
		challenge []string // what the WWW-Authenticate lines begin with, in this order if several
		contains  string   // what the Bearer challenge contains
	}{
		// 400
		{"two Authorization lines", ask{target: otherTarget, auth: as("alice"), lines: []string{"Authorization: " + as("alice")}},
			400, "InvalidRequest", nil, ""},
		{"a Bearer line that isn't token68", ask{target: otherTarget, auth: "Bearer a b"}, 400, "InvalidRequest", nil, ""},
		{"a token value in the query", ask{target: otherTarget + "?token=" + neverIssued("cat"), auth: bearer(alices.value)},
			400, "InvalidRequest", nil, ""},
		{"a parameter is wrong", ask{target: api + "?limit=none", auth: as("alice")}, 400, "ApiValidationFailed", nil, ""},
		{"a wrong successors", ask{method: "DELETE", target: alices.target() + "?successors=maybe", auth: as("alice")}, 400, "ApiValidationFailed", nil, ""},
		{"the body is wrong", ask{method: "POST", target: api, auth: as("alice"), body: notHisBody}, 400, "ApiValidationFailed", nil, ""},
		// 401
		{"no credentials, at the proxy", ask{target: otherTarget}, 401, "AuthenticationRequired", []string{bearerOnly}, ""},
		{"no credentials, at the routes", ask{target: api}, 401, "AuthenticationRequired", []string{bearerOnly, basicToo}, ""},
		{"a scheme nobody takes, at the proxy", ask{target: otherTarget, auth: "Negotiate YII="}, 401, "AuthenticationRequired", []string{bearerOnly}, ""},
		{"a scheme nobody takes, at the routes", ask{target: api, auth: "Negotiate YII="}, 401, "AuthenticationRequired", []string{bearerOnly, basicToo}, ""},
		{"a password at the proxy", ask{target: otherTarget, auth: as("alice")}, 401, "AuthenticationRequired", []string{bearerOnly}, ""},
		{"a failed sign-in", ask{target: api, auth: basic("alice", "guess")}, 401, "AuthenticationRequired", []string{bearerOnly, basicToo}, ""},
		{"an unknown token, at the proxy", ask{target: otherTarget, auth: bearer(neverIssued("cat"))}, 401, "InvalidToken", []string{bearerOnly}, notAnymore},
		{"an unknown token, at the routes", ask{target: api, auth: bearer(neverIssued("cat"))}, 401, "InvalidToken", []string{bearerOnly}, notAnymore},
		{"a deleted token, at the proxy", ask{target: otherTarget, auth: bearer(deleted.value)}, 401, "InvalidToken", []string{bearerOnly}, notAnymore},
		{"a deleted token, at the routes", ask{target: api, auth: bearer(deleted.value)}, 401, "InvalidToken", []string{bearerOnly}, notAnymore},
		{"a foreign token, at the proxy", ask{target: otherTarget, auth: "Bearer eyJhbGciOiJub25lIn0.e30."}, 401, "InvalidToken", []string{bearerOnly}, notAnymore},
		{"a foreign token, at the routes", ask{target: api, auth: "Bearer eyJhbGciOiJub25lIn0.e30."}, 401, "InvalidToken", []string{bearerOnly}, notAnymore},
		// 403
		{"no right to generate", ask{method: "POST", target: api, auth: as("bob"), body: aValidBody}, 403, "AccessControlException", nil, ""},
		{"?user= of no administrator", ask{target: api + "?user=alice", auth: as("bob")}, 403, "AccessControlException", nil, ""},
		// 404
		{"no such token", ask{target: never, auth: as("alice")}, 404, "DataNotFoundException", nil, ""},
		{"no such token to delete", ask{method: "DELETE", target: never, auth: as("alice")}, 404, "DataNotFoundException", nil, ""},
		{"a deleted token's id", ask{target: deleted.target(), auth: as("alice")}, 404, "DataNotFoundException", nil, ""},
		{"no such route", ask{target: never + "/uses", auth: as("alice")}, 404, "RouteNotFoundException", nil, ""},
		{"almost a route", ask{target: api + "/", auth: as("alice")}, 404, "RouteNotFoundException", nil, ""},
		// 405
		{"no such method", ask{method: "PUT", target: never, auth: as("alice"), body: aValidBody}, 405, "MethodNotAllowed", nil, ""},
		// 413, 415
		{"too much of a body", ask{method: "POST", target: api, auth: as("alice"), body: strings.Repeat(" ", 65537)}, 413, "PayloadTooLarge", nil, ""},
		{"not JSON", ask{method: "POST", target: api, auth: as("alice"), kind: "text/plain", body: aValidBody}, 415, "UnsupportedMediaType", nil, ""},
	} {
		t.Run(test.when, func(t *testing.T) {
			got := g.do(t, test.ask)
			e := wantRefused(t, got, test.status, test.name)
			if test.name == "RouteNotFoundException" && !strings.Contains(e.Message+e.Details, "Route doesn't exist") {
				t.Errorf("it doesn't say that the route doesn't exist: %s", got.body)
			}
			challenges := got.header.Values("WWW-Authenticate")
			wantChallenges(t, test.status, challenges, test.challenge)
			if test.contains != "" && !slices.ContainsFunc(challenges, func(line string) bool {
				return strings.HasPrefix(line, bearerOnly) && strings.Contains(line, test.contains)
			}) {
				t.Errorf("no Bearer challenge with %s among %q", test.contains, challenges)
			}
			if test.name == "AuthenticationRequired" && strings.Contains(strings.Join(challenges, " "), "error=") {
				t.Errorf("nothing is wrong with credentials that weren't there (RFC 6750 section 3.1): %q", challenges)
			}
		})
	}
}

// wantChallenges wants a line for each of these, and no other, on 401 and there only.
func wantChallenges(t *testing.T, status int, challenges, want []string) {
	t.Helper()
	if len(challenges) != len(want) {
		t.Fatalf("status %d with the challenges %q, want %q", status, challenges, want)
	}
	for _, begin := range want {
		if !slices.ContainsFunc(challenges, func(line string) bool { return strings.HasPrefix(line, begin) }) {
			t.Errorf("no challenge %s among %q", begin, challenges)
		}
	}
	for _, line := range challenges {
		if strings.Contains(line, "Bearer") && strings.Contains(line, "Basic") {
			t.Errorf("two challenges in one line, which many clients can't read: %q", line)
		}
	}
}

func TestTheRealmIsTheProject(t *testing.T) {
	t.Parallel()
	g := start(t, site("project p-1_x")+siteAt("{$PORT2}", "project default"))
	for n, realm := range []string{"p-1_x", "default"} {
		for target, challenges := range map[string]int{"/": 1, api: 2} {
			got := g.do(t, ask{site: n, target: target}).header.Values("WWW-Authenticate")
			if len(got) != challenges || !slices.Contains(got, `Bearer realm="`+realm+`"`) {
				t.Errorf("%s of %s: %q", target, realm, got)
			}
		}
	}
}

func TestTheDefaultProjectIsDefault(t *testing.T) {
	t.Parallel()
	g := start(t, `
http://:{$PORT} {
	bind 127.0.0.1
	access_tokens {
		admins alice
		sign_in basic {
			alice {$ALICE_HASH}
		}
	}
	reverse_proxy {$UPSTREAM}
}`)
	got := g.do(t, ask{}).header.Values("WWW-Authenticate")
	if diff := cmp.Diff([]string{`Bearer realm="default"`}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	made := g.create(t, as("alice"), 60, "")
	wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "alice")
}

// Credentials are looked at first, then route, method, rights, and only then the
// body. Each of these is wrong in two or more of them.
func TestTheOrderInWhichARequestIsJudged(t *testing.T) {
	t.Parallel()
	g := start(t, site("")) // bob may not generate
	alices := g.create(t, as("alice"), 3600, "")
	unknown := bearer(neverIssued("cat"))
	const broken = `{"lifetimeSeconds":`
	for _, test := range []struct {
		when   string
		ask    ask
		status int
		name   string
	}{
		{"a value in the query before missing credentials", ask{target: api + "?t=" + neverIssued("cat")}, 400, "InvalidRequest"},
		{"and before malformed ones", ask{target: "/?t=" + neverIssued("cat"), auth: "Bearer"}, 400, "InvalidRequest"},
		{"and before wrong ones", ask{target: "/?t=" + neverIssued("cat"), auth: unknown}, 400, "InvalidRequest"},
		{"credentials before route", ask{target: api + "/x/y/z"}, 401, "AuthenticationRequired"},
		{"wrong credentials before route", ask{target: api + "/x/y/z", auth: unknown}, 401, "InvalidToken"},
		{"malformed credentials before route", ask{target: api + "/x/y/z", auth: "Basic"}, 400, "InvalidRequest"},
		{"credentials before method", ask{method: "PUT", target: api}, 401, "AuthenticationRequired"},
		{"credentials before rights", ask{target: api + "?user=*"}, 401, "AuthenticationRequired"},
		{"credentials before body", ask{method: "POST", target: api, body: broken}, 401, "AuthenticationRequired"},
		{"credentials before a body's type", ask{method: "POST", target: api, kind: "text/plain", body: broken}, 401, "AuthenticationRequired"},
		{"credentials before a body's size", ask{method: "POST", target: api, body: strings.Repeat(" ", 70000)}, 401, "AuthenticationRequired"},
		{"route before method", ask{method: "PUT", target: api + "/x/y/z", auth: as("alice")}, 404, "RouteNotFoundException"},
		{"route before rights", ask{target: api + "/x/y/z?user=*", auth: as("bob")}, 404, "RouteNotFoundException"},
		{"route before body", ask{method: "POST", target: api + "/x/y/z", auth: as("alice"), body: broken}, 404, "RouteNotFoundException"},
		{"method before rights", ask{method: "PUT", target: api + "?user=*", auth: as("bob")}, 405, "MethodNotAllowed"},
		{"method before whose it is", ask{method: "PATCH", target: alices.target(), auth: as("bob")}, 405, "MethodNotAllowed"},
		{"method before body", ask{method: "PUT", target: api, auth: as("alice"), body: broken}, 405, "MethodNotAllowed"},
		{"rights before body", ask{method: "POST", target: api, auth: as("bob"), body: broken}, 403, "AccessControlException"},
		{"rights before a body's type", ask{method: "POST", target: api, auth: as("bob"), kind: "none", body: broken}, 403, "AccessControlException"},
		{"rights before a body's size", ask{method: "POST", target: api, auth: as("bob"), body: strings.Repeat(" ", 70000)}, 403, "AccessControlException"},
		{"rights before a wrong parameter", ask{target: api + "?user=alice&limit=x", auth: as("bob")}, 403, "AccessControlException"},
	} {
		t.Run(test.when, func(t *testing.T) {
			wantRefused(t, g.do(t, test.ask), test.status, test.name)
		})
	}
}

// Errors are logged, pasted into chats and cached by who knows what.
func TestErrorsNeverRepeatCredentials(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	value := neverIssued("cat")
	for _, a := range []ask{
		{auth: bearer(value)},
		{target: api, auth: bearer(value)},
		{target: api, auth: basic("alice", value)},
		{target: api, auth: basic(value, "x")},
		{target: "/x/" + value},
		{target: "/x?y=" + value},
		{target: api + "/" + value, auth: as("alice")},
		{auth: "Bearer " + value + " x"},
		{auth: "Token " + value},
	} {
		got := g.do(t, a)
		if got.status < 400 || got.status >= http.StatusInternalServerError || secrets.foundIn([]byte(got.String())) {
			t.Errorf("%s with %q: %s", a.target, a.auth, got)
		}
	}
}
