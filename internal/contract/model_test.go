package contract

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// A server lives for years: tokens are made, renewed, used and deleted, users
// blocked, settings changed, hash keys rotated, the configuration reloaded, the
// process stopped and killed. All along it is what a model of a few lines says,
// and its audit file says line by line what was done.
func TestTheServerIsWhatAModelSays(t *testing.T) {
	t.Parallel()
	steps := storetest.Rounds(120, 500)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := newModel(t, seed)
	for n := range steps {
		m.step()
		if n%10 == 9 {
			m.compare()
		}
		if t.Failed() {
			t.Fatalf("after step %d: %s", n, m.last)
		}
	}
	m.compare()
}

// model is what there should be.
type model struct {
	*testing.T
	g    *gateway
	rand *rand.Rand
	keys func(option string)

	tokens   []*modelled
	blocked  map[string]bool
	enabled  bool
	everyone bool // may make tokens
	key      int  // the number of the first one
	audit    []string
	last     string

	kept     *kept
	restored int // how often
}

// kept is what a restore can't know of later.
type kept struct {
	file     string
	tokens   int
	everyone bool
	key      int
}

type modelled struct {
	token
	user   string
	parent *modelled
	gone   bool
}

var modelUsers = []string{"alice", "bob", "carol"} // alice is an administrator

func newModel(t *testing.T, seed uint64) *model {
	m := &model{T: t, rand: rand.New(rand.NewPCG(seed, 0)), blocked: make(map[string]bool), enabled: true, key: 1}
	options := []option{quietly, onLastingPorts(t)}
	for n := range 9 {
		options = append(options, env(fmt.Sprint("KEY_", n+1), strings.Repeat(fmt.Sprint("key ", n+1, " "), 6)))
	}
	m.g = prepare(t, "", options...)
	globals := m.g.globals
	m.keys = func(option string) {
		m.g.globals = globals + "access_tokens {\n\taudit file {$DIR}/audit/audit.jsonl\n\t" + option + "\n}\n"
	}
	m.keys("hash_key {env.KEY_1}")
	m.g.write(t, modelSites)
	m.g.up(t)
	return m
}

var modelSites = answering("")

// step does something, and holds the answer against the model.
func (m *model) step() {
	m.Helper()
	switch n := m.rand.IntN(100); {
	case n < 30:
		m.create()
	case n < 45:
		m.renew()
	case n < 60:
		m.use(m.anyToken())
	case n < 71:
		m.remove()
	case n < 75:
		m.operate()
	case n < 79:
		m.removeAll()
	case n < 86:
		m.block()
	case n < 92:
		m.set()
	case n < 94:
		m.rotate()
	case n < 95:
		m.reload()
	case n < 96 || m.kept == nil && n < 97:
		m.backup()
	case n < 97:
		m.restore()
	case n < 98:
		m.say("restart")
		m.g.restart(m)
	default:
		m.say("kill")
		m.g.kill9(m)
		m.g.up(m)
	}
}

func (m *model) say(format string, args ...any) { m.last = fmt.Sprintf(format, args...) }

func (m *model) anyUser() string { return modelUsers[m.rand.IntN(len(modelUsers))] }

func (m *model) anyToken() *modelled {
	if len(m.tokens) == 0 {
		return nil
	}
	return m.tokens[m.rand.IntN(len(m.tokens))]
}

// note expects a line in the audit.
func (m *model) note(event, actor, by, about string) {
	m.audit = append(m.audit, strings.Join([]string{event, actor, by, about}, " "))
}

const bySignIn = "access_tokens.sign_in.basic"

func (m *model) mayGenerate(user string) bool { return user == "alice" || m.everyone }

// signedIn is what a user meets on the routes before anything else; 0 for nothing.
func (m *model) signedIn(user string) int {
	switch {
	case !m.enabled && user != "alice":
		return http.StatusNotFound
	case m.blocked[user]:
		return http.StatusForbidden
	}
	return 0
}

