package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// modes are what a site may say about requests without one of its tokens. In
// those that end in "known", a handler in front has established the user fred.
var modes = map[string]string{
	"reject":       "",
	"pass":         "without_token pass",
	"foreign":      "foreign_token pass",
	"both":         "without_token pass\nforeign_token pass",
	"public":       "public /public/*",
	"publicby":     "public @nothing @get",
	"notpublic":    "public /notpublic/elsewhere @nothing",
	"rejectknown":  "sign_in placeholder {http.auth.user.id}",
	"passknown":    "without_token pass\nsign_in placeholder {http.auth.user.id}",
	"publicknown":  "public /publicknown/*\nsign_in placeholder {http.auth.user.id}",
	"unknownknown": "without_token pass\nsign_in placeholder {http.auth.user.nobody}",
	"invalidknown": "without_token pass\nsign_in placeholder {http.auth.user.invalid}",
	"other":        "project other",
}

// decisionSites has a site with these options for each mode.
func decisionSites(options string) string {
	var text strings.Builder
	text.WriteString("http://:PORT {\nbind 127.0.0.1\n@nothing path /nowhere\n@get method GET\n")
	for _, mode := range slices.Sorted(maps.Keys(modes)) {
		text.WriteString("handle /" + mode + "/* {\n")
		if strings.HasSuffix(mode, "known") {
			text.WriteString("establish id fred\nestablish invalid \"fred \"\n")
		}
		text.WriteString("access_tokens {\napi /" + mode + "/tokens\nallow_generate everyone\nstrip X-Trifacta-*\nkeep_cookies locale\nsign_in guest first\n" + options + modes[mode] + "\n}\n")
		text.WriteString("respond `[\"{http.auth.user.id}\", \"{http.request.header.Remote-User}\", \"{http.request.header.Remote-Email}{http.request.header.X-Trifacta-User}\", \"{http.request.header.Authorization}\", \"{http.request.header.Cookie}\"]`\n}\n")
	}
	return text.String() + "}"
}

// The table of PRODUCT.md's section "The proxy", and the column of its routes,
// for every mode.
func TestWhoGetsPast(t *testing.T) {
	s := serve(t, decisionSites(""))
	answer(t, "first", func(r *http.Request) (signin.User, error) {
		if id := r.Header.Get("X-Guest"); id != "" {
			return signin.User{ID: id}, nil
		}
		return signin.User{}, signin.ErrNotMine
	})
	makeToken := func(mode string) string {
		return s.ask(t, http.MethodPost, "/"+mode+"/tokens", `{"lifetimeSeconds": 60}`, http.Header{"X-Guest": {"alice"}}).token(t)
	}
	valid, deleted, others := makeToken("reject"), makeToken("reject"), makeToken("other")
	s.deleteToken(t, "/reject/tokens", deleted)
	unknown := "cat_" + strings.Repeat("0", 49) // of our shape by its prefix

	const (
		malformed, required, invalid = "400 InvalidRequest", "401 AuthenticationRequired", "401 InvalidToken"
		asAlice, asNobody, asFred    = "passed as alice", "passed as nobody", "passed as fred"
		works                        = "200"
	)
	all := slices.Sorted(maps.Keys(modes))
	// but is what holds in all modes, except for those named.
	but := func(general string, exceptions map[string]string) map[string]string {
		want := make(map[string]string)
		for _, mode := range all {
			want[mode] = general
		}
		maps.Copy(want, exceptions)
		return want
	}
	withoutToken := but(required, map[string]string{
		"pass": asNobody, "both": asNobody, "public": asNobody, "publicby": asNobody,
		"passknown": asFred, "publicknown": asFred, "unknownknown": asNobody, "invalidknown": asNobody,
	})
	// Beside a bearer token a user established in front is none.
	foreignToken := but(invalid, map[string]string{
		"foreign": asNobody, "both": asNobody, "public": asNobody, "publicby": asNobody, "publicknown": asNobody,
	})
	signsIn := but(required, map[string]string{"rejectknown": works, "passknown": works, "publicknown": works})

	for _, test := range []struct {
		name          string
		authorization []string
		proxied       map[string]string
		routes        map[string]string
	}{
		{"none", nil, withoutToken, signsIn},
		{"Basic", []string{"Basic YWxpY2U6c2VjcmV0"}, withoutToken, signsIn},
		{"Digest", []string{`Digest username="alice", response="6629fae49393a05397450978507c4ef1"`}, withoutToken, signsIn},
		{"an empty line", []string{""}, withoutToken, signsIn},
		{"our token", []string{"Bearer " + valid}, but(asAlice, map[string]string{"other": invalid}), but(works, map[string]string{"other": invalid})},
		{"our token, the scheme in lower case", []string{"bearer " + valid}, but(asAlice, map[string]string{"other": invalid}), but(works, map[string]string{"other": invalid})},
		{"a deleted token", []string{"Bearer " + deleted}, but(invalid, nil), but(invalid, nil)},
		{"another project's", []string{"Bearer " + others}, but(invalid, map[string]string{"other": asAlice}), but(invalid, map[string]string{"other": works})},
		{"what begins like ours", []string{"Bearer " + unknown}, but(invalid, nil), but(invalid, nil)},
		{"hardly ours", []string{"Bearer cat_"}, but(invalid, nil), but(invalid, nil)},
		{"our token in capitals", []string{"Bearer " + strings.ToUpper(valid)}, foreignToken, but(invalid, nil)},
		{"a JWT", []string{"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.c2ln"}, foreignToken, but(invalid, nil)},
		{"bearer without a token", []string{"Bearer"}, but(malformed, nil), but(malformed, nil)},
		{"two spaces", []string{"Bearer  " + valid}, but(asAlice, map[string]string{"other": invalid}), but(works, map[string]string{"other": invalid})},
		{"text around our token", []string{"Bearer x." + valid}, but(invalid, nil), but(invalid, nil)},
		{"our token as another scheme's", []string{"Token " + valid}, but(malformed, nil), but(malformed, nil)},
		{"our token as a password", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+valid))}, but(malformed, nil), but(malformed, nil)},
		{"two tokens in a line", []string{"Bearer " + valid + ", Bearer " + valid}, but(malformed, nil), but(malformed, nil)},
		{"two lines", []string{"Bearer " + valid, "Basic YWxpY2U6c2VjcmV0"}, but(malformed, nil), but(malformed, nil)},
		{"a Basic one that is none", []string{"Basic alice:secret"}, but(malformed, nil), but(malformed, nil)},
	} {
		t.Run(test.name, func(t *testing.T) {
			proxied, routes := make(map[string]string), make(map[string]string)
			for _, mode := range all {
				header := http.Header{
					"Cookie":          {"sid=1; locale=en"},
					"Remote-User":     {"mallory"},
					"remote_email":    {"mallory@example.com"},
					"X-Trifacta-User": {"mallory"},
				}
				if test.authorization != nil {
					header["Authorization"] = test.authorization
				}
				proxied[mode] = s.whoPasses(t, "/"+mode+"/v4/jobs", header)
				got := s.ask(t, http.MethodGet, "/"+mode+"/tokens", "", header)
				routes[mode] = strings.TrimSpace(strconv.Itoa(got.status) + " " + got.exception())
			}
			if diff := cmp.Diff(test.proxied, proxied); diff != "" {
				t.Errorf("proxied (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.routes, routes); diff != "" {
				t.Errorf("the routes (-want +got):\n%s", diff)
			}
		})
	}
}

