package caddymodule

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

// entries returns what the logger "outliving" wrote to a file in JSON, without
// the times.
func entries(t testing.TB, file string) (got []map[string]any) {
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
		if entry["logger"] != "outliving" {
			continue
		}
		delete(entry, "ts")
		delete(entry, "logger")
		got = append(got, entry)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

// A logger that outlives its configuration follows the default log from file to
// file, and minds its level and its filters.
func TestCurrentLoggerFollowsReloads(t *testing.T) {
	s := serve(t, openSite)
	logger := currentLogger("outliving").With(zap.String("store", "badger"))
	first := s.log
	logger.Debug("one", zap.Int("n", 1))
	logger.With(zap.Bool("more", true)).Error("two")

	reload := func(name, logOptions string) string {
		t.Helper()
		s.log = filepath.Join(s.dir, name)
		if err := loadCaddyfile(t, strings.Replace(s.caddyfile(openSite), "format json", "format json\n"+logOptions, 1)); err != nil {
			t.Fatal(err)
		}
		return s.log
	}
	second := reload("second.log", "level WARN")
	logger.Info("too low")
	logger.Warn("three")

	third := reload("third.log", "exclude outliving")
	logger.Error("excluded")

	fourth := reload("fourth.log", "level INFO")
	logger.Info("four")

	for file, want := range map[string][]map[string]any{
		first: {
			{"level": "debug", "msg": "one", "store": "badger", "n": 1.0},
			{"level": "error", "msg": "two", "store": "badger", "more": true},
		},
		second: {{"level": "warn", "msg": "three", "store": "badger"}},
		third:  nil,
		fourth: {{"level": "info", "msg": "four", "store": "badger"}},
	} {
		if diff := cmp.Diff(want, entries(t, file)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", filepath.Base(file), diff)
		}
	}
}
