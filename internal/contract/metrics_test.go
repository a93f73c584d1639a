package contract

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What Prometheus is told, over reloads and without the global option, which the
// sites of these tests don't have.

// metricPrefix is what the names of all metrics begin with.
const metricPrefix = "caddy_access_tokens_"

// series are the module's, by name without prefix and labels as they are written.
type series map[string]float64

// metrics reads them from Caddy's admin endpoint.
func (g *gateway) metrics(t testing.TB) series {
	t.Helper()
	var text string
	// Each reload replaces the admin endpoint.
	g.wait(t, "the admin endpoint has metrics", func() bool {
		status, body, err := g.askAdmin(http.MethodGet, "/metrics", "", "")
		text = body
		return err == nil && status == http.StatusOK
	})
	return seriesIn(t, text)
}

func seriesIn(t testing.TB, text string) series {
	t.Helper()
	all := make(series)
	for line := range strings.Lines(text) {
		name, ours := strings.CutPrefix(line, metricPrefix)
		if !ours {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimSpace(name), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[name] = n
	}
	return all
}

// since returns what of a metric has changed.
func (s series) since(before series, metric string) series {
	changed := make(series)
	for name, n := range s {
		if strings.HasPrefix(name, metric) && n != before[name] {
			changed[name] = n - before[name]
		}
	}
	return changed
}

// wantCounted wants exactly this to have been counted of a metric.
func (g *gateway) wantCounted(t testing.TB, what string, before series, metric string, want series) {
	t.Helper()
	var diff string
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); ; <-poll.C {
		diff = cmp.Diff(want, g.metrics(t).since(before, metric))
		if diff == "" {
			return
		}
		if time.Now().After(deadline) || len(want) == 0 {
			break
		}
	}
	t.Errorf("%s (-want +got):\n%s", what, diff)
}

func requests(project, result string) string {
	return fmt.Sprintf(`requests_total{project=%q,result=%q}`, project, result)
}

func signIns(project, by, result string) string {
	return fmt.Sprintf(`sign_ins_total{project=%q,result=%q,sign_in=%q}`, project, result, by)
}

// withMetrics are the sites, and a fourth on the last port that Prometheus scrapes.
func withMetrics(sites string) string {
	return sites + "\nhttp://:{$PORT3} {\n\tbind 127.0.0.1\n\tmetrics\n}\n"
}

