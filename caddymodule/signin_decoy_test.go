package caddymodule

import (
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// After a no, all that would have been asked is asked in vain, in order, and
// nothing that had its turn before.
func TestDecoysAfterANo(t *testing.T) {
	for name, test := range map[string]struct {
		first, second func(*http.Request) (signin.User, error)
		want          []string
		status        string
	}{
		"no":                      {says(signin.User{}, signin.ErrDenied), nil, []string{"first", "second's decoy", "third's decoy"}, "401"},
		"not mine, no":            {says(signin.User{}, signin.ErrNotMine), says(signin.User{}, signin.ErrDenied), []string{"first", "second", "third's decoy"}, "401"},
		"not mine, not mine":      {says(signin.User{}, signin.ErrNotMine), says(signin.User{}, signin.ErrNotMine), []string{"first", "second", "third"}, "401"},
		"yes":                     {says(signin.User{ID: "alice"}, nil), nil, []string{"first"}, "200"},
		"not mine, yes":           {says(signin.User{}, signin.ErrNotMine), says(signin.User{ID: "alice"}, nil), []string{"first", "second"}, "200"},
		"it can't be told":        {says(signin.User{}, signin.ErrNotChecked), nil, []string{"first"}, "503"},
		"a user who can't be one": {says(signin.User{ID: "*"}, nil), nil, []string{"first"}, "401"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveLimited(t, "sign_in guest first\nsign_in guest second\nsign_in guest third")
			asked := make(chan string, 10)
			notes := func(name string, sign func(*http.Request) (signin.User, error)) {
				answer(t, name, func(r *http.Request) (signin.User, error) {
					asked <- name
					return sign(r)
				})
			}
			notes("first", test.first)
			if test.second != nil {
				notes("second", test.second)
			}
			notes("third", says(signin.User{}, signin.ErrNotMine))
			for _, name := range []string{"first's decoy", "second's decoy", "third's decoy"} {
				notes(name, says(signin.User{ID: "mallory"}, nil)) // which is believed of none
			}
			if got := s.attempts(t, 1, basicFrom("192.0.2.1", "alice")); got != test.status {
				t.Errorf("%s, want %s", got, test.status)
			}
			close(asked)
			var got []string
			for name := range asked {
				got = append(got, name)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("asked are %q, want %q", got, test.want)
			}
		})
	}
}

// What a user costs who is listed in `sign_in basic`, and whose password is
// wrong, is what one costs who isn't: a comparison, and a question to the API. But
// the API doesn't learn the password that somebody else's user has mistyped.
func TestTheAPIIsAskedInVainForAListedUser(t *testing.T) {
	type question struct{ user, password, cookie string }
	asked := make(chan question, 10)
	api := startAPI(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		asked <- question{user, password, r.Header.Get("Cookie")}
		_, _ = io.WriteString(w, `{"id": "mallory"}`) // an API that knows everybody
	})
	ask := func(t *testing.T, s *server, user, password, cookie string, status int) (q []question) {
		t.Helper()
		header := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
		if cookie != "" {
			header.Set("Cookie", cookie)
		}
		if got := s.ask(t, http.MethodGet, managementPath, "", header); got.status != status {
			t.Errorf("%s with %s: %v, want %d", user, password, got, status)
		}
		for len(asked) > 0 {
			q = append(q, <-asked)
		}
		return q
	}
	basic := "sign_in basic {\nalice " + bcryptOf(t, "right") + "\nbob@example.com " + bcryptOf(t, "right") + "\n}\n"

	t.Run("by password", func(t *testing.T) {
		s := serve(t, strings.NewReplacer("SIGN_INS", basic+"sign_in upstream "+api.URL+" {\ncookies sid\n}", "sign_in_limit 2 1h", "").Replace(limitedSite))
		if got := ask(t, s, "alice", "right", "", http.StatusOK); got != nil {
			t.Errorf("with the right password: %v", got)
		}
		if got := ask(t, s, "zoe", "wrong", "", http.StatusOK); !slices.Equal(got, []question{{"zoe", "wrong", ""}}) {
			t.Errorf("who isn't listed: %v", got)
		}
		first := ask(t, s, "alice", "wrong", "sid=1", http.StatusUnauthorized)
		if len(first) != 1 || len(first[0].user) != 20 || len(first[0].password) != len("wrong") || first[0].cookie != "" {
			t.Fatalf("who is listed: %v, want one question about somebody else", first)
		}
		if again := ask(t, s, "alice", "wrong", "", http.StatusUnauthorized); !slices.Equal(again, first) {
			t.Errorf("once more: %v, want %v", again, first)
		}
		other := ask(t, s, "alice", "wrung", "", http.StatusUnauthorized)
		if len(other) != 1 || other[0].user != first[0].user || other[0].password == first[0].password {
			t.Errorf("with another password: %v, before %v", other, first)
		}
		email := ask(t, s, "bob@example.com", "", "", http.StatusUnauthorized)
		if len(email) != 1 || !strings.HasSuffix(email[0].user, "@example.com") || strings.Contains(email[0].user, "bob@") || email[0].password != "" {
			t.Errorf("by an e-mail address: %v", email)
		}
	})
	t.Run("by session", func(t *testing.T) {
		s := serve(t, strings.Replace(limitedSite, "SIGN_INS", basic+"sign_in upstream "+api.URL+" {\nbasic off\ncookies sid\n}", 1))
		for user, status := range map[string]int{"zoe": http.StatusOK, "alice": http.StatusUnauthorized} {
			if got := ask(t, s, user, "wrong", "a=b; sid=1", status); !slices.Equal(got, []question{{"", "", "sid=1"}}) {
				t.Errorf("%s: %v", user, got)
			}
			if got := ask(t, s, user, "wrong", "", http.StatusUnauthorized); got != nil {
				t.Errorf("%s without a session: %v", user, got)
			}
		}
	})
	t.Run("while it is down", func(t *testing.T) {
		s := serve(t, strings.Replace(limitedSite, "SIGN_INS", basic+"sign_in upstream http://127.0.0.1:"+freePort(t), 1))
		if got := ask(t, s, "alice", "wrong", "", http.StatusUnauthorized); got != nil {
			t.Errorf("%v", got)
		}
	})
}

// A no comes when the API's answer is there, and not before.
func TestANoWaitsForTheAPI(t *testing.T) {
	asked, finish := make(chan struct{}), make(chan struct{})
	api := startAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-finish
		w.WriteHeader(http.StatusUnauthorized)
	})
	s := serve(t, strings.Replace(limitedSite, "SIGN_INS", "sign_in basic {\nalice "+bcryptOf(t, "right")+"\n}\nsign_in upstream "+api.URL, 1))
	answered := make(chan response, 1)
	go func() { answered <- s.ask(t, http.MethodGet, managementPath, "", basicFrom("192.0.2.1", "alice")) }()
	<-asked
	select {
	case got := <-answered:
		t.Errorf("answered at once: %v", got)
	default:
	}
	close(finish)
	if got := <-answered; got.status != http.StatusUnauthorized {
		t.Errorf("%v", got)
	}
}
