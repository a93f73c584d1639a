package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Clients who say that they are someone. Whatever they send, the API behind must
// not receive a byte of "forged". That an attack is one is shown by the same
// request to a site without the directive, whose API does receive it.

const forged = "forged"

// protected names what no client may say in these tests, by default and by strip.
var protected = []string{"Remote-User", "Remote-Email", "Remote-Name", "X-Trifacta-User", "X-Trifacta-Role-Name"}

// An attack is what follows a request's Host and Authorization.
type attack struct {
	name    string
	lines   []string
	chunked string   // the body with its chunks and trailers, if any
	trailer []string // over HTTP/2, where a body needs no chunks
	dropped string   // the versions over which Go and Caddy let it reach nobody: no attack, but it stays so
}

// spellings are the forms of a name that some API behind takes for the same.
func spellings(name string) []string {
	mixed := strings.Replace(name, "-", "_", 1)
	return []string{
		name, strings.ToLower(name), strings.ToUpper(name),
		strings.ReplaceAll(name, "-", "_"), strings.ToLower(strings.ReplaceAll(name, "-", "_")), strings.ToUpper(strings.ReplaceAll(name, "-", "_")),
		strings.ReplaceAll(name, "-", "."), strings.ToLower(strings.ReplaceAll(name, "-", ".")),
		mixed, strings.ReplaceAll(mixed, "-", "."),
	}
}

func attacks() []attack {
	var all []attack
	add := func(a attack) { all = append(all, a) }
	for _, name := range protected {
		for _, spelled := range spellings(name) {
			line := spelled + ": " + forged
			add(attack{name: "a header " + spelled, lines: []string{line}})
			add(attack{name: "a trailer where none is declared, " + spelled, trailer: []string{line},
				lines: []string{"Transfer-Encoding: chunked"}, dropped: "HTTP/1.1 HTTP/2"})
			add(attack{name: "an undeclared trailer " + spelled, trailer: []string{line},
				lines: []string{"Transfer-Encoding: chunked", "Trailer: X-Checksum"}, dropped: "HTTP/2"})
			add(attack{name: "a declared trailer " + spelled, trailer: []string{line},
				lines: []string{"Transfer-Encoding: chunked", "Trailer: X-Checksum, " + spelled}})
		}
	}
	for _, a := range []attack{
		{name: "a line twice", lines: []string{"Remote-User: " + forged, "Remote-User: " + forged}},
		{name: "a line in three forms", lines: []string{"Remote-User: " + forged, "REMOTE_USER: " + forged, "remote.user: " + forged}},
		{name: "an empty line before", lines: []string{"Remote-User:", "Remote-User: " + forged}},
		{name: "a declared trailer beside a header", trailer: []string{"Remote-User: " + forged},
			lines: []string{"Remote-User: " + forged, "Transfer-Encoding: chunked", "Trailer: Remote-User", "Trailer: X-Checksum"}},
		{name: "a trailer twice", trailer: []string{"Remote-User: " + forged, "Remote-User: " + forged, "remote_user: " + forged},
			lines: []string{"Transfer-Encoding: chunked", "Trailer: Remote-User, X-Checksum"}},
		{name: "trailers with a body of several parts", trailer: []string{"Remote-Name: " + forged, "X-Trifacta-User: " + forged},
			lines: []string{"Transfer-Encoding: chunked", "Trailer: remote-name,X-TRIFACTA-USER", "trailer: X-Checksum"}},
	} {
		add(a)
	}
	for i := range all {
		if all[i].trailer != nil {
			all[i].chunked = "2\r\nhi\r\n4;x=y\r\n you\r\n0\r\nX-Checksum: 17\r\n" + strings.Join(all[i].trailer, "\r\n") + "\r\n\r\n"
		}
	}
	return all
}

// over sends an attack over one version of HTTP.
type over func(t *testing.T, g *gateway, site int, auth string, a attack) answered

