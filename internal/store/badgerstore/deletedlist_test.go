package badgerstore

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/clock"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// listed returns what deleted.list in dir says.
func listed(t *testing.T, dir string) (s listState, all []takenAway) {
	t.Helper()
	s, err := scanList(bytes.NewReader(readFile(t, filepath.Join(dir, DeletedListName))), func(a takenAway, _ []byte) error {
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
	mustCommit(t, s, store.Revoke{ID: expires.ID, Revision: first, At: storetest.Epoch})
	want = append(want, takenAway{Position: s.Position(), token: expires.ID, expires: expires.Created.Add(time.Minute).Truncate(time.Second)})
	mustCommit(t, s, store.Revoke{ID: never.ID, Revision: second, At: storetest.Epoch, Successors: true})
	want = append(want, takenAway{Position: s.Position(), token: never.ID}, takenAway{Position: s.Position(), token: successor.ID})
	mustCommit(t, s, store.Configure{Project: `a "project"`, Settings: store.Settings{Enabled: new(false)}})
	return append(want, takenAway{Position: s.Position(), project: `a "project"`})
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
	if state.mark.Position != s.Position() {
		t.Errorf("the mark is %v, and the store at %v", state.mark.Position, s.Position())
	}
	text := string(readFile(t, filepath.Join(dir, DeletedListName)))
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
	if now := len(readFile(t, filepath.Join(dir, DeletedListName))); now != len(text) {
		t.Errorf("the list had %d bytes, and has %d", len(text), now)
	}
	if state, _ := listed(t, dir); state.mark.Position != s.Position() {
		t.Errorf("the mark is %v, and the store at %v", state.mark.Position, s.Position())
	}
}

// wantCompleted checks that the list is completed if the process dies after a batch
// is in the database and before its last lines are listed, or in the middle of that.
func wantCompleted(t *testing.T, s *Store, dir string, lines int) {
	t.Helper()
	s.list.mu.Lock()
	end := s.list.end
	s.list.mu.Unlock()
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := copyStore(crashed, dir); err != nil {
		t.Fatal(err)
	}
	text := readFile(t, filepath.Join(crashed, DeletedListName))
	_, want := listed(t, crashed)
	last := int64(0)
	for _, a := range want[len(want)-lines:] {
		last += int64(len(a.append(nil)))
	}
	for _, cut := range someOf([]int64{end - last, end - last + 1, end - 2, end - 1, end, end + 10}, 2) {
		again := filepath.Join(t.TempDir(), "again")
		if err := copyStore(again, crashed); err != nil {
			t.Fatal(err)
		}
		writeBack(t, filepath.Join(again, DeletedListName), text[:cut])
		closeStore(t, open(t, again, Options{Key: s.options.Key}))
		_, got := listed(t, again)
		// Within a batch's revision the order may be another one.
		if diff := cmp.Diff(want, got, compareTaken, cmpopts.SortSlices(takenBefore)); diff != "" {
			t.Errorf("cut at %d of %d: %s", cut, len(text), diff)
		}
	}
	// One line more is missing.
	writeBack(t, filepath.Join(crashed, DeletedListName), text[:end-last-1])
	if _, err := Open(crashed, Options{Key: s.options.Key}); err == nil || !strings.Contains(err.Error(), DeletedListName) {
		t.Errorf("opened with a list that has lost something: %v", err)
	}
}

func takenBefore(a, b takenAway) bool {
	return a.Before(b.Position) || a.Position == b.Position && bytes.Compare(a.token[:], b.token[:]) < 0
}

// Whatever takes away is listed, in the epoch that it belongs to, and is so after a
// crash, too.
func TestEverythingThatTakesAwayIsListed(t *testing.T) {
	const project, user = "p p", `a "user" name`
	parent, child := storetest.NewRecord(project, user, 0), storetest.NewRecord(project, user, 1)
	parent.Lifetime = 60
	child.Parent = parent.ID
	expiry, _ := parent.Expires()
	expiry = expiry.Truncate(time.Second)
	ofUser := takenAway{project: project, user: user}
	voided, blocked, unblocked := ofUser, ofUser, ofUser
	voided.voided, blocked.blocked = true, true
	void := store.Void{Project: project, User: user, At: storetest.Epoch}
	block := store.Block{Project: project, User: user, At: storetest.Epoch}
	for name, c := range map[string]struct {
		do   func(t *testing.T, s *Store, parent uint64)
		want []takenAway
	}{
		"a token": {func(t *testing.T, s *Store, at uint64) {
			mustCommit(t, s, store.Revoke{ID: parent.ID, Revision: at, At: storetest.Epoch})
		}, []takenAway{{token: parent.ID, expires: expiry}}},
		"a line": {func(t *testing.T, s *Store, at uint64) {
			mustCommit(t, s, store.Create{Record: child, ParentRevision: at})
			mustCommit(t, s, store.Revoke{ID: parent.ID, Revision: at, At: storetest.Epoch, Successors: true})
		}, []takenAway{{token: parent.ID, expires: expiry}, {token: child.ID}}},
		"a token that is replaced": {func(t *testing.T, s *Store, at uint64) {
			mustCommit(t, s, store.Create{Record: child, ParentRevision: at, ReplacesParent: true})
		}, []takenAway{{token: parent.ID, expires: expiry}}},
		"all of a user's": {func(t *testing.T, s *Store, _ uint64) { mustCommit(t, s, void) }, []takenAway{voided}},
		"what is swept": {func(t *testing.T, s *Store, _ uint64) {
			mustCommit(t, s, store.Sweep{Voided: store.Voided{Project: project, User: user, Before: mustCommit(t, s, void)}, IDs: []uuid.UUID{parent.ID}})
		}, []takenAway{{token: parent.ID, expires: expiry}}},
		"a block": {func(t *testing.T, s *Store, _ uint64) { mustCommit(t, s, block) }, []takenAway{blocked}},
		"an unblock": {func(t *testing.T, s *Store, _ uint64) {
			lift := block
			lift.Lift, lift.Revision = true, mustCommit(t, s, block)
			mustCommit(t, s, lift)
		}, []takenAway{unblocked}},
		"a switch": {func(t *testing.T, s *Store, _ uint64) {
			mustCommit(t, s, store.Configure{Project: project, Settings: store.Settings{Enabled: new(true)}})
		}, []takenAway{{project: project, enabled: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{tendEvery: time.Hour})
			// What was taken away before stays listed, as of the epoch before.
			mustCommit(t, s, store.Block{Project: "q", User: "bob", At: storetest.Epoch})
			before := s.Position()
			mustCommit(t, s, store.BeginEpoch{Epoch: 12})
			c.do(t, s, mustCommit(t, s, store.Create{Record: parent}))
			want := slices.Clone(c.want)
			for i := range want {
				want[i].Position = s.Position()
			}
			if s.Position().Epoch != 12 {
				t.Errorf("the epoch is %d", s.Position().Epoch)
			}
			state, got := listed(t, dir)
			if diff := cmp.Diff(want, got[max(0, len(got)-len(want)):], compareTaken); diff != "" {
				t.Error(diff)
			}
			if state.mark.Position != s.Position() || got[0].Position != before {
				t.Errorf("the mark is %v, and the store at %v; at first %+v", state.mark.Position, s.Position(), got[0])
			}
			wantCompleted(t, s, dir, len(want))
		})
	}
}

// A user can be rid of all, blocked and unblocked again and again.
func TestWhatIsTakenFromUsersIsListed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{tendEvery: time.Hour})
	var want []takenAway
	at := uint64(0)
	for _, what := range []string{"void", "block", "void", "lift", "block", "void"} {
		a := takenAway{project: "p", user: "alice"}
		switch what {
		case "void":
			at = mustCommit(t, s, store.Void{Project: "p", User: "alice", At: storetest.Epoch})
			a.voided = true
		default:
			a.blocked = what == "block"
			at = mustCommit(t, s, store.Block{Project: "p", User: "alice", At: storetest.Epoch, Revision: at, Lift: !a.blocked})
		}
		a.Position = s.Position()
		want = append(want, a)
	}
	if _, got := listed(t, dir); !cmp.Equal(want, got, compareTaken) {
		t.Fatal(cmp.Diff(want, got, compareTaken))
	}
	wantCompleted(t, s, dir, 1)
}

