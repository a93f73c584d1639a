// Package streams ends answers that are still being sent, and connections that
// were taken over, once the token that opened them doesn't hold any more.
package streams

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	// settled is for how long an answer's header has been sent before the answer is
	// a stream. What is younger is finished: whoever renews a token and deletes
	// the old one doesn't cut off what the old one was just used for.
	settled = 950 * time.Millisecond
	// tick is how late that is noticed. Together they are a second.
	tick = 50 * time.Millisecond
	// longest is how late a clock that was set is noticed.
	longest = time.Second
)

// Opener is what a stream was opened with.
type Opener struct {
	Project, User string
	Token         uuid.UUID
	// Client is where from, as far as that is known.
	Client netip.Addr
	// Expires is when the token does, zero for never.
	Expires time.Time
}

// Streams are those of all sites. All its methods may be called concurrently.
type Streams struct {
	holds func(*Opener) bool
	now   func() time.Time

	// young have begun to be answered, and are mostly over soon; grown are
	// streams.
	young [32]list
	grown list

	wake chan struct{}
	// ticking: the keeper will look at the young ones without being woken.
	ticking atomic.Bool
	stop    chan struct{}
	keeper  sync.WaitGroup
}

// New returns Streams, whose keeper ends those that holds says no of, until
// Close. Of one it is asked when it has become a stream, when Ended was told of
// it, and when its token has expired by now.
func New(holds func(*Opener) bool, now func() time.Time) *Streams {
	s := &Streams{holds: holds, now: now, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	s.keeper.Go(s.keep)
	return s
}

// Close stops the keeper. Streams that are open stay so.
func (s *Streams) Close() {
	close(s.stop)
	s.keeper.Wait()
}

// Ended says that tokens of a user, or of all if that is "", may have stopped to
// hold, in a project or in all if that is "".
func (s *Streams) Ended(project, user string) {
	some := false
	s.grown.each(func(st *Stream) {
		if (project == "" || project == st.opener.Project) && (user == "" || user == st.opener.User) {
			st.doubted, some = true, true
		}
	})
	if some {
		s.rouse()
	}
}

// Counts returns how many streams are open, by project.
func (s *Streams) Counts() map[string]int {
	counts := make(map[string]int)
	s.grown.each(func(st *Stream) { counts[st.opener.Project]++ })
	return counts
}

func (s *Streams) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// keep looks after the streams. It looks at the young ones once a tick, and not for
// each that wakes it: none grows up so soon, and most are over before.
func (s *Streams) keep() {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	var looked time.Time
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		case <-timer.C:
		}
		if time.Since(looked) >= tick {
			looked = time.Now()
			// Whoever begins from here on finds that nobody is ticking, or is found.
			s.ticking.Store(false)
			if s.mature() {
				s.ticking.Store(true)
			}
		}
		next := s.examine()
		if s.ticking.Load() { // or one that begins now wakes the keeper
			next = min(next, time.Until(looked.Add(tick)))
		}
		timer.Reset(next)
	}
}

// mature makes streams of those that are old enough, and tells whether there are
// younger ones.
func (s *Streams) mature() (left bool) {
	for i := range s.young {
		for st := s.young[i].oldest(); st != nil; st = s.young[i].oldest() {
			if time.Since(st.begun) < settled {
				left = true
				break
			}
			st.move(&s.grown)
		}
	}
	return left
}

// examine ends those that don't hold any more, and returns when to look again.
func (s *Streams) examine() time.Duration {
	var suspects []*Stream
	now, next := s.now(), longest
	s.grown.each(func(st *Stream) {
		left := longest
		if !st.opener.Expires.IsZero() {
			left = st.opener.Expires.Sub(now)
		}
		if st.doubted || left <= 0 {
			st.doubted = false
			suspects = append(suspects, st)
		} else {
			next = min(next, left)
		}
	})
	for _, st := range suspects {
		if !s.holds(&st.opener) {
			st.cut()
			// Again, until it is over: a deadline may have been overridden.
			s.grown.doubt(st)
		}
	}
	return next
}
