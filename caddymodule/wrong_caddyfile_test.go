package caddymodule

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	bcryptOfSomething   = "$2a$14$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6"
	argon2idOfSomething = "$argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg"

	tokenFromUsage    = "token_from takes a place; write `token_from basic`, or `token_from header <name>`, such as `token_from header X-API-Key`, once for each header, at Caddyfile:3"
	siteOptionNames   = "admins, allow_generate, api, api_access, foreign_token, identity, identity_encoding, keep_authorization, keep_cookies, max_lifetime, max_tokens_per_user, open_streams, page, prefix, project, public, scope, script_access, sign_in, sign_in_limit, strip, token_from, verify, without_token"
	globalOptionNames = "audit, backup, hash_key, retain, store"
	kindNames         = "basic, front, guest, impostor, placeholder, upstream" // of which front, guest and impostor are this test's own

	auditUsage = "audit takes a kind and a path; write `audit file <path>`; without audit, changes are in Caddy's log alone, at Caddyfile:3"

	aliceSignsIn = "\nsign_in basic {\nalice " + bcryptOfSomething + "\n}"
)

// site is a Caddyfile whose line 3 is the first of the directive's block.
func site(block string) string {
	return "http://:8080 {\naccess_tokens {\n" + block + "\n}\nrespond ok\n}\n"
}

// globally is a Caddyfile whose line 3 is the first of the global option's
// block. The site is as it should be.
func globally(block string) string {
	return "{\naccess_tokens {\n" + block + "\n}\n}\n" + site("admins alice"+aliceSignsIn)
}

