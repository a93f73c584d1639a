package badgerstore

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// restoredAt is when stores are restored in tests.
var restoredAt = storetest.Epoch.AddDate(1, 0, 0)

func backUp(t *testing.T, s *Store) storetest.Contents {
	t.Helper()
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	return readSnapshot(t, snapshot)
}

// addAll adds all of a backup to a store that is being restored.
func addAll(t *testing.T, r *Restoring, c storetest.Contents) {
	t.Helper()
	var errs []error
	for _, record := range c.Records {
		errs = append(errs, r.AddRecord(record))
	}
	for _, use := range c.Uses {
		errs = append(errs, r.AddUse(use))
	}
	for _, a := range c.Accounts {
		errs = append(errs, r.AddAccount(a))
	}
	for _, p := range c.Settings {
		errs = append(errs, r.AddSettings(p))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func beginRestore(t *testing.T, o Options, head store.Head) (r *Restoring, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "restored")
	r, err := Restore(dir, o, head)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Discard(); err != nil {
			t.Error(err)
		}
	})
	return r, dir
}

// restore makes a store of a backup and, if there is one, a list, and opens it.
func restore(t *testing.T, o Options, c storetest.Contents, list []byte) (s *Store, dir string, taken Taken) {
	t.Helper()
	r, dir := beginRestore(t, o, c.Head)
	addAll(t, r, c)
	if list != nil {
		var err error
		if taken, err = r.TakeAway(bytes.NewReader(list), "restorer", restoredAt); err != nil {
			t.Fatal(err)
		}
	}
	at, err := r.Finish([]byte("restored"))
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, o)
	if s.Position() != at {
		t.Errorf("restored at %v, and opened at %v", at, s.Position())
	}
	return s, dir, taken
}

