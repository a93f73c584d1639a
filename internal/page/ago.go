package page

import (
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

const day = 24 * time.Hour

// relative says how far t is from now, in the largest unit that fits.
func relative(now, t time.Time) string {
	d := t.Sub(now)
	switch {
	case d < 0 && -d < time.Minute:
		return "just now"
	case d < 0:
		return amount(-d, time.Duration.Truncate) + " ago"
	case d < time.Minute:
		return "in less than a minute"
	}
	return "in " + amount(d, time.Duration.Round)
}

// amount says how long d is. What lies ahead is rounded, so that a token made
// for 30 days expires in 30 days.
func amount(d time.Duration, round func(d, unit time.Duration) time.Duration) string {
	const month, year = 30 * day, 365 * day
	switch {
	case round(d, time.Minute) < time.Hour:
		return plural(int(round(d, time.Minute)/time.Minute), "minute")
	case round(d, time.Hour) < day:
		return plural(int(round(d, time.Hour)/time.Hour), "hour")
	case round(d, day) <= 90*day:
		return plural(int(round(d, day)/day), "day")
	case round(d, day) < year, round(d, day) > year && round(d, day) < 2*year:
		return plural(int(round(d, month)/month), "month")
	}
	return plural(int(round(d, year)/year), "year")
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return number(n) + " " + unit + "s"
}

// number writes thousands apart.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// status is what a token is good for.
type status int

const (
	active status = iota
	expiresSoon
	expired
	// deleted tokens are in no list.
	deleted
)

func (s status) String() string {
	return [...]string{"Active", "Expires soon", "Expired", "Deleted"}[s]
}

// Class is the status as part of a style's name.
func (s status) Class() string {
	return [...]string{"active", "soon", "expired", "deleted"}[s]
}

// statusOf tells what a token is good for at now.
func statusOf(t *registry.Token, now time.Time) status {
	at, ends := t.Expires()
	switch {
	case t.IsRevoked():
		return deleted
	case t.Expired(now):
		return expired
	case ends && registry.ExpiresSoon(at.Sub(t.Created), at.Sub(now)):
		return expiresSoon
	}
	return active
}

// shortID is what people call a token by.
func shortID(id fmt.Stringer) string { return id.String()[:8] }
