package tokenapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

var comparePrefixes = cmpopts.EquateComparable(netip.Prefix{})

func asked(lifetime int64, text, in string, replace bool) createRequest {
	return createRequest{LifetimeSeconds: lifetime, Description: text, DescribedBy: in, Replace: replace}
}

func TestParseCreateAccepts(t *testing.T) {
	for body, want := range map[string]createRequest{
		`{"lifetimeSeconds":60}`:                                                              asked(60, "", "description", false),
		`{"lifetimeSeconds":1}`:                                                               asked(1, "", "description", false),
		`{"lifetimeSeconds":-1}`:                                                              asked(-1, "", "description", false),
		`{"lifetimeSeconds":3155760000}`:                                                      asked(3155760000, "", "description", false),
		`{"lifetimeSeconds":9223372036854775807}`:                                             asked(math.MaxInt64, "", "description", false),
		`{"lifetimeSeconds": 86400, "description": "nightly"}`:                                asked(86400, "nightly", "description", false),
		"\r\n\t {\"description\" : \"\" ,\"lifetimeSeconds\":\n7}\n":                          asked(7, "", "description", false),
		`{"\u006cifetimeSeconds":60,"descriptio\u006E":"a"}`:                                  asked(60, "a", "description", false),
		`{"lifetimeSeconds":60,"description":"{env.X} \"\\\/\b\n\u0000\u00e4\ud83d\uDE00"}`:   asked(60, "{env.X} \"\\/\b\n\x00\u00e4\U0001f600", "description", false),
		`{"lifetimeSeconds":60,"description":"\ufffd` + "\ufffd\ufeff\u2028" + `\\ud800"}`:    asked(60, "\ufffd\ufffd\ufeff\u2028\\ud800", "description", false),
		`{"lifetimeSeconds":60,"description":"` + strings.Repeat("\U0001f600", 1024) + `"}`:   asked(60, strings.Repeat("\U0001f600", 1024), "description", false),
		`{"lifetimeSeconds":60,"description":"` + strings.Repeat(`\ud83d\ude00`, 1024) + `"}`: asked(60, strings.Repeat("\U0001f600", 1024), "description", false),
		`{"a":1e999,"b":null,"":[{"a":{"a":[]}},{"a":0}],"lifetimeSeconds":60,"lifetime":2,"c":{"lifetimeSeconds":"x","LifetimeSeconds":1}}`: asked(60, "", "description", false),
		`{"a":` + nested(99) + `,"lifetimeSeconds":60}`: asked(60, "", "description", false),

		`{"lifetimeSeconds":60,"scopes":["read","jobs","read"],"addresses":["192.0.2.7/24","2001:db8::1"]}`: {
			LifetimeSeconds: 60, DescribedBy: "description", Scopes: []string{"read", "jobs"},
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128")},
		},

		// Whether the project allows it is the registry's to say.
		`{"lifetimeSeconds":0}`:                                 asked(0, "", "description", false),
		`{"lifetimeSeconds":-0}`:                                asked(0, "", "description", false),
		`{"lifetimeSeconds":-2}`:                                asked(-2, "", "description", false),
		`{"lifetimeSeconds":9223372036854775808}`:               asked(math.MaxInt64, "", "description", false),
		`{"lifetimeSeconds":18446744073709551615}`:              asked(math.MaxInt64, "", "description", false), // -1 in 64 bits
		`{"lifetimeSeconds":-9223372036854775809}`:              asked(math.MinInt64, "", "description", false),
		`{"lifetimeSeconds":` + strings.Repeat("9", 1000) + `}`: asked(math.MaxInt64, "", "description", false),

		// A description by its other name.
		`{"lifetimeSeconds":60,"description":null}`:                         asked(60, "", "description", false),
		`{"lifetimeSeconds":60,"description":null,"name":null}`:             asked(60, "", "description", false),
		`{"lifetimeSeconds":60,"name":null}`:                                asked(60, "", "description", false),
		`{"lifetimeSeconds":60,"name":"n"}`:                                 asked(60, "n", "name", false),
		`{"name":"n","lifetimeSeconds":60,"description":null}`:              asked(60, "n", "name", false),
		`{"name":"n","lifetimeSeconds":60,"description":"d"}`:               asked(60, "d", "description", false),
		`{"name":"n","lifetimeSeconds":60,"description":""}`:                asked(60, "", "description", false),
		`{"name":["n"],"lifetimeSeconds":60,"description":"d"}`:             asked(60, "d", "description", false),
		`{"lifetimeSeconds":60,"name":"` + strings.Repeat("n", 1024) + `"}`: asked(60, strings.Repeat("n", 1024), "name", false),

		`{"lifetimeSeconds":60,"replace":true}`:  asked(60, "", "description", true),
		`{"lifetimeSeconds":60,"replace":false}`: asked(60, "", "description", false),
	} {
		got, wrong := parseCreate([]byte(body))
		if wrong != nil {
			t.Errorf("%.200s: %s", body, wrong.details())
			continue
		}
		if diff := cmp.Diff(want, got, comparePrefixes); diff != "" {
			t.Errorf("%.200s (-want +got):\n%s", body, diff)
		}
	}
}

