// Package placeholder is the sign-in of whom a handler in front has
// established.
package placeholder

import (
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/grammar"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
	"github.com/caddy-access-tokens/caddy-access-tokens/config"
)

func init() { caddy.RegisterModule(new(SignIn)) }

// SignIn takes the user that a handler in front has established,
// such as basic_auth or forward_auth. It reads placeholders, before this module
// empties those of the user and removes identity headers. Where a placeholder of
// the id is empty, nobody is signed in.
//
// What a client can choose is no source. Allowed are {http.auth.user.*},
// {http.reverse_proxy.header.*}, {http.request.tls.client.*}, which is empty unless
// the certificate was verified, text, {env.*}, {file.*} and {system.*}.
type SignIn struct {
	// The user's id. Default: {http.auth.user.id}.
	UserID string `json:"user_id,omitempty"`

	// The user's e-mail address. Default: empty.
	Email string `json:"email,omitempty"`

	// The user's name. Default: empty.
	Name string `json:"name,omitempty"`

	// The user is an administrator if this is the text true, and nothing
	// else. Default: empty.
	Admin string `json:"admin,omitempty"`

	// Further claims, by the names they have in placeholders.
	Claims map[string]string `json:"claims,omitempty"`
}

// CaddyModule implements caddy.Module.
func (*SignIn) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "access_tokens.sign_in.placeholder",
		New: func() caddy.Module { return new(SignIn) },
	}
}

// Provision implements caddy.Provisioner.
func (p *SignIn) Provision(caddy.Context) error {
	if p.UserID == "" {
		p.UserID = "{http.auth.user.id}"
	}
	if err := p.check(); err != nil {
		return fmt.Errorf("sign_in placeholder: %w", err)
	}
	for _, source := range p.sources() {
		if err := caddyvalue.CheckSource(source); err != nil {
			return fmt.Errorf("sign_in placeholder: %w", err)
		}
	}
	return nil
}

func (p *SignIn) sources() []string {
	return append([]string{p.UserID, p.Email, p.Name, p.Admin}, slices.Sorted(maps.Values(p.Claims))...)
}

// check says what is wrong with what doesn't depend on the server's surroundings.
func (p *SignIn) check() error {
	for _, source := range p.sources() {
		if err := config.CheckSource(source); err != nil {
			return err
		}
	}
	if p.Admin != "" && !config.DependsOnRequest(p.Admin) {
		return fmt.Errorf("admin %q would be the same for everybody; write a placeholder, or name the administrators under `admins`", p.Admin)
	}
	if !config.DependsOnRequest(p.UserID) {
		return fmt.Errorf("user_id %q would be the same user for everybody; write a placeholder such as {http.auth.user.id}", p.UserID)
	}
	return signin.CheckClaimNames(slices.Sorted(maps.Keys(p.Claims))...)
}

// Established implements signin.InFront. Nobody is established where any
// placeholder of the id is empty: what stands around it would be the same user
// for everybody.
func (p *SignIn) Established(r *http.Request) (signin.User, error) {
	id, complete := caddyvalue.Source(r, p.UserID)
	if !complete {
		return signin.User{}, signin.ErrNotMine
	}
	text := func(source string) string {
		text, _ := caddyvalue.Source(r, source)
		return text
	}
	user := signin.User{ID: id, Email: text(p.Email), Name: text(p.Name), Claims: make(map[string]string, len(p.Claims))}
	user.Admin = p.Admin != "" && text(p.Admin) == "true"
	for name, source := range p.Claims {
		user.Claims[name] = text(source)
	}
	return user, nil
}

// SignIn implements signin.SignIn.
func (p *SignIn) SignIn(r *http.Request) (signin.User, error) { return p.Established(r) }

// NamesAdmins implements signin.AdminNamer.
func (p *SignIn) NamesAdmins() bool { return p.Admin != "" }

// ClaimNames implements signin.ClaimNamer.
func (p *SignIn) ClaimNames() []string { return slices.Collect(maps.Keys(p.Claims)) }

// UnmarshalCaddyfile reads, in short, `placeholder <user id>`, or:
//
//	placeholder {
//	    user_id <placeholder>
//	    email   <placeholder>
//	    name    <placeholder>
//	    admin   <placeholder>
//	    claim   <name> <placeholder>
//	}
//
// claim can be repeated.
func (p *SignIn) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	args := d.RemainingArgs()
	if len(args) > 1 {
		return d.Errf("sign_in placeholder takes at most the user's id; write `sign_in placeholder {http.auth.user.id}`, or a block with user_id, email, name, admin and claim")
	}
	to := func(field *string) func(*caddyfile.Dispenser) error {
		return func(d *caddyfile.Dispenser) (err error) {
			*field, err = grammar.OneArg(d, "<placeholder>")
			return err
		}
	}
	if len(args) == 1 {
		p.UserID = args[0]
		if err := grammar.NoBlock(d, "sign_in placeholder with an id behind it"); err != nil {
			return err
		}
	} else if err := (grammar.Options{
		"user_id": to(&p.UserID),
		"email":   to(&p.Email),
		"name":    to(&p.Name),
		"admin":   to(&p.Admin),
		"claim":   func(d *caddyfile.Dispenser) error { return grammar.Claim(d, &p.Claims, "<placeholder>") },
	}).Parse(d, "claim"); err != nil {
		return err
	}
	if p.UserID == "" {
		return d.Errf("sign_in placeholder: write where the user's id is, for example `sign_in placeholder {http.auth.user.id}`")
	}
	if err := p.check(); err != nil {
		return d.Errf("sign_in placeholder: %v", err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SignIn)(nil)
	_ caddyfile.Unmarshaler = (*SignIn)(nil)
	_ signin.SignIn         = (*SignIn)(nil)
	_ signin.InFront        = (*SignIn)(nil)
	_ signin.AdminNamer     = (*SignIn)(nil)
	_ signin.ClaimNamer     = (*SignIn)(nil)
)
