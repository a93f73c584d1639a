package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	options
	dir      string
	self     string   // this program
	caddy    string   // the server's program,
	caddyEnv []string // with what it needs besides
	progress io.Writer

	load *loader
	api  string
	// running are stopped at the end.
	running []*process
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func (b *bench) store() string      { return filepath.Join(b.dir, "store") }
func (b *bench) valuesFile() string { return filepath.Join(b.dir, "values") }

// keep has p stopped by stopSince, at the latest at the end of the run.
func (b *bench) keep(p *process) { b.running = append(b.running, p) }

// stopSince stops what has been kept since there were n, the last first.
func (b *bench) stopSince(n int, err *error) {
	for _, p := range slices.Backward(b.running[n:]) {
		*err = errors.Join(*err, p.stop())
	}
	b.running = b.running[:n]
}

func (b *bench) run(ctx context.Context) (r results, err error) {
	defer b.stopSince(0, &err)
	if r.about, err = b.about(ctx); err != nil {
		return r, err
	}
	if b.handler && b.only == "" {
		b.say("the handler alone")
		if r.handler, err = b.measureHandler(ctx); err != nil {
			return r, err
		}
	}
	if b.load, err = b.startLoader("load"); err != nil {
		return r, err
	}
	b.keep(b.load.process)
	api, address, err := b.startRole(ctx, "api", "api")
	if err != nil {
		return r, err
	}
	b.keep(api)
	b.api = address
	parts := []func(context.Context, *results) error{b.measureGrowth, b.measureCases, b.measureOthers, b.measureWriting}
	if b.only != "" {
		parts = []func(context.Context, *results) error{b.fillAll, b.measureCases, b.measureOthers}
	}
	for _, part := range parts {
		if err := part(ctx, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (b *bench) wanted(name, way string) bool { return strings.Contains(name+", "+way, b.only) }

// add compares, if that is wanted.
func (b *bench) add(ctx context.Context, to *[]result, c comparison) error {
	if !b.wanted(c.name, c.way) {
		return nil
	}
	if b.profile != "" && c.with.admin != "" {
		return b.writeProfile(ctx, c)
	}
	r, err := b.compare(ctx, c)
	if err == nil {
		*to = append(*to, r)
	}
	return err
}

// pair starts two servers that are the same.
func (b *bench) pair(start func(name string) (*server, error)) (one, other *server, err error) {
	if one, err = start("bare"); err != nil {
		return nil, nil, err
	}
	b.keep(one.process)
	if other, err = start("control"); err != nil {
		return nil, nil, err
	}
	b.keep(other.process)
	return one, other, nil
}

// measureCases compares requests to Caddy with the directive and without.
func (b *bench) measureCases(ctx context.Context, r *results) (err error) {
	defer b.stopSince(len(b.running), &err)
	values, err := openValues(b.valuesFile())
	if err != nil {
		return err
	}
	first := bearer(values.at(0))
	if err := values.close(); err != nil {
		return err
	}
	with, err := b.startWith("")
	if err != nil {
		return err
	}
	b.keep(with.process)
	if _, _, err := with.awaitAnswer(ctx, with.at[respond], first, 204); err != nil {
		return err
	}
	if err := b.settle(with.process); err != nil {
		return err
	}
	sites := b.bareSites()
	for _, kind := range []string{unknown, noChecksum} {
		size, _, err := with.awaitAnswer(ctx, with.at[respond], bearer(madeUp(kind == unknown)), 401)
		if err != nil {
			return err
		}
		refusing, err := b.refusing(ctx, kind, size)
		if err != nil {
			return err
		}
		sites = append(sites, refusing)
	}
	bare, control, err := b.pair(func(name string) (*server, error) { return b.startCaddy(name, "", sites...) })
	if err != nil {
		return err
	}
	for _, s := range []*server{with, bare, control} {
		for _, address := range s.at {
			if err := s.awaitListening(ctx, address); err != nil {
				return err
			}
		}
	}
	on := func(name, way string, want int, target float64, t func(int, int) tokens) error {
		return b.add(ctx, &r.cases, comparison{
			name: name, way: way, target: target, tokens: t,
			bare: bare.subject(way, want), control: control.subject(way, want), with: with.subject(way, want),
		})
	}

	// Each is asked once after the start, and then all have been.
	next := 0
	once := func(_, requests int) tokens {
		t := tokens{Kind: eachOnce, File: b.valuesFile(), N: b.tokens, From: next}
		next += requests
		return t
	}
	if enough := b.perRound * (b.windows + 1); enough <= b.tokens {
		if err := on("seen for the first time since the start", proxied, 200, 0.93, once); err != nil {
			return err
		}
	} else {
		b.say("seen for the first time since the start: left out, needs -tokens %d", enough)
	}
	if err := b.useEach(ctx, with, b.used); err != nil {
		return err
	}
	one := always(tokens{Kind: given, Value: first})
	many := always(tokens{Kind: atRandom, File: b.valuesFile(), N: b.used})
	of := fmt.Sprintf("%s of %s tokens at random, each seen before", count(b.used), count(b.tokens))
	for _, c := range []struct {
		name, way string
		want      int
		target    float64
		tokens    func(int, int) tokens
	}{
		{"one token", proxied, 200, 0.98, one},
		{"one token", respond, 204, 0.95, one},
		{of, proxied, 200, 0.97, many},
		{of, respond, 204, 0.93, many},
	} {
		if err := on(c.name, c.way, c.want, c.target, c.tokens); err != nil {
			return err
		}
	}
	for _, refused := range []struct {
		name, kind string
		target     float64
	}{{"unknown, with a good checksum", unknown, 0.95}, {"with a bad checksum", noChecksum, 0.99}} {
		if err := b.add(ctx, &r.cases, comparison{
			name: refused.name, way: "÷ a bare 401", target: refused.target, tokens: always(tokens{Kind: refused.kind}),
			bare: bare.subject(refused.kind, 401), control: control.subject(refused.kind, 401), with: with.subject(respond, 401),
		}); err != nil {
			return err
		}
	}
	return nil
}

// fillAll is measureGrowth without measuring.
func (b *bench) fillAll(ctx context.Context, _ *results) error {
	_, err := b.fill(ctx, 0, b.tokens)
	return err
}

// useEach has the first n tokens used once each.
func (b *bench) useEach(ctx context.Context, s *server, n int) error {
	_, err := b.load.carryOut(ctx, order{
		Targets: []target{{s.at[respond], 204}}, Clients: clients, Count: n,
		Tokens: tokens{Kind: eachOnce, File: b.valuesFile(), N: n},
	})
	return err
}

// count writes a number of tokens for people.
func count(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%d K", n/1000)
	}
	return fmt.Sprint(n)
}
