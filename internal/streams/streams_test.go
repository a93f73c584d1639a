package streams

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// A site answers requests by answer, each as one that a token opened.
type site struct {
	*httptest.Server
	*Streams
	answer func(w http.ResponseWriter, r *http.Request)
	// around is what stands between the server's writer and the stream.
	around func(http.ResponseWriter) http.ResponseWriter
	// ended is told of each request that is over, and how.
	ended chan end

	mu      sync.Mutex
	invalid map[uuid.UUID]bool
	now     time.Time
	asked   atomic.Int64
}

type end struct {
	path  string
	isCut bool
	cause error
}

func newSite(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *site {
	s := &site{answer: answer, around: func(w http.ResponseWriter) http.ResponseWriter { return w }, ended: make(chan end, 100), invalid: map[uuid.UUID]bool{}, now: time.Unix(1e9, 0)}
	s.Streams = New(func(o *Opener) bool {
		s.asked.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.invalid[o.Token] && (o.Expires.IsZero() || s.now.Before(o.Expires))
	}, func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.now
	})
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Server.Close()
		s.Streams.Close()
		s.Client().CloseIdleConnections()
	})
	return s
}

// serve answers for the user and with the token of the header.
func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	o := Opener{Project: "p", User: r.Header.Get("User"), Token: uuid.NewSHA1(uuid.Nil, []byte(r.Header.Get("Token")))}
	if r.Header.Get("Expires") != "" {
		o.Expires = time.Unix(1e9, 0).Add(time.Hour)
	}
	st := s.Begin(s.around(w), r, o)
	func() {
		defer func() { _ = recover() }() // as reverse_proxy panics where its copying ends early
		s.answer(st, r)
	}()
	isCut := st.End()
	s.ended <- end{r.URL.Path, isCut, context.Cause(r.Context())}
	if isCut {
		panic(http.ErrAbortHandler)
	}
}

// end invalidates a token of a user.
func (s *site) end(user, token string) {
	s.mu.Lock()
	s.invalid[uuid.NewSHA1(uuid.Nil, []byte(token))] = true
	s.mu.Unlock()
	s.Ended("p", user)
}

func (s *site) get(t *testing.T, path, user, token string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User", user)
	r.Header.Set("Token", token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (s *site) await(t *testing.T, n int) (ends []end) {
	t.Helper()
	late := time.After(patience)
	for len(ends) < n {
		select {
		case e := <-s.ended:
			ends = append(ends, e)
		case <-late:
			t.Fatalf("%d requests are over, want %d", len(ends), n)
		}
	}
	return ends
}

func (s *site) wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !done(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// untilCancelled sends a part of an answer and waits, as one does for events.
func untilCancelled(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, "data: 1\n\n")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func TestStreamsEndWithTheirToken(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, untilCancelled)
			if protocol == "HTTP/1.1" {
				s.Client().Transport.(*http.Transport).ForceAttemptHTTP2 = false
				s.Client().Transport.(*http.Transport).Protocols = new(http.Protocols)
				s.Client().Transport.(*http.Transport).Protocols.SetHTTP1(true)
			}
			bobs, bobsOther, carols := s.get(t, "/bobs", "bob", "one"), s.get(t, "/other", "bob", "two"), s.get(t, "/carols", "carol", "three")
			if bobs.Proto != protocol {
				t.Fatalf("it is %s", bobs.Proto)
			}
			s.wait(t, "there are three", func() bool { return s.Counts()["p"] == 3 })
			asked := s.asked.Load()
			s.end("bob", "one")
			if got := s.await(t, 1)[0]; got.path != "/bobs" || !got.isCut || !errors.Is(got.cause, context.Canceled) {
				t.Errorf("ended %v", got)
			}
			if text, err := io.ReadAll(bobs.Body); err == nil || string(text) != "data: 1\n\n" {
				t.Errorf("the client has read %q, %v, and sees no error", text, err)
			}
			if n := s.asked.Load() - asked; n > 2 {
				t.Errorf("asked about %d streams, of which two are bob's", n)
			}
			if n := s.Counts()["p"]; n != 2 {
				t.Errorf("%d are open, want 2", n)
			}
			for _, resp := range []*http.Response{bobsOther, carols} {
				hear(t, resp.Body, "data: 1\n\n")
			}
		})
	}
}

