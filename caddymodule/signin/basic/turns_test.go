package basic

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	mallory  = netip.MustParseAddr("192.0.2.1")
	victim   = netip.MustParseAddr("192.0.2.2")
	somebody = netip.MustParseAddr("192.0.2.3")
)

// One client alone may have all slots. Where others wait, they take turns.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(2, time.Hour)
		var underWay, most atomic.Int32
		work := func() (bool, error) {
			most.Store(max(most.Load(), underWay.Add(1)))
			<-time.After(time.Second)
			underWay.Add(-1)
			return true, nil
		}
		start := time.Now()
		took := func(client netip.Addr, pieces int) chan time.Duration {
			done := make(chan time.Duration, pieces)
			for range pieces {
				go func() { _, _ = turns.do(t.Context(), client, work); done <- time.Since(start) }()
				synctest.Wait()
			}
			return done
		}
		many := took(mallory, 20)
		one := took(victim, 1)
		others := took(somebody, 2)
		// Two of mallory's are under way, then one of each.
		if got := <-one; got > 2*time.Second {
			t.Errorf("one piece behind another client's twenty took %v", got)
		}
		if first, second := <-others, <-others; first > 3*time.Second || second > 4*time.Second {
			t.Errorf("two pieces beside them took %v and %v", first, second)
		}
		for range 20 {
			<-many
		}
		synctest.Wait()
		// 23 seconds of work in two slots.
		if got := time.Since(start); got != 12*time.Second || most.Load() != 2 {
			t.Errorf("all of it took %v, and at most %d were under way", got, most.Load())
		}
		if turns.free != 2 || len(turns.queues) != 0 || len(turns.waiting) != 0 {
			t.Errorf("afterwards %d slots are free, and %v wait", turns.free, turns.waiting)
		}
	})
}

// Nobody waits for ever, and who gives up has had nothing compared.
func TestTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1, 10*time.Second)
		finish := make(chan struct{})
		go func() {
			_, _ = turns.do(t.Context(), mallory, func() (bool, error) { <-finish; return true, nil })
		}()
		synctest.Wait()
		never := func() (bool, error) { t.Error("worked"); return true, nil }
		for _, address := range []netip.Addr{mallory, victim} {
			start := time.Now()
			if ok, err := turns.do(t.Context(), address, never); ok || !errors.Is(err, errTurnedAway) || time.Since(start) != 10*time.Second {
				t.Errorf("%v: %v, %v after %v", address, ok, err, time.Since(start))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := turns.do(ctx, address, never); !errors.Is(err, errTurnedAway) {
				t.Errorf("%v, when its client has gone: %v", address, err)
			}
		}
		close(finish)
		synctest.Wait()
		if ok, err := turns.do(t.Context(), victim, func() (bool, error) { return true, nil }); !ok || err != nil {
			t.Errorf("afterwards: %v, %v", ok, err)
		}
		if turns.free != 1 || len(turns.queues) != 0 || len(turns.waiting) != 0 {
			t.Errorf("afterwards %d slots are free, and %v wait", turns.free, turns.waiting)
		}
	})
}