// nested returns arrays and objects, that many levels deep.
func nested(depth int) string {
	text := "1"
	for i := range depth {
		if i%2 == 0 {
			text = "[" + text + "]"
		} else {
			text = `{"a":` + text + "}"
		}
	}
	return text
}

const (
	wantLifetime    = "lifetimeSeconds must be digits, without quotes, fraction or exponent"
	wantRequired    = "lifetimeSeconds is required"
	wantDescription = "description must be a string of at most 1024 code points"
	wantName        = "name must be a string of at most 1024 code points"
	wantEmpty       = "The body must be a JSON object; it is empty or ends too early"
	wantObject      = "The body must be a JSON object, in braces"
	wantSpelling    = " must be spelled exactly like this: upper and lower case count, and nothing may be added"
	wantOnce        = "The body must not have a field name twice in one object"
	wantTrailing    = "The body must be one JSON object with nothing behind it"
	wantUTF8        = "The body must be valid UTF-8"
	wantBOM         = "The body must not begin with a byte order mark"
	wantPairs       = `The body must not have a \u escape of one half of a surrogate pair without the other`
	wantShallow     = "The body must not nest objects and arrays more than 100 levels deep"
)

func wantMistake(offset int) string {
	return fmt.Sprintf("The body must be a JSON object; the mistake is at byte %d", offset)
}

