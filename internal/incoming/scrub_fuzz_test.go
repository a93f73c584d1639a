package incoming

import (
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spelledLike maps a name as the contract words it, apart from the code under
// test, byte by byte.
func spelledLike(name string) string {
	return strings.ToLower(noLetterOrDigit.ReplaceAllString(latin1(name), "-"))
}

var noLetterOrDigit = regexp.MustCompile(`[^0-9A-Za-z]`)

// latin1 makes a character of each byte.
func latin1(s string) string {
	characters := make([]rune, len(s))
	for i := range len(s) {
		characters[i] = rune(s[i])
	}
	return string(characters)
}

func mayNotCome(name string) bool {
	switch like := spelledLike(name); like {
	case "remote-user", "remote-email", "remote-name", "x-api-user":
		return true
	default:
		return strings.HasPrefix(like, "x-trifacta-")
	}
}

func mayNotComeAsTrailer(name string) bool {
	like := spelledLike(name)
	return mayNotCome(name) || like == "authorization" || like == "cookie"
}

// elements are the names in the lists of all lines.
func elements(lines []string) []string {
	var names []string
	for _, line := range lines {
		for _, name := range strings.Split(line, ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}

func FuzzScrub(f *testing.F) {
	f.Add("Remote-User\nX_Trifacta.Id\nAccept", "alice\nbob", "close, Remote-User", "X-Sum\nremote.email\nCookie")
	f.Add("connection\nCONNECTION\nTrailer", "Upgrade,remote_user\n, ,", " ,\tRemote-Name ,, Upgrade\nkeep-alive", "")
	f.Add("Remote-\u017Fer\nRemote-User \n\nremote-use", "\xff\x00", "Remote-User\x00,\u00a0Remote-User", "\nauthorization")
	f.Fuzz(func(t *testing.T, names, values, connection, trailers string) {
		header := http.Header{}
		for name := range strings.SplitSeq(names, "\n") {
			header[name] = append(header[name], strings.Split(values, "\n")...)
		}
		header["Connection"] = append(header["Connection"], strings.Split(connection, "\n")...)
		trailer := http.Header{}
		for name := range strings.SplitSeq(trailers, "\n") {
			trailer[name] = append(trailer[name], values)
		}
		headerBefore, trailerBefore := header.Clone(), trailer.Clone()

		r := &http.Request{ProtoMajor: 1, ContentLength: -1, Header: header, Trailer: trailer}
		r.Body = &scriptedBody{steps: []step{{err: io.EOF, do: func() { maps.Copy(trailer, trailerBefore) }}}}
		newRules(t).Scrub(r)
		checkTrailer(t, trailerBefore, trailer)
		for key, before := range headerBefore {
			checkHeader(t, key, before, header)
		}
		for key := range header {
			if _, found := headerBefore[key]; !found {
				t.Errorf("%q is new", key)
			}
		}
		if _, err := io.ReadAll(r.Body); err != nil {
			t.Fatal(err)
		}
		checkTrailer(t, trailerBefore, trailer)
	})
}

func checkHeader(t *testing.T, key string, before []string, header http.Header) {
	t.Helper()
	after, found := header[key]
	refused := mayNotCome
	switch like := spelledLike(key); {
	case mayNotCome(key):
		if found {
			t.Errorf("%q is still there", key)
		}
		return
	case like == "trailer":
		refused = mayNotComeAsTrailer
	case like != "connection":
		if diff := cmp.Diff(before, after); diff != "" || !found {
			t.Errorf("%q changed (-before +after):\n%s", key, diff)
		}
		return
	}
	named := elements(before)
	if !slices.ContainsFunc(named, refused) {
		if diff := cmp.Diff(before, after); diff != "" || !found {
			t.Errorf("%q changed without need (-before +after):\n%s", key, diff)
		}
		return
	}
	want := slices.DeleteFunc(named, refused)
	if diff := cmp.Diff(want, append([]string{}, elements(after)...)); diff != "" {
		t.Errorf("%q from %q to %q (-want +got):\n%s", key, before, after, diff)
	}
	if found && len(after) == 0 {
		t.Errorf("%q is there without a line", key)
	}
}

func checkTrailer(t *testing.T, before, after http.Header) {
	t.Helper()
	want := before.Clone()
	maps.DeleteFunc(want, func(key string, _ []string) bool { return mayNotComeAsTrailer(key) })
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("trailer (-want +got):\n%s", diff)
	}
}

func FuzzCookies(f *testing.F) {
	f.Add("locale=en; session.sid=1", "theme=dark;locale=\"a,b\"", "cookie")
	f.Add("locale =1;locale;=locale;; Locale=2", "\tlocale==; locale=", "COOKIE")
	f.Add("\u00a0locale=1; locale=\xff\x00", "", "Authorization")
	f.Fuzz(func(t *testing.T, first, second, other string) {
		header := http.Header{other: {"locale=other"}, "Cookie": {first, second}, "Authorization": {first}}
		var want []string
		for _, pair := range strings.Split(first+";"+second, ";") {
			pair = strings.TrimRight(strings.TrimLeft(pair, " \t"), " \t")
			name, value, _ := strings.Cut(pair, "=")
			unquoted := regexp.MustCompile(`^"(.*)"$`).ReplaceAllString(value, "$1")
			plain := !strings.ContainsAny(unquoted, " \"\\,\x7f") && !regexp.MustCompile(`[\x00-\x1f]`).MatchString(unquoted)
			if strings.Contains(pair, "=") && (name == "locale" || name == "theme") && plain {
				want = append(want, pair)
			}
		}

		newRules(t, "theme", "locale").DropCredentials(&http.Request{Header: header}, Authorization{})
		var got []string
		lines, found := header["Cookie"]
		if found && len(lines) != 1 {
			t.Errorf("%d Cookie lines, want one", len(lines))
		}
		if found {
			got = strings.Split(lines[0], "; ")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("cookies (-want +got):\n%s", diff)
		}
		for key := range header {
			if like := spelledLike(key); like == "authorization" || like == "cookie" && key != "Cookie" {
				t.Errorf("%q is still there", key)
			}
		}
	})
}
