package contract

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fromAddresses lets a test choose its clients' addresses, as a load balancer in
// front would tell them.
const fromAddresses = `
	servers {
		trusted_proxies static 127.0.0.1/32
	}`

func from(address string) []string { return []string{"X-Forwarded-For: " + address} }

// wantLimited wants 429 that says how long to wait.
func wantLimited(t testing.TB, got answered) {
	t.Helper()
	wantRefused(t, got, http.StatusTooManyRequests, "TooManyRequestsException")
	if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 3600 {
		t.Errorf("Retry-After %q, want seconds up to the limit's hour", got.header.Get("Retry-After"))
	}
	if len(got.header.Values("WWW-Authenticate")) != 0 {
		t.Error("429 with a challenge")
	}
}

func TestFailedSignInsAreLimited(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	// An hour, so that no failure is forgiven while a busy machine runs this.
	const limit = "\nsign_in_limit 10 1h"
	sites := realSiteAt("{$PORT}", "project upstream"+limit) + siteAt("{$PORT2}", "project basic"+limit)
	g := start(t, sites, a.behind(), globals(fromAddresses))
	fail := func(t *testing.T, site int, user, address string) answered {
		t.Helper()
		return g.do(t, ask{site: site, target: api, auth: basic(user, "guess"), lines: from(address)})
	}
	for site, kind := range []string{"upstream", "basic"} {
		t.Run(kind, func(t *testing.T) {
			token := g.createAt(t, site, as("alice"), 3600, "")
			for range 10 {
				wantRefused(t, fail(t, site, "alice", "192.0.2.1"), http.StatusUnauthorized, "AuthenticationRequired")
			}
			asked := a.timesAsked()
			wantLimited(t, fail(t, site, "alice", "192.0.2.1"))
			for _, request := range []ask{
				{target: api, auth: as("alice")},
				{method: "POST", target: api, auth: as("alice"), body: anHour},
				{method: "DELETE", target: token.target(), auth: as("alice")},
				{method: "HEAD", target: api, auth: as("alice")},
			} {
				request.site, request.lines = site, from("192.0.2.1")
				got := g.do(t, request)
				if request.method == "HEAD" {
					wantStatus(t, got, http.StatusTooManyRequests)
					continue
				}
				wantLimited(t, got)
			}
			if a.timesAsked() != asked {
				t.Error("the API was asked beyond the limit")
			}
			t.Run("she signs in from elsewhere, and others from there", func(t *testing.T) {
				wantStatus(t, g.do(t, ask{site: site, target: api, auth: as("alice"), lines: from("192.0.2.2")}), http.StatusOK)
				wantStatus(t, g.do(t, ask{site: site, target: api, auth: as("bob"), lines: from("192.0.2.1")}), http.StatusOK)
				wantStatus(t, g.do(t, ask{site: site, target: api, auth: as("alice"), lines: from("2001:db8::1")}), http.StatusOK)
			})
			t.Run("tokens are never limited", func(t *testing.T) {
				for _, target := range []string{"/v4/x", api} {
					wantStatus(t, g.do(t, ask{site: site, target: target, auth: bearer(token.value), lines: from("192.0.2.1")}), http.StatusOK)
				}
				got := g.do(t, ask{site: site, method: "POST", target: api, auth: bearer(token.value), lines: from("192.0.2.1"), body: anHour})
				wantStatus(t, got, http.StatusCreated)
				for range 110 { // invalid ones neither
					got := g.do(t, ask{site: site, target: api, auth: bearer(neverIssued("cat")), lines: from("192.0.2.3")})
					wantRefused(t, got, http.StatusUnauthorized, "InvalidToken")
				}
				wantStatus(t, g.do(t, ask{site: site, target: api, auth: as("alice"), lines: from("192.0.2.3")}), http.StatusOK)
			})
			t.Run("nor are requests without credentials", func(t *testing.T) {
				for range 110 {
					got := g.do(t, ask{site: site, target: api, lines: from("192.0.2.4")})
					wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
				}
				wantStatus(t, g.do(t, ask{site: site, target: api, auth: as("alice"), lines: from("192.0.2.4")}), http.StatusOK)
			})
			t.Run("success doesn't count", func(t *testing.T) {
				for range 15 {
					wantStatus(t, g.do(t, ask{site: site, target: api, auth: as("bob"), lines: from("192.0.2.5")}), http.StatusOK)
				}
			})
			t.Run("ten times as many by address, whoever it says it is", func(t *testing.T) {
				for n := range 100 {
					wantRefused(t, fail(t, site, fmt.Sprint("user", n), "192.0.2.6"), http.StatusUnauthorized, "AuthenticationRequired")
				}
				wantLimited(t, fail(t, site, "user100", "192.0.2.6"))
				wantLimited(t, g.do(t, ask{site: site, target: api, auth: as("bob"), lines: from("192.0.2.6")}))
				wantStatus(t, g.do(t, ask{site: site, target: api, auth: as("bob"), lines: from("192.0.2.7")}), http.StatusOK)
			})
			t.Run("IPv6 by /64", func(t *testing.T) {
				for n := range 10 {
					wantRefused(t, fail(t, site, "carol", fmt.Sprintf("2001:db8:1:2::%x", n)), http.StatusUnauthorized, "AuthenticationRequired")
				}
				wantLimited(t, fail(t, site, "carol", "2001:db8:1:2:ffff::1"))
				wantRefused(t, fail(t, site, "carol", "2001:db8:1:3::1"), http.StatusUnauthorized, "AuthenticationRequired")
				// IPv4 written as IPv6 is IPv4.
				wantLimited(t, fail(t, site, "alice", "::ffff:192.0.2.1"))
			})
		})
	}
}

