package contract

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The recipes for what becomes of a refusal.

// A script of a page reads why its token is refused; without the recipe's line it
// would see a network error.
func TestAPageOfAnotherOriginReadsTheRefusal(t *testing.T) {
	t.Parallel()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>A page</title><link rel=icon href=data:,>")
	}))
	t.Cleanup(page.Close)
	text := here(recipe(t, "recipes.md", "Pages of other origins"))
	own := strings.Replace(text, "https://app.example.org", page.URL, 1)
	if own == text {
		t.Fatal("the recipe has no origin to replace")
	}
	g := start(t, own, behindUpstream)
	v := browse(t, g)
	g.api.play("/v4/things", func(conn net.Conn, _ *bufio.Reader, r *http.Request) {
		header := "Access-Control-Allow-Origin: " + page.URL + "\r\nAccess-Control-Allow-Headers: authorization\r\n"
		if r.Method == http.MethodOptions {
			fmt.Fprintf(conn, "HTTP/1.1 204 No Content\r\n%s\r\n", header)
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%sContent-Length: 2\r\n\r\nhi", header)
	})
	made := g.create(t, as("alice"), 3600, "")
	_, port, _ := strings.Cut(g.addresses[0], ":")
	v.run(t, chromedp.Navigate(page.URL))
	fetches := func(target, auth string) string {
		return eval[string](t, v, fmt.Sprintf(`fetch("http://127.0.0.1:%s%s", {headers: {Authorization: %q}}).then(async (r) => r.status + " " + await r.text(), (e) => e.name)`, port, target, auth))
	}
	if got := fetches("/v4/things", bearer(made.value)); got != "200 hi" {
		t.Errorf("the API's answer is read as %q", got)
	}
	g.remove(t, as("alice"), made.target())
	if got := fetches("/v4/things", bearer(made.value)); !strings.HasPrefix(got, "401 ") || !strings.Contains(got, `"name":"InvalidToken"`) {
		t.Errorf("a deleted token's refusal is read as %q", got)
	}
}

const aBrowser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"

func TestRecipeForAPageOfOnesOwn(t *testing.T) {
	t.Parallel()
	g := start(t, here(recipe(t, "recipes.md", "A page of one's own for 401")), behindUpstream)
	made := g.create(t, as("alice"), 3600, "")
	wantProxied(t, g.do(t, ask{auth: bearer(made.value), lines: []string{aBrowser}}), "alice")
	g.remove(t, as("alice"), made.target())
	for name, request := range map[string]ask{
		"no token":           {},
		"a deleted token":    {auth: bearer(made.value)},
		"the routes":         {target: api},
		"a HEAD":             {method: "HEAD"},
		"an upload":          {method: "POST", body: strings.Repeat("x", 5<<20), auth: bearer(made.value)},
		"a small body":       {method: "POST", body: "x", auth: bearer(made.value)},
		"in chunks":          {method: "POST", body: "1\r\nx\r\n0\r\n\r\n", lines: []string{"Transfer-Encoding: chunked"}},
		"a wrong password":   {target: api, auth: basic("alice", "guess")},
		"the page's refusal": {method: "POST", target: "/access-tokens", auth: bearer(made.value)},
	} {
		t.Run(name, func(t *testing.T) {
			// A program is told as ever.
			got := g.do(t, request)
			if wantStatus(t, got, http.StatusUnauthorized); request.method != "HEAD" {
				got.exception(t)
			}
			challenge := got.header.Get("WWW-Authenticate")

			conn := request
			conn.lines = append([]string{aBrowser}, request.lines...)
			got, err := g.try(conn)
			if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") != challenge || got.header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Fatalf("%v: %s", err, got)
			}
			if shown := strings.Contains(got.body, "<title>Tokens only</title>") && strings.HasSuffix(got.body, "</a>."); shown == (request.method == "HEAD") {
				t.Errorf("a person sees %q", got.body)
			}
		})
	}
	t.Run("other refusals stay", func(t *testing.T) {
		wantRefused(t, g.do(t, ask{target: api + "/", lines: []string{aBrowser}}), http.StatusNotFound, "RouteNotFoundException")
	})
}

func TestRecipeForABrowserWithoutASession(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	a.passes = true
	address := whoAmIAt(t, a, "/api/me", func(_ string, id int) any {
		return map[string]any{"user": map[string]any{"id": id}}
	})
	g := start(t, here(recipe(t, "recipes.md", "A browser without a session")), env("API", address))
	navigation := []string{aBrowser, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
	for target, next := range map[string]string{
		"/flows?id=7&x=%20": "%2Fflows%3Fid%3D7%26x%3D%2520",
		api:                 strings.ReplaceAll(api, "/", "%2F"),
	} {
		for _, lines := range [][]string{nil, {"Cookie: session.sid=ended"}} {
			got, err := g.try(ask{target: target, lines: append(lines, navigation...)})
			if got.status != http.StatusFound || got.header.Get("Location") != "https://login.example.org/?next="+next {
				t.Errorf("%s: %v: %s", target, err, got)
			}
			for _, mode := range []string{"", "cors", "same-origin"} {
				program := ask{target: target, lines: append([]string{aBrowser}, lines...)}
				if mode != "" {
					program.lines = append(program.lines, "Sec-Fetch-Mode: "+mode)
				}
				if got, _ := g.try(program); got.status != http.StatusUnauthorized {
					t.Errorf("%s, mode %q: %s", target, mode, got)
				}
			}
		}
		if got, _ := g.try(ask{method: "POST", target: target, lines: navigation}); got.status != http.StatusUnauthorized {
			t.Errorf("a form: %s", got)
		}
	}
	cookie := a.cookie("bob")
	a.wantBy(t, g.do(t, ask{lines: append(navigation, cookie)}), "bob", "session")
	token := g.bySession(t, cookie)
	a.wantUser(t, g.do(t, ask{auth: bearer(token.value), lines: navigation}), "23")
}