// Each request is counted once, by what became of its credentials.
func TestMetricsOfRequests(t *testing.T) {
	t.Parallel()
	twice := "handle /twice/* {\n\t\taccess_tokens {\n\t\t\tproject dataprep\n\t\t\tadmins alice\n\t\t\tsign_in basic {\n\t\t\t\talice {$ALICE_HASH}\n\t\t\t}\n\t\t}\n\t}\n\treverse_proxy"
	sites := strings.Replace(site("allow_generate everyone\npublic /health"), "reverse_proxy", twice, 1)
	sites = strings.Replace(sites, "allow_generate everyone", "", 1) + siteAt("{$PORT2}", "project other\nallow_generate everyone\nwithout_token pass\nforeign_token pass\nsign_in_limit 2 1h")
	g := start(t, sites)
	valid := g.create(t, as("alice"), 3600, "")
	deleted := g.create(t, as("alice"), 3600, "")
	g.remove(t, as("alice"), deleted.target())
	expired := g.create(t, as("alice"), 1, "")
	g.wait(t, "a token expires", func() bool { return g.do(t, ask{auth: bearer(expired.value)}).status == http.StatusUnauthorized })
	others := g.createAt(t, 1, as("bob"), 3600, "")
	blocked := g.createAt(t, 1, as("carol"), 3600, "")
	wantStatus(t, g.do(t, ask{site: 1, method: "PUT", target: api + "/blocked?user=carol", auth: as("alice")}), http.StatusNoContent)
	const foreign = "Bearer eyJhbGciOiJub25lIn0.e30."
	signInForm := ask{method: "POST", target: pagePath + "/sign-in", kind: "application/x-www-form-urlencoded", body: url.Values{"user": {"alice"}, "password": {"a guess"}}.Encode()}

	all, first := make(series), g.metrics(t)
	step := func(what string, a ask, status int, result string) {
		t.Helper()
		before := g.metrics(t)
		wantStatus(t, g.do(t, a), status)
		want := make(series)
		if result != "" {
			project := []string{"dataprep", "other"}[a.site]
			want[requests(project, result)] = 1
			all[requests(project, result)]++
		}
		g.wantCounted(t, what, before, "requests_total", want)
	}
	for _, target := range []string{"/v3/things", api} {
		step("a token at "+target, ask{target: target, auth: bearer(valid.value)}, 200, "ok")
		step("none at "+target, ask{target: target}, 401, "missing")
		step("a malformed one at "+target, ask{target: target, auth: "Bearer " + valid.value + ", x"}, 400, "malformed")
		step("a mistyped one at "+target, ask{target: target, auth: bearer(mistyped(valid.value))}, 401, "checksum")
		step("an unknown one at "+target, ask{target: target, auth: bearer(neverIssued("cat"))}, 401, "unknown")
		step("a foreign one at "+target, ask{target: target, auth: foreign}, 401, "foreign")
		step("another project's at "+target, ask{target: target, auth: bearer(others.value)}, 401, "project")
		step("an expired one at "+target, ask{target: target, auth: bearer(expired.value)}, 401, "expired")
		step("a deleted one at "+target, ask{target: target, auth: bearer(deleted.value)}, 401, "deleted")
		step("a blocked user's at "+target, ask{site: 1, target: target, auth: bearer(blocked.value)}, 403, "blocked")
	}
	step("a token in the URL", ask{target: "/v3/things?t=" + neverIssued("cat")}, 400, "malformed")
	step("a public path", ask{target: "/health"}, 200, "ok")
	step("without a token where that passes", ask{site: 1}, 200, "ok")
	step("a foreign one where that passes", ask{site: 1, auth: foreign}, 200, "ok")
	step("a sign-in", ask{target: api, auth: as("alice")}, 200, "ok")
	step("a sign-in that fails", ask{target: api, auth: basic("alice", "a guess")}, 401, "missing")
	step("a blocked user who signs in", ask{site: 1, target: api, auth: as("carol")}, 403, "blocked")
	step("who lacks rights", ask{target: api + "?user=alice", auth: as("bob")}, 403, "ok")
	step("what there isn't", ask{target: api + "/" + deleted.info.TokenID, auth: as("alice")}, 404, "ok")
	step("a wrong body", ask{method: "POST", target: api, auth: as("alice"), body: `{}`}, 400, "ok")
	step("the page", ask{target: pagePath}, 200, "ok")
	step("the page, by a deleted token", ask{target: pagePath, auth: bearer(deleted.value)}, 401, "deleted")
	step("the page's form, filled in wrong", signInForm, 401, "missing")

	// Nobody has looked at credentials, or too often.
	step("a near miss", ask{target: strings.ToUpper(api), auth: bearer(valid.value)}, 404, "")
	for n := range 2 {
		step(fmt.Sprint("failed sign-in ", n), ask{site: 1, target: api, auth: basic("bob", fmt.Sprint("guess", n))}, 401, "missing")
	}
	step("one too many", ask{site: 1, target: api, auth: basic("bob", "guess")}, 429, "")
	signInForm.site, signInForm.body = 1, strings.Replace(signInForm.body, "alice", "bob", 1)
	step("and on the page", signInForm, 429, "")
	// The second directive that it meets doesn't count it again.
	step("a request that meets the directive twice", ask{target: "/twice/", auth: bearer(valid.value)}, 500, "ok")

	if complaint := g.reload(t, site("api_access off")+siteAt("{$PORT2}", "project other\nallow_generate everyone\nwithout_token pass\nforeign_token pass")); complaint != "" {
		t.Fatal(complaint)
	}
	step("while off", ask{auth: bearer(valid.value)}, 403, "off")
	step("while off, a sign-in", ask{target: api, auth: as("bob")}, 404, "off")
	g.wantCounted(t, "all together", first, "requests_total", all)
}

// What can't be decided is counted, too.
func TestMetricsOfWhatCantBeDecided(t *testing.T) {
	t.Parallel()
	sites := strings.Replace(site("allow_generate everyone"), "access_tokens {", "access_tokens {\n\t\tsign_in upstream http://127.0.0.1:"+freePort(t)+"/me {\n\t\t\tuser_id id\n\t\t}", 1)
	g := start(t, sites)
	before := g.metrics(t)
	wantRefused(t, g.do(t, ask{target: api, auth: as("bob")}), http.StatusServiceUnavailable, "ServiceUnavailable")
	g.wantCounted(t, "requests", before, "requests_total", series{requests("dataprep", "unavailable"): 1})
	g.wantCounted(t, "sign-ins", before, "sign_ins_total", series{signIns("dataprep", "access_tokens.sign_in.upstream", "error"): 1})
}

