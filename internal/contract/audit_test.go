package contract

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// audited writes each change to audit.jsonl in a directory of its own.
var audited = globals("access_tokens {\n\taudit file {$DIR}/audit/audit.jsonl\n}\n")

func (g *gateway) auditDir() string  { return filepath.Join(g.dir, "audit") }
func (g *gateway) auditFile() string { return filepath.Join(g.auditDir(), "audit.jsonl") }

// auditLine is a line of the audit, as it stands in its file.
type auditLine struct {
	Seq      uint64
	Previous string
	Event    string
	Actor    struct {
		User, By string
		TokenID  string `json:"token_id"`
	}
	TokenID    string `json:"token_id"`
	User       string
	Expires    string
	ParentID   string `json:"parent_id"`
	Successors bool
	After      json.RawMessage

	text string
}

// auditLines returns the lines of all files in the audit's directory, in the order
// of their seq. Each has to follow the one before, from the first on.
func (g *gateway) auditLines(t testing.TB) (lines []auditLine) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(g.auditDir(), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.Lines(string(content)) {
			line := auditLine{text: strings.TrimSuffix(text, "\n")}
			if line.text == text {
				t.Errorf("%s ends in the middle of a line: %q", file, text)
			}
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Errorf("%s: %v: %q", file, err, text)
			}
			lines = append(lines, line)
		}
	}
	slices.SortStableFunc(lines, func(a, b auditLine) int { return int(int64(a.Seq) - int64(b.Seq)) })
	previous := ""
	for i, line := range lines {
		if line.Seq != uint64(i+1) || line.Previous != previous {
			t.Fatalf("line %d doesn't follow the one before: %s", i+1, line.text)
		}
		sum := sha256.Sum256([]byte(line.text))
		previous = fmt.Sprintf("%x", sum)
	}
	return lines
}

