package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every recipe of docs/ does what it promises: its own Caddyfile, with other
// addresses and password hashes, runs in front of an API.

// recipe returns the one Caddyfile below a heading of a document.
func recipe(t *testing.T, file, heading string) string {
	t.Helper()
	text := read(t, filepath.Join(repository, "docs", file))
	_, section, found := strings.Cut(text, "# "+heading+"\n")
	if !found {
		t.Fatalf("docs/%s has no %q", file, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	_, block, found := strings.Cut(section, "```caddyfile\n")
	if !found {
		t.Fatalf("docs/%s has no Caddyfile below %q", file, heading)
	}
	block, _, _ = strings.Cut(block, "```")
	return block
}

var (
	siteAddress = regexp.MustCompile(`(?m)^[a-z]+\.example\.com \{`)
	anyHash     = regexp.MustCompile(`\$2a\$\S+`)
)

// here puts a recipe on the gateway's addresses, in front of {$API} and beside
// {$AUTH} and {$CACHE}.
func here(text string) string {
	text = strings.Replace(text, "tokens.example.com {", "http://:{$PORT2} {\n\tbind 127.0.0.1", 1)
	text = siteAddress.ReplaceAllString(text, "http://:{$$PORT} {\n\tbind 127.0.0.1")
	text = anyHash.ReplaceAllString(text, "{$$ALICE_HASH}")
	return strings.NewReplacer(
		"127.0.0.1:3005", "{$API}", "127.0.0.1:9091", "{$AUTH}", "127.0.0.1:6081", "{$CACHE}", "http://:6082", "http://:{$PORT2}",
	).Replace(text)
}

func TestEveryRecipeHasATest(t *testing.T) {
	source := read(t, "recipes_test.go") + read(t, "recipes_refusal_test.go") + read(t, "recipes_neighbours_test.go") + read(t, "recipes_carriers_test.go") + read(t, "encoding_test.go") + read(t, "scopes_test.go")
	for _, e := range examples(t) {
		if e.language != "caddyfile" || e.file != filepath.Join("docs", "recipes.md") && e.file != filepath.Join("docs", "dataprep.md") {
			continue
		}
		heading := ""
		for n, line := range strings.Split(read(t, filepath.Join(repository, e.file)), "\n") {
			if name, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && n < e.line && strings.HasPrefix(line, "#") {
				heading = name
			}
		}
		if !strings.Contains(source, "\""+filepath.Base(e.file)+"\", "+strconv.Quote(heading)+")") && !strings.Contains(source, "\""+filepath.Base(e.file)+"\", `"+heading+"`)") {
			t.Errorf("%s, %q: nothing runs it", e, heading)
		}
	}
}

// whoAmIAt is an API behind whose who-am-I route is at another path, with other
// JSON: what a recipe's reader has.
func whoAmIAt(t *testing.T, a *realAPI, path string, shape func(user string, id int) any) string {
	t.Helper()
	own := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: a.address})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			own.ServeHTTP(w, r)
			return
		}
		a.mu.Lock()
		a.asked++
		user, by := a.caller(r)
		row := a.users[user]
		a.mu.Unlock()
		if by == "identity" || row == nil {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(shape(user, row.ID))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestRecipeForAnAPIWithBasic(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	a.passes = true
	address := whoAmIAt(t, a, "/whoami", func(user string, id int) any {
		return map[string]any{"id": id, "email": user + "@example.com"}
	})
	text := recipe(t, "recipes.md", "An API with HTTP Basic")
	g := start(t, here(text), env("API", address))
	token := g.create(t, as("bob"), 3600, "")
	request := a.wantUser(t, g.do(t, ask{auth: bearer(token.value)}), "23")
	if got := request.header.Values("Remote-Email"); !slices.Equal(got, []string{"bob@example.com"}) {
		t.Errorf("e-mail %q", got)
	}
	a.wantBy(t, g.do(t, ask{auth: as("alice")}), "alice", "password")
	wantRefused(t, g.do(t, ask{target: api, auth: basic("bob", "guess")}), http.StatusUnauthorized, "AuthenticationRequired")
	if got := g.do(t, ask{lines: []string{"Remote-User: 17"}}); got.status != http.StatusUnauthorized || a.of(got) == nil {
		t.Errorf("the API itself is to refuse whom it doesn't know: %s", got)
	}
	t.Run("once everybody uses tokens, that line removed", func(t *testing.T) {
		without := strings.Replace(here(text), "without_token pass", "", 1)
		if complaint := g.reload(t, without); without == here(text) || complaint != "" {
			t.Fatal(complaint)
		}
		before := a.count()
		wantRefused(t, g.do(t, ask{auth: as("alice")}), http.StatusUnauthorized, "AuthenticationRequired")
		if a.count() != before {
			t.Error("something got past")
		}
		a.wantUser(t, g.do(t, ask{auth: bearer(token.value)}), "23")
	})
}

func TestRecipeForAnAPIWithCookieSessions(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	a.passes = true
	address := whoAmIAt(t, a, "/api/me", func(user string, id int) any {
		return map[string]any{"user": map[string]any{"id": id, "email": user + "@example.com"}}
	})
	g := start(t, here(recipe(t, "recipes.md", "An API with cookie sessions")), env("API", address))
	cookie := a.cookie("bob")
	token := g.bySession(t, cookie)
	a.wantUser(t, g.do(t, ask{auth: bearer(token.value)}), "23")
	a.wantBy(t, g.do(t, ask{lines: []string{cookie}}), "bob", "session")
	request := a.wantUser(t, g.do(t, ask{auth: bearer(token.value), lines: []string{a.cookie("alice")}}), "23")
	if sent := request.header.Get("Cookie"); sent != "" {
		t.Errorf("the cookies beside a token are to be removed: %s", sent)
	}
	asked := a.timesAsked()
	got := g.do(t, ask{target: api, auth: as("bob")})
	wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
	if a.timesAsked() != asked {
		t.Error("with basic off, the password was sent on")
	}
}

func TestRecipeBehindForwardAuth(t *testing.T) {
	t.Parallel()
	g := start(t, here(recipe(t, "recipes.md", "Behind `forward_auth`")), env("AUTH", newAuthServer(t)), behindUpstream)
	want := []string{"Remote-User: bob", "Remote-Email: bob@example.com", "Remote-Name: Bob", "Remote-Groups: dev,bob"}
	check := func(t *testing.T, got answered, want []string) {
		t.Helper()
		wantStatus(t, got, http.StatusOK)
		var lines []string
		for _, name := range []string{"Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups"} {
			lines = append(lines, got.received.lines(name)...)
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("who the API behind was told (-want +got):\n%s", diff)
		}
	}
	lies := []string{"Remote-User: forged", "Remote-Groups: forged", "remote_groups: forged"}
	token := made(t, g.do(t, ask{method: "POST", target: api, lines: append(portal("bob"), lies...), body: anHour}))
	check(t, g.do(t, ask{lines: append(portal("bob"), lies...)}), want)
	check(t, g.do(t, ask{auth: bearer(token.value), lines: append(portal("boss"), lies...)}), want)
	renewed := g.create(t, bearer(token.value), 60, "")
	check(t, g.do(t, ask{auth: bearer(renewed.value), lines: lies}), want)
	if got := g.do(t, ask{lines: lies}); got.status != http.StatusFound || got.reached != 0 {
		t.Errorf("a stranger gets %s", got)
	}
	wantRefused(t, g.do(t, ask{auth: bearer(neverIssued("cat")), lines: portal("bob")}), http.StatusUnauthorized, "InvalidToken")
}

// behindUpstream puts the recording API behind a recipe.
func behindUpstream(g *gateway) { g.vars["API"] = g.api.address }

func TestRecipeBehindBasicAuth(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	a.passes = true
	g := start(t, here(recipe(t, "recipes.md", "Behind `basic_auth`")), a.behind())
	token := g.create(t, as("alice"), 3600, "")
	a.wantUser(t, g.do(t, ask{auth: bearer(token.value)}), "alice")
	a.wantUser(t, g.do(t, ask{auth: as("alice")}), "alice")
	a.wantUser(t, g.do(t, ask{auth: bearer(g.create(t, bearer(token.value), 60, "").value)}), "alice")
	before := a.count()
	for _, auth := range []string{"", basic("alice", "guess"), as("bob"), bearer(neverIssued("cat"))} {
		if got := g.do(t, ask{auth: auth}); got.status != http.StatusUnauthorized {
			t.Errorf("%q: %s", auth, got)
		}
	}
	if a.count() != before {
		t.Error("a stranger reached the API")
	}
}

func TestRecipeForPagesOfOtherOrigins(t *testing.T) {
	t.Parallel()
	g := start(t, here(recipe(t, "recipes.md", "Pages of other origins")), behindUpstream)
	token := g.create(t, as("alice"), 3600, "")
	page := []string{"Origin: https://page.example", "Sec-Fetch-Site: cross-site"}
	asks := append(slices.Clone(page), "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization")
	got := g.do(t, ask{method: "OPTIONS", target: "/v4/things", lines: append(asks, "Remote-User: forged")})
	if wantStatus(t, got, http.StatusOK); got.received == nil || len(got.received.lines("Remote-User")) != 0 {
		t.Errorf("the API behind is to answer a preflight as nobody's: %s", got)
	}
	wantProxied(t, g.do(t, ask{auth: bearer(token.value), lines: page}), "alice")
	for name, request := range map[string]ask{
		"a request":                       {lines: page},
		"OPTIONS that is no preflight":    {method: "OPTIONS", lines: page},
		"another method with its headers": {lines: asks},
	} {
		t.Run(name, func(t *testing.T) {
			got := g.do(t, request)
			wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
			if origin := got.header.Get("Access-Control-Allow-Origin"); origin != "https://app.example.org" {
				t.Errorf("%q may read it", origin)
			}
		})
	}
	t.Run("the routes stay closed to them", func(t *testing.T) {
		got := g.do(t, ask{method: "OPTIONS", target: api, lines: asks})
		wantStatus(t, got, http.StatusNoContent)
		for name := range got.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("the routes answer %s", name)
			}
		}
		if got.reached != 0 {
			t.Error("the API behind answered")
		}
		refused := g.do(t, ask{method: "POST", target: api, auth: as("alice"), lines: page, body: anHour})
		wantRefused(t, refused, http.StatusForbidden, "AccessControlException")
		for _, target := range []string{api, token.target(), currentTarget, "/access-tokens", "/access-tokens/generate"} {
			if got := g.do(t, ask{target: target, auth: as("alice"), lines: page}); got.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("a page may read %s: %v", target, got.header)
			}
		}
	})
}

