package badgerstore

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// BenchmarkSnapshot shows what it takes to read all of a store, and what others
// notice of it who look tokens up and change some. Without a snapshot these are
// alone.
func BenchmarkSnapshot(b *testing.B) {
	n := benchTokens(b)
	s := open(b, b.TempDir(), Options{Logger: zap.NewNop()})
	commitAll(b, s, n, 256, func(n int) store.Mutation {
		return store.Create{Record: storetest.NewRecord("p", "user"+strconv.Itoa(n%1000), n)}
	})
	for _, c := range []struct {
		name  string
		reads bool
	}{{"without", false}, {"with", true}} {
		b.Run(c.name, func(b *testing.B) {
			stop := make(chan struct{})
			var others sync.WaitGroup
			var took, changed []time.Duration
			// One of some is enough, and doesn't fill the memory.
			measure := func(all *[]time.Duration, oneOf int, f func(i int) error) {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					begun := time.Now()
					if err := f(i); err != nil {
						b.Error(err)
						return
					}
					if i%oneOf == 0 {
						*all = append(*all, time.Since(begun))
					}
				}
			}
			record := func(i int) store.Record {
				i = i * 7919 % n
				return storetest.NewRecord("p", "user"+strconv.Itoa(i%1000), i)
			}
			others.Go(func() {
				measure(&took, 64, func(i int) error { _, err := s.ByHash(record(i).Hash); return err })
			})
			others.Go(func() {
				measure(&changed, 1, func(i int) error {
					_, err := s.Commit(context.Background(), store.Touch{Uses: []store.Use{{ID: record(i).ID, At: time.Now()}}})
					return err
				})
			})
			heap := uint64(0)
			look := func() {
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				heap = max(heap, now.HeapAlloc)
			}
			for b.Loop() {
				if !c.reads {
					<-time.After(time.Second) // it is measured what the others do meanwhile
					look()
					continue
				}
				size := 0
				snapshot, err := s.Snapshot()
				if err != nil {
					b.Fatal(err)
				}
				err = snapshot.Records(func(store.Record) error {
					if size++; size%(n/10) == 0 {
						look()
					}
					return nil
				})
				snapshot.Close()
				if err != nil || size != n {
					b.Fatal(size, err)
				}
			}
			close(stop)
			others.Wait()
			b.ReportMetric(percentile(took, 99).Seconds()*1e6, "p99-lookup-µs")
			b.ReportMetric(percentile(changed, 99).Seconds()*1e3, "p99-change-ms")
			b.ReportMetric(float64(heap)/1e6, "heap-MB")
			if c.reads {
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
			}
		})
	}
}

func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)*p/100]
}

// BenchmarkRestore shows how long it takes to make a store of what another one holds.
func BenchmarkRestore(b *testing.B) {
	n := benchTokens(b)
	from := open(b, b.TempDir(), Options{Logger: zap.NewNop()})
	commitAll(b, from, n, 256, func(n int) store.Mutation {
		return store.Create{Record: storetest.NewRecord("p", "user"+strconv.Itoa(n%1000), n)}
	})
	for b.Loop() {
		snapshot, err := from.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		r, err := Restore(b.TempDir(), Options{Logger: zap.NewNop()}, snapshot.Head())
		if err != nil {
			b.Fatal(err)
		}
		err = errors.Join(snapshot.Records(r.AddRecord), snapshot.Uses(r.AddUse), snapshot.Accounts(r.AddAccount), snapshot.Settings(r.AddSettings))
		snapshot.Close()
		if err == nil {
			_, err = r.Finish()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
