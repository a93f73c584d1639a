package contract

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// While the store is being opened, Caddy lives and isn't ready.
func TestHealthWhileTheStoreIsBeingOpened(t *testing.T) {
	t.Parallel()
	g := start(t, withHealth(site("allow_generate everyone")))
	made := g.create(t, as("bob"), 3600, "")
	g.stop(t)
	// Opening it waits for whoever writes into this.
	list := filepath.Join(g.store(), "tables.list")
	text := read(t, list)
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(list, 0o600); err != nil {
		t.Fatal(err)
	}
	// Caddy starts its apps in random order: until the sites come before the store.
	for serving := false; !serving; {
		g.launch(t)
		g.wait(t, "the admin endpoint answers", func() bool {
			status, _, err := g.askAdmin(http.MethodGet, livePath, "", "")
			return err == nil && status == http.StatusOK
		})
		for range 10 {
			if status, why := g.health(t, readyPath); status != http.StatusServiceUnavailable {
				t.Errorf("it is ready: %d %s", status, why)
			}
		}
		if conn, err := net.Dial("tcp", g.addresses[2]); err == nil {
			conn.Close()
			serving = true
			continue
		}
		g.kill9(t)
	}
	if got := g.do(t, ask{site: 2}); got.status != http.StatusServiceUnavailable {
		t.Errorf("a site that is ready answers %d", got.status)
	}
	if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if !g.serving(t) {
		t.Fatal("Caddy has ended")
	}
	g.wantHealth(t, "once it is open", 200, 200)
	wantProxied(t, g.do(t, askFor(made)), "bob")
}
