package registry

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Token is a record and when the token was last used, zero for never, and from
// where at that moment, zero if that isn't known.
type Token struct {
	store.Record
	LastUsed        time.Time
	LastUsedAddress netip.Addr
}

// MayAdministrate returns nil if c is an administrator of the project, or an
// error that is ErrForbidden.
func (p *Project) MayAdministrate(c Caller) error {
	switch {
	case p.Exists() != nil:
		return p.Exists()
	case p.IsAdmin(c):
		return nil
	case c.Token != nil && c.Token.SignedInAdmin:
		return refuse(ErrForbidden, "This takes an administrator of project %q, and a token doesn't carry that right: sign in instead.", p.Name)
	}
	return refuse(ErrForbidden, "This takes an administrator of project %q. Ask one to do it.", p.Name)
}

// Get returns a token that the caller may see: its own, or for an
// administrator any of the project. It fails with ErrNotFound or
// store.ErrUnavailable.
func (r *Registry) Get(p *Project, c Caller, id uuid.UUID) (Token, error) {
	record, err := r.visible(p, c, id)
	if err != nil {
		return Token{}, err
	}
	if record.IsRevoked() {
		return Token{}, ErrNotFound
	}
	uses, err := r.lastUses(id)
	if err != nil {
		return Token{}, err
	}
	return Token{record, uses[0].At, uses[0].Address}, nil
}

// visible returns the record of a token that the caller may see, deleted or
// not. It fails with ErrNotFound or store.ErrUnavailable.
func (r *Registry) visible(p *Project, c Caller, id uuid.UUID) (store.Record, error) {
	record, err := r.Store.ByID(id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Record{}, ErrNotFound
	}
	if err != nil {
		return store.Record{}, err
	}
	if record.Project != p.Name || record.User.ID != c.User.ID && !p.IsAdmin(c) {
		return store.Record{}, ErrNotFound
	}
	return record, nil
}

// Delete ends a token that the caller may see, and with successors all that
// descend from it, for good: once it has returned without error they are
// refused. It fails as Get does; with successors only if neither the token nor
// one of them is left. If it fails otherwise, it can be called again.
func (r *Registry) Delete(ctx context.Context, p *Project, c Caller, id uuid.UUID, successors bool) error {
	r.deciding.RLock()
	defer r.deciding.RUnlock()
	c, err := p.confirm(c)
	if err != nil {
		return err
	}
	for {
		record, err := r.visible(p, c, id)
		if err != nil {
			return err
		}
		if record.IsRevoked() {
			if !successors {
				return ErrNotFound
			}
			return r.revokeSuccessors(ctx, p, c, id)
		}
		m := store.Revoke{ID: id, Revision: record.Revision, At: r.Now().UTC().Truncate(time.Millisecond), Successors: successors}
		e := c.event(TokenDeleted, p, m.At).of(&record)
		e.Successors = successors
		_, err = r.commit(ctx, m, e)
		tooLarge := errors.Is(err, store.ErrTooLarge)
		if tooLarge {
			// The token first, so that it is refused at once; the next round
			// does the rest.
			m.Successors, e.Successors = false, false
			_, err = r.commit(ctx, m, e)
		}
		if err == nil && tooLarge || errors.Is(err, store.ErrConflict) {
			continue
		}
		return err
	}
}

// revokeSuccessors revokes all that descend from a token, many at a time. No
// token is renewed meanwhile, or whoever renews fast enough could go on for
// ever. It fails with ErrNotFound if there are none.
func (r *Registry) revokeSuccessors(ctx context.Context, p *Project, c Caller, id uuid.UUID) error {
	r.renewing.Lock()
	defer r.renewing.Unlock()
	ids, err := r.Store.Successors(id)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return ErrNotFound
	}
	at := r.Now().UTC().Truncate(time.Millisecond)
	return sideBySide(ids, func(id uuid.UUID) error { return r.revoke(ctx, p, c, id, at) })
}

// revoke revokes a token, if it isn't, and none of its successors.
func (r *Registry) revoke(ctx context.Context, p *Project, c Caller, id uuid.UUID, at time.Time) error {
	for {
		record, err := r.Store.ByID(id)
		if errors.Is(err, store.ErrNotFound) || err == nil && record.IsRevoked() {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = r.commit(ctx, store.Revoke{ID: id, Revision: record.Revision, At: at}, c.event(TokenDeleted, p, at).of(&record))
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
}
