package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

var keyTests = []test{
	{"a token moves to another key", rehash},
	{"a token moves back", rehashBack},
	{"what has ended or changed doesn't move", rehashConflict},
	{"a purged token leaves nothing under any key", rehashPurge},
	{"living tokens are counted by key", keyUse},
}

func (f *fixture) rehash(r store.Record, n byte) store.Record {
	f.Helper()
	m := store.Rehash{ID: r.ID, Revision: r.Revision, Hash: r.Hash, Key: token.KeyID{n}}
	m.Hash[20] = n
	r.Hash, r.Key = m.Hash, m.Key
	r.Revision = f.commit(m)
	return r
}

func (f *fixture) wantUnder(want store.Record, hashes ...token.Hash) {
	f.Helper()
	diff(f.T, "by id", want, f.byID(want.ID))
	for _, h := range hashes {
		got, err := f.ByHash(h)
		if err != nil {
			f.Errorf("by hash %x: %v", h, err)
		}
		diff(f.T, "by hash", want, got)
	}
}

func rehash(t *testing.T, f *fixture) {
	line := f.line(2)
	first := line[0]
	second := f.rehash(first, 2)
	f.wantUnder(second, first.Hash, second.Hash)
	third := f.rehash(second, 3)
	f.wantUnder(third, first.Hash, second.Hash, third.Hash)

	// In all else it is the same token.
	f.wantLiving("p", "alice", 2)
	diff(t, "list", []string{"alice's token 0", "alice's token 1"}, f.descriptions(store.Query{Project: "p", User: "alice"}))
	taken := NewRecord("p", "alice", 5)
	taken.Hash = first.Hash
	f.wantError(store.Create{Record: taken}, store.ErrConflict)
	third.Revision = f.commit(store.Revoke{ID: third.ID, Revision: third.Revision, At: Epoch, Successors: true})
	third.Revoked = Epoch
	f.wantUnder(third, first.Hash, second.Hash, third.Hash)
	f.wantRevoked(line[1].ID, Epoch)
	diff(t, "list", []string{}, f.descriptions(store.Query{Project: "p"}))
}

func rehashBack(_ *testing.T, f *fixture) {
	first := f.create(NewRecord("p", "alice", 0))
	second := f.rehash(first, 2)
	m := store.Rehash{ID: first.ID, Revision: second.Revision, Hash: first.Hash, Key: first.Key}
	back := first
	back.Revision = f.commit(m)
	f.wantUnder(back, first.Hash, second.Hash)
	again := f.rehash(back, 2)
	f.wantUnder(again, first.Hash, second.Hash)
	f.commit(store.Purge{ID: first.ID})
	for _, h := range []token.Hash{first.Hash, second.Hash} {
		if r, err := f.ByHash(h); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("once it is purged: %+v, %v", r, err)
		}
	}
}

func rehashConflict(_ *testing.T, f *fixture) {
	r, other, voided := f.create(NewRecord("p", "alice", 0)), f.create(NewRecord("p", "alice", 1)), f.create(NewRecord("p", "bob", 0))
	m := store.Rehash{ID: r.ID, Revision: r.Revision, Hash: token.Hash{1}, Key: token.KeyID{1}}
	try := func(what string, change func(*store.Rehash)) {
		f.Helper()
		changed := m
		change(&changed)
		if _, err := f.Commit(f.Context(), changed); !errors.Is(err, store.ErrConflict) {
			f.Errorf("%s: %v, want %v", what, err, store.ErrConflict)
		}
	}
	try("an unknown token", func(m *store.Rehash) { m.ID = uuid.UUID{1} })
	try("at another revision", func(m *store.Rehash) { m.Revision++ })
	try("a hash that is taken", func(m *store.Rehash) { m.Hash = other.Hash })
	try("its own key", func(m *store.Rehash) { m.Key = r.Key })
	try("its own hash", func(m *store.Rehash) { m.Hash = r.Hash })
	f.void("bob", 0, 1)
	try("a voided token", func(m *store.Rehash) { m.ID, m.Revision = voided.ID, voided.Revision })
	moved := f.rehash(other, 2)
	try("the earlier hash of another", func(m *store.Rehash) { m.Hash = other.Hash })
	revision := f.commit(store.Revoke{ID: r.ID, Revision: r.Revision, At: Epoch})
	try("a revoked token", func(m *store.Rehash) { m.Revision = revision })
	f.wantUnder(moved, other.Hash, moved.Hash)
	if _, err := f.ByHash(token.Hash{1}); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("a token is under the hash: %v", err)
	}
}

func rehashPurge(_ *testing.T, f *fixture) {
	first := f.create(NewRecord("p", "alice", 0))
	second := f.rehash(first, 2)
	third := f.rehash(second, 3)
	f.commit(store.Purge{ID: first.ID})
	for _, h := range []token.Hash{first.Hash, second.Hash, third.Hash} {
		if r, err := f.ByHash(h); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("by hash %x: %+v, %v", h, r, err)
		}
	}
	again := NewRecord("p", "alice", 7)
	again.Hash = second.Hash
	f.create(again)
}

func keyUse(t *testing.T, f *fixture) {
	for i := range 3 {
		f.create(lived(i, 0, time.Duration(i+1)*time.Minute))
	}
	deleted, moved, voided := f.create(NewRecord("p", "carol", 0)), f.create(NewRecord("p", "carol", 1)), NewRecord("p", "bob", 0)
	voided.Key = token.KeyID{9}
	f.create(voided)
	f.commit(store.Revoke{ID: deleted.ID, Revision: deleted.Revision, At: Epoch})
	f.rehash(moved, 2)
	want := func(at time.Duration, want map[token.KeyID]int) {
		t.Helper()
		got, err := f.KeyUse(Epoch.Add(at))
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "keys in use", want, got)
	}
	want(0, map[token.KeyID]int{{}: 3, {2}: 1, {9}: 1})
	f.void("bob", 0, 1)
	want(0, map[token.KeyID]int{{}: 3, {2}: 1})
	want(time.Minute, map[token.KeyID]int{{}: 2, {2}: 1})
	n := 0
	if err := f.UnderOtherKeys(Epoch, func(store.Record) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("%d tokens under other keys than the store's, %v", n, err)
	}
}
