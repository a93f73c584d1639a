package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/operations/production.md says of where Caddy runs.

// needsSystemd skips a test where Debian's programs aren't to run.
func needsSystemd(t *testing.T) {
	t.Helper()
	if os.Getenv("ACCESS_TOKENS_TEST_SERVERS") != "1" {
		t.Skip("set ACCESS_TOKENS_TEST_SERVERS=1 to test with systemd's own tools")
	}
}

// saying runs a program of systemd's, and returns what it complains of.
func saying(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

func unitIsValid(t *testing.T, e example) {
	needsSystemd(t)
	unit := filepath.Join(t.TempDir(), "caddy.service")
	const installed = "/usr/local/bin/caddy"
	if n := strings.Count(e.text, installed); n != 2 {
		t.Fatalf("%s is there %d times", installed, n)
	}
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(e.text, installed, os.Args[0])), 0o600); err != nil {
		t.Fatal(err)
	}
	if complaint := saying(t, "systemd-analyze", "verify", "--man=no", unit); complaint != "" {
		t.Error(complaint)
	}
}

func userIsMade(t *testing.T, e example) {
	needsSystemd(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "caddy.conf")
	if err := os.WriteFile(file, []byte(e.text), 0o600); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	saying(t, "systemd-sysusers", "--root="+root, file)
	if users := read(t, filepath.Join(root, "etc", "passwd")); !regexp.MustCompile(`(?m)^caddy:x:\d+:\d+:Caddy:/var/lib/caddy:.*/nologin$`).MatchString(users) {
		t.Errorf("the users are\n%s", users)
	}
}

// productionExample returns the only example of that language.
func productionExample(t *testing.T, language string) (text string) {
	t.Helper()
	for _, e := range examples(t) {
		if e.file == filepath.Join("docs", "operations", "production.md") && e.language == language {
			text += e.text
		}
	}
	if text == "" {
		t.Fatalf("docs/operations/production.md has no %s", language)
	}
	return text
}

// inPlaces sets the variables that decide where Caddy keeps what it has.
func inPlaces(variables map[string]string) option {
	return func(g *gateway) {
		for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
			g.vars[name] = variables[name]
		}
	}
}

// wantStoreAt wants the store in a directory.
func wantStoreAt(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "hash.key")); err != nil {
		t.Errorf("the store isn't in %s: %v", dir, err)
	}
}

// Where the store is follows from the unit's HOME and from the container's
// environment, as the document says; a container's successor has the same tokens.
func TestWhereTheStoreIs(t *testing.T) {
	t.Parallel()
	document := read(t, operations(t, "production.md"))
	storeBelow := func(t *testing.T, place string) string {
		t.Helper()
		found := regexp.MustCompile("`" + place + `(/\S*/access-tokens)` + "`").FindStringSubmatch(document)
		if found == nil {
			t.Fatalf("it doesn't say where the store is below %s", place)
		}
		return found[1]
	}
	t.Run("with systemd", func(t *testing.T) {
		t.Parallel()
		unit := productionExample(t, "systemd")
		if strings.Contains(unit, "--environ") || !strings.Contains(unit, "\nEnvironment=HOME=/var/lib/caddy\n") {
			t.Error("it isn't the unit that the document describes")
		}
		home := filepath.Join(root, "home")
		g := start(t, site(""), inPlaces(map[string]string{"HOME": home}))
		g.create(t, as("alice"), 60, "")
		wantStoreAt(t, home+storeBelow(t, "/var/lib/caddy"))
	})

	file := productionExample(t, "dockerfile")
	environment := make(map[string]string)
	for _, pair := range strings.Fields(line(t, file, "ENV")) {
		name, value, _ := strings.Cut(pair, "=")
		environment[name] = value
	}
	volume := line(t, file, "VOLUME")
	t.Run("in a container", func(t *testing.T) {
		t.Parallel()
		disk := filepath.Join(root, "volume")
		mounted := make(map[string]string)
		for name, value := range environment {
			mounted[name] = strings.Replace(value, volume, disk, 1)
		}
		first := start(t, site(""), inPlaces(mounted))
		made := first.create(t, as("alice"), 60, "")
		first.stop(t)
		wantStoreAt(t, disk+storeBelow(t, volume))
		second := start(t, site(""), inPlaces(mounted))
		wantProxied(t, second.do(t, askFor(made)), "alice")
	})
	t.Run("in one without its environment", func(t *testing.T) {
		t.Parallel()
		g := start(t, site(""), inPlaces(nil))
		g.create(t, as("alice"), 60, "")
		wantStoreAt(t, filepath.Join(g.dir, "caddy", "access-tokens"))
	})
}

