package contract

import (
	"net/url"
	"strings"
	"testing"
)

// What is percent-encoded is the same id at every server, once decoded.
func TestPercentEncodedIdsArriveAtEveryServer(t *testing.T) {
	t.Parallel()
	wantServers(t)
	for _, name := range behindValues {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var w whoever
			sites, auth := w.site(t)
			g := start(t, strings.Replace(sites, "without_token pass", "without_token pass\nidentity_encoding percent", 1), auth, env("UPSTREAM", servers[name](t).address))
			w.name.Store("Vilà")
			for _, id := range []string{"bob", "Vilà", "Å", "日本", "50%", "%41", "a b", `"quoted"`, "a+b"} {
				w.user.Store(id)
				got := g.do(t, ask{})
				wantServer(t, got)
				if values := got.made("HTTP_REMOTE_USER"); len(values) != 1 || decoded(values[0]) != id {
					t.Errorf("%q arrives as %q", id, values)
				}
				if values := got.made("HTTP_REMOTE_NAME"); len(values) != 1 || decoded(values[0]) != "Vilà" {
					t.Errorf("the name arrives as %q", values)
				}
			}
		})
	}
}

func decoded(value string) string {
	text, err := url.PathUnescape(value)
	if err != nil {
		return err.Error()
	}
	return text
}
