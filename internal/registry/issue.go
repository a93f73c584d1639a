package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Wish is what a caller wants a new token to be.
type Wish struct {
	// LifetimeSeconds, or store.Never.
	LifetimeSeconds int64
	Description     string
}

// Issue makes a token for the caller and returns its value, once. A caller who
// holds a token renews it: the new token is its successor, and doesn't live
// longer than the parent's lifetime. When Issue returns without error the
// token is durable.
//
// It fails with ErrForbidden, ErrInvalid, ErrInvalidToken if the caller's
// token ended meanwhile, store.ErrFull or store.ErrUnavailable.
func (r *Registry) Issue(ctx context.Context, p *Project, c Caller, w Wish) (token.Value, Token, error) {
	now := r.Now().UTC().Truncate(time.Millisecond)
	if c.Token != nil && c.Token.Expired(now) {
		return token.Value{}, Token{}, ErrInvalidToken
	}
	if err := p.MayGenerate(c, now); err != nil {
		return token.Value{}, Token{}, err
	}
	if err := p.checkLifetime(w.LifetimeSeconds); err != nil {
		return token.Value{}, Token{}, err
	}
	value, err := token.Make(p.Prefix, r.Random)
	if err != nil {
		return token.Value{}, Token{}, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	id, err := uuid.NewRandomFromReader(r.Random)
	if err != nil {
		return token.Value{}, Token{}, fmt.Errorf("%w: reading random bytes: %w", store.ErrUnavailable, err)
	}
	record := store.Record{
		ID: id, Hash: r.Key.Hash(value), Key: r.Key.ID(),
		Project: p.Name, User: c.User,
		SignedIn: now, SignedInAdmin: c.SignedInAdmin,
		Description: w.Description, Created: now, Lifetime: w.LifetimeSeconds,
	}
	if c.Token == nil {
		record.Revision, err = r.Store.Commit(ctx, store.Create{Record: record})
	} else {
		record, err = r.renew(ctx, c.Token, record)
	}
	if errors.Is(err, store.ErrConflict) {
		err = errTaken
	}
	if err != nil {
		return token.Value{}, Token{}, err
	}
	return value, Token{Record: record}, nil
}

// errTaken: two tokens would have the same value or id.
var errTaken = fmt.Errorf("%w: the source of random bytes repeats itself", store.ErrUnavailable)

// renew commits record as a successor of parent, which is read anew if it
// changed meanwhile.
func (r *Registry) renew(ctx context.Context, parent *store.Record, record store.Record) (store.Record, error) {
	if outlives(record.Lifetime, parent.Lifetime) {
		return record, refuse(ErrForbidden, "The new token would live longer than the one it renews, whose lifetime is %d seconds. Ask for at most that, or sign in to make a token with a longer lifetime.", parent.Lifetime)
	}
	r.renewing.RLock()
	defer r.renewing.RUnlock()
	record.Parent = parent.ID
	record.SignedIn, record.SignedInAdmin = parent.SignedIn, parent.SignedInAdmin
	revision := parent.Revision
	for {
		at, err := r.Store.Commit(ctx, store.Create{Record: record, ParentRevision: revision})
		if !errors.Is(err, store.ErrConflict) {
			record.Revision = at
			return record, err
		}
		now, err := r.Store.ByID(parent.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && now.IsRevoked() {
			return record, ErrInvalidToken
		}
		if err != nil {
			return record, err
		}
		if now.Revision == revision {
			return record, errTaken
		}
		revision = now.Revision
	}
}

// outlives tells whether lifetime is longer than limit.
func outlives(lifetime, limit int64) bool {
	return limit != store.Never && (lifetime == store.Never || lifetime > limit)
}
