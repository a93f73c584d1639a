package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

var expiryTests = []test{
	{"tokens that expire are found by when they do", expiring},
	{"what others have been told of is noted", tell},
	{"which records a change has overwritten is said", revokedOutcome},
}

func (f *fixture) expiring(after store.Expiry, before time.Duration, limit int) []store.Expiry {
	f.Helper()
	found, err := f.Expiring(after, Epoch.Add(before), limit)
	if err != nil {
		f.Fatal(err)
	}
	return append([]store.Expiry{}, found...)
}

func expiring(t *testing.T, f *fixture) {
	var all []store.Expiry
	for i, project := range []string{"p", "q", "p"} {
		r := NewRecord(project, "alice", i)
		r.Lifetime = int64(10 - 2*i)
		f.create(r)
		all = append(all, store.Expiry{At: Epoch.Add(time.Duration(10-i) * time.Second), ID: r.ID})
	}
	same := NewRecord("p", "bob", 0)
	same.Lifetime = 8
	f.create(same)
	all = append(all, store.Expiry{At: Epoch.Add(8 * time.Second), ID: same.ID})
	gone := NewRecord("p", "bob", 1)
	gone.Lifetime = 1
	gone = f.create(gone)
	f.commit(store.Revoke{ID: gone.ID, Revision: gone.Revision, At: Epoch})
	f.create(NewRecord("p", "bob", 2)) // never expires
	slices.SortFunc(all, func(a, b store.Expiry) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})

	diff(t, "all", all, f.expiring(store.Expiry{}, time.Hour, 100))
	diff(t, "before a time", all[:2], f.expiring(store.Expiry{}, 9*time.Second, 100))
	diff(t, "at most so many", all[:3], f.expiring(store.Expiry{}, time.Hour, 3))
	for i, place := range all {
		diff(t, "behind a place", all[i+1:], f.expiring(place, time.Hour, 100))
	}
	diff(t, "from a time on", all[2:], f.expiring(store.Expiry{At: all[2].At}, time.Hour, 100))
}

func tell(t *testing.T, f *fixture) {
	told := func() []store.Expiry {
		t.Helper()
		upto, err := f.Told()
		if err != nil {
			t.Fatal(err)
		}
		return upto
	}
	diff(t, "nobody was told of anything", []store.Expiry(nil), told())
	for i := range 2 {
		want := []store.Expiry{{At: Epoch.Add(time.Duration(i) * time.Hour)}, {At: Epoch.Add(48 * time.Hour), ID: uuid.New()}}
		f.commit(store.Tell{Upto: want})
		diff(t, "what was told", want, told())
	}
}

func revokedOutcome(t *testing.T, f *fixture) {
	line := f.line(3)
	f.commit(store.Revoke{ID: line[1].ID, Revision: f.byID(line[1].ID).Revision, At: Epoch})
	done := f.outcome(store.Revoke{ID: line[0].ID, Revision: f.byID(line[0].ID).Revision, At: Epoch, Successors: true})
	diff(t, "of a line", []uuid.UUID{line[0].ID, line[2].ID}, done.Revoked)

	swept, before := f.create(NewRecord("p", "bob", 1)), f.create(NewRecord("p", "bob", 2))
	f.commit(store.Revoke{ID: before.ID, Revision: before.Revision, At: Epoch})
	void := f.void("bob", time.Minute, 1)
	done = f.outcome(store.Sweep{Voided: store.Voided{Project: "p", User: "bob", Before: void}, IDs: []uuid.UUID{before.ID, swept.ID}})
	diff(t, "of a sweep", []uuid.UUID{swept.ID}, done.Revoked)
}
