package caddymodule

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each file has a Caddyfile, a line of dashes, and the JSON that it stands for,
// as in Caddy's own tests.
func TestCaddyfileToJSON(t *testing.T) {
	t.Setenv("TOKENS_DIR", t.TempDir())
	t.Setenv("TOKENS_KEY", strings.Repeat("k", 32))
	t.Setenv("TOKENS_OLD_KEY", strings.Repeat("o", 32))
	t.Setenv("ADMIN", "alice")
	t.Setenv("API", "127.0.0.1:3007")
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(content), "\r\n", "\n")
			caddyfile, want, found := strings.Cut(text, "----------\n")
			if !found {
				t.Fatal("the file has no line of dashes")
			}
			adapted, warnings, err := adapt(t, caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range warnings {
				t.Errorf("warning: %v", w)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, adapted, "", "\t"); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			if diff := cmp.Diff(want, got.String()); diff != "" {
				t.Errorf("adapted JSON (-want +got):\n%s", diff)
			}
			if err := validate(t, adapted); err != nil {
				t.Errorf("the adapted JSON isn't valid: %v", err)
			}
		})
	}
}
