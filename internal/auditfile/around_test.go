package auditfile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestAround(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var text bytes.Buffer
	for n := range 2000 { // a line each ten seconds, of varying lengths
		fmt.Fprintf(&text, `{"n":%d,"pad":"%*d","time":"%s"}`+"\n", n, n%300, n, at.Add(time.Duration(n)*10*time.Second).Format(time.RFC3339Nano))
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	found := func(n int) (all []int) {
		t.Helper()
		err := Around(path, at.Add(time.Duration(n)*10*time.Second), func(text []byte) bool {
			var m int
			if _, err := fmt.Sscanf(string(text), `{"n":%d`, &m); err != nil {
				t.Errorf("%q: %v", text, err)
			}
			all = append(all, m)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for n := -10; n < 2010; n++ {
		var want []int
		for m := max(0, n-6); m <= min(1999, n+6); m++ {
			want = append(want, m)
		}
		if got := found(n); !slices.Equal(got, want) {
			t.Fatalf("around %d: %v, want %v", n, got, want)
		}
	}
	count := 0
	if err := Around(path, at, func([]byte) bool { count++; return false }); err != nil || count != 1 {
		t.Errorf("it went on: %d, %v", count, err)
	}
	for name, content := range map[string]string{"empty": "", "no lines": "x", "no times": "{}\n{}\n", "a very long line": string(bytes.Repeat([]byte("x"), maxLine+2))} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		calls := 0
		_ = Around(path, at, func([]byte) bool { calls++; return true })
		if calls > 0 {
			t.Errorf("%s: %d lines", name, calls)
		}
	}
	if err := Around(path+"x", at, func([]byte) bool { return true }); err == nil {
		t.Error("a file that isn't there has been read")
	}
}
