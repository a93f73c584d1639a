package signinlimit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
)

// how an attempt ends.
const (
	fails    = true
	succeeds = false // or can't be told
)

var guesses atomic.Int64

// newGuess is one that nobody has made before.
func newGuess() string { return fmt.Sprint(guesses.Add(1)) }

// site is one that asks a limiter about the guesses at its sign-ins.
type site struct {
	limiter     *Limiter
	limit       Limit
	authorities []string
}

func newSite(failures int, window time.Duration) *site {
	return &site{New(), Limit{failures, window}, []string{"the API"}}
}

func (s *site) begin(ctx context.Context, address netip.Addr, user, credentials string) (*Attempt, error) {
	return s.limiter.Begin(ctx, s.limit, Guess{s.authorities, address, user, credentials})
}

// counts is how many counts are remembered.
func (s *site) counts() int { return s.limiter.failures.counts.Len() }

// try makes an attempt, and tells whether it was allowed.
func try(t testing.TB, l *site, address netip.Addr, user string, failed bool) bool {
	t.Helper()
	attempt, err := l.begin(t.Context(), address, user, newGuess())
	if limited, ok := errors.AsType[*LimitedError](err); ok {
		if limited.RetryAfter <= 0 {
			t.Errorf("limited, but to try again in %v", limited.RetryAfter)
		}
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	attempt.End(failed)
	return true
}

// allowed counts how many attempts are allowed one after the other.
func allowed(t testing.TB, l *site, address netip.Addr, user string, attempts int) (n int) {
	t.Helper()
	for range attempts {
		if try(t, l, address, user, fails) {
			n++
		}
	}
	return n
}

func TestTenFailAndTheEleventhIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(10, time.Minute)
		for i := range 10 {
			if !try(t, l, here, "alice", fails) {
				t.Fatalf("attempt %d is refused", i+1)
			}
		}
		_, err := l.begin(t.Context(), here, "alice", newGuess())
		limited, ok := errors.AsType[*LimitedError](err)
		if !ok {
			t.Fatalf("attempt 11: %v", err)
		}
		// One of ten a minute comes back after six seconds, and not before.
		if limited.RetryAfter != 6*time.Second {
			t.Errorf("to try again in %v, want 6s", limited.RetryAfter)
		}
		for name, other := range map[string]struct {
			address netip.Addr
			user    string
		}{
			"another user of the same address":         {here, "bob"},
			"the same user at another address":         {there, "alice"},
			"no user, as with a session":               {here, ""},
			"another address, without a user":          {there, ""},
			"the same user where there is no address":  {netip.Addr{}, "alice"},
			"a user whose name looks like two of them": {here, "alice\x00"},
		} {
			if !try(t, l, other.address, other.user, succeeds) {
				t.Errorf("%s is refused", name)
			}
		}
	})
}

func TestAddressHasTenTimesAsMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(3, time.Minute)
		n := 0
		for i := range 100 {
			n += allowed(t, l, here, "user"+strconv.Itoa(i), 1)
		}
		if n != 30 {
			t.Errorf("%d attempts for 100 users are allowed, want 30", n)
		}
		if try(t, l, here, "", succeeds) {
			t.Error("and one with a session")
		}
		if !try(t, l, there, "user0", succeeds) {
			t.Error("another address is refused")
		}
		// Sessions count by address alone.
		l = newSite(3, time.Minute)
		if n := allowed(t, l, here, "", 100); n != 30 {
			t.Errorf("%d attempts with sessions are allowed, want 30", n)
		}
	})
}

func TestSuccessesDontCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(2, time.Minute)
		for i := range 1000 {
			if !try(t, l, here, "alice", succeeds) {
				t.Fatalf("attempt %d is refused", i+1)
			}
		}
		if n := allowed(t, l, here, "alice", 5); n != 2 {
			t.Errorf("%d failures are allowed after successes, want 2", n)
		}
		// Nor does a success give back what failures took.
		l = newSite(2, time.Minute)
		if !try(t, l, here, "alice", fails) || !try(t, l, here, "alice", succeeds) {
			t.Fatal("refused")
		}
		if n := allowed(t, l, here, "alice", 5); n != 1 {
			t.Errorf("%d more failures are allowed, want 1", n)
		}
	})
}

func TestRefill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(10, time.Minute)
		allowed(t, l, here, "alice", 20)
		<-time.After(6*time.Second - time.Nanosecond)
		if try(t, l, here, "alice", fails) {
			t.Error("allowed too early")
		}
		<-time.After(time.Millisecond)
		if n := allowed(t, l, here, "alice", 5); n != 1 {
			t.Errorf("%d allowed after a tenth of the window, want 1", n)
		}
		<-time.After(30 * time.Second)
		if n := allowed(t, l, here, "alice", 20); n != 5 {
			t.Errorf("%d allowed after half the window, want 5", n)
		}
		<-time.After(time.Hour)
		if n := allowed(t, l, here, "alice", 20); n != 10 {
			t.Errorf("%d allowed after an hour, want 10", n)
		}
	})
}

