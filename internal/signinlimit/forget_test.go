package signinlimit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// address returns one of many /64 of IPv6.
func address(n int) netip.Addr {
	var bytes [16]byte
	binary.BigEndian.PutUint64(bytes[:], 0x2001_0db8_0000_0000+uint64(n))
	return netip.AddrFrom16(bytes)
}

// few counts are enough to see which of them are forgotten.
const few = 100

// Whatever isn't a failure leaves nothing behind, and makes nothing forgotten.
func TestOnlyFailuresAreRemembered(t *testing.T) {
	l := newSite(2, time.Hour)
	l.limiter.failures = newFailures(few)
	if n := allowed(t, l, there, "alice", 5); n != 2 {
		t.Fatalf("%d are allowed, want 2", n)
	}
	known := l.counts()
	for i := range 10 * few { // successes, and what ends before anything is compared
		if !try(t, l, address(i), strconv.Itoa(i), succeeds) {
			t.Fatal("refused")
		}
	}
	for i := range 10 * few { // refused
		if try(t, l, there, "alice", fails) {
			t.Fatalf("allowed after %d attempts", i)
		}
	}
	if got := l.counts(); got != known {
		t.Errorf("%d counts, want the %d of before", got, known)
	}
	if n := len(l.limiter.underWay); n != 0 {
		t.Errorf("%d attempts that have ended are remembered", n)
	}
}

// Attempts under way are remembered as long as they are, however many.
func TestAttemptsUnderWayStandApart(t *testing.T) {
	l := newSite(2, time.Hour)
	l.limiter.failures = newFailures(few)
	allowed(t, l, there, "alice", 2)
	var attempts []*Attempt
	for i := range 10 * few {
		attempt, err := l.begin(t.Context(), address(i), strconv.Itoa(i), "guess")
		if err != nil {
			t.Fatal(err)
		}
		attempts = append(attempts, attempt)
	}
	if try(t, l, there, "alice", fails) {
		t.Error("many attempts under way have set alice's guesser free")
	}
	if n := len(l.limiter.underWay); n != 20*few { // by address, and by address and user
		t.Errorf("%d under way, want %d", n, 20*few)
	}
	for _, attempt := range attempts {
		attempt.End(succeeds)
	}
	if n := len(l.limiter.underWay); n != 0 {
		t.Errorf("%d attempts that have ended are remembered", n)
	}
}

// Whoever gives up waiting, or is told to come again, was never under way.
func TestWhoNeverBeganLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(1, time.Hour)
		first, err := l.begin(t.Context(), here, "alice", newGuess())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.begin(t.Context(), here, "alice", newGuess()); !errors.Is(err, ErrBusy) {
			t.Errorf("a second: %v", err)
		}
		first.End(succeeds)
		if len(l.limiter.underWay) != 0 || l.counts() != 0 {
			t.Errorf("%d under way and %d counts", len(l.limiter.underWay), l.counts())
		}
	})
}

// What is forgiven gives its place to others.
func TestForgivenFailuresAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(10, time.Minute)
		for i := range 100 {
			try(t, l, address(i), strconv.Itoa(i), fails)
		}
		if got := l.counts(); got != 300 {
			t.Errorf("%d counts of 100 failures, want 300", got)
		}
		<-time.After(time.Second) // an address and a user have a hundred a minute
		try(t, l, here, "alice", fails)
		if got := l.counts(); got != 100+3 {
			t.Errorf("%d counts after a second, want 103", got)
		}
		<-time.After(time.Minute)
		try(t, l, here, "alice", fails)
		if got := l.counts(); got != 3 {
			t.Errorf("%d counts after a minute, want 3", got)
		}
	})
}

