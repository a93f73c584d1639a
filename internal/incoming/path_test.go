package incoming

import (
	"errors"
	"fmt"
	"net/http"
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
	u := url.URL{Path: path, RawPath: escaped}
	read := PathOf(&u)
	place, rest := read.Locate(base)
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
		"/v4/apiAccessTokens/x%2f..%2f..%2fpeople/": near,

		"//h/v4/apiAccessTokens":              near,
		"///h/v4/apiAccessTokens/x":           near,
		"/%2Fh/v4/apiAccessTokens":            near,
		"/\\h/v4/apiAccessTokens":             near,
		"//u:p@h:1/v4/apiAccessTokens":        near,
		"//h%2Fv4/apiAccessTokens":            near,
		"//h;x/v4/apiAccessTokens":            near,
		"/index.php/v4/apiAccessTokens":       near,
		"/a/INDEX.PHP/v4/apiAccessTokens":     near,
		"/index.php%2fv4/apiAccessTokens":     near,
		"/index.php;x/v4/apiAccessTokens":     near,
		"/index.php//v4/apiAccessTokens":      near,
		"/index.php/a.php/v4/apiAccessTokens": near,
		"/index.php/../v4/apiAccessTokens":    near,
		"/v4/apiAccessTokens#x":               near,
		"/v4/apiAccessTokens%00/x":            near,
		"/v4/apiAccessTokens%2500":            near,
		"/v4/x//../apiAccessTokens":           near,
		"/v4//x/../../apiAccessTokens":        near,
		"/v4/q/x%2Fy/../../apiAccessTokens":   near,
		"/v4/q/x%5Cy/../../apiAccessTokens":   near,
		"/q/x%3By/..;/../v4/apiAccessTokens":  near,

		"/":                                  elsewhere,
		"//v4":                               elsewhere,
		"//apiAccessTokens/v4":               elsewhere,
		"/index.phpx/v4/apiAccessTokens":     elsewhere,
		"/indexphp/v4/apiAccessTokens":       elsewhere,
		"/x%3F/v4/apiAccessTokens":           elsewhere,
		"*":                                  elsewhere,
		"/*":                                 elsewhere,
		"/v4":                                elsewhere,
		"/v4/":                               elsewhere,
		"/v4/people/current":                 elsewhere,
		"/v4/apiAccessToken":                 elsewhere,
		"/v4/apiAccessTokensX":               elsewhere,
		"/v4/apiAccessTokens%00":             near,
		"/v4/apiAccessTokens%20":             elsewhere,
		"/v4/apiAccessTokens.":               elsewhere,
		"/v4/apiAccessTokens.json":           elsewhere,
		"/v4/apiAccessTokens:x":              elsewhere,
		"/v4/apiAccessTokens%3Fx":            near,
		"/v4/apiAccessTokens%23x":            near,
		"/v4/apiAccessTokens%2f..":           near,
		"/v4/apiAccessTokens/..":             near,
		"/v4/apiAccessTokens/../people":      near,
		"/v4/apiAccessTokens/..%2fpeople":    near,
		"/v4/apiAccessTokens/..;/people":     near,
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
		"/v4/people/current", "/", "/v4/apiAccessTokens", "/v4/apiAccessTokens/3f1c", "/V4/apiaccesstokens",
		"/" + strings.Repeat("a/.b/", 1000),
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { path := PathOf(u); path.Locate(testBase) }); n != 0 {
			t.Errorf("%q: %v allocations, want none", target, n)
		}
	}
}