// line returns what follows the only such instruction of a Dockerfile.
func line(t *testing.T, file, instruction string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^`+instruction+` (.*)$`).FindAllStringSubmatch(file, -1)
	if len(found) != 1 {
		t.Fatalf("%s is there %d times", instruction, len(found))
	}
	return found[0][1]
}

// A Dockerfile is read as far as that can be done without Docker: what it builds is
// built and started by .ci/run in other ways.
func dockerfileIsSound(t *testing.T, e example) {
	if user := line(t, e.text, "USER"); !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		t.Errorf("Kubernetes can't tell that %q isn't root", user)
	} else if !strings.Contains(e.text, "--chown="+user+" /out/ /\n") {
		t.Errorf("the volume isn't %s's", user)
	}
	if _, err := os.Stat(filepath.Join(repository, "cmd", "caddy")); err != nil || !strings.Contains(e.text, " ./cmd/caddy\n") {
		t.Errorf("it builds something else: %v", err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, filepath.Join(repository, "go.mod")))
	if version == nil || !strings.Contains(e.text, "FROM golang:"+version[1]+" ") {
		t.Errorf("go.mod wants Go %s", version)
	}
	var command []string
	if err := json.Unmarshal([]byte(line(t, e.text, "CMD")), &command); err != nil || len(command) < 2 || command[0] != "/usr/bin/caddy" || command[1] != "run" {
		t.Errorf("it runs %q, %v", command, err)
	}
}

// What grows is as large as the document says.
func TestWhatGrows(t *testing.T) {
	t.Parallel()
	document := read(t, operations(t, "production.md"))
	said := func(row, number string) float64 {
		t.Helper()
		found := regexp.MustCompile(`(?m)^\| ` + row + ` \| \D*` + number).FindStringSubmatch(document)
		var n float64
		if found == nil {
			t.Fatalf("there is no row %q", row)
		}
		if _, err := fmt.Sscan(strings.ReplaceAll(found[1], ",", ""), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	about := func(what string, got, want float64) {
		t.Helper()
		if got < want*0.7 || got > want*1.3 {
			t.Errorf("%s: %v, and the document says %v", what, got, want)
		}
	}
	g := start(t, logging("allow_generate everyone"), audited)
	first := g.create(t, as("bob"), 86400, "")
	const renewals = 50
	var of []token
	for n := range renewals {
		of = append(of, g.create(t, bearer(first.value), 3600, fmt.Sprint("nightly export ", n)))
	}
	lines := g.auditLines(t)
	size := func(file string) float64 {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return float64(info.Size())
	}
	about("a line of the audit", size(g.auditFile())/float64(len(lines)), said("a line of the audit file", `([\d,]+) bytes`))

	list := filepath.Join(g.store(), "deleted.list")
	before := size(list)
	for _, made := range of {
		g.remove(t, as("alice"), made.target())
	}
	about("a deletion", (size(list)-before)/renewals, said("a deletion", `([\d,]+) bytes`))

	g.wait(t, "tokens are counted", func() bool { return realMetrics(t, g)["tokens"] != "" })
	_, body, err := g.askAdmin(http.MethodGet, "/metrics", "", "")
	if err != nil {
		t.Fatal(err)
	}
	bytes, series := 0, 0
	for text := range strings.Lines(body) {
		if strings.Contains(text, metricPrefix) {
			bytes += len(text)
		}
		if strings.HasPrefix(text, metricPrefix) && strings.Contains(text, "project=") {
			series++
		}
	}
	about("series of a project", float64(series), said("metrics", `([\d,]+) series`))
	about("a scrape", float64(bytes)/1000, said("metrics", `\d+ series of a project, (\d+) KB`))
}
