package caddymodule

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// limitedSite lets two sign-ins of an address and user fail in an hour, and
// takes the client's address from the test.
const limitedSite = `
http://:PORT {
	bind 127.0.0.1
	establish id {header.X-User}
	access_tokens {
		allow_generate everyone
		sign_in_limit 2 1h
		SIGN_INS
	}
	respond ok
}`

func serveLimited(t *testing.T, signIns string) *server {
	t.Helper()
	return serveWith(t, "servers {\ntrusted_proxies static 127.0.0.1/32\n}", strings.Replace(limitedSite, "SIGN_INS", signIns, 1))
}

func basicFrom(address, user string) http.Header {
	return http.Header{
		"X-Forwarded-For": {address},
		"Authorization":   {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":secret"))},
	}
}

// startAPI starts an API behind for as long as the test runs.
func startAPI(t testing.TB, serve http.HandlerFunc) *httptest.Server {
	t.Helper()
	api := httptest.NewServer(serve)
	t.Cleanup(api.Close)
	return api
}

// whoAmI is an API that always answers its who-am-I route so.
func whoAmI(t testing.TB, status int, body string) *httptest.Server {
	t.Helper()
	return startAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func bcryptOf(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func refuseAll(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }

// attempts tells the statuses of so many sign-ins, one after the other.
func (s *server) attempts(t testing.TB, n int, header http.Header) string {
	t.Helper()
	var statuses []string
	for range n {
		got := s.ask(t, http.MethodGet, managementPath, "", header)
		statuses = append(statuses, strconv.Itoa(got.status))
		if got.status != http.StatusTooManyRequests {
			continue
		}
		if got.exception() != "TooManyRequestsException" || got.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%v, %v", got, got.header)
		}
		if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 1800 {
			t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
		}
	}
	return strings.Join(statuses, " ")
}

// What counts as a failed sign-in, and what doesn't.
func TestWhatCountsForTheLimit(t *testing.T) {
	for name, test := range map[string]struct {
		first, second func(*http.Request) (signin.User, error)
		want          string
	}{
		"no":                           {says(signin.User{}, signin.ErrDenied), nil, "401 401 429 429"},
		"not mine, no":                 {says(signin.User{}, signin.ErrNotMine), says(signin.User{}, signin.ErrDenied), "401 401 429 429"},
		"nobody knows the credentials": {says(signin.User{}, signin.ErrNotMine), says(signin.User{}, signin.ErrNotMine), "401 401 429 429"},
		"a user who can't be one":      {says(signin.User{ID: "*"}, nil), nil, "401 401 429 429"},
		"yes":                          {says(signin.User{ID: "alice"}, nil), nil, "200 200 200 200"},
		"not mine, yes":                {says(signin.User{}, signin.ErrNotMine), says(signin.User{ID: "alice"}, nil), "200 200 200 200"},
		"a time-out":                   {says(signin.User{}, context.DeadlineExceeded), nil, "503 503 429 429"},
		"can't be told":                {says(signin.User{}, errors.New("the directory says 500")), nil, "503 503 429 429"},
		"not mine, can't be told":      {says(signin.User{}, signin.ErrNotMine), says(signin.User{}, errors.New("busy")), "503 503 429 429"},
		"not checked":                  {says(signin.User{}, signin.ErrNotChecked), nil, "503 503 503 503"},
		"not checked, wrapped":         {says(signin.User{}, fmt.Errorf("the directory is down: %w", signin.ErrNotChecked)), nil, "503 503 503 503"},
		"not mine, not checked":        {says(signin.User{}, signin.ErrNotMine), says(signin.User{}, signin.ErrNotChecked), "503 503 503 503"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveLimited(t, "sign_in guest first\nsign_in guest second")
			answer(t, "first", test.first)
			if test.second != nil {
				answer(t, "second", test.second)
			}
			if got := s.attempts(t, 4, basicFrom("192.0.2.1", "alice")); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// A sign-in isn't asked once the limit is reached, others are let in, and
// tokens work as before.
func TestLimitedAreNotAsked(t *testing.T) {
	s := serveLimited(t, "sign_in guest first")
	var asked atomic.Int32
	answer(t, "first", func(r *http.Request) (signin.User, error) {
		asked.Add(1)
		user, password, ok := r.BasicAuth()
		switch {
		case !ok:
			return signin.User{}, signin.ErrNotMine
		case password != "secret":
			return signin.User{}, signin.ErrDenied
		}
		return signin.User{ID: user}, nil
	})
	header := basicFrom("192.0.2.1", "alice")
	token := s.create(t, header).token(t)
	wrong := header.Clone()
	wrong.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("alice:guess")))
	if got := s.attempts(t, 3, wrong); got != "401 401 429" {
		t.Errorf("guessing: %s", got)
	}
	before := asked.Load()
	if got := s.attempts(t, 2, header); got != "429 429" || asked.Load() != before {
		t.Errorf("with the right password: %s, asked %d times more", got, asked.Load()-before)
	}
	for name, other := range map[string]http.Header{
		"from elsewhere":           basicFrom("192.0.2.2", "alice"),
		"another user from there":  basicFrom("192.0.2.1", "bob"),
		"from another /64 of IPv6": basicFrom("2001:db8::1", "alice"),
		"with a token":             {"X-Forwarded-For": {"192.0.2.1"}, "Authorization": {"Bearer " + token}},
	} {
		if got := s.attempts(t, 1, other); got != "200" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := s.ask(t, http.MethodGet, "/", "", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "Authorization": {"Bearer " + token}}); got.status != http.StatusOK {
		t.Errorf("the API behind, with a token: %v", got)
	}
	wrongToken := http.Header{"X-Forwarded-For": {"192.0.2.3"}, "Authorization": {"Bearer cat_wrong"}}
	for range 50 {
		if got := s.ask(t, http.MethodGet, managementPath, "", wrongToken); got.status != http.StatusUnauthorized {
			t.Fatalf("a wrong token: %v", got)
		}
	}
	if got := s.attempts(t, 1, basicFrom("192.0.2.3", "alice")); got != "200" {
		t.Errorf("after wrong tokens: %s", got)
	}
}

// The address alone counts for a session, ten times as many; and what a client
// says of its address is nothing without a trusted proxy.
func TestRefusedSessionsCountByAddress(t *testing.T) {
	api := startAPI(t, refuseAll)
	s := serveLimited(t, "sign_in upstream "+api.URL+" {\ncookies sid\n}")
	session := http.Header{"Cookie": {"sid=gone"}, "X-Forwarded-For": {"192.0.2.1"}}
	if got := s.attempts(t, 22, session); got != strings.Repeat("401 ", 20)+"429 429" {
		t.Errorf("%s", got)
	}
	if got := s.attempts(t, 1, basicFrom("192.0.2.1", "alice")); got != "429" {
		t.Errorf("a password from there: %s", got)
	}
	session.Set("X-Forwarded-For", "192.0.2.2")
	if got := s.attempts(t, 1, session); got != "401" {
		t.Errorf("from elsewhere: %s", got)
	}
	// Whoever sends nothing that could be right is no failure.
	other := http.Header{"Cookie": {"locale=en"}, "X-Forwarded-For": {"192.0.2.1"}}
	if got := s.attempts(t, 3, other); got != "401 401 401" {
		t.Errorf("without credentials: %s", got)
	}

	// At another port: connections to this one may still lead to what was
	// configured before.
	s = serve(t, strings.Replace(limitedSite, "SIGN_INS", "sign_in upstream "+api.URL, 1))
	for i, want := range []string{"401", "401", "429"} {
		if got := s.attempts(t, 1, basicFrom(fmt.Sprintf("192.0.2.%d", i), "alice")); got != want {
			t.Errorf("an address made up by the client, attempt %d: %s, want %s", i+1, got, want)
		}
	}
}

// A guest's credentials may be anywhere. That there are none is no attempt.
func TestGuestsCredentialsElsewhereAreLimited(t *testing.T) {
	s := serveLimited(t, "sign_in guest keys")
	asked := 0
	answer(t, "keys", func(r *http.Request) (signin.User, error) {
		asked++
		switch r.Header.Get("X-Key") {
		case "":
			return signin.User{}, signin.ErrNotMine
		case "right":
			return signin.User{ID: "fred"}, nil
		}
		return signin.User{}, signin.ErrDenied
	})
	key := http.Header{"X-Key": {"guess"}, "X-Forwarded-For": {"192.0.2.1"}}
	if got := s.attempts(t, 22, key); got != strings.Repeat("401 ", 20)+"429 429" || asked != 20 {
		t.Errorf("%s, and asked %d times", got, asked)
	}
	key.Set("X-Key", "right")
	if got := s.attempts(t, 1, key); got != "429" {
		t.Errorf("the right one from there: %s", got)
	}
	key.Set("X-Forwarded-For", "192.0.2.2")
	if got := s.attempts(t, 30, key); got != strings.TrimSpace(strings.Repeat("200 ", 30)) {
		t.Errorf("the right one from elsewhere: %s", got)
	}
	if got := s.attempts(t, 3, http.Header{"X-Forwarded-For": {"192.0.2.1"}}); got != "401 401 401" {
		t.Errorf("without credentials: %s", got)
	}
}

// giveUp sends a sign-in whose client goes away once it is asked about.
func (s *server) giveUp(t testing.TB, header http.Header, asked <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request := s.request(t, http.MethodGet, managementPath, "", header).WithContext(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if answer, err := client.Do(request); err == nil {
			answer.Body.Close()
		}
	}()
	<-asked
	cancel()
	<-ended
}

// Whoever goes away before a guest has said no was told that it was no quick
// yes. The guest is asked to its end, and its answer counts.
func TestGuessesWithoutWaitingCount(t *testing.T) {
	s := serveLimited(t, "sign_in guest first")
	asked, gone := make(chan struct{}), make(chan struct{})
	answer(t, "first", func(r *http.Request) (signin.User, error) {
		asked <- struct{}{}
		<-gone
		if r.Context().Err() != nil {
			return signin.User{}, r.Context().Err()
		}
		return signin.User{}, signin.ErrDenied
	})
	header := basicFrom("192.0.2.1", "alice")
	for range 2 {
		s.giveUp(t, header, asked)
	}
	close(gone)
	header.Set("X-Other", "guess") // which waits until those have ended
	if got := s.attempts(t, 1, header); got != "429" {
		t.Errorf("a third: %s", got)
	}
}

// An API that was asked has looked at the password, whatever it answers, and
// whether the client waits for the answer or not.
func TestUndecidedAnswersOfAnAPICount(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"400":                    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
		"404":                    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"422":                    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) },
		"429":                    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"500":                    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"503":                    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"204":                    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"a page":                 func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>wrong password</html>") },
		"an id that is none":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id": false}`) },
		"a connection it closes": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"an answer that breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"id": "alice"}`)
		},
		"an answer that is late": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			api := startAPI(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				serve(w, r)
			})
			s := serveLimited(t, "sign_in upstream "+api.URL+" {\ncookies sid\ntimeout 200ms\n}")
			if got := s.attempts(t, 4, basicFrom("192.0.2.1", "alice")); got != "503 503 429 429" || asked.Load() != 2 {
				t.Errorf("%s, and the API is asked %d times", got, asked.Load())
			}
			session := http.Header{"Cookie": {"sid=guess"}, "X-Forwarded-For": {"192.0.2.2"}}
			if got := s.attempts(t, 21, session); !strings.HasSuffix(got, "503 429") || asked.Load() != 2+20 {
				t.Errorf("sessions: %s, and the API is asked %d times", got, asked.Load())
			}
		})
	}
}