func (m *model) want(got answered, status int) {
	m.Helper()
	if got.status != status {
		m.Errorf("%s: status %d, want %d: %s", m.last, got.status, status, got.body)
	}
}

func (m *model) create() {
	user := m.anyUser()
	m.say("create as %s", user)
	got := m.g.do(m, ask{method: "POST", target: api, auth: as(user), body: anHour})
	want := m.signedIn(user)
	if want == 0 && (!m.enabled || !m.mayGenerate(user)) {
		want = http.StatusForbidden
	}
	if want != 0 {
		m.want(got, want)
		return
	}
	made := made(m, got)
	m.tokens = append(m.tokens, &modelled{token: made, user: user})
	m.note("token_created", user, bySignIn, made.info.TokenID)
}

func (m *model) renew() {
	parent := m.anyToken()
	if parent == nil {
		return
	}
	replace := m.rand.IntN(2) == 0
	m.say("renew %s, replace %v", parent.info.TokenID, replace)
	got := m.g.do(m, ask{method: "POST", target: api, auth: bearer(parent.value), body: fmt.Sprintf(`{"lifetimeSeconds": 3600, "replace": %v}`, replace)})
	if want := m.decided(parent); want != http.StatusOK {
		m.want(got, want)
		return
	}
	if !m.mayGenerate(parent.user) {
		m.want(got, http.StatusForbidden)
		return
	}
	made := made(m, got)
	m.tokens = append(m.tokens, &modelled{token: made, user: parent.user, parent: parent})
	m.note("token_renewed", parent.user, "token", made.info.TokenID)
	if replace {
		parent.gone = true
		m.note("token_deleted", parent.user, "token", parent.info.TokenID)
	}
}

// decided is the status of a request with a token.
func (m *model) decided(k *modelled) int {
	switch {
	case k.gone:
		return http.StatusUnauthorized
	case m.blocked[k.user], !m.enabled:
		return http.StatusForbidden
	}
	return http.StatusOK
}

func (m *model) use(k *modelled) {
	m.Helper()
	if k == nil {
		return
	}
	got := m.g.do(m, ask{auth: bearer(k.value)})
	if got.status != m.decided(k) || got.status == http.StatusOK && got.body != k.user {
		m.Errorf("after %q, %s of %s (gone: %v) is answered %d %s, want %d", m.last, k.info.TokenID, k.user, k.gone, got.status, got.body, m.decided(k))
	}
}

// line returns k and all that descends from it.
func (m *model) line(k *modelled) (line []*modelled) {
	for _, other := range m.tokens {
		for up := other; up != nil; up = up.parent {
			if up == k {
				line = append(line, other)
				break
			}
		}
	}
	return line
}

func (m *model) remove() {
	k := m.anyToken()
	if k == nil {
		return
	}
	user := k.user
	if m.rand.IntN(4) == 0 {
		user = "alice"
	}
	successors := m.rand.IntN(3) == 0
	target, line := k.target(), []*modelled{k}
	if successors {
		target += "?successors=true"
		line = m.line(k)
	}
	line = slices.DeleteFunc(line, func(k *modelled) bool { return k.gone })
	m.say("delete %s", target)
	got := m.g.do(m, ask{method: "DELETE", target: target, auth: as(user)})
	want := m.signedIn(user)
	if want == 0 && len(line) == 0 {
		want = http.StatusNotFound
	}
	if want != 0 {
		m.want(got, want)
		return
	}
	m.want(got, http.StatusNoContent)
	if !k.gone {
		m.note("token_deleted", user, bySignIn, k.info.TokenID)
	} else {
		for _, k := range line { // which are deleted one by one then
			m.note("token_deleted", user, bySignIn, k.info.TokenID)
		}
	}
	for _, k := range line {
		k.gone = true
	}
}

