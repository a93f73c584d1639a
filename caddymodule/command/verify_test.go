package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

func verified(args ...string) (stdout, stderr, end string) {
	return runTyping("", append([]string{"verify"}, args...)...)
}

// contents are all files below a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestVerifyAStore(t *testing.T) {
	b := backUp(t)
	if _, stderr, end := verified(b.dir); end != failed || !strings.Contains(stderr, "in use") {
		t.Errorf("while it is in use: %s, %s", end, stderr)
	}
	b.close()
	before := contents(t, b.dir)
	stdout, stderr, end := verified(b.dir)
	for _, want := range []string{"is whole: a store at revision ", "of epoch 1, in which 8 tokens were ever made", "is in " + filepath.Join(b.dir, "hash.key"), "It remembers that it was "} {
		if end != "" || !strings.Contains(stdout, want) {
			t.Errorf("%s, doesn't say %q:\n%s%s", end, want, stdout, stderr)
		}
	}
	var said struct {
		Kind     string
		Revision uint64
	}
	if stdout, _, end := verified("--json", b.dir); end != "" || json.Unmarshal([]byte(stdout), &said) != nil || said.Kind != "store" || said.Revision == 0 {
		t.Errorf("as JSON: %s, %s", end, stdout)
	}
	for name, text := range contents(t, b.dir) {
		if before[name] != text {
			t.Errorf("%s has changed", name)
		}
		delete(before, name)
	}
	if len(before) > 0 {
		t.Errorf("files are gone: %v", before)
	}
	if err := os.Rename(filepath.Join(b.dir, "deleted.list"), filepath.Join(b.dir, "away")); err != nil {
		t.Fatal(err)
	}
	if _, stderr, end := verified(b.dir); end != failed || !strings.Contains(stderr, "is damaged: deleted.list: it is missing") {
		t.Errorf("without its list: %s, %s", end, stderr)
	}
}

func TestVerifyABackup(t *testing.T) {
	b := backUp(t)
	stdout, stderr, end := verified(b.file)
	for _, want := range []string{"is whole: of 2019-01-16T00:06:41Z, revision ", "the records of 7 tokens", "which isn't in it", "would need --deleted or --allow-undelete: there is no deleted.list beside it"} {
		if end != "" || !strings.Contains(stdout, want) {
			t.Errorf("%s, doesn't say %q:\n%s%s", end, want, stdout, stderr)
		}
	}
	b.revoke()
	b.list(nil)
	if stdout, _, end := verified(b.file); end != "" || !strings.Contains(stdout, "1 record since the backup") {
		t.Errorf("with a list beside it: %s, %s", end, stdout)
	}
	var said struct {
		Kind           string
		Tokens         int
		TakenAwaySince int
	}
	if stdout, _, end := verified("--json", b.file); end != "" || json.Unmarshal([]byte(stdout), &said) != nil || said.Kind != "backup" || said.Tokens != 7 || said.TakenAwaySince != 1 {
		t.Errorf("as JSON: %s, %s", end, stdout)
	}
	dir := t.TempDir()
	for _, at := range []time.Time{storetest.Epoch, storetest.Epoch.AddDate(0, 0, 1), storetest.Epoch.AddDate(0, 0, -1)} {
		whole, err := os.ReadFile(b.file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, backup.Name(at, false)), whole, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if stdout, _, end := verified(dir); end != "" || !strings.HasPrefix(stdout, filepath.Join(dir, "access-tokens-20190117T000641Z.backup is whole")) {
		t.Errorf("the newest: %s, %s", end, stdout)
	}
	if err := os.Truncate(b.file, 300); err != nil {
		t.Fatal(err)
	}
	if _, stderr, end := verified(b.file); end != failed || !strings.Contains(stderr, "damaged") {
		t.Errorf("half of it: %s, %s", end, stderr)
	}
}

func TestVerifyNothing(t *testing.T) {
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes")
	if err := os.WriteFile(notes, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{dir}, {filepath.Join(dir, "nowhere")}, {notes}, {"--clock", "--yes", dir}} {
		if _, stderr, end := verified(args...); end != nothingMatched {
			t.Errorf("%v: %s, %s", args, end, stderr)
		}
	}
	for _, args := range [][]string{{dir, dir}, {"--clock", notes}, {"--nothing"}} {
		if _, stderr, end := verified(args...); end != wronglyUsed {
			t.Errorf("%v: %s, %s", args, end, stderr)
		}
	}
}

func TestVerifyTakesTheClockBack(t *testing.T) {
	b := backUp(t)
	if _, stderr, end := verified("--clock", "--yes", b.dir); end != failed || !strings.Contains(stderr, "in use") {
		t.Errorf("while it is in use: %s, %s", end, stderr)
	}
	b.close()
	if _, stderr, end := verified("--clock", b.dir); end != wronglyUsed || !strings.Contains(stderr, "--yes") {
		t.Errorf("with nobody to be asked: %s, %s", end, stderr)
	}
	if stdout, stderr, end := verified("--clock", "--yes", b.dir); end != "" || !strings.Contains(stdout, "remembers that it is ") {
		t.Errorf("%s, %s%s", end, stdout, stderr)
	}
	if stdout, _, end := verified(b.dir); end != "" {
		t.Errorf("afterwards: %s, %s", end, stdout)
	}
}

// What isn't there, or isn't one of ours, is named once.
func TestVerifyNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(file, []byte("no backup"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{file: file + ": it is no backup of access tokens\n", dir: dir + ": "} {
		if stdout, stderr, end := verified(name); end != nothingMatched || stdout != "" || !strings.HasPrefix(stderr, want) || strings.Count(stderr, name) != 1 {
			t.Errorf("%s: %s%s, %s", name, stdout, stderr, end)
		}
	}
}
