package contract

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// logging is a site with an access log.
func logging(options string) string {
	return strings.Replace(site(options), "bind 127.0.0.1", "bind 127.0.0.1\n\tlog", 1)
}

// logLine is a line of the log, with all its fields.
type logLine map[string]any

func (l logLine) text(field string) string {
	text, _ := l[field].(string)
	return text
}

// logLines returns the lines whose logger's name begins so.
func (g *gateway) logLines(logger string) []logLine { return linesOf(g.logs(), logger) }

func linesOf(log, logger string) (lines []logLine) {
	for text := range strings.Lines(log) {
		var line logLine
		if json.Unmarshal([]byte(text), &line) == nil && strings.HasPrefix(line.text("logger"), logger) {
			lines = append(lines, line)
		}
	}
	return lines
}

// accessLogLine waits for the line of the only request with that User-Agent.
func (g *gateway) accessLogLine(t testing.TB, agent string) (line logLine) {
	t.Helper()
	g.wait(t, "the access log has a line of "+agent, func() bool {
		for _, line = range g.logLines("http.log.access") {
			request, _ := line["request"].(map[string]any)
			headers, _ := request["headers"].(map[string]any)
			agents, _ := headers["User-Agent"].([]any)
			if len(agents) == 1 && agents[0] == agent {
				return true
			}
		}
		return false
	})
	return line
}

func TestTheAccessLogSaysWhyARequestIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t, logging("allow_generate everyone")+strings.Replace(siteAt("{$PORT2}", "project other\nallow_generate everyone"), "bind 127.0.0.1", "bind 127.0.0.1\n\tlog", 1))
	valid := g.create(t, as("bob"), 3600, "")
	deleted := g.create(t, as("bob"), 3600, "")
	g.remove(t, as("bob"), deleted.target())
	expired := g.create(t, as("carol"), 1, "")
	g.wait(t, "a token expires", func() bool { return g.do(t, ask{auth: bearer(expired.value)}).status == http.StatusUnauthorized })
	others := g.createAt(t, 1, as("bob"), 3600, "")

	for refusal, test := range map[string]struct {
		auth   string
		status int
		of     token  // what the store knows of the token
		user   string // whose it was
	}{
		"":          {bearer(valid.value), 200, valid, ""},
		"missing":   {"", 401, token{}, ""},
		"malformed": {"Bearer " + valid.value + ", x", 400, token{}, ""},
		"checksum":  {bearer(mistyped(valid.value)), 401, token{}, ""},
		"unknown":   {bearer(neverIssued("cat")), 401, token{}, ""},
		"foreign":   {"Bearer eyJhbGciOiJub25lIn0.e30.", 401, token{}, ""},
		"project":   {bearer(others.value), 401, others, "bob"},
		"expired":   {bearer(expired.value), 401, expired, "carol"},
		"deleted":   {bearer(deleted.value), 401, deleted, "bob"},
	} {
		for place, target := range map[string]string{"api": "/v3/things", "routes": api} {
			if refusal == "missing" && place == "routes" {
				continue
			}
			agent := "agent-" + place + "-" + refusal
			wantStatus(t, g.do(t, ask{target: target, auth: test.auth, lines: []string{"User-Agent: " + agent}}), test.status)
			line := g.accessLogLine(t, agent)
			want := map[string]string{"refusal": refusal, "project": "dataprep", "token_id": test.of.info.TokenID, "token_user_id": test.user, "user_id": ""}
			if refusal == "" {
				want["user_id"] = "bob"
			}
			got := make(map[string]string)
			for field := range want {
				got[field] = line.text(field)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s at %s (-want +got):\n%s", refusal, place, diff)
			}
		}
	}

	if complaint := g.reload(t, logging("allow_generate everyone\napi_access off")); complaint != "" {
		t.Fatal(complaint)
	}
	wantStatus(t, g.do(t, ask{auth: bearer(valid.value), lines: []string{"User-Agent: off"}}), http.StatusForbidden)
	line := g.accessLogLine(t, "off")
	if line.text("refusal") != "off" || line.text("token_user_id") != "bob" || line.text("token_id") != valid.info.TokenID {
		t.Errorf("while off: %v", line)
	}
	// The client isn't told that there are routes.
	wantStatus(t, g.do(t, ask{target: api, auth: as("bob"), lines: []string{"User-Agent: off-hidden"}}), http.StatusNotFound)
	if line := g.accessLogLine(t, "off-hidden"); line.text("refusal") != "off" {
		t.Errorf("while off, without a token: %v", line)
	}
}

