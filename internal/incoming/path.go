package incoming

import (
	"errors"
	"fmt"
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

// Locate says where a request's path stands relative to base, which [ValidBase]
// has approved. path is the URL's Path, decoded once; escaped its EscapedPath.
// For Ours, rest is what follows base: empty, or a slash and more.
//
// A path is ours if its normal form equals base or lies below it, letter case
// aside. The normal form is the path percent-decoded until nothing is left to
// decode, every backslash a slash, every segment without what follows its first
// semicolon, and empty, "." and ".." segments resolved. path and escaped have
// the same normal form, as decoding has only one end, whatever its order. All
// but the exact spelling is a NearMiss.
func Locate(base, path, escaped string) (place Place, rest string) {
	if isPlain(path) {
		if !isWithin(base, path) {
			return Elsewhere, ""
		}
		if path != escaped || !strings.HasPrefix(path, base) || strings.HasSuffix(path, "/") {
			return NearMiss, ""
		}
		return Ours, path[len(base):]
	}
	var space [512]byte
	if !isWithin(base, normalize(space[:0], path)) {
		return Elsewhere, ""
	}
	return NearMiss, ""
}

// Plain returns the path that a lax server may read in path, which is decoded
// once: its normal form, as [Locate] has it. same tells that there is no other
// way to read it.
func Plain(path string) (plain string, same bool) {
	if isPlain(path) {
		return path, true
	}
	plain = string(normalize(nil, path))
	if plain == "" {
		plain = "/"
	}
	return plain, plain == path || plain+"/" == path
}

// isPlain reports whether path is its own normal form, save for letter case and
// one slash at its end.
func isPlain(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for i := range len(path) {
		switch c := path[i]; {
		case c == '%', c == '\\', c == ';', c >= utf8.RuneSelf:
			return false
		case c == '/' && i+1 < len(path) && beginsWithDroppedSegment(path[i+1:]):
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

// isWithin reports whether path equals base or continues it with a slash, in
// whatever ASCII letter case.
func isWithin[T string | []byte](base string, path T) bool {
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

// normalize appends path's normal form to buf, which is empty, and returns it.
// The root's normal form is empty. Time and space are linear in path's length.
func normalize(buf []byte, path string) []byte {
	buf = slices.Grow(buf, 1+len(path))
	buf = append(buf, '/')
	buf = decodeStable(buf, path)
	buf = foldToASCII(buf)
	return clean(buf)
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

// foldToASCII replaces, in place, every letter that is another one's upper or
// lower case with the ASCII letter they lead to, such as U+212A KELVIN SIGN with
// k and U+017F LONG S with s. Other characters outside ASCII stay: no base path
// holds them.
func foldToASCII(p []byte) []byte {
	folded := p[:0]
	for i := 0; i < len(p); {
		r, size := utf8.DecodeRune(p[i:])
		if lower := unicode.ToLower(unicode.ToUpper(r)); r >= utf8.RuneSelf && lower < utf8.RuneSelf {
			folded = append(folded, byte(lower))
		} else {
			folded = append(folded, p[i:i+size]...)
		}
		i += size
	}
	return folded
}

// clean resolves, in place, the segments of p, which begins with a slash: a
// backslash separates them too, what follows a semicolon is dropped, and empty,
// "." and ".." ones are resolved as by path.Clean.
func clean(p []byte) []byte {
	cleaned := p[:0]
	for start := 1; start <= len(p); {
		end := start
		for end < len(p) && p[end] != '/' && p[end] != '\\' {
			end++
		}
		segment := p[start:end]
		start = end + 1

		for i, c := range segment {
			if c == ';' {
				segment = segment[:i]
				break
			}
		}
		switch string(segment) {
		case "", ".":
		case "..":
			cleaned = withoutLast(cleaned)
		default:
			cleaned = append(append(cleaned, '/'), segment...)
		}
	}
	return cleaned
}

func withoutLast(cleaned []byte) []byte {
	for i := len(cleaned) - 1; i >= 0; i-- {
		if cleaned[i] == '/' {
			return cleaned[:i]
		}
	}
	return cleaned
}
