package caddymodule

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// In a chain the placeholder is asked in its turn, and its user's claims come
// with the token.
func TestPlaceholderInAChain(t *testing.T) {
	s := serve(t, `
http://:PORT {
	bind 127.0.0.1
	establish id {header.X-User}
	establish groups {header.X-Groups}
	access_tokens {
		allow_generate everyone
		sign_in guest first
		sign_in placeholder {
			user_id {http.auth.user.id}
			claim groups {http.auth.user.groups}
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
	answer(t, "second", says(signin.User{ID: "second"}, nil))
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
		answer(t, "first", says(signin.User{}, signin.ErrNotMine))
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
		answer(t, "first", says(signin.User{}, signin.ErrDenied))
		if got := who(fred); got != "AuthenticationRequired" {
			t.Errorf("%s", got)
		}
	})
	t.Run("error", func(t *testing.T) {
		answer(t, "first", says(signin.User{}, errors.New("down")))
		if got := who(fred); got != "ServiceUnavailable" {
			t.Errorf("%s", got)
		}
	})
}
