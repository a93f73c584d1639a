package auditfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
)

func TestMain(m *testing.M) {
	// glog, which a dependency of Badger brings, starts it and never stops it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// forgetful is a store that can be told to forget what was delivered, as one does
// whose process dies before it can write that down.
type forgetful struct {
	store.Store
	forgets atomic.Bool
}

func (s *forgetful) Commit(ctx context.Context, m store.Mutation, lines ...[]byte) (store.Outcome, error) {
	if _, ok := m.(store.Delivered); ok && s.forgets.Load() {
		return store.Outcome{Position: s.Position()}, nil
	}
	return s.Store.Commit(ctx, m, lines...)
}

// fixture is a writer over a real store.
type fixture struct {
	testing.TB
	*Writer
	store *forgetful
	dir   string // where its file is, which is called audit.jsonl
	logs  *observer.ObservedLogs
	// texts are what has been committed, a line each.
	mu    sync.Mutex
	texts []string
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Logger: zap.NewNop(), MemTableSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{TB: t, store: &forgetful{Store: s}, dir: filepath.Join(t.TempDir(), "audit")}
	t.Cleanup(func() {
		f.close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) path() string { return filepath.Join(f.dir, "audit.jsonl") }

func (f *fixture) tryOpen(path string) error {
	f.close()
	core, logs := observer.New(zap.InfoLevel)
	w, err := Open(f.store, path, zap.New(core))
	if err == nil {
		f.Writer, f.logs = w, logs
	}
	return err
}

func (f *fixture) open(path string) {
	f.Helper()
	if err := f.tryOpen(path); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) close() {
	if f.Writer != nil {
		if err := f.Writer.Close(); err != nil {
			f.Error(err)
		}
		f.Writer = nil
	}
}

// change commits a change with a line of each text.
func (f *fixture) change(texts ...string) store.Position {
	f.Helper()
	var lines [][]byte
	for _, text := range texts {
		lines = append(lines, []byte(text))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	done, err := f.store.Commit(context.Background(), store.Touch{}, lines...)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range texts {
		f.texts = append(f.texts, fmt.Sprintf(`"epoch":%d,"revision":%d,%s`, done.Epoch, done.Revision, text[1:]))
	}
	return done.Position
}

func text(n int) string { return fmt.Sprintf(`{"event":"test","n":%d}`, n) }

// mustChange makes a change that is in the file afterwards.
func (f *fixture) mustChange(n int) {
	f.Helper()
	if err := f.Ready(); err != nil {
		f.Fatal(err)
	}
	if err := f.Await(f.change(text(n))); err != nil {
		f.Fatal(err)
	}
	if !strings.Contains(f.everything(), fmt.Sprintf(`"n":%d}`, n)) {
		f.Errorf("change %d is said to be written, and isn't", n)
	}
}

// everything is what all files hold.
func (f *fixture) everything() (all string) {
	f.Helper()
	for _, file := range f.files() {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		all += string(content)
	}
	return all
}

func (f *fixture) files() []string {
	files, err := filepath.Glob(filepath.Join(f.dir, "*.jsonl*"))
	if err != nil {
		f.Fatal(err)
	}
	return files
}

// wantComplete checks that the files hold one chain of all lines, each once.
func (f *fixture) wantComplete(files ...string) {
	f.Helper()
	if diff := cmp.Diff(f.texts, f.read(files...)); diff != "" {
		f.Errorf("lines (-want +got):\n%s", diff)
	}
}

// read returns the lines of a chain that has to be whole, without seq and previous.
func (f *fixture) read(files ...string) (texts []string) {
	f.Helper()
	var sources []Source
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		sources = append(sources, Source{filepath.Base(file), bytes.NewReader(content)})
	}
	chain, err := Read(sources, func(l *Found) error {
		texts = append(texts, strings.TrimPrefix(string(l.Text), fmt.Sprintf(`{"seq":%d,"previous":"%s",`, l.Seq, l.Previous)))
		return nil
	}, func(b Break) { f.Errorf("%v", b) })
	if err != nil || chain.Repeated > 0 || chain.Lines > 0 && chain.First != 1 {
		f.Errorf("%+v, %v", chain, err)
	}
	return texts
}

func (f *fixture) waitFor(what string, holds func() bool) {
	f.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			f.Fatalf("waited in vain until %s", what)
		}
	}
}

func (f *fixture) logged(level string) (messages []string) {
	for _, e := range f.logs.All() {
		if e.Level.String() == level {
			messages = append(messages, e.Message)
		}
	}
	return messages
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLinesAreWrittenAndLeaveTheOutbox(t *testing.T) {
	f := newFixture(t)
	f.open(f.path())
	for n := range 20 {
		f.mustChange(n)
	}
	if err := f.Await(f.change(text(20), text(21), text(22))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(f.path())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	// Without being told to, within seconds.
	f.waitFor("the outbox is empty", func() bool {
		lines, err := f.store.Outbox(store.LinePlace{})
		return err == nil && len(lines) == 0
	})
	f.wantComplete(f.path())
	f.open(f.path())
	f.mustChange(23)
	f.close()
	f.wantComplete(f.path())
}

// Many changes at a time share what a sync costs, and each is in the file by the
// time that somebody is told.
func TestManyAtATime(t *testing.T) {
	f := newFixture(t)
	f.open(f.path())
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for i := range 20 {
				done, err := f.store.Commit(context.Background(), store.Touch{}, []byte(text(i)), []byte(text(i)))
				if err == nil {
					err = f.Await(done.Position)
				}
				if err != nil {
					t.Error(err)
					return
				}
				content, err := os.ReadFile(f.path())
				if n := strings.Count(string(content), fmt.Sprintf(`"revision":%d,`, done.Revision)); err != nil || n != 2 {
					t.Errorf("%d lines of a change that is said to be written, %v", n, err)
				}
			}
		})
	}
	all.Wait()
	f.close()
	if lines := f.read(f.path()); len(lines) != 2*32*20 {
		t.Errorf("%d lines", len(lines))
	}
}

