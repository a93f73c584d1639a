package caddymodule

import (
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// The same table for tokens from where token_from says, for every mode: wherever a
// token is, it decides as it does as a bearer token, and nothing beside it counts.
func TestWhoGetsPastByCarriers(t *testing.T) {
	s := serve(t, decisionSites("token_from basic\ntoken_from header X-API-Key\n"))
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
	as := func(text string) http.Header {
		return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(text))}}
	}
	by := func(key string, more ...string) http.Header {
		h := http.Header{"X-Api-Key": {key}}
		if len(more) > 0 {
			h["Authorization"] = more
		}
		return h
	}
	beside := func(h http.Header, name, value string) http.Header {
		h[name] = append(h[name], value)
		return h
	}

	all := slices.Sorted(maps.Keys(modes))
	in := func(general, other string) map[string]string {
		want := make(map[string]string)
		for _, mode := range all {
			want[mode] = general
		}
		want["other"] = other
		return want
	}
	type outcome struct{ proxied, routes map[string]string }
	const malformed, invalid = "400 InvalidRequest", "401 InvalidToken"
	mine := outcome{in("passed as alice", invalid), in("200", invalid)}
	theirs := outcome{in(invalid, "passed as alice"), in(invalid, "200")}
	nobodys := outcome{in(invalid, invalid), in(invalid, invalid)}
	refused := outcome{in(malformed, malformed), in(malformed, malformed)}

	for name, test := range map[string]struct {
		header http.Header
		want   outcome
	}{
		"a password":                          {as("bob:" + valid), mine},
		"a name":                              {as(valid + ":"), mine},
		"a header":                            {by(valid), mine},
		"a header, a password beside":         {by(valid, as("bob:secret").Get("Authorization")), mine},
		"a header, a JWT beside":              {by(valid, "Bearer e30.e30.e30"), mine},
		"a header, our token in capitals":     {by(valid, "Bearer "+strings.ToUpper(valid)), mine},
		"a header, a sign-in beside":          {beside(by(valid), "X-Guest", "bob"), mine},
		"a password, a sign-in beside":        {beside(as("bob:"+valid), "X-Guest", "bob"), mine},
		"a password, a key beside":            {beside(as("bob:"+valid), "X-Api-Key", "own"), mine},
		"a deleted token as a password":       {as("bob:" + deleted), nobodys},
		"a deleted token in a header":         {by(deleted), nobodys},
		"a deleted one, a sign-in beside":     {beside(by(deleted), "X-Guest", "bob"), nobodys},
		"another project's as a password":     {as("bob:" + others), theirs},
		"another project's in a header":       {by(others), theirs},
		"two":                                 {by(valid, "Bearer "+valid), refused},
		"two, one that only begins like it":   {by(valid, "Bearer cat_"), refused},
		"two, as a password":                  {by(valid, as("bob:"+valid).Get("Authorization")), refused},
		"a header twice":                      {beside(by(valid), "X-Api-Key", "own"), refused},
		"a header, text around it":            {by("x." + valid), refused},
		"a password, text around it":          {as("bob:x." + valid), refused},
		"another scheme":                      {http.Header{"Authorization": {"ApiKey " + valid}}, refused},
		"a header, a malformed bearer beside": {by(valid, "Bearer"), refused},
		"a header, two Authorizations beside": {by(valid, "Digest a", "Digest b"), refused},
	} {
		t.Run(name, func(t *testing.T) {
			got := outcome{make(map[string]string), make(map[string]string)}
			for _, mode := range all {
				header := test.header.Clone()
				header["Cookie"] = []string{"sid=1; locale=en"}
				header["Remote-User"] = []string{"mallory"}
				got.proxied[mode] = s.whoPasses(t, "/"+mode+"/v4/jobs", header)
				answered := s.ask(t, http.MethodGet, "/"+mode+"/tokens", "", header)
				got.routes[mode] = strings.TrimSpace(strconv.Itoa(answered.status) + " " + answered.exception())
			}
			if diff := cmp.Diff(test.want.proxied, got.proxied); diff != "" {
				t.Errorf("proxied (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want.routes, got.routes); diff != "" {
				t.Errorf("the routes (-want +got):\n%s", diff)
			}
		})
	}
}
