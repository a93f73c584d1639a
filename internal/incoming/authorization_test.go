package incoming

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

type parsed struct {
	Scheme, Token68, Error string
}

func parse(h http.Header) parsed {
	a, err := ParseAuthorization(h)
	result := parsed{Scheme: a.Scheme.String(), Token68: a.Token68}
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

func TestParseOneLine(t *testing.T) {
	malformed := parsed{Scheme: "none", Error: ErrMalformed.Error()}
	other := parsed{Scheme: "other"}
	bearer := func(token68 string) parsed { return parsed{Scheme: "Bearer", Token68: token68} }
	basic := func(token68 string) parsed { return parsed{Scheme: "Basic", Token68: token68} }

	for value, want := range map[string]parsed{
		"Bearer x":                      bearer("x"),
		"bearer x":                      bearer("x"),
		"bEaReR x":                      bearer("x"),
		"Bearer cat_0aZ":                bearer("cat_0aZ"),
		"Bearer a-b.c_d~e+f/g":          bearer("a-b.c_d~e+f/g"),
		"Bearer abc=":                   bearer("abc="),
		"Bearer abc=====":               bearer("abc====="),
		"Bearer bearer":                 bearer("bearer"),
		"Basic YTpi":                    basic("YTpi"),
		"BASIC YTpiYw==":                basic("YTpiYw=="),
		"Basic not-base64":              basic("not-base64"),
		"Bearer":                        malformed,
		"Basic":                         malformed,
		"Bearer ":                       malformed,
		"Basic ":                        malformed,
		"Bearer  x":                     bearer("x"),
		"Basic   YTpi":                  basic("YTpi"),
		"Bearer  ":                      malformed,
		"Bearer  x ":                    malformed,
		"Bearer\tx":                     malformed,
		"Bearer \tx":                    malformed,
		"Bearer,x":                      malformed,
		"Bearer=x":                      malformed,
		"Bearer/x":                      malformed,
		"Bearer:x":                      malformed,
		"Bearer\"x\"":                   malformed,
		"Bearer\xa0x":                   malformed,
		"Bearer\u00a0x":                 malformed,
		"Bearer\x00x":                   malformed,
		"Bearer x y":                    malformed,
		"Bearer x ":                     malformed,
		"Bearer x\t":                    malformed,
		"Bearer x,y":                    malformed,
		"Bearer x, Basic YTpi":          malformed,
		"Bearer x\r\n":                  malformed,
		"Bearer x\x00":                  malformed,
		"Bearer \"x\"":                  malformed,
		"Bearer =":                      malformed,
		"Bearer ==":                     malformed,
		"Bearer =x":                     malformed,
		"Bearer a=b":                    malformed,
		"Bearer token=\"x\"":            malformed,
		"Bearer \u017fecret":            malformed,
		"Bearer caf\u00e9":              malformed,
		"Basic YTpi YTpi":               malformed,
		"Basic\tYTpi":                   malformed,
		" Bearer x":                     malformed,
		"\tBearer x":                    malformed,
		" bearer":                       malformed,
		",Bearer x":                     malformed,
		", , Bearer x":                  malformed,
		"\"Bearer x\"":                  malformed,
		"\x00Bearer x":                  malformed,
		"\xa0Bearer x":                  malformed,
		"\u00a0Bearer x":                malformed,
		"\ufeffBearer x":                malformed,
		" Basic YTpi":                   malformed,
		":Basic YTpi":                   malformed,
		"":                              other,
		" ":                             other,
		"\t":                            other,
		"=":                             other,
		"\"":                            other,
		" Digest x":                     other,
		"Digest username=\"a\", qop=b":  other,
		"Negotiate YTpi":                other,
		"AWS4-HMAC-SHA256 Credential=a": other,
		"Token x":                       other,
		"Bearerx":                       other,
		"Bearer-x":                      other,
		"Bearer_ x":                     other,
		"XBearer x":                     other,
		"Basic1 YTpi":                   other,
		"Ba\u017fic YTpi":               other,
		"cat_0aZ":                       other,
	} {
		got := parse(http.Header{"Authorization": {value}})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", value, diff)
		}
	}
}