func TestGivingUpOnAnUndecidedAnswerCounts(t *testing.T) {
	asked := make(chan struct{})
	api := startAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		w.WriteHeader(http.StatusBadGateway)
	})
	s := serveLimited(t, "sign_in upstream "+api.URL)
	header := basicFrom("192.0.2.1", "alice")
	for range 2 {
		s.giveUp(t, header, asked)
	}
	header.Set("X-Other", "guess") // which waits until those have ended
	if got := s.attempts(t, 1, header); got != "429" {
		t.Errorf("a third: %s", got)
	}
}

// An API that can't be reached locks nobody out: it has seen no password.
func TestAnAPIThatIsDownDoesntCount(t *testing.T) {
	// A certificate nobody trusts: the connection ends before anything is sent.
	strange := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked") }))
	strange.Config.ErrorLog = log.New(io.Discard, "", 0)
	strange.StartTLS()
	defer strange.Close()
	for name, url := range map[string]string{
		"nobody listens":          "http://127.0.0.1:" + freePort(t),
		"nobody listens, TLS":     "https://127.0.0.1:" + freePort(t),
		"no such name":            "http://api.invalid",
		"a certificate of others": strange.URL,
	} {
		for _, transport := range []string{"", "transport http {\nversions 1.1\n}", "transport http {\nversions 1.1 2\n}"} {
			t.Run(name+" "+transport, func(t *testing.T) {
				s := serveLimited(t, "sign_in upstream "+url+" {\ncookies sid\n"+transport+"\n}")
				if got := s.attempts(t, 4, basicFrom("192.0.2.1", "alice")); got != "503 503 503 503" {
					t.Errorf("%s", got)
				}
			})
		}
	}
}

