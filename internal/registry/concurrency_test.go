package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// churn makes tokens and deletes some until stop is called, so that the store
// puts memtables away and compacts tables all the time. It has begun to when
// churn returns.
func (f *fixture) churn() (stop func()) {
	f.Helper()
	p := newProject("churn")
	ctx, cancel := context.WithCancel(context.Background())
	long := strings.Repeat("d", 1024)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_, t, err := f.Issue(context.Background(), p, user("churn"), Wish{Prefix: "cat", LifetimeSeconds: 60, Description: long})
				if err == nil && i%2 == 0 {
					err = f.Delete(context.Background(), p, user("churn"), t.ID, false)
				}
				if err != nil {
					f.Error(err)
					return
				}
			}
		})
	}
	stop = func() { cancel(); all.Wait() }
	for deadline := time.Now().Add(time.Minute); !f.hasCompacted(); {
		if time.Now().After(deadline) {
			stop()
			f.Fatal("a minute later the store has compacted nothing")
		}
		<-time.After(time.Millisecond)
	}
	return stop
}

// hasCompacted tells whether there are tables, which are numbered, and the
// first one isn't there any more.
func (f *fixture) hasCompacted() bool {
	f.Helper()
	tables, err := filepath.Glob(filepath.Join(f.dir, "db", "*.sst"))
	if err != nil {
		f.Fatal(err)
	}
	return len(tables) > 0 && !slices.ContainsFunc(tables, func(file string) bool { return filepath.Base(file) == "000001.sst" })
}

// Once Delete has returned, no authentication that starts later succeeds,
// however many are under way.
func TestDeleteIsEffectiveAtTheNextRequest(t *testing.T) {
	const clients = 64
	tokens := storetest.Rounds(25, 100)
	f, p := newFixture(t), newProject("p")
	stop := f.churn()
	for range tokens {
		f.deleteUnder(p, f.issue(p, user("bob"), 3600), clients)
	}
	stop()
}

// deleteUnder deletes a token that clients use all the time.
func (f *fixture) deleteUnder(p *Project, m made, clients int) {
	var deleted atomic.Bool
	var using, done sync.WaitGroup
	using.Add(clients)
	for range clients {
		done.Go(func() {
			if _, err := f.Authenticate(p, m.value, netip.Addr{}); err != nil {
				f.Errorf("before it is deleted: %v", err)
			}
			using.Done()
			for after := 0; after < 3; {
				late := deleted.Load()
				_, err := f.Authenticate(p, m.value, netip.Addr{})
				if err == nil && late {
					f.Error("a deleted token was accepted")
					return
				}
				if err != nil && !errors.Is(err, ErrInvalidToken) {
					f.Errorf("refused with %v", err)
					return
				}
				if late {
					after++
				}
				// Or the store's own goroutines would wait for all of these.
				runtime.Gosched()
			}
		})
	}
	using.Wait()
	if err := f.Delete(context.Background(), p, user("bob"), m.ID, false); err != nil {
		f.Error(err)
	}
	deleted.Store(true)
	done.Wait()
}

// However fast a thief renews a token and what it got for it, once the line is
// deleted nothing of it is left.
func TestDeletingALineBeatsItsRenewals(t *testing.T) {
	const thieves = 8
	lines := storetest.Rounds(4, 12)
	f, p := newFixture(t), newProject("p")
	stop := f.churn()
	longest := 0
	// Short lines are deleted at once, long ones in steps.
	for n := range lines {
		grow := 5 + 110*n/(lines-1)
		var mu sync.Mutex
		root := f.issue(p, user("bob"), 3600)
		line := []token.Value{root.value}
		var deleted atomic.Bool
		var all sync.WaitGroup
		grown := make(chan struct{})
		for thief := range thieves {
			all.Go(func() {
				for i := thief; ; i += 7 {
					mu.Lock()
					// Some renew the latest, some all over the line.
					value := line[len(line)-1]
					if thief%2 == 0 {
						value = line[i%len(line)]
					}
					mu.Unlock()
					late := deleted.Load()
					r, err := f.Authenticate(p, value, netip.Addr{})
					if err == nil {
						value, _, err = f.Issue(context.Background(), p, Holder(&r), Wish{Prefix: "cat", LifetimeSeconds: 3600})
					}
					if err == nil && late {
						t.Error("a token of a deleted line was renewed")
					}
					if errors.Is(err, ErrInvalidToken) {
						if late {
							return
						}
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					line = append(line, value)
					if len(line) == grow {
						close(grown)
					}
					mu.Unlock()
				}
			})
		}
		<-grown
		f.delete(p, user("bob"), root.ID, true)
		deleted.Store(true)
		all.Wait()
		for i, value := range line {
			if _, err := f.Authenticate(p, value, netip.Addr{}); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("token %d of %d of a deleted line: %v", i, len(line), err)
			}
		}
		if left, _, err := f.List(p, user("bob"), Listing{}); err != nil || len(left) != 0 {
			t.Errorf("%d tokens of a deleted line are left, %v", len(left), err)
		}
		longest = max(longest, len(line))
	}
	stop()
	t.Logf("the longest line had %d tokens", longest)
}

func BenchmarkAuthenticate(b *testing.B) {
	f, p := newFixture(b), newProject("p")
	values := make([]token.Value, 1000)
	for i := range values {
		values[i] = f.issue(p, user("bob"), 3600).value
	}
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Uint64
	b.RunParallel(func(pb *testing.PB) {
		for i := next.Add(7919); pb.Next(); i++ {
			if _, err := f.Authenticate(p, values[i%uint64(len(values))], netip.Addr{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkAuthenticateUnderBlocks shows what looking at who is blocked costs:
// compare it with BenchmarkAuthenticate, where nobody is.
func BenchmarkAuthenticateUnderBlocks(b *testing.B) {
	const blocked = 10_000
	f, p := newFixture(b), newProject("p")
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for n := i; n < blocked; n += 64 {
				if err := f.Block(context.Background(), p, user("alice"), fmt.Sprint("user", n)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	value := f.issue(p, user("bob"), 3600).value
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Authenticate(p, value, netip.Addr{}); err != nil {
			b.Fatal(err)
		}
	}
}