func TestParseCountsLines(t *testing.T) {
	none := parsed{Scheme: "none"}
	repeated := parsed{Scheme: "none", Error: ErrRepeated.Error()}
	bearer := parsed{Scheme: "Bearer", Token68: "x"}

	for _, test := range []struct {
		name   string
		header http.Header
		want   parsed
	}{
		{"no header at all", nil, none},
		{"no line", http.Header{"Accept": {"*/*"}}, none},
		{"a name without lines", http.Header{"Authorization": {}}, none},
		{"names that only resemble", http.Header{
			"Authorization ": {"Bearer x"}, "Proxy-Authorization": {"Bearer x"}, "Authorisation": {"Bearer x"},
			"X-Authorization": {"Bearer x"}, "Authorizatıon": {"Bearer x"},
		}, none},
		{"one line", http.Header{"Authorization": {"Bearer x"}}, bearer},
		{"one line under a raw name", http.Header{"authorization": {"Bearer x"}}, bearer},
		{"one line beside a name without lines", http.Header{"authorization": {"Bearer x"}, "Authorization": nil}, bearer},
		{"two alike", http.Header{"Authorization": {"Bearer x", "Bearer x"}}, repeated},
		{"two schemes", http.Header{"Authorization": {"Basic YTpi", "Bearer x"}}, repeated},
		{"two others", http.Header{"Authorization": {"Digest a", "Digest b"}}, repeated},
		{"two, one malformed", http.Header{"Authorization": {"Bearer", "Bearer x"}}, repeated},
		{"two, one empty", http.Header{"Authorization": {"", "Bearer x"}}, repeated},
		{"two spellings of the name", http.Header{"Authorization": {"Bearer x"}, "AUTHORIZATION": {"Bearer x"}}, repeated},
	} {
		if diff := cmp.Diff(test.want, parse(test.header)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	for _, value := range []string{
		"Bearer cat_0123456789012345678901234567890123456789012345678",
		"bearer x", "Basic YTpi", "Digest username=\"a\"", " Bearer x", "",
	} {
		header := http.Header{
			"Accept": {"*/*"}, "Authorization": {value}, "Content-Type": {"application/json"}, "X-Same-Length": {"a"},
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = ParseAuthorization(header) }); n != 0 {
			t.Errorf("%q: %v allocations, want none", value, n)
		}
	}
	raw := http.Header{"authorization": {"Bearer x"}, "AUTHORIZATION": {"Bearer y"}}
	if n := testing.AllocsPerRun(100, func() { _, _ = ParseAuthorization(raw) }); n != 0 {
		t.Errorf("raw names: %v allocations, want none", n)
	}
}

func TestAuthorizationHidesItsSecret(t *testing.T) {
	a, err := ParseAuthorization(http.Header{"Authorization": {"Bearer topsecret"}})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		string(encoded), fmt.Sprint(a), fmt.Sprint(&a), fmt.Sprintf("%v %+v %#v %s %q %d %x", a, a, a, a, a, a, a),
		fmt.Sprintf("%v", []Authorization{a}), fmt.Sprintf("%+v", struct{ A Authorization }{a}),
	} {
		if strings.Contains(shown, "topsecret") || strings.Contains(shown, fmt.Sprintf("%x", "topsecret")) {
			t.Errorf("shows the credentials: %s", shown)
		}
	}
	if got, want := fmt.Sprint(a), "Bearer [redacted]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

var (
	oracleBearer  = regexp.MustCompile(`\A[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9\-._~+/]+=*)\z`)
	oracleBasic   = regexp.MustCompile(`\A[Bb][Aa][Ss][Ii][Cc] +([A-Za-z0-9\-._~+/]+=*)\z`)
	oracleClaimed = regexp.MustCompile("(?s)\\A[^!#$%&'*+\\-.^_`|~0-9A-Za-z]*" +
		"([Bb][Ee][Aa][Rr][Ee][Rr]|[Bb][Aa][Ss][Ii][Cc])" +
		"([^!#$%&'*+\\-.^_`|~0-9A-Za-z].*)?\\z")
)

// oracle says the same as Parse of one line, in regular expressions.
func oracle(value string) (Authorization, error) {
	if m := oracleBearer.FindStringSubmatch(value); m != nil {
		value, _ := token.Parse(m[1])
		return Authorization{Scheme: Bearer, Token68: m[1], Value: value}, nil
	}
	if m := oracleBasic.FindStringSubmatch(value); m != nil {
		return Authorization{Scheme: Basic, Token68: m[1]}, nil
	}
	if oracleClaimed.MatchString(value) {
		return Authorization{}, ErrMalformed
	}
	return Authorization{Scheme: OtherScheme}, nil
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", " ", "Bearer", "Bearer ", "Bearer x", "bEARER x=", "Bearer  x", "Bearer\tx", "Bearer,x", "Bearer/x", "Bearer x y", "Bearer x ",
		" Bearer x", ",Bearer", "\xa0Bearer x", "\ufeffBearer x", "Bearerx", "Bearer =", "Bearer a=b", "Bearer-Basic YTpi",
		"Basic YTpi", "Basic YTpiYw==", "Basic", "Ba\u017fic YTpi", "Digest a=\"b\", Bearer x", "=", "`", "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		want, wantErr := oracle(value)
		for _, name := range []string{"Authorization", "authorization", "aUTHORIZATION"} {
			got, err := ParseAuthorization(http.Header{name: {value}})
			if got != want || !errors.Is(err, wantErr) {
				t.Fatalf("%s: %q: got scheme %v, token68 %q, error %v; want %v, %q, %v",
					name, value, got.Scheme, got.Token68, err, want.Scheme, want.Token68, wantErr)
			}
		}
		for _, second := range []string{"", value, "Bearer x"} {
			if _, err := ParseAuthorization(http.Header{"Authorization": {value, second}}); !errors.Is(err, ErrRepeated) {
				t.Fatalf("%q and %q: got error %v, want %v", value, second, err, ErrRepeated)
			}
		}
	})
}
