package registry

import (
	"context"
	"errors"
	"fmt"
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
	const mostInVain = 8
	now := o.Now().UTC().Truncate(time.Millisecond)
	for inVain := 0; inVain < mostInVain; inVain++ {
		found, ending, before := 0, make([]store.Record, 0, store.MaxScan), ended
		end := func() error {
			n, err := o.endAll(ctx, ending, now)
			ended, ending = ended+n, ending[:0]
			return err
		}
		scanned := o.Store.UnderOtherKeys(now, func(record store.Record) bool {
			found++
			if ending = append(ending, record); len(ending) == store.MaxScan {
				err = end()
			}
			return err == nil
		})
		if err = errors.Join(err, scanned); err == nil {
			err = end()
		}
		switch {
		case err != nil:
			return ended, err
		case found == 0:
			o.Logger.Info("ended the tokens under previous hash keys", zap.Int("tokens", ended))
			return ended, nil
		case ended > before:
			inVain = 0
		}
	}
	return ended, fmt.Errorf("tokens under previous hash keys are left that can't be ended: %w", store.ErrCorrupt)
}

// endAll ends tokens, those left out that have changed since they were read, and
// returns how many it has ended.
func (o *Operator) endAll(ctx context.Context, tokens []store.Record, at time.Time) (int, error) {
	var ended atomic.Int64
	byID := make(map[uuid.UUID]*store.Record, len(tokens))
	for i := range tokens {
		byID[tokens[i].ID] = &tokens[i]
	}
	err := sideBySide(slices.Collect(maps.Keys(byID)), func(id uuid.UUID) error {
		record := byID[id]
		e := o.event(TokenDeleted, record.Project, "")
		e.Time = Time{at}
		_, err := o.commit(ctx, store.Revoke{ID: id, Revision: record.Revision, At: at}, e.of(record))
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			return nil // It was used or deleted meanwhile, or the next round is about it.
		}
		if err == nil {
			ended.Add(1)
		}
		return err
	})
	return int(ended.Load()), err
}
