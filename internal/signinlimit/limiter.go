// Package signinlimit slows down whoever guesses passwords. Only failed
// sign-ins count: by address and user, and ten times as many by address. A
// user who is attacked from many addresses is slowed, but never locked out.
//
// Failures are counted for what checks the credentials, whichever site asks it,
// and each site judges them by its own limit.
//
// # What is remembered
//
// Failures that aren't forgiven yet, and nothing else: for an address, for an
// address and a user, and for a user. An attempt under way stands apart, as
// long as it is under way; one that succeeds, ends before anything was
// compared, or is refused leaves nothing behind.
//
// There are 65,536 such counts at most, about 16 MB. The one that failed,
// refused or slowed longest ago is forgotten for another. So nothing but
// failures pushes out a failure, and it takes tens of thousands of them, none of
// which may be forgiven yet: of ten a minute, one of an address and a user is
// forgiven after six seconds. As an address is refused altogether after a
// hundred, hundreds of addresses have to fail at once, and each of their failures
// is a guess too. What it gives is ten more guesses for one more address.
package signinlimit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// addressFactor is how many more failures an address has than an address
	// and a user together; userFactor the same for a user from everywhere.
	addressFactor = 10
	userFactor    = 10
	// patience is how long an attempt waits for others at most.
	patience = 30 * time.Second
	// slowdown is how long each attempt for a user takes longer who has too
	// many failures from everywhere.
	slowdown = time.Second
	// maxSame is how many attempts with the same credentials are under way at
	// a time: they tell no more than one, but each costs something.
	maxSame = 64
)

// LimitedError refuses an attempt before anything was compared.
type LimitedError struct {
	// RetryAfter is when the next attempt is allowed.
	RetryAfter time.Duration
}

func (e *LimitedError) Error() string {
	return fmt.Sprintf("too many failed sign-ins; try again in %v", e.RetryAfter)
}

// ErrBusy refuses an attempt that has waited too long for others under way.
var ErrBusy = errors.New("too many sign-ins of this client are under way")

// Limit is how many sign-ins of an address and a user may fail in a window.
type Limit struct {
	Failures int
	Window   time.Duration
}

// Guess is what somebody tries to sign in with.
type Guess struct {
	// Authorities are what may check the credentials. Where two guesses have one
	// in common, their failures count together.
	Authorities []string
	Address     netip.Addr
	// User is "" if the credentials name none.
	User string
	// Credentials is all that could make it another guess than others.
	Credentials string
}

// Limiter counts failed sign-ins. It is safe for concurrent use.
type Limiter struct {
	seed maphash.Seed

	mu       sync.Mutex
	failures *failures
	// underWay are the attempts under way, by what they would count for.
	underWay map[uint64]*underWay
}

// underWay are attempts that have begun and not ended. Each guess among them
// holds a failure, so that many at a time can't fail more often than one after
// the other. Attempts with the same credentials are one guess.
type underWay struct {
	attempts map[uint64]int // by guess
	// changed is closed when an attempt ends.
	changed chan struct{}
}

// New returns a limiter that remembers nothing yet.
func New() *Limiter {
	return &Limiter{seed: maphash.MakeSeed(), failures: newFailures(maxCounts), underWay: make(map[uint64]*underWay)}
}

// Attempt is a sign-in under way. End has to be called once.
type Attempt struct {
	limiter *Limiter
	guess   uint64
	// refusing are the counts that refuse the attempt, slowing those that slow it.
	refusing, slowing []counted
}

// counted is one count that a failure adds to, and its limit.
type counted struct {
	key   uint64
	limit Limit
}

