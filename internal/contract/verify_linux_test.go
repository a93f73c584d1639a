package contract

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fenced returns the first block of a language below a heading of a document.
func fenced(t *testing.T, file, heading, language string) string {
	t.Helper()
	_, section, found := strings.Cut(read(t, filepath.Join(repository, "docs", file)), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, block, fence := strings.Cut(section, "```"+language+"\n")
	if !found || !fence {
		t.Fatalf("docs/%s has no %s below %q", file, language, heading)
	}
	block, _, _ = strings.Cut(block, "```")
	return block
}

// asVerifier starts the recipe's server that is asked.
func asVerifier(t *testing.T, heading string) *gateway {
	t.Helper()
	text := strings.Replace(fenced(t, "verify.md", heading, "caddyfile"), "http://:8081", "http://:{$PORT}", 1)
	_, sites, found := strings.Cut(text, "\n}\n\n")
	if !found {
		t.Fatal("the recipe has no global options")
	}
	return start(t, anyHash.ReplaceAllString(sites, "{$$ALICE_HASH}"), globals(trustsThisMachine))
}

// wantVerified tries a proxy that asks about requests for an API.
func wantVerified(t *testing.T, front *gateway, forgeries ...string) {
	t.Helper()
	made := front.create(t, as("alice"), 3600, "")
	auth := bearer(made.value)
	got := front.do(t, ask{method: "PUT", target: "/v4/jobs/1?x=y", auth: auth, lines: forgeries, body: "a body"})
	wantProxied(t, got, "alice")
	for _, secret := range append(forgeries, made.value) {
		_, value, found := strings.Cut(secret, ": ")
		if !found {
			value = secret
		}
		if strings.Contains(got.body, value) {
			t.Errorf("%q has come to the API:\n%s", value, got.body)
		}
	}
	if !strings.Contains(got.body, "a body") {
		t.Errorf("the body hasn't come to the API:\n%s", got.body)
	}
	none := front.do(t, ask{target: "/"})
	wantStatus(t, none, http.StatusUnauthorized)
	if challenge := none.header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, "Bearer ") {
		t.Errorf("without a token: WWW-Authenticate %q", challenge)
	}
	limited := front.do(t, ask{method: "POST", target: api, auth: as("alice"), body: `{"lifetimeSeconds": 60, "addresses": ["192.0.2.1"]}`})
	wantStatus(t, front.do(t, ask{target: "/", auth: bearer(limited.tokenValue())}), http.StatusForbidden)
	front.remove(t, as("alice"), made.target())
	wantStatus(t, front.do(t, ask{target: "/", auth: auth}), http.StatusUnauthorized)
}

func TestNginxAsks(t *testing.T) {
	t.Parallel()
	wantServers(t)
	g := asVerifier(t, "nginx")
	port := freePort(t)
	conf := strings.NewReplacer("127.0.0.1:8081", g.addresses[0], "127.0.0.1:3005", g.api.address, "listen 80;", "listen 127.0.0.1:"+port+";").Replace(fenced(t, "verify.md", "nginx", "nginx"))
	dir := t.TempDir()
	text := "daemon off;\nmaster_process off;\npid " + dir + "/nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\nclient_body_temp_path " + dir + "/body;\nproxy_temp_path " + dir + "/proxy;\nfastcgi_temp_path " + dir + "/f;\nuwsgi_temp_path " + dir + "/u;\nscgi_temp_path " + dir + "/s;\n" + conf + "}\n"
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := server{address: net.JoinHostPort("127.0.0.1", port)}
	if said, up := s.run(t, port, "nginx", []string{"-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf")}); !up {
		t.Fatalf("nginx doesn't start:\n%s", said())
	}
	wantVerified(t, g.through(s), "Remote-User: "+forged, "remote_user: "+forged, "Remote.User: "+forged, "Remote-Email: "+forged)
}

func TestAnotherCaddyAsks(t *testing.T) {
	t.Parallel()
	g := asVerifier(t, "Another Caddy")
	_, rest, _ := strings.Cut(read(t, filepath.Join(repository, "docs", "verify.md")), "which needs no module:")
	_, block, _ := strings.Cut(rest, "```caddyfile\n")
	block, _, _ = strings.Cut(block, "```")
	front := start(t, strings.ReplaceAll(here(block), "127.0.0.1:8081", g.addresses[0]), env("API", g.api.address))
	seen := *front
	seen.api = g.api
	wantVerified(t, &seen, "Remote-User: "+forged, "Remote-Email: "+forged)
}
