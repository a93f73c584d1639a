package backup

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// manyTokens is how many there are in the store of a test under load.
func manyTokens(t *testing.T) int {
	text := os.Getenv("ACCESS_TOKENS_TEST_TOKENS")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fill makes n tokens, of a thousand users.
func fill(t *testing.T, s store.Store, n int) {
	t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 256 {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if _, err := s.Commit(context.Background(), store.Create{Record: storetest.NewRecord("p", "user"+strconv.Itoa(i%1000), i)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	if all.Wait(); t.Failed() {
		t.FailNow()
	}
}

// A store that serves is backed up and restored: the backup is of one moment, however
// much changes meanwhile, those who make the changes don't notice, and neither side
// needs more memory for more tokens.
func TestBackupUnderLoad(t *testing.T) {
	n := manyTokens(t)
	key, err := token.NewKey(keyText)
	if err != nil {
		t.Fatal(err)
	}
	s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Logger: zap.NewNop(), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	begun := time.Now()
	fill(t, s, n)
	t.Logf("%d tokens made in %v", n, time.Since(begun).Round(time.Millisecond))

	// These have one living token each at every moment, and use all others.
	const renewing = 8
	stop := make(chan struct{})
	var others sync.WaitGroup
	var slowest atomic.Int64
	others.Go(func() { lookUp(t, s, n, stop, &slowest) })
	changes := make([]int, renewing)
	var begin sync.WaitGroup
	begin.Add(renewing)
	for i := range renewing {
		others.Go(func() { changes[i] = renew(t, s, "renewing"+strconv.Itoa(i), begin.Done, stop) })
	}
	begin.Wait()

	heap := watchHeap()
	file := filepath.Join(t.TempDir(), "tokens.backup")
	i := identity(t)
	begun = time.Now()
	size, sum := backUpTo(t, s, file, i.Recipient())
	took := time.Since(begun)
	most := heap()
	close(stop)
	others.Wait()
	total := 0
	for _, c := range changes {
		total += c
	}
	t.Logf("backed up %d records, %d bytes, in %v, %d changes meanwhile; %d MB more were in use at most, the slowest look-up took %v",
		sum.Records, size, took.Round(time.Millisecond), total, most>>20, time.Duration(slowest.Load()).Round(time.Microsecond))
	if total == 0 {
		t.Error("nothing has changed meanwhile")
	}
	if most > 64<<20 {
		t.Errorf("it took %d MB", most>>20)
	}

	restoreFrom(t, file, i, key, sum, renewing)
}

// watchHeap returns what tells by how much more of the heap has been in use since, as
// each collection of garbage finds it.
func watchHeap() (most func() uint64) {
	live := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before := live()
	peak := before
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				peak = max(peak, live())
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-done
		return peak - before
	}
}

func lookUp(t *testing.T, s store.Store, n int, stop chan struct{}, slowest *atomic.Int64) {
	for i := 1; ; i = i*7919%n + 1 {
		select {
		case <-stop:
			return
		default:
		}
		begun := time.Now()
		if _, err := s.ByHash(storetest.NewRecord("p", "user"+strconv.Itoa(i%1000), i).Hash); err != nil {
			t.Error(err)
			return
		}
		slowest.Store(max(slowest.Load(), int64(time.Since(begun))))
	}
}

// renew has a user renew and replace one token again and again, and returns how often.
func renew(t *testing.T, s store.Store, user string, begun func(), stop chan struct{}) (n int) {
	last := storetest.NewRecord("p", user, 0)
	made, err := s.Commit(context.Background(), store.Create{Record: last})
	begun()
	for ; err == nil; n++ {
		select {
		case <-stop:
			return n
		default:
		}
		next := storetest.NewRecord("p", user, n+1)
		next.Parent = last.ID
		made, err = s.Commit(context.Background(), store.Create{Record: next, ParentRevision: made.Revision, ReplacesParent: true})
		last = next
	}
	t.Error(err)
	return n
}

func backUpTo(t *testing.T, s *badgerstore.Store, file string, to age.Recipient) (size int64, sum Summary) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := bufio.NewWriter(f)
	if sum, err = Write(out, snapshotOf(t, s), Options{Time: time.Now(), Recipients: []age.Recipient{to}}); err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size(), sum
}

// restoreFrom restores the backup, and looks whether it is of one moment.
func restoreFrom(t *testing.T, file string, with age.Identity, key *token.Key, sum Summary, renewing int) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	heap := watchHeap()
	begun := time.Now()
	if again, err := Read(f, []age.Identity{with}, Into{}); err != nil || again.Records != sum.Records {
		t.Fatalf("%+v, %v, want %+v", again, err, sum)
	}
	t.Logf("verified in %v", time.Since(begun).Round(time.Millisecond))
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	dir := filepath.Join(t.TempDir(), "restored")
	r, err := badgerstore.Restore(dir, badgerstore.Options{Logger: zap.NewNop()}, sum.Head.Head)
	if err != nil {
		t.Fatal(err)
	}
	living := make(map[string]int)
	_, err = Read(f, []age.Identity{with}, Into{
		Record: func(record store.Record) error {
			if !record.IsRevoked() && record.User.ID[0] == 'r' {
				living[record.User.ID]++
			}
			if record.Revision > sum.Revision {
				return fmt.Errorf("a record is of revision %d", record.Revision)
			}
			return r.AddRecord(record)
		},
		Use: r.AddUse, Account: r.AddAccount, Settings: r.AddSettings,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	most := heap()
	t.Logf("restored in %v; %d MB more were in use at most", time.Since(begun).Round(time.Millisecond), most>>20)
	if most > 256<<20 {
		t.Errorf("it took %d MB", most>>20)
	}
	if len(living) != renewing || slices.ContainsFunc(slices.Collect(maps.Values(living)), func(n int) bool { return n != 1 }) {
		t.Errorf("living are %v", living)
	}
	s, err := badgerstore.Open(dir, badgerstore.Options{Logger: zap.NewNop(), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	record := storetest.NewRecord("p", "user7", 7)
	if found, err := s.ByHash(record.Hash); err != nil || found.ID != record.ID {
		t.Errorf("a token: %+v, %v", found, err)
	}
}
