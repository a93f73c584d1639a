package badgerstore

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/clock"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// listed returns what deleted.list in dir says.
func listed(t *testing.T, dir string) (s listState, all []takenAway) {
	t.Helper()
	s, err := scanList(bytes.NewReader(readFile(t, filepath.Join(dir, deletedListName))), func(a takenAway, _ []byte) error {
		all = append(all, a)
		return nil
	})
	if err != nil || s.damaged {
		t.Fatalf("%+v, %v", s, err)
	}
	return s, all
}

// takeAway revokes a token that expires, one that doesn't together with its
// successor, and switches a project off, and returns what is to be listed.
func takeAway(t *testing.T, s *Store) (want []takenAway) {
	t.Helper()
	expires, never, successor := storetest.NewRecord("p", "alice", 1), storetest.NewRecord("p", "alice", 2), storetest.NewRecord("p", "alice", 3)
	expires.Lifetime = 60
	successor.Parent = never.ID
	first := mustCommit(t, s, store.Create{Record: expires})
	second := mustCommit(t, s, store.Create{Record: never})
	mustCommit(t, s, store.Create{Record: successor, ParentRevision: second})
	at := mustCommit(t, s, store.Revoke{ID: expires.ID, Revision: first, At: storetest.Epoch})
	want = append(want, takenAway{revision: at, token: expires.ID, expires: expires.Created.Add(time.Minute).Truncate(time.Second)})
	at = mustCommit(t, s, store.Revoke{ID: never.ID, Revision: second, At: storetest.Epoch, Successors: true})
	want = append(want, takenAway{revision: at, token: never.ID}, takenAway{revision: at, token: successor.ID})
	at = mustCommit(t, s, store.Configure{Project: `a "project"`, Settings: store.Settings{Enabled: new(false)}})
	return append(want, takenAway{revision: at, project: `a "project"`})
}

var compareTaken = cmp.AllowUnexported(takenAway{})

func TestWhatIsTakenAwayIsListed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{tendEvery: time.Hour})
	want := takeAway(t, s)
	// It is on disk once it is acknowledged, and so is the mark.
	state, got := listed(t, dir)
	if diff := cmp.Diff(want, got, compareTaken); diff != "" {
		t.Error(diff)
	}
	if state.mark.revision != s.applied.Load() {
		t.Errorf("the mark is %d, and the store at %d", state.mark.revision, s.applied.Load())
	}
	text := string(readFile(t, filepath.Join(dir, deletedListName)))
	for n := range 4 {
		if h := storetest.NewRecord("p", "alice", n).Hash; strings.Contains(text, string(h[:])) {
			t.Error("a hash is in the list")
		}
	}
	closeStore(t, s)
	s = open(t, dir, Options{})
	if _, again := listed(t, dir); !cmp.Equal(want, again, compareTaken) {
		t.Errorf("after a restart: %+v", again)
	}
	// Nothing else makes it longer.
	for i := range 20 {
		mustCommit(t, s, store.Create{Record: storetest.NewRecord("q", "bob", i)})
		if err := s.tendOnce(); err != nil {
			t.Fatal(err)
		}
	}
	if now := len(readFile(t, filepath.Join(dir, deletedListName))); now != len(text) {
		t.Errorf("the list had %d bytes, and has %d", len(text), now)
	}
	if state, _ := listed(t, dir); state.mark.revision != s.applied.Load() {
		t.Errorf("the mark is %d, and the store at %d", state.mark.revision, s.applied.Load())
	}
}

// A process can die after a batch is in the database and before it is listed, or
// in the middle of that.
func TestListIsCompletedAfterACrash(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{tendEvery: time.Hour})
	for n := range 3 {
		r := storetest.NewRecord("q", "bob", n)
		mustCommit(t, s, store.Revoke{ID: r.ID, Revision: mustCommit(t, s, store.Create{Record: r}), At: storetest.Epoch})
	}
	want := takeAway(t, s)
	line := want[1:3] // one batch
	s.list.mu.Lock()
	after := s.list.end
	s.list.mu.Unlock()
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := copyStore(crashed, dir); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	text := readFile(t, filepath.Join(crashed, deletedListName))
	_, all := listed(t, crashed)
	last := int64(len(all[len(all)-1].append(nil)))
	// The last batch is the switch. What is before it has been acknowledged.
	for _, cut := range []int64{after - last, after - last + 1, after - 2, after - 1, after, after + 10} {
		again := filepath.Join(t.TempDir(), "again")
		if err := copyStore(again, crashed); err != nil {
			t.Fatal(err)
		}
		writeBack(t, filepath.Join(again, deletedListName), text[:cut])
		closeStore(t, open(t, again, Options{}))
		if _, got := listed(t, again); !cmp.Equal(all, got, compareTaken) {
			t.Errorf("cut at %d of %d: %s", cut, len(text), cmp.Diff(all, got, compareTaken))
		}
	}
	// One line more is missing.
	writeBack(t, filepath.Join(crashed, deletedListName), text[:after-last-1])
	if _, err := Open(crashed, Options{}); err == nil || !strings.Contains(err.Error(), deletedListName) {
		t.Errorf("opened with a list that has lost %v: %v", line, err)
	}
}