// crashed makes a file of which the last lines are in the outbox, too: the process
// died before it could say that they were written.
func (f *fixture) crashed() (content []byte, delivered int) {
	f.Helper()
	f.open(f.path())
	for n := range 3 {
		f.mustChange(n)
	}
	f.close()
	before, err := os.ReadFile(f.path())
	must(f, err)
	f.open(f.path())
	f.store.forgets.Store(true)
	f.mustChange(3)
	if err := f.Await(f.change(text(4), text(5))); err != nil {
		f.Fatal(err)
	}
	f.mustChange(6)
	f.close()
	content, err = os.ReadFile(f.path())
	must(f, err)
	return content, len(before)
}

// Wherever a crash has left the file, the next start completes it.
func TestTheFileIsCompletedWhereverItEnds(t *testing.T) {
	f := newFixture(t)
	whole, delivered := f.crashed()
	for end := delivered; end <= len(whole); end++ {
		must(t, os.WriteFile(f.path(), whole[:end], 0o600))
		f.open(f.path())
		if f.Ready() != nil {
			t.Errorf("cut off at %d: %v", end, f.Ready())
		}
		f.close()
		if got, err := os.ReadFile(f.path()); err != nil || !bytes.Equal(got, whole) {
			t.Fatalf("cut off at %d of %d it became, %v:\n%s", end, len(whole), err, got)
		}
	}
	f.wantComplete(f.path())
}

// begun makes a file of which no line has been said to be written, behind another one.
func (f *fixture) begun() (content []byte, delivered int) {
	f.Helper()
	f.open(f.path())
	f.mustChange(0)
	must(f, os.Rename(f.path(), f.path()+".0"))
	must(f, f.Ready())
	f.store.forgets.Store(true)
	for n := range 3 {
		f.mustChange(n + 1)
	}
	f.close()
	content, err := os.ReadFile(f.path())
	must(f, err)
	return content, 0
}

// The same where the file was moved away before the next start.
func TestTheFileIsCompletedWhereverItWasMoved(t *testing.T) {
	nothing, aNewOne := func(*fixture) {}, func(f *fixture) { must(f, os.WriteFile(f.path(), nil, 0o600)) }
	for name, test := range map[string]struct {
		crashed func(f *fixture) ([]byte, int)
		moved   func(f *fixture)
	}{
		"moved":                     {(*fixture).crashed, nothing},
		"moved, and a new one made": {(*fixture).crashed, aNewOne},
		"moved when it had begun":   {(*fixture).begun, nothing},
		"moved when it had begun, and another made": {(*fixture).begun, aNewOne},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			whole, delivered := test.crashed(f)
			old := f.path() + ".1"
			for end := delivered; end <= len(whole); end += 3 {
				must(t, os.RemoveAll(f.path()))
				must(t, os.WriteFile(old, whole[:end], 0o600))
				test.moved(f)
				f.open(f.path())
				f.close()
				f.wantComplete(f.files()...)
				if t.Failed() {
					t.Fatalf("cut off at %d of %d", end, len(whole))
				}
			}
		})
	}
}

