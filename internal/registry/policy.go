package registry

import (
	"fmt"
	"slices"
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

// Who, besides administrators, may make tokens.
const (
	GenerateAdmins   = "admins"
	GenerateEveryone = "everyone"
	// GenerateUsers: those whom the policy names.
	GenerateUsers = "users"
)

// Policy is what holds in a project at one moment.
type Policy struct {
	project  *Project
	revision uint64

	// Enabled is whether tokens work at all.
	Enabled  bool
	Generate string
	// Users may make tokens where Generate is GenerateUsers.
	Users []string
	// MaxLifetimeDays bounds new tokens' lifetimes, or is Unlimited.
	MaxLifetimeDays int
}

// defaults hold where neither the owner nor an administrator has said otherwise.
var defaults = store.Settings{Enabled: new(true), Generate: GenerateAdmins, Users: []string{}, MaxLifetimeDays: 365}

// Policy returns what holds in p now. A decision that is taken later has to ask
// again.
func (r *Registry) Policy(p *Project) Policy {
	return p.policy(r.Store.Settings(p.Name))
}

// policy returns what holds in p if that was set at run time.
func (p *Project) policy(stored store.Settings, revision uint64) Policy {
	s := p.current().Fixed.Over(stored).Over(defaults)
	return Policy{p, revision, *s.Enabled, s.Generate, s.Users, s.MaxLifetimeDays}
}

// Caller is who asks for something: a user who signed in, or the holder of a
// valid token of that user.
type Caller struct {
	User store.User
	// By is the kind of sign-in that established the user; "" for the holder of
	// a token.
	By string
	// SignedInAdmin: the sign-in called the user an administrator.
	SignedInAdmin bool
	// Token is the caller's token, nil if the caller signed in.
	Token *store.Record
	Origin
}

// SignedIn returns the caller that a sign-in of some kind established.
func SignedIn(by string, user store.User, admin bool) Caller {
	return Caller{By: by, User: user, SignedInAdmin: admin}
}

// Holder returns the caller that holds a valid token.
func Holder(r *store.Record) Caller { return Caller{User: r.User, Token: r} }

// IsAdmin tells whether c may administrate the project. A token carries that
// right only for users named as administrators, never what a sign-in alone
// knew.
func (p *Project) IsAdmin(c Caller) bool {
	return p.current().Admins[c.User.ID] || c.Token == nil && c.SignedInAdmin
}

// MayGenerate returns nil if c may make a token at now, or an error that is
// ErrForbidden or ErrOff and says who could change that.
func (p *Policy) MayGenerate(c Caller, now time.Time) error {
	switch {
	case !p.Enabled:
		return p.off(c)
	case p.Generate == GenerateEveryone, p.project.IsAdmin(c), p.renewsAsAdmin(c, now):
		return nil
	case p.Generate == GenerateUsers && slices.Contains(p.Users, c.User.ID):
		return nil
	}
	who := "An administrator of the project can allow it in its settings."
	if p.project.current().Fixed.Generate != "" {
		who = "Whoever runs this gateway can allow it (allow_generate)."
	}
	return refuse(ErrForbidden, "You may not make tokens in project %q. %s", p.project.Name, who)
}

// off is ErrOff. Whoever signed in has no token to keep.
func (p *Policy) off(c Caller) error {
	switch {
	case c.Token != nil:
		return ErrOff
	case p.project.current().Fixed.Enabled != nil:
		return refuse(ErrOff, "No tokens are made while it is off. Whoever runs this gateway can switch it on (api_access).")
	}
	return refuse(ErrOff, "No tokens are made while it is off. An administrator of the project can switch it on in its settings.")
}

// renewsAsAdmin tells whether c's token may be renewed because the sign-in
// that its line began with called its user an administrator, not too long ago.
func (p *Policy) renewsAsAdmin(c Caller, now time.Time) bool {
	if c.Token == nil || !c.Token.SignedInAdmin {
		return false
	}
	lapse := defaultLapse
	if p.MaxLifetimeDays != Unlimited {
		lapse = time.Duration(p.MaxLifetimeDays) * secondsADay * time.Second
	}
	return now.Before(c.Token.SignedIn.Add(lapse))
}

// mayIssue returns nil if c may make a token of that lifetime at now, or
// ErrOff, ErrInvalidToken, or an error that is ErrForbidden or ErrInvalid.
func (p *Policy) mayIssue(c Caller, lifetime int64, now time.Time) error {
	if c.Token != nil && c.Token.Expired(now) {
		return ErrInvalidToken
	}
	if err := p.MayGenerate(c, now); err != nil {
		return err
	}
	if err := p.checkLifetime(lifetime); err != nil {
		return err
	}
	if c.Token != nil && outlives(lifetime, c.Token.Lifetime) {
		return refuse(ErrForbidden, "The new token would live longer than the one it renews, whose lifetime is %d seconds. Ask for at most that, or sign in to make a token with a longer lifetime.", c.Token.Lifetime)
	}
	return nil
}

// outlives tells whether lifetime is longer than limit.
func outlives(lifetime, limit int64) bool {
	return limit != store.Never && (lifetime == store.Never || lifetime > limit)
}

// checkLifetime returns nil if a token may live for that many seconds, or an
// error that is ErrInvalid.
func (p *Policy) checkLifetime(seconds int64) error {
	if seconds >= 1 && seconds <= p.longest() || seconds == store.Never && p.MaxLifetimeDays == Unlimited {
		return nil
	}
	return refuse(ErrInvalid, "lifetimeSeconds must be %s.", p.AllowedLifetimes())
}

// AllowedLifetimes says in words how long new tokens may live.
func (p *Policy) AllowedLifetimes() string {
	if p.MaxLifetimeDays == Unlimited {
		return fmt.Sprintf("a whole number of seconds from 1 to %d, or -1 for a token that never expires", p.longest())
	}
	days := fmt.Sprintf("%d days", p.MaxLifetimeDays)
	if p.MaxLifetimeDays == 1 {
		days = "a day"
	}
	return fmt.Sprintf("a whole number of seconds from 1 to %d (%s)", p.longest(), days)
}

// longest is the longest lifetime that ends, in seconds.
func (p *Policy) longest() int64 {
	if p.MaxLifetimeDays == Unlimited {
		return MaxLifetimeDays * secondsADay
	}
	return int64(p.MaxLifetimeDays) * secondsADay
}
