package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
	// Prefix is what the token's value begins with.
	Prefix string
	// Scopes are names, of those in SiteScopes; Addresses hold the clients that may
	// use the token. Where nil, a successor has its parent's, and another
	// token isn't limited.
	Scopes    []string
	Addresses []netip.Prefix
	// SiteScopes are those of the site where the token is made.
	SiteScopes []string
	// Replace ends the token that is renewed as its successor begins.
	Replace bool
}

// Issue makes a token for the caller and returns its value, once. A caller who
// holds a token renews it: the new token is its successor, and doesn't live
// longer than the parent's lifetime. When Issue returns without error the
// token is durable.
//
// It fails with ErrForbidden, ErrInvalid, ErrOff, ErrBlocked, ErrLimit,
// ErrInvalidToken if the caller's token ended meanwhile, store.ErrFull or
// store.ErrUnavailable. Then a token that was to be replaced lives on.
func (r *Registry) Issue(ctx context.Context, p *Project, c Caller, w Wish) (token.Value, Token, error) {
	done, err := r.creating.take(ctx, turnOf{p.Name, c.User.ID})
	if err != nil {
		return token.Value{}, Token{}, err
	}
	defer done()
	r.deciding.RLock()
	defer r.deciding.RUnlock()
	c, err = p.confirm(c)
	if err != nil {
		return token.Value{}, Token{}, err
	}
	now := r.Now().UTC().Truncate(time.Millisecond)
	policy := r.Policy(p)
	if err := policy.mayIssue(c, w.LifetimeSeconds, now); err != nil {
		return token.Value{}, Token{}, err
	}
	if err := w.limit(c); err != nil {
		return token.Value{}, Token{}, err
	}
	// What people paste by mistake would be kept, for others to read.
	if token.Contains(w.Description) {
		return token.Value{}, Token{}, ErrTokenInText
	}
	value, err := token.Make(w.Prefix, r.Random)
	if err != nil {
		return token.Value{}, Token{}, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	id, err := uuid.NewRandomFromReader(r.Random)
	if err != nil {
		return token.Value{}, Token{}, fmt.Errorf("%w: reading random bytes: %w", store.ErrUnavailable, err)
	}
	key := r.Store.Keys()[0]
	record := store.Record{
		ID: id, Hash: key.Hash(value), Key: key.ID(),
		Project: p.Name, User: c.User,
		SignedIn: now, SignedInAdmin: c.SignedInAdmin,
		Description: w.Description, Created: now, Lifetime: w.LifetimeSeconds,
		Scopes: w.Scopes, Addresses: w.Addresses,
	}
	if c.Token != nil {
		record.Parent = c.Token.ID
		record.SignedIn, record.SignedInAdmin = c.Token.SignedIn, c.Token.SignedInAdmin
		r.renewing.RLock()
		defer r.renewing.RUnlock()
	}
	made, err := r.add(ctx, p, c, record, w.Replace)
	if errors.Is(err, errUnaudited) {
		err = r.settle(ctx, p, c, record.ID, w.Replace, err)
	}
	if err != nil {
		return token.Value{}, Token{}, err
	}
	record.Revision, record.CreatedRevision = made.Revision, made.Revision
	return value, Token{Record: record}, nil
}

// settle decides about a token that was made and couldn't be written down any
// more: it ends again. One that has replaced its parent lives on, since the parent
// is gone for good; what says so is in the store, and will be written.
func (r *Registry) settle(ctx context.Context, p *Project, c Caller, id uuid.UUID, replaced bool, unaudited error) error {
	if replaced {
		return nil
	}
	at := r.Now().UTC().Truncate(time.Millisecond)
	if _, err := r.revoke(ctx, id, c.event(TokenDeleted, p, at)); err != nil {
		return err
	}
	return unaudited
}

// errTaken: two tokens would have the same value or id.
var errTaken = fmt.Errorf("%w: the source of random bytes repeats itself", store.ErrUnavailable)

// add commits the token that c makes. If the project's settings, what holds of
// the user as a whole or the token that it renews have changed since they were
// looked at, it decides again.
func (r *Registry) add(ctx context.Context, p *Project, c Caller, record store.Record, replace bool) (done store.Outcome, err error) {
	var last store.Create
	events := []Event{c.event(TokenCreated, p, record.Created).of(&record)}
	if c.Token != nil {
		events[0].Kind = TokenRenewed
	}
	if replace {
		events = append(events, c.event(TokenDeleted, p, record.Created).of(c.Token))
	}
	for {
		m := store.Create{Record: record, ReplacesParent: replace, Limit: p.current().MaxTokensPerUser}
		policy := r.Policy(p)
		m.SettingsRevision = policy.revision
		account, err := r.Store.Account(p.Name, c.User.ID)
		if err != nil {
			return done, err
		}
		m.AccountRevision = account.Revision
		if c.Token != nil {
			if m.ParentRevision, err = r.tokenRevision(c.Token.ID); err != nil {
				return done, err
			}
		}
		if err := policy.mayIssue(c, record.Lifetime, record.Created); err != nil {
			return done, err
		}
		if account.IsBlocked() {
			return done, ErrBlocked
		}
		if last.Record.ID != uuid.Nil && m.SettingsRevision == last.SettingsRevision && m.AccountRevision == last.AccountRevision && m.ParentRevision == last.ParentRevision {
			return done, errTaken
		}
		done, err = r.commit(ctx, m, events...)
		if errors.Is(err, store.ErrLimit) {
			return done, refuse(ErrLimit, "You have as many tokens as project %q allows, %d. Delete one that you no longer need, or renew one with \"replace\": true.", p.Name, m.Limit)
		}
		if !errors.Is(err, store.ErrConflict) {
			return done, err
		}
		last = m
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