func TestTheLimitBelievesNoHeaderOfAClient(t *testing.T) {
	t.Parallel()
	g := start(t, site("sign_in_limit 3 1h"))
	for n := range 3 {
		got := g.do(t, ask{target: api, auth: basic("alice", "guess"), lines: from(fmt.Sprint("192.0.2.", n))})
		wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
	}
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Client-Ip", "CF-Connecting-IP"} {
		wantLimited(t, g.do(t, ask{target: api, auth: as("alice"), lines: []string{name + ": 198.51.100.1"}}))
	}
}

func TestEndedSessionsAreLimitedToo(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite("sign_in_limit 2 1h"), a.behind(), globals(fromAddresses))
	for n := range 20 {
		got := g.do(t, ask{target: api, lines: append(from("192.0.2.1"), fmt.Sprintf("Cookie: %s=guess%d", session, n))})
		wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
	}
	cookie := a.cookie("alice")
	wantLimited(t, g.do(t, ask{target: api, lines: append(from("192.0.2.1"), cookie)}))
	wantStatus(t, g.do(t, ask{target: api, lines: append(from("192.0.2.2"), cookie)}), http.StatusOK)
}

// By default ten may fail in a minute.
func TestTheLimitByDefault(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	refused := 0
	for g.do(t, ask{target: api, auth: basic("alice", "guess")}).status == http.StatusUnauthorized {
		refused++
	}
	if refused < 10 || refused > 13 { // one more every six seconds
		t.Errorf("%d guesses were looked at, want 10", refused)
	}
	got := g.do(t, ask{target: api, auth: as("alice")})
	if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); got.status == http.StatusTooManyRequests && (err != nil || seconds > 6) {
		t.Errorf("Retry-After %q, want the next one's time", got.header.Get("Retry-After"))
	}
}

func TestTheLimitEnds(t *testing.T) {
	t.Parallel()
	g := start(t, site("sign_in_limit 1 1s"))
	wantRefused(t, g.do(t, ask{target: api, auth: basic("alice", "guess")}), http.StatusUnauthorized, "AuthenticationRequired")
	g.wait(t, "the limit's second is over", func() bool {
		return g.do(t, ask{target: api, auth: as("alice")}).status == http.StatusOK
	})
}

