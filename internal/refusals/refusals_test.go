package refusals

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestRefusals(t *testing.T) {
	var r Refusals
	one, other := uuid.UUID{1}, uuid.UUID{2}
	home, away := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	if got := r.Of(one); got != nil {
		t.Errorf("before it was refused: %v", got)
	}
	r.Note(one, "off", at(1), home)
	r.Note(one, "expired", at(2), home)
	r.Note(other, "deleted", at(3), netip.Addr{})
	r.Note(one, "off", at(4), away)
	for id, want := range map[uuid.UUID][]Refusal{
		one:   {{"off", 2, at(4), away}, {"expired", 1, at(2), home}},
		other: {{Why: "deleted", Count: 1, Last: at(3)}},
	} {
		if diff := cmp.Diff(want, r.Of(id), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%v (-want +got):\n%s", id, diff)
		}
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	var r Refusals
	id := func(n int) uuid.UUID { return uuid.UUID{byte(n >> 16), byte(n >> 8), byte(n)} }
	for n := range MaxTokens {
		r.Note(id(n), "expired", time.Unix(1, 0), netip.Addr{})
	}
	r.Note(id(0), "expired", time.Unix(2, 0), netip.Addr{})
	r.Note(id(MaxTokens), "expired", time.Unix(3, 0), netip.Addr{})
	for n, want := range map[int]int{0: 2, 1: 0, 2: 1, MaxTokens: 1} {
		count := 0
		for _, refusal := range r.Of(id(n)) {
			count += refusal.Count
		}
		if count != want {
			t.Errorf("token %d was refused %d times, want %d", n, count, want)
		}
	}
	if len(r.byID) != MaxTokens || r.recent.Len() != MaxTokens {
		t.Errorf("%d and %d are kept", len(r.byID), r.recent.Len())
	}
}
