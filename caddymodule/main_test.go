package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"go.uber.org/goleak"
)

// environment is what the tests were started with.
var environment = os.Environ()

func TestMain(m *testing.M) { os.Exit(runInOwnDirectory(m)) }

// runInOwnDirectory keeps all that Caddy writes by itself away from the
// machine's own Caddy, and looks for goroutines that the tests left behind.
func runInOwnDirectory(m *testing.M) int {
	dir, err := os.MkdirTemp("", "caddymodule")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		if err := os.Setenv(name, filepath.Join(dir, name)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	code := m.Run()
	// Caddy's storage looks after a lock for some seconds after its release.
	theirs := goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh")
	if err := goleak.Find(theirs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// adapt returns the JSON form of a Caddyfile.
func adapt(t testing.TB, caddyfile string) (adapted []byte, warnings []caddyconfig.Warning, err error) {
	t.Helper()
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
}

// validate does what `caddy validate` does with a JSON configuration.
func validate(t testing.TB, config []byte) error {
	t.Helper()
	// The storage that Caddy chooses by itself was fixed before TestMain.
	storage := json.RawMessage(fmt.Sprintf(`{"module": "file_system", "root": %q}`, t.TempDir()))
	parsed := caddy.Config{StorageRaw: storage}
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		return err
	}
	return caddy.Validate(&parsed)
}