func hear(t *testing.T, from io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(from, got); err != nil || string(got) != want {
		t.Fatalf("heard %q (%v), want %q", got[:n], err, want)
	}
}

func TestAnswersThatAreYoungAreFinished(t *testing.T) {
	t.Parallel()
	begun, goOn := make(chan struct{}), make(chan struct{})
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/answered" {
			_, _ = io.WriteString(w, "begin ")
		}
		begun <- struct{}{}
		<-goOn
		_, _ = io.WriteString(w, "end")
	})
	for _, path := range []string{"/answered", "/unanswered"} {
		got := make(chan *http.Response)
		go func() { got <- s.get(t, path, "bob", path) }()
		<-begun
		s.end("bob", path)
		goOn <- struct{}{}
		resp := <-got
		if text, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(text), "end") {
			t.Errorf("%s: %q, %v", path, text, err)
		}
		if e := s.await(t, 1)[0]; e.isCut {
			t.Errorf("%s is cut", path)
		}
	}
}

// One whose token ended while it was young ends when it has grown.
func TestAYoungAnswerIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, untilCancelled)
	resp := s.get(t, "/", "bob", "one")
	s.end("bob", "one")
	if e := s.await(t, 1)[0]; !e.isCut {
		t.Error("it isn't cut")
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the client sees no error")
	}
}

func TestAStreamEndsWhenItsTokenExpires(t *testing.T) {
	t.Parallel()
	s := newSite(t, untilCancelled)
	s.get(t, "/expires", "bob", "one", "Expires", "yes")
	s.get(t, "/stays", "bob", "two")
	s.wait(t, "there are two", func() bool { return s.Counts()["p"] == 2 })
	s.mu.Lock()
	s.now = s.now.Add(time.Hour)
	s.mu.Unlock()
	if e := s.await(t, 1)[0]; !e.isCut || e.path != "/expires" {
		t.Errorf("ended %v", e)
	}
}

// A client that doesn't read keeps nothing open.
func TestAWriterThatWaitsIsCut(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		for text := strings.Repeat("x", 1<<16); ; {
			if _, err := io.WriteString(w, text); err != nil {
				return
			}
		}
	})
	s.get(t, "/", "bob", "one") // and isn't read
	s.wait(t, "there is one", func() bool { return s.Counts()["p"] == 1 })
	s.end("bob", "one")
	if e := s.await(t, 1)[0]; !e.isCut {
		t.Error("it isn't cut")
	}
}

// patientWriter gives each write a minute, whatever the deadline was, as Caddy's
// own writers do.
type patientWriter struct{ http.ResponseWriter }

func (w patientWriter) Write(p []byte) (int, error) {
	if err := http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}

func (w patientWriter) SetWriteDeadline(time.Time) error { return nil }
func (w patientWriter) Unwrap() http.ResponseWriter      { return w.ResponseWriter }

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Whatever writers there are in between, and however fast the client reads.
func TestAWriterThatIsPatientIsCut(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, endless{}) })
	s.around = func(w http.ResponseWriter) http.ResponseWriter { return patientWriter{w} }
	for _, reads := range []bool{true, false} {
		resp := s.get(t, "/", "bob", fmt.Sprint(reads))
		if reads {
			go func() { _, _ = io.Copy(io.Discard, resp.Body) }()
		}
		s.wait(t, "there is one", func() bool { return s.Counts()["p"] == 1 })
		s.end("bob", fmt.Sprint(reads))
		if e := s.await(t, 1)[0]; !e.isCut {
			t.Error("it isn't cut")
		}
	}
}

// slowToClose is a connection whose Close takes until it is let go.
type slowToClose struct {
	net.Conn
	closing, letGo chan struct{}
}

func (c *slowToClose) Close() error {
	close(c.closing)
	<-c.letGo
	return c.Conn.Close()
}

