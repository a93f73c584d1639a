package incoming

import (
	"io"
	"net/http"
	"sync"
)

// refusesTrailer reports whether a trailer of this name must not be passed on:
// the protected names, and credentials, which have no place in a trailer
// (RFC 9110 section 6.5.1) and would get past [Rules.DropCredentials] there.
func (rules *Rules) refusesTrailer(name string) bool {
	return rules.protects(name) || folds(name, "authorization") || folds(name, "cookie") || rules.carriers.has(name)
}

func (rules *Rules) scrubTrailer(trailer http.Header) {
	for key := range trailer {
		if rules.refusesTrailer(key) {
			delete(trailer, key)
		}
	}
	dropReferer(trailer)
}

// guardTrailer wraps r.Body where trailers can arrive at its end: over HTTP/1
// only a chunked body has them (RFC 9112 section 7.1.2), from HTTP/2 on any.
func (rules *Rules) guardTrailer(r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	if r.ProtoMajor < 2 && r.ContentLength >= 0 && r.Trailer == nil {
		return
	}
	r.Body = &guardedBody{body: r.Body, rules: rules, request: r, announced: r.Trailer}
}

// guardedBody scrubs its request's trailers before anyone is told that the body
// ended, which is when they may be looked at.
//
// HTTP/1 and HTTP/2 servers fill the map that they announced trailers in, which
// all shallow copies of the request share; without an announcement an HTTP/1
// server puts a new map into its own request, as an HTTP/3 server always does.
// So both are scrubbed: the map of the beginning and the request's own of now.
type guardedBody struct {
	body      io.ReadCloser
	rules     *Rules
	request   *http.Request
	announced http.Header

	scrubbing sync.Mutex // a transport may close a body while it is being read
}

func (b *guardedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err != nil {
		b.scrub()
	}
	return n, err
}

// Close may read the rest of the body, and so fill the trailers as well.
func (b *guardedBody) Close() error {
	err := b.body.Close()
	b.scrub()
	return err
}

func (b *guardedBody) scrub() {
	b.scrubbing.Lock()
	defer b.scrubbing.Unlock()
	b.rules.scrubTrailer(b.announced)
	b.rules.scrubTrailer(b.request.Trailer)
}
