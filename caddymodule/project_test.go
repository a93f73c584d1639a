package caddymodule

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// Whatever a project has beside its name and prefix is policy, and two
// directives may not differ in it without being told.
func TestPolicyDifferences(t *testing.T) {
	options := map[string]string{
		"Admins": "admins", "APIAccess": "api_access", "Generate": "allow_generate", "Users": "allow_generate", "MaxLifetimeDays": "max_lifetime",
	}
	for i := range reflect.TypeFor[registry.Project]().NumField() {
		name := reflect.TypeFor[registry.Project]().Field(i).Name
		if name == "Name" || name == "Prefix" {
			continue
		}
		a, b := registry.Project{}, registry.Project{}
		switch field := reflect.ValueOf(&b).Elem().Field(i); field.Kind() {
		case reflect.Map:
			field.Set(reflect.ValueOf(map[string]bool{"alice": true}))
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Int:
			field.SetInt(7)
		case reflect.String:
			field.SetString("x")
		default:
			t.Fatalf("%s: how to set it?", name)
		}
		if diff := cmp.Diff([]string{options[name]}, policyDifferences(&a, &b)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	empty := registry.Project{Admins: map[string]bool{}, Users: map[string]bool{}}
	if got := policyDifferences(&registry.Project{}, &empty); got != nil {
		t.Errorf("nobody and nobody differ in %v", got)
	}
}
