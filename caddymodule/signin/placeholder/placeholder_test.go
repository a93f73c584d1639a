package placeholder

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

func TestUser(t *testing.T) {
	whole := SignIn{
		UserID: "{http.auth.user.id}", Email: "{http.auth.user.email}", Name: "{http.auth.user.first} {http.auth.user.last}", Admin: "{http.auth.user.admin}",
		Claims: map[string]string{"groups": "{http.auth.user.groups}", "tenant": "acme"},
	}
	none := map[string]string{"groups": "", "tenant": "acme"}
	for name, test := range map[string]struct {
		signIn SignIn
		set    map[string]string
		want   signin.User
		err    error
	}{
		"everything": {whole, map[string]string{
			"http.auth.user.id": "alice", "http.auth.user.email": "a@example.com", "http.auth.user.first": "Alice", "http.auth.user.last": "A.", "http.auth.user.admin": "true", "http.auth.user.groups": "x,y",
		}, signin.User{ID: "alice", Email: "a@example.com", Name: "Alice A.", Admin: true, Claims: map[string]string{"groups": "x,y", "tenant": "acme"}}, nil},
		"an id alone":         {whole, map[string]string{"http.auth.user.id": "alice"}, signin.User{ID: "alice", Name: " ", Claims: none}, nil},
		"true in capitals":    {whole, map[string]string{"http.auth.user.id": "alice", "http.auth.user.admin": "TRUE"}, signin.User{ID: "alice", Name: " ", Claims: none}, nil},
		"true by a number":    {whole, map[string]string{"http.auth.user.id": "alice", "http.auth.user.admin": "1"}, signin.User{ID: "alice", Name: " ", Claims: none}, nil},
		"true with a space":   {whole, map[string]string{"http.auth.user.id": "alice", "http.auth.user.admin": "true "}, signin.User{ID: "alice", Name: " ", Claims: none}, nil},
		"no id":               {whole, map[string]string{"http.auth.user.email": "a@example.com"}, signin.User{}, signin.ErrNotMine},
		"an empty id":         {whole, map[string]string{"http.auth.user.id": ""}, signin.User{}, signin.ErrNotMine},
		"an id that expands":  {whole, map[string]string{"http.auth.user.id": "{http.auth.user.email}", "http.auth.user.email": "x"}, signin.User{ID: "{http.auth.user.email}", Email: "x", Name: " ", Claims: none}, nil},
		"around an id":        {SignIn{UserID: "ldap-{http.auth.user.id}"}, map[string]string{"http.auth.user.id": "alice"}, signin.User{ID: "ldap-alice", Claims: map[string]string{}}, nil},
		"around no id":        {SignIn{UserID: "ldap-{http.auth.user.id}"}, nil, signin.User{}, signin.ErrNotMine},
		"around an empty id":  {SignIn{UserID: "ldap-{http.auth.user.id}"}, map[string]string{"http.auth.user.id": ""}, signin.User{}, signin.ErrNotMine},
		"one of two is empty": {SignIn{UserID: "{http.reverse_proxy.header.Realm}/{http.auth.user.id}"}, map[string]string{"http.reverse_proxy.header.Realm": "x"}, signin.User{}, signin.ErrNotMine},
		"the default":         {SignIn{}, map[string]string{"http.auth.user.id": "alice"}, signin.User{ID: "alice", Claims: map[string]string{}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := test.signIn
			if err := p.Provision(caddy.Context{}); err != nil {
				t.Fatal(err)
			}
			repl := caddy.NewEmptyReplacer()
			for name, value := range test.set {
				repl.Set(name, value)
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			got, err := p.SignIn(r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)))
			if diff := cmp.Diff(test.want, got); diff != "" || !errors.Is(err, test.err) {
				t.Errorf("%v, want %v (-want +got):\n%s", err, test.err, diff)
			}
		})
	}
}
