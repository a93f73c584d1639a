package store

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var someAccount = rapid.Custom(func(t *rapid.T) (a Account) {
	maybe := rapid.OneOf(rapid.Just(time.Time{}), someTime)
	a = Account{
		Blocked: maybe.Draw(t, "blocked"), BlockedBy: rapid.String().Draw(t, "by"), BlockRevision: rapid.Uint64().Draw(t, "blocked at"),
		Revision: rapid.Uint64().Draw(t, "revision"), Living: rapid.Uint64().Draw(t, "living"),
		Counted: maybe.Draw(t, "counted"), Next: maybe.Draw(t, "next"),
	}
	if a.Void = rapid.Uint64().Draw(t, "void"); a.Void > 0 {
		a.VoidAt = someTime.Draw(t, "void at")
	}
	return a
})

func TestAccountRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := someAccount.Draw(t, "account")
		b := want.Append(nil)
		got, err := DecodeAccount(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		for n := range b {
			if _, err := DecodeAccount(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%d of %d bytes: %v", n, len(b), err)
			}
		}
	})
}

func TestAccountsOfEachVersionAreRead(t *testing.T) {
	a := Account{
		Void: 7, VoidAt: time.UnixMilli(1547597201743).UTC(), Blocked: time.UnixMilli(1547597201744).UTC(), BlockedBy: "alice", BlockRevision: 8,
		Revision: 8, Living: 9, Counted: time.UnixMilli(1547597201745).UTC(), Next: time.UnixMilli(1547597201746).UTC(),
	}
	b := golden(t, "testdata/account.1.hex")
	got, err := DecodeAccount(b)
	if diff := cmp.Diff(a, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if !bytes.Equal(a.Append(nil), b) {
		t.Errorf("encoded\n%x, want\n%x", a.Append(nil), b)
	}
	newer := bytes.Clone(b)
	newer[0] = accountVersion + 1
	if _, err := DecodeAccount(newer); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer version: %v", err)
	}
}

func FuzzDecodeAccount(f *testing.F) {
	a := Account{Void: 7, VoidAt: time.UnixMilli(1).UTC(), Blocked: time.UnixMilli(2), BlockedBy: "alice", Revision: 8, Living: 9}
	f.Add(a.Append(nil))
	f.Add([]byte{accountVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeAccount(b)
		if err != nil {
			return
		}
		if again := a.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes, but is written as %x", b, again)
		}
	})
}
