package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What whoever runs the gateway can see and take away, at the admin endpoint and by
// the command line.

// operate asks the admin endpoint, which each reload replaces.
func (g *gateway) operate(t testing.TB, method, path, body string) (status int, answer string) {
	t.Helper()
	g.wait(t, "the admin endpoint answers", func() (answered bool) {
		var err error
		status, answer, err = g.askAdmin(method, "/access_tokens"+path, "application/json", body)
		return err == nil
	})
	return status, strings.TrimSpace(answer)
}

// wantOperated is operate that has to be answered 200, with that or, where it is "",
// anything.
func (g *gateway) wantOperated(t testing.TB, method, path, body, want string) (answer string) {
	t.Helper()
	status, answer := g.operate(t, method, path, body)
	if status != http.StatusOK || want != "" && answer != want {
		t.Errorf("%s %s %s: %d %s, want %s", method, path, body, status, answer, want)
	}
	return answer
}

// operatedIDs are the ids of a list that the admin endpoint answers with.
func (g *gateway) operatedIDs(t testing.TB, method, path, body string) (ids []string) {
	t.Helper()
	var list struct{ Data []struct{ TokenID string } }
	answer := g.wantOperated(t, method, path, body, "")
	if err := json.Unmarshal([]byte(answer), &list); err != nil || list.Data == nil {
		t.Fatalf("%s: %v, %s", path, err, answer)
	}
	for _, one := range list.Data {
		ids = append(ids, one.TokenID)
	}
	return ids
}

func idsOf(tokens ...token) (ids []string) {
	for _, one := range tokens {
		ids = append(ids, one.info.TokenID)
	}
	return ids
}

