package caddymodule

import (
	"strings"
	"testing"
)

// wholeJSON is a configuration with an object of every kind.
const wholeJSON = `{"apps": {
	"access_tokens": {"store": {"type": "badger"}, "retain": {"expired": "30d", "deleted": "90d"}},
	"http": {"servers": {"srv0": {"listen": ["127.0.0.1:0"], "routes": [{
		"match": [{"access_token": {}}],
		"handle": [{
			"handler": "access_tokens",
			"project": "dataprep",
			"admins": ["alice"],
			"allow_generate": {"who": "admins"},
			"sign_ins": [{
				"type": "basic",
				"accounts": [{"user": "alice", "hash": "` + bcryptOfSomething + `"}]
			}]
		}]
	}]}}}
}}`

func TestJSON(t *testing.T) {
	if err := validate(t, []byte(wholeJSON)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, old, new, want string }{
		{"unknown field of the app", `"store":`, `"colour": "red", "store":`, `unknown field "colour"`},
		{"unknown field of store", `"type": "badger"`, `"type": "badger", "colour": "red"`, `unknown field "colour"`},
		{"unknown field of retain", `"expired":`, `"colour": "red", "expired":`, `unknown field "colour"`},
		{"unknown field of the handler", `"project":`, `"colour": "red", "project":`, `unknown field "colour"`},
		{"unknown field of allow_generate", `"who":`, `"colour": "red", "who":`, `unknown field "colour"`},
		{"unknown field of sign_in basic", `"accounts":`, `"colour": "red", "accounts":`, `unknown field "colour"`},
		{"unknown field of an account", `"user":`, `"colour": "red", "user":`, `unknown field "colour"`},
		{"unknown field of the matcher", `"access_token": {}`, `"access_token": {"colour": "red"}`, `unknown field "colour"`},
		{"field of a later release", `"project":`, `"notify": "off", "project":`, `unknown field "notify"`},
		{"sign-in without a type", `"type": "basic",`, ``, `access_tokens, project "dataprep": position 0: module name not specified with key 'type'`},
		{"sign-in of unknown type", `"type": "basic"`, `"type": "ldap"`, `access_tokens, project "dataprep": position 0: loading module 'ldap': unknown module: access_tokens.sign_in.ldap`},
		{"no accounts", `{"user": "alice", "hash": "` + bcryptOfSomething + `"}`, ``,
			"sign_in basic: name at least one user, each in a line `<user> <hash from caddy hash-password>`"},
		{"an account without a user", `"user": "alice", `, ``, "sign_in basic: a user id is empty; allowed: 1 to 256 characters"},
		{"an account without a hash", `, "hash": "` + bcryptOfSomething + `"`, ``, `sign_in basic: hash of "alice": this is neither a bcrypt hash`},
		{"an account with a long e-mail", `"user":`, `"email": "` + strings.Repeat("e", 1025) + `", "user":`, `sign_in basic: user "alice": the e-mail has more than 1024 bytes`},
		{"an account with a control in its name", `"user":`, `"name": "A\u0007", "user":`, `sign_in basic: user "alice": the name has control characters`},
		{"a wrong value", `"who": "admins"`, `"who": "nobody"`,
			`access_tokens, project "dataprep": allow_generate: "nobody" is not known; allowed: admins, everyone, or users followed by user ids`},
		{"a wrong store", `"type": "badger"`, `"type": "etcd"`, `access_tokens: store: "etcd" is no kind of store; allowed: badger`},
	} {
		t.Run(test.name, func(t *testing.T) {
			changed := strings.Replace(wholeJSON, test.old, test.new, 1)
			if changed == wholeJSON {
				t.Fatalf("no %s to replace", test.old)
			}
			if err := validate(t, []byte(changed)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// What the Caddyfile's parser refuses, JSON doesn't get past either.
func TestPlaceholderBesideForeignTokenPassInJSON(t *testing.T) {
	adapted, _, err := adapt(t, site("allow_generate everyone\nsign_in placeholder {http.auth.user.id}"))
	if err != nil {
		t.Fatal(err)
	}
	both := strings.Replace(string(adapted), `"allow_generate"`, `"foreign_token": "pass", "allow_generate"`, 1)
	want := `access_tokens, project "default": ` + oneOfThem
	if err := validate(t, []byte(both)); err == nil || ownPart(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
}
