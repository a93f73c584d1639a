package caddymodule

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// openSite lets everyone whom a guest module names make tokens.
const openSite = `
http://:PORT {
	bind 127.0.0.1
	access_tokens {
		allow_generate everyone
		sign_in guest first
	}
	respond "{http.auth.user.id}"
}`

// canGoOn fails unless the server accepts a token that it made earlier.
func (s *server) canGoOn(t testing.TB, token string) {
	t.Helper()
	if got := s.ask(t, http.MethodGet, "/", "", bearer(token)); got.status != http.StatusOK || got.body != "alice" {
		t.Errorf("with a token: %v, want 200 alice", got)
	}
}

// `caddy validate` leaves no trace, and works beside a server that has the
// store open, whether or not it finds the configuration good.
func TestValidateLeavesTheStoreAlone(t *testing.T) {
	s := &server{dir: t.TempDir(), port: freePort(t)}
	s.log = filepath.Join(s.dir, "default.log")
	if err := s.validate(t, openSite); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "store")); !os.IsNotExist(err) {
		t.Errorf("validating has made the store: %v", err)
	}

	s = serve(t, openSite)
	answer(t, "first", says(signin.User{ID: "alice"}, nil))
	token := s.create(t, nil).token(t)
	wrong := strings.Replace(openSite, "allow_generate everyone", "admins {env.NOT_SET_ANYWHERE}", 1)
	for range 3 {
		if err := s.validate(t, openSite); err != nil {
			t.Errorf("beside the running server: %v", err)
		}
		if err := s.validate(t, wrong); err == nil {
			t.Error("a wrong configuration is valid")
		}
		s.canGoOn(t, token)
	}
	if err := s.load(t, openSite); err != nil {
		t.Fatal(err)
	}
	s.canGoOn(t, token)
}

// A configuration that is refused leaves the running one as it was, wherever it
// fails.
func TestARefusedConfigurationChangesNothing(t *testing.T) {
	s := serve(t, openSite)
	answer(t, "first", says(signin.User{ID: "alice"}, nil))
	token := s.create(t, nil).token(t)
	for name, test := range map[string]struct{ old, new, want string }{
		"a handler":      {"allow_generate everyone", "admins {env.NOT_SET_ANYWHERE}", "admins: evaluated placeholder"},
		"another app":    {"bind 127.0.0.1", "bind 192.0.2.1", "http app module: start"},
		"another module": {"access_tokens {\n\t\tallow", "log {\noutput file " + s.log + "/not-a-directory\n}\naccess_tokens {\nallow", "not-a-directory"},
		"the hash key":   {"store badger", "hash_key " + strings.Repeat("k", 32) + "\nstore badger", "from now on without hash key"},
		"another store":  {"store badger " + s.dir + "/store", "store badger " + s.dir + "/other", "the store has moved"},
	} {
		t.Run(name, func(t *testing.T) {
			good := s.caddyfile(openSite)
			bad := strings.Replace(good, test.old, test.new, 1)
			if bad == good {
				t.Fatalf("no %q to replace", test.old)
			}
			if err := loadCaddyfile(t, bad); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("loading: %v, want %q", err, test.want)
			}
			s.canGoOn(t, token)
			s.create(t, nil).token(t)
		})
	}
	if _, err := os.Stat(filepath.Join(s.dir, "other")); err == nil {
		t.Error("another store has been made")
	}
	if err := s.load(t, openSite); err != nil {
		t.Error(err)
	}
	s.canGoOn(t, token)
}

// The store has one name, however it is written.
func TestTheStoreIsSharedUnderAllItsNames(t *testing.T) {
	s := serve(t, openSite)
	answer(t, "first", says(signin.User{ID: "alice"}, nil))
	token := s.create(t, nil).token(t)
	if err := os.Symlink(s.dir, filepath.Join(s.dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"DIR/./store/", "DIR/link/store", "DIR/link/../store", "{env.STORE_OF_TEST}"} {
		t.Setenv("STORE_OF_TEST", filepath.Join(s.dir, "link", "link", "store"))
		caddyfile := strings.ReplaceAll(s.caddyfile(openSite), "store badger "+s.dir+"/store", "store badger "+strings.ReplaceAll(path, "DIR", s.dir))
		if err := loadCaddyfile(t, caddyfile); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		s.canGoOn(t, token)
	}
}

func TestCanonicalDirectories(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(path string) string { return filepath.Join(root, filepath.FromSlash(path)) }
	must(os.MkdirAll(in("real/deep"), 0o700))
	must(os.Symlink(in("real"), in("absolute")))
	must(os.Symlink("real", in("relative")))
	must(os.Symlink("absolute", in("twice")))
	must(os.Symlink(in("real/deep"), in("real/inner")))
	must(os.Symlink("loop", in("loop")))
	t.Chdir(in("real"))
	for path, want := range map[string]string{
		in("real"):                 in("real"),
		in("real/deep/.."):         in("real"),
		in("real") + "/":           in("real"),
		in("absolute"):             in("real"),
		in("relative"):             in("real"),
		in("twice/inner"):          in("real/deep"),
		".":                        in("real"),
		"deep":                     in("real/deep"),
		"inner":                    in("real/deep"),
		"../twice/./deep":          in("real/deep"),
		in("missing"):              in("missing"),
		in("missing/more"):         in("missing/more"),
		in("twice/missing/more/x"): in("real/missing/more/x"),
		"inner/missing":            in("real/deep/missing"),
		"missing/../inner/missing": in("real/deep/missing"),
		in("loop/missing"):         in("loop/missing"), // opening it will fail
		filepath.VolumeName(root) + string(filepath.Separator): filepath.VolumeName(root) + string(filepath.Separator),
	} {
		if got, err := canonical(path); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", path, got, err, want)
		}
	}
}
