package caddymodule

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// A guest can read who was established in front before it is removed, as
// sign_in placeholder does.
func TestGuestInFront(t *testing.T) {
	s := serve(t, `
http://:PORT {
	bind 127.0.0.1
	access_tokens {
		allow_generate everyone
		without_token pass
		sign_in front
	}
	respond "{http.request.header.Remote-User} {http.request.header.Remote-Email} {http.auth.user.id}"
}`)
	for name, test := range map[string]struct {
		header         http.Header
		proxied, route string
	}{
		"somebody":            {http.Header{"Remote-User": {"fred"}}, "200 fred fred@example.com fred", "200"},
		"somebody by Basic":   {http.Header{"Remote-User": {"fred"}, "Authorization": {"Basic YTpi"}}, "200 fred fred@example.com fred", "200"},
		"nobody":              {nil, "200   ", "401 AuthenticationRequired"},
		"somebody it denies":  {http.Header{"Remote-User": {"denied"}}, "200   ", "401 AuthenticationRequired"},
		"who can't be a user": {http.Header{"Remote-User": {"*"}}, "200   ", "401 AuthenticationRequired"},
		"who can't be told":   {http.Header{"Remote-User": {"unsure"}}, "503 ServiceUnavailable", "503 ServiceUnavailable"},
	} {
		got := s.ask(t, http.MethodGet, "/", "", test.header)
		if is := brief(got); is != test.proxied {
			t.Errorf("%s, proxied: %q, want %q", name, is, test.proxied)
		}
		got = s.ask(t, http.MethodGet, managementPath, "", test.header)
		got.body = strings.Replace(got.body, `{"data":[]}`, "", 1)
		if is := strings.TrimSpace(brief(got)); is != test.route {
			t.Errorf("%s, on the routes: %q, want %q", name, is, test.route)
		}
	}
	if !strings.Contains(s.logged(t), "access_tokens.sign_in.front: the sessions are elsewhere") {
		t.Error("the log doesn't say who couldn't tell, and why")
	}

	adapted, _, err := adapt(t, site("allow_generate everyone\nforeign_token pass\nsign_in front"))
	if err == nil || !strings.Contains(err.Error(), "foreign_token pass") {
		t.Errorf("beside foreign_token pass: %s, %v", adapted, err)
	}
}

// brief is an answer's status with the error's name or else its body.
func brief(r response) string {
	if name := r.exception(); name != "" {
		return strconv.Itoa(r.status) + " " + name
	}
	return strconv.Itoa(r.status) + " " + r.body
}
