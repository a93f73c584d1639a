package caddymodule

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// comparisons are those of passwords with hashes, of all sites. Each takes a
// core for up to a second: a core is left to requests with tokens, where there
// is more than one.
var comparisons = newTurns(max(1, runtime.GOMAXPROCS(0)-1), 10*time.Second)

// turns lets one piece of work of each client compete for a slot at a time, so
// that nobody waits behind all that another client has sent.
type turns struct {
	slots chan struct{}
	// patience is how long somebody waits at most.
	patience time.Duration

	mu      sync.Mutex
	clients map[netip.Addr]*waiter
}

func newTurns(slots int, patience time.Duration) *turns {
	return &turns{slots: make(chan struct{}, slots), patience: patience, clients: make(map[netip.Addr]*waiter)}
}

// waiter is a client that has work waiting or under way.
type waiter struct {
	turn chan struct{}
	work int
}

// errTurnedAway: nothing was compared.
var errTurnedAway = errors.New("too many passwords are being compared")

// do works for a client when it is its turn. It fails with errTurnedAway if
// that takes too long, or if ctx ends before.
func (t *turns) do(ctx context.Context, address netip.Addr, work func() (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	own := t.enter(address)
	defer t.leave(address, own)
	for _, turn := range []chan struct{}{own.turn, t.slots} {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return false, errTurnedAway
		}
	}
	return work()
}

func (t *turns) enter(address netip.Addr) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.clients[address]
	if c == nil {
		c = &waiter{turn: make(chan struct{}, 1)}
		t.clients[address] = c
	}
	c.work++
	return c
}

func (t *turns) leave(address netip.Addr, c *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.work--; c.work == 0 {
		delete(t.clients, address)
	}
}