func TestParseCreateRefuses(t *testing.T) {
	for body, want := range map[string]string{
		// Whether it replaces its parent, and what a token can't be limited to here.
		`{"lifetimeSeconds":60,"replace":null}`:                "replace must be true or false, without quotes",
		`{"lifetimeSeconds":60,"replace":"true"}`:              "replace must be true or false, without quotes",
		`{"lifetimeSeconds":60,"replace":1}`:                   "replace must be true or false, without quotes",
		`{"lifetimeSeconds":60,"Replace":true}`:                "replace" + wantSpelling,
		`{"lifetimeSeconds":60,"scopes":[]}`:                   "scopes must be a list of at least one string; without it the token isn't limited so",
		`{"lifetimeSeconds":60,"scopes":"read"}`:               "scopes must be a list of at least one string; without it the token isn't limited so",
		`{"lifetimeSeconds":60,"scopes":["read",null]}`:        "scopes must be a list of strings",
		`{"lifetimeSeconds":60,"scopes":[["read"]]}`:           "scopes must be a list of strings",
		`{"lifetimeSeconds":60,"addresses":null}`:              "addresses must be a list of at least one string; without it the token isn't limited so",
		`{"lifetimeSeconds":60,"addresses":["localhost"]}`:     "addresses must be such as 192.0.2.1 or 2001:db8::/32",
		`{"lifetimeSeconds":60,"addresses":["fe80::1%eth0"]}`:  "addresses must be such as 192.0.2.1 or 2001:db8::/32",
		`{"lifetimeSeconds":60,"replace":true,"replace":true}`: "replace must not be there twice",

		// The number.
		`{}`:                           wantRequired,
		`{"description":"a"}`:          wantRequired,
		`{"a":{"lifetimeSeconds":60}}`: wantRequired,
		`{"lifetimeSeconds":1.0}`:      wantLifetime,
		`{"lifetimeSeconds":0.5}`:      wantLifetime,
		`{"lifetimeSeconds":-1.0}`:     wantLifetime,
		`{"lifetimeSeconds":1e3}`:      wantLifetime,
		`{"lifetimeSeconds":1E0}`:      wantLifetime,
		`{"lifetimeSeconds":-1e0}`:     wantLifetime,
		`{"lifetimeSeconds":1e999}`:    wantLifetime,
		`{"lifetimeSeconds":"60"}`:     wantLifetime,
		`{"lifetimeSeconds":""}`:       wantLifetime,
		`{"lifetimeSeconds":null}`:     wantLifetime,
		`{"lifetimeSeconds":true}`:     wantLifetime,
		`{"lifetimeSeconds":[60]}`:     wantLifetime,
		`{"lifetimeSeconds":{}}`:       wantLifetime,
		`{"lifetimeSeconds":01}`:       wantMistake(21),
		`{"lifetimeSeconds":+1}`:       wantMistake(20),
		`{"lifetimeSeconds":0x3c}`:     wantMistake(21),
		`{"lifetimeSeconds":1_000}`:    wantMistake(21),
		`{"lifetimeSeconds":NaN}`:      wantMistake(20),
		`{"lifetimeSeconds":-}`:        wantMistake(21),
		"{\"lifetimeSeconds\":\u0661}": wantMistake(20),

		// The description.
		`{"lifetimeSeconds":60,"description":1}`:                                              wantDescription,
		`{"lifetimeSeconds":60,"description":false}`:                                          wantDescription,
		`{"lifetimeSeconds":60,"description":["a"]}`:                                          wantDescription,
		`{"lifetimeSeconds":60,"description":{"a":1}}`:                                        wantDescription,
		`{"lifetimeSeconds":60,"description":"` + strings.Repeat("a", 1025) + `"}`:            wantDescription,
		`{"lifetimeSeconds":60,"description":"` + strings.Repeat(`\ud83d\ude00`, 1025) + `"}`: wantDescription,
		`{"lifetimeSeconds":60,"name":1}`:                                                     wantName,
		`{"lifetimeSeconds":60,"name":{},"description":null}`:                                 wantName,
		`{"lifetimeSeconds":60,"name":"` + strings.Repeat("a", 1025) + `"}`:                   wantName,
		`{"lifetimeSeconds":60,"name":"a","name":"a"}`:                                        "name must not be there twice",
		`{"lifetimeSeconds":60,"Name":"a"}`:                                                   "name" + wantSpelling,
		"{\"lifetimeSeconds\":60,\"description\":\"a\nb\"}":                                   wantMistake(39),

		// Other spellings.
		`{"lifetimeseconds":60}`:                         "lifetimeSeconds" + wantSpelling,
		`{"LifetimeSeconds":60}`:                         "lifetimeSeconds" + wantSpelling,
		`{"lifetime_seconds":60}`:                        "lifetimeSeconds" + wantSpelling,
		`{"lifetime-seconds":60}`:                        "lifetimeSeconds" + wantSpelling,
		`{"LIFETIME_SECONDS":60}`:                        "lifetimeSeconds" + wantSpelling,
		`{"lifetime Seconds":60}`:                        "lifetimeSeconds" + wantSpelling,
		`{"lifetimeSeconds\u0000":60}`:                   "lifetimeSeconds" + wantSpelling,
		"{\"lifetimeSecond\u017f\":60}":                  "lifetimeSeconds" + wantSpelling,
		`{"lifetimeSecond\u017f":60}`:                    "lifetimeSeconds" + wantSpelling,
		`{"lifetimeSeconds":60,"lifetimeseconds":60}`:    "lifetimeSeconds" + wantSpelling,
		`{"lifetimeSeconds":60,"Description":"a"}`:       "description" + wantSpelling,
		`{"lifetimeSeconds":60,"\u0044escription":null}`: "description" + wantSpelling,
		`{"lifetimeSeconds":60," description":"a"}`:      "description" + wantSpelling,

		// Names twice.
		`{"lifetimeSeconds":60,"lifetimeSeconds":60}`:                   "lifetimeSeconds must not be there twice",
		`{"lifetimeSeconds":60,"lifetimeSecond\u0073":61}`:              "lifetimeSeconds must not be there twice",
		`{"description":"a","lifetimeSeconds":60,"description":"a"}`:    "description must not be there twice",
		`{"lifetimeSeconds":60,"a":1,"a":1}`:                            wantOnce,
		`{"lifetimeSeconds":60,"a":1,"b":2,"\u0061":1}`:                 wantOnce,
		`{"lifetimeSeconds":60,"":1,"":1}`:                              wantOnce,
		`{"lifetimeSeconds":60,"a":{"b":1,"b":1}}`:                      wantOnce,
		`{"lifetimeSeconds":60,"a":[0,{"b":[{"c":{},"\u0063":[]}]}]}`:   wantOnce,
		`{"lifetimeSeconds":60,"a":{"\ud83d\ude00":1,"` + "😀" + `":1}}`: wantOnce,

		// The body as a whole.
		``:                                      wantEmpty,
		" \n":                                   wantEmpty,
		`{`:                                     wantEmpty,
		`{"lifetimeSeconds":60`:                 wantEmpty,
		`{"lifetimeSeconds":60,"description":"`: wantEmpty,
		`[{"lifetimeSeconds":60}]`:              wantObject,
		`"lifetimeSeconds"`:                     wantObject,
		`60`:                                    wantObject,
		`null`:                                  wantObject,
		`{"lifetimeSeconds":60}{}`:              wantTrailing,
		`{"lifetimeSeconds":60} x`:              wantTrailing,
		`{"lifetimeSeconds":60}}`:               wantTrailing,
		`{"lifetimeSeconds":60},`:               wantTrailing,
		"{\"lifetimeSeconds\":60}\x00":          wantTrailing,
		"{\"lifetimeSeconds\":60}\u00a0":        wantTrailing,
		"{\"lifetimeSeconds\":60}\n\"":          wantTrailing,
		"\x00{\"lifetimeSeconds\":60}":          wantMistake(1),
		"\f{\"lifetimeSeconds\":60}":            wantMistake(1),
		`{"lifetimeSeconds":60,}`:               wantMistake(23),
		`{,"lifetimeSeconds":60}`:               wantMistake(2),
		`{lifetimeSeconds:60}`:                  wantMistake(2),
		`{'lifetimeSeconds':60}`:                wantMistake(2),
		`{"lifetimeSeconds" 60}`:                wantMistake(20),
		`{"lifetimeSeconds":60 "a":1}`:          wantMistake(23),
		`{"lifetimeSeconds":60/**/}`:            wantMistake(22),
		`{"lifetimeSeconds":60,"a":[1,]}`:       wantMistake(30),
		`{"lifetimeSeconds":60,"a":"\x41"}`:     wantMistake(29),
		`{"lifetimeSeconds":60,"a":"\u00g1"}`:   wantMistake(32),
		"\ufeff{\"lifetimeSeconds\":60}":        wantBOM,

		// Text that isn't Unicode.
		"{\"lifetimeSeconds\":60,\"description\":\"\xff\"}":         wantUTF8,
		"{\"lifetimeSeconds\":60,\"a\":\"caf\xe9\"}":                wantUTF8,
		"{\"lifetimeSeconds\":60,\"\xc0\xae\":1}":                   wantUTF8,
		"{\"lifetimeSeconds\":60,\"a\":\"\xed\xa0\x80\"}":           wantUTF8,
		"{\"lifetimeSeconds\":60}\x80":                              wantUTF8,
		`{"lifetimeSeconds":60,"description":"\ud800"}`:             wantPairs,
		`{"lifetimeSeconds":60,"description":"\uDC00"}`:             wantPairs,
		`{"lifetimeSeconds":60,"description":"\ud800\ud800\udc00"}`: wantPairs,
		`{"lifetimeSeconds":60,"description":"\udc00\ud800"}`:       wantPairs,
		`{"lifetimeSeconds":60,"description":"\ud83d\ude00\ude00"}`: wantPairs,
		`{"lifetimeSeconds":60,"description":"\ud800 \udc00"}`:      wantPairs,
		`{"lifetimeSeconds":60,"description":"\ud800\\udc00"}`:      wantPairs,
		`{"lifetimeSeconds":60,"description":"\ud800\u0041"}`:       wantPairs,
		`{"lifetimeSeconds":60,"description":"\ud800\ud800"}`:       wantPairs,
		`{"lifetimeSeconds":60,"description":"\ud800\n"}`:           wantPairs,
		`{"lifetimeSeconds":60,"description":"\\\udfff"}`:           wantPairs,
		`{"lifetimeSeconds":60,"a":[{"b":"\ud800"}]}`:               wantPairs,
		`{"lifetimeSeconds":60,"\ud800":1}`:                         wantPairs,
		`{"lifetimeSeconds":60,"a":{"\udc00":1}}`:                   wantPairs,
		`{"a":"\ud800","b":"\udc00","lifetimeSeconds":60}`:          wantPairs,

		// Nesting.
		`{"lifetimeSeconds":60,"a":` + nested(100) + `}`:                                           wantShallow,
		`{"lifetimeSeconds":60,"a":` + strings.Repeat("[", 9999) + strings.Repeat("]", 9999) + `}`: wantShallow,
		strings.Repeat("[", 32000): wantMistake(10001),
	} {
		got, wrong := parseCreate([]byte(body))
		if wrong == nil {
			t.Errorf("%.200s: accepted as %+v", body, got)
			continue
		}
		if diff := cmp.Diff(want, wrong.details()); diff != "" {
			t.Errorf("%.200s (-want +got):\n%s", body, diff)
		}
	}
}

