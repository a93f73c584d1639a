package contract

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// separators are all bytes that RFC 9110 (section 5.6.2) allows in a header's name
// and that are no letter or digit. lighttpd's and busybox's CGI take each for '_'.
const separators = "!#$%&'*+-.^_`|~"

func TestNoServerTakesANameForAnother(t *testing.T) {
	t.Parallel()
	const options = `public /cgi-bin/* /v3/*
		strip X-Trifacta-*
		identity {
			Remote-User {http.auth.user.id}
			X-Api-User-Id {http.auth.user.id}
		}`
	// What a client may not say, as CGI names it, and what alice's token says.
	protected := map[string][]string{
		"Remote-User": {"alice"}, "X-Api-User-Id": {"alice"}, "Remote-Name": nil, "X-Trifacta-Role-Name": nil,
	}
	names := []string{"lighttpd", "busybox", "php", "node", "wsgiref", "waitress"}
	behindEach(t, names, site(options), func(t *testing.T, g *gateway, behind server) {
		made := g.create(t, as("alice"), 3600, "")
		for _, auth := range []string{bearer(made.value), ""} {
			for _, separator := range separators {
				var lines []string
				for name := range protected {
					lines = append(lines,
						strings.ReplaceAll(name, "-", string(separator))+": "+forged,
						strings.Replace(name, "-", string(separator), 1)+": "+forged)
				}
				request := ask2{target: behind.target, fields: fields(lines...)}
				if auth != "" {
					request.fields = append(request.fields, field{"authorization", auth})
				}
				for version, got := range map[string]answered{
					"HTTP/1.1": g.do(t, ask{target: behind.target, auth: auth, lines: lines}),
					"HTTP/2":   g.do2(t, request),
				} {
					if got.status == http.StatusBadRequest {
						continue // refused: it reaches nobody
					}
					wantServer(t, got)
					for name, want := range protected {
						if auth == "" {
							want = nil
						}
						variable := "HTTP_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
						if values := got.made(variable); !slices.Equal(values, want) {
							t.Errorf("%s, %q for '-': %s is %q, want %q", version, separator, variable, values, want)
						}
					}
				}
			}
		}
	}, globals(withHTTP2))
}
