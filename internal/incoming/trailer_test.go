package incoming

import (
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func TestScrubWrapsBodyOnlyWhereTrailersCanArrive(t *testing.T) {
	tests := []struct {
		name    string
		major   int
		length  int64
		body    io.ReadCloser
		trailer http.Header
		want    bool
	}{
		{name: "HTTP/1 without body", major: 1, body: http.NoBody},
		{name: "HTTP/1 nil body", major: 1},
		{name: "HTTP/1 with a length", major: 1, length: 3, body: text("abc")},
		{name: "HTTP/1 chunked", major: 1, length: -1, body: text("abc"), want: true},
		{name: "HTTP/1 announced", major: 1, length: 3, body: text("abc"), trailer: http.Header{"X-Sum": nil}, want: true},
		{name: "HTTP/1 announced a protected one only", major: 1, length: 3, body: text("abc"), trailer: http.Header{"Remote-User": nil}, want: true},
		{name: "HTTP/2 without body", major: 2, body: http.NoBody},
		{name: "HTTP/2 nil body", major: 2, length: -1},
		{name: "HTTP/2 with a length", major: 2, length: 3, body: text("abc"), want: true},
		{name: "HTTP/2 length zero", major: 2, body: text(""), want: true},
		{name: "HTTP/3 with a length", major: 3, length: 3, body: text("abc"), want: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &http.Request{ProtoMajor: test.major, ContentLength: test.length, Body: test.body, Trailer: test.trailer}
			newRules(t).Scrub(r)
			if wrapped := r.Body != test.body; wrapped != test.want {
				t.Errorf("wrapped: %t, want %t", wrapped, test.want)
			}
		})
	}
}

func TestScrubAnnouncedTrailers(t *testing.T) {
	trailer := http.Header{"Remote-User": nil, "x_trifacta_user": {"a"}, "Authorization": nil, "cookie": nil, "X-Sum": nil}
	newRules(t).Scrub(&http.Request{Trailer: trailer})
	if diff := cmp.Diff(http.Header{"X-Sum": nil}, trailer); diff != "" {
		t.Errorf("trailer (-want +got):\n%s", diff)
	}
}