// TestProblemsRepeatNothing holds for whatever a client writes, as it may be a
// token value.
func TestProblemsRepeatNothing(t *testing.T) {
	const secret = "cat_secret"
	for _, body := range []string{
		`cat_secret`, `"cat_secret"`, `{"cat_secret":1,"cat_secret":2}`, `{"a":{"cat_secret":1,"cat_secret":2}}`, `{"cat_secret":`,
		`{"lifetimeSeconds":"cat_secret"}`, `{"lifetimeSeconds":1,"description":["cat_secret"]}`, `{"lifetimeSeconds":1}cat_secret`,
		`{"lifetimeSeconds":1,"a":"cat_secret\ud800"}`, `{cat_secret}`, "{\"cat_secret\xff\":1}",
	} {
		_, wrong := parseCreate([]byte(body))
		if wrong == nil {
			t.Errorf("%s: accepted", body)
			continue
		}
		if strings.Contains(wrong.details(), secret) {
			t.Errorf("%s: %s", body, wrong.details())
		}
	}
}

func TestStrictObjectReturnsFieldsAsWritten(t *testing.T) {
	body := `{"enabled": true , "users":[ "a" ], "maxLifetimeDays":1.0,"other":{"Enabled":1}, "\u0067enerate" : null}`
	got, wrong := strictObject([]byte(body), "enabled", "generate", "users", "maxLifetimeDays")
	if wrong != nil {
		t.Fatal(wrong.details())
	}
	want := map[string]json.RawMessage{
		"enabled":         json.RawMessage(`true`),
		"users":           json.RawMessage(`[ "a" ]`),
		"maxLifetimeDays": json.RawMessage(`1.0`),
		"other":           json.RawMessage(`{"Enabled":1}`),
		"generate":        json.RawMessage(`null`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	if _, wrong := strictObject([]byte(`{"max_lifetime_days":1}`), "enabled", "maxLifetimeDays"); wrong == nil || wrong.Field != "maxLifetimeDays" {
		t.Errorf("another spelling: got %v, want an error that names maxLifetimeDays", wrong)
	}
	for _, body := range []string{`{}`, ` {"lifetimeseconds":1} `} {
		if _, wrong := strictObject([]byte(body)); wrong != nil {
			t.Errorf("%s with no known names: %s", body, wrong.details())
		}
	}
}

var (
	oracleLifetime    = regexp.MustCompile(`\A-?(0|[1-9][0-9]*)\z`)
	oraclePunctuation = regexp.MustCompile(`[^\pL\p{Nd}]`)
	oracleBackslash   = regexp.MustCompile(`(?s)\\(u[0-9A-Fa-f]{4}|.)`)
)

// oracleCreate says whether a body is to be accepted, and as what, from what
// encoding/json makes of it as a whole and as a stream of tokens.
func oracleCreate(body []byte) (createRequest, bool) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return createRequest{}, false
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return createRequest{}, false
	}
	object, ok := tree.(map[string]any)
	if !ok {
		return createRequest{}, false
	}
	read := survey(body)
	kept, depth := measure(tree)
	if depth > 100 || kept != read.names || read.replaced != read.replacements {
		return createRequest{}, false
	}
	for name := range object {
		for _, known := range []string{"lifetimeSeconds", "description", "name", "replace", "scopes", "addresses"} {
			if name != known && strings.EqualFold(oraclePunctuation.ReplaceAllString(name, ""), known) {
				return createRequest{}, false
			}
		}
	}
	number, ok := object["lifetimeSeconds"].(json.Number)
	if !ok || !oracleLifetime.MatchString(number.String()) {
		return createRequest{}, false
	}
	whole, _ := new(big.Int).SetString(number.String(), 10)
	for _, bound := range []int64{math.MaxInt64, math.MinInt64} {
		if limit := big.NewInt(bound); !whole.IsInt64() && whole.Sign() == limit.Sign() {
			whole = limit
		}
	}
	want := asked(whole.Int64(), "", "description", false)
	if want.Scopes, ok = oracleNames(object, "scopes"); !ok {
		return createRequest{}, false
	}
	texts, ok := oracleNames(object, "addresses")
	if !ok || len(texts) > 16 {
		return createRequest{}, false
	}
	for _, text := range texts {
		prefix, err := registry.ParseAddress(text)
		if err != nil {
			return createRequest{}, false
		}
		if !slices.Contains(want.Addresses, prefix) {
			want.Addresses = append(want.Addresses, prefix)
		}
	}
	if value, there := object["replace"]; there {
		if want.Replace, ok = value.(bool); !ok {
			return createRequest{}, false
		}
	}
	if object["description"] == nil && object["name"] != nil {
		want.DescribedBy = "name"
	}
	if value := object[want.DescribedBy]; value != nil {
		if want.Description, ok = value.(string); !ok || len([]rune(want.Description)) > 1024 {
			return createRequest{}, false
		}
	}
	return want, true
}

