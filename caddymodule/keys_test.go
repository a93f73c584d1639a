package caddymodule

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// keyText is a hash key.
func keyText(letter string) string { return strings.Repeat(letter, 32) }

// loadApp replaces the configuration by one with these options of the app.
func (s *server) loadApp(t testing.TB, options, sites string) error {
	t.Helper()
	return loadCaddyfile(t, strings.Replace(s.caddyfile(sites), "store badger", options+"\nstore badger", 1))
}

// open is the store that the running configuration has open.
func (s *server) open(t testing.TB) *openStore {
	t.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App).opened
}

// keyUse counts the living tokens by key.
func (s *server) keyUse(t testing.TB) map[token.KeyID]int {
	t.Helper()
	use, err := s.open(t).store.KeyUse(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return use
}

func keyID(t testing.TB, text string) token.KeyID {
	t.Helper()
	key, err := token.NewKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return key.ID()
}

// Tokens move along as keys are replaced by reloads, beginning with the one that
// the store made.
func TestHashKeysAreReplacedByReloads(t *testing.T) {
	s := serve(t, openSite)
	answer(t, "first", says(signin.User{ID: "alice"}, nil))
	used, unused := s.create(t, nil).token(t), s.create(t, nil).token(t)
	own := "{file." + filepath.Join(s.dir, "store", "hash.key") + "}"
	a, b, c := keyText("a"), keyText("b"), keyText("c")
	refused := func(options, want string) {
		t.Helper()
		before := s.open(t).store.Keys()
		if err := s.loadApp(t, options, openSite); err == nil || !strings.Contains(err.Error(), "access_tokens: hash_key") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		} else if strings.Contains(err.Error(), a) || strings.Contains(err.Error(), b) {
			t.Errorf("a key is in the message: %v", err)
		}
		if after := s.open(t).store.Keys(); &after[0] != &before[0] {
			t.Errorf("%s: refused, and in force", options)
		}
	}
	taken := func(options string, first token.KeyID) {
		t.Helper()
		if err := s.loadApp(t, options, openSite); err != nil {
			t.Fatal(err)
		}
		if got := s.open(t).store.Key().ID(); got != first {
			t.Errorf("%s: new tokens are under %v, want %v", options, got, first)
		}
	}
	ownID := s.open(t).store.Key().ID()
	refused("hash_key "+a, "2 living tokens")
	refused("hash_key "+a+" {\nprevious "+b+"\n}", "2 living tokens")
	taken("hash_key "+a+" {\nprevious "+b+" "+own+"\n}", keyID(t, a))
	s.canGoOn(t, used)
	waitFor(t, "the token that is used moves", func() bool { return s.keyUse(t)[keyID(t, a)] == 1 })
	refused("hash_key "+a, "1 living token in")
	refused("hash_key "+b+" {\nprevious "+own+"\n}", "1 living token in")
	refused("", "1 living token in") // under a, and own is in force again

	s.canGoOn(t, unused)
	waitFor(t, "the other one moves too", func() bool { return s.keyUse(t)[ownID] == 0 })
	refused("hash_key "+b, "2 living tokens")
	taken("hash_key "+a, keyID(t, a))
	taken("hash_key "+b+" {\nprevious "+a+"\n}", keyID(t, b))
	taken("hash_key "+c+" {\nprevious "+b+"\nprevious "+a+"\n}", keyID(t, c))
	last := s.create(t, nil).token(t)
	for _, value := range []string{used, unused, last} {
		s.canGoOn(t, value)
	}
	waitFor(t, "all move", func() bool { return s.keyUse(t)[keyID(t, c)] == 3 })
	taken("hash_key "+own+" {\nprevious "+c+"\n}", ownID)
	for _, value := range []string{used, unused, last} {
		s.canGoOn(t, value)
	}
	waitFor(t, "all move back", func() bool { return s.keyUse(t)[ownID] == 3 })
	taken("", ownID)
	for _, value := range []string{used, unused, last} {
		s.canGoOn(t, value)
	}
}

// With no token under it, the key in force is still to come along: others may be
// made under it until the reload is over.
func TestTheKeyInForceComesAlong(t *testing.T) {
	s := serve(t, openSite)
	want := "the hash key in force, " + s.open(t).store.Key().ID().String()
	if err := s.loadApp(t, "hash_key "+keyText("a"), openSite); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("loading: %v, want %q", err, want)
	}
	// By a start it needn't.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.loadApp(t, "hash_key "+keyText("a"), openSite); err != nil {
		t.Error(err)
	}
	// Its own key is no longer what this store is used with.
	if err := s.load(t, openSite); err == nil || !strings.Contains(err.Error(), "the hash key in force") {
		t.Errorf("loading: %v", err)
	}
}

func TestAStoreThatWasGivenItsKeyHasNoOther(t *testing.T) {
	s := serve(t, openSite)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	s.dir = t.TempDir()
	if err := s.loadApp(t, "hash_key "+keyText("a"), openSite); err != nil {
		t.Fatal(err)
	}
	want := "access_tokens: hash_key isn't given: " + filepath.Join(s.dir, "store", "hash.key") + " is missing"
	if err := s.load(t, openSite); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("loading: %v, want %q", err, want)
	}
}