// What isn't found is written again, whole: so nothing is missing anywhere.
func TestTheFileIsCompletedWhenNobodyFindsIt(t *testing.T) {
	f := newFixture(t)
	whole, delivered := f.crashed()
	must(t, os.Remove(f.path()))
	f.open(f.path())
	f.close()
	if got, err := os.ReadFile(f.path()); err != nil || string(got) != string(whole[delivered:]) {
		t.Errorf("%v:\n%s", err, got)
	}
}

// What isn't the file that was written isn't touched, and everything but
// authentication waits for somebody who looks into it.
func TestAnotherFilesEndIsRefused(t *testing.T) {
	replace := func(old, new string) func([]byte, int) []byte {
		return func(whole []byte, _ int) []byte { return bytes.Replace(whole, []byte(old), []byte(new), 1) }
	}
	behind := func(more string) func([]byte, int) []byte {
		return func(whole []byte, _ int) []byte { return append(whole, more...) }
	}
	for name, change := range map[string]func(whole []byte, delivered int) []byte{
		"shorter than what was delivered": func(whole []byte, delivered int) []byte { return whole[:delivered-1] },
		"a line that was delivered":       replace(`"n":2}`, `"n":3}`),
		"a line to come":                  replace(`"n":5}`, `"n":6}`),
		"something behind":                behind("\n"),
		"lines of somebody else":          behind("{\"seq\":9}\n"),
		"something else":                  func([]byte, int) []byte { return []byte("127.0.0.1 - - GET /\n") },
		"zeros":                           func(whole []byte, delivered int) []byte { return append(whole[:delivered], make([]byte, 10)...) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			whole, delivered := f.crashed()
			content := change(bytes.Clone(whole), delivered)
			must(t, os.WriteFile(f.path(), content, 0o600))
			f.open(f.path())
			if f.Ready() == nil || len(f.logged("error")) != 1 {
				t.Errorf("ready: %v, logged: %q", f.Ready(), f.logged("error"))
			}
			if got, err := os.ReadFile(f.path()); err != nil || !bytes.Equal(got, content) {
				t.Errorf("it became, %v:\n%s", err, got)
			}
			// Moved away, it makes place for a new one.
			must(t, os.Rename(f.path(), f.path()+".odd"))
			f.waitFor("it goes on", func() bool { return f.Ready() == nil })
			f.close()
			if got, err := os.ReadFile(f.path()); err != nil || string(got) != string(whole[delivered:]) {
				t.Errorf("the new one holds, %v:\n%s", err, got)
			}
		})
	}
}

func TestRotationByRenamingIsFollowed(t *testing.T) {
	f := newFixture(t)
	f.open(f.path())
	files := []string{f.path()}
	for n := range 30 {
		f.mustChange(n)
		if content, err := os.ReadFile(f.path()); err != nil || !strings.Contains(string(content), text(n)[1:]) {
			t.Errorf("change %d isn't in the newest file, %v", n, err)
		}
		if n%3 == 0 {
			files = append(files, fmt.Sprintf("%s.%d", f.path(), n))
			must(t, os.Rename(f.path(), files[len(files)-1]))
		}
		if n%6 == 0 { // as logrotate's "create"
			must(t, os.WriteFile(f.path(), nil, 0o600))
		}
		if n%10 == 9 {
			f.open(f.path())
		}
	}
	f.close()
	f.wantComplete(files...)
	if len(f.logs.All()) > 0 {
		t.Errorf("logged: %v", f.logs.All())
	}
}

// What somebody else has written to the file stays there, and what belongs there
// goes into another one.
func TestLinesOfSomebodyElseStayWhereTheyAre(t *testing.T) {
	f := newFixture(t)
	f.open(f.path())
	f.mustChange(0)
	whole, err := os.ReadFile(f.path())
	must(t, err)
	must(t, os.WriteFile(f.path(), append(whole, "a note\n"...), 0o600))
	if err := f.Await(f.change(text(1))); !errors.Is(err, errChanged) {
		t.Errorf("awaiting: %v", err)
	}
	must(t, os.Rename(f.path(), f.path()+".1"))
	f.waitFor("it goes on", func() bool { return f.Ready() == nil })
	f.mustChange(2)
	f.close()
	if got, err := os.ReadFile(f.path() + ".1"); err != nil || string(got) != string(whole)+"a note\n" {
		t.Errorf("it became, %v:\n%s", err, got)
	}
	must(t, os.WriteFile(f.path()+".1", whole, 0o600))
	f.wantComplete(f.path(), f.path()+".1")
}

