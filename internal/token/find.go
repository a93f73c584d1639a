package token

// Contains tells whether s holds a value of our shape anywhere, also amid
// other text. It is for places where a token must never stand, such as a URL.
func Contains(s string) bool {
	_, found := Find(s)
	return found
}

// Find returns the first value of our shape in s.
func Find(s string) (Value, bool) {
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
				return v, true
			}
		}
	}
	return Value{}, false
}