func testKey(t testing.TB) *token.Key {
	t.Helper()
	key, err := token.NewKey(strings.Repeat("k", 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestRestoredStoreIsWhatItWas(t *testing.T) {
	o := Options{Key: testKey(t), tendEvery: time.Hour}
	before := open(t, t.TempDir(), o)
	storetest.Fill(t, before)
	want := backUp(t, before)
	s, dir, _ := restore(t, o, want, nil)

	begun := store.Position{Epoch: 2, Revision: want.Head.Revision + 1}
	lines, err := s.Outbox(store.LinePlace{})
	if diff := cmp.Diff([]store.Line{{LinePlace: store.LinePlace{Position: begun}, Text: []byte("restored")}}, lines); err != nil || diff != "" {
		t.Errorf("the outbox: %v, %s", err, diff)
	}
	for range 2 {
		got := backUp(t, s)
		if got.Head.Position != begun || got.Head.Clock.Before(want.Head.Clock.Truncate(time.Millisecond)) {
			t.Errorf("the head is %+v, of a backup %+v", got.Head, want.Head)
		}
		expected := want
		expected.Head.Position, expected.Head.Clock = begun, got.Head.Clock
		if expected.Head.Store = got.Head.Store; got.Head.Store == want.Head.Store {
			t.Error("it is the same store")
		}
		if diff := cmp.Diff(expected, got, comparable); diff != "" {
			t.Error(diff)
		}
		for _, r := range want.Records {
			if found, err := s.ByHash(r.Hash); err != nil || found.ID != r.ID {
				t.Errorf("%s by its hash: %+v, %v", r.Description, found, err)
			}
		}
		if r, err := s.ByID(storetest.NewRecord("p", "dora", 0).ID); err != nil || !r.IsRevoked() {
			t.Errorf("a voided token that isn't swept: %+v, %v", r, err)
		}
		if voids := s.Voids(); len(voids) != 1 || voids[0].User != "dora" {
			t.Errorf("to be swept are %v", voids)
		}
		if !s.IsBlocked("q", "erin") {
			t.Error("nobody is blocked")
		}
		checkIndexes(t, s)
		if _, err := s.verifyAll(t.Context()); err != nil {
			t.Error(err)
		}
		closeStore(t, s)
		s = open(t, dir, o)
	}
	// It goes on as any other.
	next := storetest.NewRecord("r", "zoe", 0)
	mustCommit(t, s, store.Revoke{ID: next.ID, Revision: mustCommit(t, s, store.Create{Record: next}), At: restoredAt})
	if r, err := s.ByID(next.ID); err != nil || r.Number != want.Head.Number+1 {
		t.Errorf("the next token is %+v, %v", r, err)
	}
	if _, all := listed(t, dir); len(all) != 1 || all[0].Position != (store.Position{Epoch: 2, Revision: begun.Revision + 2}) {
		t.Errorf("taken away: %+v", all)
	}
	wantCompleted(t, s, dir, 1)
}

// Of a store's fate after its backup, what was taken away holds in the restored one,
// and what was given doesn't. The list goes with it, so that this also holds of what is
// restored later, from that backup or another one.
func TestRestoreBringsNothingBack(t *testing.T) {
	for round := range max(2, damages(t)/10) {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			o := Options{Key: testKey(t), tendEvery: time.Hour, MemTableSize: 256 << 10}
			dir := t.TempDir()
			s := open(t, dir, o)
			d := &driver{T: t, Store: s, random: rand.New(rand.NewPCG(uint64(round), 0)), purged: make(map[uuid.UUID]bool)}
			d.drive(40)
			backups := []storetest.Contents{backUp(t, s)}
			d.drive(60)
			for generation := range 3 {
				list := readFile(t, filepath.Join(dir, DeletedListName))
				last := backUp(t, s)
				again, _, taken := restore(t, o, last, list)
				d.wantNothingBack(again, last)
				if taken.Changes > 0 {
					t.Errorf("of what is all in the backup %d changes were made", taken.Changes)
				}
				// One of another age goes on.
				backup := backups[d.random.IntN(len(backups))]
				backups = append(backups, last)
				again, dir, taken = restore(t, o, backup, list)
				d.wantNothingBack(again, backup)
				if taken.UpTo != s.Position() || taken.Damaged {
					t.Errorf("restored with %+v, and the store was at %v", taken, s.Position())
				}
				if epoch := uint64(generation) + 2; again.Position().Epoch != epoch {
					t.Errorf("the epoch is %d, want %d", again.Position().Epoch, epoch)
				}
				s, d.Store = again, again
				d.drive(40)
			}
			wantCompleted(t, s, dir, 1)
		})
	}
}

// driver changes a store at random.
type driver struct {
	*testing.T
	*Store
	random *rand.Rand
	made   int
	purged map[uuid.UUID]bool
}

var drivenUsers = []string{"alice", "bob", "carol"}

func (d *driver) drive(steps int) {
	d.Helper()
	for range steps {
		d.step()
	}
	// So that there is something to complete.
	mustCommit(d.T, d.Store, store.Void{Project: "p", User: drivenUsers[0], At: storetest.Epoch})
}

func (d *driver) step() {
	d.Helper()
	user := drivenUsers[d.random.IntN(len(drivenUsers))]
	account, err := d.Account("p", user)
	if err != nil {
		d.Fatal(err)
	}
	settings, atSettings := d.Settings("p")
	create := func(parent store.Record, replace bool) {
		d.made++
		r := storetest.NewRecord("p", user, d.made)
		r.Description, r.ID = strings.Repeat("d", 500), uuid.New()
		r.Parent = parent.ID
		copy(r.Hash[:], r.ID[:])
		mustCommit(d.T, d.Store, store.Create{Record: r, AccountRevision: account.Revision, SettingsRevision: atSettings, ParentRevision: parent.Revision, ReplacesParent: replace})
	}
	var living []store.Record
	for _, r := range storetest.List(d, d.Store, store.Query{Project: "p", User: user}) {
		if !account.IsBlocked() {
			living = append(living, r)
		}
	}
	var r store.Record
	if len(living) > 0 {
		r = living[d.random.IntN(len(living))]
	}
	switch what := d.random.IntN(20); {
	case what == 0:
		mustCommit(d.T, d.Store, store.Void{Project: "p", User: user, At: storetest.Epoch})
	case what < 3:
		mustCommit(d.T, d.Store, store.Block{Project: "p", User: user, Revision: account.Revision, Lift: account.IsBlocked(), By: "root", At: storetest.Epoch})
	case what == 3:
		settings.Enabled = new(settings.Enabled != nil && !*settings.Enabled)
		mustCommit(d.T, d.Store, store.Configure{Project: "p", Settings: settings, Revision: atSettings})
	case what < 6 && len(living) > 0:
		mustCommit(d.T, d.Store, store.Revoke{ID: r.ID, Revision: r.Revision, At: storetest.Epoch, Successors: what == 4})
	case what < 8 && len(living) > 0:
		create(r, what == 6)
	case what == 8:
		for _, v := range d.Voids() {
			ids, err := d.VoidedTokens(v, 100)
			if err != nil {
				d.Fatal(err)
			}
			mustCommit(d.T, d.Store, store.Sweep{Voided: v, IDs: ids, Last: true})
		}
	case what == 9:
		ended, err := d.Ended(storetest.Epoch, storetest.Epoch.Add(time.Hour), 1)
		if err != nil {
			d.Fatal(err)
		}
		for _, id := range ended {
			mustCommit(d.T, d.Store, store.Purge{ID: id})
			d.purged[id] = true
		}
	default:
		create(store.Record{}, false)
	}
}

// wantNothingBack holds a restored store against the one that the driver drives.
func (d *driver) wantNothingBack(restored *Store, backup storetest.Contents) {
	d.Helper()
	living := make(map[string]uint64)
	for _, was := range backup.Records {
		got, err := restored.ByID(was.ID)
		if err != nil {
			d.Fatal(err)
		}
		now, err := d.ByID(was.ID)
		// One that was lost with an earlier restore isn't known to have ended.
		lost := errors.Is(err, store.ErrNotFound) && !d.purged[was.ID]
		if ended := now.IsRevoked() || d.purged[was.ID]; !lost && got.IsRevoked() != ended {
			d.Errorf("token %v, of revision %d in the backup, has ended %v, and after the restore %v", was.ID, was.Revision, ended, got.IsRevoked())
		}
		if !got.IsRevoked() {
			living[got.User.ID]++
		}
	}
	for _, user := range drivenUsers {
		if restored.IsBlocked("p", user) != d.IsBlocked("p", user) {
			d.Errorf("%s is blocked: %v, and after the restore: %v", user, d.IsBlocked("p", user), restored.IsBlocked("p", user))
		}
		if a, err := restored.Account("p", user); err != nil || a.Living != living[user] {
			d.Errorf("%s has %d living tokens, and the account is %+v, %v", user, living[user], a, err)
		}
	}
	now, _ := d.Settings("p")
	if got, _ := restored.Settings("p"); !cmp.Equal(now.Enabled, got.Enabled) {
		d.Errorf("enabled is %v, and after the restore %v", now.Enabled, got.Enabled)
	}
	checkIndexes(d.T, restored)
}

// Many are taken away in many transactions, and are counted once.
func TestRestoreOfMany(t *testing.T) {
	const n = 900
	o := Options{Key: testKey(t), MemTableSize: 256 << 10}
	dir := t.TempDir()
	s := open(t, dir, o)
	if _, err := inParallel(0, n, s.orderCreate); err != nil {
		t.Fatal(err)
	}
	backup := backUp(t, s)
	if _, err := inParallel(0, n, func(n int) error {
		if !isDeleted(n) {
			return nil
		}
		return s.orderRevoke(n)
	}); err != nil {
		t.Fatal(err)
	}
	again, _, taken := restore(t, o, backup, readFile(t, filepath.Join(dir, DeletedListName)))
	for i := range n {
		if r, err := again.ByHash(largeRecord(i).Hash); err != nil || r.IsRevoked() != isDeleted(i) {
			t.Fatalf("token %d: %+v, %v", i, r, err)
		}
	}
	account, err := again.Account("p", "alice")
	if err != nil || account.Living != n/3 || taken.Changes != n-n/3 {
		t.Errorf("%d changes, and the account is %+v, %v", taken.Changes, account, err)
	}
	checkIndexes(t, again)
}

// Until it is finished a restored store is none, whenever the process ends.
func TestRestoreThatIsBrokenOffIsNoStore(t *testing.T) {
	o := Options{Key: testKey(t)}
	dir := t.TempDir()
	s := open(t, dir, o)
	storetest.Fill(t, s)
	backup, list := backUp(t, s), readFile(t, filepath.Join(dir, DeletedListName))
	r, restored := beginRestore(t, o, backup.Head)
	wantNone := func(when string) {
		t.Helper()
		broken := filepath.Join(t.TempDir(), "broken")
		if err := os.CopyFS(broken, os.DirFS(restored)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(broken, o); err == nil || !strings.Contains(err.Error(), "broken off") {
			t.Errorf("%s it can be opened: %v", when, err)
		}
		if _, err := Restore(broken, o, backup.Head); err == nil || !strings.Contains(err.Error(), "there is a token store in") {
			t.Errorf("%s it can be restored into: %v", when, err)
		}
	}
	wantNone("when nothing is there")
	addAll(t, r, backup)
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
	wantNone("when all is added")
	if _, err := r.TakeAway(bytes.NewReader(list), "restorer", restoredAt); err != nil {
		t.Fatal(err)
	}
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
	wantNone("when all is taken away")
	if err := r.AddUse(backup.Uses[0]); err == nil {
		t.Error("something is added afterwards")
	}
	if err := r.Discard(); err != nil {
		t.Fatal(err)
	}
	if left := storeFiles(t, restored); len(left) > 0 {
		t.Errorf("of what was discarded is left: %v", left)
	}
	open(t, restored, o)
}

func TestWhatCantBeRestored(t *testing.T) {
	o := Options{Key: testKey(t)}
	dir := t.TempDir()
	s := open(t, dir, o)
	storetest.Fill(t, s)
	backup, list := backUp(t, s), readFile(t, filepath.Join(dir, DeletedListName))
	if _, err := Restore(dir, o, backup.Head); err == nil || !strings.Contains(err.Error(), "there is a token store in") {
		t.Errorf("into a store: %v", err)
	}
	if _, err := Restore(t.TempDir(), o, store.Head{}); err == nil {
		t.Error("a backup of nothing")
	}
	r, _ := beginRestore(t, o, backup.Head)
	later := backup.Records[0]
	later.Revision = backup.Head.Revision + 1
	if err := r.AddRecord(later); err == nil {
		t.Error("a record of after the backup is added")
	}
	addAll(t, r, backup)
	if err := r.AddRecord(backup.Records[0]); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a record is added twice: %v", err)
	}
	if err := r.AddUse(store.Use{ID: uuid.New(), At: restoredAt}); err != nil {
		t.Errorf("the last use of an unknown token: %v", err)
	}
	if _, err := r.TakeAway(strings.NewReader("x\n"), "", restoredAt); !errors.Is(err, ErrNoList) {
		t.Errorf("something else as the list: %v", err)
	}

	// A list goes as far as it is whole.
	_, whole := listed(t, dir)
	for _, damage := range []func(b []byte) []byte{
		func(b []byte) []byte { return b[:len(b)-10] },
		func(b []byte) []byte { return bytes.Replace(b, []byte("blocked"), []byte("blokced"), 1) },
	} {
		again, restored, taken := restore(t, o, backup, damage(bytes.Clone(list)))
		_, got := listed(t, restored)
		if !taken.Damaged || !slices.Equal(got, whole[:len(got)]) || taken.UpTo != got[len(got)-1].Position {
			t.Errorf("of a damaged list: %+v, and %d of %d records", taken, len(got), len(whole))
		}
		closeStore(t, again)
		// Without the key that its tokens are under nobody is recognised.
		if _, err := Open(restored, Options{Key: otherTestKey(t)}); err == nil || !strings.Contains(err.Error(), "would be refused from now on") {
			t.Errorf("opened with another key: %v", err)
		}
	}
}

func otherTestKey(t testing.TB) *token.Key {
	t.Helper()
	key, err := token.NewKey(strings.Repeat("o", 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A list knows of the stores whose list it goes on with, and of no others: what was
// taken away from those would come back without a word.
func TestListsKnowWhoseTheyAre(t *testing.T) {
	o := Options{Key: testKey(t), tendEvery: time.Hour}
	firstDir := t.TempDir()
	first := open(t, firstDir, o)
	storetest.Fill(t, first)
	old := backUp(t, first)
	r, err := first.ByID(storetest.NewRecord("p", "carol", 0).ID)
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, first, store.Revoke{ID: r.ID, Revision: r.Revision, At: restoredAt})
	last, list := backUp(t, first), listOf(t, first)
	with, _, _ := restore(t, o, last, list)
	without, _, _ := restore(t, o, last, nil)
	damaged, _, _ := restore(t, o, last, append(bytes.Clone(list), "nothing\n"...))
	for name, test := range map[string]struct {
		list  []byte
		of    storetest.Contents
		wants error
	}{
		"its own":                                      {list, last, nil},
		"its own, of an older backup":                  {list, old, nil},
		"that of a store restored with it":             {listOf(t, with), old, nil},
		"that of a store restored without it":          {listOf(t, without), old, ErrOtherList},
		"that of a store restored with half of it":     {listOf(t, damaged), old, ErrOtherList},
		"that of the store that a store was made from": {list, backUp(t, with), ErrOtherList},
		"another store's":                              {listOf(t, open(t, t.TempDir(), o)), old, ErrOtherList},
	} {
		if _, err := ReadDeletedList(bytes.NewReader(test.list), test.of.Head); !errors.Is(err, test.wants) {
			t.Errorf("%s: %v", name, err)
		}
		r, _ := beginRestore(t, o, test.of.Head)
		addAll(t, r, test.of)
		if _, err := r.TakeAway(bytes.NewReader(test.list), "restorer", restoredAt); !errors.Is(err, test.wants) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func listOf(t *testing.T, s *Store) []byte {
	t.Helper()
	var list bytes.Buffer
	if err := s.CopyDeletedList(&list); err != nil {
		t.Fatal(err)
	}
	return list.Bytes()
}