// A connection that is used again tells nothing of whether this password was sent.
func TestAnAPIThatGoesDownAfterItWasAsked(t *testing.T) {
	var asked atomic.Int32
	api := startAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 1 {
			panic(http.ErrAbortHandler) // and net/http asks once more
		}
		_, _ = io.WriteString(w, `{"id": "alice"}`)
	})
	s := serveLimited(t, "sign_in upstream "+api.URL)
	if got := s.attempts(t, 4, basicFrom("192.0.2.1", "alice")); got != "200 503 503 429" {
		t.Errorf("%s", got)
	}
}

// A refused session counts, whatever becomes of the password beside it.
func TestARefusedSessionBesideABusyGuestCounts(t *testing.T) {
	api := startAPI(t, refuseAll)
	s := serveLimited(t, "sign_in upstream "+api.URL+" {\nbasic off\ncookies sid\n}\nsign_in guest first")
	answer(t, "first", says(signin.User{}, errors.New("busy")))
	header := basicFrom("192.0.2.1", "alice")
	header.Set("Cookie", "sid=guess")
	if got := s.attempts(t, 4, header); got != "503 503 429 429" {
		t.Errorf("%s", got)
	}
}

// A user established in front isn't limited for what others of the address do.
func TestPlaceholderIsNotLimited(t *testing.T) {
	api := startAPI(t, refuseAll)
	s := serveLimited(t, "sign_in upstream "+api.URL+" {\ncookies sid\n}\nsign_in placeholder {http.auth.user.id}")
	for i := range 20 {
		s.attempts(t, 1, basicFrom("192.0.2.1", strconv.Itoa(i)))
	}
	if got := s.attempts(t, 1, http.Header{"Cookie": {"sid=1"}, "X-Forwarded-For": {"192.0.2.1"}}); got != "429" {
		t.Fatalf("the address isn't limited: %s", got)
	}
	if got := s.attempts(t, 3, http.Header{"X-User": {"fred"}, "X-Forwarded-For": {"192.0.2.1"}}); got != "200 200 200" {
		t.Errorf("established in front: %s", got)
	}
	// A session that has ended doesn't hide who is established in front, and
	// isn't a failed sign-in.
	if got := s.attempts(t, 30, http.Header{"X-User": {"fred"}, "Cookie": {"sid=1"}, "X-Forwarded-For": {"192.0.2.2"}}); got != strings.TrimSpace(strings.Repeat("200 ", 30)) {
		t.Errorf("with an old session beside: %s", got)
	}
}

