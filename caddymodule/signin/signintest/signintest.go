// Package signintest tests sign-in modules against the contract of package
// signin. The test of a module is a few lines:
//
//	func TestContract(t *testing.T) {
//		s := signintest.Load(t, `ticket sesame`)
//		signintest.Run(t, s,
//			signintest.Case{Name: "right", Request: with("alice.sesame"), User: signin.User{ID: "alice"}},
//			signintest.Case{Name: "wrong", Request: with("alice.guess"), Err: signin.ErrDenied},
//		)
//	}
//
// Run it with -race too.
package signintest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// Case is a request, and what the sign-in is to answer.
type Case struct {
	Name string
	// Request is asked about as it is, several times. Where it lacks what Caddy
	// adds to a request's context, that is added.
	Request *http.Request
	// User is whom the sign-in is to establish, if Err is nil.
	User signin.User
	// Err is signin.ErrDenied, signin.ErrNotMine, signin.ErrNotChecked, or any
	// other error for a sign-in that is to say that it can't tell.
	Err error
}

// Run tests that a sign-in answers as the cases say, that requests with nothing
// for it aren't its own, and that it keeps to the contract: it changes no
// request, reads no body, is safe for concurrent use, comes to an end with the
// request's context and lets that turn no yes into a no, tells no credentials in
// errors, establishes only users that can be some, and is what its optional
// interfaces say.
//
// There should be a case of every answer that it can give. The answers have to
// be the same each time.
func Run(t *testing.T, s signin.SignIn, cases ...Case) {
	t.Helper()
	for _, c := range append(cases, foreign()...) {
		t.Run(c.Name, func(t *testing.T) {
			for _, problem := range check(s, c) {
				t.Error(problem)
			}
		})
	}
	t.Run("many at a time", func(t *testing.T) {
		for _, problem := range checkConcurrently(s, cases) {
			t.Error(problem)
		}
	})
}

// foreign are requests with nothing for any sign-in.
func foreign() []Case {
	with := func(name, value string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(name, value)
		return r
	}
	return []Case{
		{Name: "no credentials", Request: httptest.NewRequest(http.MethodGet, "/", nil), Err: signin.ErrNotMine},
		{Name: "an unheard-of scheme", Request: with("Authorization", "Unheard-Of dW5oZWFyZC1vZg=="), Err: signin.ErrNotMine},
		{Name: "an unheard-of cookie", Request: with("Cookie", "unheard-of=1"), Err: signin.ErrNotMine},
	}
}

// Load readies a sign-in as Caddy does. directive is what stands behind
// `sign_in` in a Caddyfile: the module's kind, its arguments and its block. It
// is cleaned up when the test ends.
func Load(t testing.TB, directive string) signin.SignIn {
	t.Helper()
	d := caddyfile.NewTestDispenser(directive)
	d.Next()
	id := "access_tokens.sign_in." + d.Val()
	parsed, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID(id, caddyconfig.JSON(parsed, nil))
	if err != nil {
		t.Fatal(err)
	}
	s, ok := module.(signin.SignIn)
	if !ok {
		t.Fatalf("%T is no signin.SignIn", module)
	}
	return s
}

// inCaddy is r as Caddy would hand it on.
func inCaddy(r *http.Request) *http.Request {
	ctx := r.Context()
	if _, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); !ok {
		ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewEmptyReplacer())
	}
	if _, ok := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any); !ok {
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: "192.0.2.1"})
	}
	return r.WithContext(ctx)
}