// TestOrdinaryPathsAreNotNormalized keeps the fast path to what it is for.
func TestOrdinaryPathsAreNotNormalized(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/v4/people/current": true, "/v4/apiAccessTokens": true, "/v4/": true, "/a b/c:d@e+f,g=h&i'(j)*!$~": true,
		"/.well-known/x": true, "/a/...": true, "/a/..b/.c/d.": true, "/a.php": true, "/a.phpx/b": true,
		"/a\x00": false, "/a?b": false, "/a#b": false, "/a.php/b": false, "/a.PHP/": false,
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

// TestReadingTakesBoundedTime has paths that take as many passes to decode as
// they have escapes: pass by pass, many minutes.
func TestReadingTakesBoundedTime(t *testing.T) {
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
		"scripts":               strings.Repeat("/a.php", size/6) + testBase,
		"many readings":         strings.Repeat("/a.php/;%2541//../", size/18) + testBase,
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

// servers are what servers do to a path before they look it up, apart from the
// code under test.
var servers = map[byte]func(string) string{
	'd': func(path string) string {
		return escape.ReplaceAllStringFunc(path, func(escape string) string {
			decoded, err := url.PathUnescape(escape)
			if err != nil {
				panic(err)
			}
			return decoded
		})
	},
	'b': func(path string) string { return strings.Join(strings.Split(path, "\\"), "/") },
	'p': func(path string) string { return parameter.ReplaceAllString(path, "$1") },
	'c': func(path string) string { return pathpkg.Clean("/" + path) },
	// Dot segments one by one, as RFC 3986 section 5.2.4 writes it.
	'r': func(path string) string {
		done := ""
		for rest := path; rest != ""; {
			switch {
			case strings.HasPrefix(rest, "/./"):
				rest = rest[2:]
			case rest == "/.":
				rest = "/"
			case strings.HasPrefix(rest, "/../") || rest == "/..":
				rest = "/" + strings.TrimPrefix(rest[3:], "/")
				done = done[:max(0, strings.LastIndexByte(done, '/'))]
			default:
				end := strings.IndexByte(rest[1:], '/') + 1
				if end == 0 {
					end = len(rest)
				}
				done, rest = done+rest[:end], rest[end:]
			}
		}
		return done
	},
	'a': func(path string) string {
		if m := authority.FindStringSubmatch(path); m != nil {
			return "/" + m[1]
		}
		return path
	},
	'?': func(path string) string { before, _, _ := strings.Cut(path, "?"); return before },
	'#': func(path string) string { before, _, _ := strings.Cut(path, "#"); return before },
	'0': func(path string) string { before, _, _ := strings.Cut(path, "\x00"); return before },
	's': func(path string) string {
		if m := script.FindStringSubmatch(path); m != nil {
			return m[1]
		}
		return path
	},
	'l': func(path string) string { return strings.ToLower(strings.ToUpper(path)) },
}

var (
	escape    = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	parameter = regexp.MustCompile(`(?s)([^/]*?);[^/]*`)
	authority = regexp.MustCompile(`(?s)^//+[^/]*/?(.*)$`)
	script    = regexp.MustCompile(`(?is)^.*?\.php(/.*)$`)
)

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

// FuzzReadings lets servers of all kinds read a path, each a series of steps in
// any order: what one of them finds is covered.
func FuzzReadings(f *testing.F) {
	for _, seed := range []struct{ path, server string }{
		{"", ""}, {"*", "dbpc"}, {"/", "dl"}, {"/v4/people/current", "dddbpcl"}, {"/v4/apiAccessTokens", "c"}, {"/v4/apiAccessTokens/x", "d"},
		{"/v4/apiAccessTokens/", "r"}, {"/v4//apiAccessTokens", "c"}, {"/x/../v4/apiAccessTokens", "r"}, {"/v4/%2561piAccessTokens", "dd"},
		{"/v4;a=b/apiAccessTokens;c", "p"}, {"/v4\\apiAccessTokens", "b"}, {"/v4/apiAcce\u017fsTokens", "l"}, {"/v4/..;/v4/apiAccessTokens", "pc"},
		{"/v4/apiAccessTokens%00", "d0"}, {"//h/v4/apiAccessTokens", "a"}, {"/%2f/h%2fv4/apiAccessTokens", "da"}, {"/a.php/v4/apiAccessTokens", "s"},
		{"/v4/x//../apiAccessTokens", "rc"}, {"/v4/q/x%2Fy/../../apiAccessTokens", "cd"}, {"/v4/apiAccessTokens%3f", "d?"}, {"v4/apiAccessTokens", "c"},
		{"/x/..%5c..;/v4/apiAccessTokens%23", "dbpr#"},
	} {
		f.Add(seed.path, seed.server, []byte{})
	}
	f.Add("", "dbpcl", []byte{2, 3})
	f.Fuzz(func(t *testing.T, text, server string, recipe []byte) {
		if len(text)+len(recipe) > 1<<9 || len(server) > 12 {
			return
		}
		text += compose(recipe)

		check := func(u *url.URL) {
			path := PathOf(u)
			found := u.EscapedPath()
			decodes := found == u.Path
			for i := range len(server) {
				if step := servers[server[i]]; step != nil {
					decodes = decodes || server[i] == 'd'
					found = step(found)
				}
			}
			found = servers['l'](found)
			for _, base := range []string{testBase, "/v4", "/S"} {
				place, rest := path.Locate(base)
				if strings.HasPrefix(found+"/", strings.ToLower(base)+"/") && place == Elsewhere {
					t.Errorf("path %q, escaped %q: a server that does %q finds %q below %s, unseen", u.Path, u.EscapedPath(), server, found, base)
				}
				if place == Ours && base+rest != u.EscapedPath() {
					t.Errorf("path %q, escaped %q is taken for the exact spelling of %q below %s", u.Path, u.EscapedPath(), rest, base)
				}
			}
			if !decodes {
				return
			}
			open := func(path string) bool { return strings.HasPrefix(strings.ToLower(path), "/v4/") }
			everywhere, err := path.Everywhere(&http.Request{URL: u}, func(r *http.Request) (bool, error) { return open(r.URL.Path), nil })
			if err != nil || everywhere && !open("/"+strings.TrimPrefix(found, "/")) && !open(found+"/") {
				t.Errorf("path %q, escaped %q: a server that does %q finds %q, which isn't open everywhere (%v)", u.Path, u.EscapedPath(), server, found, err)
			}
		}
		check(&url.URL{Path: text})
		if requested, err := url.ParseRequestURI(text); err == nil {
			check(requested)
		}
	})
}

func TestEverywhere(t *testing.T) {
	open := func(r *http.Request) (bool, error) { return strings.HasPrefix(r.URL.Path, "/open/"), nil }
	for target, want := range map[string]bool{
		"/open/x": true, "/open/a%20b": true, "/open/caf%C3%A9": true, "/open/x/": true, "/open/%2541": true, "/open/a;b/c": true,
		"/open/x%3Fy": true, "/open/a.php/open/b": true,
		"/Open/x": false, "/admin": false, "//open/admin": false, "/open/..": false, "/open/../admin": false, "/open/..;/admin": false,
		"/open/%2e%2e/admin": false, "/open/%252e%252e/admin": false, "/open/x\\..\\..\\admin": false, "/open/x.php/admin": false,
		"/open%3F/x": false, "/open%00/x": false, "/%2Fopen/admin": false, "/open;/x": false, "/open/;/../admin": false,
		"/open/x//../../admin": false,
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		r, before := &http.Request{URL: u}, *u
		path := PathOf(u)
		got, err := path.Everywhere(r, open)
		if err != nil || got != want {
			t.Errorf("%q: got %t, %v, want %t", target, got, err, want)
		}
		if *r.URL != before {
			t.Errorf("%q has become %q", target, r.URL)
		}
	}
}

func BenchmarkLocate(b *testing.B) {
	for _, path := range []string{"/v4/people/current", "/v4/apiAccessTokens/settings", "/v4/a b;c/../apiAccessTokens"} {
		b.Run(fmt.Sprintf("%q", path), func(b *testing.B) {
			u := &url.URL{Path: path}
			for b.Loop() {
				read := PathOf(u)
				read.Locate(testBase)
			}
		})
	}
}
