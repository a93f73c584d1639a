package auditfile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Whatever stands where lines have to be written, either they stand there whole
// afterwards, or nothing has been touched.
func FuzzWhatIsFound(f *testing.F) {
	fixture := newFixture(f)
	whole, delivered := fixture.crashed()
	f.Add([]byte{})
	f.Add(whole[delivered:])
	f.Add(whole[delivered : len(whole)-3])
	f.Add(append(bytes.Clone(whole[delivered:]), '\n'))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, found []byte) {
		content := append(bytes.Clone(whole[:delivered]), found...)
		must(t, os.WriteFile(fixture.path(), content, 0o600))
		fixture.TB = t
		fixture.open(fixture.path())
		ready := fixture.Ready()
		fixture.close()
		want := whole
		if isBeginning := bytes.HasPrefix(whole, content); isBeginning != (ready == nil) {
			t.Errorf("ready: %v", ready)
		} else if !isBeginning {
			want = content
		}
		if got, err := os.ReadFile(fixture.path()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("it became, %v:\n%s", err, got)
		}
	})
}

// Whatever happens to a file and to the process that writes it, in whatever order,
// the files hold each line once, and in order.
func TestFilesHoldEachLineOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(t)
		f.open(f.path())
		moves, away := 0, f.dir+".away"
		isAway := false
		n := 0
		move := func() {
			if _, err := os.Stat(f.path()); err == nil {
				moves++
				must(t, os.Rename(f.path(), fmt.Sprintf("%s.%d", f.path(), moves)))
			}
		}
		back := func() {
			if isAway {
				must(t, os.Remove(f.dir))
				must(t, os.Rename(away, f.dir))
				isAway = false
				f.waitFor("it can be written", func() bool { return f.write() == nil })
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"change": func(rt *rapid.T) {
				var texts []string
				for range rapid.IntRange(1, 3).Draw(rt, "lines") {
					texts = append(texts, text(n))
					n++
				}
				at := f.change(texts...)
				if rapid.Bool().Draw(rt, "awaited") {
					if err := f.Await(at); (err != nil) != isAway {
						rt.Fatalf("awaiting it: %v", err)
					}
				}
			},
			"move": func(*rapid.T) {
				if !isAway {
					move()
				}
			},
			"stop and start": func(*rapid.T) {
				back()
				f.open(f.path())
			},
			// What was written since isn't known to have left the outbox, and of the last
			// of it some may not have been written.
			"crash and start": func(rt *rapid.T) {
				back()
				delivered := f.sync()
				f.store.forgets.Store(true)
				for range rapid.IntRange(0, 3).Draw(rt, "changes") {
					f.change(text(n))
					n++
				}
				f.close()
				f.store.forgets.Store(false)
				info, err := os.Stat(f.path())
				must(t, err)
				must(t, os.Truncate(f.path(), int64(rapid.IntRange(int(delivered), int(info.Size())).Draw(rt, "size"))))
				if rapid.Bool().Draw(rt, "moved") {
					move()
				}
				f.open(f.path())
			},
			"away": func(*rapid.T) {
				if !isAway {
					must(t, os.Rename(f.dir, away))
					must(t, os.WriteFile(f.dir, nil, 0o600))
					isAway = true
				}
			},
			"back": func(*rapid.T) { back() },
			"": func(rt *rapid.T) {
				if rt.Failed() || t.Failed() {
					rt.FailNow()
				}
			},
		})
		back()
		f.close()
		files, err := filepath.Glob(filepath.Join(f.dir, "*"))
		must(t, err)
		f.wantComplete(files...)
		if lines, err := f.store.Outbox(store.LinePlace{}); err != nil || len(lines) > 0 {
			t.Errorf("%d lines are left in the outbox, %v", len(lines), err)
		}
	})
}

// write has what waits written now.
func (f *fixture) write() error { return f.do(f.Writer.write) }

// sync takes all out of the outbox that is in the file, and returns how long that is.
func (f *fixture) sync() (end int64) {
	f.Helper()
	must(f, f.do(func() error {
		err := f.Writer.write()
		if err == nil {
			err = f.deliver(0)
		}
		end = f.tail.End
		return err
	}))
	return end
}
