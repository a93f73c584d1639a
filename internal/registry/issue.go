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

// MaxDescription is how long a description can be, in code points.
const MaxDescription = 1024

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
// It fails with ErrForbidden, ErrInvalid, ErrOff, ErrInvalidToken if the
// caller's token ended meanwhile, store.ErrFull or store.ErrUnavailable.
func (r *Registry) Issue(ctx context.Context, p *Project, c Caller, w Wish) (token.Value, Token, error) {
	now := r.Now().UTC().Truncate(time.Millisecond)
	policy := r.Policy(p)
	if err := policy.mayIssue(c, w.LifetimeSeconds, now); err != nil {
		return token.Value{}, Token{}, err
	}
	// What people paste by mistake would be kept, for others to read.
	if token.Contains(w.Description) {
		return token.Value{}, Token{}, &Refusal{ErrTokenInText, "description must not hold a token value. If others could have seen that token, delete it."}
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
	if c.Token != nil {
		record.Parent = c.Token.ID
		record.SignedIn, record.SignedInAdmin = c.Token.SignedIn, c.Token.SignedInAdmin
		r.renewing.RLock()
		defer r.renewing.RUnlock()
	}
	if record.Revision, err = r.add(ctx, policy, c, record); err != nil {
		return token.Value{}, Token{}, err
	}
	record.CreatedRevision = record.Revision
	return value, Token{Record: record}, nil
}

// errTaken: two tokens would have the same value or id.
var errTaken = fmt.Errorf("%w: the source of random bytes repeats itself", store.ErrUnavailable)

// add commits the token that c makes. If the project's settings or the token
// that it renews have changed since they were looked at, it decides again.
func (r *Registry) add(ctx context.Context, policy Policy, c Caller, record store.Record) (revision uint64, err error) {
	m := store.Create{Record: record, SettingsRevision: policy.revision}
	if c.Token != nil {
		m.ParentRevision = c.Token.Revision
	}
	for {
		revision, err = r.Store.Commit(ctx, m)
		if !errors.Is(err, store.ErrConflict) {
			return revision, err
		}
		policy = r.Policy(policy.project)
		if err := policy.mayIssue(c, record.Lifetime, record.Created); err != nil {
			return 0, err
		}
		var parent uint64
		if c.Token != nil {
			if parent, err = r.tokenRevision(c.Token.ID); err != nil {
				return 0, err
			}
		}
		if policy.revision == m.SettingsRevision && parent == m.ParentRevision {
			return 0, errTaken
		}
		m.SettingsRevision, m.ParentRevision = policy.revision, parent
	}
}

// tokenRevision returns where a token is now. It fails with ErrInvalidToken if
// the token has been deleted.
func (r *Registry) tokenRevision(id uuid.UUID) (uint64, error) {
	now, err := r.Store.ByID(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && now.IsRevoked() {
		return 0, ErrInvalidToken
	}
	return now.Revision, err
}