func overHTTP1(t *testing.T, g *gateway, site int, auth string, a attack) answered {
	t.Helper()
	method := "GET"
	if a.chunked != "" {
		method = "POST"
	}
	return g.do(t, ask{site: site, method: method, auth: auth, lines: a.lines, body: a.chunked})
}

func overHTTP2(t *testing.T, g *gateway, site int, auth string, a attack) answered {
	t.Helper()
	request := ask2{site: site}
	if auth != "" {
		request.fields = fields("Authorization: " + auth)
	}
	for _, line := range a.lines {
		if !strings.HasPrefix(line, "Transfer-Encoding") { // HTTP/2 has none
			request.fields = append(request.fields, fields(line)...)
		}
	}
	if a.trailer != nil {
		request.body, request.trailers = "hi you", fields(append([]string{"X-Checksum: 17"}, a.trailer...)...)
	}
	return g.do2(t, request)
}

// lenient is a server whose owner lets headers with _ and . pass.
const lenient = `
	servers {
		protocols h1 h2c
		expected_underscore_headers remote_user remote_email remote_name remote_user.x x_trifacta_* x_trifacta-user x_trifacta.user x_trifacta-role-name x_trifacta.role.name
		expected_dot_headers remote.user remote.email remote.name x.trifacta.*
	}`

func TestNoClientSaysWhoItIs(t *testing.T) {
	t.Parallel()
	bare := `
http://:{$PORT2} {
	bind 127.0.0.1
	reverse_proxy {$UPSTREAM}
}`
	other := siteAt("{$PORT3}", `strip X-Trifacta-*
		identity {
			X-Api-User {http.auth.user.id}
			x-api_mail {http.auth.user.email}
			X-API-Project {http.auth.user.project}
		}`)
	arrived := map[string]bool{}
	for server, options := range map[string]string{"by default": withHTTP2, "expected_underscore_headers": lenient} {
		g := start(t, site("strip X-Trifacta-*")+bare+other, globals(options))
		made := g.create(t, as("alice"), 3600, "")
		for version, send := range map[string]over{"HTTP/1.1": overHTTP1, "HTTP/2": overHTTP2} {
			t.Run(server+", "+version, func(t *testing.T) {
				for _, a := range attacks() {
					got := send(t, g, 0, bearer(made.value), a)
					wantIdentity(t, a.name, got, "Remote-User: alice", "Remote-Email: alice@example.com", "Remote-Name: Alice A.")
					if strings.Contains(strings.Join(a.lines, " "), "X-Checksum") && got.received.trailer.Get("X-Checksum") != "17" {
						t.Errorf("%s: the trailer that is allowed is missing in\n%s", a.name, got.received.raw)
					}
					// With other names under identity, the three defaults stay stripped.
					wantIdentity(t, a.name+", identity of other names", send(t, g, 2, bearer(made.value), a))
					if got := send(t, g, 1, "", a); got.received != nil && strings.Contains(got.received.raw, forged) {
						arrived[version+" "+a.name] = true
					}
				}
			})
		}
	}
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		for _, a := range attacks() {
			// A header's name with both _ and . passes Caddy in few configurations.
			both := strings.Contains(a.name, "_") && strings.Contains(a.name, ".") && a.trailer == nil
			if !arrived[version+" "+a.name] && !both && !strings.Contains(a.dropped, version) {
				t.Errorf("%s, %s: this doesn't arrive without the directive either, so it tests nothing", version, a.name)
			}
		}
	}
}

