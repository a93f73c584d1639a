package incoming

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	pathpkg "path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Place says where a request's path stands relative to the base path of the
// routes.
type Place int

const (
	// Elsewhere is a path that isn't ours however it is read.
	Elsewhere Place = iota
	// NearMiss is another spelling of one of our paths. It is answered with
	// 404 and never proxied: the API behind might read it as one of ours.
	NearMiss
	// Ours is the base path, or a path below it, in its exact spelling.
	Ours
)

// String returns the constant's name.
func (p Place) String() string {
	switch p {
	case Elsewhere:
		return "Elsewhere"
	case NearMiss:
		return "NearMiss"
	case Ours:
		return "Ours"
	}
	return fmt.Sprintf("Place(%d)", int(p))
}

// ErrBase is what [ValidBase] says of every base path it refuses.
var ErrBase = errors.New("must begin with / and name at least one segment, like /v4/apiAccessTokens, " +
	"without a / at its end, empty segments, . or .. as a segment, or other characters than A-Z a-z 0-9 - . _ ~")

// ValidBase reports whether the routes can be at base. If not, the error is
// [ErrBase].
//
// Only unreserved characters (RFC 3986, section 2.3) are allowed, since they
// have one spelling that needs no escaping.
func ValidBase(base string) error {
	if !strings.HasPrefix(base, "/") {
		return ErrBase
	}
	for segment := range strings.SplitSeq(base[1:], "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, isReserved) {
			return ErrBase
		}
	}
	return nil
}

func isReserved(r rune) bool {
	return ('a' > r || r > 'z') && ('A' > r || r > 'Z') && ('0' > r || r > '9') && !strings.ContainsRune("-._~", r)
}

// Path is a request's path in all the ways in which servers read one.
//
// Servers differ: some decode once, some until nothing is left to decode; some
// take a backslash for a slash, drop what follows a semicolon, resolve dot
// segments before or after they merge slashes, take what follows // for a host,
// end a path at a decoded ?, # or NUL, pass on what follows a script's name, or
// have no letter case. Whatever comes of any of these steps, in any order, is a
// reading of the path.
type Path struct {
	// path is decoded once, escaped as the request is sent on.
	path, escaped string
	// plain: path has no other reading, letter case aside.
	plain bool
	// others are the readings of a path that isn't plain; all of them, unless
	// there were too many.
	others []string
	all    bool
}

// How much is read into a path that isn't plain. One that goes beyond is as if
// any path were one of its readings.
const (
	maxReadings     = 256
	maxReadingBytes = 1 << 20
)

// PathOf returns the path of a request's URL.
func PathOf(u *url.URL) Path {
	p := Path{path: u.Path, escaped: u.EscapedPath()}
	if p.plain = isPlain(p.path); !p.plain {
		p.read()
	}
	return p
}

// Locate says where the path stands relative to base, which [ValidBase] has
// approved. For Ours, rest is what follows base: empty, or a slash and more.
//
// A path is ours if one of its readings equals base or lies below it, letter
// case aside. All but the exact spelling is a NearMiss.
func (p *Path) Locate(base string) (place Place, rest string) {
	if p.plain {
		if !Within(base, p.path) {
			return Elsewhere, ""
		}
		if p.path != p.escaped || !strings.HasPrefix(p.path, base) || strings.HasSuffix(p.path, "/") {
			return NearMiss, ""
		}
		return Ours, p.path[len(base):]
	}
	if !p.all || slices.ContainsFunc(p.others, func(reading string) bool { return Within(base, foldToASCII(reading)) }) {
		return NearMiss, ""
	}
	return Elsewhere, ""
}

// Everywhere tells whether match accepts r, whose path p is, however that is
// read. It changes r.URL for as long as match runs.
func (p *Path) Everywhere(r *http.Request, match func(*http.Request) (bool, error)) (bool, error) {
	if matches, err := match(r); !matches || err != nil {
		return false, err
	}
	if p.plain {
		return p.lowered(r, p.path, match)
	}
	if !p.all {
		return false, nil
	}
	for _, reading := range p.others {
		if matches, err := matchPath(r, reading, match); !matches || err != nil {
			return false, err
		}
		if matches, err := p.lowered(r, reading, match); !matches || err != nil {
			return false, err
		}
	}
	return true, nil
}

// lowered is match of a reading by a server that has no letter case.
func (p *Path) lowered(r *http.Request, reading string, match func(*http.Request) (bool, error)) (bool, error) {
	lower := strings.ToLower(reading)
	if lower == reading {
		return true, nil
	}
	return matchPath(r, lower, match)
}

func matchPath(r *http.Request, path string, match func(*http.Request) (bool, error)) (bool, error) {
	asSent := *r.URL
	defer func() { *r.URL = asSent }()
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	r.URL.Path, r.URL.RawPath = path, ""
	return match(r)
}

// read finds the readings of a path that isn't plain.
//
// One that still has the escapes that were sent is a step to others, such as
// those of servers that resolve dot segments before they decode, but is none
// itself: whoever doesn't decode a name has none that would be called so.
func (p *Path) read() {
	type reading struct {
		path string
		raw  bool
	}
	escapes := p.path != p.escaped
	found := map[reading]bool{}
	var queue []reading
	bytes := 0
	add := func(r reading) {
		r.raw = r.raw && strings.Contains(r.path, "%")
		if !found[r] {
			found[r] = true
			queue = append(queue, r)
			bytes += len(r.path)
		}
	}
	add(reading{p.path, false})
	add(reading{p.escaped, escapes})
	for len(queue) > 0 {
		if len(found) > maxReadings || bytes > maxReadingBytes {
			return
		}
		next := queue[0]
		queue = queue[1:]
		if strings.Contains(next.path, "%") {
			add(reading{decodeOnce(next.path), false})
			add(reading{string(decodeStable(nil, next.path)), false})
		}
		for other := range rewrites(next.path) {
			add(reading{other, next.raw})
		}
	}
	p.all = true
	for r := range found {
		if !r.raw {
			p.others = append(p.others, r.path)
		}
	}
}

