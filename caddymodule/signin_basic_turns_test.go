package caddymodule

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
	mallory = netip.MustParseAddr("192.0.2.1")
	victim  = netip.MustParseAddr("192.0.2.2")
)

// Of one client's work there is one piece under way at a time, of all clients'
// as many as there are slots.
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
		done := make(chan time.Duration)
		for range 10 {
			go func() { _, _ = turns.do(t.Context(), mallory, work); done <- time.Since(start) }()
		}
		synctest.Wait()
		if got := underWay.Load(); got != 1 {
			t.Errorf("%d pieces of one client's work under way", got)
		}
		ok, err := turns.do(t.Context(), victim, work)
		if took := time.Since(start); !ok || err != nil || took != time.Second {
			t.Errorf("%v, %v after %v behind another client's ten", ok, err, took)
		}
		for range 10 {
			<-done
		}
		if took := time.Since(start); took != 10*time.Second || most.Load() != 2 {
			t.Errorf("all ten took %v, and at most %d were under way", took, most.Load())
		}
		for i := range byte(5) {
			go func() {
				_, _ = turns.do(t.Context(), netip.AddrFrom4([4]byte{192, 0, 2, i}), work)
				done <- 0
			}()
		}
		synctest.Wait()
		if got := underWay.Load(); got != 2 {
			t.Errorf("%d pieces of work under way in two slots", got)
		}
		for range 5 {
			<-done
		}
		if len(turns.clients) != 0 {
			t.Errorf("%d clients are remembered", len(turns.clients))
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
		if len(turns.clients) != 0 {
			t.Errorf("%d clients are remembered", len(turns.clients))
		}
	})
}
