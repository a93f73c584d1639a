// Package clock tells the time to what must not be fooled by a clock that
// somebody sets, or that has lost its battery: tokens expire by it, and records
// are removed for good.
//
// A Clock remembers a time, across restarts, that advances exactly as time
// passes in running processes, whatever the machine's clock says. So it is never
// ahead of the truth, if the clock was right when the store was made. A machine's
// clock that is behind it has been set back, and is overruled: what had expired
// stays expired. One that is ahead may be right, since time passes also while no
// process runs: tokens expire by it as long as it says so. But that is not
// remembered, and nothing is removed by it.
package clock

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// Source is where time comes from.
type Source interface {
	// Wall returns what the machine's clock says.
	Wall() time.Time
	// Passed returns how much time has passed in this process, since whenever.
	// It doesn't change when the clock is set.
	Passed() time.Duration
}

// System is the machine's clock.
var System Source = system{time.Now()}

type system struct{ start time.Time }

func (system) Wall() time.Time         { return time.Now() }
func (s system) Passed() time.Duration { return time.Since(s.start) } // monotonic

// Clock is safe for concurrent use.
type Clock struct {
	source Source
	logger *zap.Logger
	// base is the remembered time at which Passed was start.
	base  time.Time
	start time.Duration

	mu sync.Mutex
	// ahead is by how much the machine's clock was ahead of the remembered time
	// when it was last looked at.
	ahead time.Duration
}

// New returns a clock that goes on from a remembered time. If that is zero, what
// the machine's clock says is taken for it.
func New(source Source, remembered time.Time, logger *zap.Logger) *Clock {
	c := &Clock{source: source, logger: logger, base: remembered, start: source.Passed()}
	wall := source.Wall()
	if remembered.IsZero() {
		c.base = wall.Round(0)
	}
	c.ahead = wall.Sub(c.base)
	if c.ahead < -jump {
		logger.Error("the machine's clock is behind the time that the token store has seen, which is believed instead: set the clock; if it is right, and was wrong before, the remembered time has to be taken back",
			zap.Time("clock", wall), zap.Time("remembered", c.base))
	}
	return c
}

// Now returns the time that tokens are made and expire by.
func (c *Clock) Now() time.Time {
	wall, remembered := c.source.Wall(), c.Remembered()
	if wall.Before(remembered) {
		return remembered
	}
	return wall
}

// Remembered returns the time that has certainly come. It may be behind by as
// long as no process ran.
func (c *Clock) Remembered() time.Time { return c.base.Add(c.source.Passed() - c.start) }

// Certain returns the time to remove records by: the earlier one of what is
// remembered and what the machine's clock says.
func (c *Clock) Certain() time.Time {
	wall, remembered := c.source.Wall(), c.Remembered()
	if wall.Before(remembered) {
		return wall
	}
	return remembered
}

// jump is how much a clock is set at once for the owner to be told. Clocks are
// also adjusted, by a little.
const jump = 2 * time.Second

// Look tells the owner if the machine's clock has been set since the last look.
// It is to be called about every second.
func (c *Clock) Look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, remembered := c.source.Wall(), c.Remembered()
	ahead := wall.Sub(remembered)
	by := ahead - c.ahead
	c.ahead = ahead
	fields := []zap.Field{zap.Duration("by", by.Abs()), zap.Time("clock", wall), zap.Time("remembered", remembered)}
	switch {
	case by > jump:
		c.logger.Warn("the machine's clock was set forward, or the machine was asleep: tokens expire by it, but no record is removed for it", fields...)
	case by < -jump && ahead < 0:
		c.logger.Error("the machine's clock was set back behind the time that the token store has seen, which is believed instead", fields...)
	case by < -jump:
		c.logger.Warn("the machine's clock was set back", fields...)
	}
}