// What the process dies over can be two mutations of a batch, of which one begins
// an epoch.
func TestEpochEndsABatch(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{tendEvery: time.Hour})
	before, after := storetest.NewRecord("p", "alice", 0), storetest.NewRecord("p", "alice", 1)
	first := mustCommit(t, s, store.Create{Record: before})
	second := mustCommit(t, s, store.Create{Record: after})
	var batch []*commit
	for _, m := range []store.Mutation{
		store.Revoke{ID: before.ID, Revision: first, At: storetest.Epoch},
		store.BeginEpoch{Epoch: 2},
		store.Revoke{ID: after.ID, Revision: second, At: storetest.Epoch},
	} {
		batch = append(batch, &commit{ctx: t.Context(), mutation: m, done: make(chan struct{})})
	}
	// The committer is idle.
	(&committer{Store: s, discarded: time.Now()}).commit(batch)
	want := []takenAway{
		{Position: store.Position{Epoch: 1, Revision: second + 1}, token: before.ID},
		{Position: store.Position{Epoch: 2, Revision: second + 3}, token: after.ID},
	}
	if _, got := listed(t, dir); !cmp.Equal(want, got, compareTaken) {
		t.Error(cmp.Diff(want, got, compareTaken))
	}
	wantCompleted(t, s, dir, 1)
}

func TestMarkNeverGoesBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{tendEvery: time.Hour})
	before := s.Position()
	mustCommit(t, s, store.Create{Record: storetest.NewRecord("p", "alice", 0)})
	for _, at := range []store.Position{s.Position(), before} {
		if err := s.list.note(at); err != nil {
			t.Fatal(err)
		}
	}
	if state, _ := listed(t, dir); state.mark.Position != s.Position() {
		t.Errorf("the mark is %v, and the store at %v", state.mark.Position, s.Position())
	}
}

// Records are written over the mark. What stands behind one was written with others
// that didn't get onto the disk.
func TestRecordBehindTheMarkIsDamage(t *testing.T) {
	at := store.Position{Epoch: 1, Revision: 7}
	record := (&takenAway{Position: at, token: uuid.New()}).append(nil)
	title := appendLine(nil, listTitle+" "+uuid.NewString())
	s, err := scanList(bytes.NewReader(slices.Concat(title, mark{}.append(nil), record)), nil)
	if err != nil || !s.damaged || s.end != int64(len(title)) || s.last != (place{}) {
		t.Errorf("%+v, %v", s, err)
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
	for _, name := range []string{DeletedListName, tableListName} {
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
	if err := os.Remove(filepath.Join(dir, DeletedListName)); err != nil {
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

func inFirst(revision uint64) store.Position { return store.Position{Epoch: 1, Revision: revision} }

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
			all := []takenAway{{Position: inFirst(2), project: "p"}, {Position: inFirst(3), project: "p", enabled: true}, {Position: inFirst(4), token: uuid.New()}}
			for n := range 20_000 {
				all = append(all, takenAway{Position: inFirst(uint64(5 + n)), token: uuid.New(), expires: c.expires})
			}
			if err := l.append(all, inFirst(30_000)); err != nil {
				t.Fatal(err)
			}
			if err := l.tidy(dir, now); err != nil {
				t.Fatal(err)
			}
			// It goes on where it was.
			if err := l.append([]takenAway{{Position: inFirst(40_000), token: uuid.New()}}, inFirst(40_000)); err != nil {
				t.Fatal(err)
			}
			after, got := listed(t, dir)
			if c.kept == 3 && len(got) != 4 || c.kept != 3 && len(got) != len(all)+1 {
				t.Errorf("%d records are left", len(got))
			}
			if after.store != state.store || after.mark.Position != inFirst(40_000) || after.last.Position != inFirst(40_000) {
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
	record := (&takenAway{Position: store.Position{Epoch: 1, Revision: 7}, token: uuid.New(), expires: time.Unix(1_700_000_000, 0)}).append(nil)
	setting := (&takenAway{Position: store.Position{Epoch: 3, Revision: 8}, project: "a\nb", enabled: true}).append(nil)
	for _, b := range [][]byte{nil, title, append(title, record...), append(title, append(setting, mark{Position: store.Position{Epoch: 3, Revision: 9}}.append(nil)...)...)} {
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

func FuzzTakenAway(f *testing.F) {
	for _, text := range []string{
		"deleted 1 7 0b9e7c1f-6b1d-4a9e-8a39-0d4f3f1f7a55 1700000000", "deleted 2 7 0b9e7c1f-6b1d-4a9e-8a39-0d4f3f1f7a55 never",
		"deleted 1 7 00000000-0000-0000-0000-000000000000 0", `enabled 1 7 "p" true`, `voided 1 7 "p" "a \"user\""`, `blocked 12 7 "p p" "\xff" false`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseTakenAway(text)
		if err != nil {
			return
		}
		again, ok := cutLine(a.append(nil))
		b, err := parseTakenAway(again)
		if !ok || err != nil || !cmp.Equal(a, b, compareTaken) {
			t.Errorf("%+v becomes %+v, %v", a, b, err)
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

// A store that was put back to an earlier state doesn't take the list of the later one
// for what it goes on with.
func TestAListOfALaterStateIsAnotherOne(t *testing.T) {
	dir, earlier := t.TempDir(), filepath.Join(t.TempDir(), "earlier")
	s := open(t, dir, Options{})
	r := storetest.NewRecord("p", "alice", 1)
	r.Revision = mustCommit(t, s, store.Create{Record: r})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := copyStore(earlier, dir); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	mustCommit(t, s, store.Revoke{ID: r.ID, Revision: r.Revision, At: storetest.Epoch})
	var list bytes.Buffer
	if err := s.CopyDeletedList(&list); err != nil {
		t.Fatal(err)
	}
	if other := s.OtherStore(bytes.NewReader(list.Bytes())); other != "" {
		t.Errorf("its own is that of %s", other)
	}
	s = open(t, earlier, Options{})
	if other := s.OtherStore(bytes.NewReader(list.Bytes())); other == "" {
		t.Error("that of the later state is taken for its own")
	}
}
