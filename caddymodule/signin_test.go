package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// guestSite asks two guest modules, one after the other, and answers requests
// with a token by its user's name.
const guestSite = `
http://:PORT {
	bind 127.0.0.1
	access_tokens {
		project guests
		allow_generate everyone
		sign_in guest first
		sign_in guest second
	}
	respond "{http.request.header.Remote-User}|{http.request.header.Remote-Email}|{http.request.header.Remote-Name}"
}`

// says is a sign-in that always answers the same.
func says(u signin.User, err error) func(*http.Request) (signin.User, error) {
	return func(*http.Request) (signin.User, error) { return u, err }
}

func TestSignInsAreAskedInOrder(t *testing.T) {
	s := serve(t, guestSite)
	alice := signin.User{ID: "alice", Email: "alice@example.com", Name: "Alice A."}
	bob := signin.User{ID: "bob"}
	for _, test := range []struct {
		name          string
		first, second func(*http.Request) (signin.User, error)
		secondIsAsked bool
		status        int
		exception     string
		user          string // whom the token made is for
	}{
		{"yes", says(alice, nil), says(bob, nil), false, 201, "", "alice|alice@example.com|Alice A."},
		{"not mine, yes", says(signin.User{}, signin.ErrNotMine), says(bob, nil), true, 201, "", "bob||"},
		{"not mine with a user, yes", says(alice, signin.ErrNotMine), says(bob, nil), true, 201, "", "bob||"},
		{"not mine, wrapped, yes", says(signin.User{}, fmt.Errorf("no cookie: %w", signin.ErrNotMine)), says(bob, nil), true, 201, "", "bob||"},
		{"not mine, not mine", says(signin.User{}, signin.ErrNotMine), says(signin.User{}, signin.ErrNotMine), true, 401, "AuthenticationRequired", ""},
		{"not mine, no", says(signin.User{}, signin.ErrNotMine), says(signin.User{}, signin.ErrDenied), true, 401, "AuthenticationRequired", ""},
		{"no", says(signin.User{}, signin.ErrDenied), says(bob, nil), false, 401, "AuthenticationRequired", ""},
		{"no with a user", says(alice, signin.ErrDenied), says(bob, nil), false, 401, "AuthenticationRequired", ""},
		{"no, wrapped", says(signin.User{}, fmt.Errorf("wrong password: %w", signin.ErrDenied)), says(bob, nil), false, 401, "AuthenticationRequired", ""},
		{"error", says(signin.User{}, errors.New("the directory is down")), says(bob, nil), false, 503, "ServiceUnavailable", ""},
		{"error with a user", says(alice, errors.New("the directory is down")), says(bob, nil), false, 503, "ServiceUnavailable", ""},
		{"not mine, error", says(signin.User{}, signin.ErrNotMine), says(signin.User{}, context.DeadlineExceeded), true, 503, "ServiceUnavailable", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked atomic.Int32
			answer(t, "first", test.first)
			answer(t, "second", func(r *http.Request) (signin.User, error) {
				asked.Add(1)
				return test.second(r)
			})
			got := s.create(t, nil)
			if got.status != test.status || got.exception() != test.exception {
				t.Errorf("%v, want %d %s", got, test.status, test.exception)
			}
			if wasAsked := asked.Load() > 0; wasAsked != test.secondIsAsked {
				t.Errorf("the second sign-in is asked: %t, want %t", wasAsked, test.secondIsAsked)
			}
			if test.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			if strings.Contains(got.body, "directory") {
				t.Errorf("the answer tells a sign-in's error: %v", got)
			}
			if test.user != "" {
				proxied := s.ask(t, http.MethodGet, "/", "", bearer(got.token(t)))
				if diff := cmp.Diff(test.user, proxied.body); diff != "" {
					t.Errorf("the API behind was told (-want +got):\n%s", diff)
				}
			}
		})
	}
	if !strings.Contains(s.logged(t), "the directory is down") {
		t.Error("the log doesn't tell a sign-in's error")
	}
}

// A sign-in's word is taken only for users who can reach the API behind as they
// are. Nobody else is asked, as it did know the request.
func TestUsersThatNoSignInMayEstablish(t *testing.T) {
	s := serve(t, guestSite)
	for name, u := range map[string]signin.User{
		"no id":                           {},
		"everyone":                        {ID: "*"},
		"a line break":                    {ID: "alice\nX-Admin: 1"},
		"a NUL":                           {ID: "ali\x00ce"},
		"a delete character":              {ID: "alice\x7f"},
		"a C1 control":                    {ID: "alice\u0085"},
		"a space in front":                {ID: " alice"},
		"a space behind":                  {ID: "alice "},
		"a tab behind":                    {ID: "alice\t"},
		"a no-break space in front":       {ID: "\u00a0alice"},
		"only a space":                    {ID: " "},
		"invalid UTF-8":                   {ID: "alice\xff"},
		"257 characters":                  {ID: strings.Repeat("a", 257)},
		"257 characters of several bytes": {ID: strings.Repeat("é", 257)},
		"an e-mail with a line break":     {ID: "alice", Email: "alice@example.com\r\nX: y"},
		"an e-mail of 1025 bytes":         {ID: "alice", Email: strings.Repeat("e", 1025)},
		"a name with a control":           {ID: "alice", Name: "Alice\x1b[31m"},
		"a name of 1025 bytes":            {ID: "alice", Name: strings.Repeat("é", 512) + "e"},
		"a name of invalid UTF-8":         {ID: "alice", Name: "\xc3"},
		"a claim with a line break":       {ID: "alice", Claims: map[string]string{"workspace": "1\n2"}},
		"a claim of 1025 bytes":           {ID: "alice", Claims: map[string]string{"workspace": strings.Repeat("w", 1025)}},
	} {
		t.Run(name, func(t *testing.T) {
			answer(t, "first", says(u, nil))
			answer(t, "second", func(*http.Request) (signin.User, error) {
				t.Error("the second sign-in is asked")
				return signin.User{}, signin.ErrNotMine
			})
			got := s.create(t, nil)
			if got.status != http.StatusUnauthorized || got.exception() != "AuthenticationRequired" {
				t.Errorf("%v, want 401 AuthenticationRequired", got)
			}
		})
	}
	if !strings.Contains(s.logged(t), "a sign-in's user is refused") {
		t.Error("the log doesn't say that users were refused")
	}
}

