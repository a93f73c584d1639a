package signinlimit

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// with is another site that asks the same limiter, by a limit of its own.
func (s *site) with(limit Limit, authorities ...string) *site {
	return &site{s.limiter, limit, authorities}
}

func TestSitesOfOneAuthorityCountTogether(t *testing.T) {
	hour := Limit{6, time.Hour}
	for name, test := range map[string]struct {
		first, second []string
		left          int // of six, after four at the first
	}{
		"the same":              {[]string{"API"}, []string{"API"}, 2},
		"another one":           {[]string{"API"}, []string{"another API"}, 6},
		"one in common":         {[]string{"file", "API"}, []string{"API", "another API"}, 2},
		"none in common":        {[]string{"file", "API"}, []string{"another file", "another API"}, 6},
		"one of them":           {[]string{"file", "API"}, []string{"API"}, 2},
		"nothing to be guessed": {nil, nil, 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := newSite(0, 0).with(hour, test.first...)
				second := first.with(hour, test.second...)
				if n := allowed(t, first, here, "alice", 4); n != 4 {
					t.Fatalf("%d are allowed at the first, want 4", n)
				}
				if n := allowed(t, second, here, "alice", 10); n != test.left {
					t.Errorf("%d are allowed at the second, want %d", n, test.left)
				}
				if !try(t, second, there, "alice", succeeds) || !try(t, second, here, "bob", succeeds) {
					t.Error("others are refused")
				}
			})
		})
	}
}

// Each site judges all failures by its own limit.
func TestEachSiteHasItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strict := newSite(3, time.Hour)
		lax := strict.with(Limit{10, time.Hour}, "the API")
		if n := allowed(t, lax, here, "alice", 2); n != 2 {
			t.Fatalf("%d are allowed at the lax one, want 2", n)
		}
		if n := allowed(t, strict, here, "alice", 10); n != 1 {
			t.Errorf("%d more are allowed at the strict one, want 1", n)
		}
		if n := allowed(t, lax, here, "alice", 20); n != 7 {
			t.Errorf("%d more are allowed at the lax one, want 7", n)
		}
		<-time.After(20 * time.Minute) // one of three comes back, and three of ten
		if n := allowed(t, strict, here, "alice", 10); n != 1 {
			t.Errorf("%d are allowed at the strict one later, want 1", n)
		}
		if n := allowed(t, lax, here, "alice", 10); n != 2 {
			t.Errorf("%d are allowed at the lax one later, want 2", n)
		}
	})
}

// A limit that hasn't judged an address and user before, as after a reload that
// changed it, takes up what isn't forgiven yet, and nobody waits for more than
// its window.
func TestAnotherLimitTakesUpFailures(t *testing.T) {
	for name, test := range map[string]struct {
		before  Limit
		failed  int
		after   time.Duration
		limit   Limit
		allowed int
	}{
		"a stricter one":            {Limit{10, time.Minute}, 4, 0, Limit{5, time.Hour}, 1},
		"one that is used up":       {Limit{10, time.Minute}, 8, 0, Limit{5, time.Hour}, 0},
		"a laxer one":               {Limit{5, time.Hour}, 5, 0, Limit{20, time.Hour}, 15},
		"a quicker one":             {Limit{5, 24 * time.Hour}, 5, 0, Limit{5, time.Minute}, 0},
		"a quicker one, later":      {Limit{5, 24 * time.Hour}, 5, 24 * time.Second, Limit{5, time.Minute}, 2},
		"a quicker one, much later": {Limit{5, 24 * time.Hour}, 5, time.Minute, Limit{5, time.Minute}, 5},
		"forgiven":                  {Limit{5, time.Minute}, 5, time.Minute, Limit{5, time.Minute}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := newSite(test.before.Failures, test.before.Window)
				if n := allowed(t, before, here, "alice", test.failed); n != test.failed {
					t.Fatalf("%d are allowed, want %d", n, test.failed)
				}
				<-time.After(test.after)
				later := before.with(test.limit, "the API")
				if n := allowed(t, later, here, "alice", 30); n != test.allowed {
					t.Errorf("%d are allowed by %v, want %d", n, test.limit, test.allowed)
				}
				<-time.After(test.limit.Window)
				if n := allowed(t, later, here, "alice", 30); n != test.limit.Failures {
					t.Errorf("%d are allowed a window later, want %d", n, test.limit.Failures)
				}
			})
		})
	}
}

// Many at a time, at many sites, can't fail more often than at one.
func TestConcurrentAttemptsAtManySites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newSite(3, time.Hour)
		var failed, refused atomic.Int32
		var group sync.WaitGroup
		for i := range 30 {
			s := first.with(first.limit, "the API")
			if i%2 == 0 {
				s = first.with(first.limit, "the API", "a file")
			}
			group.Go(func() {
				attempt, err := s.begin(t.Context(), here, "alice", newGuess())
				if _, ok := errors.AsType[*LimitedError](err); ok {
					refused.Add(1)
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				<-time.After(time.Millisecond)
				failed.Add(1)
				attempt.End(fails)
			})
		}
		group.Wait()
		if failed.Load() != 3 || refused.Load() != 27 {
			t.Errorf("%d failed and %d were refused, want 3 and 27", failed.Load(), refused.Load())
		}
	})
}

// A user who is attacked at one site is slowed at the other, too.
func TestSlowedAtAllSites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newSite(1, time.Hour)
		for i := range 10 {
			try(t, first, address(i), "alice", fails)
		}
		for authority, want := range map[string]time.Duration{"the API": slowdown, "another API": 0} {
			begun := time.Now()
			if !try(t, first.with(first.limit, authority), here, "alice", succeeds) || time.Since(begun) != want {
				t.Errorf("%s: took %v, want %v", authority, time.Since(begun), want)
			}
		}
	})
}