type surveyed struct {
	names        int // Field names, as often as they are written.
	replaced     int // U+FFFD as read,
	replacements int // and as written: more are read where a surrogate was alone.
}

func survey(body []byte) surveyed {
	var found surveyed
	found.replacements = strings.Count(string(body), "\ufffd")
	for _, escape := range oracleBackslash.FindAllString(string(body), -1) {
		if strings.EqualFold(escape, `\ufffd`) {
			found.replacements++
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var containers []json.Delim
	expectsName := false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			panic(err)
		}
		if text, ok := token.(string); ok {
			found.replaced += strings.Count(text, "\ufffd")
		}
		switch {
		case token == json.Delim('{') || token == json.Delim('['):
			containers = append(containers, token.(json.Delim))
		case token == json.Delim('}') || token == json.Delim(']'):
			containers = containers[:len(containers)-1]
		case expectsName:
			found.names++
			expectsName = false
			continue
		}
		expectsName = len(containers) > 0 && containers[len(containers)-1] == '{'
	}
}

// measure counts the names that encoding/json has kept, and the levels.
func measure(tree any) (names, depth int) {
	var children []any
	switch node := tree.(type) {
	case map[string]any:
		for _, child := range node {
			children = append(children, child)
		}
		names = len(node)
	case []any:
		children = node
	default:
		return 0, 0
	}
	for _, child := range children {
		n, d := measure(child)
		names, depth = names+n, max(depth, d)
	}
	return names, depth + 1
}