// An address that is limited stays so while others fail, one after the other,
// for as long as it likes: theirs are forgiven before there are too many.
func TestAFloodOfForgivenFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSite(1, 24*time.Hour)
		l.limiter.failures = newFailures(few)
		allowed(t, l, here, "alice", 1)
		quick := &site{l.limiter, Limit{10, time.Minute}, []string{"another API"}}
		for i := range 10 * few {
			try(t, quick, address(i), strconv.Itoa(i), fails)
			<-time.After(100 * time.Millisecond)
		}
		if try(t, l, here, "alice", fails) {
			t.Error("alice's guesser has been forgotten")
		}
	})
}

// Where there are too many, the one that failed or refused longest ago goes.
func TestTheOldestFailureIsForgotten(t *testing.T) {
	l := newSite(2, time.Hour)
	l.limiter.failures = newFailures(3 * 3)
	allowed(t, l, here, "alice", 2)
	allowed(t, l, there, "bob", 2)
	try(t, l, here, "alice", fails) // refused
	for i := range 3 {
		try(t, l, address(i), "carol", fails)
	}
	if try(t, l, here, "alice", fails) {
		t.Error("alice's guesser, who went on, is forgotten")
	}
	if !try(t, l, there, "bob", fails) {
		t.Error("bob's guesser isn't forgotten")
	}
	if got := l.counts(); got != 9 {
		t.Errorf("%d counts, want no more than 9", got)
	}
}

// Whatever is counted, in whatever order, a limit leaves as many failures as its
// window allows, and what is remembered stays in order.
func TestCountsAgainstASimplerModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := Limit{rapid.IntRange(1, 20).Draw(t, "failures"), time.Duration(rapid.IntRange(1, 86400).Draw(t, "window")) * time.Second}
		others := []Limit{{1, time.Hour}, {7, time.Second}, {1000, 24 * time.Hour}}
		f := newFailures(20)
		now := time.Unix(1_800_000_000, 0)
		debt := make(map[uint64]time.Duration) // how long it takes until all is forgiven
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			passed := time.Duration(rapid.Int64Range(0, int64(limit.Window)/2).Draw(t, "passed"))
			now = now.Add(passed)
			for key := range debt {
				debt[key] = max(0, debt[key]-passed)
			}
			key := rapid.Uint64Range(0, 9).Draw(t, "key")
			if other := rapid.IntRange(0, 9).Draw(t, "other"); other < len(others) {
				// Another site's count, which this one doesn't judge.
				f.add(100+key, others[other], now)
			} else {
				f.add(key, limit, now)
				debt[key] = min(debt[key]+limit.each(), limit.whole())
			}
			for key, debt := range debt {
				want := int((limit.whole() - debt) / limit.each())
				left, retryAfter := f.left(key, limit, now)
				if left != want || (left == 0) != (retryAfter > 0) {
					t.Fatalf("%d left and to try again in %v, want %d", left, retryAfter, want)
				}
				if later, _ := f.left(key, limit, now.Add(retryAfter)); left == 0 && later == 0 {
					t.Fatalf("after %v there is still none", retryAfter)
				}
			}
			checkOrder(t, f, now)
		}
	})
}

func checkOrder(t *rapid.T, f *failures, now time.Time) {
	if f.counts.Len() != len(f.endings) {
		t.Fatalf("%d counts, and %d that will be forgiven", f.counts.Len(), len(f.endings))
	}
	for i, c := range f.endings {
		if known, _ := f.counts.Peek(c.key); known != c || c.at != i {
			t.Fatal("a count isn't where it says that it is")
		}
		if !c.end.After(now) {
			t.Fatal("a forgiven count is remembered")
		}
		if i > 0 && c.end.Before(f.endings[(i-1)/2].end) {
			t.Fatal("the first isn't the one that is forgiven first")
		}
	}
}

func BenchmarkAttempt(b *testing.B) {
	for _, failed := range []bool{succeeds, fails} {
		b.Run(fmt.Sprintf("fails=%t", failed), func(b *testing.B) {
			l := newSite(10, 24*time.Hour)
			for i := range b.N {
				try(b, l, address(i), strconv.Itoa(i), failed)
			}
		})
	}
}
