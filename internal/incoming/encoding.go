package incoming

import (
	"fmt"
	"strings"
)

// StripsEnd tells whether some servers strip a value's first or last byte.
// Those that read values as ISO 8859-1, as Python's WSGI servers do, take 0x85
// and 0xA0 for white space, which in UTF-8 are part of other characters: they
// make "Vil\xc3" of "Vilà".
func StripsEnd(value string) bool {
	stripped := func(c byte) bool { return c == 0x85 || c == 0xA0 }
	return value != "" && (stripped(value[0]) || stripped(value[len(value)-1]))
}

// PercentEncode returns value with each byte that isn't visible ASCII, and '%',
// percent-encoded (RFC 3986 section 2.1).
func PercentEncode(value string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '%' }
	var encoded strings.Builder
	for i := range len(value) {
		if c := value[i]; plain(c) {
			encoded.WriteByte(c)
		} else {
			fmt.Fprintf(&encoded, "%%%02X", c)
		}
	}
	return encoded.String()
}
