package caddymodule

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Whatever a project has beside its name and prefix is policy, and two
// directives may not differ in it without being told.
func TestPolicyDifferences(t *testing.T) {
	for want, other := range map[string]registry.Rules{
		"admins":              {Admins: map[string]bool{"alice": true}},
		"api_access":          {Fixed: store.Settings{Enabled: new(true)}},
		"allow_generate":      {Fixed: store.Settings{Generate: "users", Users: []string{"bob"}}},
		"max_tokens_per_user": {MaxTokensPerUser: 1000},
		"max_lifetime":        {Fixed: store.Settings{MaxLifetimeDays: 7}},
	} {
		if diff := cmp.Diff([]string{want}, policyDifferences(&registry.Rules{}, &other)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want, diff)
		}
		if got := policyDifferences(&other, &other); got != nil {
			t.Errorf("%s: the same differs in %v", want, got)
		}
	}
	bob, carol := registry.Rules{Fixed: store.Settings{Generate: "users", Users: []string{"bob"}}}, registry.Rules{Fixed: store.Settings{Generate: "users", Users: []string{"carol"}}}
	if diff := cmp.Diff([]string{"allow_generate"}, policyDifferences(&bob, &carol)); diff != "" {
		t.Errorf("other users (-want +got):\n%s", diff)
	}
	off, on := registry.Rules{Fixed: store.Settings{Enabled: new(false)}}, registry.Rules{Fixed: store.Settings{Enabled: new(true)}}
	if diff := cmp.Diff([]string{"api_access"}, policyDifferences(&off, &on)); diff != "" {
		t.Errorf("off and on (-want +got):\n%s", diff)
	}
	if got := policyDifferences(&registry.Rules{}, &registry.Rules{Admins: map[string]bool{}}); got != nil {
		t.Errorf("nobody and nobody differ in %v", got)
	}
	// Whoever adds a field is to add its line above.
	if fields := reflect.TypeFor[registry.Rules]().NumField() + reflect.TypeFor[store.Settings]().NumField(); fields != 4+4 {
		t.Errorf("there are %d fields", fields)
	}
}
