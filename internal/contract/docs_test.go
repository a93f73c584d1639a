package contract

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// repository is this checkout's root, seen from this package.
const repository = "../.."

var signInModules = filepath.Join("docs", "sign-in-modules.md")

// An example is a fenced block of a document.
type example struct {
	file     string
	line     int
	language string
	text     string
}

func (e example) String() string { return fmt.Sprintf("%s:%d", e.file, e.line) }

// Every fenced example of the README and of docs/ works as it stands there.
func TestExamplesInTheDocuments(t *testing.T) {
	var try *example
	program := buildOnce(t)
	for _, e := range examples(t) {
		switch e.language {
		case "caddyfile":
			t.Run(e.String(), func(t *testing.T) { t.Parallel(); caddyfileIsValid(t, e) })
		case "go":
			if e.file != signInModules { // TestTheDocumentedSignInModule runs that one
				t.Run(e.String(), func(t *testing.T) { t.Parallel(); programIsACaddy(t, program, e) })
			}
		case "logrotate":
			t.Run(e.String(), func(t *testing.T) { t.Parallel(); logrotateRotates(t, e) })
		case "systemd":
			t.Run(e.String(), func(t *testing.T) { t.Parallel(); unitIsValid(t, e) })
		case "sysusers":
			t.Run(e.String(), func(t *testing.T) { t.Parallel(); userIsMade(t, e) })
		case "dockerfile":
			t.Run(e.String(), func(t *testing.T) { dockerfileIsSound(t, e) })
		case "yaml":
			if e.file != filepath.Join("docs", "operations", "monitoring.md") { // TestPrometheus runs that one
				t.Errorf("%s: nothing here can run it", e)
			}
		case "nginx": // TestNginxAsks runs it
		case "text":
			t.Run(e.String(), func(t *testing.T) { treeIsThere(t, e) })
		case "sh":
			switch strings.TrimSpace(e.text) {
			case "go run ./cmd/caddy run":
				try = &e
			case "go test ./...":
				t.Run(e.String(), testCommandIsWhatCIRuns)
			default:
				server := try
				t.Run(e.String(), func(t *testing.T) { t.Parallel(); transcriptComesTrue(t, program, server, e) })
			}
		default:
			t.Errorf("%s: nothing here can run %q", e, e.language)
		}
	}
	if try == nil {
		t.Error("no example starts the gateway")
	}
}

func examples(t *testing.T) (all []example) {
	t.Helper()
	paths := []string{filepath.Join(repository, "README.md")}
	for _, of := range []string{"docs", filepath.Join("docs", "operations")} {
		docs, err := filepath.Glob(filepath.Join(repository, of, "*.md"))
		if err != nil || len(docs) == 0 {
			t.Fatalf("%s: %v %v", of, docs, err)
		}
		paths = append(paths, docs...)
	}
	for _, path := range paths {
		name, err := filepath.Rel(repository, path)
		if err != nil {
			t.Fatal(err)
		}
		var open *example
		for n, line := range strings.SplitAfter(read(t, path), "\n") {
			fence, isFence := strings.CutPrefix(line, "```")
			switch {
			case isFence && open == nil:
				open = &example{file: name, line: n + 1, language: strings.TrimSpace(fence)}
			case isFence:
				all = append(all, *open)
				open = nil
			case open != nil:
				open.text += line
			}
		}
		if open != nil {
			t.Errorf("%s: the example has no end", open)
		}
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// caddyfileIsValid provisions the example, and holds it to caddy fmt.
func caddyfileIsValid(t *testing.T, e example) {
	g := prepare(t, "", env("TOKENS_KEY", strings.Repeat("k", 32)), env("TOKENS_OLD_KEY", strings.Repeat("o", 32)),
		env("WEBHOOK_SECRET", strings.Repeat("s", 32)))
	g.vars["TOKENS_DIR"] = filepath.Join(g.dir, "tokens")
	if err := os.WriteFile(g.configFile(), []byte(e.text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, exit := g.caddy(t, "validate", "--config", g.configFile(), "--adapter", "caddyfile"); exit != 0 {
		t.Errorf("%s", out)
	}
	if out, exit := g.caddy(t, "fmt", "--diff", g.configFile()); exit != 0 {
		t.Errorf("caddy fmt would change it:\n%s", out)
	}
}

// buildOnce returns what builds the program of cmd/caddy when it is first asked,
// and where it is.
func buildOnce(t *testing.T) func() (string, error) {
	program := filepath.Join(t.TempDir(), "caddy")
	return sync.OnceValues(func() (string, error) {
		return program, goBuild(repository, program, "./cmd/caddy")
	})
}

// goBuild builds a program without what only debuggers read, which takes less time.
func goBuild(dir, program, source string, env ...string) error {
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, source)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", source, err, out)
	}
	return nil
}

func programIsACaddy(t *testing.T, build func() (string, error), e example) {
	if !strings.HasSuffix(read(t, filepath.Join(repository, "cmd", "caddy", "main.go")), e.text) {
		t.Error("it isn't the program in cmd/caddy")
	}
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "list-modules").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "http.handlers.access_tokens") {
		t.Errorf("its modules: %v\n%s", err, out)
	}
}

