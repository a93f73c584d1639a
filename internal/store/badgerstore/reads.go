package badgerstore

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// reads knows which reads are under way, so that nothing is given up that one of
// them may come to. They belong to generations, of which there are two at a
// time: the present one, and the one before while it still has reads. To begin
// and end costs a read no more than a count.
type reads struct {
	generation atomic.Uint64
	underWay   [2]struct {
		n atomic.Int64
		_ [56]byte // keeps the counts on cache lines of their own
	}
	// since is the revision at which the generation began: none of its reads
	// is of an earlier one. unread is that of the generation before: nobody reads
	// before it.
	since, unread atomic.Uint64
}

// start is for when nobody reads yet.
func (r *reads) start(applied uint64) {
	r.since.Store(applied)
	r.unread.Store(applied)
}

// begin is called before the revision is looked at that will be read.
func (r *reads) begin() (generation uint64) {
	for {
		g := r.generation.Load()
		r.underWay[g&1].n.Add(1)
		if r.generation.Load() == g {
			return g
		}
		r.underWay[g&1].n.Add(-1)
	}
}

func (r *reads) end(generation uint64) { r.underWay[generation&1].n.Add(-1) }

// next begins a generation, unless the one before the present still has reads,
// and returns the revision before which nobody reads.
func (r *reads) next(applied uint64) (unread uint64, ok bool) {
	g := r.generation.Load()
	if r.underWay[(g+1)&1].n.Load() > 0 {
		return 0, false
	}
	unread = r.since.Swap(applied)
	r.unread.Store(unread)
	r.generation.Store(g + 1)
	return unread, true
}

// maxRead is how long a read can be under way. Lists are read in pages, which
// take milliseconds.
const maxRead = 10 * time.Second

// checkTime returns an error if the read has been under way for too long. What a
// mutation reads has no such end.
func (t *snapshot) checkTime(items int) error {
	if t.update || items%256 > 0 {
		return nil
	}
	now := time.Now()
	if t.begun.IsZero() {
		t.begun = now
	}
	if now.Sub(t.begun) > t.longest {
		return fmt.Errorf("%w: a read takes longer than %v", store.ErrUnavailable, t.longest)
	}
	return nil
}
