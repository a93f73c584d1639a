package badgerstore

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"net/netip"
	"os"
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
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o700)
		} else {
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

func (s *Store) formatOnDisk(t testing.TB) byte {
	t.Helper()
	txn := s.db.NewTransactionAt(s.applied.Load(), false)
	defer txn.Discard()
	b, err := get(txn, metaFormat)
	if err != nil || len(b) != 1 {
		t.Fatalf("format %x, %v", b, err)
	}
	return b[0]
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
	// What it reads leaves a store as it was.
	if got := s.formatOnDisk(t); got != 1 {
		t.Errorf("format %d after reading", got)
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
	if got := s.formatOnDisk(t); got != newestFormat {
		t.Errorf("format %d after tokens were made", got)
	}
	checkIndexes(t, s)
}

// What releases of format 1 know leaves a store one that they open.
func TestFormatIsRaisedOnlyByWhatNeedsIt(t *testing.T) {
	address := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name   string
		change store.Mutation
		want   byte
	}{
		{"settings", store.Configure{Project: "q", Settings: store.Settings{Enabled: new(false)}}, 1},
		{"a use", store.Touch{Uses: []store.Use{{ID: storetest.NewRecord("p", "alice", 0).ID, At: storetest.Epoch.AddDate(1, 0, 0)}}}, 1},
		{"a purge", store.Purge{ID: storetest.NewRecord("p", "alice", 1).ID}, 1},
		{"a use from an address", store.Touch{Uses: []store.Use{{ID: storetest.NewRecord("p", "alice", 0).ID, At: storetest.Epoch.AddDate(1, 0, 0), Address: address}}}, 2},
		{"a token", store.Create{Record: storetest.NewRecord("q", "alice", 0)}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := unpackFormat1(t)
			s := open(t, dir, Options{Key: format1Key(t)})
			mustCommit(t, s, c.change)
			if got := s.formatOnDisk(t); got != c.want {
				t.Errorf("format %d, want %d", got, c.want)
			}
		})
	}
}
