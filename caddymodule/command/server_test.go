package command

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// stub is an admin endpoint that says what it is told to, and remembers what it was
// asked.
type stub struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string
	answer func(asked string) (status int, body string)
}

func newStub(t *testing.T, answer func(asked string) (status int, body string)) *stub {
	t.Helper()
	s := &stub{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked := strings.TrimSpace(r.Method + " " + r.RequestURI + " " + string(body))
		s.mu.Lock()
		s.asked = append(s.asked, asked)
		s.mu.Unlock()
		status, text := s.answer(asked)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s
}

// run runs a command against the stub. The person at the terminal says typed.
func (s *stub) run(typed string, args ...string) (stdout, stderr, end string) {
	return runTyping(typed, append(args, "--address", s.Listener.Addr().String())...)
}

func (s *stub) wantAsked(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(want, s.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	s.asked = nil
}

const aToken = "0f8fad5b-d9cb-469f-a165-70867728950e"

func TestCommandsUsedWrongly(t *testing.T) {
	s := newStub(t, func(string) (int, string) { return 500, `{"error":"it was asked"}` })
	for _, test := range []struct {
		args string
		want string
	}{
		{"list x", `no argument such as "x"`},
		{"list --limit x", "--limit"},
		{"list --limit -1", "--limit"},
		{"list --nonsense", "unknown flag"},
		{"show", "say which token"},
		{"show x", "a token id looks like"},
		{"show {" + aToken + "}", "a token id looks like"},
		{"delete", "say what to delete"},
		{"delete x", "a token id looks like"},
		{"delete --yes", "say what to delete"},
		{"delete --project p", "say which --user"},
		{"delete --user u", "say of which --project"},
		{"delete --all", "say of which --project"},
		{"delete --project= --all", "say of which --project"},
		{"delete --project p --user u --all", "say which --user"},
		{"delete --project p --user=", "say which --user"},
		{"delete --project p --all " + aToken, "not both"},
		{"block", "say which user"},
		{"block a b", "say which user"},
		{"unblock", "say which user"},
		{"stats x", "no argument"},
		{"rotate-key --new --finish", "exclude each other"},
		{"rotate-key x", "no argument"},
	} {
		stdout, stderr, end := s.run("", strings.Fields(test.args)...)
		if end != wronglyUsed || stdout != "" || !strings.Contains(stderr, test.want) || !strings.Contains(stderr, "--help`") {
			t.Errorf("%s: %q\n%s", test.args, end, stderr)
		}
	}
	s.wantAsked(t)
	// A value that was pasted by mistake isn't repeated, or sent to where it is logged.
	value, err := token.Make("cat", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := value.Reveal()
	for _, args := range []string{"show", "delete", "list", "list --user", "list --project", "list --state", "list --expiring-within", "stats", "backup", "backup --recipient", "block a", secret, "audit --token", "audit --since"} {
		if _, stderr, end := s.run("", append(strings.Fields(args), secret)...); end != wronglyUsed || strings.Contains(stderr, secret) {
			t.Errorf("%s: %q\n%s", args, end, stderr)
		}
	}
	s.wantAsked(t)
}

// Nor is one that the server repeats.
func TestNoTokenOfTheServersIsSaid(t *testing.T) {
	value, err := token.Make("cat", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{400, 404, 500} {
		s := newStub(t, func(string) (int, string) { return status, `{"error":"no such thing: ` + value.Reveal() + `"}` })
		if _, stderr, _ := s.run("", "list"); strings.Contains(stderr, value.Reveal()) || !strings.Contains(stderr, "no such thing") {
			t.Error(stderr)
		}
	}
}

func TestEachCommandHasHelpWithExamples(t *testing.T) {
	for _, name := range []string{"list", "show", "delete", "block", "unblock", "stats", "rotate-key", "audit"} {
		stdout, _, end := runTyping("", name, "--help")
		if end != "" || !strings.Contains(stdout, "$ caddy access-tokens "+name) || !strings.Contains(stdout, "--json") {
			t.Errorf("%s: %s\n%s", name, end, stdout)
		}
	}
}

func TestWhatTheServerRefuses(t *testing.T) {
	for _, test := range []struct {
		status    int
		body      string
		end, want string
	}{
		{400, `{"error":"state has to be active or expired"}`, wronglyUsed, "Error: state has to be active or expired\nSee"},
		{404, `{"error":"no such project"}`, nothingMatched, "Error: no such project\n"},
		{404, "404 page not found", failed, "knows nothing of access tokens"},
		{503, `{"error":"the token store is unavailable"}`, failed, "Error: the token store is unavailable\n"},
		{403, `{"error":"client is not allowed"}`, failed, "Error: client is not allowed\n"},
		{200, `{"data":[{"tokenId":"` + aToken + `"},`, failed, "cut off"},
		{200, `{"data":[{"tokenId":"` + aToken + `"}`, failed, "cut off"},
		{200, `[]`, failed, "knows nothing of access tokens"},
	} {
		s := newStub(t, func(string) (int, string) { return test.status, test.body })
		if _, stderr, end := s.run("", "list"); end != test.end || !strings.Contains(stderr, test.want) {
			t.Errorf("%d %s: %q, %s", test.status, test.body, end, stderr)
		}
	}
	s := newStub(t, nil)
	s.Close()
	if _, stderr, end := s.run("", "stats"); end != failed || !strings.Contains(stderr, "is Caddy running") {
		t.Errorf("nobody listens: %q, %s", end, stderr)
	}
}

// A list is read in pages, each behind the last token of the one before.
func TestListReadsPages(t *testing.T) {
	id := func(n int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", n) }
	page := func(from, n int) (int, string) {
		var items []string
		for i := range n {
			items = append(items, fmt.Sprintf(`{"tokenId":%q,"description":"<&>"}`, id(from+i)))
		}
		return 200, `{"data":[` + strings.Join(items, ",") + `]}`
	}
	s := newStub(t, func(asked string) (int, string) {
		if strings.Contains(asked, "after=") {
			return page(1000, 7)
		}
		return page(0, 1000)
	})
	stdout, stderr, end := s.run("", "list", "--user", "a b", "--expiring-within", "7d", "--unused-for", "3", "--state", "active")
	if lines := strings.Split(strings.TrimSpace(stdout), "\n"); end != "" || len(lines) != 1007 || lines[1006] != `{"tokenId":"`+id(1006)+`","description":"<&>"}` {
		t.Errorf("%q, %d lines, %s", end, len(lines), stderr)
	}
	const query = "expiringWithin=7&limit=1000&state=active&unusedFor=3&user=a+b"
	s.wantAsked(t, "GET /access_tokens/tokens?"+query, "GET /access_tokens/tokens?after="+id(999)+"&"+query)

	s.answer = func(string) (int, string) { return page(0, 999) }
	s.run("", "list")
	s.wantAsked(t, "GET /access_tokens/tokens?limit=1000")
	s.answer = func(string) (int, string) { return page(0, 3) }
	s.run("", "list", "--limit", "3")
	s.wantAsked(t, "GET /access_tokens/tokens?limit=3")
	s.answer = func(string) (int, string) { return page(0, 0) }
	if stdout, stderr, end := s.run("", "list"); stdout != "" || stderr != "No token matches.\n" || end != nothingMatched {
		t.Errorf("nothing: %q, %q, %q", stdout, stderr, end)
	}
}

func TestDeleteAsks(t *testing.T) {
	s := newStub(t, func(asked string) (int, string) {
		if strings.Contains(asked, "dryRun") {
			return 200, `{"deleted":2,"expired":1,"dryRun":true}`
		}
		return 200, `{"deleted":2,"expired":1}`
	})
	const dry, wet = `POST /access_tokens/delete {"dryRun":true,"project":"p","user":"bob"}`, `POST /access_tokens/delete {"project":"p","user":"bob"}`
	ofBob := []string{"delete", "--project", "p", "--user", "bob"}
	for _, test := range []struct {
		typed string
		more  []string
		end   string
		asked []string
	}{
		{"y\n", nil, "", []string{dry, wet}},
		{"YES", nil, "", []string{dry, wet}},
		{"n\n", nil, failed, []string{dry}},
		{"\n", nil, failed, []string{dry}},
		{"", nil, failed, []string{dry}},
		{"", []string{"--yes"}, "", []string{wet}},
		{"", []string{"--dry-run"}, "", []string{dry}},
		{"", []string{"--dry-run", "--yes"}, "", []string{dry}},
	} {
		_, stderr, end := s.run(test.typed, append(slices.Clone(ofBob), test.more...)...)
		if asks := strings.Contains(stderr, "This ends 2 tokens of bob in project p, and takes 1 expired one out of lists for good. Go on? [y/N] "); end != test.end || asks != (test.more == nil) {
			t.Errorf("%q %q: %q, %s", test.typed, test.more, end, stderr)
		}
		s.wantAsked(t, test.asked...)
	}
	// Where nobody is asked, nothing is deleted.
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_, stderr, end := runFrom(null, append(slices.Clone(ofBob), "--address", s.Listener.Addr().String())...)
	if end != wronglyUsed || !strings.Contains(stderr, "add --yes") {
		t.Errorf("nobody there: %q, %s", end, stderr)
	}
	s.wantAsked(t, dry)
}

func TestDeleteSaysWhatThereWasNot(t *testing.T) {
	s := newStub(t, func(string) (int, string) {
		return 200, `{"deleted":0,"expired":0,"unknown":["` + aToken + `"]}`
	})
	stdout, stderr, end := s.run("", "delete", aToken)
	if end != nothingMatched || stderr != "There is no token "+aToken+", or it is deleted.\n" || !strings.Contains(stdout, `"unknown":["`+aToken+`"]`) {
		t.Errorf("%q, %q, %q", stdout, stderr, end)
	}
	// Many are sent in parts.
	ids := make([]string, 2500)
	for i := range ids {
		ids[i] = fmt.Sprintf("00000000-0000-0000-0000-%012d", i)
	}
	s.answer = func(asked string) (int, string) {
		var body struct{ IDs []string }
		_, text, _ := strings.Cut(asked, "delete ")
		if err := json.Unmarshal([]byte(text), &body); err != nil {
			t.Error(err)
		}
		return 200, fmt.Sprintf(`{"deleted":%d}`, len(body.IDs))
	}
	if stdout, _, end := s.run("", append([]string{"delete", "--yes"}, ids...)...); end != "" || stdout != `{"deleted":2500,"expired":0}`+"\n" {
		t.Errorf("many: %q, %q", stdout, end)
	}
}

func TestBlockAndRotateAsk(t *testing.T) {
	changed := `{"changed":["p","q"]}`
	s := newStub(t, func(asked string) (int, string) {
		if strings.Contains(asked, "rotate") {
			return 200, `{"deleted":4,"expired":0}`
		}
		return 200, changed
	})
	for _, test := range []struct {
		typed, args, end, question string
		asked                      []string
	}{
		{"y\n", "block bob", "", "This blocks bob in projects p, q. Go on?", []string{`block {"dryRun":true,"user":"bob"}`, `block {"user":"bob"}`}},
		{"n\n", "block bob --project p", failed, "Go on?", []string{`block {"dryRun":true,"project":"p","user":"bob"}`}},
		{"", "block bob --yes", "", "", []string{`block {"user":"bob"}`}},
		{"", "unblock bob", "", "", []string{`unblock {"user":"bob"}`}},
		{"", "unblock bob --dry-run", "", "", []string{`unblock {"dryRun":true,"user":"bob"}`}},
		{"y\n", "rotate-key --finish", "", "This ends 4 tokens under older hash keys for good. Go on?", []string{`rotate_key {"dryRun":true,"finish":true}`, `rotate_key {"finish":true}`}},
		{"n\n", "rotate-key --finish", failed, "Go on?", []string{`rotate_key {"dryRun":true,"finish":true}`}},
		{"", "rotate-key --finish --yes", "", "", []string{`rotate_key {"finish":true}`}},
	} {
		_, stderr, end := s.run(test.typed, strings.Fields(test.args)...)
		if end != test.end || !strings.Contains(stderr, test.question) || test.question == "" && strings.Contains(stderr, "Go on") {
			t.Errorf("%s: %q, %s", test.args, end, stderr)
		}
		for i := range test.asked {
			test.asked[i] = "POST /access_tokens/" + test.asked[i]
		}
		s.wantAsked(t, test.asked...)
	}
	changed = `{"changed":[]}`
	if _, _, end := s.run("", "block", "bob"); end != "" {
		t.Errorf("who is blocked already: %q", end)
	}
	if _, _, end := s.run("", "unblock", "bob"); end != nothingMatched {
		t.Errorf("who isn't blocked: %q", end)
	}
}

var now = at("2026-05-10T12:00:00Z")

// terminal is one so wide, and what has been written to it.
func terminal(width int) (*output, *bytes.Buffer) {
	var text bytes.Buffer
	return &output{to: bufio.NewWriter(&text), width: width, now: now.Time}, &text
}

func someTokens() []admin.Token {
	soon, past, used := at("2026-05-12T13:00:00Z"), at("2026-04-10T12:00:00Z"), at("2026-05-10T11:48:00Z")
	return []admin.Token{
		{ID: id(1), Project: "dataprep", UserID: "alice", Description: "nightly", CreatedAt: at("2026-01-01T00:00:00Z"), ExpiredAt: &soon, LastUsed: &used, LastUsedAddress: "192.0.2.1"},
		{ID: id(2), Project: "dataprep", UserID: "somebody.with.a.long.name@example.com", Description: "evil \x1b[2J text, and quite a lot of it", CreatedAt: at("2026-02-01T00:00:00Z"), ExpiredAt: &past},
		{ID: id(3), Project: "dataprep", UserID: "bob", CreatedAt: at("2026-05-10T11:59:30Z"), LastUsed: &used, LastUsedAddress: "2001:db8:0:1:2:3:4:5"},
	}
}

func TestTheListFitsTheTerminal(t *testing.T) {
	var all bytes.Buffer
	for _, width := range []int{200, 120, 80, 60, 20} {
		out, text := terminal(width)
		list := newTokenList(&cobra.Command{}, out)
		for _, token := range someTokens() {
			item, err := json.Marshal(token)
			if err != nil {
				t.Fatal(err)
			}
			if err := list.add(item); err != nil {
				t.Fatal(err)
			}
		}
		if err := list.flush(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			if n := utf8.RuneCountInString(line) - 1; n > max(width, 36) { // an id is never cut
				t.Errorf("a line of %d characters: %s", n, line)
			}
		}
		fmt.Fprintf(&all, "== %d\n%s", width, text)
	}
	wantGolden(t, "testdata/list.txt", all.String())
}

func TestShowAndStats(t *testing.T) {
	deleted, used := at("2026-05-09T12:00:00Z"), at("2026-05-09T11:00:00Z")
	shown := admin.TokenDetails{
		Token:      someTokens()[0],
		RefusedNow: "deleted", DeletedAt: &deleted, DeletedBy: &admin.Actor{User: "bob", By: "access_tokens.sign_in.basic", ClientIP: "192.0.2.9"},
		HashKey: "0011223344556677", Claims: map[string]string{"workspace": "7", "group": "evil\n"},
		Refusals: []admin.Refusal{{Refusal: "deleted", Count: 3, Last: deleted, Address: "192.0.2.1"}, {Refusal: "scope", Count: 1, Last: used}},
	}
	shown.State, shown.LastUsed, shown.Scopes, shown.ParentID = "deleted", &used, []string{"read", "jobs"}, id(9)
	blocked := admin.TokenDetails{Token: someTokens()[2], RefusedNow: "blocked", HashKey: "0011223344556677"}
	blocked.State = "active"
	out, text := terminal(80)
	for _, one := range []*admin.TokenDetails{&shown, &blocked} {
		out.token(one)
		fmt.Fprintln(out.to)
	}
	out.stats(&admin.Stats{
		Dir: "/var/lib/caddy/access-tokens", Epoch: 1, Revision: 4711, SizeBytes: 3 << 20, FreeBytes: 5 << 30, Writable: true, AuditFile: "/var/log/audit.jsonl", AuditFailing: "no space left",
		Keys: []admin.KeyUse{{Key: "0011223344556677", Tokens: 12}, {Key: "8899aabbccddeeff", Tokens: 1}},
		Projects: []admin.Project{
			{Project: "dataprep", Active: 12, Expired: 3, Expiring: map[string]int{"1d": 1, "7d": 2, "30d": 5}, Blocked: []string{"bob", "mallory"}, Enabled: true, Generate: "users", Users: []string{"carol"}, MaxLifetimeDays: 365},
			{Project: "other", Expiring: map[string]int{}, Generate: "admins", MaxLifetimeDays: -1},
		},
	})
	_ = out.to.Flush()
	wantGolden(t, "testdata/show.txt", text.String())
}

// wantGolden holds what is printed to a file, which is written anew where the
// environment says so.
func wantGolden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("ACCESS_TOKENS_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestDurationsForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s ago", -time.Second: "1s ago", time.Second: "in 1s", -59 * time.Minute: "59m ago", 47 * time.Hour: "in 47h", -49 * time.Hour: "2d ago", 4000 * 24 * time.Hour: "in 4000d",
	} {
		if got := ago(now.Add(d), now.Time); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := size(1023) + size(1024) + size(5<<40); got != "1023 B1.0 KiB5.0 TiB" {
		t.Error(got)
	}
}

func TestProgressDuringWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{to: &out, now: time.Now, next: time.Now().Add(time.Second)}
		work := func(takes time.Duration) {
			t.Helper()
			err := p.during(func() error { <-time.After(takes); return registry.ErrBusy })
			if err != registry.ErrBusy {
				t.Error(err)
			}
		}
		work(900 * time.Millisecond)
		if out.Len() > 0 {
			t.Errorf("of what is soon done it says %q", out.String())
		}
		work(2500 * time.Millisecond)
		if want := "\r\x1b[Kworking, for 1s so far\r\x1b[Kworking, for 2s so far\r\x1b[K"; out.String() != want {
			t.Errorf("it says %q, want %q", out.String(), want)
		}
		p.to = nil
		work(time.Hour)
	})
}
