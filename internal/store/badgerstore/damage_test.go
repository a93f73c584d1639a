package badgerstore

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
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

func copyStore(to, from string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(to, "hash.key"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// What a child that looks at a damaged store answers.
type verdict struct {
	// Refused is why it didn't open.
	Refused string
	// Wrong are answers that are neither the truth nor "unavailable".
	Wrong []string
	// Unavailable is how many answers that was.
	Unavailable int
	// Damage tells whether Open's error is a Damage.
	Damage bool
}

// tellTheTruth is a child that opens the store and looks up every token, in
// every way.
func tellTheTruth() int {
	answers := bufio.NewReader(os.Stdin)
	for {
		line, err := answers.ReadString('\n')
		if err != nil {
			return 0
		}
		var o struct {
			Dir    string
			AtOpen time.Duration
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			fmt.Println(err)
			return 1
		}
		b, err := json.Marshal(judge(o.Dir, o.AtOpen))
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(string(b))
	}
}

func judge(dir string, atOpen time.Duration) (v verdict) {
	o := Options{MemTableSize: damagedMemTable, Logger: zap.NewNop()}
	if atOpen != 0 {
		o.verification = verification{atOpen, time.Hour, 1 << 30, 1 << 30}
	}
	s, err := Open(dir, o)
	if err != nil {
		var d *Damage
		return verdict{Refused: err.Error(), Damage: errors.As(err, &d)}
	}
	defer s.Close()
	v.lookAt(s)
	// Once more when there are compactions.
	if s.withoutCompactors {
		select {
		case <-s.allVerified:
		case <-s.failed:
		}
		v.lookAt(s)
	}
	return v
}

func (v *verdict) lookAt(s *Store) {
	wrong := func(n int, how string, what any) {
		if len(v.Wrong) < 5 {
			v.Wrong = append(v.Wrong, fmt.Sprintf("token %d, deleted %v, by %s: %v", n, isDeleted(n), how, what))
		}
	}
	for n := range damagedTokens {
		want := largeRecord(n)
		for how, look := range map[string]func() (store.Record, error){
			"hash": func() (store.Record, error) { return s.ByHash(want.Hash) },
			"id":   func() (store.Record, error) { return s.ByID(want.ID) },
		} {
			switch r, err := look(); {
			case errors.Is(err, store.ErrUnavailable):
				v.Unavailable++
			case err != nil:
				wrong(n, how, err)
			case r.IsRevoked() != isDeleted(n) || r.ID != want.ID || r.Hash != want.Hash || r.Description != want.Description || r.User.ID != want.User.ID:
				wrong(n, how, r)
			}
		}
	}
	live := damagedTokens / 3
	switch records, err := listAll(s); {
	case errors.Is(err, store.ErrUnavailable):
		v.Unavailable++
	case err != nil || len(records) != live:
		wrong(live, "list", fmt.Sprintf("%d tokens, %v", len(records), err))
	}
	if account, err := s.Account("p", "alice"); !errors.Is(err, store.ErrUnavailable) && (err != nil || account.Living != uint64(live)) {
		wrong(live, "account", fmt.Sprintf("%+v, %v", account, err))
	}
	if settings, _ := s.Settings("p"); settings.Enabled == nil || !*settings.Enabled {
		wrong(0, "settings", settings)
	}
}

// listAll returns alice's tokens, as far as they can be listed.
func listAll(s *Store) (records []store.Record, err error) {
	for q := (store.Query{Project: "p", User: "alice"}); ; {
		entries, err := s.Scan(q)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			some, err := s.Records(e.ID)
			if err != nil {
				return nil, err
			}
			records = append(records, some...)
		}
		if len(entries) < store.MaxScan {
			return records, nil
		}
		q.After = entries[len(entries)-1].Place
	}
}

// tester has a child look at stores. A child that dies is the test's failure.
type tester struct {
	*testing.T
	child  *child
	counts struct{ refused, unavailable, harmless int }
}

func newTester(t *testing.T) *tester {
	return &tester{T: t, child: startChild(t, "truth", t.TempDir(), damagedMemTable)}
}

// look has a damaged store looked at, and checks that nobody is lied to.
func (t *tester) look(what, dir string, atOpen time.Duration) verdict {
	t.Helper()
	before := sizes(t.T, dir)
	b, err := json.Marshal(map[string]any{"Dir": dir, "AtOpen": atOpen})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(t.child.in, "%s\n", b); err != nil {
		t.child.died(what, err)
	}
	answer, err := t.child.out.ReadString('\n')
	if err != nil {
		t.child.died(what, err)
	}
	var v verdict
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		t.Fatalf("%s: %s", what, answer)
	}
	switch {
	case len(v.Wrong) > 0:
		t.Errorf("%s: %q", what, v.Wrong)
	case v.Refused != "":
		t.counts.refused++
		for name, size := range sizes(t.T, dir) {
			if was, ok := before[name]; ok && size == was {
				delete(before, name)
			}
		}
		// Its own lists Badger doesn't know of.
		delete(before, tableListName)
		// With another key it was opened, being whole, and closed again.
		if len(before) > 0 && !strings.Contains(v.Refused, "living token") {
			t.Errorf("%s: refused, and these are gone or changed: %v; %s", what, before, v.Refused)
		}
	case v.Unavailable > 0:
		t.counts.unavailable++
	default:
		t.counts.harmless++
	}
	return v
}

