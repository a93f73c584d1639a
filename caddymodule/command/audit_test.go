package command

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/auditfile"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
)

func id(n byte) uuid.UUID { return uuid.UUID{0: n, 15: n} }

func at(text string) registry.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return registry.Time{Time: t}
}

var (
	alice  = registry.Actor{User: "alice", By: "access_tokens.sign_in.basic"}
	holder = registry.Actor{User: "bob", By: registry.ByToken, TokenID: id(1)}
	evil   = registry.Actor{User: "mal\x1b[2Jory", By: "access_tokens.sign_in.upstream"}
	owner  = registry.Actor{By: "admin"}
	office = registry.Origin{ClientIP: "192.0.2.1", RequestID: "r"}
)

// history is a year of a project.
var history = []registry.Event{
	{Time: at("2026-01-10T08:00:00Z"), Kind: registry.TokenCreated, Project: "p", Actor: registry.Actor{User: "bob", By: "access_tokens.sign_in.basic"}, Origin: office, TokenID: id(1), User: "bob", Expires: at("2026-12-31T00:00:00Z")},
	{Time: at("2026-02-10T08:00:00Z"), Kind: registry.TokenRenewed, Project: "p", Actor: holder, Origin: office, TokenID: id(2), User: "bob", Parent: id(1), Scopes: []string{"read", "jobs"}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	{Time: at("2026-03-10T08:00:00Z"), Kind: registry.TokenCreated, Project: "p", Actor: evil, TokenID: id(3), User: "mal\x1b[2Jory"},
	{Time: at("2026-05-10T08:00:00Z"), Kind: registry.SettingsChanged, Project: "p", Actor: alice, Origin: office, Before: &store.Settings{}, After: &store.Settings{MaxLifetimeDays: 7}},
	{Time: at("2026-05-31T23:59:59Z"), Kind: registry.TokenDeleted, Project: "p", Actor: alice, Origin: office, TokenID: id(1), User: "bob", Successors: true},
	{Time: at("2026-06-01T00:00:00Z"), Kind: registry.UserBlocked, Project: "p", Actor: alice, Origin: office, User: "bob"},
	{Time: at("2026-07-10T08:00:00Z"), Kind: registry.TokensDeleted, Project: "p", Actor: owner, User: "bob"},
	{Time: at("2026-08-10T08:00:00Z"), Kind: registry.TokensDeleted, Project: "q", Actor: owner, User: "bob"},
	{Time: at("2026-09-10T08:00:00Z"), Kind: registry.Restored, Actor: owner, Restoration: &registry.Restoration{BackupTime: at("2026-09-09T03:00:00Z"), BackupEpoch: 1, BackupRevision: 7, Tokens: 3, TakenAway: 1, UpToEpoch: 1, UpToRevision: 9}},
}

// write writes events to files, with as many in each as is said.
func write(t *testing.T, events []registry.Event, sizes ...int) (files []string) {
	t.Helper()
	s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Logger: zap.NewNop(), MemTableSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	w, err := auditfile.Open(s, path, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i, size := range append(sizes, len(events)) {
		for _, e := range events[:min(size, len(events))] {
			done, err := s.Commit(context.Background(), store.Touch{}, e.Text())
			if err == nil {
				err = w.Await(done.Position)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if events = events[min(size, len(events)):]; len(events) == 0 {
			break
		}
		old := fmt.Sprintf("%s.%d", path, i)
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		files = append(files, old)
	}
	return append(files, path)
}

// run runs the command audit.
func run(args ...string) (stdout, stderr, end string) {
	return runTyping("", append([]string{"audit"}, args...)...)
}

// runTyping runs a command as Caddy does, for somebody who types that, and returns
// what its process would say.
func runTyping(typed string, args ...string) (stdout, stderr, end string) {
	return runFrom(strings.NewReader(typed), args...)
}

func runFrom(in io.Reader, args ...string) (stdout, stderr, end string) {
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	cmd := &cobra.Command{Use: "access-tokens"}
	setUp(cmd)
	root.AddCommand(cmd)
	root.SetArgs(append([]string{"access-tokens"}, args...))
	var out, errs bytes.Buffer
	root.SetIn(in)
	root.SetOut(&out)
	root.SetErr(&errs)
	if err := root.Execute(); err != nil {
		end = err.Error()
	}
	return out.String(), errs.String(), end
}

const (
	failed         = "failed"
	wronglyUsed    = "exiting with status 2"
	nothingMatched = "exiting with status 3"
)

func TestAuditPrintsATable(t *testing.T) {
	files := write(t, history, 3, 2)
	stdout, stderr, end := run(files[2], files[0], files[1])
	want := `TIME                      EVENT             PROJECT       WHO                           FROM             WHAT
2026-01-10T08:00:00.000Z  token_created     p             bob (basic)                   192.0.2.1        01000000-0000-0000-0000-000000000001 of bob, until 2026-12-31T00:00:00.000Z
2026-02-10T08:00:00.000Z  token_renewed     p             bob (token 01000000)          192.0.2.1        02000000-0000-0000-0000-000000000002 of bob, renews 01000000-0000-0000-0000-000000000001, scopes read jobs, from 192.0.2.0/24
2026-03-10T08:00:00.000Z  token_created     p             "mal\x1b[2Jory" (upstream)                     03000000-0000-0000-0000-000000000003 of "mal\x1b[2Jory"
2026-05-10T08:00:00.000Z  settings_changed  p             alice (basic)                 192.0.2.1        {} -> {"maxLifetimeDays":7}
2026-05-31T23:59:59.000Z  token_deleted     p             alice (basic)                 192.0.2.1        01000000-0000-0000-0000-000000000001 of bob, and its successors
2026-06-01T00:00:00.000Z  user_blocked      p             alice (basic)                 192.0.2.1        bob
2026-07-10T08:00:00.000Z  tokens_deleted    p             admin                                          bob
2026-08-10T08:00:00.000Z  tokens_deleted    q             admin                                          bob
2026-09-10T08:00:00.000Z  restored                        admin                                          the backup of 2026-09-09T03:00:00.000Z, revision 7 of epoch 1, the records of 3 tokens, taken away again 1 change
`
	if diff := cmp.Diff(want, stdout); diff != "" || end != "" {
		t.Errorf("%s (-want +got):\n%s", end, diff)
	}
	if want := "9 of 9 lines match; the chain is whole from line 1 to line 9\n"; stderr != want {
		t.Errorf("said: %q", stderr)
	}
}

func TestAuditFilters(t *testing.T) {
	file := write(t, history)[0]
	for name, test := range map[string]struct {
		args []string
		want []int // of history
		end  string
	}{
		"what alice did":                   {[]string{"--user", "alice"}, []int{3, 4, 5}, ""},
		"what alice did in May":            {[]string{"--user", "alice", "--since", "2026-05-01", "--until", "2026-06-01"}, []int{3, 4}, ""},
		"to the second":                    {[]string{"--since", "2026-05-31T23:59:59Z", "--until", "2026-06-01T02:00:00+02:00"}, []int{4}, ""},
		"a token and what came of it":      {[]string{"--token", id(1).String()}, []int{0, 1, 4, 6}, ""},
		"one that ended with its parent":   {[]string{"--token", id(2).String()}, []int{1, 4, 6}, ""},
		"one that has nothing to do with":  {[]string{"--token", id(3).String()}, []int{2}, ""},
		"a token that nobody knows":        {[]string{"--token", id(9).String()}, nil, nothingMatched},
		"a user whom nobody knows":         {[]string{"--user", "nobody"}, nil, nothingMatched},
		"within the last hour":             {[]string{"--until", "876000h"}, nil, nothingMatched},
		"within the last thousand years":   {[]string{"--since", "100000d", "--user", "alice"}, []int{3, 4, 5}, ""},
		"all, if only it is to be quiet":   {[]string{"--quiet"}, nil, ""},
		"quiet, and nothing would be said": {[]string{"-q", "--user", "nobody"}, nil, nothingMatched},
	} {
		args := []string{file}
		if !strings.Contains(name, "quiet") {
			args = append(args, "--json")
		}
		args = append(args, test.args...)
		stdout, stderr, end := run(args...)
		var got []int
		for line := range strings.Lines(stdout) {
			for i, e := range history {
				if strings.HasSuffix(line, ","+string(e.Text()[1:])+"\n") {
					got = append(got, i)
				}
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" || end != test.end || strings.Count(stdout, "\n") != len(test.want) || !strings.Contains(stderr, "is whole") {
			t.Errorf("%s: %s\n%s\n(-want +got):\n%s", name, end, stderr, diff)
		}
	}
}

func TestAuditSaysWhereAChainBreaks(t *testing.T) {
	files := write(t, history, 3)
	whole, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.jsonl")
	if err := os.WriteFile(broken, bytes.Replace(whole, []byte("bob"), []byte("eve"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, end := run(files[0], broken)
	want := broken + ":3: it doesn't follow the line before, " + broken + ":2: one of the two has been changed\n9 of 9 lines match; the chain is NOT whole: see above\n"
	if end != failed || stderr != want || strings.Count(stdout, "\n") != 10 {
		t.Errorf("%s, said:\n%swant\n%s", end, stderr, want)
	}
	// Nothing matching doesn't hide it.
	if _, _, end := run("--user", "nobody", files[0], broken); end != failed {
		t.Errorf("where nothing matches: %q", end)
	}
	// A file of something else isn't said line by line.
	log := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(log, []byte(strings.Repeat("GET /\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, end := run(log); end != failed || strings.Count(stderr, "\n") != mostBreaks+1 || !strings.HasSuffix(stderr, "NOT whole: see above, and 980 more places\n") {
		t.Errorf("another file: %q, %s", end, stderr)
	}
	// The oldest file may be gone.
	if _, stderr, end := run("-q", files[1]); end != "" || !strings.Contains(stderr, "; lines before 4 are in none of these files") {
		t.Errorf("without the first file: %q, %s", end, stderr)
	}
	if _, stderr, end := run("-q", files[0], files[1], files[0]); end != "" || !strings.Contains(stderr, "; 3 lines are in several files") {
		t.Errorf("a file twice: %q, %s", end, stderr)
	}
}

func TestAuditReadsWhatIsCompressed(t *testing.T) {
	files := write(t, history, 4)
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, end := run("-q", files[0], files[1]); end != "" || !strings.Contains(stderr, "whole from line 1 to line 9") {
		t.Errorf("%q, %s", end, stderr)
	}
	if err := os.WriteFile(files[0], packed.Bytes()[:packed.Len()/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, end := run("-q", files[0], files[1]); end != failed || !strings.Contains(stderr, files[0]) {
		t.Errorf("cut off: %q, %s", end, stderr)
	}
}

func TestAuditUsedWrongly(t *testing.T) {
	file := write(t, history)[0]
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "name at least one file"},
		{[]string{"--token", "1", file}, `--token: a token id looks like`},
		{[]string{"--since", "May", file}, `--since: "May" is neither a day such as 2026-05-01`},
		{[]string{"--until", "May", file}, `--until: "May" is neither`},
		{[]string{"--json", "--quiet", file}, "exclude each other"},
		{[]string{"--colour", file}, "unknown flag: --colour"},
	} {
		stdout, stderr, end := run(test.args...)
		if end != wronglyUsed || stdout != "" || !strings.Contains(stderr, test.want) || !strings.Contains(stderr, "--help") {
			t.Errorf("%q: %q, %s", test.args, end, stderr)
		}
	}
	if _, stderr, end := run(file + ".none"); end != failed || !strings.Contains(stderr, "no such file") {
		t.Errorf("no file: %q, %s", end, stderr)
	}
	if _, stderr, end := run(os.DevNull); end != nothingMatched || stderr != "0 of 0 lines match\n" {
		t.Errorf("an empty file: %q, %s", end, stderr)
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{to: &out, now: func() time.Time { return now }, next: now.Add(time.Second)}
	for n := range 25 {
		p.at("%d", n)
		now = now.Add(100 * time.Millisecond)
	}
	p.clear()
	p.clear()
	if got, want := out.String(), "\r\x1b[K10\r\x1b[K20\r\x1b[K"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if p := newProgress(&out); p.to != nil {
		t.Error("it is shown where nobody looks")
	}
}