// What is taken away from a user as a whole is listed, and completed, too.
func TestWhatIsTakenFromUsersIsListed(t *testing.T) {
	const project, owner = "p p", `a "user" name`
	block := store.Block{Project: project, User: owner, At: storetest.Epoch}
	void := store.Void{Project: project, User: owner, At: storetest.Epoch}
	took := func(revision uint64) takenAway { return takenAway{revision: revision, project: project, user: owner} }
	for _, last := range []string{"void", "block", "lift"} {
		t.Run(last, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{tendEvery: time.Hour})
			var want []takenAway
			at := uint64(0)
			for _, what := range []string{"void", "block", "void", "lift", "block", last} {
				var a takenAway
				switch what {
				case "void":
					at = mustCommit(t, s, void)
					a = took(at)
					a.voided = true
				default:
					m := block
					m.Revision, m.Lift = at, what == "lift"
					at = mustCommit(t, s, m)
					a = took(at)
					a.blocked = !m.Lift
				}
				want = append(want, a)
			}
			if _, got := listed(t, dir); !cmp.Equal(want, got, compareTaken) {
				t.Fatal(cmp.Diff(want, got, compareTaken))
			}
			s.list.mu.Lock()
			after := s.list.end
			s.list.mu.Unlock()
			crashed := filepath.Join(t.TempDir(), "crashed")
			if err := copyStore(crashed, dir); err != nil {
				t.Fatal(err)
			}
			text := readFile(t, filepath.Join(crashed, deletedListName))
			line := int64(len(want[len(want)-1].append(nil)))
			for _, cut := range []int64{after - line, after - line + 1, after - 1, after} {
				again := filepath.Join(t.TempDir(), "again")
				if err := copyStore(again, crashed); err != nil {
					t.Fatal(err)
				}
				writeBack(t, filepath.Join(again, deletedListName), text[:cut])
				closeStore(t, open(t, again, Options{}))
				if _, got := listed(t, again); !cmp.Equal(want, got, compareTaken) {
					t.Errorf("cut at %d of %d: %s", cut, len(text), cmp.Diff(want, got, compareTaken))
				}
			}
		})
	}
}