func TestRecipeForThePageOnAHostOfItsOwn(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	a.passes = true
	address := whoAmIAt(t, a, "/whoami", func(_ string, id int) any { return map[string]any{"id": id} })
	g := start(t, here(recipe(t, "recipes.md", "The page on a host of its own")), env("API", address))
	const onPage, onAPI = 1, 0

	got := g.do(t, ask{site: onPage, target: "/"})
	if location := got.header.Get("Location"); got.status != http.StatusFound || location != pagePath {
		t.Errorf("its root leads to %q: %s", location, got)
	}
	p := &person{g: g, site: onPage}
	got = p.post(t, "/sign-in", url.Values{"user": {"bob"}, "password": {passwords["bob"]}})
	wantStatus(t, got, http.StatusSeeOther)
	p.cookie, _, _ = strings.Cut(got.header.Get("Set-Cookie"), ";")
	_, session, _ := strings.Cut(p.cookie, "=")
	secret(session)
	value := p.generate(t, "30", "")
	a.wantUser(t, g.do(t, ask{site: onAPI, auth: bearer(value)}), "23")

	before := a.count()
	lines := []string{"Origin: http://" + g.addresses[onAPI], "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
	wantSays(t, p.post(t, "/generate", p.form(t, "30", ""), lines...), http.StatusForbidden, "This came from another site")
	wantStatus(t, g.do(t, ask{site: onPage, target: "/v3/x", auth: bearer(value)}), http.StatusNotFound)
	wantRefused(t, g.do(t, ask{site: onPage, target: "/v3/x"}), http.StatusUnauthorized, "AuthenticationRequired")
	if a.count() != before {
		t.Error("the page's host leads to the API")
	}
	if got := g.do(t, ask{site: onAPI, target: pagePath}); a.of(got) == nil {
		t.Errorf("the page is on the API's host too: %s", got)
	}
	// Cookies don't tell ports apart, as they do hosts.
	if got := g.do(t, ask{site: onAPI, target: pagePath, lines: []string{"Cookie: " + p.cookie}}); strings.Contains(fmt.Sprint(a.of(got).header), session) {
		t.Error("the API is sent the page's cookie")
	}
}

// newCache is a cache as RFC 9111 has it, as far as these tests go: it keeps
// every answer to GET by its path and by what its Vary names.
func newCache(t *testing.T, behind string) (address string, hits func() int) {
	t.Helper()
	type entry struct {
		vary   map[string]string
		header http.Header
		body   []byte
	}
	var mu sync.Mutex
	kept, hit := map[string][]entry{}, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range kept[r.URL.Path] {
			same := true
			for name, value := range e.vary {
				same = same && strings.Join(r.Header.Values(name), ",") == value
			}
			if same {
				hit++
				w.Header().Set("Cached", "yes")
				_, _ = w.Write(e.body)
				return
			}
		}
		request := r.Clone(r.Context())
		request.URL.Scheme, request.URL.Host, request.RequestURI = "http", behind, ""
		resp, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		e := entry{map[string]string{}, resp.Header, body}
		for _, line := range resp.Header.Values("Vary") {
			for name := range strings.SplitSeq(line, ",") {
				e.vary[strings.TrimSpace(name)] = strings.Join(r.Header.Values(strings.TrimSpace(name)), ",")
			}
		}
		kept[r.URL.Path] = append(kept[r.URL.Path], e)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return hit
	}
}

