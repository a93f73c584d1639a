package caddymodule

import (
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

func init() {
	caddy.RegisterModule(new(guest))
	caddy.RegisterModule(new(front))
	caddy.RegisterModule(new(impostor))
}

// guest is a sign-in module that answers what a test wants it to:
//
//	sign_in guest <name>
type guest struct {
	Name       string `json:"name"`
	AsksForOne bool   `json:"asks_for_basic,omitempty"`
}

// answers are what the guests say, by their names.
var answers sync.Map

// answer makes the guest of that name call sign until the test ends.
func answer(t testing.TB, name string, sign func(*http.Request) (signin.User, error)) {
	t.Helper()
	if _, taken := answers.LoadOrStore(name, sign); taken {
		t.Fatalf("guest %s answers already", name)
	}
	t.Cleanup(func() { answers.Delete(name) })
}

func (*guest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "access_tokens.sign_in.guest", New: func() caddy.Module { return new(guest) }}
}

func (g *guest) SignIn(r *http.Request) (signin.User, error) {
	sign, ok := answers.Load(g.Name)
	if !ok {
		return signin.User{}, signin.ErrNotMine
	}
	return sign.(func(*http.Request) (signin.User, error))(r)
}

func (g *guest) TakesBasic() bool { return g.AsksForOne }

// Decoy implements signin.Decoy: it calls what the guest of that name with "'s
// decoy" behind it says.
func (g *guest) Decoy(r *http.Request) {
	if sign, ok := answers.Load(g.Name + "'s decoy"); ok {
		_, _ = sign.(func(*http.Request) (signin.User, error))(r)
	}
}

// HasCredentials implements signin.CredentialTaker.
func (*guest) HasCredentials(r *http.Request) bool { return r.Header.Get("X-Key") != "" }

func (g *guest) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&g.Name) {
		return d.ArgErr()
	}
	if d.NextArg() {
		g.AsksForOne = true
	}
	return nil
}

// impostor is a module in the sign-ins' namespace that is none.
type impostor struct{}

func (*impostor) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "access_tokens.sign_in.impostor", New: func() caddy.Module { return new(impostor) }}
}

func (*impostor) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// front is a sign-in module that reads whom the request's Remote-User names, as
// a handler in front would write it.
type front struct{}

func (*front) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "access_tokens.sign_in.front", New: func() caddy.Module { return new(front) }}
}

func (*front) Established(r *http.Request) (signin.User, error) {
	switch id := r.Header.Get("Remote-User"); id {
	case "":
		return signin.User{}, signin.ErrNotMine
	case "denied":
		return signin.User{}, signin.ErrDenied
	case "unsure":
		return signin.User{}, errors.New("the sessions are elsewhere")
	default:
		return signin.User{ID: id, Email: id + "@example.com"}, nil
	}
}

func (*front) SignIn(*http.Request) (signin.User, error) {
	panic("who reads in front isn't asked again")
}

func (*front) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }
