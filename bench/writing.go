package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// writing is what is measured while tokens are made over HTTP, by as many clients as
// there are writers, each of which renews a token of its own.
type writing struct {
	perSecond, audited float64 // made, without an audit file and with one
	// How long other requests took, in ms: on their own, beside as many clients as
	// there are writers who only ask, and beside writers.
	quiet, readers, writers latency
}

type latency struct{ p50, p99 float64 }

// othersPerSecond is how many requests are timed beside others.
const othersPerSecond = 200

func (b *bench) measureWriting(ctx context.Context, r *results) (err error) {
	defer b.stopSince(len(b.running), &err)
	beside, err := b.startLoader("beside")
	if err != nil {
		return err
	}
	b.keep(beside.process)
	renewing := tokens{Kind: byClient, File: b.valuesFile()}
	w := &writing{}
	for _, audit := range []bool{false, true} {
		more := ""
		if audit {
			more = fmt.Sprintf("\t\taudit file %s\n", filepath.Join(b.dir, "audit.jsonl"))
		}
		with, err := b.startWith(more)
		if err != nil {
			return err
		}
		values, err := openValues(b.valuesFile())
		if err != nil {
			return err
		}
		one := bearer(values.at(0))
		if err := values.close(); err != nil {
			return err
		}
		if _, _, err := with.awaitAnswer(ctx, with.at[respond], one, 204); err != nil {
			return err
		}
		address := with.at[respond]
		renew := order{Targets: []target{{address, 201}}, Renew: true, Clients: min(writers, b.tokens), For: b.busy, Tokens: renewing}
		made, err := b.load.carryOut(ctx, renew)
		if err != nil {
			return err
		}
		perSecond := float64(made.Count) / made.Took.Seconds()
		b.say("%.0f tokens a second by %d clients over HTTP, audit file: %t", perSecond, renew.Clients, audit)
		if audit {
			w.audited = perSecond
		} else {
			w.perSecond = perSecond
			ask := order{Targets: []target{{address, 204}}, Clients: renew.Clients, For: b.busy, Tokens: renewing}
			for _, c := range []struct {
				name string
				to   *latency
				load *order
			}{{"nothing", &w.quiet, nil}, {"readers", &w.readers, &ask}, {"writers", &w.writers, &renew}} {
				if *c.to, err = b.timeBeside(ctx, beside, address, c.load); err != nil {
					return err
				}
				b.say("requests beside %s: p50 %.2f ms, p99 %.2f ms", c.name, c.to.p50, c.to.p99)
			}
		}
		if err := with.stop(); err != nil {
			return err
		}
	}
	r.writing = w
	return nil
}

// timeBeside times requests with tokens at random, at a pace, beside what another
// process does.
func (b *bench) timeBeside(ctx context.Context, other *loader, address string, load *order) (latency, error) {
	done := make(chan error, 1)
	go func() {
		var err error
		if load != nil {
			_, err = other.carryOut(ctx, *load)
		}
		done <- err
	}()
	timed, err := b.load.carryOut(ctx, order{
		Targets: []target{{address, 204}}, Clients: writers, For: b.busy, PerSecond: othersPerSecond,
		Tokens: tokens{Kind: atRandom, File: b.valuesFile(), N: b.used},
	})
	if failed := <-done; err == nil {
		err = failed
	}
	return latency{millis(timed.P50), millis(timed.P99)}, err
}
