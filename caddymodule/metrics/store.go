package metrics

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/census"
)

// Store is what is looked at when metrics are collected. Nothing of it may take
// long, however many tokens there are.
type Store interface {
	// Size is that of its files, in bytes.
	Size() int64
	// Free is how many bytes of its disk are free.
	Free() (int64, error)
	// Writable tells whether it takes all changes.
	Writable() bool
	// FlushAge is how old the oldest last use can be that is in memory alone.
	FlushAge() time.Duration
	// Tokens are the last count of each project.
	Tokens() map[string]census.Count
	// OpenStreams are how many there are of each project.
	OpenStreams() map[string]int
	// AuditFailures is how often the audit file couldn't be written.
	AuditFailures() uint64
}

// Watched is a Store that is looked at.
type Watched struct {
	store Store
	// backedUp is when the last scheduled backup succeeded, nil before.
	backedUp atomic.Pointer[time.Time]
}

// open are the stores that are watched. There is one, unless another is opened
// before it is closed: then the newer counts.
var open watched

type watched struct {
	mu  sync.RWMutex
	all []*Watched
}

// Watch has s looked at until End.
func Watch(s Store) *Watched {
	w := &Watched{store: s}
	open.mu.Lock()
	defer open.mu.Unlock()
	open.all = append(open.all, w)
	return w
}

// End ends Watch. Nobody is looking at the store any more when it returns.
func (w *Watched) End() {
	open.mu.Lock()
	defer open.mu.Unlock()
	open.all = slices.DeleteFunc(open.all, func(other *Watched) bool { return other == w })
}

// BackedUp says when the last scheduled backup of the store succeeded, which a
// process before this one may have made.
func (w *Watched) BackedUp(at time.Time) { w.backedUp.Store(&at) }

// Committed says how long a store took to make changes durable.
func Committed(took time.Duration) { commitDuration.Observe(took.Seconds()) }

func (o *watched) collect(to chan<- prometheus.Metric, projects []string) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if len(o.all) == 0 {
		return
	}
	w := o.all[len(o.all)-1]
	s := w.store

	commitDuration.Collect(to)
	gauge(to, storeSize, float64(s.Size()))
	if free, err := s.Free(); err == nil {
		gauge(to, storeFree, float64(free))
	}
	writable := 0.0
	if s.Writable() {
		writable = 1
	}
	gauge(to, storeWritable, writable)
	gauge(to, flushAge, s.FlushAge().Seconds())
	to <- prometheus.MustNewConstMetric(auditFailures, prometheus.CounterValue, float64(s.AuditFailures()))
	if at := w.backedUp.Load(); at != nil {
		gauge(to, backupSuccess, float64(at.UnixMilli())/1000)
	}

	counts, streams := s.Tokens(), s.OpenStreams()
	for _, name := range projects {
		gauge(to, openStreams, float64(streams[name]), name)
		count, counted := counts[name]
		if !counted {
			continue
		}
		gauge(to, tokens, float64(count.Active), name, active)
		gauge(to, tokens, float64(count.Expired), name, expired)
		for i, n := range count.Expiring {
			gauge(to, expiringTokens, float64(n), name, within(census.Horizons[i]))
		}
	}
}