// Refusals for want of rights have no word of their own.
func TestTheAccessLogNamesWhoeverMayNot(t *testing.T) {
	t.Parallel()
	g := start(t, logging(""))
	wantStatus(t, g.do(t, ask{method: "POST", target: api, auth: as("bob"), body: `{"lifetimeSeconds": 60}`, lines: []string{"User-Agent: no-right"}}), http.StatusForbidden)
	line := g.accessLogLine(t, "no-right")
	if _, has := line["refusal"]; has || line.text("user_id") != "bob" {
		t.Errorf("%v", line)
	}

	made := g.create(t, as("alice"), 3600, "")
	wantStatus(t, g.do(t, ask{target: "/access-tokens", auth: bearer(made.value), lines: []string{"User-Agent: token-at-page"}}), http.StatusForbidden)
	line = g.accessLogLine(t, "token-at-page")
	if _, has := line["refusal"]; has || line.text("user_id") != "alice" || line.text("token_id") != made.info.TokenID {
		t.Errorf("a token at the page: %v", line)
	}
}

// Nothing that a client sends keeps a request out of the log, and no token gets
// into it.
func TestTheAccessLogMasksTokens(t *testing.T) {
	t.Parallel()
	g := start(t, logging("allow_generate everyone\nwithout_token pass"))
	made := g.create(t, as("bob"), 3600, "")
	foreign := neverIssued("cat")
	id := "[token " + made.info.TokenID + "]"
	for agent, test := range map[string]struct {
		ask     ask
		status  int
		uri     string
		referer string
		refusal string
	}{
		"known-in-query":   {ask{target: "/x?t=" + made.value}, 400, "/x?t=" + id, "", "malformed"},
		"unknown-in-path":  {ask{target: "/" + foreign + "/x"}, 400, "/[token]/x", "", "malformed"},
		"encoded-in-query": {ask{target: "/x?t=" + strings.Replace(made.value, "_", "%5F", 1)}, 400, "/x?t=" + id, "", "malformed"},
		"twice-encoded":    {ask{target: "/x?t=" + url.QueryEscape(strings.Replace(made.value, "_", "%5F", 1))}, 400, "/x?t=" + id, "", "malformed"},
		"made-up-referer":  {ask{target: "/y", lines: []string{"Referer: http://h/?t=" + foreign}}, 200, "/y", "http://h/?t=[token]", ""},
		"real-referer":     {ask{target: "/z", auth: bearer(made.value), lines: []string{"Referer: http://h/" + made.value}}, 200, "/z", "http://h/" + id, ""},
		"a-guess":          {ask{target: api, auth: basic("bob", secret("a wrong guess")), lines: []string{"Referer: " + foreign}}, 401, api, "[token]", "missing"},
		"a-deletion":       {ask{method: "DELETE", target: made.target(), auth: as("carol"), lines: []string{"Referer: " + made.value}}, 404, made.target(), id, ""},
	} {
		test.ask.lines = append(test.ask.lines, "User-Agent: "+agent)
		got := g.do(t, test.ask)
		wantStatus(t, got, test.status)
		line := g.accessLogLine(t, agent)
		request := line["request"].(map[string]any)
		headers := request["headers"].(map[string]any)
		method := test.ask.method
		if method == "" {
			method = "GET"
		}
		if request["uri"] != test.uri || request["method"] != method || request["client_ip"] != "127.0.0.1" || request["host"] == "" ||
			line["status"] != float64(test.status) || line["size"] != float64(len(got.body)) || line["duration"] == nil ||
			line.text("refusal") != test.refusal || line.text("project") != "dataprep" && test.status != 200 {
			t.Errorf("%s: %v", agent, line)
		}
		referer := ""
		if values, ok := headers["Referer"].([]any); ok {
			referer = values[0].(string)
		}
		if referer != test.referer {
			t.Errorf("%s: Referer %q, want %q", agent, referer, test.referer)
		}
		if got.received != nil && len(got.received.lines("Referer")) > 0 {
			t.Errorf("%s: the API behind got %q", agent, got.received.lines("Referer"))
		}
	}
}

// The masked line goes where Caddy's would have gone, and nowhere if there would
// have been none.
func TestTheMaskedLineGoesToTheSameLogger(t *testing.T) {
	t.Parallel()
	with := func(log string) string {
		return strings.Replace(site("allow_generate everyone"), "bind 127.0.0.1", "bind 127.0.0.1\n"+log, 1)
	}
	g := start(t, with("log special {\n\toutput file {$DIR}/special.log {\n\t\troll_disabled\n\t}\n}"))
	value := neverIssued("cat")
	plain, masked := ask{target: "/plain"}, ask{target: "/?t=" + value}
	g.do(t, plain)
	g.do(t, masked)
	var loggers []string
	g.wait(t, "both lines are there", func() bool {
		loggers = nil
		text, _ := os.ReadFile(filepath.Join(g.dir, "special.log"))
		for _, line := range linesOf(string(text), "") {
			loggers = append(loggers, line.text("logger"))
		}
		return len(loggers) == 2
	})
	if loggers[0] != loggers[1] {
		t.Errorf("Caddy's line went to %s, ours to %s", loggers[0], loggers[1])
	}

	if complaint := g.reload(t, with("log_skip /silent*\nlog")); complaint != "" {
		t.Fatal(complaint)
	}
	g.do(t, ask{target: "/silent?t=" + value, lines: []string{"User-Agent: silent"}})
	g.do(t, ask{target: "/loud?t=" + value, lines: []string{"User-Agent: loud"}})
	g.accessLogLine(t, "loud")
	if strings.Contains(g.logs(), "/silent") && len(g.logLines("http.log.access")) > 1 {
		t.Errorf("log_skip doesn't hold: %v", g.logLines("http.log.access"))
	}
}