// whoPasses tells as whom a request reaches the handler behind, and fails if it
// reaches it with anything of its own that it may not have, or without what it
// must keep.
func (s *server) whoPasses(t testing.TB, path string, header http.Header) string {
	t.Helper()
	got := s.ask(t, http.MethodGet, path, "", header)
	if got.status != http.StatusOK {
		return strconv.Itoa(got.status) + " " + got.exception()
	}
	body := strings.ReplaceAll(got.body, `Digest username="alice", response="6629fae49393a05397450978507c4ef1"`, "Digest")
	var seen []string
	if err := json.Unmarshal([]byte(body), &seen); err != nil || len(seen) != 5 {
		t.Fatalf("%s: %s: %v", path, got, err)
	}
	user, remoteUser, forged, authorization, cookie := seen[0], seen[1], seen[2], seen[3], seen[4]
	if user != remoteUser || forged != "" {
		t.Errorf("%s: the user is %q, the API is told %q, and of what the client forged %q", path, user, remoteUser, forged)
	}
	sent, _, _ := strings.Cut(header.Get("Authorization"), " username=")
	wantCookie := "sid=1; locale=en"
	if user == "alice" { // by a token
		sent, wantCookie = "", "locale=en"
	}
	if authorization != sent || cookie != wantCookie {
		t.Errorf("%s: as %q the API receives Authorization %q and cookies %q, want %q and %q", path, user, authorization, cookie, sent, wantCookie)
	}
	if user == "" {
		user = "nobody"
	}
	return "passed as " + user
}

// deleteToken deletes a token by its own credentials.
func (s *server) deleteToken(t testing.TB, api, token string) {
	t.Helper()
	var list struct{ Data []struct{ TokenID string } }
	listed := s.ask(t, http.MethodGet, api, "", bearer(token))
	if err := json.Unmarshal([]byte(listed.body), &list); err != nil || len(list.Data) == 0 {
		t.Fatalf("%v, %v", listed, err)
	}
	last := list.Data[len(list.Data)-1].TokenID
	if got := s.ask(t, http.MethodDelete, api+"/"+last, "", bearer(token)); got.status != http.StatusNoContent {
		t.Fatalf("deleting: %v", got)
	}
	if got := s.ask(t, http.MethodGet, api, "", bearer(token)); got.status != http.StatusUnauthorized {
		t.Fatalf("another token was deleted: %v", got)
	}
}
