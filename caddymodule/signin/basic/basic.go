// Package basic is the sign-in by user names and passwords that the
// configuration lists.
package basic

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

func init() { caddy.RegisterModule(new(SignIn)) }

// SignIn signs users in by user name and password (RFC 7617), against
// hashes written into the configuration.
//
// A user who isn't listed here is left to the sign-ins that follow. The time to
// answer doesn't tell who is listed, as far as these are a [signin.Decoy].
type SignIn struct {
	// The users, each with a hash from `caddy hash-password`.
	Accounts []Account `json:"accounts,omitempty"`

	byID map[string]*account
	// all are the accounts in the order written.
	all []*account
	// decoyKey keys the choice of decoys. It is made from the hashes: nobody
	// else can compute it, and it stays the same as long as they do.
	decoyKey []byte
}

// Account is a user and the hash of the user's password.
type Account struct {
	// The user's id. Placeholders such as {env.USER_NAME} are replaced.
	User string `json:"user"`
	// The password's hash: bcrypt or argon2id in their own text format, or
	// that in base64. Placeholders such as {file./run/secrets/hash} are
	// replaced.
	Hash string `json:"hash"`
	// The user's e-mail address, if any.
	Email string `json:"email,omitempty"`
	// The user's name, if any.
	Name string `json:"name,omitempty"`
}

type account struct {
	user     signin.User
	hash     []byte
	comparer caddyauth.Comparer
}

// CaddyModule implements caddy.Module.
func (*SignIn) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "access_tokens.sign_in.basic",
		New: func() caddy.Module { return new(SignIn) },
	}
}

// Provision implements caddy.Provisioner.
func (b *SignIn) Provision(ctx caddy.Context) error {
	if len(b.Accounts) == 0 {
		return errors.New("sign_in basic: name at least one user, each in a line `<user> <hash from caddy hash-password>`")
	}
	b.byID = make(map[string]*account, len(b.Accounts))
	comparers := make(map[string]caddyauth.Comparer)
	hashes := sha256.New()
	for _, a := range b.Accounts {
		acc, err := a.provision(ctx, comparers)
		if err != nil {
			return fmt.Errorf("sign_in basic: %w", err)
		}
		if b.byID[acc.user.ID] != nil {
			return fmt.Errorf("sign_in basic: %q is listed twice", acc.user.ID)
		}
		b.byID[acc.user.ID] = acc
		b.all = append(b.all, acc)
		hashes.Write(acc.hash)
	}
	b.decoyKey = hashes.Sum(nil)
	return nil
}

func (a Account) provision(ctx caddy.Context, comparers map[string]caddyauth.Comparer) (*account, error) {
	id, err := caddyvalue.Expand(a.User)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", a.User, err)
	}
	if err := checkBasicUser(id); err != nil {
		return nil, err
	}
	text, err := caddyvalue.Expand(a.Hash)
	if err != nil {
		return nil, fmt.Errorf("hash of %q: %w", id, err)
	}
	algorithm, hash, err := parseHash(text)
	if err != nil {
		return nil, fmt.Errorf("hash of %q: %w", id, err)
	}
	comparer := comparers[algorithm]
	if comparer == nil {
		module, err := ctx.LoadModuleByID("http.authentication.hashes."+algorithm, nil)
		if err != nil {
			return nil, err
		}
		comparer = module.(caddyauth.Comparer)
		comparers[algorithm] = comparer
	}
	user := signin.User{ID: id, Email: a.Email, Name: a.Name}
	if err := user.Check(); err != nil {
		return nil, fmt.Errorf("user %q: %w", id, err)
	}
	return &account{user, hash, comparer}, nil
}

// checkBasicUser says why nobody can sign in by that name.
func checkBasicUser(id string) error {
	if strings.Contains(id, ":") {
		return fmt.Errorf("user %q: HTTP Basic allows no colon in a user name", id)
	}
	return registry.CheckUserID(id)
}