type hijackable struct {
	http.ResponseWriter
	conn net.Conn
}

func (w hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.conn, nil, nil }

// TLS says goodbye before it closes a connection, and waits for a client that
// doesn't read.
func TestNobodyWaitsForAConnectionThatIsSlowToClose(t *testing.T) {
	t.Parallel()
	s := newSite(t, untilCancelled)
	here, there := net.Pipe()
	defer there.Close()
	conn := &slowToClose{here, make(chan struct{}), make(chan struct{})}
	slow := s.Begin(hijackable{httptest.NewRecorder(), conn}, httptest.NewRequest(http.MethodGet, "/", nil), Opener{Project: "p", User: "bob", Token: uuid.NewSHA1(uuid.Nil, []byte("slow"))})
	if _, _, err := slow.Hijack(); err != nil {
		t.Fatal(err)
	}
	s.get(t, "/", "bob", "one")
	s.wait(t, "there are two", func() bool { return s.Counts()["p"] == 2 })
	s.end("bob", "slow")
	<-conn.closing
	s.end("bob", "one")
	if e := s.await(t, 1)[0]; !e.isCut {
		t.Error("it isn't cut")
	}
	close(conn.letGo)
	if !slow.End() {
		t.Error("the slow one isn't cut")
	}
}

// A connection that was taken over is a stream from its beginning.
func TestConnectionsThatWereTakenOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(buffered, "hello")
		_ = buffered.Flush()
		_, _ = io.Copy(io.Discard, buffered)
	})
	transport := s.Client().Transport.(*http.Transport)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	resp := s.get(t, "/", "bob", "one", "Upgrade", "websocket", "Connection", "Upgrade")
	hear(t, resp.Body, "hello")
	s.wait(t, "there is one", func() bool { return s.Counts()["p"] == 1 })
	s.end("bob", "one")
	if e := s.await(t, 1)[0]; !e.isCut {
		t.Error("it isn't cut")
	}
	if _, err := bufio.NewReader(resp.Body).ReadByte(); err == nil {
		t.Error("the client can go on")
	}
}

// What begins, ends and is ended at once leaves nothing behind.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "x")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/stream" {
			<-r.Context().Done()
		}
	})
	s.ended = make(chan end, 10_000)
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			for range 4 {
				path := map[bool]string{true: "/stream", false: "/"}[n%2 == 0]
				r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
				r.Header.Set("User", "bob")
				r.Header.Set("Token", "one")
				resp, err := s.Client().Do(r)
				if err != nil {
					continue // cut before its header arrived
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	s.mu.Lock()
	s.invalid[uuid.NewSHA1(uuid.Nil, []byte("one"))] = true
	s.mu.Unlock()
	for ticker := time.NewTicker(time.Millisecond); ; {
		select {
		case <-done:
			ticker.Stop()
			for _, e := range s.await(t, 80) {
				if e.path == "/stream" && !e.isCut {
					t.Error("a stream ended by itself")
				}
			}
			if n := s.Counts()["p"]; n > 0 {
				t.Errorf("%d are left", n)
			}
			return
		case <-ticker.C:
			s.Ended("", "")
		}
	}
}

// BenchmarkAnswer is what following an answer that isn't a stream costs.
func BenchmarkAnswer(b *testing.B) {
	s := New(func(*Opener) bool { return true }, time.Now)
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		w := httptest.NewRecorder()
		for pb.Next() {
			r := *r
			st := s.Begin(w, &r, Opener{Project: "p", User: "bob"})
			st.WriteHeader(http.StatusOK)
			st.End()
		}
	})
}

// BenchmarkIdle is one look at ten thousand streams of which nothing has ended.
func BenchmarkIdle(b *testing.B) {
	s := New(func(*Opener) bool { return true }, time.Now)
	defer s.Close()
	for range 10_000 {
		st := s.Begin(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), Opener{Expires: time.Now().Add(time.Hour)})
		st.WriteHeader(http.StatusSwitchingProtocols)
	}
	b.ResetTimer()
	for b.Loop() {
		s.examine()
	}
}
