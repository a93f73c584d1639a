// Package events tells Caddy's events app, and so other programs, of what becomes
// of tokens.
package events

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// The events that aren't of the registry. All are named with prefix before.
const (
	prefix        = "access_tokens."
	signInLimited = "sign_in_limited"
	storeDegraded = "store_degraded"
)

const (
	// maxWaiting is how many events wait for handlers at most.
	maxWaiting = 10_000
	// atMost is how often there is an event of one kind of those that come from
	// memory, and how often it is said that some are lost.
	atMost = time.Minute
	// lookEvery is how often it is looked whether the store is degraded, and whether
	// there is a configuration to emit through.
	lookEvery = time.Second
)

// Events is Caddy's events app, as the configuration that runs has it.
type Events interface {
	ShouldEmit(name string) bool
	Emit(name string, data map[string]any)
}

// Config says what an Emitter works with. All fields are required.
type Config struct {
	// Current returns the events app of the configuration that runs, nil while none
	// does.
	Current func() Events
	// Record returns a token's, ended or not.
	Record func(uuid.UUID) (store.Record, error)
	// Degraded returns a word for why the store can't do all that it is for, "" while
	// it can.
	Degraded func() string
	Logger   *zap.Logger
}

// Emitter emits events one after the other, off the way of whoever has something
// to tell. It implements registry.Notices.
type Emitter struct {
	Config
	waiting chan event
	lost    atomic.Int64
	limited throttle
	stop    context.CancelFunc
	workers sync.WaitGroup
}

// event has its data, or is a notice that they are made from when it is emitted.
type event struct {
	registry.Notice
	data map[string]any
}

// New returns an Emitter that works until Close.
func New(c Config) *Emitter {
	ctx, stop := context.WithCancel(context.Background())
	e := &Emitter{Config: c, waiting: make(chan event, maxWaiting), stop: stop}
	e.workers.Go(func() { e.emitAll(ctx) })
	e.workers.Go(func() { e.watch(ctx) })
	return e
}

// Close ends e. Events that wait are lost.
func (e *Emitter) Close() {
	e.stop()
	e.workers.Wait()
}

// Ready implements registry.Notices.
func (e *Emitter) Ready() bool { return e.Current() != nil }

// Wanted implements registry.Notices.
func (e *Emitter) Wanted(kind string) bool {
	events := e.Current()
	return events != nil && events.ShouldEmit(prefix+kind)
}

// Notice implements registry.Notices.
func (e *Emitter) Notice(n registry.Notice) { e.add(event{Notice: n}) }

// SignInLimited tells that an attempt to sign in was refused because too many have
// failed. What it was tried with is in no event.
func (e *Emitter) SignInLimited(project, clientIP string) {
	if e.limited.passes(time.Now()) {
		e.add(event{registry.Notice{Kind: signInLimited}, map[string]any{"project": project, "client_ip": clientIP}})
	}
}

// add leaves an event to be emitted, also where no configuration runs yet.
func (e *Emitter) add(what event) {
	if events := e.Current(); events != nil && !events.ShouldEmit(prefix+what.Kind) {
		return
	}
	select {
	case e.waiting <- what:
	default:
		e.lost.Add(1)
	}
}

func (e *Emitter) emitAll(ctx context.Context) {
	for {
		select {
		case what := <-e.waiting:
			e.emit(ctx, what)
		case <-ctx.Done():
			return
		}
	}
}

// emit emits an event once a configuration runs.
func (e *Emitter) emit(ctx context.Context, what event) {
	events := e.Current()
	for ; events == nil; events = e.Current() {
		if !pause(ctx) {
			return
		}
	}
	name := prefix + what.Kind
	if !events.ShouldEmit(name) {
		return
	}
	if what.data == nil {
		record, err := e.Record(what.TokenID)
		if err != nil {
			e.Logger.Error("an event is lost, since its token can't be looked at", zap.String("event", name), zap.Stringer("token_id", what.TokenID), zap.Error(err))
			return
		}
		what.data = dataOf(&what.Notice, &record)
	}
	events.Emit(name, what.data)
}

// watch looks at the store, and whether events were lost.
func (e *Emitter) watch(ctx context.Context) {
	var degraded string
	var tellDegraded, tellLost throttle
	for pause(ctx) {
		reason := e.Degraded()
		if reason == "" {
			degraded = ""
		} else if reason != degraded && tellDegraded.passes(time.Now()) {
			degraded = reason
			e.add(event{registry.Notice{Kind: storeDegraded}, map[string]any{"reason": reason}})
		}
		if e.lost.Load() > 0 && tellLost.passes(time.Now()) {
			e.Logger.Error("events are lost, since their handlers take too long", zap.Int64("events", e.lost.Swap(0)), zap.Int("waiting", maxWaiting))
		}
	}
}

// throttle lets one pass in atMost.
type throttle struct {
	mu   sync.Mutex
	last time.Time
}

func (t *throttle) passes(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.last.IsZero() && now.Sub(t.last) < atMost {
		return false
	}
	t.last = now
	return true
}

// pause waits for lookEvery, and tells whether to go on.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Interface guard
var _ registry.Notices = (*Emitter)(nil)
