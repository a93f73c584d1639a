package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/metrics"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// signIns are a site's sign-ins, in the order in which they are asked.
type signIns struct {
	modules []signInModule
	logger  *zap.Logger
}

type signInModule struct {
	signin.SignIn
	id   string // as Caddy names the module
	said metrics.SignIn
}

// as returns a sign-in's optional interface, if it has that.
func as[T any](m signInModule) (T, bool) {
	t, ok := m.SignIn.(T)
	return t, ok
}

func newSignIns(modules []any, counts *metrics.Project, logger *zap.Logger) (signIns, error) {
	all := signIns{logger: logger}
	for _, m := range modules {
		s, ok := m.(signin.SignIn)
		if !ok {
			return all, fmt.Errorf("sign_in: %T is no signin.SignIn", m)
		}
		id := string(m.(caddy.Module).CaddyModule().ID)
		all.modules = append(all.modules, signInModule{s, id, counts.SignIn(id)})
	}
	return all, nil
}

// principal is a user and the id of the sign-in that established it.
type principal struct {
	user signin.User
	by   string
}

// caller returns p as the registry knows callers.
func (p principal) caller() registry.Caller {
	return registry.SignedIn(p.by, p.stored(), p.user.Admin)
}

// stored returns what a token remembers of p. White space around a value
// wouldn't arrive in a header, and is left out.
func (p principal) stored() store.User {
	var claims map[string]string
	for name, value := range p.user.Claims {
		if claims == nil {
			claims = make(map[string]string, len(p.user.Claims))
		}
		claims[name] = strings.TrimSpace(value)
	}
	return store.User{ID: p.user.ID, Email: strings.TrimSpace(p.user.Email), Name: strings.TrimSpace(p.user.Name), Claims: claims}
}

// inFront is what the sign-ins that read whom handlers in front have established
// said of a request, by their places.
type inFront map[int]saying

type saying struct {
	user signin.User
	err  error
}

// readInFront asks them, before anything is taken away from r. Those that
// found nobody aren't in the result.
func (s signIns) readInFront(r *http.Request) (found inFront) {
	for i, m := range s.modules {
		reader, ok := as[signin.InFront](m)
		if !ok {
			continue
		}
		user, err := reader.Established(r)
		if errors.Is(err, signin.ErrNotMine) {
			continue
		}
		if found == nil {
			found = make(inFront)
		}
		found[i] = saying{user, err}
	}
	return found
}

// established returns who was established in front, by the first sign-in that
// found somebody. One who can't be a user is nobody.
func (s signIns) established(found inFront) (p principal, known bool, err error) {
	for i, m := range s.modules {
		said, ok := found[i]
		switch {
		case !ok:
			continue
		case errors.Is(said.err, signin.ErrDenied):
			return principal{}, false, nil
		case said.err != nil:
			return principal{}, false, saidBy(m, errCantTell, said.err)
		}
		return principal{said.user, m.id}, s.accepts(m, said.user), nil
	}
	return principal{}, false, nil
}

// ask asks one sign-in after the other. failed tells that they didn't say yes to
// credentials, and that one of them has checked them, or may have.
func (s signIns) ask(r *http.Request, found inFront) (p principal, failed bool, err error) {
	no := tokenapi.ErrNotSignedIn
	for i, m := range s.modules {
		user, err := s.askOne(r, i, found)
		switch {
		case errors.Is(err, signin.ErrNotMine):
			m.said.NotMine.Inc()
			if taker, ok := as[signin.CredentialTaker](m); ok && taker.HasCredentials(r) {
				failed, no = true, saidBy(m, tokenapi.ErrNotSignedIn, err)
			}
			continue
		case errors.Is(err, signin.ErrDenied):
			m.said.No.Inc()
			s.pretend(r, i+1)
			return principal{}, true, saidBy(m, tokenapi.ErrNotSignedIn, err)
		case err != nil:
			m.said.Error.Inc()
			failed = failed || !errors.Is(err, signin.ErrNotChecked)
			return principal{}, failed, saidBy(m, errCantTell, err)
		case !s.accepts(m, user):
			m.said.No.Inc()
			return principal{}, true, tokenapi.ErrNotSignedIn
		}
		m.said.Yes.Inc()
		return principal{user, m.id}, false, nil
	}
	return principal{}, true, no
}