func (m *model) removeAll() {
	user := m.anyUser()
	m.say("delete all of %s", user)
	got := m.g.do(m, ask{method: "DELETE", target: api + "?user=" + user, auth: as("alice")})
	m.want(got, http.StatusOK)
	living := 0
	for _, k := range m.tokens {
		if k.user == user && !k.gone {
			k.gone = true
			living++
		}
	}
	if want := fmt.Sprintf(`{"deleted":%d}`, living); strings.TrimSpace(got.body) != want {
		m.Errorf("%s: %s, want %s", m.last, got.body, want)
	}
	m.note("tokens_deleted", "alice", bySignIn, user)
}

func (m *model) block() {
	user := modelUsers[1+m.rand.IntN(len(modelUsers)-1)]
	block := m.rand.IntN(2) == 0
	method, event := "DELETE", "user_unblocked"
	if block {
		method, event = "PUT", "user_blocked"
	}
	m.say("%s of %s", event, user)
	m.g.setBlocked(m, method, as("alice"), user)
	if m.blocked[user] != block {
		m.note(event, "alice", bySignIn, user)
	}
	m.blocked[user] = block
}

func (m *model) set() {
	var body string
	if m.rand.IntN(2) == 0 || !m.enabled {
		m.enabled = !m.enabled
		body = fmt.Sprintf(`{"enabled": %v}`, m.enabled)
	} else {
		m.everyone = !m.everyone
		body = fmt.Sprintf(`{"generate": %q}`, map[bool]string{true: "everyone", false: "admins"}[m.everyone])
	}
	m.say("set %s", body)
	m.g.patch(m, as("alice"), body)
	m.note("settings_changed", "alice", bySignIn, "")
}

// rotate puts another hash key in front of all that there were.
func (m *model) rotate() {
	if m.key == 9 {
		return
	}
	m.key++
	m.say("key %d", m.key)
	lines := fmt.Sprintf("hash_key {env.KEY_%d} {\n", m.key)
	for n := m.key - 1; n > 0; n-- {
		lines += fmt.Sprintf("previous {env.KEY_%d}\n", n)
	}
	m.keys(lines + "}")
	m.reload()
	m.note("key_rotated", "", "admin", "")
}

func (m *model) backup() {
	m.say("backup")
	file := filepath.Join(m.g.dir, "tokens.backup")
	_ = os.Remove(file)
	if out, exit := m.g.caddy(m, "access-tokens", "backup", "--plain", "--output", file, "--address", "unix/"+filepath.Join(m.g.dir, "admin.sock")); exit != 0 {
		m.Fatalf("backup: %s", out)
	}
	m.kept = &kept{file, len(m.tokens), m.everyone, m.key}
}

// restore makes another store of the backup: what was made since isn't there any more,
// but what was taken away since stays so.
func (m *model) restore() {
	m.say("restore of a backup of %d tokens", m.kept.tokens)
	if m.rand.IntN(2) == 0 {
		m.g.stop(m)
	} else {
		m.g.kill9(m)
	}
	m.restored++
	old := filepath.Join(m.g.dir, fmt.Sprint("store-", m.restored))
	if err := os.Rename(m.g.store(), old); err != nil {
		m.Fatal(err)
	}
	if out, exit := m.g.caddy(m, "access-tokens", "restore", "--yes", "--deleted", filepath.Join(old, "deleted.list"), "--into", m.g.store(), m.kept.file); exit != 0 {
		m.Fatalf("restore: %s", out)
	}
	m.g.up(m)
	for _, k := range m.tokens[m.kept.tokens:] {
		k.gone = true
	}
	m.everyone = m.kept.everyone
	m.note("restored", "", "admin", "")
	if m.kept.key != m.key {
		m.note("key_rotated", "", "admin", "")
	}
}

