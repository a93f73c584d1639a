package caddymodule

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	upstreamOptionNames    = "admin, basic, claim, cookies, dial, email, header, name, require, timeout, transport, user_id"
	placeholderOptionNames = "admin, claim, email, name, user_id"

	cantBeAsked = " can't be asked who somebody is; allowed: http:// or https://, a host and a path, without user name and fragment; a Unix socket goes into the block, as `dial unix//run/api.sock`, at Caddyfile:3"
	noProof     = " may be what a client chooses, and proves nothing; allowed: {http.auth.user.…} and {http.reverse_proxy.header.…}, which a handler in front established, {http.request.tls.client.…}, {env.…}, {file.…} and {system.…}, at Caddyfile:"
	takenNames  = "choose another name than id, email, name, token_id, project, scopes, at Caddyfile:4"
	claimNames  = "allowed: 1 to 64 letters, digits, '_' and '-', a letter first, at Caddyfile:4"
)

// asking is a site whose line 4 is the first of the block of sign_in upstream.
func asking(block string) string {
	return site("sign_in upstream http://127.0.0.1:3005/me {\n" + block + "\n}")
}

// reading is a site whose line 4 is the first of the block of sign_in
// placeholder.
func reading(block string) string { return site("sign_in placeholder {\n" + block + "\n}") }

