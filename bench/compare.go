package main

import (
	"context"
	"fmt"
)

// subject is a server that is compared with others: where it is, and the processes
// that do its work.
type subject struct {
	address   string
	processes []*process
	want      int
	admin     string // its admin endpoint, for a profile
}

func (s *server) subject(site string, want int) subject {
	return subject{s.at[site], []*process{s.process}, want, s.at[admin]}
}

// comparison is of one server with another one, bare; control is the same as bare.
type comparison struct {
	name, way           string
	bare, control, with subject
	// tokens are those of the requests of a window, of which the first, 0, isn't
	// measured.
	tokens func(window, requests int) tokens
	// target is the least throughput that is to be reached, as a part of the
	// bare one's; 0 for none.
	target float64
}

// always are the same tokens in each window.
func always(t tokens) func(int, int) tokens { return func(int, int) tokens { return t } }

// result is what came of a comparison. Times are CPU time of one request, in µs.
type result struct {
	name, way      string
	bare, with     spread
	more           spread // with less bare in the same window
	ratio, control spread // with and control, divided by bare in the same window
	target         float64
}

// clients is how many ask at a time in a comparison.
const clients = 8

// compare asks all three in the same windows, equally often and in turns.
func (b *bench) compare(ctx context.Context, c comparison) (result, error) {
	subjects := []subject{c.bare, c.control, c.with}
	o := order{Clients: clients}
	for _, s := range subjects {
		o.Targets = append(o.Targets, target{s.address, s.want})
	}
	var cost [3][]float64
	var more, ratio, control []float64
	for window := range b.windows + 1 {
		o.Count = b.perRound
		if window == 0 {
			o.Count = max(b.perRound/4, clients)
		}
		o.Tokens = c.tokens(window, o.Count)
		var before [3]float64
		for i, s := range subjects {
			t, err := used(s.processes)
			if err != nil {
				return result{}, err
			}
			before[i] = micros(t)
		}
		done, err := b.load.carryOut(ctx, o)
		if err != nil {
			return result{}, fmt.Errorf("%s, %s: %w", c.name, c.way, err)
		}
		var each [3]float64
		for i, s := range subjects {
			t, err := used(s.processes)
			if err != nil {
				return result{}, err
			}
			each[i] = (micros(t) - before[i]) / float64(done.Count)
		}
		if window == 0 {
			continue
		}
		for i := range each {
			cost[i] = append(cost[i], each[i])
		}
		more = append(more, each[2]-each[0])
		ratio = append(ratio, each[2]/each[0])
		control = append(control, each[1]/each[0])
	}
	r := result{
		name: c.name, way: c.way, bare: spreadOf(cost[0]), with: spreadOf(cost[2]), more: spreadOf(more),
		ratio: spreadOf(ratio), control: spreadOf(control), target: c.target,
	}
	b.say("%s, %s: %s of bare, control %s", r.name, r.way, r.ratio.text(3), r.control.text(3))
	return r, nil
}

// throughput is with the same CPU time, as a part of the bare one's.
func (r *result) throughput() float64 { return 1 / r.ratio.median }

// tooNoisy is from where on nothing can be said of targets that are hundredths.
const tooNoisy = 0.02

// verdict tells whether the target is reached, as far as this machine can tell.
func (r *result) verdict() string {
	noise := r.control.noise()
	switch reached := r.throughput() - r.target; {
	case r.target == 0:
		return ""
	case noise > tooNoisy:
		return fmt.Sprintf("too noisy to tell (± %.3f)", noise)
	case reached > noise:
		return "reached"
	case reached < -noise:
		return "missed"
	}
	return fmt.Sprintf("too close to tell (± %.3f)", noise)
}