// Begin asks for an attempt. It fails with *LimitedError, with ErrBusy, or as
// ctx does. While other guesses under way could use up what is left, it waits
// for them.
func (l *Limiter) Begin(ctx context.Context, limit Limit, g Guess) (*Attempt, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, ErrBusy)
	defer cancel()
	a := l.attempt(limit, g)
	l.mu.Lock()
	defer l.mu.Unlock()
	for slowed := false; ; {
		busy, retryAfter := l.look(a)
		var err error
		switch {
		case retryAfter > 0:
			return nil, &LimitedError{retryAfter}
		case !slowed && l.isSlow(a):
			slowed, err = true, l.wait(ctx, nil, slowdown)
		case busy != nil:
			err = l.wait(ctx, busy.changed, 0)
		default:
			l.begin(a)
			return a, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (l *Limiter) attempt(limit Limit, g Guess) *Attempt {
	a := &Attempt{limiter: l, guess: maphash.String(l.seed, g.Credentials)}
	address, user := Client(g.Address), strings.ToLower(strings.TrimSpace(g.User))
	count := func(factor int, authority, kind string, address netip.Addr, user string) counted {
		key := maphash.Comparable(l.seed, struct {
			authority, kind string
			address         netip.Addr
			user            string
		}{authority, kind, address, user})
		return counted{key, Limit{factor * limit.Failures, limit.Window}}
	}
	for _, authority := range g.Authorities {
		a.refusing = append(a.refusing, count(addressFactor, authority, "address", address, ""))
		if user != "" {
			a.refusing = append(a.refusing, count(1, authority, "address and user", address, user))
			a.slowing = append(a.slowing, count(userFactor, authority, "user", netip.Addr{}, user))
		}
	}
	return a
}

// look returns attempts under way that have to be waited for, or how long
// nothing is left.
func (l *Limiter) look(a *Attempt) (busy *underWay, retryAfter time.Duration) {
	now := time.Now()
	for _, c := range a.refusing {
		left, wait := l.failures.left(c.key, c.limit, now)
		if left == 0 {
			l.failures.renew(c.key)
			retryAfter = max(retryAfter, wait)
		}
		u := l.underWay[c.key]
		if u == nil {
			continue
		}
		if same := u.attempts[a.guess]; same >= maxSame || same == 0 && len(u.attempts) >= left {
			busy = u
		}
	}
	return busy, retryAfter
}

// isSlow tells whether the user has too many failures from everywhere.
func (l *Limiter) isSlow(a *Attempt) bool {
	for _, c := range a.slowing {
		if left, _ := l.failures.left(c.key, c.limit, time.Now()); left == 0 {
			l.failures.renew(c.key)
			return true
		}
	}
	return false
}

// wait waits, without the lock, until changed is closed, or as long as said.
func (l *Limiter) wait(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	l.mu.Unlock()
	defer l.mu.Lock()
	var elapsed <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		elapsed = timer.C
	}
	select {
	case <-changed:
		return nil
	case <-elapsed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Limiter) begin(a *Attempt) {
	for _, c := range a.refusing {
		u := l.underWay[c.key]
		if u == nil {
			u = &underWay{make(map[uint64]int), make(chan struct{})}
			l.underWay[c.key] = u
		}
		u.attempts[a.guess]++
	}
}

// End says how the attempt went. Only a failure counts.
func (a *Attempt) End(failed bool) {
	l := a.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range a.refusing {
		u := l.underWay[c.key]
		if u.attempts[a.guess]--; u.attempts[a.guess] == 0 {
			delete(u.attempts, a.guess)
		}
		close(u.changed)
		u.changed = make(chan struct{})
		if len(u.attempts) == 0 {
			delete(l.underWay, c.key)
		}
	}
	if !failed {
		return
	}
	now := time.Now()
	for _, c := range slices.Concat(a.refusing, a.slowing) {
		l.failures.add(c.key, c.limit, now)
	}
}

// Client is what one client has of the address space: an IPv4 address or, of
// IPv6, a /64.
func Client(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if address.Is6() {
		prefix, err := address.Prefix(64)
		if err == nil {
			return prefix.Addr()
		}
	}
	return address
}