// sizes returns the sizes of all files but empty ones and the lock.
func sizes(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	all := make(map[string]int64)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			name, _ := filepath.Rel(dir, path)
			all[name] = info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// storeFiles returns the files of a store that can be damaged, in an order.
func storeFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	for name := range sizes(t, dir) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
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

func TestSoundStoreTellsTheTruth(t *testing.T) {
	eachStore(t, 1, func(t *tester, _ int, dir string, atOpen time.Duration) {
		if v := t.look("nothing", dir, atOpen); v.Refused != "" || v.Unavailable > 0 {
			t.Errorf("a sound store: %+v", v)
		}
	})
}

// A store that another key was given for is whole afterwards.
func TestAnotherKeyLeavesTheStoreWhole(t *testing.T) {
	eachStore(t, 1, func(t *tester, _ int, dir string, atOpen time.Duration) {
		file := filepath.Join(dir, "hash.key")
		key := readFile(t.T, file)
		writeBack(t.T, file, bytes.Repeat([]byte("k"), len(key)))
		if v := t.look("another key", dir, atOpen); !strings.Contains(v.Refused, "living tokens") {
			t.Errorf("with another key: %+v", v)
		}
		writeBack(t.T, file, key)
		if v := t.look("its key again", dir, atOpen); v.Refused != "" || v.Unavailable > 0 {
			t.Errorf("with its key again: %+v", v)
		}
	})
}

func TestFlippedBit(t *testing.T) {
	eachStore(t, (damages(t)+3)/4, func(t *tester, i int, dir string, atOpen time.Duration) {
		// Every file gets its share, small as it may be, and where most is most.
		files := storeFiles(t.T, dir)
		name := files[i/2%len(files)]
		if i%2 == 0 {
			name = bySize(t.T, dir)
		}
		b := readFile(t.T, filepath.Join(dir, name))
		bit := rand.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
		writeBack(t.T, filepath.Join(dir, name), b)
		t.look(fmt.Sprintf("bit %d of %s", bit, name), dir, atOpen)
	})
}

func TestTruncatedFile(t *testing.T) {
	eachStore(t, (damages(t)+3)/4, func(t *tester, i int, dir string, atOpen time.Duration) {
		files := storeFiles(t.T, dir)
		name := files[i/2%len(files)]
		if i%2 == 0 {
			name = bySize(t.T, dir)
		}
		b := readFile(t.T, filepath.Join(dir, name))
		to := rand.IntN(len(b))
		if i%5 == 0 {
			to = len(b) - 1
		}
		writeBack(t.T, filepath.Join(dir, name), b[:to])
		t.look(fmt.Sprintf("%s of %d cut to %d bytes", name, len(b), to), dir, atOpen)
	})
}

// bySize returns a file at random, the larger the likelier.
func bySize(t *testing.T, dir string) string {
	t.Helper()
	all := sizes(t, dir)
	for name := range all {
		// Large, and of zeros.
		if strings.HasSuffix(name, ".vlog") || strings.HasSuffix(name, "DISCARD") {
			delete(all, name)
		}
	}
	total := int64(0)
	for _, size := range all {
		total += size
	}
	at := rand.Int64N(total)
	for _, name := range storeFiles(t, dir) {
		if at -= all[name]; at < 0 {
			return name
		}
	}
	return ""
}

// A MANIFEST that ends earlier names fewer tables, and can be sound. What isn't
// refused has to be the truth.
func TestEveryCutOfTheManifest(t *testing.T) {
	eachStore(t, 1, func(t *tester, _ int, dir string, atOpen time.Duration) {
		file := filepath.Join(dir, "db", badger.ManifestFilename)
		b := readFile(t.T, file)
		s := &Store{dir: dir, options: Options{MemTableSize: damagedMemTable}, space: &space{dir: filepath.Join(dir, "db")}}
		opened := 0
		for n := range len(b) {
			writeBack(t.T, file, b[:n])
			if _, err := examine(dir, s.badgerOptions()); err != nil {
				continue
			}
			opened++
			again := dir + "-again"
			freshCopy(t.T, again, dir)
			t.look(fmt.Sprintf("MANIFEST of %d cut to %d bytes", len(b), n), again, atOpen)
		}
		t.Logf("%d of %d cuts lose nothing", opened, len(b))
	})
}

func TestMissingFile(t *testing.T) {
	eachStore(t, 1, func(t *tester, _ int, dir string, atOpen time.Duration) {
		original := dir + "-original"
		if err := copyStore(original, dir); err != nil {
			t.Fatal(err)
		}
		for _, name := range storeFiles(t.T, dir) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			v := t.look(name+" missing", dir, atOpen)
			if holds := !strings.HasSuffix(name, ".vlog") && name != tableListName && !strings.HasSuffix(name, "DISCARD") && !strings.HasSuffix(name, "KEYREGISTRY"); holds && v.Refused == "" {
				t.Errorf("%s missing: opened", name)
			}
			freshCopy(t.T, dir, original)
		}
	})
}

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
	for n := range 1500 {
		r := storetest.NewRecord("other", "bob", n)
		r.Description = longDescription
		at := mustCommit(t, s, store.Create{Record: r})
		if n%10 == 0 {
			mustCommit(t, s, store.Revoke{ID: r.ID, Revision: at, At: storetest.Epoch})
		}
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
		groups := [][]string{nil, {deletedListName, tableListName}}
		for _, name := range all {
			if strings.HasPrefix(name, "db") {
				groups[0] = append(groups[0], name)
			}
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

func freshCopy(t *testing.T, dir, original string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := copyStore(dir, original); err != nil {
		t.Fatal(err)
	}
}

func filesWith(t *testing.T, dir, extension string) (names []string) {
	t.Helper()
	for _, name := range storeFiles(t, dir) {
		if filepath.Ext(name) == extension {
			names = append(names, name)
		}
	}
	return names
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	inA, inB := readFile(t, a), readFile(t, b)
	writeBack(t, a, inB)
	writeBack(t, b, inA)
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeBack(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