func TestRecipeForACache(t *testing.T) {
	t.Parallel()
	text := here(recipe(t, "recipes.md", "A cache"))
	// One more user, so that there are two to keep apart.
	text = strings.Replace(text, "alice {$ALICE_HASH}", "alice {$ALICE_HASH}\nbob {$BOB_HASH}", 1)
	text = strings.Replace(text, "admins alice", "admins alice bob", 1)
	for name, test := range map[string]struct {
		text  string
		apart bool
	}{
		"as written":       {text, true},
		"without its Vary": {strings.Replace(text, "header +Vary Remote-User", "", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newRealAPI(t)
			g := prepare(t, test.text, a.behind())
			address, hits := newCache(t, g.addresses[1])
			g.vars["CACHE"] = address
			g.up(t)
			alices, bobs := g.create(t, as("alice"), 3600, ""), g.create(t, as("bob"), 3600, "")
			for range 2 {
				for user, token := range map[string]token{"alice": alices, "bob": bobs} {
					got := g.do(t, ask{auth: bearer(token.value)})
					wantStatus(t, got, http.StatusOK)
					if own := strings.Contains(got.body, `"user":"`+user+`"`); test.apart && !own {
						t.Errorf("%s gets %s", user, got.body)
					}
				}
			}
			if want := map[bool]int{true: 2, false: 3}[test.apart]; hits() != want {
				t.Errorf("%d answers came from the cache, want %d", hits(), want)
			}
		})
	}
}

