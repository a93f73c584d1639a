package contract

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

// movable keeps the store in a directory that a test can change between two starts.
func movable(lines string) option {
	return func(g *gateway) {
		g.vars["STORE"] = filepath.Join(g.dir, "tokens")
		g.globals += "access_tokens {\n\tstore badger {$STORE}\n" + lines + "\n}\n"
	}
}

// accessTokens runs `caddy access-tokens …`, and fails unless it ends as it should.
func (g *gateway) accessTokens(t testing.TB, exit int, args ...string) (output string) {
	t.Helper()
	output, code := g.caddy(t, append([]string{"access-tokens"}, args...)...)
	if code != exit {
		t.Fatalf("caddy access-tokens %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, exit, output)
	}
	return output
}

func (g *gateway) path(name string) string { return filepath.Join(g.dir, name) }

// backUp asks the running server for a backup.
func (g *gateway) backUp(t testing.TB, name string, args ...string) string {
	t.Helper()
	g.accessTokens(t, 0, append([]string{"backup", "--config", g.configFile(), "--output", g.path(name)}, args...)...)
	return g.path(name)
}

// A backup that is made while the server serves is restored on another disk: whatever
// was there is there again, but for what was taken away since.
func TestWhatIsRestored(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone")+siteAt("{$PORT2}", "allow_generate everyone\nproject other"), movable("\taudit file {$DIR}/audit/audit.jsonl"))
	kept, deletedBefore, deletedSince := g.create(t, as("bob"), 3600, "kept"), g.create(t, as("bob"), 3600, ""), g.create(t, as("bob"), 3600, "")
	voided, blocked, unblocked := g.create(t, as("carol"), 3600, ""), g.createAt(t, 1, as("carol"), 3600, ""), g.createAt(t, 1, as("bob"), 3600, "")
	block := func(method, user string) {
		t.Helper()
		wantStatus(t, g.do(t, ask{site: 1, method: method, target: blockedTarget + "?user=" + user, auth: as("alice")}), http.StatusNoContent)
	}
	wantProxied(t, g.do(t, askFor(kept)), "bob")
	wantStatus(t, g.do(t, ask{method: "DELETE", target: deletedBefore.target(), auth: as("bob")}), http.StatusNoContent)
	block("PUT", "bob")
	wantStatus(t, g.do(t, ask{method: "PATCH", target: api + "/settings", auth: as("alice"), body: `{"maxLifetimeDays": 7}`}), http.StatusOK)

	file := g.backUp(t, "tokens.backup")

	after := g.create(t, as("bob"), 3600, "")
	wantStatus(t, g.do(t, ask{method: "DELETE", target: deletedSince.target(), auth: as("bob")}), http.StatusNoContent)
	if n := g.deleteAll(t, as("alice"), "carol"); n != 1 {
		t.Errorf("%d tokens of carol's were deleted", n)
	}
	block("PUT", "carol")
	block("DELETE", "bob")
	g.stop(t)

	old := g.vars["STORE"]
	g.vars["STORE"] = g.path("restored")
	list := filepath.Join(old, "deleted.list")
	if said := g.accessTokens(t, 1, "restore", "--into", g.vars["STORE"], "--yes", file); !strings.Contains(said, "--allow-undelete") {
		t.Errorf("without a list: %s", said)
	}
	if said := g.accessTokens(t, 0, "restore", "--into", g.vars["STORE"], "--deleted", list, "--dry-run", file); !strings.Contains(said, "4 records since the backup") {
		t.Errorf("a dry run: %s", said)
	}
	if _, err := os.Stat(g.vars["STORE"]); err == nil {
		t.Error("a dry run has made something")
	}
	g.accessTokens(t, 2, "restore", "--into", g.vars["STORE"], "--deleted", list, file) // nobody to be asked
	said := g.accessTokens(t, 0, "restore", "--into", g.vars["STORE"], "--deleted", list, "--yes", file)
	for _, want := range []string{"the records of 6 tokens", "Taken away again: 4 changes", "epoch 2 begins", "hash.key"} {
		if !strings.Contains(said, want) {
			t.Errorf("the restore doesn't say %q:\n%s", want, said)
		}
	}
	g.accessTokens(t, 1, "restore", "--into", g.vars["STORE"], "--deleted", list, "--yes", file) // there is a store
	g.copyFile(t, filepath.Join(old, "hash.key"), filepath.Join(g.vars["STORE"], "hash.key"))
	g.restart(t)

	wantProxied(t, g.do(t, askFor(kept)), "bob")
	for name, dead := range map[string]token{"deleted before": deletedBefore, "deleted since": deletedSince, "deleted with all of carol's": voided, "made since": after} {
		if got := g.do(t, askFor(dead)); got.status != http.StatusUnauthorized {
			t.Errorf("a token that was %s: %v", name, got)
		}
	}
	wantStatus(t, g.do(t, ask{site: 1, auth: bearer(blocked.value)}), http.StatusForbidden)
	wantProxied(t, g.do(t, ask{site: 1, auth: bearer(unblocked.value)}), "bob")
	if got := g.do(t, ask{target: api + "/settings", auth: as("alice")}); !strings.Contains(got.body, `"maxLifetimeDays":7`) {
		t.Errorf("the settings: %s", got.body)
	}
	if all := g.list(t, as("bob"), ""); len(all.Data) != 1 || all.Data[0].LastUsed == nil {
		t.Errorf("bob has %+v", all.Data)
	}
	lines := g.auditLines(t)
	if last := lines[len(lines)-1]; last.Event != "restored" || last.Actor.By != "admin" || !strings.Contains(last.text, `"tokens":6,"taken_away":4`) {
		t.Errorf("the audit ends in %s", last.text)
	}
	if n := strings.Count(g.accessTokens(t, 0, "audit", g.auditFile()), "\n"); n != len(lines)+2 {
		t.Errorf("the command shows %d lines of %d", n-2, len(lines))
	}
}

func (g *gateway) copyFile(t testing.TB, from, to string) {
	t.Helper()
	if err := os.WriteFile(to, []byte(readFile(t, from)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// An encrypted backup can take the hash keys along, and then is all that is needed.
func TestBackupWithItsKeys(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"), movable(""))
	old := g.create(t, as("bob"), 3600, "under a previous key")
	g.accessTokens(t, 0, "rotate-key", "--new", "--config", g.configFile())
	made := g.create(t, as("bob"), 3600, "")
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.path("identity.txt"), []byte(i.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(readFile(t, filepath.Join(g.vars["STORE"], "hash.key")))
	g.accessTokens(t, 2, "backup", "--config", g.configFile(), "--with-key", "--plain")
	g.accessTokens(t, 1, "backup", "--config", g.configFile(), "--with-key", "--output", g.path("never"))
	file := g.backUp(t, "tokens.age", "--recipient", i.Recipient().String(), "--with-key")
	if plain := readFile(t, g.backUp(t, "plain.backup")); strings.Contains(plain, key) || !strings.HasPrefix(plain, "caddy-access-tokens backup 1\n") {
		t.Error("a plain backup isn't what it should be")
	}
	if !strings.HasPrefix(readFile(t, file), "age-encryption.org/v1\n") {
		t.Error("it isn't encrypted")
	}
	if _, err := os.Stat(g.path("never")); err == nil {
		t.Error("there is a file of a backup that was refused")
	}
	g.stop(t)
	list := filepath.Join(g.vars["STORE"], "deleted.list")
	g.vars["STORE"] = g.path("restored")
	if said := g.accessTokens(t, 1, "restore", "--into", g.vars["STORE"], "--deleted", list, "--yes", file); !strings.Contains(said, "encrypted") {
		t.Errorf("without an identity: %s", said)
	}
	g.accessTokens(t, 0, "restore", "--into", g.vars["STORE"], "--deleted", list, "--identity", g.path("identity.txt"), "--yes", file)
	for range 2 {
		g.restart(t)
		wantProxied(t, g.do(t, askFor(made)), "bob")
		wantProxied(t, g.do(t, askFor(old)), "bob")
		// Without an audit file the log is all there is.
		if n := strings.Count(g.logs(), `"logger":"access_tokens.audit","msg":"restored"`); n != 1 {
			t.Errorf("the log says %d times that it was restored", n)
		}
	}
}

func TestBackupRequests(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"), movable(""))
	for body, want := range map[string]int{
		``:                                    http.StatusOK,
		`{}`:                                  http.StatusOK,
		`{"recipients": []}`:                  http.StatusOK,
		`{"recipients": ["age1"]}`:            http.StatusBadRequest,
		`{"recipients": [], "withKey": true}`: http.StatusBadRequest,
		`{"withKey": true}`:                   http.StatusBadRequest,
		`{"nothing": 1}`:                      http.StatusBadRequest,
		`[]`:                                  http.StatusBadRequest,
	} {
		status, answer, err := g.askAdmin(http.MethodPost, "/access_tokens/backup", "application/json", body)
		if err != nil || status != want || (status == http.StatusOK) != strings.HasPrefix(answer, "caddy-access-tokens backup 1\n") {
			t.Errorf("%s: %d %q %v, want %d", body, status, answer, err, want)
		}
	}
	if status, _, err := g.askAdmin(http.MethodGet, "/access_tokens/backup", "", ""); err != nil || status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d %v", status, err)
	}
}

// A backup of tens of thousands of tokens is of one moment, however many change
// meanwhile: after each round of a renewing client there is one token of its own.
func TestBackupWhileServing(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"), movable(""))
	const rounds = 5
	stop, ended := make(chan struct{}), make(chan error, 1)
	value := g.create(t, as("bob"), 3600, "").value
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			got, err := g.try(ask{method: "POST", target: api, auth: bearer(value), body: `{"lifetimeSeconds": 3600, "replace": true}`})
			if err != nil || got.status != http.StatusCreated {
				ended <- fmt.Errorf("%v %w", got, err)
				return
			}
			value = got.tokenValue()
		}
	}()
	var files []string
	for i := range rounds {
		files = append(files, g.backUp(t, "backup-"+strconv.Itoa(i)))
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	g.stop(t)
	key := filepath.Join(g.vars["STORE"], "hash.key")
	for i, file := range files {
		g.vars["STORE"] = g.path("restored-" + strconv.Itoa(i))
		g.accessTokens(t, 0, "restore", "--into", g.vars["STORE"], "--allow-undelete", "--yes", file)
		g.copyFile(t, key, filepath.Join(g.vars["STORE"], "hash.key"))
		g.restart(t)
		if all := g.list(t, as("bob"), ""); len(all.Data) != 1 {
			t.Errorf("in backup %d bob has %d tokens", i, len(all.Data))
		}
		g.stop(t)
	}
}

// Backups come by themselves, over reloads and restarts, as many as are kept.
func TestScheduledBackups(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"), movable("\tbackup {$DIR}/backups {\n\t\tevery 1s\n\t\tkeep 2\n\t}"))
	mine := g.path("backups/mine.backup")
	names := func() (names []string) {
		files, _ := filepath.Glob(g.path("backups/access-tokens-*.backup"))
		for _, f := range files {
			names = append(names, filepath.Base(f))
		}
		return names
	}
	seen := make(map[string]bool)
	look := func(n int) {
		g.wait(t, fmt.Sprintf("there have been %d backups", n), func() bool {
			for _, name := range names() {
				seen[name] = true
			}
			return len(seen) >= n
		})
	}
	look(1)
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if complaint := g.reload(t, site("allow_generate everyone\nmax_lifetime 7d")); complaint != "" {
		t.Fatal(complaint)
	}
	look(3)
	g.restart(t)
	made := g.create(t, as("bob"), 3600, "")
	look(4)
	deleted := g.create(t, as("bob"), 3600, "")
	look(len(seen) + 2)
	wantStatus(t, g.do(t, ask{method: "DELETE", target: deleted.target(), auth: as("bob")}), http.StatusNoContent)
	look(len(seen) + 2)
	if len(names()) > 3 { // one may be there that isn't needed any more
		t.Errorf("kept are %v", names())
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
	if at := g.metrics(t)["backup_last_success_timestamp_seconds"]; time.Since(time.UnixMilli(int64(at*1000))) > patience {
		t.Errorf("the metric is %v", at)
	}
	g.stop(t)
	all := names()
	// Nothing that a token's value could be found in.
	for _, name := range all {
		if bytes.Contains([]byte(readFile(t, g.path("backups/"+name))), []byte(made.value)) {
			t.Errorf("%s holds a value", name)
		}
	}
	key := filepath.Join(g.vars["STORE"], "hash.key")
	g.vars["STORE"] = g.path("restored")
	g.accessTokens(t, 0, "restore", "--into", g.vars["STORE"], "--yes", g.path("backups/"+all[len(all)-1]))
	g.copyFile(t, key, filepath.Join(g.vars["STORE"], "hash.key"))
	g.restart(t)
	wantProxied(t, g.do(t, askFor(made)), "bob")
	if got := g.do(t, askFor(deleted)); got.status != http.StatusUnauthorized {
		t.Errorf("what was deleted: %v", got)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
