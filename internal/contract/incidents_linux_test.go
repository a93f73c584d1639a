package contract

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// What docs/operations/incidents.md says happens when something is wrong.

// logSays returns what the document quotes of the log below a heading.
func logSays(t *testing.T, heading string) (quotes []string) {
	t.Helper()
	_, section, found := strings.Cut(read(t, operations(t, "incidents.md")), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/operations/incidents.md has no %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, quote := range regexp.MustCompile(`[ (]\*(the [^*]+)\*`).FindAllStringSubmatch(section, -1) {
		quotes = append(quotes, quote[1])
	}
	if len(quotes) == 0 {
		t.Fatalf("%q quotes nothing", heading)
	}
	return quotes
}

// contents are the files below a directory, by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A store that is damaged isn't opened, and nothing in it is changed; copied back
// whole it works again.
func TestIncidentOfADamagedStore(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	made := g.create(t, as("bob"), 3600, "")
	g.stop(t)
	sound := g.store() + ".copy"
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", g.store(), sound).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tables, err := filepath.Glob(filepath.Join(g.store(), "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("%v, %v", tables, err)
	}
	table := []byte(read(t, tables[0]))
	table[len(table)/2] ^= 1
	if err := os.WriteFile(tables[0], table, 0o600); err != nil {
		t.Fatal(err)
	}

	damaged := contents(t, g.store())
	g.launch(t)
	g.process.meant = true // its end is expected
	if g.serving(t) {
		t.Fatal("it starts with a damaged store")
	}
	for _, quote := range logSays(t, "A damaged store") {
		parts := strings.Split(regexp.QuoteMeta(quote), "…")
		if !regexp.MustCompile(strings.Join(parts, ".+")).MatchString(g.logs()) {
			t.Errorf("the log doesn't say %q:\n%s", quote, tail(g.logs(), 2000))
		}
	}
	after := contents(t, g.store())
	delete(damaged, filepath.Join("db", "LOCK")) // whose process it was
	delete(after, filepath.Join("db", "LOCK"))
	if diff := cmp.Diff(damaged, after); diff != "" {
		t.Errorf("it was changed (-before +after):\n%s", tail(diff, 2000))
	}

	if err := os.Rename(g.store(), g.store()+".damaged"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(sound, g.store()); err != nil {
		t.Fatal(err)
	}
	g.up(t)
	wantProxied(t, g.do(t, askFor(made)), "bob")
}

// leave fills up the disk under a directory until so many bytes are free.
func leave(t *testing.T, dir string, free uint64) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, ".ballast")
	f, err := os.OpenFile(ballast, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<16)
	for {
		var disk unix.Statfs_t
		if err := unix.Statfs(dir, &disk); err != nil {
			t.Fatal(err)
		}
		if disk.Bavail*uint64(disk.Bsize) <= free {
			return ballast
		}
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			return ballast
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// As a disk becomes full, it happens in the order in which the document has it, and
// room is all it takes to go on.
func TestIncidentOfAFullDisk(t *testing.T) {
	t.Parallel()
	g := prepare(t, site("allow_generate everyone"))
	disk := filepath.Dir(filepath.Dir(g.store()))
	t.Cleanup(mount(t, disk, 0, "size=128m,mode=700"))
	g.up(t)
	made, other, another := g.create(t, as("bob"), 3600, ""), g.create(t, as("bob"), 3600, ""), g.create(t, as("bob"), 3600, "")
	if n := g.metrics(t)["store_writable"]; n != 1 {
		t.Errorf("before, it is writable: %v", n)
	}
	quotes := logSays(t, "A full disk")

	ballast := leave(t, disk, 24<<20)
	got := g.do(t, ask{method: "POST", target: api, auth: as("bob"), body: anHour})
	wantRefused(t, got, http.StatusInsufficientStorage, "InsufficientStorage")
	g.wait(t, "the log says so", func() bool { return strings.Contains(g.logs(), quotes[0]) })
	if n := g.metrics(t)["store_writable"]; n != 0 {
		t.Errorf("it is writable: %v", n)
	}
	wantProxied(t, g.do(t, askFor(made)), "bob")
	g.remove(t, as("bob"), other.target())

	leave(t, disk, 0)
	wantProxied(t, g.do(t, askFor(made)), "bob")
	g.remove(t, as("bob"), another.target())

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	g.create(t, as("bob"), 3600, "")
	if n := g.metrics(t)["store_writable"]; n != 1 {
		t.Errorf("with room again, it is writable: %v", n)
	}
	// What comes later takes thousands of changes; that it is said so can be seen.
	source := read(t, filepath.Join(repository, "internal", "store", "badgerstore", "space.go"))
	for _, quote := range quotes {
		if !strings.Contains(source, quote) {
			t.Errorf("nothing says %q", quote)
		}
	}
	g.restart(t)
	wantProxied(t, g.do(t, askFor(made)), "bob")
	for _, gone := range []token{other, another} {
		wantRefused(t, g.do(t, askFor(gone)), http.StatusUnauthorized, "InvalidToken")
	}
}
