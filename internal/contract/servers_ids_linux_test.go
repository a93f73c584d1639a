package contract

import (
	"net/http"
	"strings"
	"testing"
)

func TestNoServerTakesAUserForAnother(t *testing.T) {
	t.Parallel()
	wantServers(t)
	for _, name := range behindValues {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var w whoever
			sites, auth := w.site(t)
			g := start(t, sites, auth, env("UPSTREAM", servers[name](t).address))
			w.name.Store("Zoë Ünal")
			whose := map[string]string{} // by what arrived
			check := func(id string, got answered) {
				id = strings.Trim(id, " \t") // which are no part of a header's value
				for _, value := range asSomebodyElse(got, "HTTP_REMOTE_USER", id) {
					t.Errorf("%q arrives as %q", id, value)
				}
				for _, value := range got.made("HTTP_REMOTE_USER") {
					if other, taken := whose[value]; taken && other != id {
						t.Errorf("%q and %q both arrive as %q", other, id, value)
					}
					whose[value] = id
				}
			}
			for _, id := range []string{
				"voilà", "bob\u00c5", "\u00c5", "bob\u00a0", "\u00a0bob", "bob\u0085", "bob\xa0", "bob\x85", "\xa0bob", "\x85bob", "\x85", "bob\xa0\x85\xa0",
				"bob\u2003", "bob\ufeff", "bobà", "bob%C3%A0", "bob%25C3%25A0", "bob%", "=?utf-8?q?bob?=", "bob\t", "bob ", "b\u00e9", "b\xe9", "Zoë", "\u65e5\u672c",
			} {
				w.user.Store(id)
				check(id, g.do(t, ask{}))
				if got := g.do(t, ask{method: "POST", target: api, body: anHour}); got.status == http.StatusCreated {
					check(id, g.do(t, ask{auth: bearer(got.tokenValue())}))
				}
			}
		})
	}
}
