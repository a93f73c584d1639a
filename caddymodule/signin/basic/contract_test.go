package basic

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin/signintest"
)

func TestContract(t *testing.T) {
	s := signintest.Load(t, "basic {\nalice "+bcryptOf(t, "alice's")+" alice@example.com \"Alice A.\"\nbob "+argon2idOf("bob's")+"\n}")
	odd := httptest.NewRequest(http.MethodGet, "/", nil)
	odd.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("no colon")))
	signintest.Run(t, s,
		signintest.Case{Name: "alice", Request: basicRequest("alice", "alice's"), User: signin.User{ID: "alice", Email: "alice@example.com", Name: "Alice A."}},
		signintest.Case{Name: "bob", Request: basicRequest("bob", "bob's"), User: signin.User{ID: "bob"}},
		signintest.Case{Name: "a wrong password", Request: basicRequest("alice", "bob's"), Err: signin.ErrDenied},
		signintest.Case{Name: "an unlisted user", Request: basicRequest("carol", "alice's"), Err: signin.ErrNotMine},
		signintest.Case{Name: "no user and password", Request: odd, Err: signin.ErrNotMine},
	)
}