func TestAUserWhoIsAttackedFromEverywhereIsSlowedNotLockedOut(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite("sign_in_limit 2 1h"), a.behind(), globals(fromAddresses))
	for n := range 20 {
		got := g.do(t, ask{target: api, auth: basic("alice", "guess"), lines: from(fmt.Sprint("192.0.2.", n))})
		wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
	}
	for address, auth := range map[string]string{"198.51.100.1": as("alice"), "198.51.100.2": as("alice")} {
		began := time.Now()
		wantStatus(t, g.do(t, ask{target: api, auth: auth, lines: from(address)}), http.StatusOK)
		if took := time.Since(began); took < 500*time.Millisecond || took > 5*time.Second {
			t.Errorf("her sign-in took %v", took)
		}
	}
	began := time.Now()
	wantStatus(t, g.do(t, ask{target: api, auth: as("bob"), lines: from("198.51.100.1")}), http.StatusOK)
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("another user's sign-in took %v", took)
	}
}

// An API may answer a wrong password late. Who doesn't wait for that has been
// told that it was wrong, and the guess counts.
func TestGuessesWithoutWaitingForTheAnswerCount(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	late := make(chan string, 100)
	a.play("bob", func(w http.ResponseWriter, _ *http.Request) {
		late <- "asked"
		<-time.After(200 * time.Millisecond)
		w.WriteHeader(http.StatusUnauthorized)
	})
	g := start(t, realSite("sign_in_limit 3 1h"), a.behind())
	for n := range 3 {
		conn, err := net.Dial("tcp", g.addresses[0])
		if err != nil {
			t.Fatal(err)
		}
		guess := ask{target: api, auth: basic("bob", fmt.Sprint("guess", n))}
		if _, err := io.WriteString(conn, guess.text(g.addresses[0])); err != nil {
			t.Fatal(err)
		}
		until(t, "the API is asked", late)
		conn.Close()
	}
	// The fourth waits until the others have failed.
	wantLimited(t, g.do(t, ask{target: api, auth: basic("bob", "another")}))
}

// 64 clients guess at once, each from an address of its own, all users'
// passwords. Few guesses get through; the users sign in from elsewhere.
func TestGuessingThePasswordsOfAThousandUsers(t *testing.T) {
	t.Parallel()
	const clients, users, each = 64, 1000, 120
	a := newRealAPI(t)
	for n := range users {
		a.change(fmt.Sprint("user", n), func(row *account) { row.ID, row.password = 1000+n, "right" })
	}
	g := start(t, realSite("sign_in_limit 10 1h"), a.behind(), globals(fromAddresses), measured)
	token := g.create(t, basic("user0", "right"), 3600, "")
	before, began := peakMemory(t, g), time.Now()
	var asked, limited atomic.Int64
	var guessing sync.WaitGroup
	for client := range clients {
		guessing.Go(func() {
			for n := range each {
				user := fmt.Sprint("user", (client+n*7)%users)
				got, err := g.try(ask{target: api, auth: basic(user, "guess"), lines: from(fmt.Sprint("192.0.2.", client))})
				switch {
				case err != nil:
					t.Error(err)
					return
				case got.status == http.StatusUnauthorized:
					asked.Add(1)
				case got.status == http.StatusTooManyRequests:
					limited.Add(1)
				default:
					t.Errorf("%s", got)
				}
			}
		})
	}
	guessing.Wait()
	// Each address has 100, and gets more back as the hour goes by.
	if most := int64(clients * (100 + 1 + 100*time.Since(began).Hours())); asked.Load() > most || limited.Load() == 0 {
		t.Errorf("%d guesses were looked at, want at most %d; %d were refused", asked.Load(), most, limited.Load())
	}
	if grown := peakMemory(t, g) - before; grown > 200<<20 {
		t.Errorf("the guesses took %d MiB", grown>>20)
	}
	for n := range 20 {
		user := fmt.Sprint("user", n*50)
		got := g.do(t, ask{target: api, auth: basic(user, "right"), lines: from("198.51.100.1")})
		wantStatus(t, got, http.StatusOK)
	}
	a.wantUser(t, g.do(t, ask{auth: bearer(token.value), lines: from("192.0.2.1")}), "1000")
}
