package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

var errDown = errors.New("down")

func TestAMessageIsTriedEightTimesInAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		began := time.Now()
		var tries []time.Duration
		q := newQueue(func(context.Context, message) error {
			tries = append(tries, time.Since(began))
			return errDown
		}, zap.New(core))
		q.add(message{id: "1", name: "e"})
		<-time.After(2 * time.Hour)
		synctest.Wait()
		if len(tries) != 8 || tries[0] != 0 || tries[7] > time.Hour || tries[7] < 50*time.Minute {
			t.Errorf("tried after %v", tries)
		}
		if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 1 {
			t.Errorf("%d lines say that it is lost", n)
		}
		if q.waiting != 0 {
			t.Errorf("%d are waiting", q.waiting)
		}
		if err := q.Destruct(); err != nil {
			t.Error(err)
		}
	})
}

func TestAMessageIsSentAgainUntilItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sent []string
		down := true
		q := newQueue(func(_ context.Context, m message) error {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, m.id)
			if down {
				return errDown
			}
			return nil
		}, zap.NewNop())
		q.add(message{id: "1"})
		synctest.Wait()
		mu.Lock()
		down = false
		mu.Unlock()
		q.add(message{id: "2"})
		<-time.After(time.Hour)
		synctest.Wait()
		if diff := cmp.Diff([]string{"1", "2", "1"}, sent); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		_ = q.Destruct()
	})
}

// However slow a receiver is, an event waits for nothing, and no more wait than
// there is room for.
func TestAQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		var sent atomic.Int64
		goOn := make(chan struct{})
		q := newQueue(func(context.Context, message) error {
			<-goOn
			sent.Add(1)
			return nil
		}, zap.New(core))
		for n := range maxWaiting + 10 {
			q.add(message{id: fmt.Sprint(n)})
		}
		synctest.Wait()
		if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 1 {
			t.Errorf("%d lines say that events are lost", n)
		}
		close(goOn)
		synctest.Wait()
		if n := sent.Load(); n != maxWaiting {
			t.Errorf("%d are sent", n)
		}
		q.add(message{id: "again"})
		synctest.Wait()
		if n := sent.Load(); n != maxWaiting+1 {
			t.Errorf("%d are sent", n)
		}
		_ = q.Destruct()
	})
}

func TestAQueueEndsWithItsMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		q := newQueue(func(ctx context.Context, m message) error {
			if m.id == "hangs" {
				<-ctx.Done()
			}
			return errDown
		}, zap.New(core))
		q.add(message{id: "hangs"})
		q.add(message{id: "waits"})
		synctest.Wait()
		_ = q.Destruct()
		lost := logs.FilterMessageSnippet("are lost").All()
		if len(lost) != 1 || lost[0].ContextMap()["events"] != int64(2) {
			t.Errorf("it is said that %v", lost)
		}
		<-time.After(2 * time.Hour) // what waits for its next try ends too
	})
}
