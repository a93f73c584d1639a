package badgerstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func next(t *testing.T, s *Store) []*token.Key {
	t.Helper()
	keys, err := s.NextOwnKey()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func wantKeys(t *testing.T, what string, got []*token.Key, want ...*token.Key) {
	t.Helper()
	if diff := cmp.Diff(idsOf(want), idsOf(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// The store makes one key after the other, and knows all of them after a restart.
func TestTheNextOwnKey(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	first := s.Key()
	two := next(t, s)
	if len(two) != 2 || two[1].ID() != first.ID() || two[0].ID() == first.ID() {
		t.Fatalf("the keys are %v, behind %v", two, first)
	}
	wantKeys(t, "in force before they are used", s.Keys(), first)
	wantKeys(t, "asked again, it makes no other", next(t, s), two...)
	mustCommit(t, s, store.NoteKeys{Keys: idsOf(two)})
	s.UseKeys(two)
	three := next(t, s)
	wantKeys(t, "behind the third", three[1:], two...)
	closeStore(t, s)

	// It ended before that one was in force.
	s = open(t, dir, Options{})
	wantKeys(t, "after a restart", s.Keys(), three...)
	if !s.KeysChanged() {
		t.Error("it doesn't say that its keys have changed")
	}
	s.UseKeys(three[:1])
	if err := s.ForgetPreviousOwnKeys(); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, store.NoteKeys{Keys: idsOf(three[:1])})
	own, err := s.OwnKeys()
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, "the others forgotten", own, three[0])
	closeStore(t, s)
	s = open(t, dir, Options{})
	wantKeys(t, "the others forgotten, and restarted", s.Keys(), three[0])
	if s.KeysChanged() {
		t.Error("it says that its keys have changed")
	}
}

// However making the next key is cut short, a start goes on with keys that know all
// tokens.
func TestTheNextOwnKeyCutShort(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	first, file, previous := s.Key(), s.keyFile(), filepath.Join(dir, previousKeysName)
	firstText := readFile(t, file)
	two := next(t, s)
	secondText, previousText := readFile(t, file), readFile(t, previous)
	closeStore(t, s)
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The previous keys are written, and the next one isn't.
	write(file, firstText)
	s = open(t, dir, Options{})
	wantKeys(t, "before the next key is written", s.Keys(), first)
	closeStore(t, s)
	write(file, secondText)
	s = open(t, dir, Options{})
	wantKeys(t, "once it is written", s.Keys(), two...)
	closeStore(t, s)

	for what, change := range map[string]func(){
		"can be read by others": func() { _ = os.Chmod(previous, 0o644) },
		"at least 32":           func() { write(previous, []byte("short\n")) },
	} {
		change()
		if s, err := Open(dir, Options{}); err == nil {
			closeStore(t, s)
			t.Errorf("%s: opened", what)
		} else if !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), previousKeysName) {
			t.Errorf("%s: %v", what, err)
		}
		_ = os.Remove(previous)
		write(previous, previousText)
	}
	// Somebody else's key in the file while the store is open.
	s = open(t, dir, Options{})
	write(file, firstText)
	if _, err := s.NextOwnKey(); err == nil || !strings.Contains(err.Error(), "isn't the hash key in force") {
		t.Errorf("another key is in the file: %v", err)
	}
}
