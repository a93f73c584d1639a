package store

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
)

// encoded are an example of each kind and what reads it, written again.
func encoded() map[string]struct {
	example []byte
	again   func([]byte) ([]byte, error)
} {
	at := time.UnixMilli(1547597201743).UTC()
	use := Use{ID: uuid.UUID{1}, At: at, Address: netip.MustParseAddr("2001:db8::1")}
	bare := Use{ID: uuid.UUID{2}, At: at}
	account := UserAccount{Project: "p", User: "alice", Swept: true, Account: Account{Void: 7, VoidAt: at, Blocked: at, BlockedBy: "bob", BlockRevision: 9, Revision: 9, Living: 3, Counted: at, Next: at.Add(time.Hour)}}
	settings := ProjectSettings{Project: "p", Settings: Settings{Enabled: new(false), Generate: "users", Users: []string{"é"}, MaxLifetimeDays: -1}, Revision: 1 << 40}
	uses := func(b []byte) ([]byte, error) { u, err := DecodeUse(b); return u.Append(nil), err }
	return map[string]struct {
		example []byte
		again   func([]byte) ([]byte, error)
	}{
		"use":         {use.Append(nil), uses},
		"bare use":    {bare.Append(nil), uses},
		"account":     {account.Append(nil), func(b []byte) ([]byte, error) { a, err := DecodeUserAccount(b); return a.Append(nil), err }},
		"new account": {(&UserAccount{Project: "p", User: "a"}).Append(nil), func(b []byte) ([]byte, error) { a, err := DecodeUserAccount(b); return a.Append(nil), err }},
		"settings":    {settings.Append(nil), func(b []byte) ([]byte, error) { p, err := DecodeProjectSettings(b); return p.Append(nil), err }},
	}
}

func TestSnapshotEncodings(t *testing.T) {
	for name, test := range encoded() {
		if again, err := test.again(test.example); err != nil || !bytes.Equal(again, test.example) {
			t.Errorf("%s: %x, %v, want %x", name, again, err, test.example)
		}
		for n := range test.example {
			// Behind JSON there is a line end.
			if _, err := test.again(test.example[:n]); !errors.Is(err, ErrCorrupt) && (name != "settings" || n < len(test.example)-1) {
				t.Errorf("%s, cut off at %d: %v", name, n, err)
			}
		}
		if _, err := test.again(append(bytes.Clone(test.example), 0)); name != "settings" && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, with something behind it: %v", name, err)
		}
		newer := bytes.Clone(test.example)
		newer[0]++
		if _, err := test.again(newer); !errors.Is(err, ErrVersion) {
			t.Errorf("%s of a newer release: %v", name, err)
		}
	}
}

// What is read is written the same again, so that nothing is read in two ways.
func FuzzSnapshotEncodings(f *testing.F) {
	for _, test := range encoded() {
		f.Add(test.example)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, test := range encoded() {
			again, err := test.again(b)
			switch {
			case err == nil && !bytes.Equal(again, b) && name != "settings": // those are JSON
				t.Errorf("%s: %x is read, and written as %x", name, b, again)
			case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion):
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