func TestUsersThatASignInMayEstablish(t *testing.T) {
	s := serve(t, guestSite)
	for name, u := range map[string]signin.User{
		"one character":                   {ID: "a"},
		"256 characters of several bytes": {ID: strings.Repeat("é", 256)},
		"spaces inside":                   {ID: "Alice of  Wonderland"},
		"what looks like a placeholder":   {ID: "{env.HOME}", Email: "{http.request.uri}", Name: "{"},
		"punctuation":                     {ID: `a:b,c;d="e"@[::1]/%41\*`},
		"the most that claims can be":     {ID: "alice", Email: strings.Repeat("e", 1024), Name: strings.Repeat("é", 512)},
		"claims":                          {ID: "alice", Claims: map[string]string{"workspace": "7"}},
	} {
		t.Run(name, func(t *testing.T) {
			answer(t, "first", says(u, nil))
			proxied := s.ask(t, http.MethodGet, "/", "", bearer(s.create(t, nil).token(t)))
			if diff := cmp.Diff(u.ID+"|"+u.Email+"|"+u.Name, proxied.body); diff != "" {
				t.Errorf("the API behind was told (-want +got):\n%s", diff)
			}
		})
	}
}

// What a sign-in says about its user's rights holds for that request only.
func TestAdministratorsBySignIn(t *testing.T) {
	s := serve(t, strings.Replace(guestSite, "allow_generate everyone", "allow_generate admins", 1))
	answer(t, "first", func(r *http.Request) (signin.User, error) {
		return signin.User{ID: "alice", Admin: r.Header.Get("X-Admin") == "yes"}, nil
	})
	if got := s.create(t, nil); got.status != http.StatusForbidden {
		t.Errorf("without the right: %v, want 403", got)
	}
	admin := http.Header{"X-Admin": {"yes"}}
	token := s.create(t, admin).token(t)
	if got := s.ask(t, http.MethodGet, managementPath+"?user=*", "", admin); got.status != http.StatusOK {
		t.Errorf("listing everyone's, signed in: %v, want 200", got)
	}
	if got := s.ask(t, http.MethodGet, managementPath+"?user=*", "", bearer(token)); got.status != http.StatusForbidden {
		t.Errorf("listing everyone's, with a token: %v, want 403", got)
	}
}

// A 401 on the routes asks for Basic credentials only if some sign-in takes them.
func TestChallengeNamesWhatSignInsTake(t *testing.T) {
	const bearerOnly, both = `Bearer realm="guests"`, `Bearer realm="guests", Basic realm="guests", charset="UTF-8"`
	for name, test := range map[string]struct{ signIns, want string }{
		"none of two":     {"sign_in guest first\nsign_in guest second", bearerOnly},
		"the last of two": {"sign_in guest first\nsign_in guest second asks", both},
		"basic itself":    {"sign_in basic {\nalice " + bcryptOfSomething + "\n}", both},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, strings.NewReplacer("sign_in guest first", test.signIns, "sign_in guest second", "").Replace(guestSite))
			got := s.create(t, nil)
			if diff := cmp.Diff(test.want, strings.Join(got.header.Values("WWW-Authenticate"), ", ")); got.status != http.StatusUnauthorized || diff != "" {
				t.Errorf("%v, challenge (-want +got):\n%s", got, diff)
			}
			elsewhere := s.ask(t, http.MethodGet, "/", "", nil)
			if diff := cmp.Diff(bearerOnly, strings.Join(elsewhere.header.Values("WWW-Authenticate"), ", ")); diff != "" {
				t.Errorf("challenge beside the routes (-want +got):\n%s", diff)
			}
		})
	}
}

// A sign-in that waits without credentials, of which nothing can be learned, is
// told when its client has gone.
func TestSignInEndsWithItsRequest(t *testing.T) {
	s := serve(t, guestSite)
	entered, left := make(chan struct{}), make(chan error, 1)
	answer(t, "first", func(r *http.Request) (signin.User, error) {
		close(entered)
		<-r.Context().Done()
		left <- r.Context().Err()
		return signin.User{}, r.Context().Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		<-entered
		cancel()
	}()
	if answered, err := client.Do(s.request(t, http.MethodGet, managementPath, "", nil).WithContext(ctx)); err == nil {
		answered.Body.Close()
		t.Errorf("answered with %d", answered.StatusCode)
	}
	var ended error
	waitFor(t, "the sign-in ends", func() bool {
		select {
		case ended = <-left:
			return true
		default:
			return false
		}
	})
	if !errors.Is(ended, context.Canceled) {
		t.Errorf("the request's context ended with %v", ended)
	}
}