// wantIdentity wants a proxied request with exactly these lines, and nothing forged.
func wantIdentity(t *testing.T, name string, got answered, want ...string) {
	t.Helper()
	if got.received == nil {
		t.Fatalf("%s: %s", name, got)
	}
	if strings.Contains(got.received.raw, forged) {
		t.Errorf("%s reached the API behind:\n%s", name, got.received.raw)
	}
	var lines []string
	for _, name := range []string{"Remote-User", "Remote-Email", "Remote-Name"} {
		lines = append(lines, got.received.lines(name)...)
	}
	for _, announced := range got.received.lines("Trailer") {
		for _, header := range protected {
			if strings.Contains(plain(announced), plain(header)) {
				t.Errorf("%s: the API behind is told to wait for %s", name, announced)
			}
		}
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("%s: who the API behind was told (-want +got):\n%s", name, diff)
	}
}

// What Connection names is removed on the way, for it concerns one hop only. It
// may not name what the gateway says.
func TestConnectionRemovesNothingThatTheGatewaySays(t *testing.T) {
	t.Parallel()
	g := start(t, site("identity {\nX-Api-User {http.auth.user.id}\nRemote-Email {http.auth.user.email}\n}\nstrip X-Trifacta-*"))
	made := g.create(t, as("alice"), 3600, "")
	for _, lines := range [][]string{
		{"Connection: X-Api-User"},
		{"Connection: close, X-Api-User"},
		{"Connection: x-api-user"},
		{"Connection: X-API-USER, remote-email"},
		{"Connection: keep-alive,X-Api-User ,Remote-Email"},
		{"Connection: keep-alive", "Connection: X-Api-User"},
		{"Connection: ,X-Api-User,,"},
		{"connection: \tX-Api-User\t"},
		{"Connection: X-Api-User", "X-Api-User: " + forged},
		{"Connection: X_Api_User, X.Api.User"},
		{"Proxy-Connection: X-Api-User"},
		{"Keep-Alive: X-Api-User", "Connection: Keep-Alive, X-Api-User"},
	} {
		got := g.do(t, ask{auth: bearer(made.value), lines: lines})
		if got.received == nil {
			t.Errorf("%q: %s", lines, got)
			continue
		}
		told := append(got.received.lines("X-Api-User"), got.received.lines("Remote-Email")...)
		if diff := cmp.Diff([]string{"X-Api-User: alice", "Remote-Email: alice@example.com"}, told); diff != "" {
			t.Errorf("%q (-want +got):\n%s", lines, diff)
		}
	}
	t.Run("but goes on removing what is the client's", func(t *testing.T) {
		got := g.do(t, ask{auth: bearer(made.value), lines: []string{"Connection: X-Api-User, X-Hop", "X-Hop: 1", "X-End: 2"}})
		if len(got.received.lines("X-Hop")) != 0 || len(got.received.lines("X-End")) != 1 {
			t.Errorf("arrived:\n%s", got.received.raw)
		}
	})
}

// Bytes that one reader takes for a header line and the next one for another's
// continuation. Refusing them is as good as removing them.
func TestObsoleteAndBrokenLines(t *testing.T) {
	t.Parallel()
	g := start(t, site("strip X-Trifacta-*"))
	made := g.create(t, as("alice"), 3600, "")
	for _, lines := range [][]string{
		{"Remote-User:", " " + forged},
		{"Remote-User: a", "\t" + forged},
		{"X-Trifacta-User: a", "  b", "  " + forged},
		{"Remote-User : " + forged},
		{"Remote-User\t: " + forged},
		{"Remote-User\x00: " + forged},
		{"Remote User: " + forged},
		{": " + forged},
		{"Remote-User"},
		{"Remote-User: \x00" + forged},
		{"\u00a0Remote-User: " + forged},
		{"Remote\u2010User: " + forged},
		{"X-A: 1\rRemote-User: " + forged},
		{"X-A: 1\nRemote-User: " + forged},
		{"X-A: 1\n\tx\nRemote-User: " + forged},
	} {
		got := g.do(t, ask{auth: bearer(made.value), lines: lines})
		if got.status/100 == 4 && got.reached == 0 {
			continue
		}
		wantIdentity(t, fmt.Sprintf("%q", lines), got, "Remote-User: alice", "Remote-Email: alice@example.com", "Remote-Name: Alice A.")
	}
	t.Run("a folded line stays part of the one it continues", func(t *testing.T) {
		got := g.do(t, ask{auth: bearer(made.value), lines: []string{"X-A: 1", " Remote-User: bob", "\tRemote-User: bob"}})
		if got.status/100 == 4 && got.reached == 0 {
			return
		}
		wantProxied(t, got, "alice")
	})
	t.Run("the first line folded", func(t *testing.T) {
		got := g.do(t, ask{lines: []string{" Remote-User: " + forged}, auth: bearer(made.value)})
		if got.received != nil && !slices.Equal(got.received.lines("Remote-User"), []string{"Remote-User: alice"}) {
			t.Errorf("arrived:\n%s", got.received.raw)
		}
	})
}

