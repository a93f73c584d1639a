package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// errUnaudited: the change has been made, and what says so is in the store, but
// not yet where it has to be.
var errUnaudited = fmt.Errorf("%w: the change isn't written down", store.ErrUnavailable)

// commit is the way in which anything is changed that somebody is told of: with
// what is to be said of it. It fails as store.Store.Commit does, with
// store.ErrUnavailable where the change may not be made because it can't be
// written down, or with errUnaudited. What is committed is seen through, also
// for whoever goes away meanwhile.
func (r *Registry) commit(ctx context.Context, m store.Mutation, events ...Event) (store.Outcome, error) {
	gives := slices.ContainsFunc(events, func(e Event) bool { return !e.takesAway() })
	if gives {
		if err := r.Audit.Ready(); err != nil {
			return store.Outcome{}, fmt.Errorf("%w: %w", errNotReady, err)
		}
	}
	done, err := r.Config.Store.Commit(context.WithoutCancel(ctx), m, r.Audit.Lines(events)...)
	if err != nil {
		return done, err
	}
	for i := range events {
		events[i].Position = done.Position
		r.tellEnded(&events[i])
	}
	r.noticeChange(events, done)
	if err := r.Audit.Changed(events); err != nil && gives {
		return done, fmt.Errorf("%w: %w", errUnaudited, err)
	}
	return done, nil
}

// tellEnded tells whose tokens may have stopped to hold because of e.
func (r *Registry) tellEnded(e *Event) {
	switch e.Kind {
	case TokenDeleted, TokensDeleted, UserBlocked:
		r.Ended(e.Project, e.User)
	case SettingsChanged:
		r.Ended(e.Project, "")
	}
}

var errNotReady = refuse(store.ErrUnavailable, "Nothing has been changed. Here each change is written down first, and that isn't possible at present. Keep the token and try again later, or tell whoever runs this gateway; its log says what is wrong.")

// tend commits what changes nothing that anybody is told of, but for what is found
// in a sweep.
func tend[M store.Touch | store.Sweep | store.Purge | store.Rehash | store.Tell](ctx context.Context, r *Registry, m M) error {
	done, err := r.Config.Store.Commit(ctx, any(m).(store.Mutation))
	for _, id := range done.Revoked {
		r.Notices.Notice(Notice{Kind: TokenDeleted, TokenID: id})
	}
	return err
}
