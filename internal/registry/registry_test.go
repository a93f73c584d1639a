package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func TestMain(m *testing.M) {
	// What rapid asks for in the environment or on the command line comes first.
	if checks := storetest.Rounds(30, 100); os.Getenv("RAPID_CHECKS") == "" {
		if err := flag.Set("rapid.checks", strconv.Itoa(checks)); err != nil {
			panic(err)
		}
	}
	// glog, which a dependency of Badger brings, starts it and never stops it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// epoch is when the tests' clocks start. It isn't on a whole second.
var epoch = time.UnixMilli(1_547_597_201_743).UTC()

const day = 24 * time.Hour

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// fixture is a registry over a real store, with a clock that only the test
// moves. Uses are written and records purged when the test says so.
type fixture struct {
	testing.TB
	*Registry
	store *badgerstore.Store
	clock *clock
	audit ledger
	dir   string
	// keys are what the store is opened with, its own if there are none.
	keys []*token.Key
}

// with changes what a registry works with.
type with func(*Config)

func newFixture(t testing.TB, changes ...with) *fixture {
	t.Helper()
	f := &fixture{TB: t, clock: &clock{at: epoch}, dir: t.TempDir()}
	f.open(changes...)
	t.Cleanup(f.close)
	return f
}

func (f *fixture) open(changes ...with) {
	f.Helper()
	// Tiny memtables make Badger flush and compact as a large store does.
	o := badgerstore.Options{Logger: zap.NewNop(), MemTableSize: 256 << 10}
	if len(f.keys) > 0 {
		o.Key, o.Previous = f.keys[0], f.keys[1:]
	}
	s, err := badgerstore.Open(f.dir, o)
	if err != nil {
		f.Fatal(err)
	}
	f.store = s
	c := Config{
		Ended: func(string, string) {},
		Store: s, Now: f.clock.now, Certain: f.clock.now, Random: rand.Reader,
		Retain: Retain{Expired: 30 * day, Deleted: 90 * day}, Audit: &f.audit, Logger: zap.NewNop(), Notices: Nobody{},
	}
	for _, change := range changes {
		change(&c)
	}
	f.Registry = New(c)
	f.stop()
	f.keeper.Wait()
}

// tend lets the registry's keeper do its work, which a fixture's doesn't.
func (f *fixture) tend() {
	f.Helper()
	c := f.Registry.Config
	if err := f.Registry.Close(); err != nil {
		f.Fatal(err)
	}
	f.Registry = New(c)
}

func (f *fixture) close() {
	f.Helper()
	if err := f.Registry.Close(); err != nil && !errors.Is(err, store.ErrUnavailable) {
		f.Error(err)
	}
	if err := f.store.Close(); err != nil {
		f.Error(err)
	}
}

// alike compares tokens as users of the registry see them.
var alike = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.IgnoreFields(store.Record{}, "Number")}

// newProject returns a project of which alice is administrator, and everyone
// may make tokens of at most a year.
func newProject(name string) *Project {
	return NewProject(name, Rules{
		Admins: map[string]bool{"alice": true}, SignIns: anySignIn,
		Fixed: store.Settings{Generate: GenerateEveryone, MaxLifetimeDays: 365},
	})
}

// anySignIn is the callers' in tests: it may establish anybody.
var anySignIn = []SignIn{{Knows: func(string) bool { return true }, NamesAdmins: true}}

// ledger is an auditor that remembers. Unless they are nil, nothing can be written
// because of notReady, and what has been changed because of notWritten.
type ledger struct {
	mu                   sync.Mutex
	events               []Event
	notReady, notWritten error
}

func (l *ledger) Ready() error { return l.notReady }

func (*ledger) Lines(events []Event) (lines [][]byte) {
	for _, e := range events {
		lines = append(lines, e.Text())
	}
	return lines
}

func (l *ledger) Changed(events []Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, events...)
	return l.notWritten
}

func user(id string) Caller { return SignedIn("", store.User{ID: id}, false) }

// made is a token and its value.
type made struct {
	Token
	value token.Value
}

func (f *fixture) issue(p *Project, c Caller, lifetime int64) made {
	f.Helper()
	value, t, err := f.Issue(context.Background(), p, c, Wish{Prefix: "cat", LifetimeSeconds: lifetime})
	if err != nil {
		f.Fatal(err)
	}
	return made{t, value}
}

// holder is whoever holds a valid token.
func (f *fixture) holder(p *Project, m made) Caller {
	f.Helper()
	r, err := f.Authenticate(p, m.value, netip.Addr{})
	if err != nil {
		f.Fatal(err)
	}
	return Holder(&r)
}

func (f *fixture) delete(p *Project, c Caller, id uuid.UUID, successors bool) {
	f.Helper()
	if err := f.Delete(context.Background(), p, c, id, successors); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) wantAuthenticated(p *Project, m made) {
	f.Helper()
	if r, err := f.Authenticate(p, m.value, netip.Addr{}); err != nil || r.ID != m.ID {
		f.Errorf("token %v: %v, want it valid", m.ID, err)
	}
}

func (f *fixture) wantRefused(p *Project, m made, want error) {
	f.Helper()
	if r, err := f.Authenticate(p, m.value, netip.Addr{}); !errors.Is(err, want) || r.ID != uuid.Nil {
		f.Errorf("token %v: %v and a record of %v, want %v and none", m.ID, err, r.ID, want)
	}
}

// wantRefusal checks that err has a reason, and tells the caller what to do.
func wantRefusal(t testing.TB, what string, err, reason error) {
	t.Helper()
	var r *Refusal
	if !errors.Is(err, reason) || !errors.As(err, &r) || r.Details == "" {
		t.Errorf("%s: %v, want a refusal for that %v", what, err, reason)
	}
}

// brokenReader fails after some bytes.
type brokenReader struct{ left int }

func (r *brokenReader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, errors.New("no entropy")
	}
	n := min(len(b), r.left)
	r.left -= n
	return io.ReadFull(rand.Reader, b[:n])
}
