package backup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// update writes the golden file anew. It is that of the first release that made
// backups, and for ever: a later format gets a file of its own beside it.
var update = flag.Bool("update", false, "write testdata anew")

var madeAt = storetest.Epoch.Add(24 * time.Hour)

const keyText = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"

func filledStore(t testing.TB) store.Store {
	t.Helper()
	key, err := token.NewKey(keyText)
	if err != nil {
		t.Fatal(err)
	}
	s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Logger: zap.NewNop(), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if t, ok := t.(*testing.T); ok {
		storetest.Fill(t, s)
	}
	return s
}

func snapshotOf(t testing.TB, s store.Store) store.Snapshot {
	t.Helper()
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(snapshot.Close)
	return snapshot
}

func written(t testing.TB, s store.Snapshot, o Options) []byte {
	t.Helper()
	o.Time = madeAt
	var file bytes.Buffer
	if _, err := Write(&file, s, o); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// collected is all that a backup holds.
type collected struct {
	storetest.Contents
	Keys []string
	Time time.Time
}

func collect(file []byte, identities ...age.Identity) (c collected, sum Summary, err error) {
	sum, err = Read(bytes.NewReader(file), identities, Into{
		Head:     func(h Head) error { c.Head, c.Time = h.Head, h.Time; return nil },
		Key:      func(text string) error { c.Keys = append(c.Keys, text); return nil },
		Record:   func(r store.Record) error { c.Records = append(c.Records, r); return nil },
		Use:      func(u store.Use) error { c.Uses = append(c.Uses, u); return nil },
		Account:  func(a store.UserAccount) error { c.Accounts = append(c.Accounts, a); return nil },
		Settings: func(p store.ProjectSettings) error { c.Settings = append(c.Settings, p); return nil },
	})
	return c, sum, err
}

// inAnyOrder compares what storetest.Read sorts and a backup doesn't.
var inAnyOrder = cmp.Options{
	cmpopts.SortSlices(func(a, b store.Record) bool { return a.ID.String() < b.ID.String() }),
	cmpopts.SortSlices(func(a, b store.Use) bool { return a.ID.String() < b.ID.String() }),
	cmpopts.SortSlices(func(a, b store.UserAccount) bool { return a.Project+"\x00"+a.User < b.Project+"\x00"+b.User }),
	cmp.Comparer(func(a, b store.Record) bool { return bytes.Equal(a.Append(nil), b.Append(nil)) }),
	cmp.Comparer(func(a, b store.Use) bool { return a == b }),
	cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
}

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestBackupHoldsWhatTheSnapshotDoes(t *testing.T) {
	snapshot := snapshotOf(t, filledStore(t))
	want, err := storetest.Read(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	i := identity(t)
	recipients, err := ParseRecipients([]string{identity(t).Recipient().String(), i.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	encrypted := written(t, snapshot, Options{Recipients: recipients, Keys: []string{keyText}})
	var armored bytes.Buffer
	w := armor.NewWriter(&armored)
	_, _ = w.Write(encrypted)
	_ = w.Close()
	for name, test := range map[string]struct {
		file []byte
		with []age.Identity
		keys []string
	}{
		"plain":     {written(t, snapshot, Options{}), nil, nil},
		"encrypted": {encrypted, []age.Identity{i}, []string{keyText}},
		"armored":   {armored.Bytes(), []age.Identity{identity(t), i}, []string{keyText}},
	} {
		got, sum, err := collect(test.file, test.with...)
		if err != nil {
			t.Fatal(name, err)
		}
		if diff := cmp.Diff(collected{want, test.keys, madeAt}, got, inAnyOrder); diff != "" {
			t.Errorf("%s (-want +got): %s", name, diff)
		}
		wantSum := Summary{Head{want.Head, madeAt}, len(want.Records), len(want.Uses), len(want.Accounts), len(want.Settings), test.keys != nil, test.with != nil}
		if diff := cmp.Diff(wantSum, sum, inAnyOrder); diff != "" {
			t.Errorf("%s (-want +got): %s", name, diff)
		}
		if again, err := Read(bytes.NewReader(test.file), test.with, Into{}); err != nil || !cmp.Equal(again, sum) {
			t.Errorf("%s, read into nothing: %+v, %v", name, again, err)
		}
	}
}

func TestHashKeysAreNeverWrittenInPlain(t *testing.T) {
	var file bytes.Buffer
	_, err := Write(&file, snapshotOf(t, filledStore(t)), Options{Keys: []string{keyText}})
	if !errors.Is(err, ErrKeyWithoutRecipients) || file.Len() > 0 {
		t.Errorf("%v, and %d bytes", err, file.Len())
	}
}

func TestEncryptedBackupsNeedAnIdentity(t *testing.T) {
	i := identity(t)
	file := written(t, snapshotOf(t, filledStore(t)), Options{Recipients: []age.Recipient{i.Recipient()}})
	if _, _, err := collect(file); !errors.Is(err, ErrEncrypted) {
		t.Errorf("without one: %v", err)
	}
	if c, _, err := collect(file, identity(t)); !errors.Is(err, ErrEncrypted) || len(c.Records) > 0 {
		t.Errorf("with another one: %v", err)
	}
}

// Whatever is cut off or changed in a backup, nobody takes it for one that is whole.
func TestDamageIsNoticed(t *testing.T) {
	snapshot := snapshotOf(t, filledStore(t))
	i := identity(t)
	plain, encrypted := written(t, snapshot, Options{}), written(t, snapshot, Options{Recipients: []age.Recipient{i.Recipient()}})
	for name, file := range map[string][]byte{"plain": plain, "encrypted": encrypted} {
		for n := range file {
			if _, err := Read(bytes.NewReader(file[:n]), []age.Identity{i}, Into{}); !isRefused(err) {
				t.Fatalf("%s, cut off at %d of %d: %v", name, n, len(file), err)
			}
			changed := bytes.Clone(file)
			changed[n] ^= 1 << (n % 8)
			if _, err := Read(bytes.NewReader(changed), []age.Identity{i}, Into{}); !isRefused(err) {
				t.Fatalf("%s, changed at %d of %d: %v", name, n, len(file), err)
			}
		}
		if _, err := Read(bytes.NewReader(append(bytes.Clone(file), 0)), []age.Identity{i}, Into{}); !isRefused(err) {
			t.Errorf("%s, with something behind it: %v", name, err)
		}
	}
}

func isRefused(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoBackup) || errors.Is(err, ErrVersion) || errors.Is(err, ErrEncrypted)
}

// A file that can't be read isn't taken for one that is damaged.
func TestReadErrorsAreNoDamage(t *testing.T) {
	file := written(t, snapshotOf(t, filledStore(t)), Options{})
	broken := errors.New("the disk is gone")
	for n := range file {
		_, err := Read(io.MultiReader(bytes.NewReader(file[:n]), failing{broken}), nil, Into{})
		if !errors.Is(err, broken) || errors.Is(err, ErrDamaged) {
			t.Fatalf("at %d of %d: %v", n, len(file), err)
		}
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// An error in the middle leaves something that isn't a backup.
func TestBrokenOffBackupIsNone(t *testing.T) {
	enough := errors.New("enough")
	i := identity(t)
	for _, recipients := range [][]age.Recipient{nil, {i.Recipient()}} {
		var file bytes.Buffer
		_, err := Write(&file, brokenSnapshot{snapshotOf(t, filledStore(t)), enough}, Options{Recipients: recipients})
		if !errors.Is(err, enough) {
			t.Errorf("the error is %v", err)
		}
		if _, err := Read(bytes.NewReader(file.Bytes()), []age.Identity{i}, Into{}); !isRefused(err) {
			t.Errorf("what was written is read: %v", err)
		}
	}
}

type brokenSnapshot struct {
	store.Snapshot
	err error
}

func (s brokenSnapshot) Accounts(func(store.UserAccount) error) error { return s.err }

// assembled is a backup of sections that somebody else writes.
func assembled(t testing.TB, title string, sections func(w *writer)) []byte {
	t.Helper()
	var file bytes.Buffer
	hash := sha256.New()
	both := io.MultiWriter(&file, hash)
	_, _ = io.WriteString(both, title)
	compressed, err := zstd.NewWriter(both)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{to: compressed}
	sections(w)
	if err := errors.Join(w.err, compressed.Close()); err != nil {
		t.Fatal(err)
	}
	file.Write(hash.Sum(nil))
	return file.Bytes()
}

func TestWhatLaterReleasesAdd(t *testing.T) {
	head := (&Head{store.Head{Position: store.Position{Epoch: 1, Revision: 3}, Keys: []token.KeyID{{1}}}, madeAt}).append()
	const first = title + "1\n"
	section := func(w *writer, name string, known bool, entries ...string) {
		w.section(name, known, nil, func() error {
			for _, e := range entries {
				_ = w.entry([]byte(e))
			}
			return nil
		})
	}
	all := func(w *writer, more ...func()) {
		section(w, headSection, true, strings.Replace(string(head), "{", `{"later":{"more":[1]},`, 1))
		for _, f := range more {
			f()
		}
		for _, name := range []string{recordsSection, accountsSection, settingsSection} {
			section(w, name, true)
		}
		w.write([]byte{0})
	}
	for name, test := range map[string]struct {
		file []byte
		want error
	}{
		"more in the head": {assembled(t, first, func(w *writer) { all(w) }), nil},
		"a section that can be passed over": {assembled(t, first, func(w *writer) {
			all(w, func() { section(w, "notes", false, "a", strings.Repeat("b", 1<<20)) })
		}), nil},
		"a section that has to be known": {assembled(t, first, func(w *writer) { all(w, func() { section(w, "walls", true) }) }), ErrVersion},
		"another format":                 {assembled(t, title+"2\n", func(w *writer) { all(w) }), ErrVersion},
		"a record of another format":     {assembled(t, first, func(w *writer) { all(w, func() { section(w, recordsSection, true, "\x63") }) }), ErrVersion},
		"a section twice":                {assembled(t, first, func(w *writer) { all(w, func() { section(w, accountsSection, true) }) }), ErrDamaged},
		"a second head":                  {assembled(t, first, func(w *writer) { all(w, func() { section(w, headSection, true, string(head)) }) }), ErrDamaged},
		"no head":                        {assembled(t, first, func(w *writer) { section(w, recordsSection, true); w.write([]byte{0}) }), ErrDamaged},
		"a head alone":                   {assembled(t, first, func(w *writer) { section(w, headSection, true, string(head)); w.write([]byte{0}) }), ErrDamaged},
		"nothing":                        {assembled(t, first, func(w *writer) { w.write([]byte{0}) }), ErrDamaged},
		"something behind its end":       {assembled(t, first, func(w *writer) { all(w); w.write([]byte{0}) }), ErrDamaged},
		"no first line":                  {[]byte("caddy-access-tokens backup 1"), ErrDamaged},
		"a long first line":              {[]byte(title + strings.Repeat("1", 99)), ErrDamaged},
		"something else":                 {[]byte("access-tokens deleted.list 1"), ErrNoBackup},
		"an empty file":                  {nil, ErrNoBackup},
	} {
		if _, err := Read(bytes.NewReader(test.file), nil, Into{}); !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// The golden file is a backup of the first release that made any.
func TestBackupsOfTheFirstReleaseAreRead(t *testing.T) {
	name := filepath.Join("testdata", "1.backup")
	if *update {
		if err := os.WriteFile(name, written(t, snapshotOf(t, filledStore(t)), Options{}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := collect(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := storetest.Read(snapshotOf(t, filledStore(t)))
	if err != nil {
		t.Fatal(err)
	}
	want.Head.Clock, want.Head.Store = got.Head.Clock, got.Head.Store
	if diff := cmp.Diff(collected{want, nil, madeAt}, got, inAnyOrder); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(written(f, snapshotOf(f, filledStore(f)), Options{}))
	if golden, err := os.ReadFile(filepath.Join("testdata", "1.backup")); err == nil {
		f.Add(golden)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if _, _, err := collect(file); err != nil && !isRefused(err) {
			t.Error(err)
		}
	})
}

// Fuzzed bytes have no right checksum, so that sections are fuzzed apart.
func FuzzSections(f *testing.F) {
	w := &writer{}
	var plain bytes.Buffer
	w.to = &plain
	if err := w.sections(snapshotOf(f, filledStore(f)), Options{}, &Summary{Head: Head{store.Head{Position: store.Position{Epoch: 1, Revision: 3}, Keys: []token.KeyID{{1}}}, madeAt}}); err != nil {
		f.Fatal(err)
	}
	f.Add(plain.Bytes())
	f.Fuzz(func(t *testing.T, sections []byte) {
		file := assembled(t, title+"1\n", func(w *writer) { w.write(sections) })
		if _, _, err := collect(file); err != nil && !isRefused(err) {
			t.Error(err)
		}
	})
}