func (s signIns) askOne(r *http.Request, i int, found inFront) (signin.User, error) {
	m := s.modules[i]
	if _, ok := as[signin.InFront](m); !ok {
		return m.SignIn.SignIn(r)
	}
	said, ok := found[i]
	if !ok {
		return signin.User{}, signin.ErrNotMine
	}
	return said.user, said.err
}

// pretend does the work of the sign-ins that aren't asked, from the first on.
func (s signIns) pretend(r *http.Request, first int) {
	for _, m := range s.modules[first:] {
		if d, ok := as[signin.Decoy](m); ok {
			d.Decoy(r)
		}
	}
}

// accepts tells whether a user can be one, whatever a sign-in says.
func (s signIns) accepts(m signInModule, u signin.User) bool {
	err := u.Check()
	if err != nil {
		s.logger.Warn("a sign-in's user is refused", zap.String("sign_in", m.id), zap.Error(err))
	}
	return err == nil
}

// errCantTell is a reason to refuse with 503.
var errCantTell = errors.New("who sent the request can't be told")

// saidBy adds to a reason, for the log, which sign-in gave it, and why.
func saidBy(m signInModule, reason, err error) error {
	return fmt.Errorf("%w: %s: %w", reason, m.id, err)
}

// authorities are all that check credentials here.
func (s signIns) authorities() (authorities []string) {
	for _, m := range s.modules {
		authority := m.id
		if namer, ok := as[signin.AuthorityNamer](m); ok {
			authority += " " + namer.Authority()
		}
		if _, ok := as[signin.InFront](m); !ok && !slices.Contains(authorities, authority) {
			authorities = append(authorities, authority)
		}
	}
	return authorities
}

// haveCredentials tells whether r has some beside Authorization.
func (s signIns) haveCredentials(r *http.Request) bool {
	for _, m := range s.modules {
		if taker, ok := as[signin.CredentialTaker](m); ok && taker.HasCredentials(r) {
			return true
		}
	}
	return false
}

// takeBasic tells whether one of them may take user name and password.
func (s signIns) takeBasic() bool {
	for _, m := range s.modules {
		if takesBasic(m) {
			return true
		}
	}
	return false
}

func takesBasic(m signInModule) bool {
	taker, ok := as[signin.BasicTaker](m)
	return ok && taker.TakesBasic()
}

// rules say what is known beforehand of the sign-ins.
func (s signIns) rules() (rules []registry.SignIn) {
	for _, m := range s.modules {
		rule := registry.SignIn{Kind: m.id, Knows: func(string) bool { return true }, NamesAdmins: true}
		if knower, ok := as[signin.Knower](m); ok {
			rule.Knows = knower.Knows
		}
		if namer, ok := as[signin.AdminNamer](m); ok {
			rule.NamesAdmins = namer.NamesAdmins()
		}
		rules = append(rules, rule)
	}
	return rules
}

// readFront tells whether one of them reads whom handlers in front have
// established.
func (s signIns) readFront() bool {
	for _, m := range s.modules {
		if _, ok := as[signin.InFront](m); ok {
			return true
		}
	}
	return false
}

// claims are the names of the claims that they may establish, if they know.
func (s signIns) claims() (names []string, all bool) {
	all = true
	for _, m := range s.modules {
		namer, ok := as[signin.ClaimNamer](m)
		if !ok {
			all = false
			continue
		}
		names = append(names, namer.ClaimNames()...)
	}
	return names, all
}
