package config

import (
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
)

func TestDefaults(t *testing.T) {
	site := Site{
		Project: "default", Prefix: "cat", API: "/v4/apiAccessTokens", Page: "/access-tokens",
		SignInLimit:  &SignInLimit{Failures: 10, Window: caddy.Duration(time.Minute)},
		WithoutToken: "reject", ForeignToken: "reject",
		Identity: map[string]string{
			"Remote-User":  "{http.auth.user.id}",
			"Remote-Email": "{http.auth.user.email}",
			"Remote-Name":  "{http.auth.user.name}",
		},
		IdentityEncoding: "utf-8", OpenStreams: "close",
	}
	if diff := cmp.Diff(site, Site{}.Complete()); diff != "" {
		t.Errorf("site (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(site, site.Complete()); diff != "" {
		t.Errorf("complete site, completed (-want +got):\n%s", diff)
	}
	if err := site.Check(); err != nil {
		t.Error(err)
	}
	app := App{
		Store:  Store{Type: "badger"},
		Retain: Retain{Expired: caddy.Duration(30 * 24 * time.Hour), Deleted: caddy.Duration(90 * 24 * time.Hour)},
	}
	if diff := cmp.Diff(app, App{}.Complete()); diff != "" {
		t.Errorf("app (-want +got):\n%s", diff)
	}
	if err := app.Check(); err != nil {
		t.Error(err)
	}
}

func TestDefaultsReplaceNothing(t *testing.T) {
	on, days, tokens := true, 7, 1000
	site := Site{
		Project: "p", Prefix: "pp", Admins: []string{"a"}, APIAccess: &on, AllowGenerate: &AllowGenerate{Who: Everyone},
		MaxLifetimeDays: &days, MaxTokensPerUser: &tokens, Identity: map[string]string{"X-User": "x"}, IdentityEncoding: Percent, Strip: []string{"X-Y"}, KeepCookies: []string{"c"}, OpenStreams: Leave, API: "/tokens", Page: "off",
		SignInLimit: &SignInLimit{1, caddy.Duration(time.Hour)}, WithoutToken: Pass, ForeignToken: Pass,
	}
	if diff := cmp.Diff(site, site.Complete()); diff != "" {
		t.Errorf("site (-want +got):\n%s", diff)
	}
	app := App{Store: Store{Type: "badger", Path: "/var"}, HashKey: "k", PreviousHashKeys: []string{"j"}, Retain: Retain{Expired: 1e9, Deleted: 2e9}}
	if diff := cmp.Diff(app, app.Complete()); diff != "" {
		t.Errorf("app (-want +got):\n%s", diff)
	}
}

// What JSON can say and the Caddyfile's parser would have refused.
func TestWrongSites(t *testing.T) {
	number := func(n int) *int { return &n }
	for name, test := range map[string]struct {
		change func(*Site)
		want   string
	}{
		"project": {func(s *Site) { s.Project = "a/b" },
			`project: "a/b" is no name; allowed: 1 to 64 letters, digits, '.', '_' and '-'`},
		"project with a line break": {func(s *Site) { s.Project = "a\n" },
			`project: "a\n" is no name; allowed: 1 to 64 letters, digits, '.', '_' and '-'`},
		"prefix": {func(s *Site) { s.Prefix = "Cat" },
			`prefix: "Cat" can't begin a token; allowed: 2 to 12 characters of a-z and 0-9`},
		"admins": {func(s *Site) { s.Admins = []string{"alice", ""} },
			"admins: a user id is empty; allowed: 1 to 256 characters"},
		"admins of invalid UTF-8": {func(s *Site) { s.Admins = []string{"\xff"} },
			"admins: a user id is no valid UTF-8"},
		"allow_generate": {func(s *Site) { s.AllowGenerate = &AllowGenerate{} },
			`allow_generate: "" is not known; allowed: admins, everyone, or users followed by user ids`},
		"allow_generate with users for nothing": {func(s *Site) { s.AllowGenerate = &AllowGenerate{Admins, []string{"bob"}} },
			"allow_generate admins takes no user ids; write `allow_generate users <id>…`"},
		"max_lifetime of nothing": {func(s *Site) { s.MaxLifetimeDays = number(0) },
			"max_lifetime: 0 days is out of range; allowed: 1d to 36525d, or unlimited"},
		"max_lifetime below unlimited": {func(s *Site) { s.MaxLifetimeDays = number(-2) },
			"max_lifetime: -2 days is out of range; allowed: 1d to 36525d, or unlimited"},
		"max_lifetime too long": {func(s *Site) { s.MaxLifetimeDays = number(36526) },
			"max_lifetime: 36526 days is out of range; allowed: 1d to 36525d, or unlimited"},
		"max_tokens_per_user of none": {func(s *Site) { s.MaxTokensPerUser = number(0) },
			"max_tokens_per_user: 0 tokens is out of range; allowed: 1 to 1000000, and without the option as many as users make"},
		"max_tokens_per_user as max_lifetime has it": {func(s *Site) { s.MaxTokensPerUser = number(-1) },
			"max_tokens_per_user: -1 tokens is out of range; allowed: 1 to 1000000, and without the option as many as users make"},
		"max_tokens_per_user of too many": {func(s *Site) { s.MaxTokensPerUser = number(1_000_001) },
			"max_tokens_per_user: 1000001 tokens is out of range; allowed: 1 to 1000000, and without the option as many as users make"},
		"identity": {func(s *Site) { s.Identity = map[string]string{"Proxy-Authorization": "x"} },
			`identity: header "Proxy-Authorization": use another name, because Proxy-Authorization belongs to HTTP itself or to a sign-in`},
		"identity without a name": {func(s *Site) { s.Identity = map[string]string{"": "x"} },
			"identity: header \"\": a name has one or more letters, digits and !#$%&'+-.^_`|~"},
		"identity in two spellings": {func(s *Site) { s.Identity = map[string]string{"x.user": "a", "X-User": "b"} },
			"identity: X-User and x.user are one header to many servers; name it once"},
		"strip": {func(s *Site) { s.Strip = []string{"X-A", "Cook*"} },
			`strip: header "Cook*": use a longer beginning, because this one takes Cookie too`},
		"keep_cookies": {func(s *Site) { s.KeepCookies = []string{"a", "b c"} },
			"keep_cookies: cookie \"b c\": a name has one or more letters, digits and !#$%&'+-.^_`|~, and may have one '*' at its end for any ending"},
		"token_from a header that HTTP needs": {func(s *Site) { s.TokenFrom = &TokenFrom{Headers: []string{"X-API-Key", "Host"}} },
			`token_from: header "Host": use another name, because Host belongs to HTTP itself or to a sign-in`},
		"token_from a header with another meaning": {func(s *Site) { s.TokenFrom = &TokenFrom{Headers: []string{"x-forwarded-key"}} },
			`token_from: header "x-forwarded-key": use a header that is for credentials alone, such as X-API-Key; X-Forwarded-* has another meaning`},
		"token_from one header twice": {func(s *Site) { s.TokenFrom = &TokenFrom{Headers: []string{"X-API-Key", "x-api-key"}} },
			`token_from: header "x-api-key": name it once`},
		"token_from a header in a spelling that Caddy drops": {func(s *Site) { s.TokenFrom = &TokenFrom{Headers: []string{"x_api.key"}} },
			`token_from: header "x_api.key": write '-' for what is no letter or digit, as X-API-KEY: servers behind take one for the other, and Caddy drops a header with '_' or '.' in its name`},
		"token_from an identity header": {func(s *Site) {
			s.Identity = map[string]string{"X-User": "{http.auth.user.id}"}
			s.TokenFrom = &TokenFrom{Headers: []string{"x-user"}}
		}, `token_from: header "x-user": no client may send it, because it is removed under identity or strip; use another name`},
		"token_from a header that is stripped": {func(s *Site) {
			s.Strip = []string{"X-API-*"}
			s.TokenFrom = &TokenFrom{Headers: []string{"X-API-Key"}}
		}, `token_from: header "X-API-Key": no client may send it, because it is removed under identity or strip; use another name`},
		"token_from a header that is stripped by default": {func(s *Site) {
			s.Identity = map[string]string{"X-User": "{http.auth.user.id}"}
			s.TokenFrom = &TokenFrom{Headers: []string{"Remote-User"}}
		}, `token_from: header "Remote-User": no client may send it, because it is removed under identity or strip; use another name`},
		"keep_authorization beside no header": {func(s *Site) { s.KeepAuthorization, s.TokenFrom = true, &TokenFrom{Basic: true} },
			"keep_authorization: Authorization can be kept beside a token from a header alone, and there is none; add `token_from header <name>`"},
		"sign_in_limit of nothing": {func(s *Site) { s.SignInLimit.Failures = 0 },
			"sign_in_limit: 0 failures is out of range; allowed: 1 to 1000000"},
		"sign_in_limit below nothing": {func(s *Site) { s.SignInLimit.Failures = -1 },
			"sign_in_limit: -1 failures is out of range; allowed: 1 to 1000000"},
		"sign_in_limit of too many": {func(s *Site) { s.SignInLimit.Failures = 1_000_001 },
			"sign_in_limit: 1000001 failures is out of range; allowed: 1 to 1000000"},
		"sign_in_limit in no time": {func(s *Site) { s.SignInLimit.Window = 0 },
			"sign_in_limit: 0s is out of range; allowed: 1s to 24h"},
		"sign_in_limit in less than a second": {func(s *Site) { s.SignInLimit.Window = caddy.Duration(time.Second) - 1 },
			"sign_in_limit: 999.999999ms is out of range; allowed: 1s to 24h"},
		"sign_in_limit in more than a day": {func(s *Site) { s.SignInLimit.Window = caddy.Duration(24*time.Hour) + 1 },
			"sign_in_limit: 24h0m0.000000001s is out of range; allowed: 1s to 24h"},
		"without_token": {func(s *Site) { s.WithoutToken = "Pass" },
			`without_token: "Pass" is not known; allowed: reject, pass`},
		"foreign_token": {func(s *Site) { s.ForeignToken = "true" },
			`foreign_token: "true" is not known; allowed: reject, pass`},
		"api": {func(s *Site) { s.API = "/a//b" },
			`api: "/a//b" must begin with / and name at least one segment, like /v4/apiAccessTokens, without a / at its end, empty segments, . or .. as a segment, or other characters than A-Z a-z 0-9 - . _ ~`},
		"page": {func(s *Site) { s.Page = "tokens" },
			`page: "tokens" is not off, and as a path must begin with / and name at least one segment, like /v4/apiAccessTokens, without a / at its end, empty segments, . or .. as a segment, or other characters than A-Z a-z 0-9 - . _ ~`},
		"page at the routes": {func(s *Site) { s.Page = s.API },
			`page: "/v4/apiAccessTokens" and api "/v4/apiAccessTokens" overlap; choose two paths of which neither is below the other, upper and lower case aside, or write ` + "`page off`"},
		"page below the routes": {func(s *Site) { s.Page = "/V4/apiaccesstokens/page" },
			`page: "/V4/apiaccesstokens/page" and api "/v4/apiAccessTokens" overlap; choose two paths of which neither is below the other, upper and lower case aside, or write ` + "`page off`"},
		"page above the routes": {func(s *Site) { s.Page = "/v4" },
			`page: "/v4" and api "/v4/apiAccessTokens" overlap; choose two paths of which neither is below the other, upper and lower case aside, or write ` + "`page off`"},
	} {
		t.Run(name, func(t *testing.T) {
			site := Site{}.Complete()
			test.change(&site)
			err := site.Check()
			if err == nil {
				t.Fatal("there is no error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWrongApps(t *testing.T) {
	for name, test := range map[string]struct {
		app  App
		want string
	}{
		"store": {App{Store: Store{Type: "etcd"}}, `store: "etcd" is no kind of store; allowed: badger`},
		"previous keys alone": {App{PreviousHashKeys: []string{"{env.OLD}"}},
			"previous_hash_keys: hash_key isn't given; give the key for new tokens too, as {file.<path of the store>/hash.key} if the store has made it"},
		"retain expired":   {App{Retain: Retain{Expired: -1}}, "retain expired: -1ns is too short; give a duration of at least one second, such as 30d"},
		"backup nowhere":   {App{Backup: Backup{Keep: 3}}, "backup: dir isn't given; give the directory that backups go to"},
		"backup all along": {App{Backup: Backup{Dir: "b", Every: 1}}, "backup: every: 1ns is too short; give a duration of at least one second, such as 1d"},
		"backup of none":   {App{Backup: Backup{Dir: "b", Keep: -1}}, "backup: keep: -1 is too few; give a number from 1 on, such as 14"},
		"retain deleted":   {App{Retain: Retain{Deleted: 1}}, "retain deleted: 1ns is too short; give a duration of at least one second, such as 30d"},
	} {
		err := test.app.Complete().Check()
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

func TestLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("é", n) }
	for name, err := range map[string]error{
		"a project of 1":               CheckProject("p"),
		"a project of 64":              CheckProject(strings.Repeat("P", 64)),
		"a project of punctuation":     CheckProject("-._"),
		"a prefix of 2":                CheckPrefix("0a"),
		"a prefix of 12":               CheckPrefix("abcdefghij12"),
		"a user id of 256":             registry.CheckUserID(long(256)),
		"a user id with a space in it": registry.CheckUserID("alice a."),
		"a day":                        CheckMaxLifetimeDays(1),
		"a hundred years":              CheckMaxLifetimeDays(36525),
		"unlimited":                    CheckMaxLifetimeDays(Unlimited),
		"a token for each user":        CheckMaxTokensPerUser(1),
		"a million tokens":             CheckMaxTokensPerUser(1_000_000),
		"retaining for a second":       CheckRetain(time.Second),
		"a failure a second":           SignInLimit{1, caddy.Duration(time.Second)}.Check(),
		"a million failures a day":     SignInLimit{1_000_000, caddy.Duration(24 * time.Hour)}.Check(),
		"reject":                       CheckRejectPass("x", Reject),
		"percent":                      CheckIdentityEncoding(Percent),
		"pass":                         CheckRejectPass("x", Pass),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"a project of 65":                 CheckProject(strings.Repeat("p", 65)),
		"a project of letters elsewhere":  CheckProject("projét"),
		"a user id of 257":                registry.CheckUserID(long(257)),
		"a user id of a no-break space":   registry.CheckUserID("a\u00a0"),
		"a user id with a C1 control":     registry.CheckUserID("a\u0085b"),
		"retaining for less than that":    CheckRetain(time.Second - 1),
		"two header names to Go, but one": CheckIdentity(map[string]string{"Remote-User": "a", "remote_user": "b"}),
	} {
		if err == nil {
			t.Errorf("%s is allowed", name)
		}
	}
}

// The defaults themselves have to be usable, and completing must not let a site
// change them for others.
func TestDefaultIdentityIsValid(t *testing.T) {
	if err := CheckIdentity(DefaultIdentity); err != nil {
		t.Error(err)
	}
	before := maps.Clone(DefaultIdentity)
	site := Site{}.Complete()
	site.Identity["X-User"] = "x"
	defer delete(DefaultIdentity, "X-User")
	if diff := cmp.Diff(before, DefaultIdentity); diff != "" {
		t.Errorf("a site has changed the defaults (-want +got):\n%s", diff)
	}
}
