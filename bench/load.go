package main

import (
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// order is what a load process is to do: each client asks all targets in turn, with
// the same token, and so all of them equally often.
type order struct {
	Targets []target
	Tokens  tokens
	Renew   bool // and don't ask
	Clients int
	// Count is how many requests each target gets, unless For is given.
	Count int
	For   time.Duration
	// PerSecond paces requests, if it isn't 0. They take as long as from when they
	// were due.
	PerSecond float64
}

// target is a server, with the status that it has to answer.
type target struct {
	Address string
	Want    int
}

// report is what came of an order.
type report struct {
	Count    int // of requests to each target
	Took     time.Duration
	P50, P99 time.Duration
	Error    string
}

// serveOrders is the role of a load process: an order a line on standard input, until
// that ends, and a report a line on standard output.
func serveOrders() error {
	orders, reports := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	clients := make(map[string][]*client)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		r, err := o.carryOut(clients)
		if err != nil {
			r.Error = err.Error()
		}
		if err := reports.Encode(r); err != nil {
			return err
		}
	}
}

// carryOut uses the connections that clients of earlier orders have made.
func (o *order) carryOut(kept map[string][]*client) (report, error) {
	authorization, done, err := o.Tokens.open(o.Count)
	if err != nil {
		return report{}, err
	}
	defer done()
	for _, t := range o.Targets {
		for len(kept[t.Address]) < o.Clients {
			kept[t.Address] = append(kept[t.Address], &client{address: t.Address})
		}
	}
	var next atomic.Int64
	began := time.Now()
	// take returns the number of the next round, and when it is due.
	take := func() (n int, due time.Time, more bool) {
		n = int(next.Add(1)) - 1
		due = time.Now()
		if o.PerSecond > 0 {
			due = began.Add(time.Duration(float64(n) / o.PerSecond * float64(time.Second)))
		}
		if o.For > 0 {
			return n, due, due.Sub(began) < o.For
		}
		return n, due, n < o.Count
	}
	took := make([][]time.Duration, o.Clients)
	errs := make([]error, o.Clients)
	var all sync.WaitGroup
	for i := range o.Clients {
		all.Go(func() {
			for errs[i] == nil {
				n, due, more := take()
				if !more {
					return
				}
				if wait := time.Until(due); wait > 0 {
					<-time.After(wait)
				}
				took[i], errs[i] = o.round(n, due, authorization(n, i), took[i], func(t int) *client { return kept[o.Targets[t].Address][i] })
			}
		})
	}
	all.Wait()
	r := report{Took: time.Since(began)}
	sorted := slices.Concat(took...)
	slices.Sort(sorted)
	r.Count = len(sorted) / len(o.Targets)
	if n := len(sorted); n > 0 {
		r.P50, r.P99 = sorted[n/2], sorted[n*99/100]
	}
	return r, errors.Join(errs...)
}

// round asks each target once. Who is first changes from round to round.
func (o *order) round(n int, due time.Time, authorization string, took []time.Duration, client func(target int) *client) ([]time.Duration, error) {
	what := aJob
	if o.Renew {
		what = renewal
	}
	for i := range o.Targets {
		t := (n + i) % len(o.Targets)
		if i > 0 {
			due = time.Now()
		}
		status, _, err := client(t).ask(what, authorization)
		if err == nil && status != o.Targets[t].Want {
			err = fmt.Errorf("status %d, want %d", status, o.Targets[t].Want)
		}
		if err != nil {
			return took, fmt.Errorf("asking %s: %w", o.Targets[t].Address, err)
		}
		took = append(took, time.Since(due))
	}
	return took, nil
}

// The kinds of tokens.
const (
	given      = "given"     // Value, as it stands in the header
	atRandom   = "random"    // of the first N of File
	eachOnce   = "each once" // of the first N of File, from the From-th on in an order of no meaning
	byClient   = "by client" // each client has one of File
	unknown    = "unknown"   // with right checksums, which nobody has
	noChecksum = "checksum"  // with wrong checksums
)

// tokens says which tokens requests have.
type tokens struct {
	Kind    string
	Value   string
	File    string
	N, From int
}

// open returns what gives each request its Authorization header.
func (t *tokens) open(count int) (authorization func(n, client int) string, done func(), err error) {
	done = func() {}
	switch t.Kind {
	case given:
		return func(int, int) string { return t.Value }, done, nil
	case unknown, noChecksum:
		return func(int, int) string { return bearer(madeUp(t.Kind == unknown)) }, done, nil
	}
	values, err := openValues(t.File)
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = values.close() }
	var which func(n, client int) int
	switch t.Kind {
	case atRandom:
		which = func(int, int) int { return rand.IntN(t.N) } //nolint:gosec // it needn't be secret which is asked
	case byClient:
		which = func(_, client int) int { return client }
	case eachOnce:
		if t.From+count > t.N {
			done()
			return nil, nil, fmt.Errorf("there are %d tokens, and %d are wanted from %d on", t.N, count, t.From)
		}
		inNoOrder := rand.New(rand.NewPCG(1, 2)).Perm(t.N)[t.From:] //nolint:gosec // the same each time
		which = func(n, _ int) int { return inNoOrder[n] }
	default:
		done()
		return nil, nil, fmt.Errorf("there is no kind of tokens %q", t.Kind)
	}
	return func(n, client int) string { return bearer(values.at(which(n, client))) }, done, nil
}

func bearer(value string) string { return "Bearer " + value }

// madeUp is a token value that nobody has.
func madeUp(checksum bool) string {
	made, err := token.Make("cat", crand.Reader)
	if err != nil {
		panic(err) // the system's random bytes have no end
	}
	value := []byte(made.Reveal())
	if last := &value[len(value)-1]; !checksum {
		*last = 'a' + *last%2 // another one, whatever it was
	}
	return string(value)
}