// operate is what whoever runs the gateway does.
func (m *model) operate() {
	k, user := m.anyToken(), modelUsers[1+m.rand.IntN(len(modelUsers)-1)]
	switch m.rand.IntN(3) {
	case 0:
		if k == nil {
			return
		}
		m.say("the operator deletes %s", k.info.TokenID)
		want := `{"deleted":1,"expired":0}`
		if k.gone {
			want = `{"deleted":0,"expired":0,"unknown":["` + k.info.TokenID + `"]}`
		} else {
			m.note("token_deleted", "", "admin", k.info.TokenID)
		}
		m.g.wantOperated(m, "POST", "/delete", `{"ids":["`+k.info.TokenID+`"]}`, want)
		k.gone = true
	case 1:
		m.say("the operator deletes all of %s", user)
		living := 0
		for _, k := range m.tokens {
			if k.user == user && !k.gone {
				k.gone = true
				living++
			}
		}
		m.g.wantOperated(m, "POST", "/delete", `{"project":"dataprep","user":"`+user+`"}`, fmt.Sprintf(`{"deleted":%d,"expired":0}`, living))
		if living > 0 {
			m.note("tokens_deleted", "", "admin", user)
		}
	case 2:
		path, event, want := "/block", "user_blocked", `{"changed":[]}`
		if m.rand.IntN(2) == 0 {
			path, event = "/unblock", "user_unblocked"
		}
		m.say("the operator: %s of %s", event, user)
		if block := path == "/block"; m.blocked[user] != block {
			m.blocked[user] = block
			m.note(event, "", "admin", user)
			want = `{"changed":["dataprep"]}`
		}
		m.g.wantOperated(m, "POST", path, `{"user":"`+user+`"}`, want)
	}
}

func (m *model) reload() {
	m.say("reload")
	if complaint := m.g.reload(m, modelSites); complaint != "" {
		m.Fatal(complaint)
	}
}

// compare holds everything against the model.
func (m *model) compare() {
	m.Helper()
	var living []string
	for _, k := range m.tokens {
		m.use(k)
		if !k.gone {
			living = append(living, k.info.TokenID)
		}
	}
	listed := m.g.list(m, as("alice"), "?user=*").ids()
	slices.Sort(living)
	slices.Sort(listed)
	if diff := cmp.Diff(living, listed); diff != "" && len(living)+len(listed) > 0 {
		m.Errorf("listed (-want +got):\n%s", diff)
	}
	blocked := make(map[string]bool)
	for _, b := range m.g.blocked(m, as("alice")) {
		blocked[b.UserID] = true
	}
	want := maps.Clone(m.blocked)
	maps.DeleteFunc(want, func(_ string, blocked bool) bool { return !blocked })
	if diff := cmp.Diff(want, blocked); diff != "" {
		m.Errorf("blocked (-want +got):\n%s", diff)
	}
	if s := m.g.settings(m, as("alice")); s.Enabled != m.enabled || (s.Generate == "everyone") != m.everyone {
		m.Errorf("settings %+v, want enabled %v, everyone %v", s, m.enabled, m.everyone)
	}
	if diff := cmp.Diff(sorted(m.audit), sorted(m.audited())); diff != "" {
		m.Errorf("the audit (-want +got):\n%s", diff)
	}
}

// audited are the lines of the audit, as note writes them.
func (m *model) audited() (all []string) {
	for _, line := range m.g.auditLines(m) {
		about := line.TokenID
		if about == "" {
			about = line.User
		}
		all = append(all, strings.Join([]string{line.Event, line.Actor.User, line.Actor.By, about}, " "))
	}
	return all
}

// sorted returns lines with those sorted that stand together and say that a token
// was deleted: where many are deleted at once, any of them can be the first.
func sorted(lines []string) []string {
	lines = slices.Clone(lines)
	isDeletion := func(line string) bool { return strings.HasPrefix(line, "token_deleted ") }
	for i := 0; i < len(lines); i++ {
		end := i
		for end < len(lines) && isDeletion(lines[end]) {
			end++
		}
		slices.Sort(lines[i:end])
		i = max(i, end-1)
	}
	return lines
}
