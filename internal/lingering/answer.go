package lingering

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// Answer is the writer of one request's answer. End is to be called when the
// answer is complete.
type Answer struct {
	http.ResponseWriter
	reader  *Reader
	request *http.Request
	client  netip.Addr
	// body is what may still be on its way, nil if nothing is.
	body  *body
	begun bool
	// rest is closed when the body's rest has been read, nil where nobody reads.
	rest chan struct{}
	// waits: the client waits to be told to send its body (RFC 9110 section
	// 10.1.1).
	waits bool
}

// Begin returns the writer to answer r with, instead of w. client is the address
// that its turns are counted by.
func (rd *Reader) Begin(w http.ResponseWriter, r *http.Request, client netip.Addr) *Answer {
	a := &Answer{ResponseWriter: w, reader: rd, request: r, client: client}
	if r.ProtoMajor == 1 && r.ContentLength != 0 && r.Body != nil {
		a.body = &body{ReadCloser: r.Body}
		r.Body = a.body
	}
	return a
}

// Unwrap lets [http.ResponseController] reach the writer below.
func (a *Answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (a *Answer) WriteHeader(status int) {
	if !a.begun {
		a.begun = true
		a.beginReading()
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (a *Answer) Write(p []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(p)
}

// beginReading begins to read what is left of the body, before the answer. If
// that isn't over in a moment, the connection ends with the answer, which also
// tells the client that it may stop sending, and the server not to wait for it.
func (a *Answer) beginReading() {
	if a.body == nil || a.body.ended.Load() {
		return
	}
	a.waits = !a.body.begun.Load() && expectsContinue(a.request)
	if !a.waits {
		a.rest = make(chan struct{})
		go func() {
			defer close(a.rest)
			a.reader.readOn(a.ResponseWriter, a.body, a.client, a.reader.limits.Time)
		}()
		if a.restCame() {
			return
		}
	}
	// Before others that the answer may have: the server looks at the first.
	h := a.Header()
	h["Connection"] = append([]string{"close"}, h["Connection"]...)
}

// restCame gives a small body a moment to end.
func (a *Answer) restCame() bool {
	if a.request.ContentLength > a.reader.limits.Small {
		return false
	}
	late := time.NewTimer(a.reader.limits.Moment)
	defer late.Stop()
	select {
	case <-a.rest:
	case <-late.C:
	}
	return a.body.ended.Load()
}

func expectsContinue(r *http.Request) bool {
	return r.ProtoAtLeast(1, 1) && strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

// End sends the answer, unless a handler in front holds it back to look at it,
// and returns when nothing more is to be read.
func (a *Answer) End() {
	held := isHeldBack(a.ResponseWriter)
	if held {
		// What goes out in the end may have another length.
		a.Header().Del("Content-Length")
	}
	if !a.waits && a.rest == nil {
		return // the server knows what to do
	}
	if !held {
		_ = http.NewResponseController(a.ResponseWriter).Flush()
	}
	switch {
	case a.rest != nil:
		<-a.rest
	case !held && a.comesUnasked():
		a.reader.readOn(a.ResponseWriter, a.body, a.client, a.reader.limits.Time)
	default:
		// To read before the answer is out would ask the client to send.
		_ = http.NewResponseController(a.ResponseWriter).SetReadDeadline(time.Now())
	}
}

// comesUnasked tells whether a client that asked whether to send its body sends it
// all the same: some don't wait for long.
func (a *Answer) comesUnasked() bool {
	control := http.NewResponseController(a.ResponseWriter)
	if control.SetReadDeadline(time.Now().Add(a.reader.limits.Moment)) != nil {
		return false
	}
	var first [1]byte
	n, _ := a.body.Read(first[:])
	return n > 0
}

// isHeldBack tells whether a writer, or one below it, keeps what is written to
// it for later, as those of Caddy's intercept do.
func isHeldBack(w http.ResponseWriter) bool {
	for {
		if recorder, ok := w.(interface{ Buffered() bool }); ok && recorder.Buffered() {
			return true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = wrapper.Unwrap()
	}
}

// body tells how far a request's body has been read.
type body struct {
	io.ReadCloser
	begun, ended atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	b.begun.Store(true)
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
	}
	return n, err
}