// rewrites are what comes of a path by each single step that servers take,
// decoding aside, as far as it makes a difference.
func rewrites(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, step := range steps {
			if other := step(path); other != path && !yield(other) {
				return
			}
		}
		// A script is handed what follows its name: /index.php/v4 is /v4 to it.
		for i := 0; i+len(scriptEnd) <= len(path); i++ {
			if path[i] == '.' && strings.EqualFold(path[i:i+len(scriptEnd)], scriptEnd) && !yield(path[i+len(scriptEnd)-1:]) {
				return
			}
		}
	}
}

const scriptEnd = ".php/"

var steps = []func(string) string{
	func(path string) string { return strings.ReplaceAll(path, `\`, "/") },
	withoutParameters,
	resolveMerged,
	resolveDots,
	withoutAuthority,
	func(path string) string { return endAt(path, '?') },
	func(path string) string { return endAt(path, '#') },
	func(path string) string { return endAt(path, 0) },
}

func endAt(path string, c byte) string {
	if at := strings.IndexByte(path, c); at >= 0 {
		return path[:at]
	}
	return path
}

// withoutAuthority drops the host that a path begins with to those who take it
// for a reference to a URL (RFC 3986 section 4.2), however many slashes lead
// to it (WHATWG URL, "special authority ignore slashes state").
func withoutAuthority(path string) string {
	if !strings.HasPrefix(path, "//") {
		return path
	}
	host := strings.TrimLeft(path, "/")
	if at := strings.IndexByte(host, '/'); at >= 0 {
		return host[at:]
	}
	return "/"
}

// withoutParameters drops what follows a semicolon in each segment (RFC 3986
// section 3.3).
func withoutParameters(path string) string {
	if !strings.Contains(path, ";") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	return strings.Join(segments, "/")
}

// resolveMerged merges slashes first, and then resolves dot segments.
func resolveMerged(path string) string {
	resolved := pathpkg.Clean("/" + path)
	if strings.HasSuffix(path, "/") && resolved != "/" {
		resolved += "/"
	}
	return resolved
}

// resolveDots resolves dot segments as RFC 3986 section 5.2.4 does, to which an
// empty segment is one like others.
func resolveDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	var kept []string
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		switch segment {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// isPlain reports whether path can be read in no other way, save for letter case
// and one slash at its end.
func isPlain(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for i := range len(path) {
		switch c := path[i]; {
		case c == '%', c == '\\', c == ';', c == '?', c == '#', c == 0, c >= utf8.RuneSelf:
			return false
		case c == '/' && i+1 < len(path) && beginsWithDroppedSegment(path[i+1:]):
			return false
		case c == '.' && i+len(scriptEnd) <= len(path) && strings.EqualFold(path[i:i+len(scriptEnd)], scriptEnd):
			return false
		}
	}
	return true
}

// beginsWithDroppedSegment reports whether the first segment is empty, "." or
// "..".
func beginsWithDroppedSegment(s string) bool {
	for range 2 {
		s = strings.TrimPrefix(s, ".")
	}
	return s == "" || s[0] == '/'
}

// Within reports whether path equals base or continues it with a slash, in
// whatever ASCII letter case.
func Within(base, path string) bool {
	if len(path) < len(base) {
		return false
	}
	for i := range len(base) {
		if asciiLower(base[i]) != asciiLower(path[i]) {
			return false
		}
	}
	return len(path) == len(base) || path[len(base)] == '/'
}

func asciiLower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// decodeOnce decodes each escape. A percent sign without two hexadecimal digits
// stays.
func decodeOnce(path string) string {
	buf := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if high, low := hexValue(path[i+1]), hexValue(path[i+2]); high >= 0 && low >= 0 {
				buf = append(buf, byte(high<<4|low))
				i += 2
				continue
			}
		}
		buf = append(buf, path[i])
	}
	return string(buf)
}

// decodeStable appends path to buf, percent-decoded until nothing is left to
// decode. What it has appended never holds an escape: where a byte completes
// one, the decoded byte takes its place at once, and may in turn complete
// another. Escapes don't overlap, so that the order of decoding doesn't matter.
// A percent sign without two hexadecimal digits stays.
func decodeStable(buf []byte, path string) []byte {
	for i := range len(path) {
		buf = append(buf, path[i])
		for n := len(buf); n >= 3 && buf[n-3] == '%'; n = len(buf) {
			high, low := hexValue(buf[n-2]), hexValue(buf[n-1])
			if high < 0 || low < 0 {
				break
			}
			buf = append(buf[:n-3], byte(high<<4|low))
		}
	}
	return buf
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// foldToASCII replaces every letter that is another one's upper or lower case
// with the ASCII letter they lead to, such as U+212A KELVIN SIGN with k and
// U+017F LONG S with s. Other characters outside ASCII stay: no base path holds
// them.
func foldToASCII(path string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			return r
		}
		if lower := unicode.ToLower(unicode.ToUpper(r)); lower < utf8.RuneSelf {
			return lower
		}
		return r
	}, path)
}
