package contract

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A deletion holds from the next request on: under 64 clients that use that
// very token, for a hundred tokens, deleted in every way there is, while others
// make so many tokens that the store puts a memtable away.
func TestADeletionHoldsForTheNextRequest(t *testing.T) {
	t.Parallel()
	const tokens, clients = 100, 64
	g := start(t, answering("allow_generate everyone"), quietly)
	root := g.create(t, as("bob"), 3600, "")
	atWork := g.fillMemtable(t, root)
	connections := make([]*connection, clients)
	for i := range connections {
		connections[i] = g.connect(t)
	}
	var requests int64
	for n := range tokens {
		parent := g.create(t, bearer(root.value), 3600, "")
		made := g.create(t, bearer(parent.value), 3600, "")
		a := ask{method: "DELETE", target: made.target()}
		var by string
		switch n % 5 {
		case 0:
			by, a.auth = "by its owner's password", as("bob")
		case 1:
			by, a.auth = "by another token of its owner's", bearer(root.value)
		case 2:
			by, a.auth = "by itself", bearer(made.value)
		case 3:
			by, a.auth = "by an administrator", as("alice")
		case 4:
			by, a.auth, a.target = "with its parent", as("bob"), parent.target()+"?successors=true"
		}
		used := useUntilDeleted(t, connections, made)
		used.begun.Wait()
		got := g.do(t, a)
		used.deleted.Store(true)
		used.working.Wait()
		wantStatus(t, got, http.StatusNoContent)
		requests += used.requests.Load()
		if t.Failed() {
			t.Fatalf("token %d was deleted %s", n, by)
		}
	}
	g.wait(t, "the store has put a memtable away", func() bool {
		tables, err := filepath.Glob(filepath.Join(g.store(), "db", "*.sst"))
		return err == nil && len(tables) > 0
	})
	t.Logf("%d requests, and %d tokens made beside them", requests, atWork.end(t))
}

// fillMemtable lets clients make tokens with long descriptions until they have
// filled most of a memtable of 8 MiB, and leaves them at it, in less of a hurry.
func (g *gateway) fillMemtable(t testing.TB, root token) *load {
	t.Helper()
	body := fmt.Sprintf(`{"lifetimeSeconds": 3600, "description": "%s"}`, strings.Repeat("\U0001F511", 1024))
	var clients []func() error
	var filling sync.WaitGroup
	for range 4 {
		calling := g.caller(t)
		create := func() error {
			got, err := calling.send(ask{method: "POST", target: api, auth: bearer(root.value), body: body})
			_, err = want(got, err, http.StatusCreated)
			return err
		}
		clients = append(clients, create)
		filling.Go(func() {
			for range 375 {
				if err := create(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	filling.Wait()
	return putToWork(t, 20*time.Millisecond, clients...)
}

// use is the use of one token by many clients.
type use struct {
	begun, working sync.WaitGroup // until each has used it once; until it is deleted
	deleted        atomic.Bool    // and that has been acknowledged
	requests       atomic.Int64
}

// useUntilDeleted makes clients use a token, until each has begun a request
// after the deletion was acknowledged.
func useUntilDeleted(t testing.TB, connections []*connection, made token) *use {
	t.Helper()
	u := new(use)
	u.begun.Add(len(connections))
	for i, c := range connections {
		u.working.Go(func() {
			err := u.once(c, made)
			u.begun.Done()
			for before := true; before && err == nil; {
				before = !u.deleted.Load()
				err = u.once(c, made)
				if before {
					<-time.After(rest)
				}
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	t.Cleanup(func() { u.deleted.Store(true); u.working.Wait() })
	return u
}

// rest is how long each of many clients rests, so that a few dozen of their
// requests are under way at a time, and not all of them.
const rest = 10 * time.Millisecond

// once uses the token. An error is an answer that there must not be.
func (u *use) once(c *connection, made token) error {
	u.requests.Add(1)
	deleted := u.deleted.Load()
	status, body, err := c.ask(bearer(made.value))
	switch {
	case err != nil:
		return err
	case status == http.StatusUnauthorized && strings.Contains(body, `"InvalidToken"`):
		return nil
	case status != http.StatusOK || body != "bob":
		return fmt.Errorf("status %d: %s", status, body)
	case deleted:
		return errors.New("passed on in a request that began after the deletion was acknowledged")
	}
	return nil
}

// A connection is kept, and quicker than net/http's client.
type connection struct {
	conn net.Conn
	in   *bufio.Reader
}

func (g *gateway) connect(t testing.TB) *connection {
	t.Helper()
	conn, err := net.Dial("tcp", g.addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &connection{conn, bufio.NewReader(conn)}
}

func (c *connection) ask(auth string) (status int, body string, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, "", err
	}
	if _, err := io.WriteString(c.conn, "GET /v3/things HTTP/1.1\r\nHost: api\r\nAuthorization: "+auth+"\r\n\r\n"); err != nil {
		return 0, "", err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}
