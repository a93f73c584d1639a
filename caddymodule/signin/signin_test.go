package signin_test

import (
	"strings"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

func TestCheck(t *testing.T) {
	long := func(n int) string { return strings.Repeat("é", n) }
	for name, u := range map[string]signin.User{
		"one character":       {ID: "a"},
		"256 characters":      {ID: long(256)},
		"a space in it":       {ID: "alice a."},
		"all that can be":     {ID: "alice", Email: long(512), Name: long(512), Admin: true, Claims: map[string]string{"team-1_A": long(512)}},
		"spaces around texts": {ID: "alice", Email: " a ", Name: " ", Claims: map[string]string{"team": "\u00a0"}},
		"empty claims":        {ID: "alice", Claims: map[string]string{"team": ""}},
		"a claim of 64":       {ID: "alice", Claims: map[string]string{strings.Repeat("n", 64): "x"}},
	} {
		if err := u.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	claim := func(name, value string) signin.User {
		return signin.User{ID: "alice", Claims: map[string]string{name: value}}
	}
	for name, u := range map[string]signin.User{
		"no id":                    {Email: "alice@example.com"},
		"everyone":                 {ID: "*"},
		"257 characters":           {ID: long(257)},
		"a no-break space":         {ID: "a\u00a0"},
		"a C1 control":             {ID: "a\u0085b"},
		"an e-mail too long":       {ID: "alice", Email: long(512) + "e"},
		"an e-mail with a control": {ID: "alice", Email: "a\x00"},
		"a name of invalid UTF-8":  {ID: "alice", Name: "\xc3"},
		"a claim too long":         claim("team", long(512)+"e"),
		"a claim with a control":   claim("team", "a\nb"),
		"a claim of another field": claim("email", "x"),
		"a claim without a name":   claim("", "x"),
		"a claim named by 65":      claim(strings.Repeat("n", 65), "x"),
		"a claim with a dot":       claim("a.b", "x"),
		"a claim with a brace":     claim("a}b", "x"),
	} {
		if u.Check() == nil {
			t.Errorf("%s: nothing is wrong", name)
		}
	}
}
