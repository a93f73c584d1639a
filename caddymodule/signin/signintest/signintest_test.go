package signintest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

func request(header, value string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/x?y=z", strings.NewReader("body"))
	if header != "" {
		r.Header.Set(header, value)
	}
	return r
}

// proper takes `Authorization: Word <word>`.
type proper struct{}

func (proper) SignIn(r *http.Request) (signin.User, error) {
	word, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Word ")
	switch {
	case !ok:
		return signin.User{}, signin.ErrNotMine
	case word == "difficult":
		return signin.User{}, errors.New("not now")
	case word != "sesame":
		return signin.User{}, signin.ErrDenied
	}
	return signin.User{ID: "ali", Claims: map[string]string{"cave": "7"}}, nil
}

var properCases = []Case{
	{Name: "right", Request: request("Authorization", "Word sesame"), User: signin.User{ID: "ali", Claims: map[string]string{"cave": "7"}}},
	{Name: "wrong", Request: request("Authorization", "Word barley"), Err: signin.ErrDenied},
	{Name: "another's", Request: request("Authorization", "Other sesame"), Err: signin.ErrNotMine},
	{Name: "can't tell", Request: request("Authorization", "Word difficult"), Err: errors.New("can't tell")},
}

func TestProper(t *testing.T) { Run(t, proper{}, properCases...) }

// sign is a sign-in by function.
type sign func(*http.Request) (signin.User, error)

func (s sign) SignIn(r *http.Request) (signin.User, error) { return s(r) }

type namer struct{ proper }

func (namer) ClaimNames() []string { return []string{"id"} }

type stranger struct{ proper }

func (stranger) Knows(string) bool { return false }

type taker struct{ sign }

func (taker) HasCredentials(*http.Request) bool { return true }

type blind struct{ sign }

func (blind) HasCredentials(*http.Request) bool { return false }

type front struct{ proper }

func (front) Established(*http.Request) (signin.User, error) { return signin.User{ID: "other"}, nil }

type modest struct{ sign }

func (modest) NamesAdmins() bool { return false }

type noBasic struct{ sign }

func (noBasic) TakesBasic() bool { return false }

// Whatever breaks the contract is found.
func TestBroken(t *testing.T) {
	right, wrong := properCases[0], properCases[1]
	always := func(u signin.User, err error) sign {
		return func(*http.Request) (signin.User, error) { return u, err }
	}
	ali := signin.User{ID: "ali"}
	var calls atomic.Int32
	for name, test := range map[string]struct {
		s    signin.SignIn
		c    Case
		want string
	}{
		"yes for no":                 {always(ali, nil), wrong, "want sign-in denied"},
		"not mine for no":            {always(ali, signin.ErrNotMine), wrong, "want sign-in denied"},
		"can't tell for no":          {always(ali, errors.New("hm")), wrong, "want sign-in denied"},
		"can't tell for not checked": {always(ali, errors.New("hm")), Case{Request: wrong.Request, Err: signin.ErrNotChecked}, "want the credentials were not checked"},
		"not checked for can't tell": {always(ali, signin.ErrNotChecked), Case{Request: wrong.Request, Err: errors.New("hm")}, "want hm"},
		"no for yes":                 {always(ali, signin.ErrDenied), right, "want {ID:ali"},
		"another user":               {always(signin.User{ID: "baba"}, nil), right, "want {ID:ali"},
		"other claims":               {always(ali, nil), right, "want {ID:ali"},
		"nobody":                     {always(signin.User{}, nil), Case{Request: right.Request}, "nobody can be that user"},
		"not the same again": {sign(func(r *http.Request) (signin.User, error) {
			if calls.Add(1) > 1 {
				return signin.User{}, signin.ErrDenied
			}
			return proper{}.SignIn(r)
		}), right, "want {ID:ali"},
		"a changed header": {sign(func(r *http.Request) (signin.User, error) {
			defer r.Header.Set("X-Seen", "1")
			return proper{}.SignIn(r)
		}), right, "changes the request"},
		"a changed path": {sign(func(r *http.Request) (signin.User, error) {
			r.URL.Path = "/"
			return proper{}.SignIn(r)
		}), right, "changes the request"},
		"a read body": {sign(func(r *http.Request) (signin.User, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			return proper{}.SignIn(r)
		}), right, "reads the request's body"},
		"an error with the credentials": {sign(func(r *http.Request) (signin.User, error) {
			return signin.User{}, errors.Join(signin.ErrDenied, errors.New(r.Header.Get("Authorization")))
		}), wrong, "tells the credentials"},
		"an error with a password": {sign(func(r *http.Request) (signin.User, error) {
			_, password, _ := r.BasicAuth()
			return signin.User{}, errors.Join(signin.ErrDenied, errors.New(password))
		}), Case{Request: request("Authorization", "Basic YWxpOmJhcmxleQ=="), Err: signin.ErrDenied}, "tells the credentials"},
		"an error with a cookie": {sign(func(r *http.Request) (signin.User, error) {
			return signin.User{}, errors.Join(signin.ErrNotMine, errors.New(r.Header.Get("Cookie")))
		}), Case{Request: request("Cookie", "sid=barley"), Err: signin.ErrNotMine}, "tells the credentials"},
		"no, as the client has gone": {sign(func(r *http.Request) (signin.User, error) {
			if r.Context().Err() != nil {
				return signin.User{}, signin.ErrDenied
			}
			return proper{}.SignIn(r)
		}), right, "context has ended"},
		"a claim of all users":           {namer{}, right, "email, name"},
		"a claim that isn't named":       {namer{}, right, "the claim cave"},
		"a user it doesn't know":         {stranger{}, right, "doesn't know that user"},
		"an administrator":               {modest{always(signin.User{ID: "ali", Admin: true}, nil)}, Case{Request: right.Request, User: signin.User{ID: "ali", Admin: true}}, "calls nobody so"},
		"another user in front":          {front{}, right, "in front: "},
		"Basic after all":                {noBasic{always(signin.User{}, signin.ErrDenied)}, Case{Request: request("Authorization", "Basic YTpi"), Err: signin.ErrDenied}, "TakesBasic"},
		"unlimited credentials":          {always(ali, nil), Case{Request: request("X-Key", "1"), User: ali}, "no CredentialTaker"},
		"unseen credentials":             {blind{always(ali, nil)}, Case{Request: request("X-Key", "1"), User: ali}, "HasCredentials sees none"},
		"credentials where there are no": {taker{always(signin.User{}, signin.ErrNotMine)}, Case{Request: request("", ""), Err: signin.ErrNotMine}, "where there are none"},
	} {
		problems := check(test.s, test.c)
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, test.want) }) {
			t.Errorf("%s: %q, want %q", name, problems, test.want)
		}
	}
}

func TestBrokenWhenManyAsk(t *testing.T) {
	var asked atomic.Int32
	second := make(chan struct{})
	var once sync.Once
	alone := sign(func(r *http.Request) (signin.User, error) {
		if asked.Add(1) > 1 {
			once.Do(func() { close(second) })
			return signin.User{}, errors.New("busy")
		}
		<-second // which is asked meanwhile
		return proper{}.SignIn(r)
	})
	if problems := checkConcurrently(alone, properCases); len(problems) == 0 {
		t.Error("a sign-in that can't do two things at a time isn't found")
	}
}