// Over HTTP/2 a name in capitals, a Connection and a line break are malformed.
func TestBrokenHTTP2Fields(t *testing.T) {
	t.Parallel()
	g := start(t, site("strip X-Trifacta-*"), globals(withHTTP2))
	made := g.create(t, as("alice"), 3600, "")
	authorization := fields("Authorization: " + bearer(made.value))
	for _, bad := range [][]field{
		{{"Remote-User", forged}},
		{{"REMOTE_USER", forged}},
		{{"remote-user ", forged}},
		{{"remote-user\r\nremote-user", forged}},
		{{"x-a", "1\r\nRemote-User: " + forged}},
		{{"x-a", "1\nRemote-User: " + forged}},
		{{"connection", "remote-user"}},
		{{"connection", "remote-user"}, {"remote-user", forged}},
		{{":remote-user", forged}},
		{{"transfer-encoding", "chunked"}, {"remote-user", forged}},
		{{"remote-user", forged + "\x00"}},
	} {
		for where, request := range map[string]ask2{
			"header":  {fields: append(slices.Clone(authorization), bad...)},
			"trailer": {fields: authorization, body: "x", trailers: bad},
		} {
			got := g.do2(t, request)
			if got.received == nil {
				if got.status != 0 && got.status/100 != 4 && got.status/100 != 5 {
					t.Errorf("%s %q: %s", where, bad, got)
				}
				continue
			}
			wantIdentity(t, fmt.Sprintf("%s %q", where, bad), got, "Remote-User: alice", "Remote-Email: alice@example.com", "Remote-Name: Alice A.")
		}
	}
	for n := range g.api.count() {
		if raw := g.api.request(n).raw; strings.Contains(raw, forged) {
			t.Errorf("reached the API behind:\n%s", raw)
		}
	}
}

// The module's own answers believe no header either.
func TestForgedHeadersSignNobodyInAtTheRoutes(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone\nstrip X-Trifacta-*"))
	alices := g.create(t, as("alice"), 3600, "")
	for _, name := range protected {
		for _, spelled := range spellings(name) {
			lines := []string{spelled + ": alice"}
			wantRefused(t, g.do(t, ask{target: api, lines: lines}), 401, "AuthenticationRequired")
			wantRefused(t, g.do(t, ask{lines: lines}), 401, "AuthenticationRequired")
			wantRefused(t, g.do(t, ask{target: api + "/", auth: bearer(alices.value), lines: lines}), 404, "RouteNotFoundException")
			got := g.do(t, ask{target: api + "?user=*", auth: as("bob"), lines: lines})
			wantRefused(t, got, 403, "AccessControlException")
		}
	}
	made := g.create(t, as("bob"), 60, "")
	got := g.do(t, ask{method: "POST", target: api, auth: bearer(made.value), lines: []string{"Remote-User: alice", "Connection: Remote-User"}, body: `{"lifetimeSeconds": 60}`})
	wantStatus(t, got, 201)
	wantProxied(t, g.do(t, ask{auth: bearer(got.tokenValue())}), "bob")
}
