package registry

import (
	"context"
	"fmt"
	"sync"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// turns lets each user make one token at a time; others of the user wait. What
// the store makes durable together takes the longer the more it is, so that
// whoever asked for a thousand at once would slow everybody down.
type turns struct {
	mu    sync.Mutex
	users map[turnOf]*turn
}

type turnOf struct{ project, user string }

type turn struct {
	taken chan struct{}
	// here are those that hold or wait for a turn.
	here int
}

// take waits for a turn, which ends when done is called. It fails with
// store.ErrUnavailable if ctx ends first.
func (t *turns) take(ctx context.Context, of turnOf) (done func(), err error) {
	t.mu.Lock()
	if t.users == nil {
		t.users = make(map[turnOf]*turn)
	}
	mine := t.users[of]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, 1)}
		t.users[of] = mine
	}
	mine.here++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.here--; mine.here == 0 {
			delete(t.users, of)
		}
	}
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, context.Cause(ctx))
	}
}