// A configuration that fails once it has started leaves the keys in force that
// were, and for how long records stay. What it has noted keeps nobody from going
// on as before, by a start either.
func TestAFailedReloadLeavesKeysAndTimes(t *testing.T) {
	s := serve(t, openSite)
	answer(t, "first", says(signin.User{ID: "alice"}, nil))
	made := s.create(t, nil).token(t)
	keys, retain := s.open(t).store.Keys(), s.open(t).registry.Retain
	failing := strings.Replace(openSite, "bind 127.0.0.1", "bind 127.0.0.1 192.0.2.1", 1)
	options := "hash_key " + keyText("a") + " {\nprevious {file." + s.dir + "/store/hash.key}\n}\nretain deleted 1s"
	for range 8 { // apps start in random order
		if err := s.loadApp(t, options, failing); err == nil || !strings.Contains(err.Error(), "http app module: start") {
			t.Fatalf("loading: %v", err)
		}
		s.canGoOn(t, made)
		s.create(t, nil).token(t)
	}
	if got := s.open(t).store.Keys(); &got[0] != &keys[0] {
		t.Error("other keys are in force")
	}
	if got := s.open(t).registry.Retain; got != retain {
		t.Errorf("records stay for %v", got)
	}
	if diff := cmp.Diff(map[token.KeyID]int{keys[0].ID(): 9}, s.keyUse(t)); diff != "" {
		t.Errorf("keys in use (-want +got):\n%s", diff)
	}
	if err := s.load(t, openSite+"\n# again"); err != nil {
		t.Error(err)
	}
	s.canGoOn(t, made)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.load(t, openSite); err != nil {
		t.Fatal(err)
	}
	s.canGoOn(t, made)
	if err := s.loadApp(t, options, openSite); err != nil {
		t.Error(err)
	}
	want := registry.Retain{Expired: 30 * 24 * time.Hour, Deleted: time.Second}
	if got := s.open(t); got.store.Key().ID() != keyID(t, keyText("a")) || got.registry.Retain != want {
		t.Errorf("under %v, for %v", got.store.Key(), got.registry.Retain)
	}
}

// A reload changes for how long records stay.
func TestRetainHoldsAfterAReload(t *testing.T) {
	s := serve(t, openSite)
	answer(t, "first", says(signin.User{ID: "alice"}, nil))
	made := s.create(t, nil).token(t)
	value, _ := token.Parse(made)
	id, known := s.open(t).registry.IDOf(value)
	if got := s.ask(t, http.MethodDelete, managementPath+"/"+id.String(), "", nil); !known || got.status != http.StatusNoContent {
		t.Fatal(got)
	}
	if err := s.loadApp(t, "retain deleted 1s", openSite); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the deleted token's record is gone", func() bool {
		_, known := s.open(t).registry.IDOf(value)
		return !known
	})
}

// The store's own keys follow each other through reloads, also ones that fail, and
// a configuration that gives keys keeps it from making others.
func TestTheStoresOwnKeysThroughReloads(t *testing.T) {
	s := serve(t, openSite)
	answer(t, "first", says(signin.User{ID: "alice"}, nil))
	made := s.create(t, nil).token(t)
	app := func() *App {
		t.Helper()
		running, err := caddy.ActiveContext().AppIfConfigured(appName)
		if err != nil {
			t.Fatal(err)
		}
		return running.(*App)
	}
	next := func(dryRun bool) []token.KeyID {
		t.Helper()
		ids, err := app().NextKey(t.Context(), registry.Origin{}, dryRun)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	wantKeys := func(what string, want []token.KeyID) {
		t.Helper()
		if diff := cmp.Diff(want, idsOf(s.open(t).store.Keys())); diff != "" {
			t.Errorf("%s, in force are (-want +got):\n%s", what, diff)
		}
	}
	first := idsOf(s.open(t).store.Keys())
	if diff := cmp.Diff(first, next(true)); diff != "" {
		t.Errorf("with dryRun (-want +got):\n%s", diff)
	}
	wantKeys("with dryRun", first)
	two := next(false)
	if len(two) != 2 || two[1] != first[0] {
		t.Fatalf("the keys are %v, before %v", two, first)
	}
	wantKeys("after the next key", two)
	if err := s.load(t, openSite+"\n# again"); err != nil {
		t.Fatal(err)
	}
	wantKeys("after a reload", two)
	failing := strings.Replace(openSite, "bind 127.0.0.1", "bind 127.0.0.1 192.0.2.1", 1)
	dir := filepath.Join(s.dir, "store")
	given := "hash_key " + keyText("a") + " {\nprevious {file." + dir + "/hash.key} {file." + dir + "/hash.previous.keys}\n}"
	for range 4 { // apps start in random order
		if err := s.loadApp(t, given, failing); err == nil {
			t.Fatal("it was loaded")
		}
		wantKeys("after a reload that fails", two)
	}
	three := next(false)
	wantKeys("after the next one", three)
	second := s.create(t, nil).token(t)
	// The file of previous keys has two now, which aren't one key.
	if err := s.loadApp(t, given, openSite); err == nil || !strings.Contains(err.Error(), "1 living token in") {
		t.Errorf("without the first key: %v", err)
	}
	s.canGoOn(t, made)
	waitFor(t, "it moves", func() bool { return s.keyUse(t)[three[0]] == 2 })
	if err := s.loadApp(t, "hash_key "+keyText("a")+" {\nprevious {file."+dir+"/hash.key}\n}", openSite); err != nil {
		t.Fatal(err)
	}
	if _, err := app().NextKey(t.Context(), registry.Origin{}, false); err != admin.ErrKeyGiven {
		t.Errorf("where the key is given: %v", err)
	}
	s.canGoOn(t, made)
	s.canGoOn(t, second)
}
