package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin/signintest"
)

func TestContract(t *testing.T) {
	api := startAPI(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
		user, password, basic := r.BasicAuth()
		cookie, _ := r.Cookie("sid")
		switch {
		case basic && user == "busy":
			w.WriteHeader(http.StatusBadGateway)
		case basic && password == "secret", !basic && cookie != nil && cookie.Value == "session-1":
			_, _ = io.WriteString(w, `{"id": 17, "mail": "alice@example.com", "boss": true, "team": {"id": 4}}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	s := signintest.Load(t, "upstream "+api.URL+" {\nemail mail\nadmin boss\nclaim team team.id\ncookies sid\n}")
	alice := signin.User{ID: "17", Email: "alice@example.com", Admin: true, Claims: map[string]string{"team": "4"}}
	signintest.Run(t, s,
		signintest.Case{Name: "a password", Request: basicRequest("alice", "secret"), User: alice},
		signintest.Case{Name: "a wrong password", Request: basicRequest("alice", "guessed"), Err: signin.ErrDenied},
		signintest.Case{Name: "an API in trouble", Request: basicRequest("busy", "secret"), Err: errors.New("can't tell")},
		signintest.Case{Name: "a session", Request: sessionRequest("sid=session-1"), User: alice},
		signintest.Case{Name: "a session that has ended", Request: sessionRequest("sid=session-0"), Err: signin.ErrNotMine},
		signintest.Case{Name: "another cookie", Request: sessionRequest("locale=en"), Err: signin.ErrNotMine},
	)
}
