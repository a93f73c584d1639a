package streams

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Answers that are over at once don't wake the keeper each: at a thousand a second
// that would cost more than all else that is done to follow them.
func TestShortAnswersWakeTheKeeperSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		s := New(func(*Opener) bool { return true }, func() time.Time { looks.Add(1); return time.Now() })
		defer s.Close()
		for range 1000 {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			st := s.Begin(httptest.NewRecorder(), r, Opener{})
			st.WriteHeader(http.StatusNoContent)
			st.End()
			<-time.After(time.Millisecond)
		}
		const ticks = int64(time.Second / tick)
		if n := looks.Load(); n > 2*(ticks+1) {
			t.Errorf("the keeper was awake %d times in a second, want at most two a tick: %d", n, 2*(ticks+1))
		}
	})
}

// However often something wakes it, the keeper ends a stream within a second.
func TestAKeeperThatIsWokenOftenIsInTime(t *testing.T) {
	t.Parallel()
	for _, between := range []time.Duration{time.Millisecond, tick - time.Millisecond, tick, tick + time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			s := New(func(*Opener) bool { return false }, time.Now)
			defer s.Close()
			// One that is long open is doubted again and again.
			switched := s.Begin(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), Opener{})
			switched.WriteHeader(http.StatusSwitchingProtocols)
			defer switched.End()
			<-time.After(17 * time.Millisecond)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			st := s.Begin(httptest.NewRecorder(), r, Opener{})
			defer st.End()
			st.WriteHeader(http.StatusOK)
			began := time.Now()
			for r.Context().Err() == nil && time.Since(began) < 2*time.Second {
				s.Ended("", "")
				<-time.After(between)
			}
			if after := time.Since(began); after > time.Second+between {
				t.Errorf("woken each %v, it ended a stream after %v", between, after)
			}
		})
	}
}