// Whoever waits as long as told is let in, whatever the limit.
func TestRetryAfterIsEnough(t *testing.T) {
	for _, test := range []struct {
		failures int
		window   time.Duration
	}{{10, time.Minute}, {1, time.Second}, {1, 24 * time.Hour}, {7, time.Minute}, {3, 10 * time.Second}, {1_000, time.Second}, {11, 24 * time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			l := newSite(test.failures, test.window)
			for range 3 {
				for try(t, l, here, "alice", fails) {
				}
				_, err := l.begin(t.Context(), here, "alice", newGuess())
				limited, ok := errors.AsType[*LimitedError](err)
				if !ok {
					t.Fatal(err)
				}
				if limited.RetryAfter < time.Second || limited.RetryAfter%time.Second != 0 {
					t.Errorf("%+v: to try again in %v", test, limited.RetryAfter)
				}
				if most := max(time.Second, test.window/time.Duration(test.failures)+time.Second); limited.RetryAfter > most {
					t.Errorf("%+v: to try again in %v, more than %v", test, limited.RetryAfter, most)
				}
				<-time.After(limited.RetryAfter)
				if !try(t, l, here, "alice", fails) {
					t.Errorf("%+v: refused after %v", test, limited.RetryAfter)
				}
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for name, test := range map[string]struct {
		a, b string
		same bool
	}{
		"IPv6 of one /64":               {"2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true},
		"IPv6 of two /64":               {"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		"IPv6 with a zone":              {"fe80::1%eth0", "fe80::2%eth1", true},
		"IPv4, written as IPv6":         {"192.0.2.7", "::ffff:192.0.2.7", true},
		"two of IPv4, written as IPv6":  {"::ffff:192.0.2.7", "::ffff:192.0.2.8", false},
		"neighbours of IPv4":            {"192.0.2.7", "192.0.2.8", false},
		"IPv4 and IPv6 of its mapped 0": {"0.0.0.0", "::", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newSite(2, time.Minute)
				if n := allowed(t, l, netip.MustParseAddr(test.a), "alice", 5); n != 2 {
					t.Fatalf("%d are allowed, want 2", n)
				}
				if other := try(t, l, netip.MustParseAddr(test.b), "alice", fails); other == test.same {
					t.Errorf("the other is allowed: %t", other)
				}
			})
		})
	}
}

// What is allowed one after the other isn't exceeded by many at a time.
func TestConcurrentAttempts(t *testing.T) {
	for name, user := range map[string]func(int) string{
		"of one user":   func(int) string { return "alice" },
		"of many users": strconv.Itoa,
		"of nobody":     func(int) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newSite(3, time.Hour)
				want := 30 // by address
				if user(1) == "alice" {
					want = 3
				}
				var failed, refused, underWay, most atomic.Int32
				var group sync.WaitGroup
				for i := range 64 {
					group.Go(func() {
						attempt, err := l.begin(t.Context(), here, user(i), newGuess())
						if err != nil {
							refused.Add(1)
							return
						}
						for now := underWay.Add(1); ; {
							if seen := most.Load(); now <= seen || most.CompareAndSwap(seen, now) {
								break
							}
						}
						<-time.After(time.Millisecond) // the password is compared
						underWay.Add(-1)
						failed.Add(1)
						attempt.End(fails)
					})
				}
				group.Wait()
				if int(failed.Load()) != want || int(refused.Load()) != 64-want {
					t.Errorf("%d failed and %d were refused, want %d and %d", failed.Load(), refused.Load(), want, 64-want)
				}
				if int(most.Load()) != want {
					t.Errorf("%d at a time, want %d", most.Load(), want)
				}
			})
		})
	}
}

// Attempts that succeed let those that wait for them go on: nobody is refused.
func TestConcurrentSuccesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(3, time.Hour)
		var group sync.WaitGroup
		for range 64 {
			group.Go(func() {
				attempt, err := l.begin(t.Context(), here, "alice", newGuess())
				if err != nil {
					t.Error(err)
					return
				}
				<-time.After(time.Millisecond)
				attempt.End(succeeds)
			})
		}
		group.Wait()
	})
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(1, time.Minute)
		first, err := l.begin(t.Context(), here, "alice", newGuess())
		if err != nil {
			t.Fatal(err)
		}
		gone := errors.New("the client has gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := l.begin(ctx, here, "alice", newGuess())
			ended <- err
		}()
		synctest.Wait()
		if !try(t, l, here, "bob", succeeds) || !try(t, l, there, "alice", succeeds) {
			t.Error("while one waits, others are refused")
		}
		select {
		case err := <-ended:
			t.Fatalf("it didn't wait: %v", err)
		default:
		}
		cancel(gone)
		if err := <-ended; !errors.Is(err, gone) {
			t.Errorf("it ends with %v", err)
		}
		// Whoever gave up holds nothing back.
		first.End(succeeds)
		if n := allowed(t, l, here, "alice", 3); n != 1 {
			t.Errorf("%d are allowed afterwards, want 1", n)
		}
	})
}

