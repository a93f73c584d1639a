package contract

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// behindNginx believes the last address that an nginx on this machine adds.
const behindNginx = `
	servers {
		trusted_proxies static 127.0.0.1/32
		trusted_proxies_strict
	}`

// doFrom sends a request from another of this machine's addresses.
func (g *gateway) doFrom(t *testing.T, address string, a ask) answered {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).Dial("tcp", g.addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, a.text(g.addresses[0])); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{status: resp.StatusCode, header: resp.Header, body: string(body)}
}

// Behind nginx, each client's failures are its own, whatever address it says it has.
func TestTheLimitBehindNginx(t *testing.T) {
	t.Parallel()
	wantServers(t)
	g := start(t, site("sign_in_limit 3 1h"), globals(behindNginx))
	front := g.through(nginxBefore(t, g))
	guess := func(n int) ask {
		return ask{target: api, auth: basic("alice", "guess"), lines: from(fmt.Sprint("192.0.2.", n))}
	}
	for n := range 3 {
		wantRefused(t, front.doFrom(t, "127.0.0.2", guess(n)), http.StatusUnauthorized, "AuthenticationRequired")
	}
	wantLimited(t, front.doFrom(t, "127.0.0.2", guess(4)))
	wantStatus(t, front.doFrom(t, "127.0.0.3", ask{target: api, auth: as("alice")}), http.StatusOK)
	t.Run("and past nginx nobody is believed", func(t *testing.T) {
		for n := range 3 {
			wantRefused(t, g.doFrom(t, "127.0.0.4", guess(n)), http.StatusUnauthorized, "AuthenticationRequired")
		}
		wantLimited(t, g.doFrom(t, "127.0.0.4", guess(5)))
	})
}

func TestAUserBehindNginx(t *testing.T) {
	t.Parallel()
	wantServers(t)
	g := start(t, site(""), globals(behindNginx))
	front := g.through(nginxBefore(t, g))
	made := front.create(t, as("alice"), 3600, "by way of nginx")
	got := front.do(t, ask{auth: bearer(made.value), lines: []string{"Remote-User: " + forged, "remote.user: " + forged, "Remote~User: " + forged}})
	wantProxied(t, got, "alice")
	wantIdentity(t, "by way of nginx", got, "Remote-User: alice", "Remote-Email: alice@example.com", "Remote-Name: Alice A.")
	front.remove(t, bearer(made.value), made.target())
	wantRefused(t, front.do(t, ask{auth: bearer(made.value)}), http.StatusUnauthorized, "InvalidToken")
}
