package clock

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

type fakeSource struct {
	wall   time.Time
	passed time.Duration
}

func (s *fakeSource) Wall() time.Time       { return s.wall }
func (s *fakeSource) Passed() time.Duration { return s.passed }

func (s *fakeSource) pass(d time.Duration) {
	s.wall = s.wall.Add(d)
	s.passed += d
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func TestClock(t *testing.T) {
	for _, c := range []struct {
		name string
		// The clock's time now, what was remembered, both in minutes from noon; then
		// how far it is set, and how long it runs.
		remembered, set, runs int
		now, kept, certain    int
	}{
		{"a clock that is right", 0, 0, 10, 10, 10, 10},
		{"set back", 0, -60, 10, 10, 10, -50},
		{"set forward", 0, 60, 10, 70, 10, 10},
		{"no process ran for an hour", -60, 0, 10, 10, -50, -50},
		{"set back while no process ran", 60, 0, 10, 70, 70, 10},
		{"set back by less than no process ran", -60, -30, 10, -20, -50, -50},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
			source := &fakeSource{wall: noon, passed: time.Hour}
			clock := New(source, at(c.remembered), zap.NewNop())
			source.wall = source.wall.Add(time.Duration(c.set) * time.Minute)
			source.pass(time.Duration(c.runs) * time.Minute)
			if got := clock.Now(); !got.Equal(at(c.now)) {
				t.Errorf("now %v, want %v", got, at(c.now))
			}
			if got := clock.Remembered(); !got.Equal(at(c.kept)) {
				t.Errorf("remembered %v, want %v", got, at(c.kept))
			}
			if got := clock.Certain(); !got.Equal(at(c.certain)) {
				t.Errorf("certain %v, want %v", got, at(c.certain))
			}
		})
	}
}

func TestNothingRememberedBeginsWithTheMachinesClock(t *testing.T) {
	source := &fakeSource{wall: noon}
	clock := New(source, time.Time{}, zap.NewNop())
	source.pass(time.Minute)
	if got := clock.Remembered(); !got.Equal(noon.Add(time.Minute)) {
		t.Errorf("remembered %v", got)
	}
}

func TestAJumpIsToldOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		set  time.Duration
		want int
	}{
		{"adjusted by a second", time.Second, 0},
		{"forward", time.Hour, 1},
		{"back", -time.Hour, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			core, logs := observer.New(zap.InfoLevel)
			source := &fakeSource{wall: noon}
			clock := New(source, noon, zap.New(core))
			for range 3 {
				source.pass(time.Second)
				clock.Look()
			}
			source.wall = source.wall.Add(c.set)
			for range 3 {
				source.pass(time.Second)
				clock.Look()
			}
			if logs.Len() != c.want {
				t.Errorf("told %d times, want %d: %v", logs.Len(), c.want, logs.All())
			}
		})
	}
}

func TestAClockBehindAtTheStartIsTold(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	New(&fakeSource{wall: noon}, noon.Add(time.Hour), zap.New(core))
	New(&fakeSource{wall: noon}, noon.Add(-time.Hour), zap.New(core))
	if logs.Len() != 1 {
		t.Errorf("told %d times, want once", logs.Len())
	}
}

func TestSystemAdvances(t *testing.T) {
	c := New(System, time.Time{}, zap.NewNop())
	if a, b := c.Remembered(), c.Remembered(); b.Before(a) || c.Now().Before(a) {
		t.Errorf("%v, then %v", a, b)
	}
}
