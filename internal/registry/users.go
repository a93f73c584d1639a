package registry

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// DeleteAll ends every token that a user has, renewals under way included, and
// returns how many of them were living. Once it has returned without error they
// are refused. One's own takes a sign-in, another's an administrator.
//
// It fails with ErrForbidden, ErrInvalid, ErrOff, ErrBlocked or ErrInvalidToken
// if the caller was good when authenticated, store.ErrFull or
// store.ErrUnavailable.
func (r *Registry) DeleteAll(ctx context.Context, p *Project, c Caller, user string) (deleted int, err error) {
	r.deciding.RLock()
	defer r.deciding.RUnlock()
	if c, err = p.confirm(c); err != nil {
		return 0, err
	}
	if err := p.mayDeleteAll(c, user); err != nil {
		return 0, err
	}
	for {
		m := store.Void{Project: p.Name, User: user, At: r.Now().UTC().Truncate(time.Millisecond)}
		if m.Token, m.TokenRevision, err = r.mayStill(r.Policy(p), c); err != nil {
			return 0, err
		}
		e := c.event(TokensDeleted, p, m.At)
		e.User = user
		done, err := r.commit(ctx, m, e)
		if !errors.Is(err, store.ErrConflict) {
			return done.Ended, err
		}
	}
}

func (p *Project) mayDeleteAll(c Caller, user string) error {
	if user != c.User.ID {
		if err := p.MayAdministrate(c); err != nil {
			return err
		}
		return checkUser(user)
	}
	if c.Token != nil {
		return refuse(ErrForbidden, "A token can't delete all of its user's tokens, itself included: sign in to do that.")
	}
	return nil
}

func checkUser(id string) error {
	if err := CheckUserID(id); err != nil {
		return refuse(ErrInvalid, "user must be a user's id: %v.", err)
	}
	return nil
}

// Blocked returns the users who are blocked, sorted by id. It fails with
// ErrForbidden.
func (r *Registry) Blocked(p *Project, c Caller) ([]store.BlockedUser, error) {
	if err := p.MayAdministrate(c); err != nil {
		return nil, err
	}
	return r.Store.Blocked(p.Name), nil
}

// IsBlocked tells whether a user is blocked in the project, whose tokens,
// sign-ins and sessions then count for nothing. It is to be asked each time.
func (r *Registry) IsBlocked(p *Project, user string) bool {
	return r.Store.IsBlocked(p.Name, user)
}

// CheckBlocked returns ErrBlocked, as a *Denial, for a user who is blocked.
func (r *Registry) CheckBlocked(p *Project, user string) error {
	if r.IsBlocked(p, user) {
		return &Denial{Reason: ErrBlocked, Why: WhyBlocked}
	}
	return nil
}

// Block blocks a user from the next request on; a user who is blocked stays so,
// as by whoever was first. It fails as DeleteAll does, or with ErrProtected for
// the caller and the project's named administrators.
func (r *Registry) Block(ctx context.Context, p *Project, c Caller, user string) error {
	r.deciding.RLock()
	defer r.deciding.RUnlock()
	c, err := p.administrates(c, user)
	if err != nil {
		return err
	}
	if err := p.MayBlock(c, user); err != nil {
		return err
	}
	return r.setBlockedBy(ctx, p, c, user, true)
}

// MayBlock returns nil if c, an administrator, may block a user, or an error
// that is ErrProtected.
func (p *Project) MayBlock(c Caller, user string) error {
	switch {
	case user == c.User.ID:
		return refuse(ErrProtected, "You can't block yourself.")
	case p.current().Admins[user]:
		return refuse(ErrProtected, "The gateway's configuration names %q as an administrator of project %q (admins): whoever runs the gateway can remove the name there first.", user, p.Name)
	}
	return nil
}

