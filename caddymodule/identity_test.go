package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// A placeholder that no sign-in can fill is most often a slip, and the owner is
// told; but tokens may have been made with that claim.
func TestUnknownClaimsAreWarnedAbout(t *testing.T) {
	for name, test := range map[string]struct {
		options string
		warned  bool
	}{
		"a user's own field":        {"sign_in placeholder {http.auth.user.id}\nidentity {\nX-Id {http.auth.user.token_id}\n}", false},
		"no claim at all":           {"sign_in placeholder {http.auth.user.id}\nidentity {\nX-Team {http.auth.user.team}\n}", true},
		"another claim":             {"sign_in placeholder {\nuser_id {http.auth.user.id}\nclaim group {http.auth.user.group}\n}\nidentity {\nX-Team {http.auth.user.team}\n}", true},
		"that claim":                {"sign_in placeholder {\nuser_id {http.auth.user.id}\nclaim team {http.auth.user.group}\n}\nidentity {\nX-Team {http.auth.user.team}\n}", false},
		"a guest that may have any": {"sign_in guest any\nidentity {\nX-Team {http.auth.user.team}\n}", false},
		"no claim but a text":       {"sign_in placeholder {http.auth.user.id}\nidentity {\nX-Via gateway\n}", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "http://:PORT {\nbind 127.0.0.1\naccess_tokens {\nallow_generate everyone\n"+test.options+"\n}\n}")
			if log := s.logged(t); strings.Contains(log, "no sign-in of this site has such a claim") != test.warned {
				t.Errorf("want a warning %v:\n%s", test.warned, log)
			}
		})
	}
}

// A Python server behind strips the last byte of "Vilà", and would take it for
// another user. It isn't sent, unless encoded; a name alone is nobody's id.
func TestValuesThatWouldArriveAsOthers(t *testing.T) {
	site := strings.Replace(guestSite, "allow_generate everyone", `allow_generate everyone
		without_token pass
		identity {
			Remote-User {http.auth.user.id}
			Remote-Email {http.auth.user.email}
			Remote-Name {http.auth.user.name}
			X-Team {http.auth.user.team}
			X-Whole "{http.auth.user.name}: {http.auth.user.team}"
		}
		ENCODING`, 1)
	site = strings.Replace(site, "|{http.request.header.Remote-Name}", "|{http.request.header.Remote-Name}|{http.request.header.X-Team}|{http.request.header.X-Whole}", 1)
	team := func(name string) map[string]string { return map[string]string{"team": name} }
	for name, test := range map[string]struct {
		user             signin.User
		written, encoded string // "" for refused
	}{
		"plain":       {signin.User{ID: "bob", Name: "Bob"}, "bob||Bob||Bob:", "bob||Bob||Bob:"},
		"inside":      {signin.User{ID: "Àgnès"}, "Àgnès||||:", "%C3%80gn%C3%A8s||||:"},
		"an id":       {signin.User{ID: "Vilà"}, "", "Vil%C3%A0||||:"},
		"another id":  {signin.User{ID: "Å"}, "", "%C3%85||||:"},
		"an e-mail":   {signin.User{ID: "bob", Email: "bob@vilà"}, "", "bob|bob@vil%C3%A0|||:"},
		"a name":      {signin.User{ID: "bob", Name: "Bob Vilà"}, "bob||Bob Vilà||Bob Vilà:", "bob||Bob%20Vil%C3%A0||Bob%20Vil%C3%A0:"},
		"a claim":     {signin.User{ID: "bob", Claims: team("Vilà")}, "", "bob|||Vil%C3%A0|:%20Vil%C3%A0"},
		"a per cent":  {signin.User{ID: "50%", Claims: team("%41")}, "50%|||%41|: %41", "50%25|||%2541|:%20%2541"},
		"white space": {signin.User{ID: "bob a", Email: " x "}, "bob a|x|||:", "bob%20a|x|||:"},
	} {
		for _, mode := range []struct{ option, want string }{
			{"", test.written}, {"identity_encoding utf-8", test.written}, {"identity_encoding percent", test.encoded},
		} {
			t.Run(name+" "+mode.option, func(t *testing.T) {
				s := serve(t, strings.Replace(site, "ENCODING", mode.option, 1))
				answer(t, "first", says(test.user, nil))
				got := s.ask(t, http.MethodGet, "/", "", bearer(s.create(t, nil).token(t)))
				if mode.want != "" {
					if got.status != http.StatusOK || got.body != mode.want {
						t.Errorf("%v, want %q", got, mode.want)
					}
					return
				}
				if got.exception() != "ServiceUnavailable" {
					t.Errorf("%v, want ServiceUnavailable", got)
				}
				if !strings.Contains(s.logged(t), "identity_encoding percent") {
					t.Error("the log doesn't say what to write")
				}
			})
		}
	}
}
