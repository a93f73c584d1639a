package badgerstore

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// format1Key is the key of testdata/format1.tar.gz, a store that a release of
// format 1 made. It holds alice's tokens 0 to 6: 1 and 2 live an hour, 3 renews
// 2, 4 was revoked after a minute, and 0 used after an hour.
func format1Key(t testing.TB) *token.Key {
	t.Helper()
	key, err := token.NewKey(strings.Repeat("k", 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func unpackFormat1(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	f, err := os.Open("testdata/format1.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	unpack(t, plain, dir)
	return dir
}

func unpack(t testing.TB, archive io.Reader, dir string) {
	t.Helper()
	for files := tar.NewReader(archive); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, header.Name)
		switch header.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(name, 0o700)
		case tar.TypeReg:
			var content []byte
			if content, err = io.ReadAll(files); err == nil {
				err = os.WriteFile(name, content, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestStoreOfFormat1IsReadAndChanged(t *testing.T) {
	dir, key := unpackFormat1(t), format1Key(t)
	s := open(t, dir, Options{Key: key})
	var records []store.Record
	for i := range 7 {
		want := storetest.NewRecord("p", "alice", i)
		r, err := s.ByHash(want.Hash)
		if err != nil || r.ID != want.ID || r.Description != want.Description || r.User.Claims["w"] != "7" {
			t.Fatalf("token %d: %+v, %v", i, r, err)
		}
		if r.Number != 0 || r.Scopes != nil || r.Addresses != nil || r.CreatedRevision != r.Revision {
			t.Errorf("token %d has what there was not: %+v", i, r)
		}
		records = append(records, r)
	}
	if !records[4].IsRevoked() {
		t.Error("token 4 isn't revoked")
	}
	if records[3].Parent != records[2].ID {
		t.Error("token 3 renews nothing")
	}
	if uses, err := s.LastUsed(records[0].ID); err != nil || !uses[0].At.Equal(storetest.Epoch.Add(time.Hour)) || uses[0].Address.IsValid() {
		t.Errorf("used %v, %v", uses, err)
	}
	if settings, revision := s.Settings("p"); settings.Generate != "everyone" || revision == 0 {
		t.Errorf("settings %+v of revision %d", settings, revision)
	}
	checkIndexes(t, s)

	child := storetest.NewRecord("p", "alice", 7)
	child.Parent, child.Scopes = records[0].ID, []string{"read"}
	_, settings := s.Settings("p")
	mustCommit(t, s, store.Create{Record: child, SettingsRevision: settings, ParentRevision: records[0].Revision})
	if r, err := s.ByID(child.ID); err != nil || r.Number != 1 {
		t.Errorf("the first token with a number: %+v, %v", r, err)
	}
	mustCommit(t, s, store.Revoke{ID: records[2].ID, Revision: records[2].Revision, At: storetest.Epoch, Successors: true})
	for i, want := range []bool{false, false, true, true, true, false, false} {
		if r, err := s.ByID(records[i].ID); err != nil || r.IsRevoked() != want || r.CreatedRevision > r.Revision {
			t.Errorf("token %d: %+v, %v, want revoked %v", i, r, err, want)
		}
	}
	mustCommit(t, s, store.Touch{Uses: []store.Use{{ID: records[0].ID, At: storetest.Epoch.Add(2 * time.Hour), Address: netip.MustParseAddr("2001:db8::1")}}})
	mustCommit(t, s, store.Purge{ID: records[0].ID})
	mustCommit(t, s, store.Purge{ID: records[1].ID})
	if r, err := s.ByID(child.ID); err != nil || r.Parent != uuid.Nil {
		t.Errorf("a successor of what was purged: %+v, %v", r, err)
	}
	checkIndexes(t, s)
	closeStore(t, s)
	s = open(t, dir, Options{Key: key})
	if got := s.formatOnDisk(t); got != format {
		t.Errorf("format %d after it was opened", got)
	}
	checkIndexes(t, s)
}

func (s *Store) formatOnDisk(t testing.TB) byte {
	t.Helper()
	txn := s.snapshot(s.applied.Load(), false)
	defer txn.Discard()
	b, err := get(txn, metaFormat)
	if err != nil || len(b) != 1 {
		t.Fatalf("format %x, %v", b, err)
	}
	return b[0]
}

// unheeded are changes of the store in testdata that a release of format 1 would
// overlook, or couldn't read.
func unheeded() map[string]store.Mutation {
	used := storetest.NewRecord("p", "alice", 0).ID
	scoped, limited := storetest.NewRecord("q", "alice", 0), storetest.NewRecord("q", "alice", 0)
	scoped.Scopes = []string{"read"}
	limited.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	return map[string]store.Mutation{
		"nothing":                store.Touch{},
		"a scope":                store.Create{Record: scoped},
		"addresses":              store.Create{Record: limited},
		"a limit":                store.Create{Record: storetest.NewRecord("q", "alice", 0), Limit: 1},
		"a void":                 store.Void{Project: "p", User: "alice", At: storetest.Epoch},
		"a block":                store.Block{Project: "p", User: "alice", At: storetest.Epoch},
		"a moved key":            store.Rehash{ID: used, Revision: 2, Hash: token.Hash{1}, Key: token.KeyID{1}},
		"an epoch":               store.BeginEpoch{Epoch: 2},
		"a use from an address":  store.Touch{Uses: []store.Use{{ID: used, At: storetest.Epoch.AddDate(1, 0, 0), Address: netip.MustParseAddr("192.0.2.1")}}},
		"a revocation in a list": store.Revoke{ID: used, Revision: 2, At: storetest.Epoch},
	}
}

// format1Release is the last commit whose releases write format 1.
const format1Release = "d58bbbebc432f984ba0783d28c8786ccbfde1d62"

// The release before, built from history, refuses what it would overlook, and
// says so. As it would delete tokens without listing them, that is any store that
// this release has opened.
func TestReleaseBeforeRefusesWhatItWouldOverlook(t *testing.T) {
	if os.Getenv("ACCESS_TOKENS_TEST_FORMAT") != "1" {
		t.Skip("set ACCESS_TOKENS_TEST_FORMAT=1 to build the release before; this needs git and the history")
	}
	before := buildRelease(t, format1Release)
	if out, err := exec.Command(before, unpackFormat1(t)).CombinedOutput(); err != nil || string(out) != "open\n" {
		t.Fatalf("it doesn't open its own: %v, %s", err, out)
	}
	for name, change := range unheeded() {
		t.Run(name, func(t *testing.T) {
			dir := unpackFormat1(t)
			s := open(t, dir, Options{Key: format1Key(t)})
			if _, err := s.Commit(context.Background(), change, []byte("a line in the outbox")); err != nil {
				t.Fatal(err)
			}
			closeStore(t, s)
			out, err := exec.Command(before, dir).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "has format 02, and this release reads format 1: upgrade") {
				t.Errorf("%v, %s, want it to say that the store has a newer format", err, out)
			}
		})
	}
}

// openProgram opens a store, reads one token and closes it.
const openProgram = `package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func main() {
	key, err := token.NewKey(strings.Repeat("k", 32))
	if err == nil {
		var s *badgerstore.Store
		if s, err = badgerstore.Open(os.Args[1], badgerstore.Options{Key: key}); err == nil {
			_, err = s.ByHash(storetest.NewRecord("p", "alice", 3).Hash)
			if err == nil {
				err = s.Close()
			}
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
}
`

// buildRelease builds openProgram as of a commit.
func buildRelease(t *testing.T, commit string) (program string) {
	t.Helper()
	run := func(dir, name string, args ...string) []byte {
		t.Helper()
		c := exec.Command(name, args...)
		c.Dir = dir
		out, err := c.Output()
		if err != nil {
			var failed *exec.ExitError
			if errors.As(err, &failed) {
				out = failed.Stderr
			}
			t.Fatalf("%s %v: %v, %s", name, args, err, out)
		}
		return out
	}
	root := strings.TrimSpace(string(run(".", "git", "rev-parse", "--show-toplevel")))
	source := t.TempDir()
	unpack(t, bytes.NewReader(run(root, "git", "archive", commit, "go.mod", "go.sum", "internal")), source)
	main := filepath.Join(source, "internal", "opens")
	if err := os.MkdirAll(main, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(main, "main.go"), []byte(openProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(t.TempDir(), "before")
	run(source, "go", "build", "-o", program, "./internal/opens")
	return program
}