// What the header may not say, the trailer may not either.
func TestScrubTrailersReferer(t *testing.T) {
	v, err := token.Make("cat", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for referer, want := range map[string]http.Header{
		"https://api.example.com/?t=" + v.Reveal(): {},
		"https://api.example.com/":                 {"Referer": {"https://api.example.com/"}},
	} {
		trailer := http.Header{"Referer": {referer}}
		newRules(t).Scrub(&http.Request{Trailer: trailer})
		if diff := cmp.Diff(want, trailer); diff != "" {
			t.Errorf("trailer (-want +got):\n%s", diff)
		}
	}
}

// scriptedBody answers each Read with the next step, and then with the last
// step's error again. A step runs before its answer is given, as a server's own
// body fills in trailers before it reports the end.
type scriptedBody struct {
	steps  []step
	closed func() error
}

type step struct {
	data string
	err  error
	do   func()
}

func (b *scriptedBody) Read(p []byte) (int, error) {
	next := b.steps[0]
	if len(b.steps) > 1 {
		b.steps = b.steps[1:]
	}
	if next.do != nil {
		next.do()
	}
	return copy(p, next.data), next.err
}

func (b *scriptedBody) Close() error { return b.closed() }

func TestTrailersAreScrubbedBeforeTheEndIsTold(t *testing.T) {
	broken := errors.New("connection broken")
	arrived := func() http.Header {
		return http.Header{"Remote-User": {"mallory"}, "REMOTE.EMAIL": {"m"}, "Authorization": {"Basic x"}, "Cookie": {"a=1"}, "X-Sum": {"1"}}
	}
	want := http.Header{"X-Sum": {"1"}}
	for _, end := range []struct {
		name string
		data string
		err  error
	}{
		{name: "end alone", err: io.EOF},
		{name: "end with the last bytes", data: "tail", err: io.EOF},
		{name: "another error", err: broken},
	} {
		t.Run(end.name+", same map", func(t *testing.T) {
			announced := http.Header{"X-Sum": nil}
			r := &http.Request{ProtoMajor: 1, ContentLength: -1, Trailer: announced}
			r.Body = &scriptedBody{steps: []step{{data: "head"}, {data: end.data, err: end.err, do: func() {
				for key, lines := range arrived() {
					announced[key] = lines
				}
			}}}}
			newRules(t).Scrub(r)
			next := *r
			got, err := io.ReadAll(next.Body)
			if !errors.Is(err, end.err) && !errors.Is(end.err, io.EOF) {
				t.Errorf("error %v, want %v", err, end.err)
			}
			if string(got) != "head"+end.data {
				t.Errorf("read %q, want %q", got, "head"+end.data)
			}
			if diff := cmp.Diff(want, next.Trailer); diff != "" {
				t.Errorf("trailer (-want +got):\n%s", diff)
			}
		})
		t.Run(end.name+", new map", func(t *testing.T) {
			r := &http.Request{ProtoMajor: 3, ContentLength: -1}
			r.Body = &scriptedBody{steps: []step{{data: end.data, err: end.err, do: func() { r.Trailer = arrived() }}}}
			newRules(t).Scrub(r)
			_, _ = io.ReadAll(r.Body)
			if diff := cmp.Diff(want, r.Trailer); diff != "" {
				t.Errorf("trailer (-want +got):\n%s", diff)
			}
		})
		t.Run(end.name+", the first map after the request got another", func(t *testing.T) {
			announced := http.Header{"X-Sum": nil}
			r := &http.Request{ProtoMajor: 1, ContentLength: -1, Trailer: announced}
			r.Body = &scriptedBody{steps: []step{{data: end.data, err: end.err, do: func() {
				for key, lines := range arrived() {
					announced[key] = lines
				}
			}}}}
			newRules(t).Scrub(r)
			next := *r
			r.Trailer = nil
			_, _ = io.ReadAll(next.Body)
			if diff := cmp.Diff(want, next.Trailer); diff != "" {
				t.Errorf("trailer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCloseScrubsAndReportsItsError(t *testing.T) {
	failed := errors.New("can't close")
	announced := http.Header{"X-Sum": nil}
	r := &http.Request{ProtoMajor: 1, ContentLength: -1, Trailer: announced}
	r.Body = &scriptedBody{closed: func() error { announced["Remote-User"] = []string{"mallory"}; return failed }}
	newRules(t).Scrub(r)
	if err := r.Body.Close(); !errors.Is(err, failed) {
		t.Errorf("Close() = %v, want %v", err, failed)
	}
	if diff := cmp.Diff(http.Header{"X-Sum": nil}, r.Trailer); diff != "" {
		t.Errorf("trailer (-want +got):\n%s", diff)
	}
}

// What arrives is there to be read before more has arrived.
func TestBodyIsNotBuffered(t *testing.T) {
	reader, writer := io.Pipe()
	r := &http.Request{ProtoMajor: 2, ContentLength: -1, Body: reader}
	newRules(t).Scrub(r)
	var sender sync.WaitGroup
	defer sender.Wait()
	defer r.Body.Close()
	for _, part := range []string{"one", "two", "three"} {
		sender.Go(func() { _, _ = io.WriteString(writer, part) })
		buffer := make([]byte, 64)
		n, err := r.Body.Read(buffer)
		if got := string(buffer[:n]); got != part || err != nil {
			t.Fatalf("Read() = %q, %v, want %q", got, err, part)
		}
	}
}

// A transport may close the body in one goroutine while another reads its end;
// the race detector and the map's own check watch.
func TestReadAndCloseTogether(t *testing.T) {
	for range 200 {
		announced := http.Header{"X-Sum": nil}
		r := &http.Request{ProtoMajor: 1, ContentLength: -1, Trailer: announced}
		r.Body = &scriptedBody{
			steps:  []step{{err: io.EOF}},
			closed: func() error { return nil },
		}
		newRules(t).Scrub(r)
		announced["Remote-User"] = []string{"mallory"}
		var both sync.WaitGroup
		both.Go(func() { _, _ = r.Body.Read(make([]byte, 1)) })
		both.Go(func() { _ = r.Body.Close() })
		both.Wait()
		if _, found := announced["Remote-User"]; found {
			t.Fatal("the trailer is still there")
		}
	}
}

func text(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }
