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
	t, err := r.Recall(p, c, id)
	if err == nil && t.IsRevoked() {
		return Token{}, ErrNotFound
	}
	return t, err
}

// Recall is Get, also of a token that was deleted, for as long as its record stays.
func (r *Registry) Recall(p *Project, c Caller, id uuid.UUID) (Token, error) {
	record, err := r.visible(p, c, id)
	if err != nil {
		return Token{}, err
	}
	tokens, err := r.withUses([]store.Record{record})
	if err != nil {
		return Token{}, err
	}
	return tokens[0], nil
}

// Successors returns the first of the tokens that descend from one that the
// caller may see, at most so many, and how many there are. It fails as Get does,
// or with ErrBusy.
func (r *Registry) Successors(ctx context.Context, p *Project, c Caller, id uuid.UUID, most int) (first []Token, all int, err error) {
	done, err := r.listing.begin(ctx, turnOf{p.Name, c.User.ID}) // a line can be as long as a list
	if err != nil {
		return nil, 0, err
	}
	defer done()
	if _, err := r.visible(p, c, id); err != nil {
		return nil, 0, err
	}
	ids, err := r.Store.Successors(id)
	if err != nil {
		return nil, 0, err
	}
	records, err := r.Store.Records(ids[:min(most, len(ids))]...)
	if err != nil {
		return nil, 0, err
	}
	first, err = r.withUses(records)
	return first, len(ids), err
}

// visible returns the record of a token that the caller may see, deleted or
// not. It fails with ErrNotFound or store.ErrUnavailable.
func (r *Registry) visible(p *Project, c Caller, id uuid.UUID) (store.Record, error) {
	record, err := r.byID(id)
	if err != nil {
		return store.Record{}, err
	}
	if record.Project != p.Name || record.User.ID != c.User.ID && !p.IsAdmin(c) {
		return store.Record{}, ErrNotFound
	}
	return record, nil
}

// byID returns the record of a token of any project, deleted or not. It fails with
// ErrNotFound or store.ErrUnavailable.
func (r *Registry) byID(id uuid.UUID) (store.Record, error) {
	record, err := r.Store.ByID(id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Record{}, ErrNotFound
	}
	return record, err
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
	return sideBySide(ids, func(id uuid.UUID) error {
		_, err := r.revoke(ctx, id, c.event(TokenDeleted, p, at))
		return err
	})
}

// revoke revokes a token and none of its successors, and returns its record as it
// was before, zero if there is nothing to revoke. The event is e, of the token.
func (r *Registry) revoke(ctx context.Context, id uuid.UUID, e Event) (store.Record, error) {
	for {
		record, err := r.byID(id)
		if errors.Is(err, ErrNotFound) || err == nil && record.IsRevoked() {
			return store.Record{}, nil
		}
		if err != nil {
			return store.Record{}, err
		}
		e.Project = record.Project
		_, err = r.commit(ctx, store.Revoke{ID: id, Revision: record.Revision, At: e.Time.Time}, e.of(&record))
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return record, err
		}
	}
}
