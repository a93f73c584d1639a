package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Retain says how long records stay after their token has ended.
type Retain struct{ Expired, Deleted time.Duration }

// purgeEvery is how often records are looked for that have been kept long enough.
func (r Retain) purgeEvery() time.Duration {
	return min(time.Hour, max(r.Expired, time.Second), max(r.Deleted, time.Second))
}

// SetRetain changes for how long records stay.
func (r *Registry) SetRetain(to Retain) {
	r.retaining.Lock()
	defer r.retaining.Unlock()
	if r.Retain == to {
		return // or reloads that come often would put purging off
	}
	r.Retain = to
	select {
	case r.retained <- struct{}{}:
	default:
	}
}

func (r *Registry) retain() Retain {
	r.retaining.Lock()
	defer r.retaining.Unlock()
	return r.Retain
}

// purge removes the records of tokens that ended longer ago than they are
// retained.
func (r *Registry) purge(ctx context.Context) error {
	const atOnce, mostRounds = 64, 4096
	now := r.Certain()
	var first uuid.UUID
	for rounds := 0; ; rounds++ {
		retain := r.retain()
		ids, err := r.Store.Ended(now.Add(-retain.Expired), now.Add(-retain.Deleted), atOnce)
		if err != nil || len(ids) == 0 {
			return err
		}
		if ids[0] != first {
			first, rounds = ids[0], 0
		}
		// A token with many successors takes many rounds.
		if rounds == mostRounds {
			return fmt.Errorf("token %s can't be purged: %w", first, store.ErrCorrupt)
		}
		err = sideBySide(ids, func(id uuid.UUID) error {
			_, err := r.Store.Commit(ctx, store.Purge{ID: id})
			return err
		})
		if err != nil {
			return err
		}
	}
}
