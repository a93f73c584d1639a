// Package signin is the contract for modules that sign users in: whoever writes
// one needs nothing else of this repository. A sign-in is a Caddy module of the
// namespace access_tokens.sign_in that implements [SignIn], and what else of
// the interfaces here fits it. The built-in ones are written the same way, in
// the packages below. [signintest.Run] tests a sign-in against the contract.
//
// The sign-ins of a site prove who sent a request that carries no access token.
// They are asked in the order written, each with one of four answers:
//
//   - a [User] and no error: yes.
//   - [ErrDenied]: no. Nobody else is asked.
//   - [ErrNotMine]: the request has nothing that this sign-in takes, or nothing
//     that it knows. The next one is asked.
//   - any other error: it can't be told right now. The request is refused with
//     503, as clients throw tokens away on 401.
//
// An error may wrap one of those here, with a reason for the log; clients see
// neither. No error may hold credentials.
//
// [signintest.Run]: https://pkg.go.dev/github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin/signintest#Run
package signin

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// SignIn proves who sent a request that carries no access token.
//
// It may block for as long as the request's context allows: where the request
// has credentials, up to a minute, whether its client waits or not. It is called
// concurrently. It must not change the request, and must not keep or log its
// credentials.
//
// Attempts with credentials that don't end with yes are counted as failed, and
// limited, those that can't be told too: whoever checked the credentials may
// have said no in a way of their own. [ErrNotChecked] says that nobody has. One
// that takes credentials from elsewhere than Authorization is to be a
// [CredentialTaker], or guessing them isn't limited.
type SignIn interface {
	SignIn(*http.Request) (User, error)
}

var (
	// ErrNotMine says that the request has no credentials that this sign-in knows.
	ErrNotMine = errors.New("not this sign-in's credentials")
	// ErrDenied says that the request has credentials for this sign-in, and they are
	// wrong.
	ErrDenied = errors.New("sign-in denied")
	// ErrNotChecked says that it can't be told because nobody has looked at the
	// credentials, such as when a directory can't be reached. It isn't counted as
	// a failed attempt. Once credentials have been sent, it is the wrong error.
	ErrNotChecked = errors.New("the credentials were not checked")
)

// BasicTaker is a SignIn that may take HTTP Basic credentials (RFC 7617), so
// that a 401 asks for them, and the page for user name and password.
type BasicTaker interface {
	TakesBasic() bool
}

// CredentialTaker is a SignIn that takes credentials from elsewhere than
// Authorization, such as a cookie or a header of its own. Requests that have
// some are attempts to sign in, which are limited; those that haven't any, and
// no Authorization either, are not. Where it has credentials and isn't content
// with them, nor is any other sign-in, the attempt has failed.
type CredentialTaker interface {
	HasCredentials(*http.Request) bool
}

// InFront is a SignIn that reads whom a handler in front has established, such
// as basic_auth or forward_auth.
//
// Established is called on every request, before the placeholders
// {http.auth.user.*} are emptied and identity headers removed. What it answers
// stands in its turn for the answer of SignIn, which isn't called. Where
// `without_token pass` lets a request without a token through, it is that
// user's. A site with such a sign-in can't have `foreign_token pass`: a handler
// in front may have taken the API's own token for somebody.
type InFront interface {
	Established(*http.Request) (User, error)
}

// Knower is a SignIn that knows beforehand whom it can establish.
type Knower interface {
	Knows(id string) bool
}

// AdminNamer is a SignIn that knows beforehand whether it ever calls a user an
// administrator.
type AdminNamer interface {
	NamesAdmins() bool
}

// ClaimNamer is a SignIn that knows beforehand which claims it may establish.
// Their placeholders are empty, instead of unknown, where a user has none.
type ClaimNamer interface {
	ClaimNames() []string
}

// Decoy is a SignIn that takes noticeable time to answer. When a sign-in before it
// says no to somebody whom it knows, time would tell that: whoever is unknown
// there is left to the others, which takes longer.
type Decoy interface {
	// Decoy takes as long as SignIn would to say no to a user like the request's.
	// It must not use the user's name and password, other than to compare them
	// itself: they may be a slip of somebody who is none of its users.
	Decoy(*http.Request)
}

// AuthorityNamer is a SignIn of a module that has several authorities to ask,
// such as APIs or directories. Failed sign-ins count together, on all sites of a
// server, for sign-ins of a module that have the same authority; for all sign-ins
// of a module that isn't an AuthorityNamer.
type AuthorityNamer interface {
	// Authority names what checks the credentials, such as an API's origin. It is
	// the same for all users: whoever tries names could learn from a difference
	// which are known.
	Authority() string
}

// User is whom a sign-in established. One that isn't as its fields say is
// refused, as if the sign-in had said no, and the log says why.
type User struct {
	// ID is 1 to 256 characters of valid UTF-8, without control characters or
	// white space at either end, and not "*". Ids are compared byte for byte.
	// The same id from two sign-ins is the same user.
	ID string
	// Email, Name and each of Claims are at most 1,024 bytes of valid UTF-8
	// without control characters; empty if not known.
	Email, Name string
	// Admin makes the user an administrator of the project.
	Admin bool
	// Claims are further facts, by the names they have in placeholders: see
	// [CheckClaimNames].
	Claims map[string]string
}

// Check says why u can't be a user.
func (u User) Check() error {
	if err := registry.CheckUserID(u.ID); err != nil {
		return err
	}
	if err := checkText("the e-mail", u.Email); err != nil {
		return err
	}
	if err := checkText("the name", u.Name); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(u.Claims)) {
		if err := CheckClaimNames(name); err != nil {
			return err
		}
		if err := checkText("claim "+name, u.Claims[name]); err != nil {
			return err
		}
	}
	return nil
}

// maxText is how long an e-mail, a name or another claim can be, in bytes.
const maxText = 1024

func checkText(name, value string) error {
	switch {
	case !utf8.ValidString(value):
		return fmt.Errorf("%s is no valid UTF-8", name)
	case len(value) > maxText:
		return fmt.Errorf("%s has more than %d bytes", name, maxText)
	case strings.ContainsFunc(value, unicode.IsControl):
		return fmt.Errorf("%s has control characters", name)
	}
	return nil
}