// A file that is copied and cut off isn't written to any more.
func TestCopytruncateIsRefused(t *testing.T) {
	f := newFixture(t)
	f.open(f.path())
	f.mustChange(0)
	whole, err := os.ReadFile(f.path())
	must(t, err)
	must(t, os.WriteFile(f.path()+".1", whole, 0o600))
	must(t, os.Truncate(f.path(), 0))
	if err := f.Ready(); !errors.Is(err, errShrunk) {
		t.Errorf("ready: %v", err)
	}
	if err := f.Await(f.change(text(1))); !errors.Is(err, errShrunk) {
		t.Errorf("awaiting: %v", err)
	}
	if info, err := os.Stat(f.path()); err != nil || info.Size() != 0 {
		t.Errorf("something was written to it, %v", err)
	}
	if logged := f.logged("error"); len(logged) != 1 {
		t.Errorf("logged: %q", logged)
	}
	must(t, os.Remove(f.path()))
	f.waitFor("it goes on", func() bool { return f.Ready() == nil })
	f.mustChange(2)
	f.close()
	f.wantComplete(f.path()+".1", f.path())
	if logged := f.logged("info"); len(logged) != 1 {
		t.Errorf("logged: %q", logged)
	}
}

// While the file can't be written, lines wait in the outbox, and are written in
// order once it can be. The owner is told twice.
func TestLinesWaitForTheFile(t *testing.T) {
	f := newFixture(t)
	f.open(f.path())
	f.mustChange(0)
	// A directory that is a file lets nobody do anything, root included.
	away := f.dir + ".away"
	must(t, os.Rename(f.dir, away))
	must(t, os.WriteFile(f.dir, nil, 0o600))
	if f.Ready() == nil {
		t.Error("it is ready")
	}
	for n := range 500 {
		at := f.change(text(1 + n))
		if n%100 == 0 && f.Await(at) == nil {
			t.Errorf("change %d is said to be written", n)
		}
	}
	failures := f.Failures()
	f.waitFor("it is tried again", func() bool { return f.Failures() > failures })
	must(t, os.Remove(f.dir))
	must(t, os.Rename(away, f.dir))
	f.waitFor("it is written again", func() bool { return f.Ready() == nil })
	f.mustChange(501)
	f.close()
	f.wantComplete(f.path())
	if errs, infos := f.logged("error"), f.logged("info"); len(errs) != 1 || len(infos) != 1 {
		t.Errorf("logged: %q, %q", errs, infos)
	}
}

// A process that ends while the file can't be written leaves its lines to the next.
func TestLinesWaitForTheNextStart(t *testing.T) {
	f := newFixture(t)
	f.open(f.path())
	f.mustChange(0)
	away := f.dir + ".away"
	must(t, os.Rename(f.dir, away))
	must(t, os.WriteFile(f.dir, nil, 0o600))
	f.change(text(1))
	f.close()
	// Authentication has to go on, so that this is no reason not to start.
	f.open(f.path())
	if f.Ready() == nil || len(f.logged("error")) != 1 {
		t.Errorf("ready: %v, logged: %q", f.Ready(), f.logged("error"))
	}
	f.change(text(2))
	// But a file that nobody wants any more, and that can't be completed, is.
	if err := f.tryOpen(""); err == nil || !strings.Contains(err.Error(), "changes wait") {
		t.Errorf("opened without a file: %v", err)
	}
	t.Run("and then to another file", func(t *testing.T) {
		other := f.dir + ".other.jsonl"
		f.store.forgets.Store(true)
		f.open(other)
		f.close()
		f.store.forgets.Store(false)
		f.TB = t
		f.wantComplete(filepath.Join(away, "audit.jsonl"), other)
	})
	f.TB = t
	must(t, os.Remove(f.dir))
	must(t, os.Rename(away, f.dir))
	f.open("")
	f.close()
	f.wantComplete(f.path())
}

// A disk that doesn't answer, as one in the network, holds nobody up for ever.
func TestADiskThatDoesntAnswerIsAFailure(t *testing.T) {
	f := newFixture(t)
	f.open(f.path())
	f.mustChange(0)
	f.patience = 10 * time.Millisecond
	answers := make(chan struct{})
	f.calls <- call{func() error { <-answers; return nil }, make(chan error, 1)}
	if err := f.Await(f.change(text(1))); !errors.Is(err, errSlow) {
		t.Errorf("awaiting: %v", err)
	}
	if err := f.Ready(); !errors.Is(err, errSlow) {
		t.Errorf("ready: %v", err)
	}
	if err := f.Check(f.path() + ".other"); !errors.Is(err, errSlow) {
		t.Errorf("checking another one: %v", err)
	}
	f.patience = defaultPatience
	close(answers)
	f.waitFor("it is ready again", func() bool { return f.Ready() == nil })
	f.mustChange(2)
	f.close()
	f.wantComplete(f.path())
	if errs, infos := f.logged("error"), f.logged("info"); len(errs) != 1 || len(infos) != 1 {
		t.Errorf("logged: %q, %q", errs, infos)
	}
}