// The sign-ins other than basic, and what concerns requests without a token.
func TestWrongSignInCaddyfile(t *testing.T) {
	for _, test := range []struct{ name, caddyfile, want string }{
		{"upstream without a URL", site("sign_in upstream"),
			"sign_in upstream takes the URL of the who-am-I route; write `sign_in upstream <url>`, at Caddyfile:3"},
		{"upstream with its URL in the block", site("sign_in upstream {\nurl http://127.0.0.1:3005/me\n}"),
			"sign_in upstream takes the URL of the who-am-I route; write `sign_in upstream <url>`, at Caddyfile:3"},
		{"upstream with two URLs", site("sign_in upstream http://127.0.0.1:3005/me http://127.0.0.1:3006/me"),
			"sign_in upstream takes the URL of the who-am-I route; write `sign_in upstream <url>`, at Caddyfile:3"},
		{"upstream without a scheme", site("sign_in upstream 127.0.0.1:3005/me"), `sign_in upstream: "127.0.0.1:3005/me"` + cantBeAsked},
		{"upstream with a path alone", site("sign_in upstream /v4/people/current"), `sign_in upstream: "/v4/people/current"` + cantBeAsked},
		{"upstream with another scheme", site("sign_in upstream ldap://127.0.0.1/me"), `sign_in upstream: "ldap://127.0.0.1/me"` + cantBeAsked},
		{"upstream without a host", site("sign_in upstream http:///me"), `sign_in upstream: "http:///me"` + cantBeAsked},
		{"upstream with a port for a host", site("sign_in upstream http://:3005/me"), `sign_in upstream: "http://:3005/me"` + cantBeAsked},
		{"upstream with a broken port", site("sign_in upstream http://127.0.0.1:http/me"), `sign_in upstream: "http://127.0.0.1:http/me"` + cantBeAsked},
		{"upstream with a fragment", site("sign_in upstream http://127.0.0.1:3005/me#id"), `sign_in upstream: "http://127.0.0.1:3005/me#id"` + cantBeAsked},
		{"upstream with user info", site("sign_in upstream http://alice:secret@127.0.0.1:3005/me"), `sign_in upstream: "http://***@127.0.0.1:3005/me"` + cantBeAsked},
		{"upstream with an unknown option", asking("user_id id\ncolour red"),
			`unrecognized option "colour"; allowed: ` + upstreamOptionNames + ", at Caddyfile:5"},
		{"upstream with a path twice", asking("email a\nemail b"), "email is written twice; write it once, at Caddyfile:5"},
		{"upstream with no path", asking("user_id"), "user_id takes one value; write `user_id <path into the answer>`, at Caddyfile:4"},
		{"upstream with an empty path", asking(`admin ""`), "admin is empty; write `admin <path into the answer>`, at Caddyfile:4"},
		{"upstream with two paths", asking("name first last"), "name takes one value; write `name <path into the answer>`, at Caddyfile:4"},
		{"upstream with a block behind a path", asking("name {\nfirst\n}"), "name takes one value; write `name <path into the answer>`, at Caddyfile:4"},
		{"upstream without anything to send", asking("basic off"),
			"sign_in upstream: with `basic off` and no `cookies` nobody can sign in: name the session's cookies, at Caddyfile:5"},
		{"upstream basic with another word", asking("basic no"), `basic: "no" is not known; allowed: on, off, at Caddyfile:4`},
		{"upstream with no cookies", asking("cookies"), "cookies takes at least one value; write `cookies <cookie>…`, at Caddyfile:4"},
		{"upstream with all cookies", asking("cookies sid="),
			"cookies: cookie \"sid=\": a name has one or more letters, digits and !#$%&'+-.^_`|~, and may have one '*' at its end for any ending, at Caddyfile:4"},
		{"upstream with every cookie", asking("cookies *"),
			"cookies: cookie \"*\": write '*' behind the beginning of a name; it stands for any ending, at Caddyfile:4"},
		{"upstream at a socket", site("sign_in upstream unix//run/api.sock"), `sign_in upstream: "unix//run/api.sock"` + cantBeAsked},
		{"require without a value", asking("require authenticated"), "require takes two values; write `require <path into the answer> <value>`, at Caddyfile:4"},
		{"require nothing", asking(`require authenticated ""`), "require takes two values; write `require <path into the answer> <value>`, at Caddyfile:4"},
		{"require with no path", asking("require $.authenticated true"),
			`"$.authenticated" is no path into a JSON answer; allowed: names separated by dots, such as user.id, at Caddyfile:4`},
		{"require twice of one path", asking("require a 1\nrequire b 2\nrequire a 2"), "require a is written twice; write it once, at Caddyfile:6"},
		{"header without a value", asking("header X-Api-Key"), "header takes two values; write `header <name> <value>`, at Caddyfile:4"},
		{"header with a colon", asking("header X-Api-Key: 1"), "header \"X-Api-Key:\": a name has one or more letters, digits and !#$%&'+-.^_`|~, at Caddyfile:4"},
		{"header Host", asking("header host api.internal"), `header "host": use another name, because Host belongs to HTTP itself or to a sign-in, at Caddyfile:4`},
		{"header Cookie", asking("header Cookie a=b"), `header "Cookie": use another name, because Cookie belongs to HTTP itself or to a sign-in, at Caddyfile:4`},
		{"header Authorization in another spelling", asking("header authorization x"),
			`header "authorization": use another name, because Authorization belongs to HTTP itself or to a sign-in, at Caddyfile:4`},
		{"header of a connection", asking("header Keep-Alive x"), `header "Keep-Alive": use another name, because Keep-Alive belongs to HTTP itself or to a sign-in, at Caddyfile:4`},
		{"header of a content", asking("header Content-Type application/json"),
			`header "Content-Type": use another name, because the question has no content, at Caddyfile:4`},
		{"header that encodes the answer", asking("header Accept-Encoding br"),
			`header "Accept-Encoding": use another name, because the answer has to be plain JSON, at Caddyfile:4`},
		{"header twice", asking("header X-A 1\nheader X-A 2"), "header X-A is written twice; write it once, at Caddyfile:5"},
		{"dial a host", asking("dial 127.0.0.1:3005"),
			`sign_in upstream: dial: "127.0.0.1:3005" is no Unix socket; write one as unix//run/api.sock, and other addresses into the URL, at Caddyfile:5`},
		{"dial twice", asking("dial unix//a\ndial unix//b"), "dial is written twice; write it once, at Caddyfile:5"},
		{"upstream with no time", asking("timeout 0s"), `timeout: "0s" is no duration; write one such as 5s, at Caddyfile:4`},
		{"upstream with less than no time", asking("timeout -5s"), `timeout: "-5s" is no duration; write one such as 5s, at Caddyfile:4`},
		{"upstream with a time without a unit", asking("timeout 5"), `timeout: "5" is no duration; write one such as 5s, at Caddyfile:4`},
		{"upstream without a kind of transport", asking("transport {\ntls\n}"),
			"transport takes a kind; write `transport http { … }`, as in reverse_proxy, at Caddyfile:4"},
		{"upstream with an unknown transport", asking("transport carrier_pigeon"),
			"getting module named 'http.reverse_proxy.transport.carrier_pigeon': module not registered: http.reverse_proxy.transport.carrier_pigeon, at Caddyfile:4"},
		{"upstream with an unknown option of its transport", asking("transport http {\ncolour red\n}"),
			"unrecognized subdirective colour, at Caddyfile:5"},
		{"upstream with TLS, but not in its URL", asking("transport http {\ntls\n}"),
			"sign_in upstream: transport has TLS options, but the URL begins with http://; write https://, at Caddyfile:7"},

		{"claim without a path", asking("claim workspace"), "claim takes two values; write `claim <name> <path into the answer>`, at Caddyfile:4"},
		{"claim with an empty path", asking(`claim workspace ""`), "claim takes two values; write `claim <name> <path into the answer>`, at Caddyfile:4"},
		{"claim with too much", asking("claim workspace workspace id"), "claim takes two values; write `claim <name> <path into the answer>`, at Caddyfile:4"},
		{"claim twice", asking("claim a x\nclaim b y\nclaim a z"), "claim a is written twice; write it once, at Caddyfile:6"},
		{"claim of a user's own: id", asking("claim id x"), "claim: id is taken; " + takenNames},
		{"claim of a user's own: email", asking("claim email x"), "claim: email is taken; " + takenNames},
		{"claim of a user's own: name", asking("claim name x"), "claim: name is taken; " + takenNames},
		{"claim of a user's own: token_id", asking("claim token_id x"), "claim: token_id is taken; " + takenNames},
		{"claim of a user's own: project", asking("claim project x"), "claim: project is taken; " + takenNames},
		{"claim with a dot", asking("claim workspace.id x"), `claim: "workspace.id" is no name; ` + claimNames},
		{"claim with a brace", asking("claim a} x"), `claim: "a}" is no name; ` + claimNames},
		{"claim with a digit first", asking("claim 1st x"), `claim: "1st" is no name; ` + claimNames},
		{"claim with a letter from elsewhere", asking("claim größe x"), `claim: "größe" is no name; ` + claimNames},
		{"claim too long", asking("claim " + strings.Repeat("c", 65) + " x"), `claim: "` + strings.Repeat("c", 65) + `" is no name; ` + claimNames},
		{"claim with a block", asking("claim a x {\ny\n}"), "claim takes no block, at Caddyfile:5"},

		{"placeholder without anything", site("sign_in placeholder"),
			"sign_in placeholder: write where the user's id is, for example `sign_in placeholder {http.auth.user.id}`, at Caddyfile:3"},
		{"placeholder without an id", reading("email {http.reverse_proxy.header.Remote-Email}"),
			"sign_in placeholder: write where the user's id is, for example `sign_in placeholder {http.auth.user.id}`, at Caddyfile:5"},
		{"placeholder with a name behind its id", site("sign_in placeholder {http.auth.user.id} {http.auth.user.name}"),
			"sign_in placeholder takes at most the user's id; write `sign_in placeholder {http.auth.user.id}`, or a block with user_id, email, name, admin and claim, at Caddyfile:3"},
		{"placeholder with an id and a block", site("sign_in placeholder {http.auth.user.id} {\nemail {http.auth.user.email}\n}"),
			"sign_in placeholder with an id behind it takes no block, at Caddyfile:4"},
		{"placeholder with an unknown option", reading("user_id {http.auth.user.id}\ncookies sid"),
			`unrecognized option "cookies"; allowed: ` + placeholderOptionNames + ", at Caddyfile:5"},
		{"placeholder with an id twice", reading("user_id {http.auth.user.id}\nuser_id {http.auth.user.id}"), "user_id is written twice; write it once, at Caddyfile:5"},
		{"placeholder with a constant id", site("sign_in placeholder alice"),
			`sign_in placeholder: user_id "alice" would be the same user for everybody; write a placeholder such as {http.auth.user.id}, at Caddyfile:3`},
		{"placeholder with half a placeholder", site("sign_in placeholder {http.auth.user.id"),
			`sign_in placeholder: "{http.auth.user.id" has braces that are no placeholder; write one as {http.auth.user.id}, and \{ or \} for a brace, at Caddyfile:3`},
		{"placeholder of the surroundings alone", site("sign_in placeholder {env.USER}"),
			`sign_in placeholder: user_id "{env.USER}" would be the same user for everybody; write a placeholder such as {http.auth.user.id}, at Caddyfile:3`},
		{"placeholder of a variable", site("sign_in placeholder {vars.user}"), "sign_in placeholder: {http.vars.user}" + noProof + "3"},
		{"placeholder of the client's address", site("sign_in placeholder {client_ip}"), "sign_in placeholder: {http.vars.client_ip}" + noProof + "3"},
		{"identity of a request's header", site("identity {\nRemote-User {header.X-User}\n}"), "identity: Remote-User: {http.request.header.X-User}" + noProof + "4"},
		{"identity of a request's query", site("identity {\nX-Id {http.auth.user.id}\nRemote-Name \"Dr. {query.name}\"\n}"), "identity: Remote-Name: {http.request.uri.query.name}" + noProof + "5"},
		{"placeholder of a request's header", site("sign_in placeholder {http.request.header.Remote-User}"),
			"sign_in placeholder: {http.request.header.Remote-User}" + noProof + "3"},
		{"placeholder of a request's header, in short", site("sign_in placeholder {header.Remote-User}"),
			"sign_in placeholder: {http.request.header.Remote-User}" + noProof + "3"},
		{"placeholder of a cookie, in short", site("sign_in placeholder {cookie.user}"),
			"sign_in placeholder: {http.request.cookie.user}" + noProof + "3"},
		{"placeholder of the query, among others", site("sign_in placeholder x-{http.auth.user.id}-{query.user}"),
			"sign_in placeholder: {http.request.uri.query.user}" + noProof + "3"},
		{"placeholder of a request's host", site("sign_in placeholder {host}"), "sign_in placeholder: {http.request.host}" + noProof + "3"},
		{"placeholder of the TLS connection, but not of its client", site("sign_in placeholder {http.request.tls.server_name}"),
			"sign_in placeholder: {http.request.tls.server_name}" + noProof + "3"},
		{"placeholder: e-mail of a request's header", reading("user_id {http.auth.user.id}\nemail {header.X-Email}"),
			"sign_in placeholder: {http.request.header.X-Email}" + noProof + "6"},
		{"placeholder: name of a request's header", reading("user_id {http.auth.user.id}\nname {header.X-Name}"),
			"sign_in placeholder: {http.request.header.X-Name}" + noProof + "6"},
		{"placeholder: administrator by a request's header", reading("user_id {http.auth.user.id}\nadmin {header.X-Admin}"),
			"sign_in placeholder: {http.request.header.X-Admin}" + noProof + "6"},
		{"placeholder: claim of a request's header", reading("user_id {http.auth.user.id}\nclaim groups {header.X-Groups}"),
			"sign_in placeholder: {http.request.header.X-Groups}" + noProof + "6"},
		{"placeholder: claim without a source", reading("claim groups"), "claim takes two values; write `claim <name> <placeholder>`, at Caddyfile:4"},
		{"placeholder: claim of a user's own", reading("claim email {http.auth.user.email}"), "claim: email is taken; " + takenNames},

		{"without_token with nothing", site("without_token"), "without_token takes one value; write `without_token reject|pass`, at Caddyfile:3"},
		{"without_token with another word", site("without_token allow"), `without_token: "allow" is not known; allowed: reject, pass, at Caddyfile:3`},
		{"without_token in capitals", site("without_token PASS"), `without_token: "PASS" is not known; allowed: reject, pass, at Caddyfile:3`},
		{"without_token with two words", site("without_token pass reject"), "without_token takes one value; write `without_token reject|pass`, at Caddyfile:3"},
		{"without_token twice", site("without_token pass\nwithout_token reject"), "without_token is written twice; write it once, at Caddyfile:4"},
		{"foreign_token with nothing", site("foreign_token"), "foreign_token takes one value; write `foreign_token reject|pass`, at Caddyfile:3"},
		{"foreign_token with another word", site("foreign_token on"), `foreign_token: "on" is not known; allowed: reject, pass, at Caddyfile:3`},
		{"foreign_token with a block", site("foreign_token pass {\n/v3/*\n}"), "foreign_token takes no block, at Caddyfile:4"},
		{"foreign_token twice", site("foreign_token pass\nforeign_token pass"), "foreign_token is written twice; write it once, at Caddyfile:4"},

		{"placeholder beside foreign_token pass", site("allow_generate everyone\nforeign_token pass\nsign_in placeholder {http.auth.user.id}"), oneOfThem + ", at Caddyfile:6"},
		{"placeholder, behind others, beside foreign_token pass", site("sign_in upstream http://127.0.0.1:3005/me\nsign_in placeholder {http.auth.user.id}\nforeign_token pass"), oneOfThem + ", at Caddyfile:6"},
		{"placeholder: everybody an administrator", site("sign_in placeholder {\nuser_id {http.auth.user.id}\nadmin true\n}"),
			"sign_in placeholder: admin \"true\" would be the same for everybody; write a placeholder, or name the administrators under `admins`, at Caddyfile:6"},
		{"upstream: a path of JSONPath", site("sign_in upstream http://127.0.0.1/me {\nuser_id $.user.id\n}"), `sign_in upstream: "$.user.id"` + noPath},
		{"upstream: a path with an empty name", site("sign_in upstream http://127.0.0.1/me {\nclaim team user..team\n}"), `sign_in upstream: "user..team"` + noPath},
		{"upstream: a path that begins with a dot", site("sign_in upstream http://127.0.0.1/me {\nemail .email\n}"), `sign_in upstream: ".email"` + noPath},
		{"upstream: a path that ends with a dot", site("sign_in upstream http://127.0.0.1/me {\nname name.\n}"), `sign_in upstream: "name."` + noPath},
		{"upstream: a time-out of an hour", site("sign_in upstream http://127.0.0.1/me {\ntimeout 1h\n}"), "sign_in upstream: timeout: 1h0m0s is out of range; allowed: up to 1m0s, at Caddyfile:5"},

		{"public with nothing", site("public"), "public takes at least one value; write `public <path or @matcher>…`, at Caddyfile:3"},
		{"public everything", site("public *"),
			"public: every path would be public, and nothing need a token; to let requests without a token pass, write `without_token pass` (\"*\"), at Caddyfile:3"},
		{"public everything, as a path", site("public /*"),
			"public: every path would be public, and nothing need a token; to let requests without a token pass, write `without_token pass` (\"/*\"), at Caddyfile:3"},
		{"public everything, among others", site("public /health *"),
			"public: every path would be public, and nothing need a token; to let requests without a token pass, write `without_token pass` (\"*\"), at Caddyfile:3"},
		{"public with what is no path", site("public /health metrics"),
			`public: "metrics" is neither a path nor a named matcher; allowed: /path, /path/*, @name, at Caddyfile:3`},
		{"public with a URL", site("public http://api.example.com/health"),
			`public: "http://api.example.com/health" is neither a path nor a named matcher; allowed: /path, /path/*, @name, at Caddyfile:3`},
		{"public with an unknown matcher", site("public @preflight"), "public: unrecognized matcher name: @preflight, at Caddyfile:3"},
		{"public with a block", site("public /health {\n/metrics\n}"), "public takes no block, at Caddyfile:4"},

		{"sign_in_limit with nothing", site("sign_in_limit"), limitUsage},
		{"sign_in_limit without a window", site("sign_in_limit 10"), limitUsage},
		{"sign_in_limit with too much", site("sign_in_limit 10 1m 100"), limitUsage},
		{"sign_in_limit the other way round", site("sign_in_limit 1m 10"),
			`sign_in_limit: "1m" is no number of failures; write one such as 10, at Caddyfile:3`},
		{"sign_in_limit off", site("sign_in_limit off 1m"),
			`sign_in_limit: "off" is no number of failures; write one such as 10, at Caddyfile:3`},
		{"sign_in_limit without a unit", site("sign_in_limit 10 60"), `sign_in_limit: "60" is no duration; write one such as 1m, at Caddyfile:3`},
		{"sign_in_limit of nothing", site("sign_in_limit 0 1m"),
			"sign_in_limit: 0 failures is out of range; allowed: 1 to 1000000, at Caddyfile:3"},
		{"sign_in_limit below nothing", site("sign_in_limit -1 1m"),
			"sign_in_limit: -1 failures is out of range; allowed: 1 to 1000000, at Caddyfile:3"},
		{"sign_in_limit of too many", site("sign_in_limit 1000001 1m"),
			"sign_in_limit: 1000001 failures is out of range; allowed: 1 to 1000000, at Caddyfile:3"},
		{"sign_in_limit in too short a time", site("sign_in_limit 10 999ms"),
			"sign_in_limit: 999ms is out of range; allowed: 1s to 24h, at Caddyfile:3"},
		{"sign_in_limit in too long a time", site("sign_in_limit 10 25h"),
			"sign_in_limit: 25h0m0s is out of range; allowed: 1s to 24h, at Caddyfile:3"},
		{"sign_in_limit with a block", site("sign_in_limit 10 1m {\nx\n}"), "sign_in_limit takes no block, at Caddyfile:4"},
		{"sign_in_limit twice", site("sign_in_limit 10 1m\nsign_in_limit 10 1m"), "sign_in_limit is written twice; write it once, at Caddyfile:4"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := adapt(t, test.caddyfile)
			if err == nil {
				t.Fatal("there is no error")
			}
			got := strings.TrimPrefix(err.Error(), "parsing caddyfile tokens for 'access_tokens': ")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

const limitUsage = "sign_in_limit takes two values; write `sign_in_limit <failures> <window>`, such as `sign_in_limit 10 1m`, at Caddyfile:3"

// Whoever has an own certificate, or is established by a handler in front, can
// be a sign-in's user.
func TestPlaceholdersThatProve(t *testing.T) {
	for _, source := range []string{
		"{http.auth.user.id}", "{http.reverse_proxy.header.Remote-User}", "{http.request.tls.client.subject}", "{tls_client_subject}",
		"{http.request.tls.client.san.emails.0}", "ldap-{http.auth.user.id}", "{rp.header.Remote-User}",
	} {
		adapted, _, err := adapt(t, site("allow_generate everyone\nsign_in placeholder "+source))
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if err := validate(t, adapted); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
}

const (
	inUpstream    = `access_tokens, project "default": position 0: loading module 'upstream': provision access_tokens.sign_in.upstream: sign_in upstream: `
	inPlaceholder = `access_tokens, project "default": position 0: loading module 'placeholder': provision access_tokens.sign_in.placeholder: sign_in placeholder: `
	nobodyMay     = "access_tokens, project \"default\": nobody who can sign in may make tokens: name one of them under `admins`, or allow others by `allow_generate everyone` or `allow_generate users <id>…`"
	noPath        = " is no path into a JSON answer; allowed: names separated by dots, such as user.id, at Caddyfile:5"
	oneOfThem     = "`sign_in placeholder`, or another sign-in that reads whom a handler in front established, can't stand beside `foreign_token pass`: whoever that handler took the API's own token for would pass for a user of ours; remove one of them"
)

// What is seen only once placeholders are replaced and options put together.
func TestUnusableSignIn(t *testing.T) {
	const placeholdersAllowed = "; allowed: {env.NAME}, {file./path} and others that have a value before any request"
	const notAURL = " can't be asked who somebody is; allowed: http:// or https://, a host and a path, without user name and fragment; a Unix socket goes into the block, as `dial unix//run/api.sock`"
	t.Setenv("EMPTY", "")
	t.Setenv("LDAP", "ldap://127.0.0.1/me")
	t.Setenv("LOGIN", "alice:secret")
	t.Setenv("PLAIN", "http://127.0.0.1/me")
	const me = "\nsign_in upstream http://127.0.0.1:3005/me"
	const front = "\nsign_in placeholder {http.auth.user.id}"
	for _, test := range []struct{ name, caddyfile, want string }{
		{"upstream that calls nobody an administrator", site(me), nobodyMay},
		{"placeholder that calls nobody an administrator", site(front), nobodyMay},
		{"both", site(me + front), nobodyMay},
		{"both, beside one who is listed but no administrator", site(aliceSignsIn + me + front), nobodyMay},
		{"URL: an empty variable", site("sign_in upstream {env.EMPTY}"), inUpstream + "evaluated placeholder {env.EMPTY} is empty" + placeholdersAllowed},
		{"URL: no such after all", site("sign_in upstream {env.LDAP}"), inUpstream + `"{env.LDAP}"` + notAURL},
		{"URL: user info after all", site("sign_in upstream http://{env.LOGIN}@127.0.0.1/me"), inUpstream + `"http://***@127.0.0.1/me"` + notAURL},
		{"placeholder: an empty variable", site("admins alice\nsign_in placeholder {http.auth.user.id}@{env.EMPTY}"), inPlaceholder + "placeholder {env.EMPTY} is empty"},
		{"identity: an empty variable", site("admins alice\nidentity {\nX-Realm {env.EMPTY}\n}" + aliceSignsIn), `access_tokens, project "default": identity: X-Realm: placeholder {env.EMPTY} is empty`},
		{"header: an empty variable", site("sign_in upstream http://127.0.0.1/me {\nheader X-Key {env.EMPTY}\n}"), inUpstream + "header X-Key: evaluated placeholder {env.EMPTY} is empty" + placeholdersAllowed},
		{"header: what a client sends", site("sign_in upstream http://127.0.0.1/me {\nheader X-Key {header.X-Key}\n}"),
			inUpstream + "header X-Key: unrecognized placeholder {http.request.header.X-Key}" + placeholdersAllowed},
		{"header: in two spellings", site("sign_in upstream http://127.0.0.1/me {\nheader X-Key 1\nheader x-key 2\n}"), inUpstream + "header x-key is written twice; write it once"},
		{"dial: no socket after all", site("sign_in upstream http://127.0.0.1/me {\ndial {env.PLAIN}\n}"),
			inUpstream + `dial: "http://127.0.0.1/me" is no Unix socket; write one as unix//run/api.sock, and other addresses into the URL`},
		{"TLS, but not in the URL after all", site("sign_in upstream {env.PLAIN} {\ntransport http {\ntls\n}\n}"),
			inUpstream + "transport has TLS options, but the URL begins with http://; write https://"},
		{"URL: what a client sends", site("sign_in upstream http://127.0.0.1/{http.request.uri.path}"),
			inUpstream + "unrecognized placeholder {http.request.uri.path}" + placeholdersAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			adapted, _, err := adapt(t, test.caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			err = validate(t, adapted)
			if err == nil {
				t.Fatal("there is no error")
			}
			if diff := cmp.Diff(test.want, ownPart(err)); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// Users whom nobody knows beforehand can be administrators.
func TestUsableSignIn(t *testing.T) {
	for name, block := range map[string]string{
		"upstream, administrators named":         "admins 17\nsign_in upstream http://127.0.0.1:3005/me",
		"upstream, some may generate":            "allow_generate users 17\nsign_in upstream http://127.0.0.1:3005/me",
		"upstream that names administrators":     "sign_in upstream http://127.0.0.1:3005/me {\nadmin isAdmin\n}",
		"placeholder, administrators named":      "admins alice\nsign_in placeholder {http.auth.user.id}",
		"placeholder that names administrators":  "sign_in placeholder {\nuser_id {http.auth.user.id}\nadmin {http.auth.user.admin}\n}",
		"a guest, which may":                     "sign_in guest first",
		"the last of three names them":           strings.TrimPrefix(aliceSignsIn, "\n") + "\nsign_in placeholder {http.auth.user.id}\nsign_in upstream http://127.0.0.1:3005/me {\nadmin isAdmin\n}",
		"foreign tokens pass beside an upstream": "admins alice\nforeign_token pass\nsign_in upstream http://127.0.0.1:3005/me",
		"requests pass beside a placeholder":     "admins alice\nwithout_token pass\npublic /health\nsign_in placeholder {http.auth.user.id}",
		"a proxy of its own":                     "admins alice\nsign_in upstream http://127.0.0.1:3005/me {\ntransport http {\nnetwork_proxy none\n}\n}",
		"a transport of its own":                 "admins alice\nsign_in upstream https://127.0.0.1:3005/me {\ntransport http {\ntls_insecure_skip_verify\n}\n}",
	} {
		adapted, _, err := adapt(t, site(block))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := validate(t, adapted); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
