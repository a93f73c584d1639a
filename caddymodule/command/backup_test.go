package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// backedUp is a store of which there is a backup.
type backedUp struct {
	*testing.T
	dir, file string // file is in a directory of its own
	store     *badgerstore.Store
	key       string
}

func backUp(t *testing.T, recipients ...age.Recipient) *backedUp {
	t.Helper()
	b := &backedUp{T: t, dir: filepath.Join(t.TempDir(), "store"), file: filepath.Join(t.TempDir(), "tokens.backup")}
	var err error
	if b.store, err = badgerstore.Open(b.dir, badgerstore.Options{Logger: zap.NewNop()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	storetest.Fill(t, b.store)
	keys, err := b.store.OwnKeyTexts()
	if err != nil {
		t.Fatal(err)
	}
	b.key = keys[0]
	snapshot, err := b.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	o := backup.Options{Time: storetest.Epoch, Recipients: recipients}
	if len(recipients) > 0 {
		o.Keys = []string{b.key}
	}
	f, err := os.Create(b.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := backup.Write(f, snapshot, o); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *backedUp) close() {
	if err := b.store.Close(); err != nil {
		b.Error(err)
	}
}

// list copies deleted.list as it is by now, or what edit makes of it, beside the backup.
func (b *backedUp) list(edit func([]byte) []byte) {
	b.Helper()
	var list bytes.Buffer
	if err := b.store.CopyDeletedList(&list); err != nil {
		b.Fatal(err)
	}
	text := list.Bytes()
	if edit != nil {
		text = edit(text)
	}
	if err := os.WriteFile(b.beside(), text, 0o600); err != nil {
		b.Fatal(err)
	}
}

func (b *backedUp) beside() string { return filepath.Join(filepath.Dir(b.file), "deleted.list") }

// living is a token that can still be deleted.
func (b *backedUp) revoke() store.Record {
	b.Helper()
	r, err := b.store.ByID(storetest.NewRecord("p", "carol", 0).ID)
	if err == nil && !r.IsRevoked() {
		_, err = b.store.Commit(context.Background(), store.Revoke{ID: r.ID, Revision: r.Revision, At: storetest.Epoch})
	}
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// opened opens what was restored.
func opened(t *testing.T, dir, key string) *badgerstore.Store {
	t.Helper()
	o := badgerstore.Options{Logger: zap.NewNop()}
	if key != "" {
		var err error
		if o.Key, err = token.NewKey(key); err != nil {
			t.Fatal(err)
		}
	}
	s, err := badgerstore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func restored(args ...string) (stdout, stderr, end string) {
	return runTyping("", append([]string{"restore"}, args...)...)
}

func TestRestoreWantsToKnowWhatWasTakenAway(t *testing.T) {
	for name, test := range map[string]struct {
		list func(b *backedUp)
		says string
	}{
		"without a list":      {func(*backedUp) {}, "there is no deleted.list beside the backup"},
		"with something else": {func(b *backedUp) { b.list(func([]byte) []byte { return []byte("notes\n") }) }, "can't be used"},
		"with another store's": {func(b *backedUp) {
			backUp(t).list(func(l []byte) []byte { b.list(func([]byte) []byte { return l }); return l })
		}, "it is another store's"},
		"with one that is damaged": {func(b *backedUp) { b.list(func(l []byte) []byte { return append(l, "deleted 1 99 nobody\n"...) }) }, "is damaged behind revision"},
		"with one that ends before": {func(b *backedUp) {
			b.list(func(l []byte) []byte { return l[:bytes.IndexByte(l, '\n')+1] })
		}, "before the backup"},
	} {
		t.Run(name, func(t *testing.T) {
			b := backUp(t)
			deleted := b.revoke()
			test.list(b)
			into := filepath.Join(t.TempDir(), "new")
			if _, stderr, end := restored("--into", into, "--yes", b.file); end != failed || !strings.Contains(stderr, test.says) || !strings.Contains(stderr, "--allow-undelete") {
				t.Errorf("%s: %s", end, stderr)
			}
			if _, err := os.Stat(into); err == nil {
				t.Error("something was made")
			}
			stdout, stderr, end := restored("--into", into, "--yes", "--allow-undelete", b.file)
			if end != "" || !strings.Contains(stdout, "work again: --allow-undelete") {
				t.Fatalf("with --allow-undelete: %s\n%s%s", end, stdout, stderr)
			}
			// What can be read of a list counts.
			wantGone := strings.Contains(test.says, "damaged")
			if r, err := opened(t, into, b.key).ByID(deleted.ID); err != nil || r.IsRevoked() != wantGone {
				t.Errorf("it is %+v, %v", r, err)
			}
		})
	}
}

func TestRestoreTakesAwayAgain(t *testing.T) {
	b := backUp(t)
	deleted := b.revoke()
	b.list(nil)
	into := filepath.Join(t.TempDir(), "new")
	if _, stderr, end := restored("--into", into, b.file); end != wronglyUsed || !strings.Contains(stderr, "--yes") {
		t.Errorf("with nobody to be asked: %s, %s", end, stderr)
	}
	if stdout, _, end := restored("--into", into, "--dry-run", b.file); end != "" || !strings.Contains(stdout, "1 record since the backup") || !strings.Contains(stdout, "Nothing was restored") {
		t.Errorf("dry: %s, %s", end, stdout)
	}
	if _, err := os.Stat(into); err == nil {
		t.Error("a dry run has made something")
	}
	stdout, stderr, end := restored("--into", into, "--yes", b.file)
	if end != "" || !strings.Contains(stdout, "Taken away again: 1 change.") || !strings.Contains(stdout, "epoch 2 begins") {
		t.Fatalf("%s\n%s%s", end, stdout, stderr)
	}
	s := opened(t, into, b.key)
	if r, err := s.ByID(deleted.ID); err != nil || !r.IsRevoked() {
		t.Errorf("it is %+v, %v", r, err)
	}
	lines, err := s.Outbox(store.LinePlace{})
	want := regexp.MustCompile(`^\{"time":".{24}","event":"restored","project":"","actor":\{"by":"admin"\},"backup_time":"2019-01-16T00:06:41.743Z","backup_epoch":1,"backup_revision":\d+,"tokens":7,"taken_away":1,"up_to_epoch":1,"up_to_revision":\d+\}$`)
	if err != nil || len(lines) != 1 || !want.Match(lines[0].Text) {
		t.Errorf("the outbox: %d lines, %q, %v", len(lines), lines[0].Text, err)
	}
	if _, stderr, end := restored("--into", into, "--yes", b.file); end != failed || !strings.Contains(stderr, "there is a token store") {
		t.Errorf("once more: %s, %s", end, stderr)
	}
}

func TestRestoreOfADamagedBackupMakesNothing(t *testing.T) {
	b := backUp(t)
	b.list(nil)
	whole, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(t.TempDir(), "new")
	for _, n := range []int{0, 20, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(b.file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr, end := restored("--into", into, "--yes", b.file); end != failed || !strings.Contains(stderr, b.file) {
			t.Errorf("cut off at %d: %s, %s", n, end, stderr)
		}
		if _, err := os.Stat(into); err == nil {
			t.Fatal("something was made")
		}
	}
}

// A list that was kept because another store makes its backups there is found.
func TestRestoreFindsTheListOfItsStore(t *testing.T) {
	b := backUp(t)
	var before bytes.Buffer
	if err := b.store.CopyDeletedList(&before); err != nil {
		t.Fatal(err)
	}
	gone := b.revoke()
	b.list(nil)
	other, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var text bytes.Buffer
	if err := other.CopyDeletedList(&text); err != nil {
		t.Fatal(err)
	}
	mine, err := os.Open(b.beside())
	if err != nil {
		t.Fatal(err)
	}
	id := other.OtherStore(mine)
	_ = mine.Close()
	if id == "" || b.store.OtherStore(bytes.NewReader(text.Bytes())) == "" || other.OtherStore(bytes.NewReader(text.Bytes())) != "" || other.OtherStore(strings.NewReader("access-tokens")) != "unreadable" {
		t.Errorf("the other store's list is taken for this one's, or the other way round: %q", id)
	}
	if err := errors.Join(os.Rename(b.beside(), backup.OtherList(b.beside(), id)), os.WriteFile(b.beside(), text.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	if stdout, _, end := verified(b.file); end != "" || !strings.Contains(stdout, "1 record since the backup") {
		t.Errorf("verify: %s, %s", end, stdout)
	}
	// So is that of a later state, where the store has been put back.
	if err := os.WriteFile(b.beside(), before.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(t.TempDir(), "new")
	if stdout, stderr, end := restored("--into", into, "--yes", b.file); end != "" || !strings.Contains(stdout, backup.OtherList(b.beside(), id)+" knows") {
		t.Fatalf("%s%s, %s", stdout, stderr, end)
	}
	s := opened(t, into, b.key)
	if r, err := s.ByID(gone.ID); err != nil || !r.IsRevoked() {
		t.Errorf("a deleted token is back: %+v, %v", r, err)
	}
}

// Whoever gives a directory, as verify takes it, is told what to give.
func TestRestoreNamesTheNewest(t *testing.T) {
	b := backUp(t)
	dir, into := t.TempDir(), filepath.Join(t.TempDir(), "new")
	if _, stderr, end := restored("--into", into, "--yes", dir); end != failed || !strings.Contains(stderr, "in which there is no backup") {
		t.Errorf("an empty directory: %s, %s", stderr, end)
	}
	newest := filepath.Join(dir, "access-tokens-20190116T000641Z.backup")
	if err := os.Rename(b.file, newest); err != nil {
		t.Fatal(err)
	}
	if _, stderr, end := restored("--into", into, "--yes", dir); end != failed || !strings.Contains(stderr, "the newest is "+newest) {
		t.Errorf("%s, %s", stderr, end)
	}
	// And what a restore loses is said before anything is done.
	if stdout, stderr, end := restored("--into", into, "--allow-undelete", "--dry-run", newest); end != "" || !strings.Contains(stdout, "is lost: tokens, settings and last uses since 2019-01-16T00:06:41Z") {
		t.Errorf("%s%s, %s", stdout, stderr, end)
	}
}

func TestRestoreBringsTheKeyAlong(t *testing.T) {
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b := backUp(t, i.Recipient())
	b.list(nil)
	identity := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(identity, []byte("# made once\n"+i.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(t.TempDir(), "new")
	if _, stderr, end := restored("--into", into, "--yes", b.file); end != failed || !strings.Contains(stderr, "encrypted") {
		t.Errorf("without an identity: %s, %s", end, stderr)
	}
	if err := os.MkdirAll(into, 0o700); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(into, "hash.key")
	if err := os.WriteFile(other, []byte(strings.Repeat("o", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, end := restored("--into", into, "--identity", identity, "--yes", b.file); end != failed || !strings.Contains(stderr, "another hash key") {
		t.Errorf("beside another key: %s, %s", end, stderr)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, end := restored("--into", into, "--identity", identity, "--yes", b.file)
	if end != "" || strings.Contains(stdout+stderr, b.key) {
		t.Fatalf("%s\n%s%s", end, stdout, stderr)
	}
	opened(t, into, "")
	if info, err := os.Stat(other); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
}

// Without the key no token can be recognised. Who had some, who was blocked and what
// was set is saved.
func TestRestoreWithoutTheKey(t *testing.T) {
	b := backUp(t)
	b.list(nil)
	into := filepath.Join(t.TempDir(), "new")
	stdout, stderr, end := restored("--into", into, "--lost-key", "--yes", b.file)
	if end != "" || !strings.Contains(stdout, "All tokens have ended, 4 tokens among them that were living") {
		t.Fatalf("%s\n%s%s", end, stdout, stderr)
	}
	s := opened(t, into, "")
	r, err := s.ByID(storetest.NewRecord("p", "carol", 0).ID)
	if err != nil || !r.IsRevoked() || r.User.ID != "carol" {
		t.Errorf("a token: %+v, %v", r, err)
	}
	if !s.IsBlocked("q", "erin") {
		t.Error("nobody is blocked")
	}
	if now, _ := s.Settings("p"); now.Generate != "users" {
		t.Errorf("the settings are %+v", now)
	}
	if lines, err := s.Outbox(store.LinePlace{}); err != nil || len(lines) != 1 || !strings.Contains(string(lines[0].Text), `"key_lost":true`) {
		t.Errorf("the outbox: %d lines, %v", len(lines), err)
	}
	// It goes on as any other, and is found whole.
	if _, err := s.Commit(context.Background(), store.Create{Record: storetest.NewRecord("z", "zoe", 0)}); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, end := verified(into); end != "" {
		t.Errorf("%s: %s%s", end, stdout, stderr)
	}
	opened(t, into, "")
	// Beside its key it isn't lost.
	into = filepath.Join(t.TempDir(), "again")
	if err := os.Mkdir(into, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(into, "hash.key"), []byte(b.key), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, end := restored("--into", into, "--lost-key", "--yes", b.file); end != failed || !strings.Contains(stderr, "isn't lost") {
		t.Errorf("beside its key: %s, %s", end, stderr)
	}
}

// Of a stopped store a backup can be made without its key, which may be lost.
func TestBackupOfAStoppedStore(t *testing.T) {
	b := backUp(t)
	file := filepath.Join(t.TempDir(), "stopped.backup")
	if _, stderr, end := runTyping("", "backup", "--from", b.dir, "--output", file); end != failed || !strings.Contains(stderr, "in use") {
		t.Errorf("while it is in use: %s, %s", end, stderr)
	}
	b.close()
	if err := os.Remove(filepath.Join(b.dir, "hash.key")); err != nil {
		t.Fatal(err)
	}
	if _, stderr, end := runTyping("", "backup", "--from", b.dir, "--output", file); end != "" || !strings.Contains(stderr, "the records of 7 tokens, at revision ") {
		t.Fatalf("%s, %s", end, stderr)
	}
	into := filepath.Join(t.TempDir(), "new")
	if stdout, stderr, end := restored("--into", into, "--deleted", filepath.Join(b.dir, "deleted.list"), "--yes", file); end != "" {
		t.Fatalf("%s, %s%s", end, stdout, stderr)
	}
	if r, err := opened(t, into, b.key).ByID(storetest.NewRecord("p", "carol", 0).ID); err != nil || r.IsRevoked() {
		t.Errorf("restored with its key: %+v, %v", r, err)
	}
	into = filepath.Join(t.TempDir(), "saved")
	if stdout, stderr, end := restored("--into", into, "--deleted", filepath.Join(b.dir, "deleted.list"), "--lost-key", "--yes", file); end != "" || !strings.Contains(stdout, "4 tokens among them") {
		t.Errorf("%s, %s%s", end, stdout, stderr)
	}
	nothing := t.TempDir()
	if _, stderr, end := runTyping("", "backup", "--from", nothing); end != failed || !strings.Contains(stderr, "no token store") {
		t.Errorf("of nothing: %s, %s", end, stderr)
	}
	if left, _ := os.ReadDir(nothing); len(left) > 0 {
		t.Errorf("there is %s", left[0].Name())
	}
}

// answers serves something on the admin endpoint's path.
func answers(t *testing.T, serve http.HandlerFunc) (address string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/access_tokens/backup" {
			http.Error(w, "wrong", http.StatusNotFound)
			return
		}
		serve(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// However the answer ends, there is a file that is whole, or none.
func TestBackupIsWholeOrNotThere(t *testing.T) {
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for kind, b := range map[string]*backedUp{"plain": backUp(t), "encrypted": backUp(t, i.Recipient())} {
		whole, err := os.ReadFile(b.file)
		if err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			serve http.HandlerFunc
			end   string
		}{
			"whole": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(whole) }, ""},
			"broken off": {func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(whole[:len(whole)/2])
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}, failed},
			"an error": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) }, failed},
		} {
			file := filepath.Join(t.TempDir(), "out", "tokens.backup")
			if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			stdout, stderr, end := runTyping("", "backup", "--address", answers(t, test.serve), "--output", file)
			got, err := os.ReadFile(file)
			if end != test.end || (err == nil) != (test.end == "") || err == nil && !bytes.Equal(got, whole) {
				t.Errorf("%s, %s: %q %v %s%s", kind, name, end, err, stdout, stderr)
			}
			if left, _ := os.ReadDir(filepath.Dir(file)); test.end != "" && len(left) > 0 {
				t.Errorf("%s, %s: %s is left", kind, name, left[0].Name())
			}
		}
		// Somebody else's file is left alone.
		if _, stderr, end := runTyping("", "backup", "--address", "localhost:1", "--output", b.file); end != failed || !strings.Contains(stderr, "is there already") {
			t.Errorf("over another file: %s, %s", end, stderr)
		}
		t.Chdir(t.TempDir())
		named := func(name string) string {
			return answers(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
				_, _ = w.Write(whole)
			})
		}
		if _, stderr, end := runTyping("", "backup", "--address", named("../evil")); end != failed {
			t.Errorf("a name from the server: %s, %s", end, stderr)
		}
		name := backup.Name(time.Now(), kind == "encrypted")
		if _, stderr, end := runTyping("", "backup", "--address", named(name)); end != "" || !strings.HasPrefix(stderr, name+": ") {
			t.Errorf("by its name: %s, %s", end, stderr)
		}
		if stdout, _, end := runTyping("", "backup", "--address", named(name), "--output", "-"); end != "" || stdout != string(whole) {
			t.Errorf("to standard output: %s", end)
		}
	}
}

func TestBackupIsNotWrittenInPlainWithItsKey(t *testing.T) {
	for _, args := range [][]string{{"--with-key", "--plain"}, {"--recipient", "age1nobody"}, {"--recipient", "x", "--plain"}, {"file"}, {"--nothing"}} {
		if _, stderr, end := runTyping("", append([]string{"backup"}, args...)...); end != wronglyUsed {
			t.Errorf("%v: %s, %s", args, end, stderr)
		}
	}
	address := answers(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "caddy-access-tokens backup 1\n")
	})
	file := filepath.Join(t.TempDir(), "x")
	if _, stderr, end := runTyping("", "backup", "--address", address, "--with-key", "--output", file); end != failed || !strings.Contains(stderr, "hasn't encrypted") {
		t.Errorf("%s, %s", end, stderr)
	}
}