// Unblock lets a user be as before, if the user is blocked. It fails as
// DeleteAll does.
func (r *Registry) Unblock(ctx context.Context, p *Project, c Caller, user string) error {
	r.deciding.RLock()
	defer r.deciding.RUnlock()
	c, err := p.administrates(c, user)
	if err != nil {
		return err
	}
	return r.setBlockedBy(ctx, p, c, user, false)
}

// administrates returns c with the rights that the rules in force leave it, if
// those are to administrate what could be a user.
func (p *Project) administrates(c Caller, user string) (Caller, error) {
	c, err := p.confirm(c)
	if err != nil {
		return Caller{}, err
	}
	if err := p.MayAdministrate(c); err != nil {
		return Caller{}, err
	}
	return c, checkUser(user)
}

func (r *Registry) setBlockedBy(ctx context.Context, p *Project, c Caller, user string, blocked bool) error {
	m := store.Block{Project: p.Name, User: user, Lift: !blocked, By: c.User.ID, At: r.Now().UTC().Truncate(time.Millisecond)}
	_, err := r.setBlocked(ctx, m, c.event("", p, m.At), func(m *store.Block) (err error) {
		m.Token, m.TokenRevision, err = r.mayStill(r.Policy(p), c)
		return err
	})
	return err
}

// setBlocked blocks or unblocks a user, and tells whether that changed anything. It
// asks whether that may still be, each time that it has to be decided again. The
// event is e, of that kind.
func (r *Registry) setBlocked(ctx context.Context, m store.Block, e Event, may func(*store.Block) error) (changed bool, err error) {
	e.Kind, e.User = map[bool]string{false: UserBlocked, true: UserUnblocked}[m.Lift], m.User
	for {
		account, err := r.Store.Account(m.Project, m.User)
		if err != nil {
			return false, err
		}
		m.Revision = account.Revision
		if err := may(&m); err != nil {
			return false, err
		}
		if account.IsBlocked() != m.Lift {
			return false, nil
		}
		if _, err = r.commit(ctx, m, e); !errors.Is(err, store.ErrConflict) {
			return err == nil, err
		}
	}
}

// mayStill decides anew about a caller whose user may have been blocked, or
// whose token deleted, or switched off with all others, while the request was
// on its way. It returns the token and its revision, for a mutation to carry.
func (r *Registry) mayStill(policy Policy, c Caller) (id uuid.UUID, revision uint64, err error) {
	if r.IsBlocked(policy.project, c.User.ID) {
		return id, 0, ErrBlocked
	}
	if c.Token == nil {
		return id, 0, nil
	}
	switch {
	case c.Token.Expired(r.Now()):
		return id, 0, ErrInvalidToken
	case !policy.Enabled:
		return id, 0, ErrOff
	}
	revision, err = r.tokenRevision(c.Token.ID)
	return c.Token.ID, revision, err
}

// sweepsAtOnce bounds how long the keeper is busy with the tokens that users
// were rid of all at once, before it does what else there is to do.
const sweepsAtOnce = 4096

// sweep overwrites the records of tokens that DeleteAll has ended, so that they
// say so by themselves.
func (r *Registry) sweep(ctx context.Context) error {
	const atOnce = 256
	left := sweepsAtOnce
	for _, v := range r.Store.Voids() {
		for left > 0 {
			ids, err := r.Store.VoidedTokens(v, atOnce)
			if err != nil {
				return err
			}
			left -= len(ids)
			if len(ids) == 0 {
				err = r.sweepSome(ctx, store.Sweep{Voided: v, Last: true})
			} else {
				err = sideBySide(ids, func(id uuid.UUID) error {
					return r.sweepSome(ctx, store.Sweep{Voided: v, IDs: []uuid.UUID{id}})
				})
			}
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				break
			}
		}
	}
	return nil
}

func (r *Registry) sweepSome(ctx context.Context, m store.Sweep) error {
	err := tend(ctx, r, m)
	if errors.Is(err, store.ErrConflict) {
		return nil // There is another void, and the next round is about that one.
	}
	return err
}