// Whoever filters the log needs one name for all that the owner is told.
func TestTheOwnerIsToldUnderOneName(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	made := g.create(t, as("alice"), 3600, "")
	g.do(t, ask{target: "/x?t=" + made.value})
	g.wait(t, "a token in a URL is told of under access_tokens", func() bool {
		for _, line := range g.logLines("access_tokens") {
			if line.text("msg") == "refused a request with a token in its URL" {
				return true
			}
		}
		return false
	})
}

// A change is found in both logs, also where Caddy's line is left out.
func TestAChangeIsFoundInBothLogs(t *testing.T) {
	t.Parallel()
	g := start(t, logging(""))
	value := g.create(t, as("alice"), 3600, "").value
	for n, lines := range [][]string{{"User-Agent: plain"}, {"User-Agent: masked", "Referer: http://h/?t=" + value}} {
		_, agent, _ := strings.Cut(lines[0], ": ")
		wantStatus(t, g.do(t, ask{method: "POST", target: api, auth: as("alice"), lines: lines, body: `{"lifetimeSeconds": 60}`}), http.StatusCreated)
		request := g.accessLogLine(t, agent).text("uuid")
		g.wait(t, "the audit has the request", func() bool { return len(g.logLines("access_tokens.audit")) == n+2 })
		if audited := g.logLines("access_tokens.audit")[n+1].text("request_id"); request != audited || request == "" {
			t.Errorf("%s: the access log says %q, the audit %q", agent, request, audited)
		}
	}
}

// The owner finds out whose session a page's script has tried to use.
func TestTheAccessLogSaysWhoseScriptWasRefused(t *testing.T) {
	t.Parallel()
	g := start(t, logging(""))
	got := g.do(t, ask{method: "POST", target: api, auth: as("alice"), body: `{"lifetimeSeconds": 60}`, lines: []string{"User-Agent: script", "Sec-Fetch-Mode: cors"}})
	wantRefused(t, got, http.StatusForbidden, "AccessControlException")
	if line := g.accessLogLine(t, "script"); line.text("user_id") != "alice" {
		t.Errorf("user_id: %v", line)
	}
}

// Every change says who made it.
func TestChangesAreLoggedWithTheirActor(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "")
	renewed := g.create(t, bearer(made.value), 60, "")
	g.remove(t, as("alice"), made.target()+"?successors=true")
	wantStatus(t, g.do(t, ask{method: "PATCH", target: api + "/settings", auth: as("alice"), body: `{"generate": "everyone"}`}), http.StatusOK)

	var lines []logLine
	g.wait(t, "four changes are logged", func() bool {
		lines = g.logLines("access_tokens.audit")
		return len(lines) == 4
	})
	requests := make(map[string]bool)
	for i, line := range lines {
		if line.text("project") != "dataprep" || line.text("client_ip") != "127.0.0.1" || line["epoch"] != 1.0 || line["time"] == nil {
			t.Errorf("line %d: %v", i, line)
		}
		if revision, ok := line["revision"].(float64); !ok || i > 0 && revision <= lines[i-1]["revision"].(float64) {
			t.Errorf("line %d: revision %v", i, line["revision"])
		}
		requests[line.text("request_id")] = true
	}
	if len(requests) != 4 || requests[""] {
		t.Errorf("request ids %v", requests)
	}
	signedIn := map[string]any{"user": "alice", "by": "access_tokens.sign_in.basic"}
	byToken := map[string]any{"user": "alice", "by": "token", "token_id": made.info.TokenID}
	for i, want := range []logLine{
		{"event": "token_created", "actor": signedIn, "token_id": made.info.TokenID, "user": "alice"},
		{"event": "token_renewed", "actor": byToken, "token_id": renewed.info.TokenID, "user": "alice", "parent_id": made.info.TokenID},
		{"event": "token_deleted", "actor": signedIn, "token_id": made.info.TokenID, "user": "alice", "successors": true},
		{"event": "settings_changed", "actor": signedIn, "after": map[string]any{"generate": "everyone"}},
	} {
		got := make(logLine)
		for field := range want {
			got[field] = lines[i][field]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("line %d (-want +got):\n%s", i, diff)
		}
	}
}
