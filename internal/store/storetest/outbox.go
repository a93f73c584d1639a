package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

var outboxTests = []test{
	{"what leaves the store is committed with the change", outbox},
	{"lines come in order and leave when they are delivered", outboxOrder},
	{"lines are tied to their change", outboxRefused},
	{"what has been delivered has a receipt", outboxReceipt},
}

func (f *fixture) post(m store.Mutation, lines ...string) store.Outcome {
	f.Helper()
	var texts [][]byte
	for _, line := range lines {
		texts = append(texts, []byte(line))
	}
	done, err := f.Commit(context.Background(), m, texts...)
	if err != nil {
		f.Fatal(err)
	}
	return done
}

func (f *fixture) lines(after store.LinePlace) (lines []store.Line) {
	f.Helper()
	for {
		some, err := f.Outbox(after)
		if err != nil {
			f.Fatal(err)
		}
		if len(some) == 0 {
			return lines
		}
		lines = append(lines, some...)
		after = some[len(some)-1].LinePlace
	}
}

func line(at store.Outcome, n uint16, text string) store.Line {
	return store.Line{LinePlace: store.LinePlace{Position: at.Position, Number: n}, Text: []byte(text)}
}

func outbox(t *testing.T, f *fixture) {
	diff(t, "a new store's outbox", []store.Line(nil), f.lines(store.LinePlace{}))
	r := NewRecord("p", "alice", 0)
	created := f.post(store.Create{Record: r}, "created", "")
	f.commit(store.Touch{})
	revoked := f.post(store.Revoke{ID: r.ID, Revision: created.Revision, At: Epoch}, "revoked")
	all := []store.Line{line(created, 0, "created"), line(created, 1, ""), line(revoked, 0, "revoked")}
	diff(t, "the outbox", all, f.lines(store.LinePlace{}))
	diff(t, "the outbox from a line on", all[1:], f.lines(all[0].LinePlace))
}

func outboxOrder(t *testing.T, f *fixture) {
	var all []store.Line
	n := Rounds(300, 700)
	for i := range n {
		if i == n-100 {
			f.commit(store.BeginEpoch{Epoch: 2})
		}
		text := fmt.Sprint("line ", i)
		all = append(all, line(f.post(store.Touch{}, text), 0, text))
	}
	diff(t, "the outbox", all, f.lines(store.LinePlace{}))
	for len(all) > 0 {
		some, err := f.Outbox(store.LinePlace{})
		if err != nil || len(some) == 0 {
			t.Fatalf("%d lines, %v", len(some), err)
		}
		diff(t, "the next lines", all[:len(some)], some)
		all = all[len(some):]
		places := []store.LinePlace{{}, some[0].LinePlace}
		for _, l := range some {
			places = append(places, l.LinePlace)
		}
		// Of some that aren't there, or named twice, nothing is made.
		f.commit(store.Delivered{Lines: places})
		f.commit(store.Delivered{Lines: places})
		diff(t, "what is left", all, append([]store.Line{}, f.lines(store.LinePlace{})...))
	}
}

func outboxRefused(t *testing.T, f *fixture) {
	r := f.create(NewRecord("p", "alice", 0))
	if _, err := f.Commit(context.Background(), store.Create{Record: r}, []byte("created")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("creating it twice: %v", err)
	}
	diff(t, "the outbox", []store.Line(nil), f.lines(store.LinePlace{}))
}

func outboxReceipt(t *testing.T, f *fixture) {
	want := func(receipt string) {
		t.Helper()
		if got, err := f.Receipt(); err != nil || string(got) != receipt {
			t.Errorf("the receipt is %q, %v, want %q", got, err, receipt)
		}
	}
	want("")
	f.commit(store.Delivered{Receipt: []byte("before anything")})
	want("before anything")
	posted := f.post(store.Touch{}, "line")
	place := store.LinePlace{Position: posted.Position}
	f.commit(store.Delivered{Lines: []store.LinePlace{place}, Receipt: []byte("one line")})
	want("one line")
	diff(t, "the outbox", []store.Line(nil), f.lines(store.LinePlace{}))
	f.commit(store.Delivered{Lines: []store.LinePlace{place}})
	want("one line")
}

// RunFullOutbox fills up an outbox, which takes a while: once for each store is
// enough.
func RunFullOutbox(t *testing.T, open Open) {
	f := &fixture{T: t, Store: open(t)}
	// Small enough for any store to take at once.
	text := strings.Repeat("x", 16<<10)
	var all sync.WaitGroup
	var mu sync.Mutex
	var posted []store.LinePlace
	for range 64 {
		all.Go(func() {
			for {
				done, err := f.Commit(context.Background(), store.Touch{}, []byte(text))
				if err != nil {
					if !errors.Is(err, store.ErrOutboxFull) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				posted = append(posted, store.LinePlace{Position: done.Position})
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if want := store.MaxOutbox / len(text); len(posted) != want {
		t.Fatalf("it holds %d lines of %d bytes, want %d", len(posted), len(text), want)
	}
	token := NewRecord("p", "alice", 0)
	if _, err := f.Commit(context.Background(), store.Create{Record: token}, []byte("x")); !errors.Is(err, store.ErrOutboxFull) {
		t.Errorf("a line too many: %v", err)
	}
	if _, err := f.ByID(token.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the token without its line: %v", err)
	}
	// What has nothing to tell goes on, and what is delivered makes room.
	f.create(NewRecord("p", "alice", 1))
	f.commit(store.Delivered{Lines: posted[:1]})
	f.post(store.Create{Record: token}, "x")
}
