package badgerstore

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

func TestSnapshotsAreBounded(t *testing.T) {
	for name, o := range map[string]Options{"in time": {maxSnapshot: 1}, "in bytes": {maxPinned: 1}} {
		t.Run(name, func(t *testing.T) {
			storetest.RunShortSnapshots(t, func(t testing.TB) store.Store { return open(t, t.TempDir(), o) }, o.maxPinned > 0)
		})
	}
}

// A snapshot that nobody reads any more, but that nobody has closed either, holds
// nothing for ever.
func TestForgottenSnapshotEnds(t *testing.T) {
	for name, o := range map[string]Options{"in time": {maxSnapshot: 1}, "in bytes": {maxPinned: 1}} {
		t.Run(name, func(t *testing.T) {
			o.discardEvery = time.Nanosecond
			s := open(t, t.TempDir(), o)
			if _, err := s.Snapshot(); err != nil {
				t.Fatal(err)
			}
			at := s.applied.Load()
			for range 4 {
				mustCommit(t, s, store.Create{Record: storetest.NewRecord("p", "alice", int(s.applied.Load()))})
			}
			if unread := s.reads.unread.Load(); unread <= at {
				t.Errorf("revision %d is still kept, of the snapshot at %d", unread, at)
			}
		})
	}
}

func readSnapshot(t *testing.T, s store.Snapshot) storetest.Contents {
	t.Helper()
	c, err := storetest.Read(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// comparable lets contents be compared.
var comparable = cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})

// However often Badger compacts meanwhile, and also if it is opened anew in between,
// a snapshot is what it was. Once it is closed that is given up.
func TestSnapshotLosesNothing(t *testing.T) {
	for name, opensAnew := range map[string]bool{"compactions go on": false, "compactions start": true} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), Options{MemTableSize: 256 << 10, discardEvery: time.Hour})
			// The committer is idle, and does this each second, and once.
			w := &committer{Store: s}
			storetest.Fill(t, s)
			const n = 50
			for i := range n {
				mustCommit(t, s, store.Create{Record: storetest.NewRecord("long", "alice", i)})
			}
			snapshot, err := s.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				r, err := s.ByID(storetest.NewRecord("long", "alice", i).ID)
				if err != nil {
					t.Fatal(err)
				}
				mustCommit(t, s, store.Revoke{ID: r.ID, Revision: r.Revision, At: storetest.Epoch})
				mustCommit(t, s, store.Purge{ID: r.ID})
			}
			w.discard()
			w.discard()
			if opensAnew {
				w.startCompactions()
			}
			churnUntilCompacted(t, s)
			got := readSnapshot(t, snapshot)
			living := 0
			for _, r := range got.Records {
				if r.Project == "long" && !r.IsRevoked() {
					living++
				}
			}
			if living != n {
				t.Errorf("%d tokens are living in the snapshot, want %d", living, n)
			}
			kept := s.reads.unread.Load()
			if at := got.Head.Revision; kept > at {
				t.Errorf("revision %d is given up, of the snapshot at %d", kept, at)
			}
			if diff := cmp.Diff(got, readSnapshot(t, snapshot), comparable); diff != "" {
				t.Errorf("read again: %s", diff)
			}
			snapshot.Close()
			w.discard()
			w.discard()
			if s.reads.unread.Load() <= kept {
				t.Error("what the snapshot needed is kept after it was closed")
			}
		})
	}
}