// A path that can't be written to is a mistake in the configuration.
func TestAFileThatCantBeBegunIsRefused(t *testing.T) {
	f := newFixture(t)
	must(t, os.MkdirAll(f.dir, 0o700))
	odd := filepath.Join(f.dir, "odd.jsonl")
	check := func(name, path, want string) {
		t.Helper()
		if err := f.tryOpen(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	must(t, os.WriteFile(odd, []byte("127.0.0.1 - - GET /\n"), 0o600))
	check("another file", odd, "doesn't end in a line of an audit file")
	check("a directory", f.dir, "is a directory")
	check("below a file", filepath.Join(odd, "audit.jsonl"), "not a directory")
	if content, err := os.ReadFile(odd); err != nil || string(content) != "127.0.0.1 - - GET /\n" {
		t.Errorf("it became %q, %v", content, err)
	}
	// With one that is written, a reload is told the same.
	f.open(f.path())
	f.mustChange(0)
	for _, path := range []string{odd, f.dir} {
		if err := f.Check(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("checking %s: %v", path, err)
		}
	}
	f.mustChange(1)
	f.close()
	f.wantComplete(f.path())
	whole := append([]byte(f.everything()), `{"seq":3,"previous":"`+strings.Repeat("0", 64)+"\",\"epoch\":1,\"revision\":1}\n"...)
	must(t, os.WriteFile(odd, whole[bytes.IndexByte(whole, '\n')+1:], 0o600))
	check("another store's", odd, "another store")
}

// The chain goes on wherever the owner wants it to, there and back again.
func TestAnotherPathContinuesTheChain(t *testing.T) {
	f := newFixture(t)
	other := filepath.Join(f.dir, "sub", "other.jsonl")
	f.open(f.path())
	use := func(path string) {
		t.Helper()
		if err := f.Check(path); err != nil {
			t.Fatal(err)
		}
		f.Use(path)
	}
	f.mustChange(0)
	use(other)
	if err := f.Await(f.change(text(1))); err != nil {
		t.Fatal(err)
	}
	use(f.path())
	f.mustChange(2)
	f.open(other)
	if err := f.Await(f.change(text(3))); err != nil {
		t.Fatal(err)
	}
	// Without one, nothing is wanted, but what has been committed is written.
	use("")
	if f.Wanted() {
		t.Error("lines are wanted")
	}
	f.change(text(4))
	f.waitFor("the last line is written", func() bool {
		content, err := os.ReadFile(other)
		return err == nil && strings.Contains(string(content), `"n":4}`)
	})
	f.open("")
	if err := f.Ready(); err != nil {
		t.Error(err)
	}
	use(f.path())
	f.mustChange(5)
	f.close()
	f.wantComplete(f.path(), other)
}

// A store that has no chain yet continues the one that it finds, and says so.
func TestANewStoreContinuesAChain(t *testing.T) {
	first := newFixture(t)
	first.open(first.path())
	first.mustChange(0)
	first.mustChange(1)
	first.close()

	second := newFixture(t)
	second.dir = first.dir
	second.open(second.path())
	if logged := second.logged("warn"); len(logged) != 1 {
		t.Errorf("logged: %q", logged)
	}
	second.mustChange(2)
	second.close()
	second.texts = append(first.texts, second.texts...)
	second.wantComplete(second.path())
}

// What was allocated beforehand doesn't stay with a file that is left.
func TestRoomIsAllocatedAndGivenBack(t *testing.T) {
	f := newFixture(t)
	f.open(f.path())
	f.mustChange(0)
	if got := allocated(t, f.path()); got != 0 && got < room/2 {
		t.Errorf("%d bytes are allocated", got)
	}
	must(t, os.Rename(f.path(), f.path()+".1"))
	f.mustChange(1)
	if got := allocated(t, f.path()+".1"); got >= room/2 {
		t.Errorf("%d bytes are allocated of the file that was left", got)
	}
	f.close()
	if got := allocated(t, f.path()); got >= room/2 {
		t.Errorf("%d bytes are allocated of the file that was closed", got)
	}
}
