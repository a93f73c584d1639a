package basic

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// comparisons are those of passwords with hashes, of all sites. Each takes a
// core for up to a second.
var comparisons = newTurns(runtime.GOMAXPROCS(0), time.Minute)

// turns lets as much work be done at a time as there are slots. Where there is
// more, clients take turns, so that nobody waits behind all that another
// client has sent.
type turns struct {
	// patience is how long somebody waits at most.
	patience time.Duration

	mu   sync.Mutex
	free int
	// waiting are the clients with work that waits, the next one first, and
	// what each has sent, in order.
	waiting []netip.Addr
	queues  map[netip.Addr][]chan struct{}
}

func newTurns(slots int, patience time.Duration) *turns {
	return &turns{free: slots, patience: patience, queues: make(map[netip.Addr][]chan struct{})}
}

var errTurnedAway = fmt.Errorf("%w: too many passwords are being compared", signin.ErrNotChecked)

// do works for a client when it is its turn. It fails with errTurnedAway if
// that takes too long, or if ctx ends before.
func (t *turns) do(ctx context.Context, client netip.Addr, work func() (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	turn := t.enter(client)
	select {
	case <-turn:
	case <-ctx.Done():
		if t.giveUp(client, turn) {
			return false, errTurnedAway
		}
	}
	defer t.next()
	return work()
}

// enter returns what is closed when it is the client's turn.
func (t *turns) enter(client netip.Addr) chan struct{} {
	turn := make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 {
		t.free--
		close(turn)
		return turn
	}
	if len(t.queues[client]) == 0 {
		t.waiting = append(t.waiting, client)
	}
	t.queues[client] = append(t.queues[client], turn)
	return turn
}

// giveUp leaves the queue, unless the turn has come meanwhile.
func (t *turns) giveUp(client netip.Addr, turn chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	queue := t.queues[client]
	at := slices.Index(queue, turn)
	if at < 0 {
		return false
	}
	t.setQueue(client, slices.Delete(queue, at, at+1))
	return true
}

// next gives a slot that has become free to the client whose turn it is.
func (t *turns) next() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	client := t.waiting[0]
	queue := t.queues[client]
	close(queue[0])
	t.waiting = append(t.waiting[1:], client) // behind the others
	t.setQueue(client, queue[1:])
}

func (t *turns) setQueue(client netip.Addr, queue []chan struct{}) {
	if len(queue) > 0 {
		t.queues[client] = queue
		return
	}
	delete(t.queues, client)
	t.waiting = slices.DeleteFunc(t.waiting, func(other netip.Addr) bool { return other == client })
}
