package upstream

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A decoy takes as long as the API took, and the API hears nothing of it.
func TestADecoyTakesAsLongAsTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			comparing = 300 * time.Millisecond // a wrong password, by the clock of the bubble
			welcoming = 400 * time.Millisecond // a right one
			lookingUp = 2 * time.Millisecond   // a session
		)
		asked := 0
		u := upstream(t, &SignIn{URL: "http://127.0.0.1:1/", Cookies: []string{"sid"}})
		u.took = new(durations)
		u.api = roundTrip(func(r *http.Request) (*http.Response, error) {
			asked++
			_, password, basic := r.BasicAuth()
			switch {
			case !basic:
				<-time.After(lookingUp)
			case password == "right":
				<-time.After(welcoming)
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"id": "zoe"}`))}, nil
			case password == "trouble":
				<-time.After(time.Second)
				return &http.Response{StatusCode: http.StatusInternalServerError, Body: http.NoBody}, nil
			default:
				<-time.After(comparing)
			}
			return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody}, nil
		})
		wrong, session := basicRequest("alice", "wrong"), sessionRequest("sid=1")
		want := func(when string, r *http.Request, want time.Duration) {
			t.Helper()
			for range 20 {
				before, begun := asked, time.Now()
				u.Decoy(r)
				if got := time.Since(begun); got != want || asked != before {
					t.Fatalf("%s: %v, want %v; it was asked %d times", when, got, want, asked-before)
				}
			}
		}
		signIn := func(r *http.Request) {
			for range 2 * maxRecent {
				_, _ = u.SignIn(r)
			}
		}
		want("before the first answer", wrong, unknownDuration)
		signIn(basicRequest("zoe", "trouble"))
		want("when it is in trouble", wrong, unknownDuration)
		signIn(session)
		want("after sessions", wrong, lookingUp)
		signIn(basicRequest("zoe", "right"))
		want("after somebody's yes", wrong, welcoming)
		signIn(basicRequest("zoe", "wrong"))
		want("after a no", wrong, comparing)
		signIn(session)
		signIn(basicRequest("zoe", "right"))
		want("after others since", wrong, comparing)
		want("a session's", session, lookingUp)
		want("without credentials", httptest.NewRequest(http.MethodGet, "/", nil), 0)
	})
}

// What is known of an API outlives a reload.
func TestDurationsAreTheRoutes(t *testing.T) {
	before := upstream(t, &SignIn{URL: "http://127.0.0.1:1/durations"})
	if after := upstream(t, &SignIn{URL: "http://127.0.0.1:1/durations"}); after.took != before.took {
		t.Error("another configuration of the same route knows nothing of it")
	}
	if other := upstream(t, &SignIn{URL: "http://127.0.0.1:1/others"}); other.took == before.took {
		t.Error("another route takes as long")
	}
}

func TestDurationsAreTheRecentOnes(t *testing.T) {
	var d durations
	for i := range 100 {
		d.note(answer{true, true}, time.Duration(i))
	}
	seen := make(map[time.Duration]bool)
	for range 1000 {
		got := d.refusing(true)
		if got < 68 || got > 99 {
			t.Fatalf("%d", got)
		}
		seen[got] = true
	}
	if len(seen) < 16 {
		t.Errorf("of 32 only %d are taken", len(seen))
	}
}
