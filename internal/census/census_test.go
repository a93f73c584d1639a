package census

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

func TestMain(m *testing.M) {
	// glog, which a dependency of Badger brings, starts it and never stops it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

const day = 24 * time.Hour

// Whatever becomes of tokens, their numbers follow.
func TestCounts(t *testing.T) {
	s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now().UTC().Truncate(time.Millisecond)
	projects := []string{"p", "q", "none"}
	c := &Census{lists: s, now: func() time.Time { return now }, projects: func() []string { return projects }}

	made := 0
	create := func(project, user string, created time.Time, lifetime time.Duration) store.Record {
		t.Helper()
		made++
		r := storetest.NewRecord(project, user, made)
		r.Created, r.Lifetime = created, int64(lifetime/time.Second)
		if lifetime == 0 {
			r.Lifetime = store.Never
		}
		account, err := s.Account(project, user)
		if err == nil {
			_, err = s.Commit(t.Context(), store.Create{Record: r, AccountRevision: account.Revision})
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	deleted := create("p", "bob", now, time.Hour)
	create("p", "bob", now, 0)
	create("p", "bob", now, time.Second)
	create("p", "bob", now, day)
	create("p", "bob", now, day+time.Second)
	create("p", "bob", now, 7*day)
	create("p", "bob", now, 30*day)
	create("p", "bob", now, 31*day)
	create("p", "bob", now.Add(-day), day)
	create("p", "bob", now.Add(-2*day), day)
	create("p", "carol", now, 2*day)
	create("q", "bob", now, 2*day)
	for _, m := range []store.Mutation{
		store.Revoke{ID: deleted.ID, Revision: recordOf(t, s, deleted.ID).Revision, At: now},
		store.Void{Project: "p", User: "carol", At: now},
	} {
		if _, err := s.Commit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]Count{"p": {Active: 7, Expired: 2, Expiring: [3]int{2, 4, 5}}, "q": {Active: 1, Expiring: [3]int{0, 1, 1}}, "none": {}}
	wantCounts(t, c, want)
	delete(want, "p")
	delete(want, "none")
	projects = []string{"q"}
	wantCounts(t, c, want)
}

func recordOf(t *testing.T, s store.Store, id uuid.UUID) store.Record {
	t.Helper()
	r, err := s.ByID(id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantCounts(t *testing.T, c *Census, want map[string]Count) {
	t.Helper()
	c.take(t.Context())
	if diff := cmp.Diff(want, c.Counts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// slow are lists with so many tokens, of which reading a page takes some time.
type slow struct {
	mu           sync.Mutex // of what follows
	tokens, read int
	takes        time.Duration
	busy         time.Duration
	broken       bool
}

func (l *slow) change(how func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	how()
}

func (l *slow) Scan(q store.Query) ([]store.Entry, error) {
	<-time.After(l.takes)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy += l.takes
	if l.broken {
		return nil, errors.New("a disk that can't be read")
	}
	if q.After == (store.Place{}) {
		l.read = 0
	}
	entries := make([]store.Entry, min(store.MaxScan, l.tokens-l.read))
	for i := range entries {
		l.read++
		entries[i].Place = store.Place{Created: time.UnixMilli(int64(l.read))}
	}
	return entries, nil
}

func inProject(name string) func() []string { return func() []string { return []string{name} } }

// Counting takes a hundredth of a core, and no more, however many tokens there are.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := &slow{tokens: 1_000_000, takes: time.Millisecond}
		began := time.Now()
		c := New(lists, time.Now, inProject("p"))
		for c.Counts()["p"].Active == 0 {
			<-time.After(time.Second)
			lists.mu.Lock()
			busy := lists.busy
			lists.mu.Unlock()
			if passed := time.Since(began); busy > passed/share+lists.takes {
				t.Fatalf("it has been busy for %v of %v", busy, passed)
			}
		}
		if n := c.Counts()["p"].Active; n != lists.tokens {
			t.Errorf("%d tokens, want %d", n, lists.tokens)
		}
		if passed := time.Since(began); passed > 2*time.Minute {
			t.Errorf("it took %v", passed)
		}
		c.Close()
	})
}

func TestFewTokensAreCountedOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := &slow{tokens: 10, takes: 10 * time.Microsecond}
		c := New(lists, time.Now, inProject("p"))
		<-time.After(time.Second)
		lists.change(func() { lists.tokens = 11 })
		<-time.After(every)
		if n := c.Counts()["p"].Active; n != 11 {
			t.Errorf("%d tokens, want 11", n)
		}
		c.Close()
	})
}

// What was counted holds while nothing can be.
func TestACountThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := &slow{tokens: 10, takes: time.Millisecond}
		c := New(lists, time.Now, inProject("p"))
		<-time.After(time.Second)
		lists.change(func() { lists.broken = true })
		<-time.After(time.Minute)
		if n := c.Counts()["p"].Active; n != 10 {
			t.Errorf("%d tokens while the lists can't be read, want 10", n)
		}
		lists.change(func() { lists.broken, lists.tokens = false, 20 })
		<-time.After(time.Minute)
		if n := c.Counts()["p"].Active; n != 20 {
			t.Errorf("%d tokens once they can be again, want 20", n)
		}
		c.Close()
	})
}

// Closing doesn't wait for pauses.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(&slow{tokens: 5000, takes: 50 * time.Millisecond}, time.Now, inProject("p"))
		<-time.After(time.Second)
		began := time.Now()
		c.Close()
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}