// quoted is a JSON list of the tokens' ids.
func quoted(t testing.TB, tokens ...token) string {
	t.Helper()
	text, err := json.Marshal(idsOf(tokens...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func twoProjects() string {
	return site("allow_generate everyone") + siteAt("{$PORT2}", "project other\nallow_generate everyone")
}

func TestTheOperatorListsTokens(t *testing.T) {
	t.Parallel()
	g := start(t, twoProjects())
	first := g.create(t, as("alice"), 10*86400, "first")
	second := g.create(t, as("bob"), 3600, "second")
	expired := g.create(t, as("bob"), 1, "expired")
	elsewhere := g.createAt(t, 1, as("bob"), 3600, "elsewhere")
	deleted := g.create(t, as("bob"), 3600, "deleted")
	g.remove(t, as("bob"), deleted.target())
	g.wait(t, "it has expired", func() bool { return g.do(t, ask{auth: bearer(expired.value)}).isInvalidToken() })
	for query, want := range map[string][]string{
		"":                                 idsOf(first, second, expired, elsewhere),
		"?project=other":                   idsOf(elsewhere),
		"?user=bob":                        idsOf(second, expired, elsewhere),
		"?user=nobody":                     nil,
		"?state=expired":                   idsOf(expired),
		"?state=active&project=dataprep":   idsOf(first, second),
		"?expiringWithin=1":                idsOf(second, elsewhere),
		"?unusedFor=1":                     nil,
		"?limit=3":                         idsOf(first, second, expired),
		"?limit=2&user=bob":                idsOf(second, expired),
		"?after=" + expired.info.TokenID:   idsOf(elsewhere),
		"?after=" + deleted.info.TokenID:   idsOf(elsewhere), // it may have ended since
		"?after=" + elsewhere.info.TokenID: nil,
	} {
		if got := g.operatedIDs(t, "GET", "/tokens"+query, ""); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	for query, want := range map[string]int{
		"?project=nobodys": 404, "?project=": 400, "?user=": 400, "?user=*": 400, "?state=deleted": 400, "?unusedFor=0": 400, "?unusedFor=1d": 400,
		"?expiringWithin=36526": 400, "?limit=0": 400, "?limit=x": 400, "?after=x": 400, "?after=0f8fad5b-d9cb-469f-a165-70867728950e": 404,
		"?nonsense=1": 400, "?user=a&user=b": 400, "?%zz": 400, "?after=" + first.info.TokenID + "&project=other": 400,
	} {
		if status, answer := g.operate(t, "GET", "/tokens"+query, ""); status != want || !strings.HasPrefix(answer, `{"error":`) {
			t.Errorf("%s: %d %s, want %d", query, status, answer, want)
		}
	}
	if answer := g.wantOperated(t, "GET", "/projects", "", ""); !strings.Contains(answer, `{"project":"dataprep","active":2,"expired":1,"expiring":{"1d":1,"30d":2,"7d":1},"blocked":[],"enabled":true,"generate":"everyone","maxLifetimeDays":365},{"project":"other","active":1,`) {
		t.Errorf("the projects are %s", answer)
	}
}

func TestTheOperatorSeesWhyATokenIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"), audited)
	made := g.create(t, as("bob"), 3600, "nightly")
	other := g.create(t, as("bob"), 3600, "another")
	wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "bob")
	path := "/tokens/" + made.info.TokenID
	type details struct {
		TokenID, State, UserID, LastUsedAddress, RefusedNow string
		DeletedBy                                           struct{ User, By, ClientIP string }
		Refusals                                            []struct {
			Refusal, Address string
			Count            int
		}
	}
	show := func(path string) (d details) {
		t.Helper()
		if err := json.Unmarshal([]byte(g.wantOperated(t, "GET", path, "", "")), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := show(path); d.State != "active" || d.UserID != "bob" || d.LastUsedAddress != "127.0.0.1" || d.RefusedNow != "" || len(d.Refusals) > 0 {
		t.Errorf("at first it is %+v", d)
	}
	g.wantOperated(t, "POST", "/block", `{"user":"bob"}`, `{"changed":["dataprep"]}`)
	g.do(t, ask{auth: bearer(made.value)})
	if d := show(path); d.State != "active" || d.RefusedNow != "blocked" {
		t.Errorf("blocked, it is %+v", d)
	}
	g.wantOperated(t, "POST", "/unblock", `{"user":"bob"}`, `{"changed":["dataprep"]}`)
	g.remove(t, as("bob"), made.target())
	for range 2 {
		g.do(t, ask{auth: bearer(made.value)})
	}
	d := show(path)
	if d.State != "deleted" || d.RefusedNow != "deleted" || d.DeletedBy.User != "bob" || d.DeletedBy.By != "access_tokens.sign_in.basic" || d.DeletedBy.ClientIP != "127.0.0.1" {
		t.Errorf("deleted, it is %+v", d)
	}
	if len(d.Refusals) != 2 || d.Refusals[0].Refusal != "deleted" || d.Refusals[0].Count != 2 || d.Refusals[0].Address != "127.0.0.1" || d.Refusals[1].Refusal != "blocked" {
		t.Errorf("its refusals are %+v", d.Refusals)
	}
	g.wantOperated(t, "POST", "/delete", `{"project":"dataprep","user":"bob"}`, `{"deleted":1,"expired":0}`)
	if d := show("/tokens/" + other.info.TokenID); d.DeletedBy.By != "admin" || d.DeletedBy.User != "" {
		t.Errorf("deleted by whoever runs the gateway, it is %+v", d)
	}
	for path, want := range map[string]int{"/tokens/x": 404, "/tokens/0f8fad5b-d9cb-469f-a165-70867728950e": 404, "/tokens/": 404, path + "/x": 404} {
		if status, answer := g.operate(t, "GET", path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	var did []string
	for _, line := range g.auditLines(t) {
		if line.Actor.By == "admin" {
			did = append(did, line.Event)
		}
	}
	if want := []string{"user_blocked", "user_unblocked", "tokens_deleted"}; !slices.Equal(did, want) {
		t.Errorf("the audit says of whoever runs the gateway %q, want %q", did, want)
	}
}

func TestTheOperatorDeletesTokens(t *testing.T) {
	t.Parallel()
	g := start(t, twoProjects())
	one, two := g.create(t, as("bob"), 3600, ""), g.create(t, as("bob"), 3600, "")
	alices, elsewhere := g.create(t, as("alice"), 3600, ""), g.createAt(t, 1, as("bob"), 3600, "")
	const nobodys = "0f8fad5b-d9cb-469f-a165-70867728950e"
	for _, body := range []string{
		`{}`, ``, `[]`, `{"ids":[]}`, `{"project":"dataprep"}`, `{"user":"bob"}`, `{"all":true}`, `{"project":"dataprep","all":false}`, `{"project":"","all":true}`,
		`{"project":"dataprep","user":"bob","all":true}`, `{"project":"dataprep","ids":["` + nobodys + `"]}`, `{"ids":["x"]}`, `{"project":"dataprep","user":null,"all":true}`,
		`{"project":"dataprep","all":"true"}`, `{"project":"dataprep","All":true}`, `{"project":"dataprep","all":true,"dryrun":true}`,
		`{"project":"dataprep","all":true,"project":"other"}`, `{"project":"dataprep","all":true} x`, `{"project":"dataprep","all":true`, `{"project":"dataprep","user":"*"}`, "{\"project\":\"dataprep\",\"user\":\"bob\xff\"}",
	} {
		if status, answer := g.operate(t, "POST", "/delete", body); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	if status, answer := g.operate(t, "POST", "/delete", `{"project":"dataprep","user":"`+strings.Repeat("x", 1<<20)+`"}`); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d %s", status, answer)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if status, answer := g.operate(t, method, "/delete", `{"project":"dataprep","all":true}`); status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %s", method, status, answer)
		}
	}
	for _, made := range []token{one, two, alices} {
		wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), map[bool]string{true: "alice", false: "bob"}[made.info.TokenID == alices.info.TokenID])
	}
	ids := `"ids":` + strings.Replace(quoted(t, one), "]", `,"`+nobodys+`"]`, 1)
	g.wantOperated(t, "POST", "/delete", `{`+ids+`,"dryRun":true}`, `{"deleted":1,"expired":0,"unknown":["`+nobodys+`"],"dryRun":true}`)
	wantProxied(t, g.do(t, ask{auth: bearer(one.value)}), "bob")
	g.wantOperated(t, "POST", "/delete", `{`+ids+`}`, `{"deleted":1,"expired":0,"unknown":["`+nobodys+`"]}`)
	gone := func(tokens ...token) {
		t.Helper()
		for _, made := range tokens {
			if got := g.do(t, ask{auth: bearer(made.value)}); !got.isInvalidToken() {
				t.Errorf("a deleted one: %s", got)
			}
		}
	}
	gone(one)
	g.wantOperated(t, "POST", "/delete", `{"project":"dataprep","user":"bob"}`, `{"deleted":1,"expired":0}`)
	gone(two)
	wantProxied(t, g.do(t, ask{auth: bearer(alices.value)}), "alice")
	g.wantOperated(t, "POST", "/delete", `{"project":"dataprep","all":true,"dryRun":true}`, `{"deleted":1,"expired":0,"dryRun":true}`)
	g.wantOperated(t, "POST", "/delete", `{"project":"dataprep","all":true}`, `{"deleted":1,"expired":0}`)
	gone(alices)
	wantProxied(t, g.do(t, ask{site: 1, auth: bearer(elsewhere.value)}), "bob")
	if status, answer := g.operate(t, "POST", "/delete", `{"project":"nobodys","all":true}`); status != http.StatusNotFound {
		t.Errorf("an unknown project: %d %s", status, answer)
	}
}

// Also administrators whom the file names, in one project or in all.
func TestTheOperatorBlocks(t *testing.T) {
	t.Parallel()
	g := start(t, twoProjects())
	here, there := g.create(t, as("alice"), 3600, ""), g.createAt(t, 1, as("alice"), 3600, "")
	want := func(made token, site, status int) {
		t.Helper()
		wantStatus(t, g.do(t, ask{site: site, auth: bearer(made.value)}), status)
	}
	for _, body := range []string{`{}`, `{"user":"*"}`, `{"user":""}`, `{"user":"bob","project":null}`, `{"user":"bob","project":""}`, `{"users":["bob"]}`} {
		if status, answer := g.operate(t, "POST", "/block", body); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	if status, answer := g.operate(t, "POST", "/block", `{"user":"bob","project":"nobodys"}`); status != http.StatusNotFound {
		t.Errorf("an unknown project: %d %s", status, answer)
	}
	g.wantOperated(t, "POST", "/block", `{"user":"alice","dryRun":true}`, `{"changed":["dataprep","other"],"dryRun":true}`)
	want(here, 0, 200)
	g.wantOperated(t, "POST", "/block", `{"user":"alice","project":"other"}`, `{"changed":["other"]}`)
	want(here, 0, 200)
	want(there, 1, 403)
	g.wantOperated(t, "POST", "/block", `{"user":"alice"}`, `{"changed":["dataprep"]}`)
	g.wantOperated(t, "POST", "/block", `{"user":"alice"}`, `{"changed":[]}`)
	want(here, 0, 403)
	g.restart(t)
	want(here, 0, 403)
	g.wantOperated(t, "POST", "/unblock", `{"user":"alice"}`, `{"changed":["dataprep","other"]}`)
	want(here, 0, 200)
	want(there, 1, 200)
	g.wantOperated(t, "POST", "/unblock", `{"user":"alice"}`, `{"changed":[]}`)
}

// The routes ask for the app that runs, whichever configuration was tried last.
func TestTheAdminRoutesOutliveReloads(t *testing.T) {
	t.Parallel()
	g := start(t, "") // no site has tokens
	for _, path := range []string{"/tokens", "/stats", "/projects", "/tokens/0f8fad5b-d9cb-469f-a165-70867728950e"} {
		if status, answer := g.operate(t, "GET", path, ""); status != http.StatusServiceUnavailable || !strings.Contains(answer, "no configuration with access_tokens runs") {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	if complaint := g.reload(t, site("allow_generate everyone")); complaint != "" {
		t.Fatal(complaint)
	}
	made := g.create(t, as("bob"), 3600, "")
	list := func() {
		t.Helper()
		if got := g.operatedIDs(t, "GET", "/tokens", ""); !slices.Equal(got, idsOf(made)) {
			t.Errorf("the tokens are %v", got)
		}
	}
	list()
	if complaint := g.reload(t, site("allow_generate everyone")+"http://:{$PORT2} {\n\tbind 127.0.0.1\n\treverse_proxy {$UPSTREAM} {\n\t\tlb_policy none\n\t}\n}\n"); complaint == "" {
		t.Error("a wrong configuration was taken")
	}
	list()
	if complaint := g.reload(t, site("allow_generate everyone\nmax_lifetime 7d")); complaint != "" {
		t.Fatal(complaint)
	}
	list()
	if answer := g.wantOperated(t, "GET", "/projects", "", ""); !strings.Contains(answer, `"maxLifetimeDays":7`) {
		t.Errorf("the projects are %s", answer)
	}
}

// Where the store has made its key, it makes the next: tokens work at every moment,
// over kills and restarts, and in the end under the new one alone.
func TestTheStoreMakesTheNextKey(t *testing.T) {
	t.Parallel()
	g := start(t, answering("allow_generate everyone"), audited, quietly, onLastingPorts(t))
	used, unused := g.create(t, as("bob"), 3600, "used"), g.create(t, as("bob"), 3600, "unused")
	works := func(tokens ...token) {
		t.Helper()
		for _, made := range tokens {
			wantStatus(t, g.do(t, ask{auth: bearer(made.value)}), 200)
		}
	}
	var keys struct {
		Key          string
		PreviousKeys []string
	}
	rotate := func() {
		t.Helper()
		if err := json.Unmarshal([]byte(g.wantOperated(t, "POST", "/rotate_key", `{"new":true}`, "")), &keys); err != nil {
			t.Fatal(err)
		}
	}
	if status, answer := g.operate(t, "POST", "/rotate_key", `{"new":true,"finish":true}`); status != http.StatusBadRequest {
		t.Errorf("both: %d %s", status, answer)
	}
	g.wantOperated(t, "POST", "/rotate_key", `{}`, `{"data":[]}`)
	atWork := putToWork(t, 0, g.callers(t, used, http.StatusOK)...)
	rotate()
	atWork.awaitTurns(t, g)
	atWork.end(t)
	first := keys
	made := g.create(t, as("bob"), 3600, "under the second key")
	g.kill9(t)
	g.up(t)
	works(used, made)
	g.wait(t, "what was used has moved", func() bool {
		return slices.Equal(g.operatedIDs(t, "POST", "/rotate_key", `{}`), idsOf(unused))
	})
	rotate()
	if len(keys.PreviousKeys) != 2 || keys.PreviousKeys[0] != first.Key {
		t.Errorf("after the second time: %+v, before: %+v", keys, first)
	}
	g.restart(t)
	works(used, made)
	g.wait(t, "what was used has moved", func() bool {
		return slices.Equal(g.operatedIDs(t, "POST", "/rotate_key", `{}`), idsOf(unused))
	})
	g.wantOperated(t, "POST", "/rotate_key", `{"finish":true,"dryRun":true}`, `{"deleted":1,"expired":0,"dryRun":true}`)
	g.wantOperated(t, "POST", "/rotate_key", `{"finish":true}`, `{"deleted":1,"expired":0}`)
	if got := g.do(t, ask{auth: bearer(unused.value)}); !got.isInvalidToken() {
		t.Errorf("what wasn't used: %s", got)
	}
	if _, err := os.Stat(filepath.Join(g.store(), "hash.previous.keys")); !os.IsNotExist(err) {
		t.Errorf("previous keys are left: %v", err)
	}
	g.kill9(t)
	g.up(t)
	works(used, made)
	var stats struct {
		Keys []struct {
			Key    string
			Tokens int
		}
	}
	if err := json.Unmarshal([]byte(g.wantOperated(t, "GET", "/stats", "", "")), &stats); err != nil || len(stats.Keys) != 1 || stats.Keys[0].Tokens != 2 || stats.Keys[0].Key != keys.Key {
		t.Errorf("the keys are %+v, %v", stats.Keys, err)
	}
	rotated := 0
	for _, line := range g.auditLines(t) {
		if line.Event == "key_rotated" {
			rotated++
		}
	}
	if rotated != 3 {
		t.Errorf("the audit says %d times that keys were rotated", rotated)
	}
}

// A key that the Caddyfile gives is changed there.
func TestAGivenKeyIsNotTheStoresToChange(t *testing.T) {
	t.Parallel()
	g, keys := rotating(t)
	keys("hash_key {env.KEY_1}")
	g.write(t, rotatingSites)
	g.up(t)
	made := g.create(t, as("bob"), 3600, "")
	if status, answer := g.operate(t, "POST", "/rotate_key", `{"new":true}`); status != http.StatusConflict || !strings.Contains(answer, "hash_key") {
		t.Errorf("a new key: %d %s", status, answer)
	}
	keys("hash_key {env.KEY_2} {\n\t\tprevious {env.KEY_1}\n\t}")
	g.take(t)
	if got := g.operatedIDs(t, "POST", "/rotate_key", `{}`); !slices.Equal(got, idsOf(made)) {
		t.Errorf("under the first key are %v", got)
	}
	g.wantOperated(t, "POST", "/rotate_key", `{"finish":true}`, `{"deleted":1,"expired":0}`)
	keys("hash_key {env.KEY_2}")
	g.take(t)
	if got := g.do(t, ask{auth: bearer(made.value)}); !got.isInvalidToken() {
		t.Errorf("what was under the first key: %s", got)
	}
}

// The commands, against a server that runs, as Caddy's own commands find it.
func TestTheCommandLine(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	one, two := g.create(t, as("bob"), 3600, "one"), g.create(t, as("alice"), 3600, "two")
	socket := "unix/" + filepath.Join(g.dir, "admin.sock")
	byFile := []string{"--config", g.configFile(), "--adapter", "caddyfile"}
	for name, where := range map[string][]string{"--address": {"--address", socket}, "--config": byFile} {
		out, exit := g.caddy(t, append([]string{"access-tokens", "show", one.info.TokenID}, where...)...)
		if exit != 0 || !strings.Contains(out, `"tokenId":"`+one.info.TokenID+`","project":"dataprep","state":"active","userId":"bob"`) {
			t.Errorf("found by %s: exit code %d, %s", name, exit, out)
		}
	}
	for _, test := range []struct {
		args string
		exit int
		want string
	}{
		{"list", 0, two.info.TokenID},
		{"list --user bob --expiring-within 7d", 0, one.info.TokenID},
		{"list --user nobody", 3, "No token matches."},
		{"list --state deleted", 2, "state has to be active or expired"},
		{"list --project nobodys", 3, "no such project"},
		{"show " + one.info.TokenID + " 0f8fad5b-d9cb-469f-a165-70867728950e", 3, "no such token"},
		{"stats", 0, `"active":2,"expired":0`},
		{"delete " + one.info.TokenID, 2, "add --yes"},
		{"delete --dry-run " + one.info.TokenID, 0, `"dryRun":true`},
		{"delete --yes " + one.info.TokenID, 0, `{"deleted":1,"expired":0}`},
		{"delete --yes " + one.info.TokenID, 3, "There is no token"},
		{"delete --project dataprep --user nobody --yes", 3, `{"deleted":0,"expired":0}`},
		{"block alice --yes", 0, `{"changed":["dataprep"]}`},
		{"unblock alice", 0, `{"changed":["dataprep"]}`},
		{"unblock alice", 3, `{"changed":[]}`},
		{"rotate-key", 3, "No living token"},
		{"rotate-key --new", 0, `"previousKeys":[`},
		{"rotate-key", 0, two.info.TokenID},
		{"rotate-key --finish --yes", 0, `{"deleted":1,"expired":0}`},
		{"nonsense", 2, `there is no command "nonsense"`},
		{"create", 2, `there is no command "create"`},
		{"list --address 127.0.0.1:1", 1, "is Caddy running"},
		{"list --config /no/such/file", 1, "no such file"},
	} {
		args := append([]string{"access-tokens"}, strings.Fields(test.args)...)
		if !strings.Contains(test.args, "--address") && !strings.Contains(test.args, "--config") && !strings.Contains(test.args, "nonsense") && !strings.Contains(test.args, "create") {
			args = append(args, "--address", socket)
		}
		if out, exit := g.caddy(t, args...); exit != test.exit || !strings.Contains(out, test.want) {
			t.Errorf("%s: exit code %d, want %d, and %q in\n%s", test.args, exit, test.exit, test.want, out)
		}
	}
	if got := g.do(t, ask{auth: bearer(two.value)}); !got.isInvalidToken() {
		t.Errorf("what was ended by rotate-key: %s", got)
	}
}

// Caddy makes completions and manual pages of the commands.
func TestCompletionsAndManualPages(t *testing.T) {
	t.Parallel()
	g := prepare(t, "")
	if out, exit := g.caddy(t, "completion", "bash"); exit != 0 || !strings.Contains(out, "__complete") {
		t.Errorf("completion: exit code %d", exit)
	}
	out, exit := g.caddy(t, "__complete", "access-tokens", "")
	for _, name := range []string{"list", "show", "delete", "block", "unblock", "stats", "rotate-key", "audit"} {
		if exit != 0 || !strings.Contains(out, "\n"+name+"\t") && !strings.HasPrefix(out, name+"\t") {
			t.Errorf("%s isn't completed: exit code %d, %s", name, exit, out)
		}
	}
	dir := t.TempDir()
	if out, exit := g.caddy(t, "manpage", "--directory", dir); exit != 0 {
		t.Fatalf("manpage: exit code %d, %s", exit, out)
	}
	page, err := os.ReadFile(filepath.Join(dir, "caddy-access-tokens-rotate-key.8"))
	if err != nil || !strings.Contains(string(page), "EXAMPLE") {
		t.Errorf("the page of rotate-key: %v, %s", err, page)
	}
}

// A list of any length is answered as it is read, and in order.
func TestTheOperatorListsMany(t *testing.T) {
	t.Parallel()
	g := start(t, answering("allow_generate everyone"), quietly)
	want := idsOf(g.create(t, as("bob"), 3600, strings.Repeat("x", 1024)))
	parent := g.create(t, as("bob"), 3600, "")
	want = append(want, parent.info.TokenID)
	for n := range 120 { // more than is written at a time
		want = append(want, g.create(t, bearer(parent.value), 3600, fmt.Sprintf("%d%s", n, strings.Repeat("x", 1000))).info.TokenID)
	}
	slices.Sort(want)
	got := g.operatedIDs(t, "GET", "/tokens", "")
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if status, answer := g.operate(t, "HEAD", "/tokens", ""); status != 200 || answer != "" {
		t.Errorf("HEAD: %d %q", status, answer)
	}
}

// Whatever changes the hash keys in force is in the audit: a reload, a start, and
// what the store makes by itself. A reload that changes none isn't.
func TestEachChangeOfHashKeysIsAudited(t *testing.T) {
	t.Parallel()
	g, _ := rotating(t)
	before := g.globals
	keys := func(option string) {
		g.globals = before + "access_tokens {\n\taudit file {$DIR}/audit/audit.jsonl\n\t" + option + "\n}\n"
	}
	rotations := func() (n int) {
		t.Helper()
		for _, line := range g.auditLines(t) {
			if line.Event == "key_rotated" {
				n++
				if !strings.Contains(line.text, `"project":"","actor":{"by":"admin"}`) || !strings.Contains(line.text, `,"key":"`) {
					t.Errorf("the line is %s", line.text)
				}
			}
		}
		return n
	}
	want := func(what string, n int) {
		t.Helper()
		if got := rotations(); got != n {
			t.Errorf("%s: %d lines, want %d", what, got, n)
		}
	}
	keys("hash_key {env.KEY_1}")
	g.write(t, rotatingSites)
	g.up(t)
	made := g.create(t, as("bob"), 3600, "")
	want("at the first start", 0)
	keys("hash_key {env.KEY_2} {\n\t\tprevious {env.KEY_1}\n\t}")
	g.take(t)
	g.wait(t, "a reload is audited", func() bool { return rotations() == 1 })
	if complaint := g.reload(t, rotatingSites+"# the same keys"); complaint != "" {
		t.Fatal(complaint)
	}
	g.restart(t)
	want("a restart with the same keys", 1)
	g.stop(t)
	keys("hash_key {env.KEY_3} {\n\t\tprevious {env.KEY_2} {env.KEY_1}\n\t}")
	g.write(t, rotatingSites)
	g.up(t)
	want("a start with others", 2)
	g.kill9(t)
	g.up(t)
	want("killed and started again", 2)
	g.wantRecognised(t, made)
}

// Killed at any moment while the store makes its next key: the next start knows all
// tokens that anybody was given.
func TestKilledWhileTheStoreMakesTheNextKey(t *testing.T) {
	t.Parallel()
	g := start(t, answering("allow_generate everyone"), quietly, onLastingPorts(t))
	parent := g.create(t, as("bob"), 3600, "")
	values := []token{parent}
	for round := range 10 {
		var mu sync.Mutex
		var killing atomic.Bool
		var working sync.WaitGroup
		for range 4 {
			calling := g.caller(t).hurried()
			working.Go(func() {
				for !killing.Load() {
					got, err := calling.send(ask{method: "POST", target: api, auth: bearer(parent.value), body: `{"lifetimeSeconds": 3600}`})
					if err == nil && got.status == http.StatusCreated {
						mu.Lock()
						values = append(values, got.token())
						mu.Unlock()
					} else if !killing.Load() {
						t.Errorf("round %d: %v, %s", round, err, got)
						return
					}
				}
			})
		}
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			_, _, _ = g.askAdmin(http.MethodPost, "/access_tokens/rotate_key", "application/json", `{"new":true}`)
		}()
		if round < 8 {
			<-time.After(time.Duration(round) * 2 * time.Millisecond)
		} else {
			<-asked
		}
		killing.Store(true)
		g.kill9(t)
		working.Wait()
		<-asked
		g.up(t)
		g.wantAll(t, values)
	}
}
