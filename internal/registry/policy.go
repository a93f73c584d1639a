package registry

import (
	"fmt"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Limits of lifetimes. A day has 86,400 seconds.
const (
	secondsADay = 24 * 60 * 60
	// MaxLifetimeDays is the longest maximum that a project can set: a
	// hundred years of 365.25 days.
	MaxLifetimeDays = 36525
	// Unlimited, as a project's maximum lifetime, allows tokens that never
	// expire.
	Unlimited = -1
	// defaultLapse is how long a sign-in's word that its user is an
	// administrator serves renewal where lifetimes are unlimited.
	defaultLapse = 365 * secondsADay * time.Second
)

// Generate says who, besides administrators, may make tokens.
type Generate string

// The three answers.
const (
	GenerateAdmins   Generate = "admins"
	GenerateEveryone Generate = "everyone"
	GenerateUsers    Generate = "users"
)

// Project is a named space of tokens and the policy that holds in it.
type Project struct {
	Name string
	// Prefix is what new token values begin with.
	Prefix string
	// Admins are the ids of users who are always administrators.
	Admins map[string]bool

	// APIAccess is whether tokens work at all.
	APIAccess bool
	Generate  Generate
	// Users may generate where Generate is GenerateUsers.
	Users map[string]bool
	// MaxLifetimeDays bounds new tokens' lifetimes, or is Unlimited.
	MaxLifetimeDays int
}

// Caller is who asks for something: a user who signed in, or the holder of a
// valid token of that user.
type Caller struct {
	User store.User
	// SignedInAdmin: the sign-in called the user an administrator.
	SignedInAdmin bool
	// Token is the caller's token, nil if the caller signed in.
	Token *store.Record
}

// SignedIn returns the caller that a sign-in established.
func SignedIn(user store.User, admin bool) Caller {
	return Caller{User: user, SignedInAdmin: admin}
}

// Holder returns the caller that holds a valid token.
func Holder(r *store.Record) Caller { return Caller{User: r.User, Token: r} }

// IsAdmin tells whether c may administrate the project. A token carries that
// right only for users named as administrators, never what a sign-in alone
// knew.
func (p *Project) IsAdmin(c Caller) bool {
	return p.Admins[c.User.ID] || c.Token == nil && c.SignedInAdmin
}

// MayGenerate returns nil if c may make a token at now, or an error that is
// ErrForbidden and says who could change that.
func (p *Project) MayGenerate(c Caller, now time.Time) error {
	switch {
	case p.Generate == GenerateEveryone, p.IsAdmin(c), p.renewsAsAdmin(c, now):
		return nil
	case p.Generate == GenerateUsers && p.Users[c.User.ID]:
		return nil
	}
	return refuse(ErrForbidden, "You may not make tokens in project %q. Ask an administrator of the project to allow it, or whoever runs this gateway (allow_generate).", p.Name)
}

// renewsAsAdmin tells whether c's token may be renewed because the sign-in
// that its line began with called its user an administrator, not too long ago.
func (p *Project) renewsAsAdmin(c Caller, now time.Time) bool {
	if c.Token == nil || !c.Token.SignedInAdmin {
		return false
	}
	lapse := defaultLapse
	if p.MaxLifetimeDays != Unlimited {
		lapse = time.Duration(p.MaxLifetimeDays) * secondsADay * time.Second
	}
	return now.Before(c.Token.SignedIn.Add(lapse))
}

// checkLifetime returns nil if a token may live for that many seconds, or an
// error that is ErrInvalid.
func (p *Project) checkLifetime(seconds int64) error {
	if seconds >= 1 && seconds <= p.longest() || seconds == store.Never && p.MaxLifetimeDays == Unlimited {
		return nil
	}
	return refuse(ErrInvalid, "lifetimeSeconds must be %s.", p.AllowedLifetimes())
}

// AllowedLifetimes says in words how long new tokens may live.
func (p *Project) AllowedLifetimes() string {
	if p.MaxLifetimeDays == Unlimited {
		return fmt.Sprintf("a whole number of seconds from 1 to %d, or -1 for a token that never expires", p.longest())
	}
	return fmt.Sprintf("a whole number of seconds from 1 to %d (%d days)", p.longest(), p.MaxLifetimeDays)
}

// longest is the longest lifetime that ends, in seconds.
func (p *Project) longest() int64 {
	if p.MaxLifetimeDays == Unlimited {
		return MaxLifetimeDays * secondsADay
	}
	return int64(p.MaxLifetimeDays) * secondsADay
}
