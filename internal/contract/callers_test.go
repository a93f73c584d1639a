package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A caller is a program that calls the gateway over connections it keeps.
//
// When Caddy reloads, it closes connections that have just reached the listener
// it puts away, or whose request has just arrived, without a byte of an answer;
// it does so without this module as well. A caller sends such a request again,
// as HTTP clients do by themselves on a connection that was kept. A refused
// connection or half an answer is an error.
type caller struct {
	origin string
	client *http.Client
}

func (g *gateway) caller(t testing.TB) *caller {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{origin: "http://" + g.addresses[0], client: &http.Client{Transport: transport, Timeout: patience}}
}

// send sends a request, of which it takes all but kind, site and lines.
func (c *caller) send(a ask) (answered, error) {
	for repeated := 0; ; repeated++ {
		got, begun, err := c.sendOnce(a)
		if begun || !isDropped(err) || repeated == 10 {
			return got, err
		}
	}
}

// isDropped tells whether a connection was closed, as opposed to refused.
func isDropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		err != nil && strings.Contains(err.Error(), "server closed idle connection") // net/http has no name for it
}

// hurried makes the caller use a new connection for each request.
func (c *caller) hurried() *caller {
	c.client.Transport.(*http.Transport).DisableKeepAlives = true
	return c
}

// sendOnce also tells whether an answer has begun.
func (c *caller) sendOnce(a ask) (got answered, begun bool, err error) {
	if a.target == "" {
		a.target = "/v3/things"
	}
	req, err := http.NewRequest(a.method, c.origin+a.target, strings.NewReader(a.body))
	if err != nil {
		return got, false, err
	}
	if a.auth != "" {
		req.Header.Set("Authorization", a.auth)
	}
	if a.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	var firstByte atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotFirstResponseByte: func() { firstByte.Store(true) },
	}))
	resp, err := c.client.Do(req)
	if err != nil {
		return got, firstByte.Load(), err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	got = answered{status: resp.StatusCode, header: resp.Header, body: string(body)}
	if value := got.tokenValue(); value != "" {
		secret(value)
	}
	return got, true, err
}

// want turns an answer of another status than the given ones into an error, as
// it does what kept the answer away.
func want(got answered, err error, statuses ...int) (answered, error) {
	if err != nil {
		return got, err
	}
	for _, status := range statuses {
		if got.status == status {
			return got, nil
		}
	}
	return got, fmt.Errorf("status %d, want one of %v: %s", got.status, statuses, got)
}

// isInvalidToken tells whether an answer is the one that makes clients throw
// their token away.
func (a answered) isInvalidToken() bool {
	return a.status == http.StatusUnauthorized && strings.Contains(a.body, `"InvalidToken"`)
}

// A load is some clients at work until the test ends it.
type load struct {
	stop    chan struct{}
	working sync.WaitGroup
	turns   []atomic.Int64

	mu       sync.Mutex
	failures []error
}

// putToWork lets each worker take one turn after the other, with a pause in
// between that leaves the server some of the machine. An error is a failure of
// the test, and the worker goes on.
func putToWork(t testing.TB, pause time.Duration, workers ...func() error) *load {
	t.Helper()
	l := &load{stop: make(chan struct{}), turns: make([]atomic.Int64, len(workers))}
	for i, work := range workers {
		l.working.Go(func() {
			for !l.ended() {
				if err := work(); err != nil {
					l.fail(fmt.Errorf("client %d: %w", i, err))
				}
				l.turns[i].Add(1)
				<-time.After(pause)
			}
		})
	}
	t.Cleanup(func() { l.end(t) })
	return l
}

func (l *load) ended() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, err)
}

// awaitTurns waits until every client has begun and ended a turn: the first that
// ends may have begun before.
func (l *load) awaitTurns(t testing.TB, g *gateway) {
	t.Helper()
	before := make([]int64, len(l.turns))
	for i := range l.turns {
		before[i] = l.turns[i].Load()
	}
	g.wait(t, "every client has had another turn", func() bool {
		for i := range l.turns {
			if l.turns[i].Load() < before[i]+2 {
				return false
			}
		}
		return true
	})
}

// end waits for the clients' last turns, and tells how many there were. It can
// be called again.
func (l *load) end(t testing.TB) (turns int64) {
	t.Helper()
	if !l.ended() {
		close(l.stop)
	}
	l.working.Wait()
	for i := range l.turns {
		turns += l.turns[i].Load()
	}
	for i, err := range l.failures {
		if i == 5 {
			t.Errorf("and %d more failures", len(l.failures)-i)
			break
		}
		t.Error(err)
	}
	l.failures = nil
	return turns
}

// quietly leaves debug messages out, of which a load makes very many.
var quietly = globals("log default {\n\tlevel INFO\n}\n")

// onLastingPorts puts a gateway on ports below those that systems give to
// outgoing connections. So nobody takes one while the gateway is down, not even
// a client that tries to reach it.
func onLastingPorts(t testing.TB) option {
	t.Helper()
	return func(g *gateway) {
		for i, name := range []string{"PORT", "PORT2", "PORT3"} {
			g.addresses[i] = lastingAddress(t)
			_, g.vars[name], _ = net.SplitHostPort(g.addresses[i])
		}
	}
}

func lastingAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err != nil {
			continue
		}
		listener.Close()
		return listener.Addr().String()
	}
	t.Fatal("found no free port")
	return ""
}

// token is the token of an answer that made one.
func (a answered) token() token {
	var made struct {
		TokenValue string
		TokenInfo  tokenInfo
	}
	_ = json.Unmarshal([]byte(a.body), &made) // of what made none, nothing is taken
	return token{made.TokenValue, made.TokenInfo}
}

// answering is site, but Caddy itself answers all that is let through, with the
// user's id.
func answering(options string) string {
	return strings.Replace(site(options), "reverse_proxy {$UPSTREAM}", `respond "{http.auth.user.id}"`, 1)
}