// A user who is attacked from everywhere takes a second longer to sign in, and
// does sign in.
func TestUserAttackedFromEverywhereIsSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(10, time.Minute)
		address := netip.MustParseAddr("198.51.100.0")
		begun := time.Now()
		for range 100 {
			address = address.Next()
			if !try(t, l, address, "alice", fails) {
				t.Fatal("refused")
			}
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("the first hundred took %v", took)
		}
		begun = time.Now()
		if !try(t, l, here, "alice", succeeds) {
			t.Error("alice is locked out")
		}
		if took := time.Since(begun); took != slowdown {
			t.Errorf("alice's own attempt took %v, want %v", took, slowdown)
		}
		begun = time.Now()
		if !try(t, l, here, "bob", succeeds) || time.Since(begun) != 0 {
			t.Errorf("bob is slowed by %v", time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), slowdown/2)
		defer cancel()
		for range 100 { // so that she is slowed still
			address = address.Next()
			try(t, l, address, "alice", fails)
		}
		if _, err := l.begin(ctx, here, "alice", newGuess()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("slowed beyond the request's end: %v", err)
		}
		<-time.After(time.Minute)
		begun = time.Now()
		if !try(t, l, here, "alice", succeeds) || time.Since(begun) != 0 {
			t.Errorf("a window later alice is slowed by %v", time.Since(begun))
		}
	})
}

// However many addresses and names fail, memory doesn't grow, and whoever goes
// on guessing stays limited.
func TestFlood(t *testing.T) {
	l := newSite(10, 24*time.Hour)
	if n := allowed(t, l, here, "alice", 20); n != 10 {
		t.Fatalf("%d are allowed, want 10", n)
	}
	heap := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := heap()
	for i := range 100_000 {
		var address [16]byte
		binary.BigEndian.PutUint64(address[:], 0x2001_0db8_0000_0000+uint64(i))
		try(t, l, netip.AddrFrom16(address), "user"+strconv.Itoa(i), fails)
		if i%1000 == 0 && try(t, l, here, "alice", fails) {
			t.Fatalf("after %d addresses, one that goes on guessing isn't limited any more", i)
		}
	}
	if grown := heap() - before; grown > 32<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if l.counts() > maxCounts {
		t.Errorf("%d counts", l.counts())
	}
	runtime.KeepAlive(l)
}

// One address that is refused can't make the limiter forget others by making up
// names.
func TestRefusedAddressMakesNothingForgotten(t *testing.T) {
	l := newSite(10, time.Hour)
	if n := allowed(t, l, there, "alice", 20); n != 10 {
		t.Fatalf("%d are allowed, want 10", n)
	}
	for i := range maxCounts {
		try(t, l, here, strconv.Itoa(i), fails)
	}
	if try(t, l, there, "alice", fails) {
		t.Error("a flood of names from one address has set another one free")
	}
	if known := l.counts(); known > 1000 {
		t.Errorf("%d counts of names made up by one address", known)
	}
}

// The same credentials sent many times at once are one guess, and don't wait
// for each other. Each failure counts all the same.
func TestTheSameCredentialsDontWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(3, time.Hour)
		start := time.Now()
		var attempts []*Attempt
		for range maxSame {
			attempt, err := l.begin(t.Context(), here, "alice", "her password")
			if err != nil {
				t.Fatal(err)
			}
			attempts = append(attempts, attempt)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("one guess, many times, took %v", took)
		}
		// There is a bound, which is waited for.
		if _, err := l.begin(t.Context(), here, "alice", "her password"); !errors.Is(err, ErrBusy) {
			t.Errorf("one more: %v", err)
		}
		begun := time.Now()
		for _, guess := range []string{"one", "another"} {
			attempt, err := l.begin(t.Context(), here, "alice", guess)
			if err != nil {
				t.Fatal(err)
			}
			attempts = append(attempts, attempt)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("two more guesses took %v", took)
		}
		// A fourth could be the fourth failure.
		if _, err := l.begin(t.Context(), here, "alice", "a fourth"); !errors.Is(err, ErrBusy) || time.Since(begun) != patience {
			t.Errorf("a fourth guess: %v after %v", err, time.Since(begun))
		}
		for _, attempt := range attempts {
			attempt.End(fails)
		}
		if try(t, l, here, "alice", succeeds) {
			t.Error("after 66 failures another attempt is allowed")
		}
	})
}

// Many servers take alice and Alice for the same user.
func TestSpellingsOfAUserAreOne(t *testing.T) {
	l := newSite(3, time.Hour)
	for _, user := range []string{"alice", "Alice", " ALICE "} {
		if !try(t, l, here, user, fails) {
			t.Errorf("%q is limited", user)
		}
	}
	if try(t, l, here, "aLice", succeeds) {
		t.Error("a fourth spelling isn't limited")
	}
}