// A client that doesn't wait for the decision isn't refused: slow clients aren't to
// alert anybody. What is decided all the same is counted.
func TestMetricsOfAClientThatHasGone(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-answer
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(slow.Close)
	sayNo := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(sayNo) // or it couldn't be closed
	g := start(t, `
http://:{$PORT} {
	bind 127.0.0.1
	log
	access_tokens {
		project dataprep
		allow_generate everyone
		sign_in upstream {$SLOW}/me {
			timeout 50s
		}
		sign_in_limit 1 1h
	}
	reverse_proxy {$UPSTREAM}
}
`, env("SLOW", slow.URL))
	before := g.metrics(t)
	signIn := func(agent, password string) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", g.addresses[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, ask{target: api, auth: basic("bob", password), lines: []string{"User-Agent: " + agent}}.text(g.addresses[0])); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	first := signIn("waits for the API", "a guess")
	<-asked
	// It waits for the first, with which all that may fail are under way.
	signIn("waits for the first", "another guess").Close()
	g.accessLogLine(t, "waits for the first")
	if changed := g.metrics(t).since(before, "requests_total"); len(changed) > 0 {
		t.Errorf("a client that has gone is counted: %v", changed)
	}
	if line := g.accessLogLine(t, "waits for the first"); line.text("refusal") != "" {
		t.Errorf("it was refused: %v", line)
	}
	first.Close()
	sayNo()
	g.wantCounted(t, "a client that has gone before the API says no", before, "requests_total", series{requests("dataprep", "missing"): 1})
	g.wantCounted(t, "what the API said", before, "sign_ins_total", series{signIns("dataprep", "access_tokens.sign_in.upstream", "no"): 1})
}

// Each sign-in that is asked is counted by what it says.
func TestMetricsOfSignIns(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	upstream := "sign_in upstream http://{$API}/v4/people/current {\n\t\t\tuser_id id\n\t\t}"
	g := start(t, site("allow_generate everyone\nsign_in_limit 3 1h\n"+upstream), env("API", a.address))
	const basicID, upstreamID = "access_tokens.sign_in.basic", "access_tokens.sign_in.upstream"
	made := g.create(t, as("bob"), 3600, "")
	for _, test := range []struct {
		what string
		ask  ask
		want series
	}{
		{"the first says yes", ask{target: api, auth: as("bob")}, series{signIns("dataprep", basicID, "yes"): 1}},
		{"the first says no", ask{target: api, auth: basic("bob", "guess")}, series{signIns("dataprep", basicID, "no"): 1}},
		{"the second says no", ask{target: api, auth: basic("dora", "guess")}, series{signIns("dataprep", basicID, "not_mine"): 1, signIns("dataprep", upstreamID, "no"): 1}},
		{"nobody's credentials", ask{target: api}, series{signIns("dataprep", basicID, "not_mine"): 1, signIns("dataprep", upstreamID, "not_mine"): 1}},
		{"a token is no sign-in", ask{target: api, auth: bearer(made.value)}, series{}},
		{"nor is a request for the API", ask{auth: as("bob")}, series{}},
		{"the first says no again", ask{target: api, auth: basic("bob", "guess 2")}, series{signIns("dataprep", basicID, "no"): 1}},
		{"and again", ask{target: api, auth: basic("bob", "guess 3")}, series{signIns("dataprep", basicID, "no"): 1}},
		{"none is asked", ask{target: api, auth: basic("bob", "guess 4")}, series{signIns("dataprep", "", "limited"): 1}},
	} {
		before := g.metrics(t)
		g.do(t, test.ask)
		g.wantCounted(t, test.what, before, "sign_ins_total", test.want)
	}
}

func TestMetricsOfChanges(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	before := g.metrics(t)
	made := g.create(t, as("bob"), 3600, "")
	g.create(t, bearer(made.value), 3600, "")
	g.remove(t, as("bob"), made.target())
	g.deleteAll(t, as("bob"), "bob")
	g.setBlocked(t, "PUT", as("alice"), "bob")
	g.setBlocked(t, "DELETE", as("alice"), "bob")
	g.patch(t, as("alice"), `{"maxLifetimeDays": 7}`)
	want := make(series)
	for _, event := range []string{"token_created", "token_renewed", "token_deleted", "tokens_deleted", "user_blocked", "user_unblocked", "settings_changed"} {
		want[fmt.Sprintf(`changes_total{event=%q,project="dataprep"}`, event)] = 1
	}
	g.wantCounted(t, "changes", before, "changes_total", want)
	if n := g.metrics(t)["commit_duration_seconds_count"]; n < 7 {
		t.Errorf("%v commits, and 7 changes came one after the other", n)
	}
}

