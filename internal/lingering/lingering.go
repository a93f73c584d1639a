// Package lingering sees to it that an answer arrives at a client, or a proxy in
// front, that is still sending its request's body.
//
// A server that answers early and closes the connection resets it, if more
// arrives than it reads; then the other side may never see the answer (RFC 9112
// section 9.6). So the answer is sent at once, and the rest of the body read and
// forgotten, within bounds. HTTP/2 and HTTP/3 reset the stream alone, without an
// error, and need none of this.
package lingering

import (
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Limits bound how bodies are read that nobody wants.
type Limits struct {
	// Bytes and Time are how much of one is read, and for how long.
	Bytes int64
	Time  time.Duration
	// PerClient is how many of one client are read at a time. More of them wait
	// for their turn, unread, no longer than Time.
	PerClient int
	// Requests is how many there may be at a time, waiting ones included. The
	// connections of others are closed as soon as they have been answered.
	Requests int
	// Small and Moment: an answer waits so long for the rest of a body that has no
	// more bytes than that, or an unknown number, so that the connection can go on.
	Small  int64
	Moment time.Duration
}

// Defaults are as generous as nginx's lingering close.
var Defaults = Limits{
	Bytes: 64 << 20, Time: 10 * time.Second,
	PerClient: 4, Requests: 512,
	Small: 256 << 10, Moment: 50 * time.Millisecond,
}

// Reader reads what is left of bodies. It is safe for concurrent use.
type Reader struct {
	limits Limits

	mu       sync.Mutex
	requests int
	clients  map[netip.Addr]*client
}

// client is one client's turns. It is forgotten when none of its requests is left.
type client struct {
	// turns holds a place for each body that is being read.
	turns    chan struct{}
	requests int
}

// New returns a Reader.
func New(l Limits) *Reader {
	return &Reader{limits: l, clients: make(map[netip.Addr]*client)}
}

// enter waits for a turn of a client, unless there are too many requests. leave
// is to be called when it is over.
func (rd *Reader) enter(address netip.Addr, deadline time.Time) (leave func(), ok bool) {
	c := rd.join(address)
	if c == nil {
		return nil, false
	}
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	select {
	case c.turns <- struct{}{}:
		return func() {
			<-c.turns
			rd.quit(address)
		}, true
	case <-late.C:
		rd.quit(address)
		return nil, false
	}
}

func (rd *Reader) join(address netip.Addr) *client {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if rd.requests == rd.limits.Requests {
		return nil
	}
	c := rd.clients[address]
	if c == nil {
		c = &client{turns: make(chan struct{}, rd.limits.PerClient)}
		rd.clients[address] = c
	}
	rd.requests++
	c.requests++
	return c
}

func (rd *Reader) quit(address netip.Addr) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	rd.requests--
	c := rd.clients[address]
	if c.requests--; c.requests == 0 {
		delete(rd.clients, address)
	}
}

// readOn reads the rest of a body that nobody wants, for so long. What isn't read
// then the server doesn't wait for either.
func (rd *Reader) readOn(w http.ResponseWriter, b *body, address netip.Addr, within time.Duration) {
	control := http.NewResponseController(w)
	deadline := time.Now().Add(within)
	if leave, ok := rd.enter(address, deadline); ok {
		defer leave()
		if control.SetReadDeadline(deadline) != nil {
			return // it can't be bounded
		}
		_, _ = io.CopyN(io.Discard, b, rd.limits.Bytes)
	}
	after := time.Now() // long past, as soon as anybody reads
	if b.ended.Load() {
		after = time.Time{}
	}
	_ = control.SetReadDeadline(after)
}
