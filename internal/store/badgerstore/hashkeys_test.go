package badgerstore

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func someKey(t *testing.T, letter string) *token.Key {
	t.Helper()
	key, err := token.NewKey(strings.Repeat(letter, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestWhichKeysAStoreGoesOnWith(t *testing.T) {
	dir := t.TempDir()
	a, b, c := someKey(t, "a"), someKey(t, "b"), someKey(t, "c")
	opens := func(keys ...*token.Key) *Store {
		t.Helper()
		s := open(t, dir, Options{Key: keys[0], Previous: keys[1:]})
		if d := cmp.Diff(idsOf(keys), idsOf(s.Keys())); d != "" || s.Key() != keys[0] {
			t.Errorf("it is open with (-want +got):\n%s", d)
		}
		return s
	}
	refused := func(want string, keys ...*token.Key) {
		t.Helper()
		if s, err := Open(dir, Options{Key: keys[0], Previous: keys[1:]}); err == nil {
			closeStore(t, s)
			t.Errorf("opened, want it to say %q", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// Two tokens that are living for years, one expired, one revoked.
	s := opens(a)
	now := time.Now().UTC().Truncate(time.Millisecond)
	var made []store.Record
	for i := range 4 {
		r := storetest.NewRecord("p", "alice", i)
		r.Key = a.ID()
		if i == 2 {
			r.Lifetime = 60
		}
		r.Revision = mustCommit(t, s, store.Create{Record: r})
		made = append(made, r)
	}
	mustCommit(t, s, store.Revoke{ID: made[3].ID, Revision: made[3].Revision, At: now})
	closeStore(t, s)

	refused("made with hash key "+a.ID().String(), b)
	refused("made with hash key "+a.ID().String(), b, c)
	refused("twice", a, b, a)
	closeStore(t, opens(a))
	closeStore(t, opens(b, a))
	refused("made with hash key "+b.ID().String(), a)
	refused("2 living tokens", b)
	refused("2 living tokens", b, c)
	closeStore(t, opens(b, c, a))
	closeStore(t, opens(a, b)) // and back, without c, which no token is under
	s = opens(b, a)
	for i, r := range made[:2] {
		h := r.Hash
		h[20] = 'b'
		mustCommit(t, s, store.Rehash{ID: r.ID, Revision: r.Revision, Hash: h, Key: b.ID()})
		if i == 0 {
			if err := s.CheckKeys([]*token.Key{b}, now); err == nil || !strings.Contains(err.Error(), "1 living token") {
				t.Errorf("a reload without a key in use: %v", err)
			}
		}
	}
	if err := s.CheckKeys([]*token.Key{c}, now); err == nil || !strings.Contains(err.Error(), "made with hash key") {
		t.Errorf("a reload with another key: %v", err)
	}
	// By a reload.
	if err := s.UseKeys(context.Background(), []*token.Key{c, b}, now); err != nil {
		t.Fatal(err)
	}
	if s.Key() != c || len(s.Keys()) != 2 {
		t.Errorf("after a reload it is open with %v", s.Keys())
	}
	closeStore(t, s)
	refused("made with hash key "+c.ID().String(), b)
	refused("2 living tokens", c)
	s = opens(c, b)
	if use, err := s.KeyUse(now); err != nil || !cmp.Equal(use, map[token.KeyID]int{b.ID(): 2}) {
		t.Errorf("keys in use: %v, %v", use, err)
	}
}
