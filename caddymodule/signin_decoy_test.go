package caddymodule

import (
	"net/http"
	"slices"
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
