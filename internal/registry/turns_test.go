package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func TestOneUsersTurns(t *testing.T) {
	t1 := turns{atOnce: 1}
	bob, carol := turnOf{"p", "bob"}, turnOf{"p", "carol"}
	held, err := t1.take(context.Background(), bob)
	if err != nil {
		t.Fatal(err)
	}
	// Others have turns of their own; whoever waits can go away.
	for _, other := range []turnOf{carol, {"q", "bob"}} {
		done, err := t1.take(context.Background(), other)
		if err != nil {
			t.Fatal(err)
		}
		done()
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := t1.take(gone, bob); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("one too many: %v", err)
	}
	next := make(chan func())
	go func() {
		done, err := t1.take(context.Background(), bob)
		if err != nil {
			t.Error(err)
		}
		next <- done
	}()
	held()
	(<-next)()
	if len(t1.users) > 0 {
		t.Errorf("left are %v", t1.users)
	}
}

// However many one user asks for at once, one is under way in the store.
func TestOneUserMakesOneTokenAtATime(t *testing.T) {
	var underWay, most atomic.Int64
	f, p := newFixture(t, func(c *Config) { c.Store = &countingStore{c.Store, &underWay, &most} }), newProject("p")
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			if _, _, err := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60, Description: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := most.Load(); n != 1 {
		t.Errorf("%d tokens were being made at a time", n)
	}
}

type countingStore struct {
	store.Store
	underWay, most *atomic.Int64
}

func (s *countingStore) Commit(ctx context.Context, m store.Mutation, lines ...[]byte) (store.Outcome, error) {
	n := s.underWay.Add(1)
	defer s.underWay.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	return s.Store.Commit(ctx, m, lines...)
}

// BenchmarkIssueBeside shows what one user who makes tokens at full speed costs
// another who makes one after the other.
func BenchmarkIssueBeside(b *testing.B) {
	for _, busy := range []int{0, 64} {
		b.Run(fmt.Sprintf("%d at once", busy), func(b *testing.B) {
			f, p := newFixture(b), newProject("p")
			ctx, cancel := context.WithCancel(context.Background())
			var all sync.WaitGroup
			for range busy {
				all.Go(func() {
					for ctx.Err() == nil {
						if _, _, err := f.Issue(context.Background(), p, user("bob"), Wish{Prefix: "cat", LifetimeSeconds: 60}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			var slowest time.Duration
			for b.Loop() {
				begun := time.Now()
				f.issue(p, user("carol"), 60)
				slowest = max(slowest, time.Since(begun))
			}
			b.ReportMetric(float64(slowest.Milliseconds()), "ms/slowest")
			cancel()
			all.Wait()
		})
	}
}
