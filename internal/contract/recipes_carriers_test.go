package contract

import (
	"net/http"
	"slices"
	"testing"
)

func TestRecipeForClientsThatKnowOnlyPasswords(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, here(recipe(t, "recipes.md", "Clients that know only user name and password")), env("API", a.address))
	got := g.do(t, ask{target: "/app.git/info/refs?service=git-upload-pack"})
	wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
	if asked := got.header.Values("WWW-Authenticate"); !slices.Equal(asked, []string{`Basic realm="default", charset="UTF-8"`}) {
		t.Errorf("asks for %q", asked)
	}
	token := g.create(t, as("alice"), 3600, "")
	wantSent(t, a, g.do(t, ask{auth: basic("alice", token.value)}), map[string][]string{"Remote-User": {"alice"}, "Authorization": nil})
	wantSent(t, a, g.do(t, ask{auth: bearer(token.value)}), map[string][]string{"Remote-User": {"alice"}, "Authorization": nil})
	wantRefused(t, g.do(t, ask{auth: as("alice")}), http.StatusUnauthorized, "AuthenticationRequired")
}

func TestRecipeForClientsWithAHeaderOfTheirOwn(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, here(recipe(t, "recipes.md", "Clients with a header of their own")), env("API", a.address))
	token := g.create(t, as("alice"), 3600, "")
	wantSent(t, a, g.do(t, ask{lines: apiKey(token.value)}), map[string][]string{"Remote-User": {"alice"}, "X-Api-Key": nil})
	wantRefused(t, g.do(t, ask{lines: apiKey("own")}), http.StatusUnauthorized, "AuthenticationRequired")
}

func TestRecipeForAnAPIThatNeedsAuthorization(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, here(recipe(t, "recipes.md", "An API that needs `Authorization` for itself")), env("API", a.address))
	token := g.create(t, as("alice"), 3600, "")
	wantSent(t, a, g.do(t, ask{lines: apiKey(token.value), auth: bearer("the-applications")}),
		map[string][]string{"Remote-User": {"alice"}, "X-Api-Key": nil, "Authorization": {"Bearer the-applications"}})
	wantRefused(t, g.do(t, ask{auth: bearer("the-applications")}), http.StatusUnauthorized, "InvalidToken")
}

// wantSent wants the API to have been sent these headers so, and no others of their
// names.
func wantSent(t *testing.T, a *realAPI, got answered, headers map[string][]string) {
	t.Helper()
	request := a.of(got)
	if request == nil {
		t.Fatalf("the API didn't answer: %s", got)
	}
	for name, want := range headers {
		if sent := request.header[name]; !slices.Equal(sent, want) {
			t.Errorf("the API was sent %s %q, want %q", name, sent, want)
		}
	}
}
