// Package census counts tokens in the background, so slowly that nobody notices:
// however many there are, whoever asks for their number doesn't wait.
package census

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

const (
	// share is which part of one core counting takes at most: one in so many.
	share = 100
	// every is how far apart two counts of few tokens are.
	every = 5 * time.Second
	// longest is how long a pause is at most, after a page that a disk took long
	// to read.
	longest = 10 * time.Second
)

// Horizons are the times within which tokens are counted that expire soon.
var Horizons = [...]time.Duration{24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour}

// Count is how many tokens a project has, those left out that were deleted.
type Count struct {
	Active, Expired int
	// Expiring are the active ones that expire within each of Horizons.
	Expiring [len(Horizons)]int
}

// Lists are what tokens are counted in: a store.Store.
type Lists interface {
	Scan(store.Query) ([]store.Entry, error)
}

// Census counts the tokens of some projects again and again.
type Census struct {
	lists    Lists
	now      func() time.Time
	projects func() []string

	counts atomic.Pointer[map[string]Count]
	stop   context.CancelFunc
	taker  sync.WaitGroup
}

// New returns a Census that counts until Close. It asks which projects there are
// before each count. Tokens expire by now.
func New(lists Lists, now func() time.Time, projects func() []string) *Census {
	ctx, stop := context.WithCancel(context.Background())
	c := &Census{lists: lists, now: now, projects: projects, stop: stop}
	c.counts.Store(new(map[string]Count))
	c.taker.Go(func() {
		for c.take(ctx) && pause(ctx, every) {
		}
	})
	return c
}

// Close stops counting. It doesn't close the lists.
func (c *Census) Close() {
	c.stop()
	c.taker.Wait()
}

// Counts returns the last count of each project, none of one that hasn't been
// counted. A count takes as long as its pauses: what is made and deleted meanwhile
// may be in it or not.
func (c *Census) Counts() map[string]Count { return *c.counts.Load() }

// take counts all projects once, and tells whether to go on.
func (c *Census) take(ctx context.Context) bool {
	counts := make(map[string]Count)
	for _, project := range c.projects() {
		count, err := c.count(ctx, project, share)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			return true // what was counted before holds; the store itself says what is wrong
		}
		counts[project] = count
	}
	c.counts.Store(&counts)
	return true
}

// Count counts a project's tokens at once, for somebody who waits for it.
func (c *Census) Count(ctx context.Context, project string) (Count, error) {
	count, err := c.count(ctx, project, 1)
	return count, errors.Join(err, ctx.Err())
}

func (c *Census) count(ctx context.Context, project string, share time.Duration) (count Count, err error) {
	query := store.Query{Project: project}
	for {
		began := time.Now()
		entries, err := c.lists.Scan(query)
		if err != nil {
			return Count{}, err
		}
		count.add(entries, c.now())
		if !pause(ctx, min(longest, (share-1)*time.Since(began))) || len(entries) < store.MaxScan {
			return count, nil
		}
		query.After = entries[len(entries)-1].Place
	}
}

func (c *Count) add(entries []store.Entry, now time.Time) {
	for _, e := range entries {
		left := e.Expires.Sub(now)
		switch {
		case e.Expires.IsZero():
			c.Active++
			continue
		case left <= 0:
			c.Expired++
			continue
		}
		c.Active++
		for i, within := range Horizons {
			if left <= within {
				c.Expiring[i]++
			}
		}
	}
}

// pause waits, and tells whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