// Each change has a line of its own in the file by the time that it is
// acknowledged, chained to the one before, and the same in Caddy's log.
func TestEachChangeIsInTheAuditFile(t *testing.T) {
	t.Parallel()
	g := start(t, site("max_lifetime unlimited"), audited)
	n := 0
	last := func(event string) auditLine {
		t.Helper()
		n++
		lines := g.auditLines(t)
		if len(lines) != n || lines[n-1].Event != event {
			t.Fatalf("after %d changes, the last of them %s, there are %d lines: %+v", n, event, len(lines), lines[max(0, len(lines)-1):])
		}
		return lines[n-1]
	}

	made := g.create(t, as("alice"), 3600, "a \"nightly\"\njob")
	line := last("token_created")
	if line.TokenID != made.info.TokenID || line.User != "alice" || line.Expires != *made.info.ExpiredAt || line.Actor.User != "alice" || line.Actor.By != "access_tokens.sign_in.basic" {
		t.Errorf("made: %s", line.text)
	}
	forever := g.create(t, as("alice"), -1, "")
	if line := last("token_created"); line.TokenID != forever.info.TokenID || line.Expires != "" {
		t.Errorf("made for ever: %s", line.text)
	}
	renewed := g.create(t, bearer(made.value), 60, "")
	if line := last("token_renewed"); line.TokenID != renewed.info.TokenID || line.ParentID != made.info.TokenID || line.Actor.By != "token" || line.Actor.TokenID != made.info.TokenID {
		t.Errorf("renewed: %s", line.text)
	}
	g.remove(t, as("alice"), made.target()+"?successors=true")
	if line := last("token_deleted"); line.TokenID != made.info.TokenID || !line.Successors {
		t.Errorf("deleted: %s", line.text)
	}
	wantStatus(t, g.do(t, ask{method: "PATCH", target: api + "/settings", auth: as("alice"), body: `{"generate": "users", "users": ["b\"o\\b", "ä b"]}`}), http.StatusOK)
	if line := last("settings_changed"); string(line.After) != `{"generate":"users","users":["b\"o\\b","ä b"]}` {
		t.Errorf("settings: %s", line.text)
	}
	// What changes nothing has none.
	wantStatus(t, g.do(t, ask{method: "DELETE", target: made.target(), auth: as("alice")}), http.StatusNotFound)
	wantStatus(t, g.do(t, ask{auth: bearer(forever.value)}), http.StatusOK)
	wantStatus(t, g.do(t, ask{method: "PATCH", target: api + "/settings", auth: as("alice"), body: `{"generate": "users"}`}), http.StatusOK)

	var logged []map[string]any
	g.wait(t, "Caddy's log has all lines", func() bool {
		logged = nil
		for _, line := range g.logLines("access_tokens.audit") {
			logged = append(logged, line)
		}
		return len(logged) == n
	})
	for i, line := range g.auditLines(t) {
		var inFile map[string]any
		if err := json.Unmarshal([]byte(line.text), &inFile); err != nil {
			t.Fatal(err)
		}
		delete(inFile, "seq")
		delete(inFile, "previous")
		for _, ofCaddy := range []string{"level", "ts", "logger", "msg"} {
			delete(logged[i], ofCaddy)
		}
		if diff := cmp.Diff(inFile, logged[i]); diff != "" {
			t.Errorf("line %d (-in the file +in the log):\n%s", i+1, diff)
		}
		for _, secret := range []string{made.value, forever.value, renewed.value} {
			if strings.Contains(line.text, secret) {
				t.Errorf("line %d holds a token", i+1)
			}
		}
	}
	if info, err := os.Stat(g.auditFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(g.auditDir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory's mode: %v, %v", info.Mode(), err)
	}
	// The chain goes on after a stop.
	g.restart(t)
	g.remove(t, as("alice"), forever.target())
	last("token_deleted")
}

// The audit goes on in a new file when its own is renamed, whoever makes the new
// one, while clients make tokens.
func TestTheAuditFollowsRotation(t *testing.T) {
	t.Parallel()
	g := start(t, answering("allow_generate everyone"), audited, quietly)
	enough := make(chan struct{})
	made := make(chan int)
	for range 4 {
		caller := g.caller(t)
		go func() {
			n := 0
			defer func() { made <- n }()
			for {
				select {
				case <-enough:
					return
				default:
				}
				got, err := caller.send(ask{method: "POST", target: api, auth: as("bob"), body: `{"lifetimeSeconds": 60}`})
				if got, err = want(got, err, http.StatusCreated); err != nil {
					t.Errorf("%v\n%s", err, got)
					return
				}
				secret(got.token().value)
				n++
			}
		}()
	}
	for i := range 20 {
		g.wait(t, "the file has lines", func() bool {
			info, err := os.Stat(g.auditFile())
			return err == nil && info.Size() > 2000
		})
		if err := os.Rename(g.auditFile(), fmt.Sprintf("%s.%d", g.auditFile(), i)); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // unless Caddy was faster
			if f, err := os.OpenFile(g.auditFile(), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
				f.Close()
			}
		}
	}
	close(enough)
	all := 0
	for range 4 {
		all += <-made
	}
	if lines := g.auditLines(t); len(lines) != all {
		t.Errorf("%d lines of %d tokens", len(lines), all)
	}
	t.Logf("%d tokens in 20 files", all)
}