func FuzzParseCreate(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"lifetimeSeconds":60}`, `{"lifetimeSeconds":-1,"description":"nightly"}`, `{"lifetimeSeconds":1e3}`,
		`{"lifetimeSeconds":1.0}`, `{"lifetimeSeconds":01}`, `{"lifetimeSeconds":9223372036854775808}`, `{"lifetimeSeconds":"60"}`,
		`{"lifetimeSeconds":60,"lifetimeSecond\u0073":60}`, `{"lifetimeseconds":60}`, `{"lifetime_seconds":60}`,
		`{"lifetimeSeconds":60,"Description":"a"}`, `{"lifetimeSeconds":60,"description":null,"name":"n"}`, `{"lifetimeSeconds":60} {}`,
		`{"lifetimeSeconds":60,"description":"\ud83d\ude00\ud800"}`, `{"lifetimeSeconds":60,"description":"\\ud800\ufffd"}`,
		`{"lifetimeSeconds":60,"a":[{"b":1,"b":2},1e999,true,null]}`, "\ufeff{}", "{\"lifetimeSeconds\":60,\"a\":\"\xff\ufffd\"}",
		`{"lifetimeSeconds":60,"description":"` + strings.Repeat("é", 1024) + `"}`,
		`{"lifetimeSeconds":60,"description":"` + strings.Repeat("é", 1025) + `"}`,
		`{"lifetimeSeconds":60,"a":` + nested(99) + `}`, `{"lifetimeSeconds":60,"a":` + nested(100) + `}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := slices.Clone(body)
		want, accepted := oracleCreate(body)
		got, wrong := parseCreate(body)
		if !bytes.Equal(before, body) {
			t.Fatalf("the body was changed from %q to %q", before, body)
		}
		if wrong != nil {
			if accepted {
				t.Fatalf("%q: refused, %s; want %+v", body, wrong.details(), want)
			}
			if wrong.Problem == "" || !slices.Contains([]string{"", "lifetimeSeconds", "description", "name", "replace", "scopes", "addresses"}, wrong.Field) {
				t.Fatalf("%q: an error that doesn't help: %+v", body, *wrong)
			}
			return
		}
		if !accepted || !cmp.Equal(want, got, comparePrefixes) {
			t.Fatalf("%q: accepted as %+v; the oracle says %v, %+v", body, got, accepted, want)
		}
		standard := struct {
			LifetimeSeconds int64  `json:"lifetimeSeconds"`
			Description     string `json:"description"`
		}{got.LifetimeSeconds, got.Description}
		again, err := json.Marshal(standard)
		if err != nil {
			t.Fatal(err)
		}
		want = asked(want.LifetimeSeconds, want.Description, "description", false)
		if got, wrong := parseCreate(again); wrong != nil || !cmp.Equal(want, got, comparePrefixes) {
			t.Fatalf("%q: encoded again as %q, it is %+v, %v", body, again, got, wrong)
		}
	})
}

// oracleNames is a list of texts, each once; nil if there is none.
func oracleNames(object map[string]any, field string) (names []string, ok bool) {
	value, there := object[field]
	if !there {
		return nil, true
	}
	all, isList := value.([]any)
	if !isList || len(all) == 0 {
		return nil, false
	}
	for _, one := range all {
		text, isText := one.(string)
		if !isText {
			return nil, false
		}
		if !slices.Contains(names, text) {
			names = append(names, text)
		}
	}
	return names, true
}
