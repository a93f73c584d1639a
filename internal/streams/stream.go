package streams

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// Stream is the answer to one request. It is the writer to answer with.
type Stream struct {
	http.ResponseWriter
	streams *Streams
	opener  Opener
	cancel  context.CancelFunc
	// upgrade: what the request asks for is a stream from its beginning.
	upgrade bool

	// begun is when the answer began, zero before.
	begun time.Time

	// before and behind are its neighbours; doubted: its token may not hold any
	// more. The list that it is in guards them.
	before, behind *Stream
	doubted        bool

	// mu guards what follows, and everything below the writer once it is cut. It
	// is locked before a list is.
	mu sync.Mutex
	in *list
	// over: the request has been answered. isCut: it was ended here.
	over, isCut bool
	// conn is the connection that was taken over.
	conn net.Conn
}

// Begin follows the answer to r. It returns the writer and the request to go on
// with. End is to be called when the request has been answered; upgrade says
// that the request is for a WebSocket.
func (s *Streams) Begin(w http.ResponseWriter, r *http.Request, o Opener, upgrade bool) (*Stream, *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	return &Stream{ResponseWriter: w, streams: s, opener: o, cancel: cancel, upgrade: upgrade}, r.WithContext(ctx)
}

// End says that the request has been answered. It tells whether the answer was
// cut off, so that its connection has to end too ([http.ErrAbortHandler]). It can
// be called again.
func (st *Stream) End() (isCut bool) {
	st.mu.Lock()
	st.over = true
	isCut = st.isCut
	if st.in != nil {
		st.in.remove(st)
		st.in = nil
	}
	st.mu.Unlock()
	st.cancel()
	return isCut
}

// begins notes that the answer begins.
func (st *Stream) begins() {
	if !st.begun.IsZero() {
		return
	}
	st.begun = time.Now()
	s := st.streams
	if st.upgrade {
		st.move(&s.grown)
		s.rouse()
		return
	}
	st.move(&s.young[rand.N(len(s.young))]) //nolint:gosec // it spreads locks, and is no secret
	if !s.ticking.Load() && s.ticking.CompareAndSwap(false, true) {
		s.rouse()
	}
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

// cut ends the stream.
func (st *Stream) cut() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over || st.isCut {
		return
	}
	st.isCut = true
	st.cancel()
	if st.conn != nil {
		st.conn.Close()
		return
	}
	// Whoever waits for a client that doesn't read goes on.
	_ = http.NewResponseController(st.ResponseWriter).SetWriteDeadline(time.Unix(1, 0))
}

// Unwrap lets [http.ResponseController] reach the writer below.
func (st *Stream) Unwrap() http.ResponseWriter { return st.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (st *Stream) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		st.begins()
	}
	st.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (st *Stream) Write(p []byte) (int, error) {
	st.begins()
	return st.ResponseWriter.Write(p)
}

// ReadFrom implements [io.ReaderFrom].
func (st *Stream) ReadFrom(r io.Reader) (int64, error) {
	st.begins()
	return io.Copy(st.ResponseWriter, r)
}

// FlushError flushes as [http.ResponseController.Flush] does.
func (st *Stream) FlushError() error {
	st.begins()
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
	isCut := st.isCut
	st.mu.Unlock()
	if isCut {
		conn.Close()
	}
	st.begins()
	return conn, buffered, nil
}
