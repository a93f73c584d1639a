package incoming

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPercentEncode(t *testing.T) {
	for value, want := range map[string]string{
		"":                  "",
		"alice@example.com": "alice@example.com",
		"Vilà":              "Vil%C3%A0",
		"Alice A.":          "Alice%20A.",
		"100%":              "100%25",
		"%41":               "%2541",
		"~!\"/\\{}":         "~!\"/\\{}",
		"\x7f\xff":          "%7F%FF",
		"李":                 "%E6%9D%8E",
	} {
		if got := PercentEncode(value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func TestStripsEnd(t *testing.T) {
	for value, want := range map[string]bool{
		"": false, "alice": false, "àlice": false, "Vilà": true, "Vilàr": false, "à": true, "全": false, "兠": true, "兠x": false,
		"Å": true, "\x85x": true, "\xa0x": true, "x\x85": true, "é": false, "x\u00a0": true,
	} {
		if got := StripsEnd(value); got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
}

// Whatever is sent arrives as itself at a server that reads headers as ISO
// 8859-1 and strips what Python takes for white space there; and what is
// percent-encoded can be decoded.
func FuzzIdentityArrives(f *testing.F) {
	for _, value := range []string{"alice", "Vilà", "Å", "à la", "%", "a b", "兠"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		header := make(http.Header)
		if utf8.ValidString(value) && Set(header, "Remote-User", value) == nil && !StripsEnd(value) {
			if pythonStrips(value) {
				t.Errorf("%q would arrive as another value", value)
			}
		}
		encoded := PercentEncode(value)
		if err := Set(header, "Remote-User", encoded); err != nil {
			t.Errorf("%q: %v", encoded, err)
		}
		if decoded, err := url.PathUnescape(encoded); err != nil || decoded != value {
			t.Errorf("%q is encoded as %q, which is decoded as %q, %v", value, encoded, decoded, err)
		}
	})
}

// pythonStrips tells whether str.strip takes away a byte at either end of a value
// that was decoded as ISO 8859-1.
func pythonStrips(value string) bool {
	const space = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0"
	return value != "" && (strings.IndexByte(space, value[0]) >= 0 || strings.IndexByte(space, value[len(value)-1]) >= 0)
}
