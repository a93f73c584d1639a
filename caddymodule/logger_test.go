package caddymodule

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// audited returns the events that a log in JSON has.
func audited(t testing.TB, file string) (events []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var entry map[string]any
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if entry["logger"] != "access_tokens.audit" {
			continue
		}
		events = append(events, entry["event"].(string))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}

// What outlives a configuration logs as the one that runs says: from file to
// file, minding levels and filters, and to logs of their own.
func TestTheLogFollowsReloads(t *testing.T) {
	s := serve(t, openSite)
	answer(t, "first", says(signin.User{ID: "alice"}, nil))
	s.create(t, nil)
	first := s.log

	reload := func(name, logOptions string) string {
		t.Helper()
		s.log = filepath.Join(s.dir, name)
		if err := loadCaddyfile(t, strings.Replace(s.caddyfile(openSite), "format json", "format json\n"+logOptions, 1)); err != nil {
			t.Fatal(err)
		}
		return s.log
	}
	second := reload("second.log", "level WARN")
	s.create(t, nil)
	third := reload("third.log", "exclude access_tokens.audit")
	s.create(t, nil)
	own := filepath.Join(s.dir, "audit.log")
	fourth := reload("fourth.log", "exclude access_tokens.audit\n}\nlog audit {\noutput file "+own+" {\nroll_disabled\n}\nformat json\ninclude access_tokens.audit")
	s.create(t, nil)
	s.create(t, nil)

	for file, want := range map[string][]string{
		first: {"token_created"}, second: nil, third: nil, fourth: nil, own: {"token_created", "token_created"},
	} {
		if diff := cmp.Diff(want, audited(t, file)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", filepath.Base(file), diff)
		}
	}
}
