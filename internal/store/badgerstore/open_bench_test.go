package badgerstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// benchTokensEnv is of how many tokens the stores are that are measured as a whole.
const benchTokensEnv = "ACCESS_TOKENS_BENCH_TOKENS"

func benchTokens(b *testing.B) int {
	b.Helper()
	text := os.Getenv(benchTokensEnv)
	if text == "" {
		return 10_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkOpen shows how long a start takes with that many tokens, one that
// leaves out a key included, and at what rate tables are verified.
func BenchmarkOpen(b *testing.B) {
	n := benchTokens(b)
	dir := b.TempDir()
	o := Options{Logger: zap.NewNop()}
	s := open(b, dir, o)
	commitAll(b, s, n, 256, func(n int) store.Mutation {
		return store.Create{Record: storetest.NewRecord("p", "user"+strconv.Itoa(n%1000), n)}
	})
	closeStore(b, s)
	for _, c := range []struct {
		name   string
		atOpen time.Duration
	}{{"verified", time.Hour}, {"as configured", 0}, {"not verified", -1}} {
		b.Run(c.name, func(b *testing.B) {
			o := o
			if c.atOpen != 0 {
				o.verification = verification{c.atOpen, time.Hour, 1, 1}
			}
			left := int64(0)
			for b.Loop() {
				s := open(b, dir, o)
				left = s.unverified.Load().left.Load()
				b.StopTimer()
				closeStore(b, s)
				b.StartTimer()
			}
			b.ReportMetric(float64(left), "tables-left")
		})
	}
	b.Run("counting what is under which key", func(b *testing.B) {
		s := open(b, dir, o)
		for b.Loop() {
			if _, err := s.KeyUse(storetest.Epoch); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		closeStore(b, s)
	})
	b.Run("verification alone", func(b *testing.B) {
		size := int64(0)
		files, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			size = 0
			for _, file := range files {
				t := &storedTable{file: file}
				if err := t.open(); err != nil {
					b.Fatal(err)
				}
				if _, err := t.verify(unpaced); err != nil {
					b.Fatal(err)
				}
				size += t.size
			}
		}
		b.SetBytes(size)
		b.ReportMetric(float64(size)/1e6, "MB")
	})
}

// BenchmarkRevoke shows what it costs that what is taken away is written down
// twice.
func BenchmarkRevoke(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d at a time", parallel), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{Logger: zap.NewNop()})
			revisions := make([]uint64, b.N)
			commitAll(b, s, b.N, 256, func(n int) store.Mutation {
				return store.Create{Record: storetest.NewRecord("p", "alice", n)}
			})
			for n := range revisions {
				r, err := s.ByID(storetest.NewRecord("p", "alice", n).ID)
				if err != nil {
					b.Fatal(err)
				}
				revisions[n] = r.Revision
			}
			b.ResetTimer()
			commitAll(b, s, b.N, parallel, func(n int) store.Mutation {
				return store.Revoke{ID: storetest.NewRecord("p", "alice", n).ID, Revision: revisions[n], At: storetest.Epoch}
			})
		})
	}
}

// commitAll commits a mutation for each number, many at a time.
func commitAll(b *testing.B, s *Store, n, parallel int, mutation func(int) store.Mutation) {
	b.Helper()
	next := make(chan int)
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for i := range next {
				if _, err := s.Commit(context.Background(), mutation(i)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}
