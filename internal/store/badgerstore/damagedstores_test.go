package badgerstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// damagesEnv says how many damages of each kind are tried.
const damagesEnv = "ACCESS_TOKENS_TEST_DAMAGES"

func damages(t *testing.T) int {
	t.Helper()
	text := os.Getenv(damagesEnv)
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", damagesEnv, err)
	}
	return n
}

// someOf returns all, or a few where nobody asks for more.
func someOf[T any](all []T, few int) []T {
	if os.Getenv(damagesEnv) != "" || len(all) <= few {
		return all
	}
	all = slices.Clone(all)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:few]
}

// The state of token n of a store that is going to be damaged: two in three
// are deleted, long after they were made, so that older versions of their records
// lie deep in the tree.
const (
	damagedTokens   = 2001
	damagedMemTable = 256 << 10
)

func isDeleted(n int) bool { return n%3 != 0 }

// damagedStores are stores before they are damaged: one that was closed and one
// whose process was killed, which has a log.
type damagedStores struct{ closed, killed string }

// madeStoresDir is removed when all tests are done.
var madeStoresDir string

// makeStores makes them once for all tests.
var makeStores = sync.OnceValues(func() (s damagedStores, err error) {
	dir, err := os.MkdirTemp("", "damage")
	if err != nil {
		return s, err
	}
	madeStoresDir = dir
	made := filepath.Join(dir, "made")
	opened, err := Open(made, Options{MemTableSize: damagedMemTable})
	if err != nil {
		return s, err
	}
	create := func(n int) error { return opened.orderCreate(n) }
	if _, err := inParallel(0, damagedTokens, create); err != nil {
		return s, err
	}
	// So that what was written before isn't thrown away with what comes.
	if err := opened.Close(); err != nil {
		return s, err
	}
	if opened, err = Open(made, Options{MemTableSize: damagedMemTable}); err != nil {
		return s, err
	}
	if _, err := inParallel(0, damagedTokens, func(n int) error {
		if !isDeleted(n) {
			return nil
		}
		return opened.orderRevoke(n)
	}); err != nil {
		return s, err
	}
	if _, err := opened.Commit(context.Background(), store.Configure{Project: "p", Settings: store.Settings{Enabled: new(true)}}); err != nil {
		return s, err
	}
	s = damagedStores{filepath.Join(dir, "closed"), filepath.Join(dir, "killed")}
	// Compactions remove tables while they are being copied, and make some that
	// tables.list doesn't know yet.
	for range 100 {
		if err := opened.tendOnce(); err != nil {
			return s, err
		}
		if err = copyStore(s.killed, made); err == nil {
			err = listsItsTables(s.killed)
		}
		if err == nil {
			break
		}
		_ = os.RemoveAll(s.killed)
	}
	if err != nil {
		return s, err
	}
	if err := opened.Close(); err != nil {
		return s, err
	}
	return s, copyStore(s.closed, made)
})

// listsItsTables returns an error unless tables.list knows all tables there are.
func listsItsTables(dir string) error {
	list, _, err := readTableList(dir)
	if err != nil {
		return err
	}
	tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	for _, table := range tables {
		id, _ := strconv.ParseUint(strings.TrimSuffix(filepath.Base(table), ".sst"), 10, 64)
		if _, listed := list[id]; !listed {
			return fmt.Errorf("%s isn't in %s", filepath.Base(table), tableListName)
		}
	}
	return err
}

// eachStore calls f with a fresh copy of one of the stores, and whether its
// tables are verified when it opens.
func eachStore(t *testing.T, count int, f func(t *tester, i int, dir string, atOpen time.Duration)) {
	made, err := makeStores()
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"closed": made.closed, "killed": made.killed} {
		for when, atOpen := range map[string]time.Duration{"verified at the start": 0, "verified when read": -1} {
			// Half of them is enough where nobody asks for more.
			if os.Getenv(damagesEnv) == "" && (name == "closed") == (atOpen == 0) {
				continue
			}
			t.Run(name+", "+when, func(t *testing.T) {
				tester := newTester(t)
				for i := range count {
					dir := filepath.Join(t.TempDir(), strconv.Itoa(i))
					if err := copyStore(dir, from); err != nil {
						t.Fatal(err)
					}
					f(tester, i, dir, atOpen)
					if err := os.RemoveAll(dir); err != nil {
						t.Fatal(err)
					}
				}
				t.Logf("%+v", tester.counts)
			})
		}
	}
}
