package incoming

import (
	"errors"
	"fmt"
	"net/url"
	pathpkg "path"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

const testBase = "/v4/apiAccessTokens"

type location struct {
	Place string
	Rest  string
}

func locate(base, path, escaped string) location {
	place, rest := Locate(base, path, escaped)
	return location{place.String(), rest}
}

// locateTarget takes the path as a client writes it into the request line.
func locateTarget(t *testing.T, target string) location {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	return locate(testBase, u.Path, u.EscapedPath())
}

func TestLocate(t *testing.T) {
	ours := func(rest string) location { return location{"Ours", rest} }
	near := location{Place: "NearMiss"}
	elsewhere := location{Place: "Elsewhere"}

	for target, want := range map[string]location{
		"/v4/apiAccessTokens":             ours(""),
		"/v4/apiAccessTokens?limit=1;a/%": ours(""),
		"/v4/apiAccessTokens/settings":    ours("/settings"),
		"/v4/apiAccessTokens/Settings":    ours("/Settings"),
		"/v4/apiAccessTokens/a/b":         ours("/a/b"),
		"/v4/apiAccessTokens/...":         ours("/..."),
		"/v4/apiAccessTokens/.a":          ours("/.a"),
		"/v4/apiAccessTokens/a@b:c,d+e=":  ours("/a@b:c,d+e="),

		"/v4/apiAccessTokens/":                      near,
		"/v4/apiAccessTokens/x/":                    near,
		"/v4/apiAccessTokens//":                     near,
		"/v4/apiAccessTokens//x":                    near,
		"/v4/apiAccessTokens/.":                     near,
		"/v4/apiAccessTokens/./x":                   near,
		"/v4/apiAccessTokens/x/.":                   near,
		"/v4/apiAccessTokens/x/..":                  near,
		"/v4/apiAccessTokens/x/../y":                near,
		"/v4/apiAccessTokens/a%20b":                 near,
		"/v4/apiAccessTokens/%D7%90":                near,
		"/v4/apiAccessTokens/%61":                   near,
		"/v4/apiAccessTokens/x;a":                   near,
		"/v4/apiAccessTokens/x\\y":                  near,
		"/v4//apiAccessTokens":                      near,
		"//v4/apiAccessTokens":                      near,
		"/./v4/apiAccessTokens":                     near,
		"/../v4/apiAccessTokens":                    near,
		"/v4/./apiAccessTokens":                     near,
		"/v4/x/../apiAccessTokens":                  near,
		"/x/../v4/apiAccessTokens":                  near,
		"/x/y/../../v4/apiAccessTokens/z":           near,
		"/v4/apiaccesstokens":                       near,
		"/V4/APIACCESSTOKENS/X":                     near,
		"/v4/apiAcce\u017fsTokens":                  near,
		"/v4/apiAcce%C5%BFsTokens":                  near,
		"/v4/apiAcce%25C5%25BFsTokens":              near,
		"/v4/apiAccessTo%E2%84%AAens":               near,
		"/v4/ap%C4%B0AccessTokens":                  near,
		"/v4/ap%C4%B1AccessTokens":                  near,
		"/v4/%61piAccessTokens":                     near,
		"/v4/%2561piAccessTokens":                   near,
		"/v4/%252525252561piAccessTokens":           near,
		"/v4/%25%36%31piAccessTokens":               near,
		"/v4/%256%31piAccessTokens":                 near,
		"/v4%2fapiAccessTokens":                     near,
		"/v4%2FapiAccessTokens":                     near,
		"/v4%252fapiAccessTokens":                   near,
		"/v4/apiAccessTokens%2fx":                   near,
		"/v4/apiAccessTokens%2f":                    near,
		"/v4\\apiAccessTokens":                      near,
		"/v4%5capiAccessTokens":                     near,
		"/\\v4/apiAccessTokens":                     near,
		"/v4/x\\..\\apiAccessTokens":                near,
		"/v4/apiAccessTokens;":                      near,
		"/v4/apiAccessTokens;c/x":                   near,
		"/v4;a=b/apiAccessTokens;c":                 near,
		"/v4%3ba=b/apiAccessTokens%3bc":             near,
		"/v4/;/apiAccessTokens":                     near,
		"/v4/x/..;a/apiAccessTokens":                near,
		"/v4/.;/apiAccessTokens":                    near,
		"/v4/x;/../apiAccessTokens":                 near,
		"/v4/x/%2e%2e/apiAccessTokens":              near,
		"/v4/x/%252e%252e/apiAccessTokens":          near,
		"/v4/x/%252e%252e%255capiAccessTokens":      near,
		"/v4/x%2f..%2fapiAccessTokens":              near,
		"/v4/apiAccessTokens/%25":                   near,
		"/v4/apiAccessTokens/%25zz":                 near,
		"/v4/apiAccessTokens/%00":                   near,
		"/v4/apiAccessTokens/x%2f..%2f..%2fpeople/": elsewhere,

		"/":                                  elsewhere,
		"*":                                  elsewhere,
		"/*":                                 elsewhere,
		"/v4":                                elsewhere,
		"/v4/":                               elsewhere,
		"/v4/people/current":                 elsewhere,
		"/v4/apiAccessToken":                 elsewhere,
		"/v4/apiAccessTokensX":               elsewhere,
		"/v4/apiAccessTokens%00":             elsewhere,
		"/v4/apiAccessTokens%20":             elsewhere,
		"/v4/apiAccessTokens.":               elsewhere,
		"/v4/apiAccessTokens.json":           elsewhere,
		"/v4/apiAccessTokens:x":              elsewhere,
		"/v4/apiAccessTokens%3Fx":            elsewhere,
		"/v4/apiAccessTokens%23x":            elsewhere,
		"/v4/apiAccessTokens%2f..":           elsewhere,
		"/v4/apiAccessTokens/..":             elsewhere,
		"/v4/apiAccessTokens/../people":      elsewhere,
		"/v4/apiAccessTokens/..%2fpeople":    elsewhere,
		"/v4/apiAccessTokens/..;/people":     elsewhere,
		"/x/v4/apiAccessTokens":              elsewhere,
		"/v4/x/apiAccessTokens":              elsewhere,
		"/v4/x;/apiAccessTokens":             elsewhere,
		"/v4;/x/apiAccessTokens":             elsewhere,
		"/v4/%25/apiAccessTokens":            elsewhere,
		"/v4/%2561%2561piAccessTokens":       elsewhere,
		"/v4/%CE%B1piAccessTokens":           elsewhere,
		"/v4/apiAccessTo%E2%84kens":          elsewhere,
		"/v4/\u00e4piAccessTokens/x/..;/..":  elsewhere,
		"/.well-known/..a/.../v4/apiAccess/": elsewhere,
	} {
		if diff := cmp.Diff(want, locateTarget(t, target)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", target, diff)
		}
	}
}

// TestLocateRewrittenPath takes paths that no request line has, but that
// handlers in front may leave behind.
func TestLocateRewrittenPath(t *testing.T) {
	for _, test := range []struct {
		path, escaped string
		want          location
	}{
		{"", "", location{Place: "Elsewhere"}},
		{"v4", "v4", location{Place: "Elsewhere"}},
		{"v4/apiAccessTokens", "v4/apiAccessTokens", location{Place: "NearMiss"}},
		{"\\v4/apiAccessTokens", "%5Cv4/apiAccessTokens", location{Place: "NearMiss"}},
		{";/v4/apiAccessTokens", ";/v4/apiAccessTokens", location{Place: "NearMiss"}},
		{"..", "..", location{Place: "Elsewhere"}},
		{"/v4/apiAccessTokens", "/v4/apiAccessTokens", location{Place: "Ours"}},
		{"/v4/apiAccessTokens", "/v4/apiAccessToken%73", location{Place: "NearMiss"}},
		{"/v4/apiAccessTokens/%", "/v4/apiAccessTokens/%25", location{Place: "NearMiss"}},
		{"/v4/apiAccessTokens/%4", "/v4/apiAccessTokens/%254", location{Place: "NearMiss"}},
		{"/v4/%/apiAccessTokens", "/v4/%25/apiAccessTokens", location{Place: "Elsewhere"}},
	} {
		if diff := cmp.Diff(test.want, locate(testBase, test.path, test.escaped)); diff != "" {
			t.Errorf("%q, %q (-want +got):\n%s", test.path, test.escaped, diff)
		}
	}
}

func TestLocateUnderOtherBases(t *testing.T) {
	for _, test := range []struct {
		base, path string
		want       location
	}{
		{"/a", "/a", location{Place: "Ours"}},
		{"/a", "/a/a", location{"Ours", "/a"}},
		{"/a", "/A", location{Place: "NearMiss"}},
		{"/A", "/a", location{Place: "NearMiss"}},
		{"/A", "/A", location{Place: "Ours"}},
		{"/a", "/aa", location{Place: "Elsewhere"}},
		{"/a", "/", location{Place: "Elsewhere"}},
		{"/~x/-_.1", "/~x/-_.1/2", location{"Ours", "/2"}},
		{"/.tokens", "/.tokens", location{Place: "Ours"}},
		{"/...", "/.../x", location{"Ours", "/x"}},
	} {
		if diff := cmp.Diff(test.want, locate(test.base, test.path, test.path)); diff != "" {
			t.Errorf("%q under %q (-want +got):\n%s", test.path, test.base, diff)
		}
	}
}

func TestValidBase(t *testing.T) {
	for _, base := range []string{
		"/v4/apiAccessTokens", "/a", "/A-Z/a.z/0_9/~", "/.well-known/tokens", "/...", "/v1.2", "/-", "/a..",
	} {
		if err := ValidBase(base); err != nil {
			t.Errorf("%q: %v", base, err)
		}
	}
	for _, base := range []string{
		"", "/", "//", "v4", "v4/tokens", "/v4/", "//v4", "/v4//tokens", "/.", "/..", "/./v4", "/v4/..", "/v4/../x", "*", "/*",
		"/v4/{id}", "/v4/a b", "/v4/%61", "/v4;a", "/v4\\a", "/v4/a+b", "/v4/a@b", "/v4/a?b", "/v4/a#b", "/v4/\u00e4", "/v4/\u212a",
		"/v4/\xff", "/v4/a\x00", "/v4/a\n", "http://localhost/v4", "{env.BASE}",
	} {
		if err := ValidBase(base); !errors.Is(err, ErrBase) {
			t.Errorf("%q: got error %v, want %v", base, err, ErrBase)
		}
	}
}

func TestLocateDoesNotAllocate(t *testing.T) {
	for _, target := range []string{
		"/v4/people/current", "/", "/v4/apiAccessTokens", "/v4/apiAccessTokens/3f1c", "/V4/apiaccesstokens", "/v4/a%20b",
		"/v4/x/..%252fapiAccessTokens;a", "/\u00e4/" + strings.Repeat("\u00f6", 200), "/" + strings.Repeat("a/.b/", 1000),
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		path, escaped := u.Path, u.EscapedPath()
		if n := testing.AllocsPerRun(100, func() { Locate(testBase, path, escaped) }); n != 0 {
			t.Errorf("%q: %v allocations, want none", target, n)
		}
	}
}

// TestOrdinaryPathsAreNotNormalized keeps the fast path to what it is for.
func TestOrdinaryPathsAreNotNormalized(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/v4/people/current": true, "/v4/apiAccessTokens": true, "/v4/": true, "/a b/c:d@e+f,g=h&i'(j)*!$~": true,
		"/.well-known/x": true, "/a/...": true, "/a/..b/.c/d.": true, "/a\x00": true,
		"": false, "a": false, "*": false, "//": false, "/a//b": false, "/a//": false, "/.": false, "/..": false, "/./": false, "/a/./b": false,
		"/a/../b": false, "/a/..": false, "/a%": false, "/a\\b": false, "/a;b": false, "/\u00e4": false, "/\x80": false,
	} {
		if got := isPlain(path); got != want {
			t.Errorf("%q: got %v, want %v", path, got, want)
		}
	}
}

