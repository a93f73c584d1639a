package badgerstore

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// A store says that it is writable exactly as long as it takes new tokens.
func TestWritable(t *testing.T) {
	disk := newFakeDisk(plenty)
	s, _ := openOn(t, disk)
	n := 0
	agrees := func(room int64) bool {
		disk.room.Store(room)
		writable := s.Writable()
		err := tryCreate(s, n)
		n++
		if err != nil && !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
		if writable != (err == nil) {
			t.Errorf("with %d bytes: writable %v, and making a token: %v", room, writable, err)
		}
		return writable
	}
	// Where the room ends, to the byte.
	least, most := int64(0), int64(plenty)
	if agrees(least) || !agrees(most) {
		t.Fatal("it is writable without room, or not with plenty")
	}
	for most-least > 1 {
		if middle := least + (most-least)/2; agrees(middle) {
			most = middle
		} else {
			least = middle
		}
	}
	t.Logf("%d bytes are enough", most)

	disk.room.Store(plenty)
	if free, err := s.Free(); free != plenty || err != nil {
		t.Errorf("%d bytes are free, %v, want %d", free, err, int64(plenty))
	}
	disk.broken.Store(true)
	if s.Writable() {
		t.Error("it is writable where the room can't be told")
	}
	disk.broken.Store(false)
}

func TestAStoreWhoseWritesFailIsReadOn(t *testing.T) {
	s, _ := openOn(t, newFakeDisk(plenty))
	if err := tryCreate(s, 1); err != nil {
		t.Fatal(err)
	}
	s.list.file.Close() // so that what is deleted can't be written down
	if err := tryRevoke(s, 1); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("revoking: %v", err)
	}
	if s.Writable() {
		t.Error("it is writable")
	}
	if err := s.Failure(); err != nil {
		t.Errorf("it has failed: %v", err)
	}
	if _, err := s.ByHash(storetest.NewRecord("p", "alice", 1).Hash); err != nil {
		t.Errorf("reading: %v", err)
	}
}

func TestFailure(t *testing.T) {
	s, dir := openOn(t, newFakeDisk(plenty))
	if err := s.Failure(); err != nil {
		t.Errorf("an open store: %v", err)
	}
	s.fail(&Damage{dir, "db", "a test says so"})
	if err := s.Failure(); !errors.Is(err, store.ErrUnavailable) || s.Writable() {
		t.Errorf("a damaged store: %v, writable %v", err, s.Writable())
	}

	s, _ = openOn(t, newFakeDisk(plenty))
	closeStore(t, s)
	if err := s.Failure(); !errors.Is(err, store.ErrUnavailable) || s.Writable() {
		t.Errorf("a closed store: %v, writable %v", err, s.Writable())
	}
}

func TestSize(t *testing.T) {
	s, dir := openOn(t, newFakeDisk(plenty))
	before := s.Size()
	if before < smallMemTable {
		t.Errorf("%d bytes, less than a memtable's log", before)
	}
	if err := os.WriteFile(filepath.Join(dir, "more"), make([]byte, 4321), 0o600); err != nil {
		t.Fatal(err)
	}
	if now := s.Size(); now != before+4321 {
		t.Errorf("%d bytes, and 4321 more are %d", before, now)
	}
}

// What is committed is told of once for each transaction, and nothing else is.
func TestCommitted(t *testing.T) {
	var times, longest atomic.Int64
	disk := newFakeDisk(plenty)
	s := open(t, t.TempDir(), Options{MemTableSize: smallMemTable, disk: disk, Committed: func(took time.Duration) {
		times.Add(1)
		longest.Store(max(longest.Load(), int64(took)))
	}})
	before := times.Load() // what opening has committed
	began := time.Now()
	for n := range 3 {
		if err := tryCreate(s, n); err != nil {
			t.Fatal(err)
		}
	}
	most := time.Since(began)
	disk.room.Store(0)
	if err := tryCreate(s, 4); !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	disk.room.Store(plenty)
	if n := times.Load() - before; n != 3 {
		t.Errorf("told of %d transactions, want 3", n)
	}
	if took := time.Duration(longest.Load()); took <= 0 || before == 0 && took > most {
		t.Errorf("the longest took %v of %v", took, most)
	}
}
