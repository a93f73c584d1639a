package contract

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A program whose token was deleted learns that, whatever it is sending and
// whatever stands between.

func TestARefusalArrivesThroughNginx(t *testing.T) {
	t.Parallel()
	wantServers(t)
	g := start(t, site("sign_in_limit 1000 1h"))
	front := g.through(nginxBefore(t, g))
	living, deleted := g.create(t, as("alice"), 3600, ""), g.create(t, as("alice"), 3600, "")
	g.remove(t, as("alice"), deleted.target())
	for _, size := range []int{20_000, 300_000, 5_000_000} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			body := strings.Repeat("x", size)
			for _, test := range []struct {
				what  string
				tries int
				ask   ask
				want  int
				name  string
			}{
				{"a deleted token", 30, ask{auth: bearer(deleted.value)}, http.StatusUnauthorized, "InvalidToken"},
				{"a made-up token", 30, ask{auth: bearer(neverIssued("cat"))}, http.StatusUnauthorized, "InvalidToken"},
				{"no token", 10, ask{}, http.StatusUnauthorized, "AuthenticationRequired"},
				{"a malformed token", 10, ask{auth: bearer("two words")}, http.StatusBadRequest, "InvalidRequest"},
				{"a deleted token, on the routes", 10, ask{target: api, auth: bearer(deleted.value)}, http.StatusUnauthorized, "InvalidToken"},
				{"a wrong password, on the routes", 10, ask{target: api, auth: basic("alice", "guess")}, http.StatusUnauthorized, "AuthenticationRequired"},
				{"no route", 10, ask{target: api + "/x/y", auth: bearer(living.value)}, http.StatusNotFound, "RouteNotFoundException"},
			} {
				wrong := map[int]int{}
				for range test.tries {
					test.ask.method, test.ask.body = http.MethodPost, body
					got, err := front.try(test.ask)
					if err != nil || got.status != test.want {
						wrong[got.status]++
						continue
					}
					wantRefused(t, got, test.want, test.name)
				}
				if len(wrong) > 0 {
					t.Errorf("%s: want %d; of %d tries, others were answered with (status: how many) %v", test.what, test.want, test.tries, wrong)
				}
			}
			got := front.do(t, ask{method: http.MethodPost, auth: bearer(living.value), body: body})
			wantProxied(t, got, "alice")
			if len(got.received.body) != size {
				t.Errorf("with a token, %d bytes arrive", len(got.received.body))
			}
		})
	}
}

func TestARefusalArrivesAtClientsThatSend(t *testing.T) {
	t.Parallel()
	wantServers(t)
	g := start(t, site(""))
	deleted := g.create(t, as("alice"), 3600, "")
	g.remove(t, as("alice"), deleted.target())
	python := []string{debiansPython, filepath.Join("testdata", "servers", "client.py"), g.addresses[0], deleted.value}
	url := "http://" + g.addresses[0] + "/v3/things"
	for what, command := range map[string][]string{
		"Python's http.client, 300 kB": append(python[:4:4], "300000"),
		"Python's http.client, 5 MB":   append(python[:4:4], "5000000"),
		// These two wait for a minute to be asked on: longer than they are waited for.
		"Node, which waits to be asked on": {"node", filepath.Join("testdata", "servers", "client.mjs"), url, deleted.value},
		"curl, which waits to be asked on": {"curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", "--expect100-timeout", "60",
			"-H", "Authorization: " + bearer(deleted.value), "-H", "Expect: 100-continue", "--data-binary", "@" + fileOf(t, 5_000_000), url},
	} {
		t.Run(what, func(t *testing.T) {
			for try := 0; try < 10 && !t.Failed(); try++ {
				if status, body := client(t, command); status != http.StatusUnauthorized || !strings.Contains(body, `"InvalidToken"`) {
					t.Errorf("try %d: %d %s", try, status, body)
				}
			}
		})
	}
}

func fileOf(t *testing.T, size int) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// client runs a program that prints its answer's body, and the status in a line of
// its own.
func client(t *testing.T, command []string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v\n%s", command[0], err, tail(problems.String(), 2000))
		return 0, ""
	}
	text := strings.TrimSpace(string(out))
	cut := strings.LastIndex(text, "\n")
	if cut < 0 {
		t.Fatalf("%s printed %q", command[0], out)
	}
	status, err = strconv.Atoi(text[cut+1:])
	if err != nil {
		t.Fatalf("%s printed %q", command[0], out)
	}
	return status, text[:cut]
}
