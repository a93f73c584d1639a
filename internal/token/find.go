package token

import "strings"

// Contains tells whether s holds a value of our shape anywhere, also amid
// other text. It is for places where a token must never stand, such as a URL.
func Contains(s string) bool {
	_, found := Find(s)
	return found
}

// Find returns the first value of our shape in s.
func Find(s string) (Value, bool) {
	_, v, found := find(s)
	return v, found
}

// Replace returns s with each value in it replaced by what with returns.
func Replace(s string, with func(Value) string) string {
	at, v, found := find(s)
	if !found {
		return s
	}
	var b strings.Builder
	for ; found; at, v, found = find(s) {
		b.WriteString(s[:at])
		b.WriteString(with(v))
		s = s[at+len(v.s):]
	}
	b.WriteString(s)
	return b.String()
}

func find(s string) (at int, v Value, found bool) {
	for i := minPrefix; i+bodyLen < len(s); i++ {
		if s[i] != '_' {
			continue
		}
		end := i + 1 + bodyLen
		if !allDigits(s[i+1 : end]) {
			continue
		}
		// The prefix's beginning can't be told from text glued to it, but
		// the checksum covers the prefix: try each length.
		for start := i - 1; start >= 0 && i-start <= maxPrefix && isPrefixChar(s[start]); start-- {
			if v, ok := Parse(s[start:end]); ok {
				return start, v, true
			}
		}
	}
	return 0, Value{}, false
}
