package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

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
		r.Key, r.Lifetime = a.ID(), 100*365*86400
		if i == 2 {
			r.Lifetime = 60
		}
		r.Revision = mustCommit(t, s, store.Create{Record: r})
		made = append(made, r)
	}
	mustCommit(t, s, store.Revoke{ID: made[3].ID, Revision: made[3].Revision, At: now})
	closeStore(t, s)

	refused("2 living tokens", b)
	refused("2 living tokens", b, c)
	refused("without hash key "+a.ID().String(), b)
	closeStore(t, opens(a))
	closeStore(t, opens(b, a))
	closeStore(t, opens(a)) // and back, without b, which no token is under
	closeStore(t, opens(b, c, a))
	closeStore(t, opens(a, b))
	s = opens(b, a)
	for i, r := range made[:2] {
		s.checkKeys(t, now, "", b, a)
		s.checkKeys(t, now, "", c, a, b)
		s.checkKeys(t, now, "", a, b)
		s.checkKeys(t, now, fmt.Sprint(2-i)+" living token", b)
		s.checkKeys(t, now, fmt.Sprint(2-i)+" living token", c, b)
		h := r.Hash
		h[20] = 'b'
		mustCommit(t, s, store.Rehash{ID: r.ID, Revision: r.Revision, Hash: h, Key: b.ID()})
	}
	s.checkKeys(t, now, "", b)
	s.checkKeys(t, now, "", c, b)
	s.checkKeys(t, now, "2 living tokens", a)
	s.checkKeys(t, now, "2 living tokens", c)
	// Once they have expired, the present key is still to be given, as tokens
	// are made under it.
	later := now.AddDate(1000, 0, 0)
	s.checkKeys(t, later, "the hash key in force, "+b.ID().String(), a)
	s.checkKeys(t, later, "the hash key in force, "+b.ID().String(), c)
	s.checkKeys(t, later, "", c, b)

	// By a reload.
	note := func(keys ...*token.Key) {
		t.Helper()
		s.checkKeys(t, now, "", keys...)
		if err := s.NoteKeys(t.Context(), keys); err != nil {
			t.Fatal(err)
		}
	}
	use := func(keys ...*token.Key) {
		t.Helper()
		note(keys...)
		s.UseKeys(keys)
		if d := cmp.Diff(idsOf(keys), idsOf(s.Keys())); d != "" || s.Key() != keys[0] {
			t.Errorf("after a reload it is open with (-want +got):\n%s", d)
		}
	}
	use(c, b)
	s.checkKeys(t, later, "the hash key in force, "+c.ID().String(), b)
	use(b, c)
	// One that fails once the keys are noted.
	note(c, b)
	if s.Key() != b {
		t.Error("noted keys are used")
	}
	s.checkKeys(t, now, "", b)
	note(b)
	note(c, b)
	closeStore(t, s)
	closeStore(t, opens(b))
	s = opens(c, b)
	closeStore(t, s)
	refused("2 living tokens", c)
	s = opens(c, b)
	if use, err := s.KeyUse(now); err != nil || !cmp.Equal(use, map[token.KeyID]int{b.ID(): 2}) {
		t.Errorf("keys in use: %v, %v", use, err)
	}
	r := made[0]
	r.ID, r.Hash, r.Key = uuid.New(), token.Hash{1}, c.ID()
	mustCommit(t, s, store.Create{Record: r})
	s.checkKeys(t, now, "3 living tokens in the token store in "+dir+" would be refused from now on without hash key ", a)
}

// checkKeys fails unless a reload with these keys is refused with that text, or
// allowed if it is "".
func (s *Store) checkKeys(t *testing.T, certain time.Time, want string, keys ...*token.Key) {
	t.Helper()
	err := s.CheckKeys(keys, certain)
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("a reload with %v: %v, want %q", keys, err, want)
	}
}

// Whoever reloads a configuration with the same keys needs nothing of the store,
// which may have stopped.
func TestTheSameKeysAreFineForAStoreThatHasStopped(t *testing.T) {
	a, b := someKey(t, "a"), someKey(t, "b")
	s := open(t, t.TempDir(), Options{Key: a, Previous: []*token.Key{b}})
	closeStore(t, s)
	same, other := []*token.Key{a, b}, []*token.Key{b, a}
	if err := errors.Join(s.CheckKeys(same, time.Now()), s.NoteKeys(t.Context(), same)); err != nil {
		t.Errorf("with the same keys: %v", err)
	}
	for _, err := range []error{s.CheckKeys(other, time.Now()), s.NoteKeys(t.Context(), other)} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("with others: %v, want %v", err, store.ErrUnavailable)
		}
	}
}

func TestTheStoresOwnKey(t *testing.T) {
	dir := t.TempDir()
	a := someKey(t, "a")
	s := open(t, dir, Options{Key: a})
	if keys, err := s.OwnKeys(); err == nil || !strings.Contains(err.Error(), "hash.key is missing") {
		t.Errorf("a store that was given its key has another, %v, %v", keys, err)
	}
	dir = t.TempDir()
	s = open(t, dir, Options{})
	own := s.Key()
	file := readFile(t, s.keyFile())
	if err := os.Remove(s.keyFile()); err != nil {
		t.Fatal(err)
	}
	if keys, err := s.OwnKeys(); err != nil || keys[0].ID() != own.ID() {
		t.Errorf("while it is in use, its own key is %v, %v", keys, err)
	}
	if err := os.WriteFile(s.keyFile(), file, 0o600); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = open(t, dir, Options{Key: a, Previous: []*token.Key{own}})
	if keys, err := s.OwnKeys(); err != nil || keys[0].ID() != own.ID() {
		t.Errorf("its own key is %v, %v, want %v", keys, err, own)
	}
}
