package metrics

import (
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/census"
)

// newRegistry is one as Caddy begins with each configuration.
func newRegistry(t testing.TB) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	for range 2 { // by the admin endpoint and by the app
		if err := Register(r); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// scrape returns the lines that Prometheus reads, without comments and buckets.
func scrape(t testing.TB, r *prometheus.Registry) map[string]string {
	t.Helper()
	got := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(got, httptest.NewRequest("GET", "/metrics", nil))
	if got.Code != 200 {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	lines := make(map[string]string)
	for line := range strings.Lines(got.Body.String()) {
		series, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, prefix)), " ")
		if !strings.HasPrefix(line, "#") && !strings.Contains(series, "_bucket{") {
			lines[series] = value
		}
	}
	return lines
}

func want(t testing.TB, r *prometheus.Registry, lines map[string]string) {
	t.Helper()
	got := scrape(t, r)
	for series, value := range lines {
		if got[series] != value {
			t.Errorf("%s is %q, want %q", series, got[series], value)
		}
	}
}

// of returns the series of a project.
func of(lines map[string]string, project string) (series []string) {
	for name := range lines {
		if strings.Contains(name, `project="`+project+`"`) {
			series = append(series, name)
		}
	}
	return series
}

// A counter goes on through all the registries that Caddy has one after the other.
func TestCountersGoOn(t *testing.T) {
	p := Use("p")
	p.Passed()
	want(t, newRegistry(t), map[string]string{`requests_total{project="p",result="ok"}`: "1"})
	// A reload: the new site comes before the old one goes.
	again := Use("p")
	defer again.Release()
	again.Passed()
	p.Passed()
	p.Release()
	want(t, newRegistry(t), map[string]string{`requests_total{project="p",result="ok"}`: "3"})
}

func TestWhatAProjectCounts(t *testing.T) {
	p, other := Use("p"), Use("other")
	defer p.Release()
	defer other.Release()
	basic := p.SignIn("access_tokens.sign_in.basic")
	p.Passed()
	p.Refused("expired")
	p.Refused("expired")
	p.Refused("a_new_reason")
	p.Limited()
	basic.Yes.Inc()
	basic.No.Inc()
	basic.NotMine.Inc()
	basic.Error.Inc()
	p.Authenticated(250 * time.Microsecond)
	Changed("p", "token_created")
	Changed("p", "a_new_event")
	Changed("nobody's", "token_created")
	r := newRegistry(t)
	want(t, r, map[string]string{
		`requests_total{project="p",result="ok"}`:                                             "1",
		`requests_total{project="p",result="expired"}`:                                        "2",
		`requests_total{project="p",result="a_new_reason"}`:                                   "1",
		`requests_total{project="p",result="scope"}`:                                          "0",
		`requests_total{project="other",result="expired"}`:                                    "0",
		`sign_ins_total{project="p",result="limited",sign_in=""}`:                             "1",
		`sign_ins_total{project="p",result="yes",sign_in="access_tokens.sign_in.basic"}`:      "1",
		`sign_ins_total{project="p",result="no",sign_in="access_tokens.sign_in.basic"}`:       "1",
		`sign_ins_total{project="p",result="not_mine",sign_in="access_tokens.sign_in.basic"}`: "1",
		`sign_ins_total{project="p",result="error",sign_in="access_tokens.sign_in.basic"}`:    "1",
		`authentication_duration_seconds_count{project="p"}`:                                  "1",
		`authentication_duration_seconds_sum{project="p"}`:                                    "0.00025",
		`authentication_duration_seconds_count{project="other"}`:                              "0",
		`changes_total{event="token_created",project="p"}`:                                    "1",
		`changes_total{event="a_new_event",project="p"}`:                                      "1",
		`changes_total{event="user_blocked",project="p"}`:                                     "0",
		`changes_total{event="token_created",project="other"}`:                                "0",
	})
	if left := of(scrape(t, r), "nobody's"); len(left) > 0 {
		t.Errorf("a project that nobody uses has %v", left)
	}
}

// A project that no site has any more has no series, whoever counts on.
func TestAProjectThatIsGone(t *testing.T) {
	w := Watch(&fake{})
	defer w.End()
	kept := Use("kept")
	defer kept.Release()
	gone := Use("gone")
	basic := gone.SignIn("access_tokens.sign_in.basic")
	r := newRegistry(t)
	if n, m := len(of(scrape(t, r), "gone")), len(of(scrape(t, r), "kept")); n != m+4 { // of the sign-in
		t.Errorf("%d series, and %d of another one", n, m)
	}
	gone.Release()
	gone.Passed()
	gone.Refused("expired")
	gone.Authenticated(time.Second)
	gone.Limited()
	basic.Yes.Inc()
	Changed("gone", "token_created")
	if left := of(scrape(t, r), "gone"); len(left) > 0 {
		t.Errorf("it still has %v", left)
	}
	if len(of(scrape(t, r), "kept")) == 0 {
		t.Error("another one has no series any more")
	}
	back := Use("gone")
	defer back.Release()
	want(t, r, map[string]string{`requests_total{project="gone",result="ok"}`: "0"})
}

