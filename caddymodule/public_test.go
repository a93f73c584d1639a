package caddymodule

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestPublicCantBeEveryPath(t *testing.T) {
	for set, every := range map[string]bool{
		`{}`: true, `{"path": ["*"]}`: true, `{"path": ["/*"]}`: true, `{"path": ["/**"]}`: true, `{"path": ["/health", "/*"]}`: true,
		`{"path": ["/", "/?*"]}`: true, `{"path_regexp": {"pattern": ".*"}}`: true, `{"path_regexp": {"pattern": "^/"}}`: true,
		`{"path": ["/*"], "path_regexp": {"pattern": ""}}`:    true,
		`{"path": ["/health"]}`:                               false,
		`{"path": ["/*.css", "/health/*"]}`:                   false,
		`{"path": ["/"]}`:                                     false,
		`{"path_regexp": {"pattern": "^/public/"}}`:           false,
		`{"path": ["/*"], "method": ["OPTIONS"]}`:             false,
		`{"path": ["/*"], "path_regexp": {"pattern": "^/x"}}`: false,
	} {
		var parsed map[string]json.RawMessage
		if err := json.Unmarshal([]byte(set), &parsed); err != nil {
			t.Fatal(err)
		}
		if err := checkPublic(parsed); errors.Is(err, errPublicEverywhere) != every || !every && err != nil {
			t.Errorf("%s: %v, want it refused: %t", set, err, every)
		}
	}
}

// However it is configured, such a site isn't served.
func TestASiteThatIsPublicEverywhereIsRefused(t *testing.T) {
	for name, caddyfile := range map[string]string{
		"a glob":            site("public /**"),
		"a named matcher":   strings.Replace(site("public @all"), "access_tokens {", "@all path /*\naccess_tokens {", 1),
		"a named pattern":   strings.Replace(site("public @all"), "access_tokens {", "@all path_regexp ^/.*\naccess_tokens {", 1),
		"behind other ones": site("public /health\npublic /x /**"),
	} {
		if _, _, err := adapt(t, caddyfile); err == nil || !strings.Contains(err.Error(), errPublicEverywhere.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
