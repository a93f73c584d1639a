package signin_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// keyed takes an API's own keys, in a header of theirs.
type keyed map[string]string

func (k keyed) SignIn(r *http.Request) (signin.User, error) {
	key := r.Header.Get("X-Api-Key")
	user, known := k[key]
	switch {
	case key == "":
		return signin.User{}, signin.ErrNotMine
	case !known:
		return signin.User{}, fmt.Errorf("%w: no such key", signin.ErrDenied)
	}
	return signin.User{ID: user}, nil
}

// HasCredentials makes guesses of keys count for sign_in_limit.
func (keyed) HasCredentials(r *http.Request) bool { return r.Header.Get("X-Api-Key") != "" }

func ExampleCredentialTaker() {
	keys := keyed{"k-1": "alice"}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	fmt.Println(keys.HasCredentials(r))
	r.Header.Set("X-Api-Key", "k-2")
	_, err := keys.SignIn(r)
	fmt.Println(keys.HasCredentials(r), err)
	// Output:
	// false
	// true sign-in denied: no such key
}

// tenants takes whom basic_auth has established, in a tenant.
type tenants struct{}

func (tenants) Established(r *http.Request) (signin.User, error) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	id, _ := repl.GetString("http.auth.user.id")
	if id == "" {
		return signin.User{}, signin.ErrNotMine
	}
	tenant, name, _ := strings.Cut(id, `\`)
	return signin.User{ID: id, Name: name, Claims: map[string]string{"tenant": tenant}}, nil
}

func (t tenants) SignIn(r *http.Request) (signin.User, error) { return t.Established(r) }

// ClaimNames makes {http.auth.user.tenant} empty where nobody is signed in.
func (tenants) ClaimNames() []string { return []string{"tenant"} }

func ExampleInFront() {
	var s signin.InFront = tenants{}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	repl := caddy.NewReplacer() // Caddy brings one with each request
	repl.Set("http.auth.user.id", `acme\alice`)
	user, err := s.Established(r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)))
	fmt.Println(user.Name, user.Claims["tenant"], err)
	// Output: alice acme <nil>
}

func ExampleUser_Check() {
	fmt.Println(signin.User{ID: "alice"}.Check())
	fmt.Println(signin.User{ID: "alice "}.Check())
	fmt.Println(signin.User{ID: "alice", Claims: map[string]string{"email": "x"}}.Check())
	// Output:
	// <nil>
	// a user id begins or ends with white space
	// claim: email is taken; choose another name than id, email, name, token_id, project, scopes
}
