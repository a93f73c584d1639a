package caddymodule

import (
	"strings"
	"testing"
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
