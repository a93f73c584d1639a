package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
			Revision:      rapid.Uint64().Draw(t, "revision"),
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
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A record written by this release must be read by every later one.
func TestRecordFormat1(t *testing.T) {
	r := Record{
		ID: uuid.UUID{1}, Hash: [32]byte{2}, Key: [8]byte{3}, Project: "dataprep",
		User:     User{ID: "alice", Email: "alice@example.com", Name: "Alice A.", Claims: map[string]string{"workspace_id": "7", "a": ""}},
		SignedIn: time.UnixMilli(1547597201743).UTC(), SignedInAdmin: true, Description: "nightly",
		Created: time.UnixMilli(1547597201744).UTC(), Revoked: time.UnixMilli(1547597201745).UTC(),
		Lifetime: 86400, Parent: uuid.UUID{4}, Revision: 5,
	}
	const want = "0107" + "01000000000000000000000000000000" +
		"0200000000000000000000000000000000000000000000000000000000000000" +
		"0300000000000000" + "0000000000000005" + "0000016853fb4150" + "0000000000015180" + "0000016853fb414f" +
		"04000000000000000000000000000000" + "0000016853fb4151" +
		"086461746170726570" + "05616c696365" + "11616c696365406578616d706c652e636f6d" + "08416c69636520412e" + "076e696768746c79" +
		"02" + "0161" + "00" + "0c776f726b73706163655f6964" + "0137"
	if got := hex.EncodeToString(r.Append(nil)); got != want {
		t.Errorf("encoded\n%s, want\n%s", got, want)
	}
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
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err != nil {
			return
		}
		if again := r.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes, but is written as %x", b, again)
		}
	})
}