// A restart doesn't lose what is counted in the store, and reloads lose nothing.
func TestMetricsOfTokens(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\nmax_lifetime unlimited")+siteAt("{$PORT2}", "project other\nallow_generate everyone"))
	for _, lifetime := range []int64{1, 3600, 86400 * 3, 86400 * 20, 86400 * 100, -1} {
		g.create(t, as("bob"), lifetime, "")
	}
	g.remove(t, as("alice"), g.create(t, as("bob"), 3600, "").target())
	want := series{
		`tokens{project="dataprep",state="active"}`: 5, `tokens{project="dataprep",state="expired"}`: 1,
		`tokens{project="other",state="active"}`: 0, `tokens{project="other",state="expired"}`: 0,
		`expiring_tokens{project="dataprep",within="1d"}`: 1, `expiring_tokens{project="dataprep",within="7d"}`: 2, `expiring_tokens{project="dataprep",within="30d"}`: 3,
		`expiring_tokens{project="other",within="1d"}`: 0, `expiring_tokens{project="other",within="7d"}`: 0, `expiring_tokens{project="other",within="30d"}`: 0,
	}
	tokens := func() series {
		got := make(series)
		for name, n := range g.metrics(t) {
			if strings.Contains(name, "tokens{") {
				got[name] = n
			}
		}
		return got
	}
	g.wait(t, "the tokens are counted", func() bool { return cmp.Equal(tokens(), want) })
	if complaint := g.reload(t, site("allow_generate everyone\nmax_lifetime unlimited\nstrip X-Y")); complaint != "" {
		t.Fatal(complaint)
	}
	maps.DeleteFunc(want, func(name string, _ float64) bool { return strings.Contains(name, "other") })
	if diff := cmp.Diff(want, tokens()); diff != "" {
		t.Errorf("after a reload (-want +got):\n%s", diff)
	}
}

func TestMetricsOfStreams(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	g.api.sending("/events")
	made := g.create(t, as("bob"), 3600, "")
	open := func() float64 { return g.metrics(t)[`open_streams{project="dataprep"}`] }
	g.listen(t, made.value)
	g.talk(t, made.value)
	g.wait(t, "two streams are open", func() bool { return open() == 2 })
	g.remove(t, as("bob"), made.target())
	g.wait(t, "none is", func() bool { return open() == 0 })
}