// Many passwords at a time can't fail more often than one after the other.
func TestConcurrentGuesses(t *testing.T) {
	s := serveLimited(t, "sign_in guest first")
	var asked atomic.Int32
	answer(t, "first", func(*http.Request) (signin.User, error) {
		asked.Add(1)
		return signin.User{}, signin.ErrDenied
	})
	var group sync.WaitGroup
	for i := range 64 {
		header := basicFrom("192.0.2.1", "alice")
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString(fmt.Append(nil, "alice:guess", i)))
		group.Go(func() { s.attempts(t, 1, header) })
	}
	group.Wait()
	if asked.Load() != 2 {
		t.Errorf("%d passwords are tried, want 2", asked.Load())
	}
}

// A guest module that panics has not said yes, and holds nothing back for later
// attempts.
func TestPanicEndsAnAttempt(t *testing.T) {
	s := serveLimited(t, "sign_in guest first")
	var calm atomic.Bool
	answer(t, "first", func(*http.Request) (signin.User, error) {
		if !calm.Load() {
			panic(http.ErrAbortHandler)
		}
		return signin.User{ID: "alice"}, nil
	})
	panics := func(address string) {
		t.Helper()
		answered, err := client.Do(s.requestWith(t, basicFrom(address, "alice")))
		if err == nil {
			answered.Body.Close()
			t.Errorf("status %d", answered.StatusCode)
		}
	}
	panics("192.0.2.1")
	panics("192.0.2.2")
	panics("192.0.2.2")
	calm.Store(true)
	if got := s.attempts(t, 1, basicFrom("192.0.2.1", "alice")); got != "200" {
		t.Errorf("after one: %s, want 200", got)
	}
	if got := s.attempts(t, 1, basicFrom("192.0.2.2", "alice")); got != "429" {
		t.Errorf("after two: %s, want 429", got)
	}
}

func (s *server) requestWith(t testing.TB, header http.Header) *http.Request {
	return s.request(t, http.MethodGet, managementPath, "", header)
}