// treeIsThere checks that what a drawing of the tree names exists.
func treeIsThere(t *testing.T, e example) {
	var path []string
	for line := range strings.Lines(e.text) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		path = append(path[:min(depth, len(path))], name)
		if _, err := os.Stat(filepath.Join(append([]string{repository}, path...)...)); err != nil {
			t.Errorf("%s is not there", filepath.Join(path...))
		}
	}
}

func testCommandIsWhatCIRuns(t *testing.T) {
	for line := range strings.Lines(read(t, filepath.Join(repository, ".ci", "run"))) {
		if strings.HasPrefix(line, "go test -race ") && strings.Contains(line, " ./... ") {
			return
		}
	}
	t.Error(".ci/run doesn't run the README's test command with -race")
}

// transcriptComesTrue starts the gateway as the README says, in a directory and
// on ports of its own, and runs a transcript against it, with its caddy in the PATH. Its lines that begin
// with "#> " are what the commands before them print, where "…" stands for
// anything.
func transcriptComesTrue(t *testing.T, build func() (string, error), server *example, transcript example) {
	if server == nil {
		t.Fatal("no example before this one starts the gateway")
	}
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	gatewayPort, apiPort := freePort(t), freePort(t)
	ports := strings.NewReplacer("8080", gatewayPort, "3005", apiPort, "/var/log/caddy/", "")
	caddyfile := ports.Replace(read(t, filepath.Join(repository, "Caddyfile")))
	// For transcripts that look into the access log.
	caddyfile = strings.Replace(caddyfile, "\tbind 127.0.0.1\n", "\tbind 127.0.0.1\n\tlog {\n\t\toutput file access.log\n\t}\n", 1)
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}

	args := strings.Fields(strings.TrimPrefix(strings.TrimSpace(server.text), "go run ./cmd/caddy"))
	run := exec.Command(program, args...)
	run.Dir = dir
	run.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "CADDY_ADMIN=unix/"+filepath.Join(dir, "admin.sock"))
	var log strings.Builder
	run.Stdout, run.Stderr = &log, &log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A transcript may have put another one in its place.
		stop := exec.Command(program, "stop")
		stop.Env = run.Env
		_ = stop.Run()
		_ = run.Process.Signal(syscall.SIGTERM)
		if err := run.Wait(); err != nil || t.Failed() {
			t.Logf("Caddy: %v\n%s", err, log.String())
		}
	})
	waitUntilServed(t, "http://localhost:"+gatewayPort+"/v4/echo")

	script, expected := expectations(ports.Replace(transcript.text))
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-u", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(run.Env), "PATH="+filepath.Dir(program)+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	for _, value := range regexp.MustCompile(`cat_[0-9A-Za-z]{49}`).FindAllString(string(out), -1) {
		secrets.add(value)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, got := range strings.Split(string(out), marker) {
		want := ""
		if i < len(expected) {
			want = expected[i]
		}
		parts := strings.Split(strings.TrimSpace(want), "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		if !regexp.MustCompile("^" + strings.Join(parts, ".+?") + "$").MatchString(strings.TrimSpace(got)) {
			t.Errorf("%s says\n%s\nbut it is\n%s", transcript, want, got)
		}
	}
}

// marker stands in a transcript's output where expected output ended.
const marker = "\x1e"

// expectations returns a script that prints marker after each piece of output
// that is expected, and these pieces.
func expectations(transcript string) (script string, expected []string) {
	piece := ""
	for line := range strings.Lines(transcript + "\n") {
		if want, ok := strings.CutPrefix(line, "#> "); ok {
			piece += want
			continue
		}
		if piece != "" {
			script += "printf '" + marker + "'\n"
			expected = append(expected, piece)
			piece = ""
		}
		script += line
	}
	return script, expected
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

func waitUntilServed(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if response, err := http.Get(url); err == nil {
			response.Body.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s isn't served", url)
		}
	}
}
