package upstream

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// A decoy takes as long as the API took, and the API hears nothing of it.
func TestADecoyTakesAsLongAsTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		u := upstream(t, &SignIn{URL: "http://127.0.0.1:1/", Cookies: []string{"sid"}})
		u.api = roundTrip(func(*http.Request) (*http.Response, error) {
			asked++
			<-time.After(300 * time.Millisecond) // by the clock of the bubble
			return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody}, nil
		})
		took := func(r *http.Request) time.Duration {
			begun := time.Now()
			u.Decoy(r)
			return time.Since(begun)
		}
		if got := took(basicRequest("alice", "wrong")); got != unknownDuration {
			t.Errorf("before the first answer: %v", got)
		}
		for range 2 {
			_, _ = u.SignIn(basicRequest("zoe", "wrong"))
		}
		for _, r := range []*http.Request{basicRequest("alice", "wrong"), sessionRequest("sid=1")} {
			if got := took(r); got != 300*time.Millisecond {
				t.Errorf("after one of 300ms: %v", got)
			}
		}
		if got := took(httptest.NewRequest(http.MethodGet, "/", nil)); got != 0 {
			t.Errorf("without credentials: %v", got)
		}
		if asked != 2 {
			t.Errorf("the API was asked %d times, want 2", asked)
		}
	})
}

func TestDurationsAreTheRecentOnes(t *testing.T) {
	var d durations
	for i := range 100 {
		d.note(time.Duration(i))
	}
	for range 1000 {
		if got := d.any(); got < 68 || got > 99 {
			t.Fatalf("%d", got)
		}
	}
}
