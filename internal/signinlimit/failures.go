package signinlimit

import (
	"container/heap"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxCounts is how many counts are remembered.
const maxCounts = 1 << 16

// failures counts failures, in bounded memory. A count whose failures are all
// forgiven is no more. If there are too many others, the one that failed or was
// renewed longest ago is forgotten.
type failures struct {
	counts  *simplelru.LRU[uint64, *count]
	endings endings
}

// count are the failures of one address, user or pair of them. One is forgiven
// after the other, in the time that the limit's window has for each; how long
// that takes is kept for each limit that has judged them.
type count struct {
	key    uint64
	latest time.Time // failure
	debts  []debt
	end    time.Time // of all debts
	at     int       // in endings
}

// debt says until when the failures are forgiven under a limit. As long as a
// window from now, nothing is left. (That is the generic cell rate algorithm:
// a leaky bucket, kept as one point in time.)
type debt struct {
	limit Limit
	until time.Time
}

// each is how long it takes to forgive one failure.
func (l Limit) each() time.Duration { return l.Window / time.Duration(l.Failures) }

// whole is how long it takes to forgive as many as may fail.
func (l Limit) whole() time.Duration { return l.each() * time.Duration(l.Failures) }

func newFailures(most int) *failures {
	f := new(failures)
	var err error
	f.counts, err = simplelru.NewLRU(most, func(_ uint64, c *count) { heap.Remove(&f.endings, c.at) })
	if err != nil {
		panic(err) // the size is positive
	}
	return f
}

// left returns how many failures a limit has left or, where that is none, in
// how many seconds it will have one.
func (f *failures) left(key uint64, limit Limit, now time.Time) (left int, retryAfter time.Duration) {
	c, known := f.counts.Peek(key)
	if !known {
		return limit.Failures, 0
	}
	until := c.until(limit)
	if !until.After(now) {
		return limit.Failures, 0
	}
	room := limit.whole() - until.Sub(now)
	if left = int(room / limit.each()); left > 0 {
		return left, 0
	}
	seconds := (limit.each() - room + time.Second - 1) / time.Second
	return 0, seconds * time.Second
}

// renew keeps a count for longer than others, as a failure would.
func (f *failures) renew(key uint64) { f.counts.Get(key) }

// add counts a failure.
func (f *failures) add(key uint64, limit Limit, now time.Time) {
	for len(f.endings) > 0 && !f.endings[0].end.After(now) {
		f.counts.Remove(f.endings[0].key)
	}
	if c, known := f.counts.Get(key); known {
		c.add(limit, now)
		heap.Fix(&f.endings, c.at)
		return
	}
	c := &count{key: key, latest: now}
	c.add(limit, now)
	heap.Push(&f.endings, c)
	f.counts.Add(key, c)
}

// add counts a failure under all limits.
func (c *count) add(limit Limit, now time.Time) {
	if c.under(limit) == nil {
		c.debts = append(c.debts, debt{limit, c.until(limit)})
	}
	for i := range c.debts {
		d := &c.debts[i]
		if d.until.Before(now) {
			d.until = now
		}
		d.until = d.until.Add(d.limit.each())
		if most := now.Add(d.limit.whole()); d.until.After(most) {
			d.until = most
		}
		if d.until.After(c.end) {
			c.end = d.until
		}
	}
	c.latest = now
}

// until tells when all is forgiven under a limit. One that hasn't judged these
// failures yet takes as many as others haven't forgiven, as if all of them had
// been the latest.
func (c *count) until(limit Limit) time.Time {
	if d := c.under(limit); d != nil {
		return d.until
	}
	var failed time.Duration
	for _, d := range c.debts {
		each := d.limit.each()
		failed = max(failed, (d.until.Sub(c.latest)+each-1)/each)
	}
	failed = min(failed, time.Duration(limit.Failures))
	return c.latest.Add(failed * limit.each())
}

func (c *count) under(limit Limit) *debt {
	for i := range c.debts {
		if c.debts[i].limit == limit {
			return &c.debts[i]
		}
	}
	return nil
}

// endings is a heap of counts, the one first that will be forgiven first.
type endings []*count

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].end.Before(e[j].end) }

func (e endings) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].at, e[j].at = i, j
}

// Push implements heap.Interface.
func (e *endings) Push(c any) {
	c.(*count).at = len(*e)
	*e = append(*e, c.(*count))
}

// Pop implements heap.Interface.
func (e *endings) Pop() any {
	last := len(*e) - 1
	c := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return c
}
