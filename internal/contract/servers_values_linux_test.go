package contract

import (
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// behindValues are servers that make something of their own of a header's value:
// Python's strip 0x85 and 0xA0 from its ends, which are spaces in Latin-1, and Node
// and WSGI take all of it for Latin-1.
var behindValues = []string{"wsgiref", "waitress", "node", "php", "lighttpd"}

// whoever is a server in front that signs in whom the test wants, in any bytes, and
// a site that believes it.
type whoever struct {
	user, name atomic.Value
}

func (w *whoever) site(t *testing.T) (sites string, auth option) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Remote-User", w.user.Load().(string))
		rw.Header().Set("Remote-Name", w.name.Load().(string))
	}))
	t.Cleanup(server.Close)
	return `
http://:{$PORT} {
	bind 127.0.0.1
	@browser not access_token
	forward_auth @browser {$AUTH} {
		uri /
	}
	access_tokens {
		allow_generate everyone
		without_token pass
		sign_in placeholder {
			user_id {http.reverse_proxy.header.Remote-User}
			name {http.reverse_proxy.header.Remote-Name}
		}
	}
	reverse_proxy {$UPSTREAM}
}`, env("AUTH", server.Listener.Addr().String())
}

// meanings are what a value says, as it is or encoded.
func meanings(value string) []string {
	all := []string{value}
	if text, err := url.PathUnescape(strings.TrimPrefix(value, "UTF-8''")); err == nil {
		all = append(all, text) // RFC 8187
	}
	if text, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
		all = append(all, text) // RFC 2047
	}
	return all
}

// asSomebodyElse is what isn't id in a server's answer.
func asSomebodyElse(got answered, variable, id string) (values []string) {
	values = got.made(variable)
	if len(values) == 1 {
		for _, meaning := range meanings(values[0]) {
			if meaning == id {
				return nil
			}
		}
	}
	return values
}

// A name that isn't ASCII arrives complete. Node and WSGI take it for Latin-1, and
// whoever reads it there has to take it for UTF-8, or decode it.
func TestANameArrivesAtEveryServer(t *testing.T) {
	t.Parallel()
	wantServers(t)
	for _, server := range behindValues {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			var w whoever
			sites, auth := w.site(t)
			g := start(t, sites, auth, env("UPSTREAM", servers[server](t).address))
			w.user.Store("zoe")
			for _, name := range []string{"Zoë Ünal", "Ångström Ärlig", "\u65e5\u672c\u8a9e", "100 % Zoë"} {
				w.name.Store(name)
				made := made(t, g.do(t, ask{method: "POST", target: api, body: anHour}))
				for _, auth := range []string{"", bearer(made.value)} {
					got := g.do(t, ask{auth: auth})
					wantServer(t, got)
					if values := got.made("HTTP_REMOTE_NAME"); len(values) != 1 || asSomebodyElse(got, "HTTP_REMOTE_NAME", name) != nil {
						t.Errorf("%q arrives as %q", name, values)
					}
				}
			}
		})
	}
}