// A file that was cut off, as by copytruncate, isn't written to: tokens aren't made
// until somebody has moved it away.
func TestTheAuditRefusesCopytruncate(t *testing.T) {
	t.Parallel()
	g := start(t, site(""), audited)
	made := g.create(t, as("alice"), 3600, "")
	copied, err := os.ReadFile(g.auditFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.auditFile()+".1", copied, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(g.auditFile(), 0); err != nil {
		t.Fatal(err)
	}
	create := ask{method: "POST", target: api, auth: as("alice"), body: `{"lifetimeSeconds": 60}`}
	for range 2 {
		wantRefused(t, g.do(t, create), http.StatusServiceUnavailable, "ServiceUnavailable")
	}
	wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "alice")
	g.remove(t, as("alice"), made.target())
	if n := strings.Count(g.logs(), "the audit file can't be written"); n != 1 || !strings.Contains(g.logs(), "copytruncate") {
		t.Errorf("the log says %d times that the file can't be written", n)
	}
	if err := os.Remove(g.auditFile()); err != nil {
		t.Fatal(err)
	}
	g.wait(t, "tokens are made again", func() bool { return g.do(t, create).status == http.StatusCreated })
	var events []string
	for _, line := range g.auditLines(t) {
		events = append(events, line.Event)
	}
	if diff := cmp.Diff([]string{"token_created", "token_deleted", "token_created"}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if n := strings.Count(g.logs(), "the audit file can be written again"); n != 1 {
		t.Errorf("the log says %d times that the file can be written again", n)
	}
}

// A reload can let the audit go on elsewhere, or nowhere; one that names what can't
// be written is refused.
func TestTheAuditFileCanBeChanged(t *testing.T) {
	t.Parallel()
	g := start(t, site(""), audited)
	to := func(app string) (complaint string) {
		t.Helper()
		g.globals = "access_tokens {\n\t" + app + "\n}\n"
		return g.reload(t, site(""))
	}
	mustGoTo := func(app string) {
		t.Helper()
		if complaint := to(app); complaint != "" {
			t.Fatalf("%s: %s", app, complaint)
		}
	}
	g.create(t, as("alice"), 60, "")
	mustGoTo("audit file {$DIR}/audit/other.jsonl")
	g.create(t, as("alice"), 60, "")
	if content, err := os.ReadFile(filepath.Join(g.auditDir(), "other.jsonl")); err != nil || strings.Count(string(content), "\n") != 1 {
		t.Errorf("the other file holds, %v:\n%s", err, content)
	}
	for app, want := range map[string]string{
		"audit file {$DIR}":                   "is a directory",
		"audit file {$DIR}/Caddyfile":         "doesn't end in a line of an audit file",
		"audit file {$DIR}/Caddyfile/a.jsonl": "not a directory",
	} {
		if complaint := to(app); !strings.Contains(complaint, want) || !strings.Contains(complaint, "can't be begun") {
			t.Errorf("%s: %q, want %q", app, complaint, want)
		}
		g.create(t, as("alice"), 60, "")
	}
	// Validating leaves files alone.
	g.globals = "access_tokens {\n\taudit file {$DIR}/nowhere/audit.jsonl\n}\n"
	g.write(t, site(""))
	if output, exit := g.caddy(t, "validate", "--config", g.configFile(), "--adapter", "caddyfile"); exit != 0 {
		t.Errorf("validating: %s", output)
	}
	if _, err := os.Stat(filepath.Join(g.dir, "nowhere")); err == nil {
		t.Error("validating has made the file's directory")
	}
	mustGoTo("audit file {$DIR}/audit/audit.jsonl")
	g.create(t, as("alice"), 60, "")
	mustGoTo("retain deleted 90d")
	g.create(t, as("alice"), 60, "")
	g.restart(t)
	g.create(t, as("alice"), 60, "")
	if lines := g.auditLines(t); len(lines) != 6 {
		t.Errorf("%d lines", len(lines))
	}
	mustGoTo("audit file {$DIR}/audit/audit.jsonl")
	g.create(t, as("alice"), 60, "")
	if lines := g.auditLines(t); len(lines) != 7 {
		t.Errorf("%d lines", len(lines))
	}
}

// While the audit file can't be written, what gives waits, what takes away goes on,
// and so does authentication; afterwards all of it is in the file, in order.
func (g *gateway) wantOnlyTakingAway(t *testing.T, breakIt, mendIt func()) {
	t.Helper()
	made, other := g.create(t, as("alice"), 3600, ""), g.create(t, as("alice"), 3600, "")
	create := ask{method: "POST", target: api, auth: as("alice"), body: `{"lifetimeSeconds": 60}`}
	renew := create
	renew.auth = bearer(made.value)
	settings := func(body string) ask {
		return ask{method: "PATCH", target: api + "/settings", auth: as("alice"), body: body}
	}
	breakIt()
	waits := func() {
		t.Helper()
		for _, a := range []ask{create, renew, settings(`{"generate": "everyone"}`), settings(`{"enabled": false, "maxLifetimeDays": 7}`)} {
			got := g.do(t, a)
			wantRefused(t, got, http.StatusServiceUnavailable, "ServiceUnavailable")
			if got.header.Get("Retry-After") == "" {
				t.Errorf("no Retry-After: %s", got)
			}
		}
		wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "alice")
		if all := g.list(t, as("alice"), "").Data; len(all) == 0 {
			t.Error("tokens aren't listed")
		}
	}
	waits()
	g.remove(t, as("alice"), other.target())
	if got := g.do(t, ask{auth: bearer(other.value)}); !got.isInvalidToken() {
		t.Errorf("the deleted token: %s", got)
	}
	wantStatus(t, g.do(t, settings(`{"enabled": false}`)), http.StatusOK)
	wantStatus(t, g.do(t, ask{auth: bearer(made.value)}), http.StatusForbidden)
	wantStatus(t, g.do(t, settings(`{"enabled": true}`)), http.StatusServiceUnavailable)
	if ids := g.list(t, as("alice"), "?user=*").ids(); !slices.Equal(ids, []string{made.info.TokenID}) {
		t.Errorf("tokens are %v, and ought to be %s", ids, made.info.TokenID)
	}
	mendIt()
	g.wait(t, "it is switched on again", func() bool { return g.do(t, settings(`{"enabled": true}`)).status == http.StatusOK })
	g.create(t, bearer(made.value), 60, "")
	var events []string
	for _, line := range g.auditLines(t) {
		// Of what met the failure, if something did, the end too.
		if events = append(events, line.Event); len(events) > 3 && slices.Equal(events[len(events)-2:], []string{"token_created", "token_deleted"}) {
			events = events[:len(events)-2]
		}
	}
	want := []string{"token_created", "token_created", "token_deleted", "settings_changed", "settings_changed", "token_renewed"}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if bad, good := strings.Count(g.logs(), "the audit file can't be written"), strings.Count(g.logs(), "the audit file can be written again"); bad != 1 || good != 1 {
		t.Errorf("the log says %d times that the file can't be written, and %d times that it can", bad, good)
	}
}

