package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each configuration sets every field there is.
var everything = map[string]struct {
	new  func() any
	json string
}{
	"app": {func() any { return new(App) }, `{
		"store": {
			"type": "badger",
			"path": "{env.TOKENS_DIR}"
		},
		"hash_key": "{file./etc/caddy/tokens.key}",
		"previous_hash_keys": [
			"{file./etc/caddy/tokens.old.key}"
		],
		"retain": {
			"expired": 2592000000000000,
			"deleted": 7776000000000000
		},
		"audit": {
			"file": "/var/log/caddy/access-tokens.jsonl"
		},
		"backup": {
			"dir": "/var/backups/access-tokens",
			"every": 86400000000000,
			"keep": 14,
			"recipients": [
				"{env.BACKUP_RECIPIENT}"
			]
		}
	}`},
	"site": {func() any { return new(Site) }, `{
		"project": "dataprep",
		"prefix": "tri",
		"admins": [
			"alice",
			"17"
		],
		"api_access": false,
		"allow_generate": {
			"who": "users",
			"users": [
				"bob"
			]
		},
		"max_lifetime_days": -1,
		"max_tokens_per_user": 1000,
		"sign_ins": [
			{
				"type": "basic",
				"accounts": []
			}
		],
		"sign_in_limit": {
			"failures": 3,
			"window": 60000000000
		},
		"without_token": "pass",
		"foreign_token": "pass",
		"public": [
			{
				"path": [
					"/health"
				]
			}
		],
		"identity": {
			"X-User": "{http.auth.user.id}"
		},
		"identity_encoding": "percent",
		"strip": [
			"X-Trifacta-*"
		],
		"keep_cookies": [
			"locale"
		],
		"script_access": true,
		"token_from": {
			"basic": true,
			"headers": [
				"X-API-Key"
			]
		},
		"keep_authorization": true,
		"scopes": [
			{
				"name": "read",
				"text": "Read only",
				"match": [
					{
						"method": [
							"GET",
							"HEAD"
						]
					}
				]
			}
		],
		"verify": [
			{
				"path": "/verify",
				"from": "x_original"
			}
		],
		"open_streams": "leave",
		"api": "/v4/tokens",
		"page": "off"
	}`},
}

func TestJSONRoundTrip(t *testing.T) {
	for name, test := range everything {
		t.Run(name, func(t *testing.T) {
			config := test.new()
			if err := strictly(test.json, config); err != nil {
				t.Fatal(err)
			}
			for _, field := range unsetFields(name, reflect.ValueOf(config)) {
				t.Errorf("the test doesn't set %s", field)
			}
			got, err := json.MarshalIndent(config, "\t", "\t")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.json, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What isn't set isn't written, so that what `caddy adapt` shows is what the
// owner wrote.
func TestDefaultsAreNotWritten(t *testing.T) {
	for name, test := range everything {
		if got, err := json.Marshal(test.new()); err != nil || string(got) != "{}" {
			t.Errorf("%s: %s, %v, want {}", name, got, err)
		}
	}
}

// An object of every kind, with one field more.
func TestUnknownFieldsAreRefused(t *testing.T) {
	for name, test := range everything {
		for i, c := range test.json {
			if c != '{' || !isObject(test.json[i:]) {
				continue
			}
			changed := test.json[:i+1] + `"colour": "red", ` + test.json[i+1:]
			err := strictly(changed, test.new())
			if err == nil || !strings.Contains(err.Error(), "colour") {
				t.Errorf("%s: %v, want an error that names the field:\n%s", name, err, changed)
			}
		}
	}
}

// isObject tells fixed objects from placeholders, maps and modules.
func isObject(text string) bool {
	if !strings.HasPrefix(text, "{\n") {
		return false
	}
	first := strings.SplitN(text, "\n", 3)[1]
	return !slices.ContainsFunc([]string{`"X-User"`, `"type": "basic"`, `"path": [`, `"method": [`}, func(other string) bool { return strings.Contains(first, other) })
}

// strictly does what Caddy does with a module's configuration.
func strictly(text string, into any) error {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

func unsetFields(name string, v reflect.Value) (unset []string) {
	if v.IsZero() {
		return []string{name}
	}
	if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		return unsetFields(name, v.Elem())
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	for i := range v.NumField() {
		unset = append(unset, unsetFields(name+"."+v.Type().Field(i).Name, v.Field(i))...)
	}
	return unset
}
