// Package signinlimit slows down whoever guesses passwords. Only failed
// sign-ins count: by address and user, and ten times as many by address. A
// user who is attacked from many addresses is slowed, but never locked out.
//
// Memory is bounded: when too many addresses and users fail, the ones that
// failed longest ago are forgotten.
package signinlimit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
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
	// maxEntries is how many addresses, users and pairs of them are known.
	maxEntries = 1 << 16
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

// Limiter counts failed sign-ins. It is safe for concurrent use.
type Limiter struct {
	failures int
	window   time.Duration
	seed     maphash.Seed

	mu      sync.Mutex
	buckets *simplelru.LRU[uint64, *bucket]
}

// bucket is what one address, user or pair of them has left. Guesses under way
// hold a failure each, so that many at a time can't fail more often than one
// after the other. Attempts with the same credentials are one guess.
type bucket struct {
	limit    *rate.Limiter
	underWay map[uint64]int // attempts by guess
	// changed is closed when an attempt ends.
	changed chan struct{}
}

// New returns a limiter that allows so many failures in a window, for an
// address and a user.
func New(failures int, window time.Duration) *Limiter {
	buckets, err := simplelru.NewLRU[uint64, *bucket](maxEntries, nil)
	if err != nil {
		panic(err) // the size is positive
	}
	return &Limiter{failures: failures, window: window, seed: maphash.MakeSeed(), buckets: buckets}
}

// Attempt is a sign-in under way. End has to be called once.
type Attempt struct {
	limiter *Limiter
	guess   uint64
	buckets []*bucket
	user    *bucket
}

// Begin asks for an attempt. user is "" if the credentials name none, guess is
// all that could make it another attempt than the others. It fails with
// *LimitedError, with ErrBusy, or as ctx does. While other guesses under way
// could use up what is left, it waits for them.
func (l *Limiter) Begin(ctx context.Context, address netip.Addr, user, guess string) (*Attempt, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, ErrBusy)
	defer cancel()
	a := &Attempt{limiter: l, guess: maphash.String(l.seed, guess)}
	address, user = Client(address), strings.ToLower(strings.TrimSpace(user))
	l.mu.Lock()
	defer l.mu.Unlock()
	a.buckets = []*bucket{l.bucket(addressFactor, "address", address, "")}
	// An address that has nothing left makes no new buckets: it could make others
	// be forgotten at no cost.
	if _, retryAfter := l.look(a.buckets, a.guess); retryAfter > 0 {
		return nil, &LimitedError{retryAfter}
	}
	if user != "" {
		a.buckets = append(a.buckets, l.bucket(1, "pair", address, user))
		a.user = l.bucket(userFactor, "user", netip.Addr{}, user)
		if a.user.left() < 1 {
			if err := l.wait(ctx, nil, slowdown); err != nil {
				return nil, err
			}
		}
	}
	for {
		busy, retryAfter := l.look(a.buckets, a.guess)
		if retryAfter > 0 {
			return nil, &LimitedError{retryAfter}
		}
		if busy == nil {
			break
		}
		if err := l.wait(ctx, busy.changed, 0); err != nil {
			return nil, err
		}
	}
	for _, b := range a.buckets {
		b.underWay[a.guess]++
	}
	return a, nil
}

// look returns a bucket whose guesses under way have to be waited for, or how
// long one has nothing left.
func (l *Limiter) look(buckets []*bucket, guess uint64) (busy *bucket, retryAfter time.Duration) {
	for _, b := range buckets {
		left := b.left()
		if left < 1 {
			seconds := math.Ceil((1 - left) / float64(b.limit.Limit()))
			retryAfter = max(retryAfter, time.Duration(seconds)*time.Second)
		}
		if same := b.underWay[guess]; same >= maxSame || same == 0 && float64(len(b.underWay)) > left-1 {
			busy = b
		}
	}
	return busy, retryAfter
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

// End says how the attempt went. Only a failure counts: neither success, nor
// that it couldn't be told.
func (a *Attempt) End(failed bool) {
	l := a.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range a.buckets {
		if b.underWay[a.guess]--; b.underWay[a.guess] == 0 {
			delete(b.underWay, a.guess)
		}
		if failed {
			b.limit.Allow()
		}
		close(b.changed)
		b.changed = make(chan struct{})
	}
	if failed && a.user != nil {
		a.user.limit.Allow()
	}
}

// bucket returns the bucket of a name, a new one if it isn't known.
func (l *Limiter) bucket(factor int, kind string, address netip.Addr, user string) *bucket {
	key := maphash.Comparable(l.seed, struct {
		kind    string
		address netip.Addr
		user    string
	}{kind, address, user})
	if b, known := l.buckets.Get(key); known {
		return b
	}
	failures := factor * l.failures
	b := &bucket{
		limit:    rate.NewLimiter(rate.Limit(float64(failures)/l.window.Seconds()), failures),
		underWay: make(map[uint64]int), changed: make(chan struct{}),
	}
	l.buckets.Add(key, b)
	return b
}

// left is how many failures are left, those of attempts under way included.
func (b *bucket) left() float64 { return b.limit.Tokens() }

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