// TestEveryLetterCaseFolds tries all that any of Unicode's simple mappings takes
// for an ASCII letter.
func TestEveryLetterCaseFolds(t *testing.T) {
	seen := ""
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		for _, like := range []rune{unicode.ToLower(r), unicode.ToUpper(r), unicode.ToTitle(r), unicode.SimpleFold(r)} {
			if like >= 0x80 {
				continue
			}
			base := "/x" + string(like)
			if got := locate(base, "/x"+string(r), "/x"+url.PathEscape(string(r))); got.Place != "NearMiss" {
				t.Errorf("%U: got %v under %s, want NearMiss", r, got.Place, base)
			}
			seen += string(r)
			break
		}
	}
	if want := "\u0130\u0131\u017f\u212a"; seen != want {
		t.Errorf("tried %+q, want %+q", seen, want)
	}
}

// TestLocateTakesLinearTime has paths that take as many passes to decode as
// they have escapes: pass by pass, many minutes.
func TestLocateTakesLinearTime(t *testing.T) {
	const size = 2 << 20
	const limit = 20 * time.Second
	for name, path := range map[string]string{
		"escaped percent signs": testBase + "/" + strings.Repeat("%25", size/3),
		"nested escapes":        "/v4/%" + strings.Repeat("25", size/2) + "61piAccessTokens",
		"percent signs":         testBase + ";" + strings.Repeat("%", size),
		"two digits behind":     testBase + ";" + strings.Repeat("%", size/3) + strings.Repeat("25", size/3),
		"parents":               strings.Repeat("/a", size/5) + strings.Repeat("/..", size/5) + testBase + ";",
		"more parents":          strings.Repeat("/..", size/3) + testBase,
		"slashes":               strings.Repeat("/", size) + testBase,
		"semicolons":            testBase + strings.Repeat(";", size),
		"a long segment":        "/" + strings.Repeat("a", size) + "/.." + testBase,
	} {
		start := time.Now()
		got := locate(testBase, path, path)
		if took := time.Since(start); took > limit {
			t.Errorf("%s: took %v, want less than %v", name, took, limit)
		}
		if want := (location{Place: "NearMiss"}); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

var oracleEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// oracleNormal decodes pass by pass.
func oracleNormal(path string) string {
	for before := ""; before != path; {
		before = path
		path = oracleEscape.ReplaceAllStringFunc(path, func(escape string) string {
			decoded, err := url.PathUnescape(escape)
			if err != nil {
				panic(err)
			}
			return decoded
		})
	}
	segments := strings.Split(strings.ReplaceAll(path, `\`, "/"), "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	cleaned := pathpkg.Clean("/" + strings.Join(segments, "/"))
	return strings.ToLower(strings.ToUpper(cleaned))
}

// oracleLocate looks at the escaped path alone.
func oracleLocate(base, escaped string) location {
	if normal := oracleNormal(escaped) + "/"; !strings.HasPrefix(normal, strings.ToLower(base)+"/") {
		return location{Place: "Elsewhere"}
	}
	rest, found := strings.CutPrefix(escaped, base)
	if !found || strings.ContainsAny(escaped, `%\;`) || pathpkg.Clean(escaped) != escaped || !strings.HasPrefix(rest+"/", "/") {
		return location{Place: "NearMiss"}
	}
	return location{"Ours", rest}
}

// pieces are what fuzzed paths are made of, besides fuzzed text: random bytes
// alone would hardly ever meet the base path.
var pieces = []string{
	"/", "/", "/v4", "/apiAccessTokens", "v4", "apiAccessTokens", "APIaccesstokens", "api", "Access", "s", "\u017f", "\u212a", "\u0130", "x",
	"\\", ";", ".", "..", "/.", "/..", "//", "%", "25", "%25", "%2f", "%2F", "%5c", "%3B", "%2e", "%61", "%C5%BF", "%C5", "%BF", "%E2%84%AA",
	"2", "5", "6", "1", "%2", "%36", "%31", "\x00", "\xc5", " ", "?", "#", "*", "+", ":",
}

func compose(recipe []byte) string {
	var path strings.Builder
	for _, b := range recipe {
		path.WriteString(pieces[int(b)%len(pieces)])
	}
	return path.String()
}

func FuzzLocate(f *testing.F) {
	for _, seed := range []string{
		"", "*", "/", "/v4/people/current", "/v4/apiAccessTokens", "/v4/apiAccessTokens/x", "/v4/apiAccessTokens/", "/v4//apiAccessTokens",
		"/v4/./apiAccessTokens", "/x/../v4/apiAccessTokens", "/v4/apiAccessTokens%2f..", "/v4/%2561piAccessTokens", "/v4/%25%36%31piAccessTokens",
		"/v4;a=b/apiAccessTokens;c", "/v4\\apiAccessTokens", "/v4/apiAcce\u017fsTokens", "/v4/apiAccessTo%E2%84%AAens", "/v4/..;/v4/apiAccessTokens",
		"/v4/apiAccessTokens%00", "/v4/apiAccessTokens/%zz", "v4/apiAccessTokens",
	} {
		f.Add(seed, []byte{})
	}
	f.Add("", []byte{2, 3})
	f.Add("/v4/", []byte{21, 22, 36, 37, 5, 15})
	f.Fuzz(func(t *testing.T, text string, recipe []byte) {
		if len(text)+len(recipe) > 1<<10 {
			return // The oracle takes quadratic time.
		}
		text += compose(recipe)

		check := func(path, escaped string) {
			for _, base := range []string{testBase, "/v4", "/S"} {
				if got, want := locate(base, path, escaped), oracleLocate(base, escaped); got != want {
					t.Errorf("path %q, escaped %q, base %q: got %+v, want %+v", path, escaped, base, got, want)
				}
			}
			ofPath, ofEscaped := normalize(nil, path), normalize(nil, escaped)
			if string(ofPath) != string(ofEscaped) {
				t.Errorf("the normal form of path %q is %q, of escaped %q it is %q", path, ofPath, escaped, ofEscaped)
			}
			if again := normalize(nil, string(ofPath)); string(again) != string(ofPath) {
				t.Errorf("the normal form of %q is %q, and of that %q", path, ofPath, again)
			}
		}
		rewritten := url.URL{Path: text}
		check(rewritten.Path, rewritten.EscapedPath())
		if requested, err := url.ParseRequestURI(text); err == nil {
			check(requested.Path, requested.EscapedPath())
		}
	})
}

func BenchmarkLocate(b *testing.B) {
	for _, path := range []string{"/v4/people/current", "/v4/apiAccessTokens/settings", "/v4/a b;c/../apiAccessTokens"} {
		b.Run(fmt.Sprintf("%q", path), func(b *testing.B) {
			for b.Loop() {
				Locate(testBase, path, path)
			}
		})
	}
}
