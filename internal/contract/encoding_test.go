package contract

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// An API whose server reads headers as ISO 8859-1 and strips white space, as
// Python's do, takes nobody for another user.
func TestRecipeInFrontOfPythonOrNode(t *testing.T) {
	t.Parallel()
	// It answers what it makes of the user, and knows who signs in by password.
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, _, ok := r.BasicAuth(); ok {
			_ = json.NewEncoder(w).Encode(map[string]string{"id": user, "email": user + "@example.com"})
			return
		}
		var read strings.Builder
		for _, c := range []byte(r.Header.Get("Remote-User")) {
			read.WriteRune(rune(c))
		}
		_, _ = io.WriteString(w, strings.TrimSpace(read.String()))
	}))
	t.Cleanup(api.Close)
	behind := func(g *gateway) { g.vars["API"] = strings.TrimPrefix(api.URL, "http://") }

	encoding := start(t, here(recipe(t, "recipes.md", "In front of Python or Node")), behind)
	for _, user := range []string{"alice", "17", "Vilà", "Å", "50%", "李", "à la carte"} {
		token := encoding.create(t, basic(user, "secret"), 60, "")
		got := encoding.do(t, ask{auth: bearer(token.value)})
		wantStatus(t, got, http.StatusOK)
		if decoded, err := url.PathUnescape(got.body); err != nil || decoded != user {
			t.Errorf("%s arrives as %q, %v", user, decoded, err)
		}
	}

	plain := start(t, strings.Replace(here(recipe(t, "recipes.md", "In front of Python or Node")), "identity_encoding percent", "", 1), behind)
	for user, want := range map[string]string{"alice": "alice", "é": "Ã©", "Vilà": "", "Å": ""} {
		token := plain.create(t, basic(user, "secret"), 60, "")
		got := plain.do(t, ask{auth: bearer(token.value)})
		if want == "" {
			wantRefused(t, got, http.StatusServiceUnavailable, "ServiceUnavailable")
			continue
		}
		if wantStatus(t, got, http.StatusOK); got.body != want {
			t.Errorf("%s arrives as %q, want %q", user, got.body, want)
		}
	}
	if !strings.Contains(plain.logs(), "identity_encoding percent") {
		t.Error("the log doesn't say what to write")
	}
}
