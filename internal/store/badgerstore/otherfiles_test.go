package badgerstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

func TestMissingFile(t *testing.T) {
	eachStore(t, 1, func(t *tester, _ int, dir string, atOpen time.Duration) {
		original := dir + "-original"
		if err := copyStore(original, dir); err != nil {
			t.Fatal(err)
		}
		for _, name := range someOf(storeFiles(t.T, dir), 8) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			v := t.look(name+" missing", dir, atOpen)
			if holds := !strings.HasSuffix(name, ".vlog") && name != tableListName && name != usesFileName && !strings.HasSuffix(name, "DISCARD") && !strings.HasSuffix(name, "KEYREGISTRY"); holds && v.Refused == "" {
				t.Errorf("%s missing: opened", name)
			}
			freshCopy(t.T, dir, original)
		}
	})
}

// Files change places.
func TestSwappedFiles(t *testing.T) {
	eachStore(t, 1, func(t *tester, _ int, dir string, atOpen time.Duration) {
		original := dir + "-original"
		if err := copyStore(original, dir); err != nil {
			t.Fatal(err)
		}
		tables := filesWith(t.T, dir, ".sst")
		for i := range tables {
			a, b := tables[i], tables[(i+1)%len(tables)]
			swap(t.T, filepath.Join(dir, a), filepath.Join(dir, b))
			if v := t.look(fmt.Sprintf("%s and %s swapped", a, b), dir, atOpen); v.Refused == "" && v.Unavailable == 0 {
				t.Errorf("%s and %s swapped: nothing is said", a, b)
			}
			freshCopy(t.T, dir, original)
		}
	})
}

// Files are another store's, one by one, and those that belong together.
func TestFilesOfAnotherStore(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	s := open(t, other, Options{MemTableSize: damagedMemTable})
	if _, err := inParallel(0, 1500, func(n int) error {
		r := storetest.NewRecord("other", "bob", n)
		r.Description = longDescription
		done, err := s.Commit(t.Context(), store.Create{Record: r})
		if err == nil && n%10 == 0 {
			_, err = s.Commit(t.Context(), store.Revoke{ID: r.ID, Revision: done.Revision, At: storetest.Epoch})
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.tendOnce(); err != nil {
		t.Fatal(err)
	}
	live := filepath.Join(t.TempDir(), "live")
	for copyStore(live, other) != nil {
		_ = os.RemoveAll(live)
	}
	closeStore(t, s)
	eachStore(t, 1, func(t *tester, _ int, dir string, atOpen time.Duration) {
		replaceEach(t, dir, atOpen, other, live)
	})
}

// Files are yesterday's: of before the deletions, and of in between.
func TestFilesOfYesterday(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "today")
	s := open(t, dir, Options{MemTableSize: damagedMemTable})
	if _, err := inParallel(0, damagedTokens, s.orderCreate); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	made := filepath.Join(t.TempDir(), "made")
	if err := copyStore(made, dir); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{MemTableSize: damagedMemTable})
	revoke := func(n int) error {
		if isDeleted(n) {
			return s.orderRevoke(n)
		}
		return nil
	}
	if _, err := inParallel(0, damagedTokens/2, revoke); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(t.TempDir(), "half")
	for copyStore(half, dir) != nil {
		_ = os.RemoveAll(half)
	}
	if _, err := inParallel(damagedTokens/2, damagedTokens, revoke); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, store.Configure{Project: "p", Settings: store.Settings{Enabled: new(true)}})
	closeStore(t, s)
	tester := newTester(t)
	for _, atOpen := range []time.Duration{0, -1} {
		today := filepath.Join(t.TempDir(), "copy")
		if err := copyStore(today, dir); err != nil {
			t.Fatal(err)
		}
		replaceEach(tester, today, atOpen, made, half)
	}
	t.Logf("%+v", tester.counts)
}

// replaceEach replaces files of the store in dir by others of the same name, each
// alone, then the database, then the lists.
func replaceEach(t *tester, dir string, atOpen time.Duration, others ...string) {
	t.Helper()
	original := dir + "-original"
	if err := copyStore(original, dir); err != nil {
		t.Fatal(err)
	}
	for _, other := range others {
		all := storeFiles(t.T, other)
		groups := [][]string{nil, {DeletedListName, tableListName}}
		for _, name := range all {
			if strings.HasPrefix(name, "db") {
				groups[0] = append(groups[0], name)
			}
		}
		for _, name := range someOf(all, 3) {
			groups = append(groups, []string{name})
		}
		for i, names := range groups {
			if i == 0 {
				if err := os.RemoveAll(filepath.Join(dir, "db")); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range names {
				b := readFile(t.T, filepath.Join(other, name))
				writeBack(t.T, filepath.Join(dir, name), b)
			}
			v := t.look(fmt.Sprintf("%v replaced", names), dir, atOpen)
			if i < 2 && v.Refused == "" {
				t.Errorf("%v replaced: opened", names)
			}
			freshCopy(t.T, dir, original)
		}
	}
}
