package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// turns lets each user do something a few times at once; whatever else the user
// asks for waits.
type turns struct {
	atOnce int
	mu     sync.Mutex
	users  map[turnOf]*turn
}

type turnOf struct{ project, user string }

type turn struct {
	taken chan struct{}
	// here are those that hold or wait for a turn.
	here int
}

// take waits for a turn, which ends when done is called. It fails with
// the cause if ctx ends first, as store.ErrUnavailable unless it is ErrBusy.
func (t *turns) take(ctx context.Context, of turnOf) (done func(), err error) {
	t.mu.Lock()
	if t.users == nil {
		t.users = make(map[turnOf]*turn)
	}
	mine := t.users[of]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, t.atOnce)}
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
		if cause := context.Cause(ctx); errors.Is(cause, ErrBusy) {
			return nil, cause
		}
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, context.Cause(ctx))
	}
}
