package command

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress tells somebody at a terminal each second how far long work has come, on
// a line that is overwritten.
type progress struct {
	to    io.Writer // nil where nobody looks
	now   func() time.Time
	next  time.Time
	shown bool
}

func newProgress(to io.Writer) *progress {
	p := &progress{now: time.Now}
	if f, ok := to.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.to = to
		}
	}
	p.next = p.now().Add(time.Second)
	return p
}

// at says where the work is.
func (p *progress) at(format string, args ...any) {
	if p.to == nil {
		return
	}
	if now := p.now(); !now.Before(p.next) {
		p.next, p.shown = now.Add(time.Second), true
		fmt.Fprintf(p.to, "\r\x1b[K"+format, args...)
	}
}

// clear makes room for something else.
func (p *progress) clear() {
	if p.shown {
		p.shown = false
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}

// during tells how long work takes, unless it is done within a second.
func (p *progress) during(work func() error) error {
	if p.to == nil {
		return work()
	}
	done, began := make(chan struct{}), p.now()
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.at("working, for %s so far", short(p.now().Sub(began)))
			case <-done:
				p.clear()
				return
			}
		}
	})
	err := work()
	close(done)
	telling.Wait()
	return err
}
