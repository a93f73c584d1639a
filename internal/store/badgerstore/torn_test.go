package badgerstore

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// A power failure can leave any part of what wasn't synced. Whatever is lost of
// the log's end, the store opens as of one revision, with all that came before
// and nothing of what came after, and goes on from there. If what is lost was
// synced, the store doesn't open, and its log stays as it is.
func TestTornLogOpensAtOneRevision(t *testing.T) {
	const n, unmarked = 40, 40
	dir := t.TempDir()
	s := open(t, dir, Options{MemTableSize: 256 << 10, tendEvery: time.Hour})
	// Token i is created at revision 2i+2, and its predecessor revoked at 2i+3.
	for i := range n {
		mustCommit(t, s, store.Create{Record: storetest.NewRecord("p", "alice", i)})
		revoked := storetest.NewRecord("p", "alice", max(i-1, 0))
		if i == 0 {
			mustCommit(t, s, store.Touch{})
			continue
		}
		mustCommit(t, s, store.Revoke{ID: revoked.ID, Revision: uint64(2*i + 0), At: storetest.Epoch})
	}
	for i := range unmarked {
		mustCommit(t, s, store.Create{Record: storetest.NewRecord("q", "carol", i)})
	}
	last, mark := s.applied.Load(), s.list.mark.Revision
	logs, err := filepath.Glob(filepath.Join(dir, "db", "*.mem"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs %v, %v, want one", logs, err)
	}
	log, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(log, "\x00"))
	// What a crash would find: the database as it lies there, still open.
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(crashed, "hash.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)

	seen, refused := make(map[uint64]bool), 0
	for _, damage := range []struct {
		name string
		do   func(log []byte)
	}{
		{"nothing", func([]byte) {}},
		{"the end is missing", func(log []byte) { clear(log) }},
		{"the end is garbage", func(log []byte) { fillRandom(log) }},
		{"a page in the middle is missing", func(log []byte) { clear(log[:min(len(log), 512)]) }},
		{"a bit is wrong", func(log []byte) { log[0] ^= 1 }},
	} {
		t.Run(damage.name, func(t *testing.T) {
			for range 10 {
				torn := t.TempDir()
				if err := os.CopyFS(torn, os.DirFS(crashed)); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(filepath.Join(torn, "hash.key"), 0o600); err != nil {
					t.Fatal(err)
				}
				log := bytes.Clone(log)
				at := 200 + rand.IntN(end-200)
				damage.do(log[at:end])
				if err := os.WriteFile(filepath.Join(torn, "db", filepath.Base(logs[0])), log, 0o600); err != nil {
					t.Fatal(err)
				}
				s, err := Open(torn, Options{MemTableSize: 256 << 10})
				if err != nil {
					var d *Damage
					if !errors.As(err, &d) {
						t.Fatal(err)
					}
					if left, err := os.ReadFile(filepath.Join(torn, "db", filepath.Base(logs[0]))); err != nil || !bytes.Equal(left, log) {
						t.Errorf("the log of a store that doesn't open has been changed, %v", err)
					}
					refused++
					continue
				}
				revision := s.applied.Load()
				if revision < mark {
					t.Errorf("opened at revision %d, and %d is known to have been synced", revision, mark)
				}
				seen[revision] = true
				if damage.name == "nothing" && revision != last || revision > last {
					t.Errorf("opened at revision %d of %d", revision, last)
				}
				checkAsOf(t, s, revision, n)
				// What was lost doesn't come back under a later revision.
				next := mustCommit(t, s, store.Create{Record: storetest.NewRecord("q", "bob", 1)})
				if next != revision+1 {
					t.Errorf("revision %d follows %d", next, revision)
				}
				mustCommit(t, s, store.Touch{})
				mustCommit(t, s, store.Touch{})
				checkAsOf(t, s, revision, n)
				closeStore(t, s)
			}
		})
	}
	if len(seen) < 6 || refused < 6 {
		t.Errorf("opened at only %d different revisions, and was refused %d times", len(seen), refused)
	}
}

func checkAsOf(t *testing.T, s *Store, revision uint64, n int) {
	t.Helper()
	for i := range n {
		r, err := s.ByHash(storetest.NewRecord("p", "alice", i).Hash)
		switch created, revoked := uint64(2*i+2), uint64(2*i+5); {
		case revision < created:
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("at revision %d token %d, of %d, is %+v, %v", revision, i, created, r, err)
			}
		case err != nil:
			t.Errorf("at revision %d token %d, of %d, is lost: %v", revision, i, created, err)
		case i < n-1 && r.IsRevoked() != (revision >= revoked):
			t.Errorf("at revision %d token %d, revoked at %d: %+v", revision, i, revoked, r)
		}
	}
	checkIndexes(t, s)
}

func fillRandom(b []byte) {
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
}

// Also what only made tokens isn't lost unnoticed.
func TestStoreBehindItsMarkDoesntOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{tendEvery: time.Hour})
	for i := range 20 {
		mustCommit(t, s, store.Create{Record: storetest.NewRecord("p", "alice", i)})
	}
	if err := s.tendOnce(); err != nil {
		t.Fatal(err)
	}
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := copyStore(crashed, dir); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(crashed, "db", "00001.mem")
	b := readFile(t, log)
	writeBack(t, log, b[:len(bytes.TrimRight(b, "\x00"))-10])
	_, err := Open(crashed, Options{})
	var d *Damage
	if !errors.As(err, &d) || !strings.Contains(err.Error(), "was at revision 21") {
		t.Errorf("a store that has lost its last token: %v", err)
	}
}