func TestMetricsOfTheStore(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	made := g.create(t, as("bob"), 3600, "")
	before := g.metrics(t)
	wantStatus(t, g.do(t, askFor(made)), http.StatusOK)
	got := g.metrics(t)
	if n := got.since(before, "authentication_duration_seconds_count"); len(n) != 1 || n[`authentication_duration_seconds_count{project="dataprep"}`] != 1 {
		t.Errorf("one authentication, and %v", n)
	}
	size := 0.0
	err := filepath.Walk(g.store(), func(_ string, file os.FileInfo, err error) error {
		if err == nil && file.Mode().IsRegular() {
			size += float64(file.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := got["store_size_bytes"]; n < size/2 || n > size*2 {
		t.Errorf("the store has %v bytes, and it says %v", size, n)
	}
	if n := got["store_free_bytes"]; n < 1<<20 {
		t.Errorf("%v bytes are free", n)
	}
	for name, want := range map[string]float64{"store_writable": 1, "audit_failures_total": 0} {
		if n, there := got[name]; !there || n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	if n, there := got["last_use_flush_age_seconds"]; !there || n < 0 || n > 60 {
		t.Errorf("last uses are in memory alone for %v seconds", n)
	}
	if n, there := got["backup_last_success_timestamp_seconds"]; there {
		t.Errorf("a backup was made at %v", n)
	}
}

// Counters go on over reloads, also over those that fail, wherever they are read.
func TestMetricsOverReloads(t *testing.T) {
	t.Parallel()
	numbered := func(n int) string {
		return withMetrics(answering(fmt.Sprintf("allow_generate everyone\nkeep_cookies reload-%d", n)) + siteAt("{$PORT2}", fmt.Sprintf("project other\nkeep_cookies reload-%d", n)))
	}
	g := start(t, numbered(0))
	made := g.create(t, as("bob"), 3600, "")
	first, asked := g.metrics(t), 0.0
	use := func(what string) {
		t.Helper()
		wantStatus(t, g.do(t, ask{auth: bearer(made.value)}), http.StatusOK)
		asked++
		g.wantCounted(t, what, first, "requests_total", series{requests("dataprep", "ok"): asked})
		if diff := cmp.Diff(series{`authentication_duration_seconds_count{project="dataprep"}`: asked}, g.metrics(t).since(first, "authentication_duration_seconds_count")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		if diff := cmp.Diff(series{requests("dataprep", "ok"): asked}, seriesIn(t, g.do(t, ask{site: 2, target: "/metrics"}).body).since(first, "requests_total")); diff != "" {
			t.Errorf("%s, at a site (-want +got):\n%s", what, diff)
		}
	}
	use("before")
	for n := range 10 {
		if complaint := g.reload(t, numbered(n+1)); complaint != "" {
			t.Fatal(complaint)
		}
		use(fmt.Sprint("after reload ", n))
	}
	if complaint := g.reloadWith(t, "retain expired 7d", numbered(20)); complaint != "" {
		t.Fatal(complaint)
	}
	use("with the global option")
	for what, sites := range map[string]string{
		"provisioning":          strings.Replace(numbered(30), "admins alice", "admins {env.NOT_SET_ANYWHERE}", 1),
		"provisioning the apps": strings.Replace(numbered(30), "metrics\n", "reverse_proxy http://127.0.0.1:1 {\n\t\ttransport http {\n\t\t\ttls_trust_pool file /nonexistent/ca.pem\n\t\t}\n\t}\n", 1),
		"starting":              numbered(30) + strings.Replace(siteAt(portOf(g.api.address), "project failed"), "reverse_proxy", "respond ok\n#", 1),
	} {
		for range 4 { // apps start in random order
			if complaint := g.reload(t, sites); complaint == "" {
				t.Fatalf("%s didn't fail", what)
			}
			use("after a reload that fails at " + what)
		}
	}
	for name := range g.metrics(t) {
		if strings.Contains(name, `project="failed"`) {
			t.Errorf("a project that never was has %s", name)
		}
	}
	// A restart begins anew.
	g.restart(t)
	first, asked = g.metrics(t), 0
	if n := first[requests("dataprep", "ok")]; n != 0 {
		t.Errorf("after a restart it begins at %v", n)
	}
	use("after a restart")
}

// A project has its series, from 0 on, as long as a site has it.
func TestMetricsOfAProjectThatIsGone(t *testing.T) {
	t.Parallel()
	one, two := site("allow_generate everyone"), siteAt("{$PORT2}", "project other\nallow_generate everyone")
	g := start(t, one+two)
	made := g.createAt(t, 1, as("bob"), 3600, "")
	g.wait(t, "its tokens are counted", func() bool { return g.metrics(t)[`tokens{project="other",state="active"}`] == 1 })
	of := func(project string) (names []string) {
		for name := range g.metrics(t) {
			if strings.Contains(name, fmt.Sprintf("project=%q", project)) {
				names = append(names, name)
			}
		}
		return names
	}
	if n, m := len(of("dataprep")), len(of("other")); n < 40 || n != m {
		t.Errorf("they have %d and %d series", n, m)
	}
	for range 2 {
		if complaint := g.reload(t, one); complaint != "" {
			t.Fatal(complaint)
		}
		g.wait(t, "nothing of it is left", func() bool { return len(of("other")) == 0 })
		if len(of("dataprep")) < 40 {
			t.Errorf("the other one has only %v", of("dataprep"))
		}
		if complaint := g.reload(t, one+two); complaint != "" {
			t.Fatal(complaint)
		}
		before := g.metrics(t)
		wantStatus(t, g.do(t, ask{site: 1, auth: bearer(made.value)}), http.StatusOK)
		g.wantCounted(t, "when it is back", before, "requests_total", series{requests("other", "ok"): 1})
	}
	if complaint := g.reload(t, without); complaint != "" {
		t.Fatal(complaint)
	}
	g.wait(t, "without sites there are no metrics", func() bool { return len(g.metrics(t)) == 0 })
}

var anyUUID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-`)

// No metric names a user or a token.
func TestMetricsNameNobody(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	for _, user := range []string{"alice", "bob", "carol"} {
		made := g.create(t, as(user), 3600, "of "+user)
		wantStatus(t, g.do(t, askFor(made)), http.StatusOK)
		g.do(t, ask{target: api, auth: basic(user, "guess")})
		g.remove(t, as(user), made.target())
		g.do(t, askFor(made))
	}
	g.setBlocked(t, "PUT", as("alice"), "bob")
	g.wait(t, "tokens are counted", func() bool { _, counted := g.metrics(t)[`tokens{project="dataprep",state="active"}`]; return counted })
	for name := range g.metrics(t) {
		for _, user := range []string{"alice", "bob", "carol"} {
			if strings.Contains(name, user) {
				t.Errorf("%s names %s", name, user)
			}
		}
		if anyUUID.MatchString(name) {
			t.Errorf("%s names a token", name)
		}
	}
}
