package contract

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// An API may refuse a password by whatever it likes. What it has been asked is a
// guess, unless it says yes.
func TestUndecidedAnswersAreFailedSignIns(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite("sign_in_limit 3 1h"), a.behind(), globals(fromAddresses))
	for n, status := range []int{400, 404, 409, 422, 429, 500, 502, 503} {
		a.play("bob", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"error": "wrong password"}`)
		})
		address := from(fmt.Sprint("192.0.2.", n))
		asked := a.timesAsked()
		for guess := range 3 {
			got := g.do(t, ask{target: api, auth: basic("bob", fmt.Sprint("guess", guess)), lines: address})
			wantRefused(t, got, http.StatusServiceUnavailable, "ServiceUnavailable")
		}
		wantLimited(t, g.do(t, ask{target: api, auth: basic("bob", "another"), lines: address}))
		if got := a.timesAsked() - asked; got != 3 {
			t.Errorf("with %d, it was asked %d times, want 3", status, got)
		}
	}
}

// An API that is down locks nobody out.
func TestAnAPIThatIsDownLocksNobodyOut(t *testing.T) {
	t.Parallel()
	g := start(t, realSite("sign_in_limit 1 1h"), env("API", "127.0.0.1:1"))
	for range 20 {
		got := g.do(t, ask{target: api, auth: as("alice")})
		wantRefused(t, got, http.StatusServiceUnavailable, "ServiceUnavailable")
	}
}

// Two sites of a server that ask the same give no more guesses than one, and a
// reload gives none.
func TestTwoSitesGiveNoMoreGuessesThanOne(t *testing.T) {
	t.Parallel()
	const limit = "\nsign_in_limit 4 1h"
	a := newRealAPI(t)
	for kind, sites := range map[string]string{
		"upstream": realSiteAt("{$PORT}", "project one"+limit) + realSiteAt("{$PORT2}", "project two"+limit),
		"basic":    siteAt("{$PORT}", "project one"+limit) + siteAt("{$PORT2}", "project two"+limit),
	} {
		t.Run(kind, func(t *testing.T) {
			g := start(t, sites, a.behind())
			guess := func(site, n int) answered {
				return g.do(t, ask{site: site, target: api, auth: basic("alice", fmt.Sprint("guess", n))})
			}
			for n := range 4 {
				wantRefused(t, guess(n%2, n), http.StatusUnauthorized, "AuthenticationRequired")
			}
			wantLimited(t, guess(0, 4))
			wantLimited(t, guess(1, 4))
			if complaint := g.reload(t, sites+"\n# otherwise"); complaint != "" {
				t.Fatal(complaint)
			}
			wantLimited(t, guess(0, 5))
			wantLimited(t, guess(1, 5))
			wantStatus(t, g.do(t, ask{target: api, auth: as("bob")}), http.StatusOK)
		})
	}
}

// Whoever is listed in `sign_in basic` is decided there: the API never hears of a
// password that somebody has mistyped.
func TestTheAPIHearsNothingOfAListedUser(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, siteAt("{$PORT}", askRealAPI), a.behind())
	for user, times := range map[string]int{"alice": 0, "nobody": 1} {
		asked := a.timesAsked()
		got := g.do(t, ask{target: api, auth: basic(user, "guess")})
		wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
		if got := a.timesAsked() - asked; got != times {
			t.Errorf("%s: it was asked %d times, want %d", user, got, times)
		}
	}
}

// The time to a refusal doesn't tell who is listed: it isn't shorter for those who
// are, once the API has refused somebody.
func TestTimeDoesntTellWhoIsListed(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	const slow = 500 * time.Millisecond
	a.play("nobody", func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(slow)
		w.WriteHeader(http.StatusUnauthorized)
	})
	g := start(t, siteAt("{$PORT}", askRealAPI), a.behind())
	for _, user := range []string{"nobody", "alice", "bob"} {
		began := time.Now()
		got := g.do(t, ask{target: api, auth: basic(user, "guess")})
		wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
		if took := time.Since(began); took < slow {
			t.Errorf("%s was refused within %v", user, took)
		}
	}
}
