// Package registry is the domain: who may make, use, see and delete which
// tokens. It knows neither HTTP nor Caddy, and keeps no decision: every
// authentication looks at the record, the clock and the policy anew.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

const (
	// tendEvery is how often the keeper looks what there is to do.
	tendEvery = time.Second
	// flushEvery bounds how long a last use is in memory alone, and flushAt how many
	// there are.
	flushEvery = 20 * time.Second
	flushAt    = 50_000
	// flushAtOnce is how many are written at a time.
	flushAtOnce = 4096
)

// Config says what a Registry works with. All fields are required.
type Config struct {
	Store store.Store
	// Now is the clock that tokens are made and expire by. Certain is one that is
	// never ahead of the truth: records are removed by it.
	Now, Certain func() time.Time
	// Random is where secrets and ids come from.
	Random io.Reader
	// Retain holds until SetRetain is called.
	Retain Retain
	// Audit is told of every change.
	Audit  Auditor
	Logger *zap.Logger
	// Ended is told, once that is in force, that tokens of a user, or of all users
	// if that is "", may have stopped to hold, in a project or in all if that is "".
	Ended   func(project, user string)
	Notices Notices
}

// Registry keeps the tokens of all projects of one store. It is safe for
// concurrent use.
type Registry struct {
	Config
	// Store hides Config's: by it nothing is changed.
	Store store.Reader
	uses  *uses
	told  told
	moves moves
	// flushed is when the store last had all uses that were noted before.
	flushed atomic.Pointer[time.Time]
	// retaining guards Retain, and retained tells the keeper that it has changed.
	retaining sync.Mutex
	retained  chan struct{}
	// creating lets each user make one token at a time. What the store makes
	// durable together takes the longer the more it is, so that whoever asked
	// for a thousand at once would slow everybody down.
	creating turns
	listing  listing

	// renewing is held for reading while a token is renewed, and for writing
	// while a line of renewals is revoked token by token.
	renewing sync.RWMutex

	// deciding is held for reading from a decision by the rules in force until
	// what was decided is committed, and for writing while others are adopted.
	deciding sync.RWMutex

	projectsMu sync.Mutex
	projects   map[string]*Project

	// settingsPace bounds how many bytes of settings are written.
	settingsPace *rate.Limiter

	stop   context.CancelFunc
	keeper sync.WaitGroup
}

// New returns a registry and starts its keeper, which writes last uses,
// sweeps and purges records until Close.
func New(c Config) *Registry {
	ctx, stop := context.WithCancel(context.Background())
	r := &Registry{
		Config: c, Store: c.Store, uses: newUses(), retained: make(chan struct{}, 1), creating: turns{atOnce: 1}, listing: newListing(),
		projects: make(map[string]*Project), settingsPace: rate.NewLimiter(settingsRate, settingsBurst), stop: stop,
	}
	r.flushed.Store(new(time.Now()))
	r.keeper.Go(func() { r.keep(ctx) })
	return r
}

// Close stops the keeper and writes the last uses that are in memory. It
// doesn't close the store.
func (r *Registry) Close() error {
	r.stop()
	r.keeper.Wait()
	_ = r.noteLooked(context.Background()) // where that fails somebody is told what is an hour old
	return r.flush(context.Background())
}

func (r *Registry) keep(ctx context.Context) {
	tend, purge := time.NewTicker(tendEvery), time.NewTicker(r.retain().purgeEvery())
	defer tend.Stop()
	defer purge.Stop()
	var last trouble
	for {
		var err error
		select {
		case <-tend.C:
			err = errors.Join(r.flushIfDue(ctx), r.sweep(ctx), r.moveUsed(ctx), r.tellExpiries(ctx))
		case <-purge.C:
			err = r.purge(ctx)
		case <-r.retained:
			purge.Reset(r.retain().purgeEvery())
		case <-ctx.Done():
			return
		}
		if ctx.Err() == nil && last.isNew(err) {
			r.Logger.Error("tending the token store", zap.Error(err))
		}
	}
}

// trouble is what was said of the keeper's work, as long as it goes on.
type trouble string

// isNew tells whether an error is to be said. Of a full disk the store tells, once.
func (t *trouble) isNew(err error) bool {
	before := *t
	*t = ""
	if err != nil && !errors.Is(err, store.ErrFull) {
		*t = trouble(err.Error())
	}
	return *t != "" && *t != before
}

// flushIfDue writes last uses seldom: a token that is used all the time is written
// once.
func (r *Registry) flushIfDue(ctx context.Context) error {
	if r.FlushAge() < flushEvery && r.uses.waiting.Load() < flushAt {
		return nil
	}
	return r.flush(ctx)
}

// flush writes the last uses noted so far. What can't be written now is kept
// for the next time.
func (r *Registry) flush(ctx context.Context) error {
	began := time.Now()
	uses := r.uses.take()
	for len(uses) > 0 {
		n := min(len(uses), flushAtOnce)
		if err := tend(ctx, r, store.Touch{Uses: uses[:n]}); err != nil {
			r.uses.putBack(uses)
			return err
		}
		r.uses.written(uses[:n])
		uses = uses[n:]
	}
	r.flushed.Store(&began)
	return nil
}

// FlushAge is how old the oldest use can be that is in memory alone: more than
// flushEvery and a few seconds only while the store can't take them.
func (r *Registry) FlushAge() time.Duration { return time.Since(*r.flushed.Load()) }

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
		err = sideBySide(ids, func(id uuid.UUID) error { return tend(ctx, r, store.Purge{ID: id}) })
		if err != nil {
			return err
		}
	}
}

// sideBySide calls f for each of some ids, many at a time, so that what they commit
// shares one sync. It returns the first errors.
func sideBySide[ID uuid.UUID | string](ids []ID, f func(ID) error) error {
	const atOnce = 256
	for chunk := range slices.Chunk(ids, atOnce) {
		errs := make([]error, len(chunk))
		var all sync.WaitGroup
		for i, id := range chunk {
			all.Go(func() { errs[i] = f(id) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}