func TestTheDataprepAPIsRecipe(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	a.passes = true
	a.change("root", func(row *account) {
		row.ID, row.password, row.Workspace = 1, secret("root's pass phrase"), map[string]any{"id": 1}
	})
	g := start(t, here(recipe(t, "dataprep.md", "The Dataprep API")), a.behind())
	lies := []string{"Remote-User: 1", "X-Trifacta-User-Email: forged", "x-trifacta-workspace-id: forged", "X_Trifacta_Anything: forged", "X-Trifacta-Role: forged"}

	t.Run("administrators make tokens: by the API's id, or as the API says", func(t *testing.T) {
		g.create(t, basic("root", "root's pass phrase"), 3600, "")
		got := g.do(t, ask{method: "POST", target: api, auth: as("bob"), body: anHour})
		wantRefused(t, got, http.StatusForbidden, "AccessControlException")
	})
	token := g.bySession(t, a.cookie("alice"))
	t.Run("the API is told what the table says", func(t *testing.T) {
		for _, target := range []string{"/v3/jobs", "/v4/jobs"} {
			request := a.wantUser(t, g.do(t, ask{target: target, auth: bearer(token.value), lines: lies}), "17")
			told := map[string][]string{}
			for name, values := range request.header {
				if strings.HasPrefix(name, "X-Trifacta-") || strings.HasPrefix(name, "Remote-") {
					told[name] = values
				}
			}
			want := map[string][]string{"Remote-User": {"17"}, "X-Trifacta-User-Email": {"alice@example.com"}, "X-Trifacta-Workspace-Id": {"7"}}
			if diff := cmp.Diff(want, told); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
	t.Run("sessions and passwords go on as before, but without such a header", func(t *testing.T) {
		for by, request := range map[string]ask{"password": {auth: as("bob")}, "session": {lines: []string{a.cookie("bob")}}} {
			request.lines = append(request.lines, lies...)
			heard := a.wantBy(t, g.do(t, request), "bob", by)
			for name := range heard.header {
				if strings.HasPrefix(plain(name), "x-trifacta-") || strings.HasPrefix(plain(name), "remote-") {
					t.Errorf("the API was sent %s", name)
				}
			}
		}
	})
	t.Run("the API's own tokens need foreign_token pass", func(t *testing.T) {
		wantRefused(t, g.do(t, ask{auth: a.jwt("bob")}), http.StatusUnauthorized, "InvalidToken")
		text := strings.Replace(here(recipe(t, "dataprep.md", "The Dataprep API")), "without_token pass", "without_token pass\nforeign_token pass", 1)
		if complaint := g.reload(t, text); complaint != "" {
			t.Fatal(complaint)
		}
		a.wantBy(t, g.do(t, ask{auth: a.jwt("bob")}), "bob", "jwt")
	})
	t.Run("what the routes are called", func(t *testing.T) {
		info := g.info(t, bearer(token.value), token.info.TokenID)
		if info.LastUsed == nil || info.ExpiredAt == nil || info.TokenID == "" {
			t.Errorf("%+v", info)
		}
		g.remove(t, as("alice"), token.target())
		wantRefused(t, g.do(t, ask{auth: bearer(token.value)}), http.StatusUnauthorized, "InvalidToken")
	})
}

// The sign-in module of docs/sign-in-modules.md, built as somebody else's Go
// module without a download, is a whole Caddy.
func TestTheDocumentedSignInModule(t *testing.T) {
	t.Parallel()
	checkout, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	var files []string // the program, and its test
	for _, e := range examples(t) {
		if e.file == signInModules && e.language == "go" {
			files = append(files, e.text)
		}
	}
	if len(files) != 2 {
		t.Fatalf("there are %d files", len(files))
	}
	source := t.TempDir()
	const self = "github.com/caddy-access-tokens/caddy-access-tokens"
	module := strings.Replace(read(t, filepath.Join(checkout, "go.mod")), "module "+self+"\n", "module example.com/gateway\n", 1)
	for name, text := range map[string]string{
		"go.mod":  module + "\nrequire " + self + " v0.0.0\n\nreplace " + self + " => " + strconv.Quote(checkout) + "\n",
		"go.sum":  read(t, filepath.Join(checkout, "go.sum")),
		"main.go": files[0], "main_test.go": files[1],
	} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(source, "caddy")
	asTheirs := []string{"GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off"}
	if err := goBuild(source, binary, ".", asTheirs...); err != nil {
		t.Fatal(err)
	}
	test := exec.CommandContext(t.Context(), "go", "test", "-ldflags=-s -w", ".")
	test.Dir, test.Env = source, append(os.Environ(), asTheirs...)
	if out, err := test.CombinedOutput(); err != nil {
		t.Fatalf("go test: %v\n%s", err, out)
	}

	shared := secret("the ticket office's")
	g := prepare(t, strings.Replace(site(`allow_generate everyone
		sign_in ticket {$TICKET_SECRET}
		identity {
			Remote-User {http.auth.user.id}
			X-Kind {http.auth.user.kind}
		}`), "admins alice", "admins erin", 1), env("TICKET_SECRET", `"`+shared+`"`))
	ticket := func(user, secret string) string { return "Ticket " + user + "." + secret }
	run := g.command(context.Background(), "run", "--config", g.configFile(), "--adapter", "caddyfile")
	run.Path, run.Args[0] = binary, binary
	output, err := os.Create(g.logFile())
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	run.Stdout, run.Stderr = output, output
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = run.Wait(); close(done) }()
	g.process = &process{cmd: run, done: done}
	t.Cleanup(func() { g.finish(t) })
	if !g.serving(t) {
		t.Fatalf("it doesn't start:\n%s", g.logs())
	}

	token := g.create(t, ticket("erin", shared), 3600, "by ticket")
	got := g.do(t, ask{auth: bearer(token.value)})
	wantProxied(t, got, "erin")
	if lines := got.received.lines("X-Kind"); !slices.Equal(lines, []string{"X-Kind: ticket"}) {
		t.Errorf("its claim arrives as %q", lines)
	}
	byPassword := g.create(t, as("bob"), 60, "")
	got = g.do(t, ask{auth: bearer(byPassword.value)})
	wantProxied(t, got, "bob")
	if lines := got.received.lines("X-Kind"); len(lines) != 0 {
		t.Errorf("who has no such claim has %q", lines)
	}
	wantStatus(t, g.do(t, ask{target: api + "?user=*", auth: ticket("erin", shared)}), http.StatusOK)
	wantRefused(t, g.do(t, ask{auth: ticket("erin", shared)}), http.StatusUnauthorized, "AuthenticationRequired")
	for n, auth := range []string{ticket("erin", "guess"), "Ticket", "Ticket x", ticket("", shared), ticket("*", shared)} {
		got := g.do(t, ask{target: api, auth: auth})
		wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
		if t.Failed() {
			t.Logf("case %d", n)
		}
	}
	t.Run("and the limit of failed sign-ins is kept for it", func(t *testing.T) {
		limited := false
		for n := range 101 {
			got := g.do(t, ask{target: api, auth: ticket(fmt.Sprint("user", n), "guess")})
			limited = limited || got.status == http.StatusTooManyRequests
		}
		if !limited {
			t.Error("101 guesses were looked at")
		}
	})
}
