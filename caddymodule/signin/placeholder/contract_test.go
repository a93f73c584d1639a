package placeholder

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin/signintest"
)

func TestContract(t *testing.T) {
	s := signintest.Load(t, "placeholder {\nuser_id {http.auth.user.id}\nemail {http.auth.user.mail}\nadmin {http.auth.user.boss}\nclaim team {http.auth.user.team}\n}")
	with := func(values map[string]string) *http.Request {
		repl := caddy.NewReplacer()
		for name, value := range values {
			repl.Set("http.auth.user."+name, value)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		return r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))
	}
	signintest.Run(t, s,
		signintest.Case{Name: "somebody", Request: with(map[string]string{"id": "alice"}), User: signin.User{ID: "alice", Claims: map[string]string{"team": ""}}},
		signintest.Case{Name: "an administrator", Request: with(map[string]string{"id": "bob", "mail": "bob@example.com", "boss": "true", "team": "7"}),
			User: signin.User{ID: "bob", Email: "bob@example.com", Admin: true, Claims: map[string]string{"team": "7"}}},
		signintest.Case{Name: "nobody", Request: with(map[string]string{"id": "", "mail": "a@example.com"}), Err: signin.ErrNotMine},
	)
}
