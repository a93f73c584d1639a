package signin_test

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

func init() { caddy.RegisterModule(new(Ticket)) }

// Ticket signs in whoever sends `Authorization: Ticket <user>.<secret>`, with a
// secret that all users share.
type Ticket struct {
	Secret string `json:"secret"`
}

// CaddyModule implements caddy.Module.
func (*Ticket) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "access_tokens.sign_in.ticket", New: func() caddy.Module { return new(Ticket) }}
}

// SignIn implements signin.SignIn.
func (t *Ticket) SignIn(r *http.Request) (signin.User, error) {
	ticket, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Ticket ")
	if !ok {
		return signin.User{}, signin.ErrNotMine
	}
	user, secret, _ := strings.Cut(ticket, ".")
	if subtle.ConstantTimeCompare([]byte(secret), []byte(t.Secret)) == 0 {
		return signin.User{}, signin.ErrDenied
	}
	return signin.User{ID: user}, nil
}

// UnmarshalCaddyfile reads `ticket <secret>`.
func (t *Ticket) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if !d.AllArgs(&t.Secret) {
		return d.ArgErr()
	}
	return nil
}

// A whole module.
func Example() {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Ticket alice.sesame")
	user, err := (&Ticket{Secret: "sesame"}).SignIn(r)
	fmt.Println(user.ID, err)

	_, err = (&Ticket{Secret: "another"}).SignIn(r)
	fmt.Println(err)
	// Output:
	// alice <nil>
	// sign-in denied
}