// What is wrong where the Caddyfile's parser can see it: the message names file
// and line.
func TestWrongCaddyfile(t *testing.T) {
	for _, test := range []struct{ name, caddyfile, want string }{
		{"unknown option", site("colour red"),
			`unrecognized option "colour"; allowed: ` + siteOptionNames + `, at Caddyfile:3`},
		{"an option's name in capitals", site("Admins alice"),
			`unrecognized option "Admins"; allowed: ` + siteOptionNames + `, at Caddyfile:3`},
		{"a user's line outside of its block", site("alice " + bcryptOfSomething),
			`unrecognized option "alice"; allowed: ` + siteOptionNames + `, at Caddyfile:3`},
		{"in a snippet", "(tokens) {\naccess_tokens {\ncolour red\n}\n}\nhttp://:8080 {\nimport tokens\n}\n",
			`unrecognized option "colour"; allowed: ` + siteOptionNames + `, at Caddyfile:3 import chain ['Caddyfile:7 (import tokens)']`},

		{"a path as a matcher", "http://:8080 {\naccess_tokens /v4/* {\nadmins alice\n}\n}\n",
			"access_tokens takes no matcher and no arguments (\"/v4/*\"); to use it for some requests only, write it into a `handle` block, at Caddyfile:2"},
		{"a star as a matcher", "http://:8080 {\naccess_tokens * {\nadmins alice\n}\n}\n",
			"access_tokens takes no matcher and no arguments (\"*\"); to use it for some requests only, write it into a `handle` block, at Caddyfile:2"},
		{"a named matcher", "http://:8080 {\n@v4 path /v4/*\naccess_tokens @v4 {\nadmins alice\n}\n}\n",
			"access_tokens takes no matcher and no arguments (\"@v4\"); to use it for some requests only, write it into a `handle` block, at Caddyfile:3"},
		{"arguments", "http://:8080 {\naccess_tokens dataprep\n}\n",
			"access_tokens takes no matcher and no arguments (\"dataprep\"); to use it for some requests only, write it into a `handle` block, at Caddyfile:2"},

		{"project twice", site("project a\nprefix abc\nproject b"), "project is written twice; write it once, at Caddyfile:5"},
		{"project with no name", site("project"), "project takes one value; write `project <name>`, at Caddyfile:3"},
		{"project with two names", site("project a b"), "project takes one value; write `project <name>`, at Caddyfile:3"},
		{"project with an empty name", site(`project ""`), "project is empty; write `project <name>`, at Caddyfile:3"},
		{"project with a space", site(`project "data prep"`),
			`project: "data prep" is no name; allowed: 1 to 64 letters, digits, '.', '_' and '-', at Caddyfile:3`},
		{"project too long", site("project " + strings.Repeat("p", 65)),
			`project: "` + strings.Repeat("p", 65) + `" is no name; allowed: 1 to 64 letters, digits, '.', '_' and '-', at Caddyfile:3`},
		{"project that only the environment knows", site("project {env.PROJECT}"),
			`project: "{env.PROJECT}" is no name; allowed: 1 to 64 letters, digits, '.', '_' and '-', at Caddyfile:3`},
		{"project with a block", site("project a {\nname b\n}"), "project takes no block, at Caddyfile:4"},

		{"prefix in capitals", site("prefix CAT"), `prefix: "CAT" can't begin a token; allowed: 2 to 12 characters of a-z and 0-9, at Caddyfile:3`},
		{"prefix too short", site("prefix c"), `prefix: "c" can't begin a token; allowed: 2 to 12 characters of a-z and 0-9, at Caddyfile:3`},
		{"prefix too long", site("prefix abcdefghijklm"), `prefix: "abcdefghijklm" can't begin a token; allowed: 2 to 12 characters of a-z and 0-9, at Caddyfile:3`},
		{"prefix with its underscore", site("prefix cat_"), `prefix: "cat_" can't begin a token; allowed: 2 to 12 characters of a-z and 0-9, at Caddyfile:3`},
		{"prefix twice", site("prefix cat\nprefix dog"), "prefix is written twice; write it once, at Caddyfile:4"},

		{"admins with nobody", site("admins"), "admins takes at least one value; write `admins <user id>…`, at Caddyfile:3"},
		{"admins twice", site("admins alice\nadmins bob"), "admins is written twice; write it once, at Caddyfile:4"},
		{"an administrator twice", site("admins alice alice"), `admins: "alice" is named twice, at Caddyfile:3`},
		{"an administrator with no id", site(`admins alice ""`), "admins: a user id is empty; allowed: 1 to 256 characters, at Caddyfile:3"},
		{"everyone an administrator", site("admins *"), "admins: * is no user id, it stands for everyone, at Caddyfile:3"},
		{"an administrator with a space", site(`admins "alice "`), `admins: a user id begins or ends with white space, at Caddyfile:3`},
		{"an administrator with a tab", site("admins \"al\tice\""), "admins: a user id has control characters, at Caddyfile:3"},
		{"an administrator with a long id", site("admins " + strings.Repeat("a", 257)),
			"admins: a user id has more than 256 characters; allowed: 1 to 256, at Caddyfile:3"},

		{"api_access with another word", site("api_access yes"), `api_access: "yes" is not known; allowed: on, off, at Caddyfile:3`},
		{"api_access with no word", site("api_access"), "api_access takes one value; write `api_access on|off`, at Caddyfile:3"},
		{"api_access twice", site("api_access on\napi_access on"), "api_access is written twice; write it once, at Caddyfile:4"},

		{"allow_generate with nothing", site("allow_generate"),
			"allow_generate takes at least one value; write `allow_generate admins|everyone|users <user id>…`, at Caddyfile:3"},
		{"allow_generate with another word", site("allow_generate nobody"),
			`allow_generate: "nobody" is not known; allowed: admins, everyone, or users followed by user ids, at Caddyfile:3`},
		{"allow_generate with a user but no word", site("allow_generate bob"),
			`allow_generate: "bob" is not known; allowed: admins, everyone, or users followed by user ids, at Caddyfile:3`},
		{"allow_generate users with none", site("allow_generate users"), "allow_generate users: name at least one user id, at Caddyfile:3"},
		{"allow_generate users with one twice", site("allow_generate users bob carol bob"), `allow_generate users: "bob" is named twice, at Caddyfile:3`},
		{"allow_generate users with a star", site("allow_generate users *"), "allow_generate users: * is no user id, it stands for everyone, at Caddyfile:3"},
		{"allow_generate everyone with users", site("allow_generate everyone bob"),
			"allow_generate everyone takes no user ids; write `allow_generate users <id>…`, at Caddyfile:3"},
		{"allow_generate twice", site("allow_generate everyone\nallow_generate users bob"), "allow_generate is written twice; write it once, at Caddyfile:4"},

		{"max_lifetime without a unit", site("max_lifetime 365"),
			`max_lifetime: "365" is no lifetime; allowed: whole days such as 365d, or unlimited, at Caddyfile:3`},
		{"max_lifetime in part of a day", site("max_lifetime 36h"),
			`max_lifetime: "36h" is no lifetime; allowed: whole days such as 365d, or unlimited, at Caddyfile:3`},
		{"max_lifetime as in the API", site("max_lifetime -1"),
			`max_lifetime: "-1" is no lifetime; allowed: whole days such as 365d, or unlimited, at Caddyfile:3`},
		{"max_lifetime below nothing", site("max_lifetime -1d"),
			`max_lifetime: "-1d" is no lifetime; allowed: whole days such as 365d, or unlimited, at Caddyfile:3`},
		{"max_lifetime of nothing", site("max_lifetime 0d"),
			"max_lifetime: 0 days is out of range; allowed: 1d to 36525d, or unlimited, at Caddyfile:3"},
		{"max_lifetime of more than a hundred years", site("max_lifetime 36526d"),
			"max_lifetime: 36526 days is out of range; allowed: 1d to 36525d, or unlimited, at Caddyfile:3"},
		{"max_lifetime of more than can be counted", site("max_lifetime 99999999999999999999d"),
			`max_lifetime: "99999999999999999999d" is no lifetime; allowed: whole days such as 365d, or unlimited, at Caddyfile:3`},
		{"max_lifetime twice", site("max_lifetime 1d\nmax_lifetime 1d"), "max_lifetime is written twice; write it once, at Caddyfile:4"},

		{"max_tokens_per_user with nothing", site("max_tokens_per_user"),
			"max_tokens_per_user takes one value; write `max_tokens_per_user <number>`, at Caddyfile:3"},
		{"max_tokens_per_user with a word", site("max_tokens_per_user unlimited"),
			`max_tokens_per_user: "unlimited" is no number of tokens; write one such as 1000, at Caddyfile:3`},
		{"max_tokens_per_user with half a token", site("max_tokens_per_user 1.5"),
			`max_tokens_per_user: "1.5" is no number of tokens; write one such as 1000, at Caddyfile:3`},
		{"max_tokens_per_user of none", site("max_tokens_per_user 0"),
			"max_tokens_per_user: 0 tokens is out of range; allowed: 1 to 1000000, and without the option as many as users make, at Caddyfile:3"},
		{"max_tokens_per_user of fewer than none", site("max_tokens_per_user -1"),
			"max_tokens_per_user: -1 tokens is out of range; allowed: 1 to 1000000, and without the option as many as users make, at Caddyfile:3"},
		{"max_tokens_per_user of too many", site("max_tokens_per_user 1000001"),
			"max_tokens_per_user: 1000001 tokens is out of range; allowed: 1 to 1000000, and without the option as many as users make, at Caddyfile:3"},
		{"max_tokens_per_user of more than can be counted", site("max_tokens_per_user 99999999999999999999"),
			`max_tokens_per_user: "99999999999999999999" is no number of tokens; write one such as 1000, at Caddyfile:3`},
		{"max_tokens_per_user twice", site("max_tokens_per_user 10\nmax_tokens_per_user 10"),
			"max_tokens_per_user is written twice; write it once, at Caddyfile:4"},

		{"token_from nowhere", site("token_from"), tokenFromUsage},
		{"token_from an unknown place", site("token_from query"), tokenFromUsage},
		{"token_from a header without a name", site("token_from header"), tokenFromUsage},
		{"token_from two headers at once", site("token_from header X-API-Key Private-Token"), tokenFromUsage},
		{"token_from basic with more", site("token_from basic X-API-Key"), tokenFromUsage},
		{"token_from with a block", site("token_from basic {\nx\n}"), "token_from takes no block, at Caddyfile:4"},
		{"token_from basic twice", site("token_from basic\ntoken_from basic"), "token_from basic is written twice; write it once, at Caddyfile:4"},
		{"token_from a header twice", site("token_from header X-API-Key\ntoken_from header x-api-key"),
			`token_from: header "x-api-key": name it once, at Caddyfile:4`},
		{"token_from Authorization", site("token_from header Authorization"),
			`token_from: header "Authorization": use another name, because Authorization belongs to HTTP itself or to a sign-in, at Caddyfile:3`},
		{"token_from Cookie, in another spelling", site("token_from header COOKIE"),
			`token_from: header "COOKIE": use another name, because Cookie belongs to HTTP itself or to a sign-in, at Caddyfile:3`},
		{"token_from a hop-by-hop header", site("token_from header Keep-Alive"),
			`token_from: header "Keep-Alive": use another name, because Keep-Alive belongs to HTTP itself or to a sign-in, at Caddyfile:3`},
		{"token_from a header with another meaning", site("token_from header Referer"),
			`token_from: header "Referer": use a header that is for credentials alone, such as X-API-Key; Referer has another meaning, at Caddyfile:3`},
		{"token_from no header's name", site("token_from header X:API"),
			"token_from: header \"X:API\": a name has one or more letters, digits and !#$%&'+-.^_`|~, at Caddyfile:3"},
		{"token_from an identity header", site("token_from header Remote-User"),
			`token_from: header "Remote-User": no client may send it, because it is removed under identity or strip; use another name, at Caddyfile:4`},
		{"token_from a header that is stripped", site("token_from header X-API-Key\nstrip X-API-*"),
			`token_from: header "X-API-Key": no client may send it, because it is removed under identity or strip; use another name, at Caddyfile:5`},
		{"keep_authorization with a value", site("token_from header X-API-Key\nkeep_authorization on"),
			"keep_authorization takes no value; write `keep_authorization`, or leave it out, at Caddyfile:4"},
		{"keep_authorization beside no header", site("token_from basic\nkeep_authorization"),
			"keep_authorization: Authorization can be kept beside a token from a header alone, and there is none; add `token_from header <name>`, at Caddyfile:5"},

		{"sign_in without a kind", site("sign_in"), "sign_in takes a kind; write `sign_in <kind> …`; there are: " + kindNames + ", at Caddyfile:3"},
		{"sign_in with an unknown kind", site("sign_in ldap"), `"ldap" is no sign-in; there are: ` + kindNames + `, at Caddyfile:3`},
		{"sign_in with users but no kind", site("sign_in {\nalice " + bcryptOfSomething + "\n}"),
			"sign_in takes a kind; write `sign_in <kind> …`; there are: " + kindNames + ", at Caddyfile:3"},
		{"sign_in basic with arguments, as basic_auth has them", site("sign_in basic bcrypt Realm {\nalice " + bcryptOfSomething + "\n}"),
			"sign_in basic takes no arguments; write the users into its block, each in a line `<user> <hash> [<email> [<name>]]`, at Caddyfile:3"},
		{"sign_in basic without a block", site("sign_in basic"),
			"sign_in basic: name at least one user, in a block with a line `<user> <hash>` each, at Caddyfile:3"},
		{"sign_in basic with an empty block", site("sign_in basic {\n}"),
			"sign_in basic: name at least one user, in a block with a line `<user> <hash>` each, at Caddyfile:3"},
		{"a user without a hash", site("sign_in basic {\nalice\n}"),
			"sign_in basic: write `<user> <hash> [<email> [<name>]]`, with the hash from `caddy hash-password`, at Caddyfile:4"},
		{"a name not in quotes", site("sign_in basic {\nalice " + bcryptOfSomething + " alice@example.com Alice A.\n}"),
			"sign_in basic: write `<user> <hash> [<email> [<name>]]`, with the hash from `caddy hash-password`, at Caddyfile:4"},
		{"a password for a hash", site("sign_in basic {\nalice " + bcryptOfSomething + "\nbob secret\n}"),
			"sign_in basic: hash of \"bob\": this is neither a bcrypt hash ($2a$…) nor an argon2id hash ($argon2id$…); `caddy hash-password` makes one, at Caddyfile:5"},
		{"a hash of another algorithm", site("sign_in basic {\nbob $1$salt$qJH7.N4xYta3aEG/dfqo/0\n}"),
			"sign_in basic: hash of \"bob\": this is neither a bcrypt hash ($2a$…) nor an argon2id hash ($argon2id$…); `caddy hash-password` makes one, at Caddyfile:4"},
		{"a bcrypt hash cut short", site("sign_in basic {\nbob $2a$14$X3ulqf\n}"),
			"sign_in basic: hash of \"bob\": this hash is damaged; write all that `caddy hash-password` printed, and nothing else, at Caddyfile:4"},
		{"an argon2id hash cut short", site("sign_in basic {\nbob " + argon2idOfSomething[:60] + "\n}"),
			"sign_in basic: hash of \"bob\": this hash is damaged; write all that `caddy hash-password` printed, and nothing else, at Caddyfile:4"},
		{"a bcrypt hash that takes days", site("sign_in basic {\nbob " + strings.Replace(bcryptOfSomething, "$14$", "$31$", 1) + "\n}"),
			"sign_in basic: hash of \"bob\": bcrypt cost 31 is out of range; allowed: 4 to 18; `caddy hash-password` makes a hash of a useful cost, at Caddyfile:4"},
		{"an argon2id hash that takes 4 TB", site("sign_in basic {\nbob " + strings.Replace(argon2idOfSomething, "m=47104", "m=4000000000", 1) + "\n}"),
			"sign_in basic: hash of \"bob\": argon2id m=4000000000 is out of range; allowed: 1 to 2097152; `caddy hash-password` makes a hash of a useful cost, at Caddyfile:4"},
		{"a user twice", site("sign_in basic {\nbob " + bcryptOfSomething + "\nalice " + bcryptOfSomething + "\nbob " + argon2idOfSomething + "\n}"),
			`sign_in basic: "bob" is listed twice, at Caddyfile:6`},
		{"a user with a colon", site("sign_in basic {\nteam:bob " + bcryptOfSomething + "\n}"),
			`sign_in basic: user "team:bob": HTTP Basic allows no colon in a user name, at Caddyfile:4`},
		{"a user named star", site("sign_in basic {\n* " + bcryptOfSomething + "\n}"),
			"sign_in basic: * is no user id, it stands for everyone, at Caddyfile:4"},
		{"an e-mail address on two lines", site("sign_in basic {\nbob " + bcryptOfSomething + " \"bob@\nexample.com\"\n}"),
			`sign_in basic: user "bob": the e-mail has control characters, at Caddyfile:4`},

		{"identity without a block", site("identity"),
			"identity: name at least one header, in a block with a line `<header> <value>` each; without identity the default headers are set, at Caddyfile:3"},
		{"identity with arguments", site("identity X-User {http.auth.user.id}"),
			"identity takes no arguments; write each header into its block, in a line `<header> <value>`, at Caddyfile:3"},
		{"identity without a value", site("identity {\nX-User\n}"),
			"X-User takes one value; write `X-User <value, for example {http.auth.user.id}>`, at Caddyfile:4"},
		{"identity with an empty value", site("identity {\nX-User \"\"\n}"),
			"X-User is empty; write `X-User <value, for example {http.auth.user.id}>`, at Caddyfile:4"},
		{"identity with a value not in quotes", site("identity {\nX-User {http.auth.user.name} {http.auth.user.id}\n}"),
			"X-User takes one value; write `X-User <value, for example {http.auth.user.id}>`, at Caddyfile:4"},
		{"identity: Host", site("identity {\nHost {http.auth.user.id}\n}"),
			`identity: header "Host": use another name, because Host belongs to HTTP itself or to a sign-in, at Caddyfile:4`},
		{"identity: Authorization", site("identity {\nX-User a\nauthorization {http.auth.user.id}\n}"),
			`identity: header "authorization": use another name, because Authorization belongs to HTTP itself or to a sign-in, at Caddyfile:5`},
		{"identity: Cookie", site("identity {\nCookie {http.auth.user.id}\n}"),
			`identity: header "Cookie": use another name, because Cookie belongs to HTTP itself or to a sign-in, at Caddyfile:4`},
		{"identity: Connection", site("identity {\nConnection {http.auth.user.id}\n}"),
			`identity: header "Connection": use another name, because Connection belongs to HTTP itself or to a sign-in, at Caddyfile:4`},
		{"identity: Transfer-Encoding in another spelling", site("identity {\nTransfer_Encoding chunked\n}"),
			`identity: header "Transfer_Encoding": use another name, because Transfer-Encoding belongs to HTTP itself or to a sign-in, at Caddyfile:4`},
		{"identity: a name that is none", site("identity {\nX-User: {http.auth.user.id}\n}"),
			"identity: header \"X-User:\": a name has one or more letters, digits and !#$%&'+-.^_`|~, at Caddyfile:4"},
		{"identity: a star", site("identity {\nX-User-* {http.auth.user.id}\n}"),
			`identity: header "X-User-*": write the whole name, without '*', at Caddyfile:4`},
		{"identity: a header twice", site("identity {\nX-User {http.auth.user.id}\nX-User {http.auth.user.name}\n}"),
			"identity: X-User is written twice; write it once, at Caddyfile:5"},
		{"identity: a header in two spellings", site("identity {\nX-User {http.auth.user.id}\nX_User {http.auth.user.id}\n}"),
			"identity: X-User and X_User are one header to many servers; name it once, at Caddyfile:5"},
		{"identity: a header in two cases", site("identity {\nX-User {http.auth.user.id}\nx-user {http.auth.user.id}\n}"),
			"identity: X-User and x-user are one header to many servers; name it once, at Caddyfile:5"},
		{"identity twice", site("identity {\nX-User a\n}\nidentity {\nX-Name b\n}"), "identity is written twice; write it once, at Caddyfile:6"},

		{"strip with nothing", site("strip"), "strip takes at least one value; write `strip <header>…`, at Caddyfile:3"},
		{"strip everything", site("strip *"),
			`strip: header "*": only one '*' is allowed, behind the beginning of a name, as in X-Example-*, at Caddyfile:3`},
		{"strip with a star in the middle", site("strip X-A X-*-Y"),
			`strip: header "X-*-Y": only one '*' is allowed, behind the beginning of a name, as in X-Example-*, at Caddyfile:3`},
		{"strip what takes Authorization too", site("strip Auth*"),
			`strip: header "Auth*": use a longer beginning, because this one takes Authorization too, at Caddyfile:3`},
		{"strip Cookie", site("strip X-A\nstrip cookie"),
			`strip: header "cookie": use another name, because Cookie belongs to HTTP itself or to a sign-in, at Caddyfile:4`},
		{"strip what is no name", site(`strip "X A"`),
			"strip: header \"X A\": a name has one or more letters, digits and !#$%&'+-.^_`|~, at Caddyfile:3"},

		{"keep_cookies with nothing", site("keep_cookies"), "keep_cookies takes at least one value; write `keep_cookies <cookie>…`, at Caddyfile:3"},
		{"keep_cookies with a value", site("keep_cookies locale=en"),
			"keep_cookies: cookie \"locale=en\": a name has one or more letters, digits and !#$%&'+-.^_`|~, and may have one '*' at its end for any ending, at Caddyfile:3"},
		{"keep_cookies with a list", site("keep_cookies locale;theme"),
			"keep_cookies: cookie \"locale;theme\": a name has one or more letters, digits and !#$%&'+-.^_`|~, and may have one '*' at its end for any ending, at Caddyfile:3"},
		{"open_streams with another word", site("open_streams on"), `open_streams: "on" is not known; allowed: close, leave, at Caddyfile:3`},
		{"open_streams with no word", site("open_streams"), "open_streams takes one value; write `open_streams close|leave`, at Caddyfile:3"},
		{"open_streams twice", site("open_streams close\nopen_streams leave"), "open_streams is written twice; write it once, at Caddyfile:4"},
		{"script_access with another word", site("script_access true"), `script_access: "true" is not known; allowed: on, off, at Caddyfile:3`},
		{"script_access with no word", site("script_access"), "script_access takes one value; write `script_access on|off`, at Caddyfile:3"},
		{"script_access twice", site("script_access on\nscript_access off"), "script_access is written twice; write it once, at Caddyfile:4"},
		{"keep_cookies twice", site("keep_cookies a\nkeep_cookies b"), "keep_cookies is written twice; write it once, at Caddyfile:4"},

		{"api without a slash", site("api v4/tokens"), `api: "v4/tokens" ` + apiAllows + `, at Caddyfile:3`},
		{"api with a slash at its end", site("api /v4/tokens/"), `api: "/v4/tokens/" ` + apiAllows + `, at Caddyfile:3`},
		{"api everywhere", site("api /"), `api: "/" ` + apiAllows + `, at Caddyfile:3`},
		{"api with dots", site("api /v4/../tokens"), `api: "/v4/../tokens" ` + apiAllows + `, at Caddyfile:3`},
		{"page with no path", site("page"), "page takes one value; write `page <path>|off`, at Caddyfile:3"},
		{"page neither off nor a path", site("page on"), `page: "on" is not off, and as a path ` + apiAllows + `, at Caddyfile:3`},
		{"page everywhere", site("page /"), `page: "/" is not off, and as a path ` + apiAllows + `, at Caddyfile:3`},
		{"page twice", site("page /a\npage off"), "page is written twice; write it once, at Caddyfile:4"},
		{"api as a matcher", site("api /v4/tokens*"), `api: "/v4/tokens*" ` + apiAllows + `, at Caddyfile:3`},
		{"api twice", site("api /a\napi /b"), "api is written twice; write it once, at Caddyfile:4"},

		{"the global option twice", "{\naccess_tokens {\nstore badger\n}\naccess_tokens {\nretain expired 1d\n}\n}\n",
			"access_tokens is written twice among the global options; write it once, at Caddyfile:5"},
		{"the global option with arguments", "{\naccess_tokens /var/lib/tokens\n}\n",
			"the global option access_tokens takes no arguments; write its options into its block, at Caddyfile:2"},
		{"an unknown global option", globally("path /var/lib/tokens"),
			`unrecognized option "path"; allowed: ` + globalOptionNames + `, at Caddyfile:3`},
		{"a site's option among the global ones", globally("store badger\nadmins alice"),
			"admins belongs to a site; write it in the block `access_tokens` of that site, at Caddyfile:4"},
		{"store without a kind", globally("store"),
			"store takes a kind, and at most a directory; write `store badger`, or `store badger <directory>`, at Caddyfile:3"},
		{"store with an unknown kind", globally("store sqlite /var/lib/tokens"), `"sqlite" is no kind of store; allowed: badger, at Caddyfile:3`},
		{"store with a directory but no kind", globally("store /var/lib/tokens"), `"/var/lib/tokens" is no kind of store; allowed: badger, at Caddyfile:3`},
		{"store with two directories", globally("store badger /a /b"),
			"store takes a kind, and at most a directory; write `store badger`, or `store badger <directory>`, at Caddyfile:3"},
		{"store with a block", globally("store badger {\npath /a\n}"), "store takes no block, at Caddyfile:4"},
		{"store twice", globally("store badger /a\nstore badger /b"), "store is written twice; write it once, at Caddyfile:4"},
		{"hash_key with nothing", globally("hash_key"),
			"hash_key takes one value; write `hash_key <text of at least 32 characters, best as a placeholder such as {file./etc/caddy/tokens.key}>`, at Caddyfile:3"},
		{"hash_key too short", globally("hash_key correct-horse"),
			"hash_key: a hash key has at least 32 characters; `openssl rand -hex 32` makes one, at Caddyfile:3"},
		{"audit with nothing", globally("audit"), auditUsage},
		{"audit without its kind", globally("audit /var/log/caddy/access-tokens.jsonl"), auditUsage},
		{"audit of another kind", globally("audit syslog local0"), auditUsage},
		{"audit with an empty path", globally(`audit file ""`), auditUsage},
		{"audit with two paths", globally("audit file /a /b"), auditUsage},
		{"audit with a block", globally("audit file /a {\nsync\n}"), "audit takes no block, at Caddyfile:4"},
		{"audit twice", globally("audit file /a\naudit file /b"), "audit is written twice; write it once, at Caddyfile:4"},
		{"backup with nothing", globally("backup"), "backup takes one value; write `backup <directory>`, at Caddyfile:3"},
		{"backup to two directories", globally("backup /a /b"), "backup takes one value; write `backup <directory>`, at Caddyfile:3"},
		{"backup twice", globally("backup /a\nbackup /b"), "backup is written twice; write it once, at Caddyfile:4"},
		{"backup with something else", globally("backup /a {\nat 3\n}"), `unrecognized option "at"; allowed: every, keep, recipients, at Caddyfile:4`},
		{"backup every so often", globally("backup /a {\nevery often\n}"), `backup, every: "often" is no duration; write one such as 1d or 12h, at Caddyfile:4`},
		{"backup all the time", globally("backup /a {\nevery 1ms\n}"), `backup, every: 1ms is too short; give a duration of at least one second, such as 1d, at Caddyfile:4`},
		{"backup that keeps none", globally("backup /a {\nkeep 0\n}"), `backup, keep: 0 is too few; give a number from 1 on, such as 14, at Caddyfile:4`},
		{"backup that keeps all", globally("backup /a {\nkeep all\n}"), `backup, keep: "all" is no number of backups; write one such as 14, at Caddyfile:4`},
		{"backup for nobody", globally("backup /a {\nrecipients\n}"), "recipients takes at least one value; write `recipients <age public key>…`, at Caddyfile:4"},
		{"backup for somebody else", globally("backup /a {\nrecipients bob\n}"), "backup, recipients: recipient 1 is no public key of age; write one such as `age-keygen` prints, which begins with age1, at Caddyfile:4"},
		{"hash_key twice", globally("hash_key {env.A}\nhash_key {env.B}"), "hash_key is written twice; write it once, at Caddyfile:4"},
		{"hash_key with two keys", globally("hash_key {env.NEW} {env.OLD}"),
			"hash_key takes one value; write `hash_key <text of at least 32 characters, best as a placeholder such as {file./etc/caddy/tokens.key}>`, at Caddyfile:3"},
		{"hash_key with an unknown option", globally("hash_key {env.NEW} {\nformer {env.OLD}\n}"),
			`unrecognized option "former"; allowed: previous, at Caddyfile:4`},
		{"hash_key with a previous one but no new one", globally("hash_key {\nprevious {env.OLD}\n}"),
			"hash_key takes one value; write `hash_key <text of at least 32 characters, best as a placeholder such as {file./etc/caddy/tokens.key}>`, at Caddyfile:3"},
		{"previous with nothing", globally("hash_key {env.NEW} {\nprevious\n}"),
			"previous takes at least one value; write `previous <text of a former key>…`, at Caddyfile:4"},
		{"previous with a block", globally("hash_key {env.NEW} {\nprevious {env.OLD} {\nretain 1d\n}\n}"), "previous takes no block, at Caddyfile:5"},
		{"previous too short", globally("hash_key {env.NEW} {\nprevious {env.OLD}\nprevious {env.OLDER} correct-horse\n}"),
			"hash_key, previous: a hash key has at least 32 characters; `openssl rand -hex 32` makes one, at Caddyfile:5"},
		{"previous of nothing", globally("hash_key {env.NEW} {\nprevious \"\"\n}"),
			"hash_key, previous: a hash key has at least 32 characters; `openssl rand -hex 32` makes one, at Caddyfile:4"},
		{"previous is the new one", globally("hash_key {env.NEW} {\nprevious {env.OLD} {env.NEW}\n}"),
			"hash_key, previous: the same key is given twice; give each key once, at Caddyfile:4"},
		{"previous the same twice", globally("hash_key {env.NEW} {\nprevious {env.OLD}\nprevious {env.OLDER}\nprevious {env.OLD}\n}"),
			"hash_key, previous: the same key is given twice; give each key once, at Caddyfile:6"},
		{"previous outside of its block", globally("hash_key {env.NEW}\nprevious {env.OLD}"),
			`unrecognized option "previous"; allowed: ` + globalOptionNames + `, at Caddyfile:4`},
		{"retain with nothing", globally("retain"),
			"retain takes two values; write `retain expired <duration>` or `retain deleted <duration>`, with a duration such as 30d, at Caddyfile:3"},
		{"retain without what", globally("retain 30d"),
			"retain takes two values; write `retain expired <duration>` or `retain deleted <duration>`, with a duration such as 30d, at Caddyfile:3"},
		{"retain something else", globally("retain revoked 30d"), `retain: "revoked" is not known; allowed: expired, deleted, at Caddyfile:3`},
		{"retain for no duration", globally("retain expired forever"),
			`retain expired: "forever" is no duration; write one such as 30d or 12h, at Caddyfile:3`},
		{"retain too short", globally("retain deleted 10ms"),
			"retain deleted: 10ms is too short; give a duration of at least one second, such as 30d, at Caddyfile:3"},
		{"retain for nothing", globally("retain deleted 0s"),
			"retain deleted: 0s is too short; give a duration of at least one second, such as 30d, at Caddyfile:3"},
		{"retain the same twice", globally("retain deleted 90d\nretain expired 30d\nretain deleted 30d"),
			"retain deleted is written twice; write it once, at Caddyfile:5"},

		{"the matcher with arguments", "http://:8080 {\n@script access_token cat\nrespond @script ok\n}\n",
			"the access_token matcher takes no arguments, at Caddyfile:2"},
		{"the matcher with arguments, among others", "http://:8080 {\n@script {\npath /v4/*\naccess_token *\n}\nrespond @script ok\n}\n",
			"the access_token matcher takes no arguments, at Caddyfile:4"},
		{"the matcher with a block", "http://:8080 {\n@script access_token {\nprefix cat\n}\nrespond @script ok\n}\n",
			"the access_token matcher takes no block, at Caddyfile:3"},
		{"the other matcher with arguments", "http://:8080 {\n@ready access_tokens_ready store\nrespond @ready ok\n}\n",
			"the access_tokens_ready matcher takes no arguments, at Caddyfile:2"},
		{"the other matcher with a block", "http://:8080 {\n@ready access_tokens_ready {\nstore\n}\nrespond @ready ok\n}\n",
			"the access_tokens_ready matcher takes no block, at Caddyfile:3"},
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

const apiAllows = "must begin with / and name at least one segment, like /v4/apiAccessTokens, without a / at its end, empty segments, " +
	". or .. as a segment, or other characters than A-Z a-z 0-9 - . _ ~"

// Each option that stands in the wrong one of the two blocks called access_tokens
// is sent to the other.
func TestOptionInTheOtherBlock(t *testing.T) {
	const atTheTop = " belongs to all sites together; write it in the global options block `access_tokens`, at the top of the Caddyfile, at Caddyfile:4"
	const inASite = " belongs to a site; write it in the block `access_tokens` of that site, at Caddyfile:4"
	for name := range strings.SplitSeq(globalOptionNames, ", ") {
		_, _, err := adapt(t, site("admins alice\n"+name+" something"))
		if err == nil || !strings.HasSuffix(err.Error(), name+atTheTop) {
			t.Errorf("%s in a site: %v", name, err)
		}
	}
	for name := range strings.SplitSeq(siteOptionNames, ", ") {
		_, _, err := adapt(t, globally("store badger\n"+name+" something"))
		if err == nil || !strings.HasSuffix(err.Error(), name+inASite) {
			t.Errorf("%s among the global options: %v", name, err)
		}
	}
}

// What is wrong only once the configuration is put together: the message names
// project and option.
func TestUnusableCaddyfile(t *testing.T) {
	const placeholdersAllowed = "; allowed: {env.NAME}, {file./path} and others that have a value before any request"
	t.Setenv("EMPTY", "")
	t.Setenv("SPACE", " alice")
	t.Setenv("SHORT", "too short")
	t.Setenv("LONG", strings.Repeat("l", 32))
	t.Setenv("LONGER", strings.Repeat("l", 33))
	t.Setenv("SPACES", " \n")
	t.Setenv("COLON", "team:bob")
	t.Setenv("PASSWORD", "secret")
	t.Setenv("ALICE", "alice")
	t.Setenv("TERABYTES", strings.Replace(argon2idOfSomething, "m=47104", "m=4000000000", 1))
	two := func(first, second string) string {
		return site("project shared\n"+first+aliceSignsIn) + strings.Replace(site("project shared\n"+second+aliceSignsIn), ":8080", ":8081", 1)
	}
	for _, test := range []struct{ name, caddyfile, want string }{
		{"no block", "http://:8080 {\naccess_tokens\n}\n",
			"access_tokens, project \"default\": nobody can sign in, so that nobody could ever make a token: add a sign-in, for example a block `sign_in basic` with a line `<user> <hash from caddy hash-password>` for each user"},
		{"no sign_in", site("project dataprep\nadmins alice"),
			"access_tokens, project \"dataprep\": nobody can sign in, so that nobody could ever make a token: add a sign-in, for example a block `sign_in basic` with a line `<user> <hash from caddy hash-password>` for each user"},
		{"nobody is an administrator", site(aliceSignsIn),
			"access_tokens, project \"default\": nobody who can sign in may make tokens: name one of them under `admins`, or allow others by `allow_generate everyone` or `allow_generate users <id>…`"},
		{"administrators who can't sign in", site("admins bob Alice" + aliceSignsIn),
			"access_tokens, project \"default\": nobody who can sign in may make tokens: name one of them under `admins`, or allow others by `allow_generate everyone` or `allow_generate users <id>…`"},
		{"users who can't sign in", site("allow_generate users bob" + aliceSignsIn),
			"access_tokens, project \"default\": nobody who can sign in may make tokens: name one of them under `admins`, or allow others by `allow_generate everyone` or `allow_generate users <id>…`"},
		{"a module that is no sign-in", site("admins alice\nsign_in impostor"),
			`access_tokens, project "default": sign_in: *caddymodule.impostor is no signin.SignIn`},

		{"admins: an empty variable", site("project dataprep\nadmins {env.EMPTY}" + aliceSignsIn),
			`access_tokens, project "dataprep": admins: evaluated placeholder {env.EMPTY} is empty` + placeholdersAllowed},
		{"admins: a variable that isn't set", site("admins alice {env.NOT_SET_ANYWHERE}" + aliceSignsIn),
			`access_tokens, project "default": admins: evaluated placeholder {env.NOT_SET_ANYWHERE} is empty` + placeholdersAllowed},
		{"admins: what a client sends", site("admins {http.request.header.X-User}" + aliceSignsIn),
			`access_tokens, project "default": admins: unrecognized placeholder {http.request.header.X-User}` + placeholdersAllowed},
		{"admins: an id with spaces after all", site("admins {env.SPACE}" + aliceSignsIn),
			`access_tokens, project "default": admins: a user id begins or ends with white space`},
		{"allow_generate: an empty variable", site("allow_generate users {env.EMPTY}" + aliceSignsIn),
			`access_tokens, project "default": allow_generate users: evaluated placeholder {env.EMPTY} is empty` + placeholdersAllowed},
		{"sign_in basic: an empty user", site("admins alice\nsign_in basic {\n{env.EMPTY} " + bcryptOfSomething + "\n}"),
			inBasic + `user {env.EMPTY}: evaluated placeholder {env.EMPTY} is empty` + placeholdersAllowed},
		{"sign_in basic: a user with a colon after all", site("admins alice\nsign_in basic {\n{env.COLON} " + bcryptOfSomething + "\n}"),
			inBasic + `user "team:bob": HTTP Basic allows no colon in a user name`},
		{"sign_in basic: a user twice after all", site("admins alice\nsign_in basic {\nalice " + bcryptOfSomething + "\n{env.ALICE} " + bcryptOfSomething + "\n}"),
			inBasic + `"alice" is listed twice`},
		{"sign_in basic: an empty hash", site("admins alice\nsign_in basic {\nalice {env.EMPTY}\n}"),
			inBasic + `hash of "alice": evaluated placeholder {env.EMPTY} is empty` + placeholdersAllowed},
		{"sign_in basic: a hash file that doesn't exist", site("admins alice\nsign_in basic {\nalice {file./nowhere/hash}\n}"),
			inBasic + `hash of "alice": evaluated placeholder {file./nowhere/hash} is empty` + placeholdersAllowed},
		{"sign_in basic: no hash after all", site("admins alice\nsign_in basic {\nalice {env.PASSWORD}\n}"),
			inBasic + "hash of \"alice\": this is neither a bcrypt hash ($2a$…) nor an argon2id hash ($argon2id$…); `caddy hash-password` makes one"},

		{"sign_in basic: a hash that takes 4 TB after all", site("admins alice\nsign_in basic {\nalice {env.TERABYTES}\n}"),
			inBasic + "hash of \"alice\": argon2id m=4000000000 is out of range; allowed: 1 to 2097152; `caddy hash-password` makes a hash of a useful cost"},

		{"store: an empty variable", globally("store badger {env.EMPTY}"),
			`access_tokens: store: evaluated placeholder {env.EMPTY} is empty` + placeholdersAllowed},
		{"hash_key: an empty variable", globally("hash_key {env.EMPTY}"),
			`access_tokens: hash_key: evaluated placeholder {env.EMPTY} is empty` + placeholdersAllowed},
		{"hash_key: a file that doesn't exist", globally("hash_key {file./nowhere/tokens.key}"),
			`access_tokens: hash_key: evaluated placeholder {file./nowhere/tokens.key} is empty` + placeholdersAllowed},
		{"audit file: an empty variable", globally("audit file {env.EMPTY}"),
			`access_tokens: audit file: evaluated placeholder {env.EMPTY} is empty` + placeholdersAllowed},
		{"backup: an empty variable", globally("backup {env.EMPTY}"),
			`access_tokens: backup: evaluated placeholder {env.EMPTY} is empty` + placeholdersAllowed},
		{"backup: no recipient after all", globally("backup /a {\nrecipients {env.SHORT}\n}"),
			"access_tokens: backup: recipients: recipient 1 is no public key of age; write one such as `age-keygen` prints, which begins with age1"},
		{"hash_key: too short after all", globally("hash_key {env.SHORT}"),
			"access_tokens: hash_key: a hash key has at least 32 characters; `openssl rand -hex 32` makes one"},

		{"previous: an empty variable", globally("hash_key {env.LONG} {\nprevious {env.LONGER} {env.EMPTY}\n}"),
			`access_tokens: hash_key, previous key 2: evaluated placeholder {env.EMPTY} is empty` + placeholdersAllowed},
		{"previous: a file that doesn't exist", globally("hash_key {env.LONG} {\nprevious {file./nowhere/tokens.key}\n}"),
			`access_tokens: hash_key, previous key 1: evaluated placeholder {file./nowhere/tokens.key} is empty` + placeholdersAllowed},
		{"previous: too short after all", globally("hash_key {env.LONG} {\nprevious {env.SHORT}\n}"),
			"access_tokens: hash_key, previous key 1: a hash key has at least 32 characters; `openssl rand -hex 32` makes one"},
		{"previous: the new one after all", globally("hash_key {env.LONG} {\nprevious {env.LONGER} " + strings.Repeat("l", 32) + "\n}"),
			"access_tokens: hash_key, previous key 2: the same key is given twice; give each key once"},
		{"previous: the same twice after all", globally("hash_key {env.LONG} {\nprevious {env.LONGER} {env.LONGER}{env.SPACES}\n}"),
			"access_tokens: hash_key, previous key 2: the same key is given twice; give each key once"},

		{"two sites: other administrators", two("admins alice", "admins alice bob"),
			`access_tokens, project "shared": two directives of this project differ in admins: write the same in both, or give each site its own project`},
		{"two sites: another api_access", two("admins alice", "admins alice\napi_access off"),
			`access_tokens, project "shared": two directives of this project differ in api_access: write the same in both, or give each site its own project`},
		{"two sites: another allow_generate", two("admins alice\nallow_generate users bob", "admins alice\nallow_generate users bob carol"),
			`access_tokens, project "shared": two directives of this project differ in allow_generate: write the same in both, or give each site its own project`},
		{"two sites: another max_lifetime, and more", two("admins alice", "admins alice\nallow_generate everyone\nmax_lifetime unlimited"),
			`access_tokens, project "shared": two directives of this project differ in allow_generate and max_lifetime: write the same in both, or give each site its own project`},
		{"two sites: another max_tokens_per_user", two("admins alice\nmax_tokens_per_user 10", "admins alice\nmax_tokens_per_user 20"),
			`access_tokens, project "shared": two directives of this project differ in max_tokens_per_user: write the same in both, or give each site its own project`},
		{"two sites: max_tokens_per_user in one", two("admins alice", "admins alice\nmax_tokens_per_user 20"),
			`access_tokens, project "shared": two directives of this project differ in max_tokens_per_user: write the same in both, or give each site its own project`},
		{"one site, two places", "http://:8080 {\nhandle /a {\naccess_tokens {\nadmins alice" + aliceSignsIn + "\n}\n}\nhandle /b {\naccess_tokens {\nadmins alice\napi_access off" + aliceSignsIn + "\n}\n}\n}\n",
			`access_tokens, project "default": two directives of this project differ in api_access: write the same in both, or give each site its own project`},
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

const inBasic = `access_tokens, project "default": position 0: loading module 'basic': provision access_tokens.sign_in.basic: sign_in basic: `

// ownPart drops what Caddy puts before the message of a module.
func ownPart(err error) string {
	text := err.Error()
	for _, module := range []string{"provision access_tokens: ", "provision http.handlers.access_tokens: "} {
		if at := strings.LastIndex(text, module); at >= 0 {
			return text[at+len(module):]
		}
	}
	return text
}

// Sites of one project can say the same in other words.
func TestSamePolicyInOtherWords(t *testing.T) {
	adapted, _, err := adapt(t, site("admins alice bob\nallow_generate users carol dora\nmax_lifetime 365d\nmax_tokens_per_user 10"+aliceSignsIn)+
		strings.Replace(site("admins bob alice\nallow_generate users dora carol\nmax_lifetime 8760h\nmax_tokens_per_user 010\nprefix other"+aliceSignsIn), ":8080", ":8081", 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, adapted); err != nil {
		t.Error(err)
	}
}

// A setting that is fixed in one site and left to administrators in the other
// would be both.
func TestFixedInOneSiteOnly(t *testing.T) {
	adapted, _, err := adapt(t, site("admins alice"+aliceSignsIn)+
		strings.Replace(site("admins alice\napi_access on\nmax_lifetime 365d"+aliceSignsIn), ":8080", ":8081", 1))
	if err != nil {
		t.Fatal(err)
	}
	want := `access_tokens, project "default": two directives of this project differ in api_access and max_lifetime: write the same in both, or give each site its own project`
	if err := validate(t, adapted); err == nil || ownPart(err) != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}
