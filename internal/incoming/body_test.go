package incoming

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// patience is how long a test waits for anything.
const patience = 20 * time.Second

func TestReadBody(t *testing.T) {
	for name, test := range map[string]struct {
		body   io.Reader
		length int64
		want   error
	}{
		"none":                       {strings.NewReader(""), 0, nil},
		"some":                       {strings.NewReader("text"), 4, nil},
		"as large as may be":         {strings.NewReader(strings.Repeat("x", MaxBody)), MaxBody, nil},
		"of unknown length":          {strings.NewReader(strings.Repeat("x", MaxBody)), -1, nil},
		"too large":                  {iotest.ErrReader(errors.New("it was read")), MaxBody + 1, ErrBodyTooLarge},
		"too large, unknown length":  {strings.NewReader(strings.Repeat("x", MaxBody+1)), -1, ErrBodyTooLarge},
		"cut off":                    {io.MultiReader(strings.NewReader("te"), iotest.ErrReader(io.ErrUnexpectedEOF)), 4, ErrBodyCut},
		"of a connection that broke": {iotest.ErrReader(net.ErrClosed), 4, ErrBodyCut},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", test.body)
			r.ContentLength = test.length
			body, err := ReadBody(httptest.NewRecorder(), r, patience)
			if !errors.Is(err, test.want) || err == nil && test.length >= 0 && int64(len(body)) != test.length {
				t.Errorf("%d bytes, %v; want %v", len(body), err, test.want)
			}
		})
	}
}

// Where a deadline can't be set, nobody waits longer all the same.
func TestReadBodyWithoutDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		r := httptest.NewRequest(http.MethodPost, "/", in)
		began := time.Now()
		if _, err := ReadBody(httptest.NewRecorder(), r, BodyTime); !errors.Is(err, ErrBodyLate) {
			t.Errorf("%v, want it late", err)
		}
		if waited := time.Since(began); waited != BodyTime {
			t.Errorf("waited %v", waited)
		}
		out.Close() // as a server does
	})
}

// A body that stops in the middle is given up over every protocol, and a
// connection whose body was there goes on.
func TestReadBodyOverAConnection(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			outcome := make(chan error, 1)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				within := patience
				if r.URL.Path == "/late" {
					within = 10 * time.Millisecond
				}
				body, err := ReadBody(w, r, within)
				if r.Proto != protocol {
					err = fmt.Errorf("it is %s", r.Proto)
				}
				outcome <- err
				fmt.Fprintf(w, "%s", body)
			}))
			server.EnableHTTP2 = protocol == "HTTP/2.0"
			server.StartTLS()
			defer server.Close()

			in, out := io.Pipe()
			go fmt.Fprint(out, "the beginning")
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/late", in)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := server.Client().Do(request); err == nil {
				resp.Body.Close()
			}
			out.Close()
			if err := <-outcome; !errors.Is(err, ErrBodyLate) {
				t.Errorf("%v, want it late", err)
			}
			for range 2 {
				resp, err := server.Client().Post(server.URL, "text/plain", strings.NewReader("text"))
				if err != nil {
					t.Fatal(err)
				}
				echoed, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if read := <-outcome; string(echoed) != "text" || err != nil || read != nil {
					t.Errorf("%q, %v, %v", echoed, err, read)
				}
			}
		})
	}
}
