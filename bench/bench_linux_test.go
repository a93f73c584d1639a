package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule"
)

// TestMain makes the test's program also the server and the other roles.
func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "caddy" {
		caddycmd.Main()
		os.Exit(0)
	}
	if run, known := roles[role]; known {
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// With the race detector, each of the many processes would stay for a second.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A run measures all that it says, and writes it where it is asked to.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		options: options{
			tokens: 1200, used: 100, windows: 2, perRound: 20, starts: 1,
			busy: 100 * time.Millisecond, idle: time.Millisecond,
		},
		dir: dir, self: self, caddy: self, caddyEnv: []string{roleEnv + "=caddy"}, progress: t.Output(),
	}
	r, err := b.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.cases) != 7 || len(r.others) < 1 || len(r.sizes) != 2 || r.writing == nil {
		t.Errorf("%d cases, %d others, %d sizes, writing %v", len(r.cases), len(r.others), len(r.sizes), r.writing)
	}
	if os.Getenv("ACCESS_TOKENS_TEST_SERVERS") != "" && len(r.others) != 4 {
		t.Errorf("%d others, although all servers are here", len(r.others))
	}
	for _, c := range r.comparisons() {
		if c.bare.low <= 0 || c.with.low <= 0 || c.control.low <= 0 {
			t.Errorf("%s, %s: %v without, %v with, control %v", c.name, c.way, c.bare, c.with, c.control)
		}
	}
	for _, s := range r.sizes {
		if s.perSecond <= 0 || s.disk <= 0 || s.warm.low <= 0 || s.cold.low <= 0 || s.own <= 0 {
			t.Errorf("a size with a gap: %+v", s)
		}
	}
	if w := r.writing; w.perSecond <= 0 || w.audited <= 0 || w.quiet.p99 <= 0 || w.readers.p99 <= 0 || w.writers.p99 <= 0 {
		t.Errorf("writing with a gap: %+v", *w)
	}

	document := filepath.Join(dir, "performance.md")
	if err := os.WriteFile(document, []byte("# Before\n"+beginMark+"\nold\n"+endMark+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.writeInto(document); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		if want := "# Before\n" + beginMark + "\n" + r.markdown() + "\n" + endMark + "\nafter\n"; string(text) != want {
			t.Errorf("the document is\n%s\nwant\n%s", text, want)
		}
	}
	for _, name := range []string{costImage, growthImage} {
		picture, err := os.ReadFile(filepath.Join(dir, imagesDir, name))
		if err != nil || !strings.HasSuffix(string(picture), "</svg>\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
