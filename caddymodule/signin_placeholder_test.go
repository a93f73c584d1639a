package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
)

func TestPlaceholderUser(t *testing.T) {
	whole := PlaceholderSignIn{
		UserID: "{http.auth.user.id}", Email: "{http.auth.user.email}", Name: "{first} {last}", Admin: "{http.auth.user.admin}",
		Claims: map[string]string{"groups": "{http.auth.user.groups}", "tenant": "acme"},
	}
	none := map[string]string{"groups": "", "tenant": "acme"}
	for name, test := range map[string]struct {
		signIn PlaceholderSignIn
		set    map[string]string
		want   User
		err    error
	}{
		"everything": {whole, map[string]string{
			"http.auth.user.id": "alice", "http.auth.user.email": "a@example.com", "first": "Alice", "last": "A.", "http.auth.user.admin": "true", "http.auth.user.groups": "x,y",
		}, User{ID: "alice", Email: "a@example.com", Name: "Alice A.", Admin: true, Claims: map[string]string{"groups": "x,y", "tenant": "acme"}}, nil},
		"an id alone":         {whole, map[string]string{"http.auth.user.id": "alice"}, User{ID: "alice", Name: " ", Claims: none}, nil},
		"true in capitals":    {whole, map[string]string{"http.auth.user.id": "alice", "http.auth.user.admin": "TRUE"}, User{ID: "alice", Name: " ", Claims: none}, nil},
		"true by a number":    {whole, map[string]string{"http.auth.user.id": "alice", "http.auth.user.admin": "1"}, User{ID: "alice", Name: " ", Claims: none}, nil},
		"true with a space":   {whole, map[string]string{"http.auth.user.id": "alice", "http.auth.user.admin": "true "}, User{ID: "alice", Name: " ", Claims: none}, nil},
		"no id":               {whole, map[string]string{"http.auth.user.email": "a@example.com"}, User{}, ErrNotMine},
		"an empty id":         {whole, map[string]string{"http.auth.user.id": ""}, User{}, ErrNotMine},
		"an id that expands":  {whole, map[string]string{"http.auth.user.id": "{http.auth.user.email}", "http.auth.user.email": "x"}, User{ID: "{http.auth.user.email}", Email: "x", Name: " ", Claims: none}, nil},
		"around an id":        {PlaceholderSignIn{UserID: "ldap-{http.auth.user.id}"}, map[string]string{"http.auth.user.id": "alice"}, User{ID: "ldap-alice", Claims: map[string]string{}}, nil},
		"around no id":        {PlaceholderSignIn{UserID: "ldap-{http.auth.user.id}"}, nil, User{}, ErrNotMine},
		"around an empty id":  {PlaceholderSignIn{UserID: "ldap-{http.auth.user.id}"}, map[string]string{"http.auth.user.id": ""}, User{}, ErrNotMine},
		"one of two is empty": {PlaceholderSignIn{UserID: "{realm}/{http.auth.user.id}"}, map[string]string{"realm": "x"}, User{}, ErrNotMine},
		"the default":         {PlaceholderSignIn{}, map[string]string{"http.auth.user.id": "alice"}, User{ID: "alice", Claims: map[string]string{}}, nil},
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

// In a chain the placeholder is asked in its turn, and its user's claims come
// with the token.
func TestPlaceholderInAChain(t *testing.T) {
	s := serve(t, `
http://:PORT {
	bind 127.0.0.1
	vars {
		user {header.X-User}
		groups {header.X-Groups}
	}
	access_tokens {
		allow_generate everyone
		sign_in guest first
		sign_in placeholder {
			user_id {http.vars.user}
			claim groups {http.vars.groups}
		}
		sign_in guest second
		identity {
			Remote-User {http.auth.user.id}
			Remote-Groups <{http.auth.user.groups}>
		}
	}
	respond "{http.request.header.Remote-User} {http.request.header.Remote-Groups}"
}`)
	fred := http.Header{"X-User": {"fred"}, "X-Groups": {"ops"}}
	answer(t, "second", says(User{ID: "second"}, nil))
	who := func(header http.Header) string {
		t.Helper()
		made := s.create(t, header)
		if made.status != http.StatusCreated {
			return made.exception()
		}
		first := made.token(t)
		renewed := s.create(t, bearer(first)).token(t)
		var told []string
		for _, token := range []string{first, renewed} {
			// What stands in front at the time of use is nothing beside a token.
			used := bearer(token)
			used["X-User"], used["X-Groups"] = []string{"eve"}, []string{"admins"}
			told = append(told, s.ask(t, http.MethodGet, "/", "", used).body)
		}
		if told[0] != told[1] {
			t.Errorf("a renewed token is of %q, its parent of %q", told[1], told[0])
		}
		return told[0]
	}
	t.Run("not mine", func(t *testing.T) {
		answer(t, "first", says(User{}, ErrNotMine))
		if got := who(fred); got != "fred <ops>" {
			t.Errorf("established: %s", got)
		}
		if got := who(nil); got != "second <>" {
			t.Errorf("not established: %s", got)
		}
		if got := who(http.Header{"X-User": {"fr\ted"}}); got != "AuthenticationRequired" {
			t.Errorf("who can't be a user: %s", got)
		}
		if got := who(http.Header{"X-User": {"fred"}, "X-Groups": {strings.Repeat("g", 1025)}}); got != "AuthenticationRequired" {
			t.Errorf("with a claim too long: %s", got)
		}
	})
	t.Run("no", func(t *testing.T) {
		answer(t, "first", says(User{}, ErrDenied))
		if got := who(fred); got != "AuthenticationRequired" {
			t.Errorf("%s", got)
		}
	})
	t.Run("error", func(t *testing.T) {
		answer(t, "first", says(User{}, errors.New("down")))
		if got := who(fred); got != "ServiceUnavailable" {
			t.Errorf("%s", got)
		}
	})
}
