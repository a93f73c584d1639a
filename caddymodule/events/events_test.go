package events

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listeners remember what they are told; they want all but some.
type listeners struct {
	mu       sync.Mutex
	unwanted map[string]bool
	slow     chan struct{} // unless it is nil, each event waits for it
	told     []string
}

func (l *listeners) ShouldEmit(name string) bool { return !l.unwanted[name] }

func (l *listeners) Emit(name string, data map[string]any) {
	if l.slow != nil {
		<-l.slow
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	text := name
	for _, field := range []string{"token_id", "days", "reason", "client_ip"} {
		if value, ok := data[field]; ok {
			text += fmt.Sprint(" ", value)
		}
	}
	l.told = append(l.told, text)
}

func (l *listeners) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff(want, l.told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	l.told = nil
}

// world is what an emitter works with.
type world struct {
	*listeners
	running  atomic.Bool
	degraded atomic.Pointer[string]
}

func (w *world) emitter(logger *zap.Logger) *Emitter {
	w.degraded.Store(new(""))
	return New(Config{
		Current: func() Events {
			if w.running.Load() {
				return w.listeners
			}
			return nil
		},
		Record: func(id uuid.UUID) (store.Record, error) {
			if id == unreadable {
				return store.Record{}, errors.New("unreadable")
			}
			return store.Record{ID: id, Project: "p"}, nil
		},
		Degraded: func() string { return *w.degraded.Load() },
		Logger:   logger,
	})
}

var one, unreadable = uuid.UUID{15: 1}, uuid.UUID{15: 2}

func TestEventsWaitForAConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{listeners: new(listeners)}
		e := w.emitter(zap.NewNop())
		defer e.Close()
		e.Notice(registry.Notice{Kind: registry.TokenCreated, TokenID: one})
		<-time.After(time.Minute)
		w.want(t)
		if e.Ready() || e.Wanted(registry.TokenExpired) {
			t.Error("it is known what is wanted while nothing runs")
		}
		w.running.Store(true)
		<-time.After(lookEvery)
		w.want(t, "access_tokens.token_created "+one.String())
	})
}

func TestOnlyWhatIsWantedIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		w := &world{listeners: &listeners{unwanted: map[string]bool{"access_tokens.token_deleted": true}}}
		w.running.Store(true)
		e := w.emitter(zap.New(core))
		defer e.Close()
		if e.Wanted(registry.TokenDeleted) || !e.Wanted(registry.TokenExpiring) {
			t.Error("another is wanted")
		}
		e.Notice(registry.Notice{Kind: registry.TokenDeleted, TokenID: unreadable})
		e.Notice(registry.Notice{Kind: registry.TokenExpiring, TokenID: one, Before: 7 * 24 * time.Hour})
		w.want(t, "access_tokens.token_expiring "+one.String()+" 7")
		if logs.Len() != 0 {
			t.Error("what nobody wants is looked at")
		}
		e.Notice(registry.Notice{Kind: registry.TokenCreated, TokenID: unreadable})
		w.want(t)
		if logs.Len() != 1 {
			t.Error("nothing says that an event is lost")
		}
	})
}

func TestWhatComesFromMemoryComesOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{listeners: new(listeners)}
		w.running.Store(true)
		e := w.emitter(zap.NewNop())
		defer e.Close()
		for range 3 {
			e.SignInLimited("p", "192.0.2.1")
		}
		w.want(t, "access_tokens.sign_in_limited 192.0.2.1")
		<-time.After(atMost)
		e.SignInLimited("p", "192.0.2.2")
		w.want(t, "access_tokens.sign_in_limited 192.0.2.2")

		const degraded = "access_tokens.store_degraded not_writable"
		become := func(reason string, after time.Duration) {
			w.degraded.Store(new(reason))
			<-time.After(after)
		}
		become("not_writable", 10*time.Second)
		w.want(t, degraded)
		become("", 2*lookEvery)
		become("not_writable", 10*time.Second) // within the minute
		w.want(t)
		<-time.After(atMost)
		w.want(t, degraded)
		<-time.After(time.Hour) // once while it lasts
		w.want(t)
	})
}

func TestSlowHandlersHoldNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		w := &world{listeners: &listeners{slow: make(chan struct{})}}
		w.running.Store(true)
		e := w.emitter(zap.New(core))
		for range maxWaiting + 10 {
			e.Notice(registry.Notice{Kind: registry.TokenCreated, TokenID: one})
		}
		<-time.After(2 * lookEvery)
		if n := logs.FilterMessageSnippet("are lost").Len(); n != 1 {
			t.Errorf("%d lines say that events are lost", n)
		}
		close(w.slow)
		e.Close()
	})
}

func TestClosingDoesNotWaitForAConfiguration(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		w := &world{listeners: new(listeners)}
		e := w.emitter(zap.NewNop())
		e.Notice(registry.Notice{Kind: registry.TokenCreated, TokenID: one})
		synctest.Wait()
		e.Close()
	})
}
