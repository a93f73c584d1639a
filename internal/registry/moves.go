package registry

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// byValue returns the record of a value, whichever key it is under. Only who
// uses a token can move it to the first key, since the value is needed for that:
// if it is under another one, move says where to.
func (r *Registry) byValue(v token.Value) (record store.Record, move *store.Rehash, err error) {
	keys := r.Store.Keys()
	first := keys[0].Hash(v)
	record, err = r.Store.ByHash(first)
	for i := 1; i < len(keys) && errors.Is(err, store.ErrNotFound); i++ {
		record, err = r.Store.ByHash(keys[i].Hash(v))
	}
	if err == nil && record.Key != keys[0].ID() {
		move = &store.Rehash{ID: record.ID, Revision: record.Revision, Hash: first, Key: keys[0].ID()}
	}
	return record, move, err
}

// UseKeys puts other keys for token values in force, the first for new tokens.
// The store has noted them. When it returns, no token is made under, or moved
// to, what was the first key before.
func (r *Registry) UseKeys(keys []*token.Key) {
	r.deciding.Lock()
	defer r.deciding.Unlock()
	r.Config.Store.UseKeys(keys)
}

// maxMoves bounds the tokens that wait to be moved to the first key. Others are
// when they are used again.
const maxMoves = 10_000

// moves are tokens that have been used and wait to be moved to the first key.
type moves struct {
	mu      sync.Mutex
	waiting map[uuid.UUID]store.Rehash
}

func (m *moves) note(move store.Rehash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting == nil {
		m.waiting = make(map[uuid.UUID]store.Rehash)
	}
	if len(m.waiting) < maxMoves {
		m.waiting[move.ID] = move
	}
}

func (m *moves) take() map[uuid.UUID]store.Rehash {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.waiting
	m.waiting = nil
	return taken
}

// moveUsed moves tokens that have been used to the first key. What can't be
// moved now is when it is used again.
func (r *Registry) moveUsed(ctx context.Context) error {
	waiting := r.moves.take()
	return sideBySide(slices.Collect(maps.Keys(waiting)), func(id uuid.UUID) error {
		r.deciding.RLock()
		defer r.deciding.RUnlock()
		if waiting[id].Key != r.Store.Keys()[0].ID() {
			return nil // The keys have changed since it was used.
		}
		err := tend(ctx, r, waiting[id])
		if errors.Is(err, store.ErrConflict) {
			return nil
		}
		return err
	})
}

// EndUnderOtherKeys ends all living tokens that haven't been moved to the first
// key, and returns how many those were: once they are, the other keys aren't
// needed any more.
func (o *Operator) EndUnderOtherKeys(ctx context.Context) (ended int, err error) {
	r, now := o.Registry, o.Now().UTC().Truncate(time.Millisecond)
	for {
		under := make(map[uuid.UUID]store.Record)
		err := r.Store.UnderOtherKeys(now, func(record store.Record) bool {
			under[record.ID] = record
			return len(under) < store.MaxScan
		})
		if err != nil {
			return ended, err
		}
		if len(under) == 0 {
			r.Logger.Info("ended the tokens under previous hash keys", zap.Int("tokens", ended))
			return ended, nil
		}
		var revoked atomic.Int64
		err = sideBySide(slices.Collect(maps.Keys(under)), func(id uuid.UUID) error {
			record := under[id]
			e := o.event(TokenDeleted, record.Project, "")
			e.Time = Time{now}
			_, err := r.commit(ctx, store.Revoke{ID: id, Revision: record.Revision, At: now}, e.of(&record))
			if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
				return nil // It was used or deleted meanwhile, or the next round is about it.
			}
			if err == nil {
				revoked.Add(1)
			}
			return err
		})
		if ended += int(revoked.Load()); err != nil {
			return ended, err
		}
	}
}