// SignIn implements signin.SignIn.
func (b *SignIn) SignIn(r *http.Request) (signin.User, error) {
	auth, err := incoming.ParseAuthorization(r.Header)
	if err != nil || auth.Scheme != incoming.Basic {
		return signin.User{}, signin.ErrNotMine
	}
	id, password, ok := incoming.DecodeBasic(auth.Token68)
	if !ok {
		return signin.User{}, signin.ErrNotMine
	}
	acc, listed := b.byID[id]
	if !listed {
		acc = b.decoy(id)
	}
	same, err := comparisons.do(r.Context(), signinlimit.Client(caddyvalue.ClientAddress(r)), func() (bool, error) {
		return acc.comparer.Compare(acc.hash, []byte(password))
	})
	switch {
	case err != nil:
		return signin.User{}, err
	case !listed:
		return signin.User{}, signin.ErrNotMine
	case !same:
		return signin.User{}, signin.ErrDenied
	}
	return acc.user, nil
}

// decoy returns the account with which the password of an unlisted user is
// compared. It is always the same for the same name, also after a reload or a
// restart: where accounts differ in algorithm or cost, a name whose answers
// took sometimes longer would be known as unlisted.
func (b *SignIn) decoy(id string) *account {
	mac := hmac.New(sha256.New, b.decoyKey)
	mac.Write([]byte(id))
	return b.all[binary.BigEndian.Uint64(mac.Sum(nil))%uint64(len(b.all))]
}

// TakesBasic implements signin.BasicTaker.
func (*SignIn) TakesBasic() bool { return true }

// Decoy implements signin.Decoy: it compares the password in vain, as for a user
// who isn't listed.
func (b *SignIn) Decoy(r *http.Request) { _, _ = b.SignIn(r) }

// Knows implements signin.Knower.
func (b *SignIn) Knows(id string) bool { return b.byID[id] != nil }

// NamesAdmins implements signin.AdminNamer.
func (*SignIn) NamesAdmins() bool { return false }

// ClaimNames implements signin.ClaimNamer.
func (*SignIn) ClaimNames() []string { return nil }

// UnmarshalCaddyfile reads, one user a line:
//
//	basic {
//	    <user> <hash> [<email> [<name>]]
//	}
//
// A line of Caddy's basic_auth is such a line.
func (b *SignIn) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.Errf("sign_in basic takes no arguments; write the users into its block, each in a line `<user> <hash> [<email> [<name>]]`")
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		line := append([]string{d.Val()}, d.RemainingArgs()...)
		if len(line) < 2 || len(line) > 4 {
			return d.Errf("sign_in basic: write `<user> <hash> [<email> [<name>]]`, with the hash from `caddy hash-password`")
		}
		a := Account{User: line[0], Hash: line[1]}
		if len(line) > 2 {
			a.Email = line[2]
		}
		if len(line) > 3 {
			a.Name = line[3]
		}
		if err := checkLine(a); err != nil {
			return d.Errf("sign_in basic: %v", err)
		}
		if seen[a.User] {
			return d.Errf("sign_in basic: %q is listed twice", a.User)
		}
		seen[a.User] = true
		b.Accounts = append(b.Accounts, a)
	}
	if len(b.Accounts) == 0 {
		return d.Errf("sign_in basic: name at least one user, in a block with a line `<user> <hash>` each")
	}
	return nil
}

// checkLine checks what doesn't depend on placeholders.
func checkLine(a Account) error {
	if !strings.Contains(a.User, "{") {
		if err := checkBasicUser(a.User); err != nil {
			return err
		}
	}
	if !strings.Contains(a.Hash, "{") {
		if _, _, err := parseHash(a.Hash); err != nil {
			return fmt.Errorf("hash of %q: %w", a.User, err)
		}
	}
	if err := (signin.User{ID: "any", Email: a.Email, Name: a.Name}).Check(); err != nil {
		return fmt.Errorf("user %q: %w", a.User, err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SignIn)(nil)
	_ caddyfile.Unmarshaler = (*SignIn)(nil)
	_ signin.SignIn         = (*SignIn)(nil)
	_ signin.BasicTaker     = (*SignIn)(nil)
	_ signin.Decoy          = (*SignIn)(nil)
	_ signin.Knower         = (*SignIn)(nil)
	_ signin.AdminNamer     = (*SignIn)(nil)
	_ signin.ClaimNamer     = (*SignIn)(nil)
)