// An earlier release left neither lists nor revisions under ids.
func TestStoreOfAnEarlierRelease(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	want := takeAway(t, s)
	kept := storetest.NewRecord("p", "alice", 9)
	mustCommit(t, s, store.Create{Record: kept})
	makeOld(t, s)
	closeStore(t, s)
	for _, name := range []string{deletedListName, tableListName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		s = open(t, dir, Options{})
		for n, revoked := range map[int]bool{1: true, 2: true, 3: true, 9: false} {
			if r, err := s.ByHash(storetest.NewRecord("p", "alice", n).Hash); err != nil || r.IsRevoked() != revoked {
				t.Errorf("token %d: %+v, %v", n, r, err)
			}
		}
		if _, got := listed(t, dir); !cmp.Equal(want, got, compareTaken) {
			t.Error(cmp.Diff(want, got, compareTaken))
		}
		closeStore(t, s)
	}
	if err := os.Remove(filepath.Join(dir, deletedListName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "deleted.list: it is missing") {
		t.Errorf("opened without a list that it had: %v", err)
	}
}

// makeOld writes what an earlier release would have written instead.
func makeOld(t *testing.T, s *Store) {
	t.Helper()
	at := s.applied.Load()
	txn := s.db.NewTransactionAt(at, true)
	defer txn.Discard()
	set := func(key, value []byte) {
		if err := txn.SetEntry(badger.NewEntry(key, value)); err != nil {
			t.Fatal(err)
		}
	}
	set(metaFormat, []byte{1})
	set(metaRevision, batchMeta{revision: at + 1}.encode()[:8])
	for _, n := range []int{1, 2, 3, 9} {
		r := storetest.NewRecord("p", "alice", n)
		set(idKey(r.ID), r.Hash[:])
	}
	for _, key := range [][]byte{metaStoreID, metaList} {
		if err := txn.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	if err := txn.CommitAt(at+1, nil); err != nil {
		t.Fatal(err)
	}
}

// A list is tidied when half of it is about tokens that would have expired.
func TestListIsTidied(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, open(t, dir, Options{}))
	now := time.Now()
	for _, c := range []struct {
		name    string
		expires time.Time
		kept    int
	}{
		{"expired", now.Add(-2 * tidyAfter), 3},
		{"just expired", now.Add(-tidyAfter / 2), 20_002},
		{"alive", now.Add(time.Hour), 20_002},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			state, err := makeList(dir, uuid.New())
			if err != nil {
				t.Fatal(err)
			}
			l, err := openList(dir, state, newFakeDisk(plenty), func() time.Time { return now })
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.close() }()
			all := []takenAway{{revision: 2, project: "p"}, {revision: 3, project: "p", enabled: true}, {revision: 4, token: uuid.New()}}
			for n := range 20_000 {
				all = append(all, takenAway{revision: uint64(5 + n), token: uuid.New(), expires: c.expires})
			}
			if err := l.append(all, 30_000); err != nil {
				t.Fatal(err)
			}
			if err := l.tidy(dir, now); err != nil {
				t.Fatal(err)
			}
			// It goes on where it was.
			if err := l.append([]takenAway{{revision: 40_000, token: uuid.New()}}, 40_000); err != nil {
				t.Fatal(err)
			}
			after, got := listed(t, dir)
			if c.kept == 3 && len(got) != 4 || c.kept != 3 && len(got) != len(all)+1 {
				t.Errorf("%d records are left", len(got))
			}
			if after.store != state.store || after.mark.revision != 40_000 || after.last.revision != 40_000 {
				t.Errorf("the list is in state %+v", after)
			}
		})
	}
}

func TestClockIsRememberedAndReset(t *testing.T) {
	dir := t.TempDir()
	source := &setClock{time.Now().Add(time.Hour), 0}
	s := open(t, dir, Options{Time: source})
	closeStore(t, s)
	source.wall = source.wall.Add(-time.Hour)
	s = open(t, dir, Options{Time: source})
	if now := s.Clock().Now(); now.Before(source.wall.Add(59 * time.Minute)) {
		t.Errorf("after a restart it is %v", now)
	}
	if err := ResetClock(dir, source.wall); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("resetting the clock of a running store: %v", err)
	}
	closeStore(t, s)
	if err := ResetClock(dir, source.wall); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{Time: source})
	if now := s.Clock().Now(); !now.Equal(source.wall) {
		t.Errorf("after it was reset to %v it is %v", source.wall, now)
	}
}

type setClock struct {
	wall   time.Time
	passed time.Duration
}

var _ clock.Source = (*setClock)(nil)

func (c *setClock) Wall() time.Time       { return c.wall }
func (c *setClock) Passed() time.Duration { return c.passed }

func FuzzScanList(f *testing.F) {
	title := appendLine(nil, listTitle+" "+uuid.New().String())
	record := (&takenAway{revision: 7, token: uuid.New(), expires: time.Unix(1_700_000_000, 0)}).append(nil)
	setting := (&takenAway{revision: 8, project: "a\nb", enabled: true}).append(nil)
	for _, b := range [][]byte{nil, title, append(title, record...), append(title, append(setting, mark{revision: 9}.append(nil)...)...)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		s, err := scanList(bytes.NewReader(b), func(_ takenAway, line []byte) error {
			again = append(again, line...)
			return nil
		})
		if err == nil && (s.end > int64(len(b)) || !bytes.HasSuffix(b[:s.end], again) && len(again) > 0) {
			t.Errorf("the records end at %d of %d", s.end, len(b))
		}
	})
}

func FuzzTableList(f *testing.F) {
	dir := f.TempDir()
	if err := writeTableList(dir, map[uint64]identity{3: {0, 7}, 12: {6, 1 << 31}}); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, tableListName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, ok := parseTableList(b)
		if !ok {
			return
		}
		dir := t.TempDir()
		if err := writeTableList(dir, list); err != nil {
			t.Fatal(err)
		}
		again, ok := parseTableList(readFile(t, filepath.Join(dir, tableListName)))
		if !ok || !cmp.Equal(list, again, cmp.AllowUnexported(identity{})) {
			t.Errorf("%v becomes %v", list, again)
		}
	})
}
