package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// size is what is measured of a store with so many tokens.
type size struct {
	tokens     int
	perSecond  float64 // made, while the store grew to this; 0: they were there
	disk       int64   // bytes, unless tokens were there before
	warm, cold spread  // from the start to the first answer, in ms
	bareStart  spread  // the same without the directive
	own, files int64   // bytes in memory when idle
	bareOwn    int64   // the same without the directive
	used       int64   // own, after tokens were asked for at random
	random     result  // tokens that were seen before at random, on respond
}

// measureGrowth lets the store grow by tens, and measures it at each step.
func (b *bench) measureGrowth(ctx context.Context, r *results) error {
	at := 0
	for next := min(1000, b.tokens); ; next = min(10*next, b.tokens) {
		s, err := b.measureSize(ctx, at, next)
		if err != nil {
			return err
		}
		r.sizes = append(r.sizes, s)
		if at = next; at == b.tokens {
			return nil
		}
	}
}

// settle waits until a server that nobody asks has little left to do, such as
// counting its tokens or compacting them, but not for ever.
func (b *bench) settle(p *process) error {
	const most = 12 // times, a minute by default
	for range most {
		before, err := used([]*process{p})
		if err != nil {
			return err
		}
		<-time.After(b.idle)
		after, err := used([]*process{p})
		if err != nil {
			return err
		}
		if after-before < b.idle/20 {
			return nil
		}
	}
	b.say("%s is still busy, although nobody asks", p.name)
	return nil
}

func (b *bench) measureSize(ctx context.Context, from, to int) (s size, err error) {
	defer b.stopSince(len(b.running), &err)
	s.tokens = to
	if s.perSecond, err = b.fill(ctx, from, to); err != nil {
		return s, err
	}
	values, err := openValues(b.valuesFile())
	if err != nil {
		return s, err
	}
	one := bearer(values.at(to / 2))
	if err := values.close(); err != nil {
		return s, err
	}
	start := func() (*server, time.Duration, error) {
		with, err := b.startWith("")
		if err != nil {
			return nil, 0, err
		}
		_, after, err := with.awaitAnswer(ctx, with.at[respond], one, 204)
		if err != nil {
			err = errors.Join(err, with.stop())
		}
		return with, after, err
	}
	bareStart := func(name string) (*server, time.Duration, error) {
		bare, err := b.startCaddy(name, "", b.bareSites()...)
		if err != nil {
			return nil, 0, err
		}
		_, after, err := bare.awaitAnswer(ctx, bare.at[respond], one, 204)
		return bare, after, err
	}
	// What the tokens' making has left to do, the first start does.
	with, _, err := start()
	if err != nil {
		return s, err
	}
	if err := b.settle(with.process); err != nil {
		return s, err
	}
	if err := with.stop(); err != nil {
		return s, err
	}
	if s.perSecond > 0 {
		if s.disk, err = sizeOnDisk(b.store()); err != nil {
			return s, err
		}
	}
	var warm, cold, bare []float64
	for range b.starts {
		for _, kind := range []struct {
			took   *[]float64
			before func() error
			start  func() (*server, time.Duration, error)
		}{
			{&warm, func() error { return nil }, start},
			{&cold, func() error { return uncache(b.store()) }, start},
			{&bare, func() error { return nil }, func() (*server, time.Duration, error) { return bareStart("bare") }},
		} {
			if err := kind.before(); err != nil {
				return s, err
			}
			started, after, err := kind.start()
			if err != nil {
				return s, err
			}
			*kind.took = append(*kind.took, millis(after))
			if err := started.stop(); err != nil {
				return s, err
			}
		}
	}
	s.warm, s.cold, s.bareStart = spreadOf(warm), spreadOf(cold), spreadOf(bare)

	if with, _, err = start(); err != nil {
		return s, err
	}
	b.keep(with.process)
	var pair [2]*server
	for i, name := range []string{"bare", "control"} {
		if pair[i], _, err = bareStart(name); err != nil {
			return s, err
		}
		b.keep(pair[i].process)
	}
	if err := b.settle(with.process); err != nil {
		return s, err
	}
	if s.own, s.files, err = memory(with.command.Process.Pid); err != nil {
		return s, err
	}
	if s.bareOwn, _, err = memory(pair[0].command.Process.Pid); err != nil {
		return s, err
	}
	inUse := min(b.used, to)
	if err := b.useEach(ctx, with, inUse); err != nil {
		return s, err
	}
	if s.random, err = b.compare(ctx, comparison{
		name: fmt.Sprintf("%s of %s tokens at random, each seen before", count(inUse), count(to)), way: respond,
		bare: pair[0].subject(respond, 204), control: pair[1].subject(respond, 204), with: with.subject(respond, 204),
		tokens: always(tokens{Kind: atRandom, File: b.valuesFile(), N: inUse}),
	}); err != nil {
		return s, err
	}
	s.used, _, err = memory(with.command.Process.Pid)
	return s, err
}
