package streams

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Stream is the answer to one request. It is the writer to answer with.
type Stream struct {
	http.ResponseWriter
	streams *Streams
	opener  Opener
	cancel  context.CancelFunc

	// begun is when the answer began, zero before.
	begun time.Time

	// before and behind are its neighbours; doubted: its token may not hold any
	// more. The list that it is in guards them.
	before, behind *Stream
	doubted        bool

	// isCut: it was ended here.
	isCut atomic.Bool

	// mu guards what follows, and everything below the writer once it is cut. It
	// is locked before a list is.
	mu sync.Mutex
	in *list
	// over: the request has been answered.
	over bool
	// conn is the connection that was taken over.
	conn net.Conn
}

// Begin follows the answer to r, and returns the writer to answer with. End is to
// be called when the request has been answered. From now on r has another
// context, which ends with the stream: r itself, since what others know of the
// request is what they see of r.
func (s *Streams) Begin(w http.ResponseWriter, r *http.Request, o Opener) *Stream {
	ctx, cancel := context.WithCancel(r.Context())
	*r = *r.WithContext(ctx)
	return &Stream{ResponseWriter: w, streams: s, opener: o, cancel: cancel}
}

// End says that the request has been answered. It tells whether the answer was
// cut off, so that its connection has to end too ([http.ErrAbortHandler]). It can
// be called again. The context goes on, for whoever answers instead of a handler
// that failed; it ends with the one that it was made of.
func (st *Stream) End() (isCut bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.over = true
	if st.in != nil {
		st.in.remove(st)
		st.in = nil
	}
	return st.isCut.Load()
}

// begins notes that the answer begins.
func (st *Stream) begins() {
	if !st.begun.IsZero() {
		return
	}
	st.begun = time.Now()
	s := st.streams
	st.move(&s.young[rand.N(len(s.young))]) //nolint:gosec // it spreads locks, and is no secret
	if !s.ticking.Load() && s.ticking.CompareAndSwap(false, true) {
		s.rouse()
	}
}

// switches notes that the connection becomes another protocol's, which is a
// stream from its beginning.
func (st *Stream) switches() {
	if !st.begun.IsZero() {
		return
	}
	st.begun = time.Now()
	s := st.streams
	st.move(&s.grown)
	s.rouse()
}

// move puts the stream into another list, unless it is over.
func (st *Stream) move(to *list) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over {
		return
	}
	if st.in != nil {
		st.in.remove(st)
	}
	st.doubted = true
	st.in = to
	to.add(st)
}

// errCut is what writing fails with once the stream is cut.
var errCut = errors.New("the token that opened this doesn't hold any more")

// cut ends the stream. It may be called again, as long as the stream isn't over.
func (st *Stream) cut() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over {
		return
	}
	first := !st.isCut.Swap(true)
	st.cancel()
	switch {
	case st.conn == nil:
		st.stopWrite()
	case first:
		go st.conn.Close() // By TLS that takes 5 s where the other side doesn't read.
	}
}

// stopWrite lets whoever waits for a client that doesn't read go on. The writers
// in between belong to whoever writes, and may set other deadlines.
func (st *Stream) stopWrite() {
	w := st.ResponseWriter
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = outer.Unwrap()
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
}

// Unwrap lets [http.ResponseController] reach the writer below.
func (st *Stream) Unwrap() http.ResponseWriter { return st.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (st *Stream) WriteHeader(status int) {
	switch {
	case status == http.StatusSwitchingProtocols:
		st.switches()
	case status >= http.StatusOK:
		st.begins()
	}
	st.ResponseWriter.WriteHeader(status)
}

// atOnce is how much is written, in bytes, without a look at whether the stream
// is cut.
const atOnce = 256 << 10

// Write implements [http.ResponseWriter].
func (st *Stream) Write(p []byte) (n int, err error) {
	st.begins()
	for !st.isCut.Load() {
		some, err := st.ResponseWriter.Write(p[:min(atOnce, len(p))])
		n, p = n+some, p[some:]
		if err != nil || len(p) == 0 {
			return n, err
		}
	}
	return n, errCut
}

// ReadFrom implements [io.ReaderFrom].
func (st *Stream) ReadFrom(r io.Reader) (n int64, err error) {
	st.begins()
	for !st.isCut.Load() {
		some, err := io.CopyN(st.ResponseWriter, r, atOnce)
		n += some
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, errCut
}

// FlushError flushes as [http.ResponseController.Flush] does.
func (st *Stream) FlushError() error {
	st.begins()
	if st.isCut.Load() {
		return errCut
	}
	return http.NewResponseController(st.ResponseWriter).Flush()
}

// Hijack implements [http.Hijacker].
func (st *Stream) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(st.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	st.mu.Lock()
	st.conn = conn
	isCut := st.isCut.Load()
	st.mu.Unlock()
	if isCut {
		conn.Close()
	}
	st.switches()
	return conn, buffered, nil
}
