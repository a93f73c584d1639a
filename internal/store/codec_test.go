package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

var (
	someTime = rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(0, 1<<45).Draw(t, "ms")).UTC()
	})
	someID = rapid.Custom(func(t *rapid.T) (id uuid.UUID) {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		return id
	})
	somePrefix = rapid.Custom(func(t *rapid.T) netip.Prefix {
		n := rapid.SampledFrom([]int{4, 16}).Draw(t, "bytes")
		addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
		return netip.PrefixFrom(addr, rapid.IntRange(0, 8*n).Draw(t, "bits"))
	})
	someRecord = rapid.Custom(func(t *rapid.T) Record {
		r := Record{
			ID:            someID.Draw(t, "id"),
			Project:       rapid.String().Draw(t, "project"),
			SignedIn:      someTime.Draw(t, "signed in"),
			SignedInAdmin: rapid.Bool().Draw(t, "admin"),
			Description:   rapid.String().Draw(t, "description"),
			Created:       someTime.Draw(t, "created"),
			Lifetime:      rapid.OneOf(rapid.Just(Never), rapid.Int64Range(1, 3_155_760_000)).Draw(t, "lifetime"),
			Parent:        rapid.OneOf(rapid.Just(uuid.Nil), someID).Draw(t, "parent"),
			Scopes:        rapid.OneOf(rapid.Just[[]string](nil), rapid.SliceOfN(rapid.String(), 1, 3)).Draw(t, "scopes"),
			Addresses:     rapid.OneOf(rapid.Just[[]netip.Prefix](nil), rapid.SliceOfN(somePrefix, 1, 3)).Draw(t, "addresses"),

			Revision:        rapid.Uint64().Draw(t, "revision"),
			CreatedRevision: rapid.Uint64().Draw(t, "revision of the creation"),
			Number:          rapid.Uint64().Draw(t, "number"),
			User: User{
				ID:    rapid.String().Draw(t, "user"),
				Email: rapid.String().Draw(t, "email"),
				Name:  rapid.String().Draw(t, "name"),
			},
		}
		copy(r.Hash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		copy(r.Key[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "key"))
		if rapid.Bool().Draw(t, "is revoked") {
			r.Revoked = someTime.Draw(t, "revoked")
		}
		if claims := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "claims"); len(claims) > 0 {
			r.User.Claims = claims
		}
		return r
	})
)

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := someRecord.Draw(t, "record")
		got, err := DecodeRecord(want.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A record that a release wrote must be read by every later one. The files are
// never written again; a new version gets another file.
func TestRecordsOfEachVersionAreRead(t *testing.T) {
	r := Record{
		ID: uuid.UUID{1}, Hash: [32]byte{2}, Key: [8]byte{3}, Project: "dataprep",
		User:     User{ID: "alice", Email: "alice@example.com", Name: "Alice A.", Claims: map[string]string{"workspace_id": "7", "a": ""}},
		SignedIn: time.UnixMilli(1547597201743).UTC(), SignedInAdmin: true, Description: "nightly",
		Created: time.UnixMilli(1547597201744).UTC(), Revoked: time.UnixMilli(1547597201745).UTC(),
		Lifetime: 86400, Parent: uuid.UUID{4}, Revision: 5, CreatedRevision: 5,
	}
	check := func(file string) []byte {
		t.Helper()
		b := golden(t, file)
		got, err := DecodeRecord(b)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if diff := cmp.Diff(r, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
		return b
	}
	check("testdata/record.1.hex")

	r.CreatedRevision, r.Number = 4, 6
	r.Scopes = []string{"read", "jobs"}
	r.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128")}
	if b := check("testdata/record.2.hex"); !bytes.Equal(r.Append(nil), b) {
		t.Errorf("encoded\n%x, want\n%x", r.Append(nil), b)
	}
}

func golden(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(string(bytes.ReplaceAll(text, []byte("\n"), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeRefuses(t *testing.T) {
	r := Record{ID: uuid.UUID{1}, Lifetime: 60, Created: time.UnixMilli(1), SignedIn: time.UnixMilli(1), User: User{ID: "alice"}}
	good := r.Append(nil)
	for n := range good {
		if _, err := DecodeRecord(good[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d of %d bytes: %v", n, len(good), err)
		}
	}
	if _, err := DecodeRecord(append(bytes.Clone(good), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
	newer := bytes.Clone(good)
	newer[0] = recordVersion + 1
	if _, err := DecodeRecord(newer); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer version: %v", err)
	}
}

func TestExpiryHasNoLeeway(t *testing.T) {
	created := time.UnixMilli(1547597201743)
	r := Record{Created: created, Lifetime: 60}
	end := created.Add(time.Minute)
	if r.Expired(end.Add(-time.Millisecond)) || !r.Expired(end) {
		t.Error("a token expires exactly its lifetime after it was made")
	}
	r.Lifetime = Never
	if _, ok := r.Expires(); ok || r.Expired(end.AddDate(1000, 0, 0)) {
		t.Error("a token without limit expired")
	}
}

func FuzzDecodeRecord(f *testing.F) {
	r := Record{ID: uuid.UUID{1}, Lifetime: Never, Created: time.UnixMilli(1), SignedIn: time.UnixMilli(1),
		User: User{ID: "alice", Claims: map[string]string{"a": "b", "c": "d"}}, Parent: uuid.UUID{2}, Revoked: time.UnixMilli(2)}
	f.Add(r.Append(nil))
	r.Scopes, r.Addresses = []string{"a", "b"}, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	f.Add(r.Append(nil))
	f.Add([]byte{recordVersion})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err != nil {
			return
		}
		again := r.Append(nil)
		if b[0] == recordVersion && !bytes.Equal(again, b) {
			t.Fatalf("%x decodes, but is written as %x", b, again)
		}
		second, err := DecodeRecord(again)
		if diff := cmp.Diff(r, second, cmpopts.EquateComparable(netip.Prefix{})); err != nil || diff != "" {
			t.Fatalf("%x decodes, and again as %v\n%s", b, err, diff)
		}
	})
}
