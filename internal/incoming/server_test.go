package incoming

import (
	"io"
	"net/http"
	"testing"
	"time"
)

const serverPatience = 10 * time.Second

// seenRequest is what the handler behind Scrub sees: the headers as it starts,
// the trailers once it has read the body to its end.
type seenRequest struct {
	Major   int
	Header  http.Header
	Body    string
	Trailer http.Header
}

// copies are the places where a server's handlers may put a shallow copy of the
// request, as everyone does who adds to its context.
var copies = []struct {
	name          string
	before, after bool
}{
	{name: "server's own request"},
	{name: "copy before", before: true},
	{name: "copy behind", after: true},
	{name: "copies before and behind", before: true, after: true},
}

// recordingHandler scrubs and reports what the next handler sees.
func recordingHandler(rules *Rules, before, after bool) (http.Handler, <-chan seenRequest) {
	seen := make(chan seenRequest, 1)
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if before {
			r = r.WithContext(r.Context())
		}
		rules.Scrub(r)
		if after {
			r = r.WithContext(r.Context())
		}
		header := r.Header.Clone()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			body = append(body, " then "+err.Error()...)
		}
		seen <- seenRequest{Major: r.ProtoMajor, Header: header, Body: string(body), Trailer: r.Trailer.Clone()}
	}), seen
}

func await(t *testing.T, seen <-chan seenRequest) seenRequest {
	t.Helper()
	select {
	case got := <-seen:
		return got
	case <-time.After(serverPatience):
		t.Fatal("the request didn't reach the next handler")
		return seenRequest{}
	}
}
