package contract

import (
	"net/http"
	"strings"
	"testing"
)

// Recipes in which another handler is told whose request it is.

// withOptions splits a Caddyfile into its global options, without braces, and its
// sites.
func withOptions(t *testing.T, text string) (options, sites string) {
	t.Helper()
	options, sites, found := strings.Cut(strings.TrimPrefix(text, "{\n"), "\n}\n")
	if !found || !strings.HasPrefix(text, "{\n") {
		t.Fatalf("it has no global options:\n%s", text)
	}
	return options, sites
}

func TestRecipeForTraces(t *testing.T) {
	t.Parallel()
	options, sites := withOptions(t, recipe(t, "recipes.md", "Traces"))
	for name, test := range map[string]struct {
		options string
		traced  bool // a token in a URL
	}{
		"as written":                 {options, false},
		"at tracing's default place": {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCollector(t)
			g := start(t, here(sites), behindUpstream, globals(test.options), c.sends)
			made := g.create(t, as("alice"), 3600, "")
			inURL := made.value
			wantStatus(t, g.do(t, ask{target: "/things/" + inURL}), http.StatusBadRequest)
			got := g.do(t, ask{target: "/things/7", auth: bearer(made.value)})
			wantProxied(t, got, "alice")
			var span map[string]string
			g.wait(t, "its span is sent", func() bool {
				span = c.with("caddy_access_tokens.token_id", made.info.TokenID)
				return span != nil
			})
			for attribute, want := range map[string]string{
				"enduser.id":                  "alice",
				"caddy_access_tokens.project": "default",
				"url.path":                    "/things/7",
			} {
				if span[attribute] != want {
					t.Errorf("%s is %q, want %q: %v", attribute, span[attribute], want, span)
				}
			}
			if parent := got.received.header.Get("Traceparent"); !strings.Contains(parent, span["trace"]) {
				t.Errorf("the API was told of the trace %q, and it is %s", parent, span["trace"])
			}
			if c.heard(inURL) != test.traced {
				t.Errorf("a token in a URL is traced: %v", !test.traced)
			}
		})
	}
}

func TestRecipeForMoreFieldsInTheAccessLog(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	a.passes = true
	address := whoAmIAt(t, a, "/whoami", func(user string, id int) any {
		return map[string]any{"id": id, "email": user + "@example.com", "workspace": map[string]any{"id": 7}}
	})
	g := start(t, here(recipe(t, "recipes.md", "More fields in the access log")), env("API", address))
	made := g.create(t, as("bob"), 3600, "")
	a.wantUser(t, g.do(t, ask{auth: bearer(made.value), lines: []string{"User-Agent: with-a-token"}}), "23")
	line := g.accessLogLine(t, "with-a-token")
	if line.text("email") != "bob@example.com" || line.text("workspace") != "7" || line.text("user_id") != "23" || line.text("token_id") != made.info.TokenID {
		t.Errorf("%v", line)
	}
	wantStatus(t, g.do(t, ask{lines: []string{"User-Agent: without"}}), http.StatusUnauthorized)
	if line := g.accessLogLine(t, "without"); line.text("email") != "" || line.text("workspace") != "" || line.text("refusal") != "missing" {
		t.Errorf("%v", line)
	}
}

func TestRecipeForALimitForEachToken(t *testing.T) {
	t.Parallel()
	options, sites := withOptions(t, recipe(t, "recipes.md", "So many requests for each token"))
	for name, test := range map[string]struct {
		options string
		others  int // what becomes of another token's request
	}{
		"as written":                    {options, http.StatusOK},
		"at rate_limit's default place": {"", http.StatusTooManyRequests},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Ten are as good as a hundred.
			g := start(t, here(strings.Replace(sites, "events 100", "events 10", 1)), behindUpstream, globals(test.options))
			one, other := g.create(t, as("alice"), 3600, ""), g.create(t, as("alice"), 3600, "")
			limited := http.StatusOK
			for range 11 {
				limited = g.do(t, askFor(one)).status
			}
			if limited != http.StatusTooManyRequests {
				t.Errorf("the eleventh request is answered with %d", limited)
			}
			if got := g.do(t, askFor(other)); got.status != test.others {
				t.Errorf("another token's request is answered with %d, want %d", got.status, test.others)
			}
			if test.options != "" {
				wantStatus(t, g.do(t, ask{target: api, auth: bearer(one.value)}), http.StatusOK)
			}
		})
	}
}
