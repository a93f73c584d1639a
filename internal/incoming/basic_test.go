package incoming

import (
	"encoding/base64"
	"regexp"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

type decoded struct {
	User, Password string
	OK             bool
}

func decode(token68 string) decoded {
	user, password, ok := DecodeBasic(token68)
	return decoded{user, password, ok}
}

func TestDecodeBasicText(t *testing.T) {
	for text, want := range map[string]decoded{
		"alice:secret":            {"alice", "secret", true},
		"alice:":                  {"alice", "", true},
		"alice:a:b:":              {"alice", "a:b:", true},
		"alice: ":                 {"alice", " ", true},
		" alice :x":               {" alice ", "x", true},
		"a@example.com:x":         {"a@example.com", "x", true},
		"test:123\u00a3":          {"test", "123\u00a3", true},
		"\u5c71\u7530:\U0001f511": {"\u5c71\u7530", "\U0001f511", true},
		"":                        {},
		":":                       {},
		":secret":                 {},
		"alice":                   {},
		"alice:\xff":              {},
		"\xe9:secret":             {},
		"alice:\xc0\xbas":         {},
		"alice:\xed\xa0\x80":      {},
		"ali\x00ce:secret":        {},
		"alice:sec\x00ret":        {},
		"alice\n:secret":          {},
		"alice:secret\r\n":        {},
		"alice:\tsecret":          {},
		"alice\x7f:secret":        {},
		"alice:secret\u0085":      {},
		"alice\u009b:secret":      {},
	} {
		got := decode(base64.StdEncoding.EncodeToString([]byte(text)))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestDecodeBasicTakesOneSpelling(t *testing.T) {
	for token68, want := range map[string]decoded{
		"YTpi":       {"a", "b", true},
		"YTo=":       {"a", "", true},
		"YTpiYw==":   {"a", "bc", true},
		"YTo/Pz8+":   {"a", "???>", true},
		"":           {},
		"=":          {},
		"YTo":        {},
		"YTo==":      {},
		"YTpiYw":     {},
		"YTpiYw=":    {},
		"YTpiYw===":  {},
		"YTpiYx==":   {},
		"YTp=":       {},
		"YTpi=":      {},
		"YT=pi":      {},
		"YTo_Pz8-":   {},
		"YTpi\n":     {},
		"YT\r\npi":   {},
		"YTpi ":      {},
		"YTpiYTpi~.": {},
	} {
		if diff := cmp.Diff(want, decode(token68)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", token68, diff)
		}
	}
}

var (
	oracleBase64 = regexp.MustCompile(`\A(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\z`)
	oracleText   = regexp.MustCompile("\\A([^:[:cntrl:]\u0080-\u009f]+):([^[:cntrl:]\u0080-\u009f]*)\\z")
)

// FuzzDecodeBasic takes its input once as a token68, once as the text in one.
func FuzzDecodeBasic(f *testing.F) {
	for _, seed := range []string{
		"", "YTpi", "YTpiYw==", "YTpiYx==", "YTpi\n", "YTo_Pz8-", "a:b", ":", "a:", "a:b:c", "a\x00:b", "\u0085:", "\xff:", "\u00e4:\u00f6",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		canonical := base64.StdEncoding.EncodeToString([]byte(input))
		if got, want := decode(canonical), oracleDecode(input); got != want {
			t.Fatalf("text %q: got %+v, want %+v", input, got, want)
		}

		var want decoded
		text, err := base64.StdEncoding.DecodeString(input)
		if err == nil && oracleBase64.MatchString(input) && base64.StdEncoding.EncodeToString(text) == input {
			want = oracleDecode(string(text))
		}
		if got := decode(input); got != want {
			t.Fatalf("token68 %q: got %+v, want %+v", input, got, want)
		}
	})
}

func oracleDecode(text string) decoded {
	match := oracleText.FindStringSubmatch(text)
	if match == nil || !utf8.ValidString(text) {
		return decoded{}
	}
	return decoded{match[1], match[2], true}
}