// fake is a Store that says what it is told to.
type fake struct {
	writable bool
	failing  bool
	tokens   map[string]census.Count
}

func (f *fake) Size() int64 { return 123456789 }
func (f *fake) Free() (int64, error) {
	if f.failing {
		return 0, errors.New("no such file system")
	}
	return 1 << 40, nil
}
func (f *fake) Writable() bool                  { return f.writable }
func (f *fake) FlushAge() time.Duration         { return 1500 * time.Millisecond }
func (f *fake) Tokens() map[string]census.Count { return f.tokens }
func (f *fake) OpenStreams() map[string]int     { return map[string]int{"p": 7, "gone": 8} }
func (f *fake) AuditFailures() uint64           { return 9 }

func TestWhatAStoreSays(t *testing.T) {
	p, other := Use("p"), Use("other")
	defer p.Release()
	defer other.Release()
	r := newRegistry(t)
	for series := range scrape(t, r) {
		if strings.HasPrefix(series, "store_") || strings.HasPrefix(series, "commit_") {
			t.Errorf("without a store there is %s", series)
		}
	}
	s := &fake{writable: true, tokens: map[string]census.Count{"p": {Active: 5, Expired: 2, Expiring: [3]int{1, 3, 4}}, "gone": {Active: 1}}}
	w := Watch(s)
	before := scrape(t, r)["commit_duration_seconds_count"]
	Committed(3 * time.Millisecond)
	if after := scrape(t, r)["commit_duration_seconds_count"]; before == "" || before == after {
		t.Errorf("%q commits, and one more are %q", before, after)
	}
	lines := map[string]string{
		"store_size_bytes":                          "1.23456789e+08",
		"store_free_bytes":                          "1.099511627776e+12",
		"store_writable":                            "1",
		"last_use_flush_age_seconds":                "1.5",
		"audit_failures_total":                      "9",
		`tokens{project="p",state="active"}`:        "5",
		`tokens{project="p",state="expired"}`:       "2",
		`expiring_tokens{project="p",within="1d"}`:  "1",
		`expiring_tokens{project="p",within="7d"}`:  "3",
		`expiring_tokens{project="p",within="30d"}`: "4",
		`open_streams{project="p"}`:                 "7",
		`open_streams{project="other"}`:             "0",
		`tokens{project="other",state="active"}`:    "", // not counted yet
		`tokens{project="gone",state="active"}`:     "",
		`open_streams{project="gone"}`:              "",
		"backup_last_success_timestamp_seconds":     "",
	}
	want(t, r, lines)
	w.BackedUp(time.UnixMilli(1_547_597_201_743))
	s.writable, s.failing = false, true
	lines["backup_last_success_timestamp_seconds"] = "1.547597201743e+09"
	lines["store_writable"], lines["store_free_bytes"] = "0", ""
	want(t, r, lines)

	newer := Watch(&fake{})
	w.End()
	want(t, r, map[string]string{"store_free_bytes": "1.099511627776e+12"})
	newer.End()
	want(t, r, map[string]string{"store_size_bytes": ""})
}

// Prometheus scrapes while sites come and go.
func TestWhileProjectsComeAndGo(t *testing.T) {
	r := newRegistry(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				p := Use("p")
				p.Passed()
				p.Refused("expired")
				p.SignIn("access_tokens.sign_in.basic").Yes.Inc()
				Changed("p", "token_created")
				w := Watch(&fake{})
				scrape(t, r)
				w.End()
				p.Release()
			}
		})
	}
	all.Wait()
	if diff := cmp.Diff([]string(nil), of(scrape(t, r), "p")); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

func TestARequestAllocatesNothing(t *testing.T) {
	p := Use("p")
	defer p.Release()
	if n := testing.AllocsPerRun(1000, func() {
		began := time.Now()
		p.Authenticated(time.Since(began))
		p.Passed()
	}); n != 0 {
		t.Errorf("a request that passes allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { p.Refused("expired") }); n != 0 {
		t.Errorf("one that is refused allocates %v times", n)
	}
}

// BenchmarkRequest shows what counting costs a request with a token, the clock that
// is read twice included.
func BenchmarkRequest(b *testing.B) {
	p := Use("p")
	defer p.Release()
	b.Run("the clock alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			began := time.Now()
			_ = time.Since(began)
		}
	})
	b.Run("passed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			began := time.Now()
			p.Authenticated(time.Since(began))
			p.Passed()
		}
	})
	b.Run("refused", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			began := time.Now()
			p.Authenticated(time.Since(began))
			p.Refused("expired")
		}
	})
}
