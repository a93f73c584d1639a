package wholefile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		all = append(all, f.Name())
	}
	return all
}

func text(s string) func(*os.File) error {
	return func(f *os.File) error { _, err := f.WriteString(s); return err }
}

func TestWriteIsWholeOrNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "list")
	broken := errors.New("broken")
	half := func(f *os.File) error {
		if seen := names(t, dir); slices.Contains(seen, "list") != (len(seen) > 1) {
			t.Errorf("midway there are %v", seen)
		}
		return errors.Join(text("half")(f), broken)
	}
	if err := Write(file, half); !errors.Is(err, broken) || len(names(t, dir)) > 0 {
		t.Errorf("%v, and %v", err, names(t, dir))
	}
	if err := Write(file, text("one")); err != nil {
		t.Fatal(err)
	}
	if err := Write(file, half); !errors.Is(err, broken) {
		t.Error(err)
	}
	got, err := os.ReadFile(file)
	if info, statErr := os.Stat(file); err != nil || string(got) != "one" || statErr != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%q, %v, %v, %v", got, info.Mode(), err, statErr)
	}
	if err := Write(file, text("two")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "two" || len(names(t, dir)) != 1 {
		t.Errorf("%q, %v, %v", got, names(t, dir), err)
	}
}

func TestLeftoversOfOldAreRemoved(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{
		".list-1": 2 * time.Hour, ".list-23": 0, ".other-1": 2 * time.Hour, "list-1": 2 * time.Hour, ".list": 2 * time.Hour, "list": 2 * time.Hour,
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveLeftovers(dir, now.Add(-time.Hour), func(name string) bool { return name == "list" }); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{".list", ".list-23", ".other-1", "list", "list-1"}) {
		t.Errorf("left are %v", got)
	}
	if err := RemoveLeftovers(filepath.Join(dir, "nowhere"), now, nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