// A directory that is a file lets nobody write to it, root included.
func TestWhatGivesWaitsForTheAuditFile(t *testing.T) {
	t.Parallel()
	g := start(t, site(""), audited)
	away := g.auditDir() + ".away"
	g.wantOnlyTakingAway(t, func() {
		if err := os.Rename(g.auditDir(), away); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(g.auditDir(), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}, func() {
		if err := os.Remove(g.auditDir()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(away, g.auditDir()); err != nil {
			t.Fatal(err)
		}
	})
}

// createUntilRefused lets clients make tokens of bob's until the server can't, and
// returns those that they were given.
func (g *gateway) createUntilRefused(t testing.TB, clients int) (acknowledged []string) {
	t.Helper()
	made := make(chan []string)
	for range clients {
		caller := g.caller(t)
		go func() {
			var ids []string
			defer func() { made <- ids }()
			for {
				got, err := caller.send(ask{method: "POST", target: api, auth: as("bob"), body: `{"lifetimeSeconds": 3600}`})
				if err == nil && got.status == http.StatusServiceUnavailable {
					return
				}
				if _, err := want(got, err, http.StatusCreated); err != nil {
					t.Error(err)
					return
				}
				secret(got.token().value)
				ids = append(ids, got.token().info.TokenID)
			}
		}()
	}
	for range clients {
		acknowledged = append(acknowledged, <-made...)
	}
	slices.Sort(acknowledged)
	return acknowledged
}

// livingOf returns all tokens of a user.
func (g *gateway) livingOf(t testing.TB, user string) (ids []string) {
	t.Helper()
	for more := true; more; {
		page := g.list(t, as("alice"), fmt.Sprintf("?user=%s&limit=1000&offset=%d", user, len(ids)))
		ids = append(ids, page.ids()...)
		more = len(page.Data) == 1000
	}
	slices.Sort(ids)
	return ids
}

// A token that was made when it turned out that nothing could be written about it
// doesn't live, and the audit says of it that it was made and that it ended.
func TestATokenThatMeetsTheFailureEnds(t *testing.T) {
	t.Parallel()
	g := start(t, answering("allow_generate everyone"), audited, quietly)
	away := g.auditDir() + ".away"
	var acknowledged []string
	for round := range 10 {
		before := len(g.auditLines(t))
		broken := make(chan error)
		go func() {
			g.wait(t, "some are made", func() bool {
				content, err := os.ReadFile(g.auditFile())
				return err == nil && strings.Count(string(content), "\n") >= before+10
			})
			broken <- errors.Join(os.Rename(g.auditDir(), away), os.WriteFile(g.auditDir(), nil, 0o600))
		}()
		acknowledged = append(acknowledged, g.createUntilRefused(t, 8)...)
		if err := <-broken; err != nil {
			t.Fatal(err)
		}
		slices.Sort(acknowledged)
		if diff := cmp.Diff(acknowledged, g.livingOf(t, "bob")); diff != "" {
			t.Fatalf("round %d: living tokens (-acknowledged +living):\n%s", round, diff)
		}
		if err := errors.Join(os.Remove(g.auditDir()), os.Rename(away, g.auditDir())); err != nil {
			t.Fatal(err)
		}
		if round%3 == 0 {
			g.kill9(t)
			g.up(t)
		}
		create := ask{method: "POST", target: api, auth: as("bob"), body: `{"lifetimeSeconds": 3600}`}
		g.wait(t, "tokens are made again", func() bool {
			got := g.do(t, create)
			if got.status == http.StatusCreated {
				acknowledged = append(acknowledged, got.token().info.TokenID)
			}
			return got.status == http.StatusCreated
		})
	}
	slices.Sort(acknowledged)
	lines := g.auditLines(t)
	if diff := cmp.Diff(acknowledged, slices.Sorted(maps.Keys(replay(t, lines)))); diff != "" {
		t.Errorf("living tokens (-acknowledged +by the audit):\n%s", diff)
	}
	t.Logf("%d tokens were given to somebody, and %d ended", len(acknowledged), (len(lines)-len(acknowledged))/2)
}

// What waits isn't lost by a restart, and isn't forgotten when the option is.
func TestWhatWaitsForTheAuditFileIsKept(t *testing.T) {
	t.Parallel()
	g := start(t, site(""), audited)
	made := g.create(t, as("alice"), 3600, "")
	kept := g.create(t, as("alice"), 3600, "")
	away := g.auditDir() + ".away"
	if err := os.Rename(g.auditDir(), away); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.auditDir(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g.remove(t, as("alice"), made.target())
	before := g.globals
	g.globals = ""
	if complaint := g.reload(t, site("")); !strings.Contains(complaint, "changes wait to be written to the audit file") {
		t.Errorf("a reload without it: %q", complaint)
	}
	g.stop(t)
	g.write(t, site(""))
	g.launch(t)
	if g.serving(t) || !strings.Contains(g.logs(), "changes wait to be written to the audit file") {
		t.Errorf("a start without it was possible")
	}
	g.globals = before
	g.write(t, site(""))
	g.up(t)
	wantProxied(t, g.do(t, ask{auth: bearer(kept.value)}), "alice")
	wantRefused(t, g.do(t, ask{method: "POST", target: api, auth: as("alice"), body: `{"lifetimeSeconds": 60}`}), http.StatusServiceUnavailable, "ServiceUnavailable")
	if err := os.Remove(g.auditDir()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, g.auditDir()); err != nil {
		t.Fatal(err)
	}
	g.restart(t)
	g.create(t, as("alice"), 60, "")
	if lines := g.auditLines(t); len(lines) != 4 || lines[2].TokenID != made.info.TokenID || lines[2].Event != "token_deleted" {
		t.Errorf("lines: %+v", lines)
	}
}

// The command line verifies files and prints what is asked for, over rotations and
// beside a running server.
func TestTheAuditCommand(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"), audited)
	g.create(t, as("alice"), 60, "")
	made := g.create(t, as("bob"), 60, "")
	old := g.auditFile() + ".1"
	if err := os.Rename(g.auditFile(), old); err != nil {
		t.Fatal(err)
	}
	g.remove(t, as("alice"), made.target())
	for name, test := range map[string]struct {
		args []string
		exit int
		want []string
	}{
		"all":             {[]string{g.auditFile(), old}, 0, []string{"token_created", "alice (basic)", "token_deleted", "from line 1 to line 3"}},
		"of a token":      {[]string{"--token", made.info.TokenID, g.auditFile(), old}, 0, []string{"bob (basic)", "alice (basic)", "2 of 3 lines match"}},
		"as JSON":         {[]string{"--json", "--user", "bob", g.auditFile(), old}, 0, []string{`{"seq":2,"previous":"`, `"request_id":"`}},
		"of nobody":       {[]string{"--user", "carol", g.auditFile(), old}, 3, []string{"0 of 3 lines match"}},
		"another file":    {[]string{g.configFile(), old}, 1, []string{"Caddyfile:1: it is no line of an audit file", "NOT whole"}},
		"no file":         {nil, 2, []string{"name at least one file", "caddy access-tokens audit --help"}},
		"an unknown flag": {[]string{"--colour", old}, 2, []string{"unknown flag: --colour"}},
		"help":            {[]string{"--help"}, 0, []string{"--until", "$ caddy access-tokens audit"}},
	} {
		output, exit := g.caddy(t, append([]string{"access-tokens", "audit"}, test.args...)...)
		if exit != test.exit {
			t.Errorf("%s: exit code %d, want %d:\n%s", name, exit, test.exit, output)
		}
		for _, want := range test.want {
			if !strings.Contains(output, want) {
				t.Errorf("%s: no %q in\n%s", name, want, output)
			}
		}
	}
	if output, exit := g.caddy(t, "access-tokens", "audits"); exit != 2 || !strings.Contains(output, `no command "audits"`) {
		t.Errorf("a command that isn't there: %d\n%s", exit, output)
	}
}

// logrotateRotates lets the real one rotate an audit file again and again, as the
// example says.
func logrotateRotates(t *testing.T, e example) {
	if os.Getenv("ACCESS_TOKENS_TEST_SERVERS") != "1" {
		t.Skip("set ACCESS_TOKENS_TEST_SERVERS=1 to test with logrotate")
	}
	g := start(t, site(""), audited)
	rules := filepath.Join(g.dir, "logrotate.conf")
	if err := os.WriteFile(rules, []byte(strings.Replace(e.text, "/var/log/caddy/access-tokens.jsonl", g.auditFile(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	const rotations = 4
	for range rotations {
		g.create(t, as("alice"), 60, "")
		if out, err := exec.CommandContext(t.Context(), "logrotate", "--force", "--state", filepath.Join(g.dir, "logrotate.state"), rules).CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("logrotate: %v\n%s", err, out)
		}
	}
	g.create(t, as("alice"), 60, "")
	files, err := filepath.Glob(filepath.Join(g.auditDir(), "*"))
	if err != nil || len(files) != rotations+1 || !slices.ContainsFunc(files, func(name string) bool { return strings.HasSuffix(name, ".gz") }) {
		t.Errorf("files: %q, %v", files, err)
	}
	if output, exit := g.caddy(t, append([]string{"access-tokens", "audit", "--quiet"}, files...)...); exit != 0 || !strings.Contains(output, "from line 1 to line 5\n") {
		t.Errorf("%d: %s", exit, output)
	}
}
