// Package token is the token value: how it is made, recognised, hashed and
// kept out of everything that is written down.
//
// A value is a prefix of 2 to 12 characters of a-z and 0-9, an underscore, 43
// base62 characters that hold 32 random bytes, and 6 base62 characters that
// hold the CRC-32 (IEEE) of everything before them. Base62 digits are 0-9, A-Z,
// a-z, most significant first, zero-padded.
//
// The checksum tells a mistyped value from a wrong one without a look-up, and
// lets secret scanners recognise a leaked one. It adds no security: that lies
// in the 256 random bits alone.
package token

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

const (
	secretBytes    = 32
	secretDigits   = 43 // 62^43 > 2^256
	checksumDigits = 6  // 62^6 > 2^32

	// bodyLen is what follows the underscore.
	bodyLen = secretDigits + checksumDigits

	minPrefix = 2
	maxPrefix = 12
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ErrPrefix reports a prefix that no token value can have.
var ErrPrefix = errors.New("a prefix is 2 to 12 characters of a-z and 0-9")

// Value is a token value of our shape. It prints itself as its prefix and
// "…" whatever the verb, and its fields can't be read by encoders; only Reveal
// gives the secret away.
type Value struct{ s string }

// Make returns a new value with the given prefix and 32 bytes from random.
// It fails with ErrPrefix, or as random does.
func Make(prefix string, random io.Reader) (Value, error) {
	if !ValidPrefix(prefix) {
		return Value{}, ErrPrefix
	}
	var secret [secretBytes]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return Value{}, fmt.Errorf("reading random bytes: %w", err)
	}
	b := make([]byte, 0, maxPrefix+1+bodyLen)
	b = append(b, prefix...)
	b = append(b, '_')
	b = appendSecret(b, secret)
	b = appendChecksum(b, checksum(string(b)))
	return Value{string(b)}, nil
}

// Parse returns s as a value if it has our shape: a prefix, an underscore, and
// 49 base62 digits with a right checksum. It doesn't allocate.
func Parse(s string) (Value, bool) {
	prefix := len(s) - bodyLen - 1
	if prefix < minPrefix || prefix > maxPrefix || s[prefix] != '_' {
		return Value{}, false
	}
	if !ValidPrefix(s[:prefix]) || !wellFormed(s) {
		return Value{}, false
	}
	return Value{s}, true
}

// Reveal returns the secret text. It is for the one answer that shows a new
// token to its user.
func (v Value) Reveal() string { return v.s }

// IsZero tells whether v is no value at all.
func (v Value) IsZero() bool { return v.s == "" }

// String is the prefix alone, so that a value in a log line or an error gives
// nothing away.
func (v Value) String() string {
	prefix, _, _ := strings.Cut(v.s, "_")
	return prefix + "_…"
}

// Format makes every fmt verb print String.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, v.String()) }

// ValidPrefix tells whether prefix is 2 to 12 characters of a-z and 0-9.
func ValidPrefix(prefix string) bool {
	if len(prefix) < minPrefix || len(prefix) > maxPrefix {
		return false
	}
	for i := range len(prefix) {
		if !isPrefixChar(prefix[i]) {
			return false
		}
	}
	return true
}

func isPrefixChar(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// wellFormed tells whether s, which is long enough, ends in 49 base62 digits of
// which the last six are the checksum of all before them.
func wellFormed(s string) bool {
	if !allDigits(s[len(s)-bodyLen:]) {
		return false
	}
	sum, ok := readChecksum(s[len(s)-checksumDigits:])
	return ok && sum == checksum(s[:len(s)-checksumDigits])
}

func allDigits(s string) bool {
	for i := range len(s) {
		if digits[s[i]] < 0 {
			return false
		}
	}
	return true
}

// checksum is the CRC-32 of s, a byte at a time: crc32 takes a slice, which
// would escape to the heap at every request.
func checksum(s string) uint32 {
	crc := ^uint32(0)
	for i := range len(s) {
		crc = crc32.IEEETable[byte(crc)^s[i]] ^ crc>>8
	}
	return ^crc
}

// digits maps a base62 character to its value, and everything else to -1.
var digits = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = int8(i)
	}
	return t
}()

// appendSecret appends the 43 base62 digits of a 256-bit number, by dividing
// it, as eight 32-bit words, by 62 again and again.
func appendSecret(b []byte, secret [secretBytes]byte) []byte {
	var words [secretBytes / 4]uint32
	for i := range words {
		words[i] = binary.BigEndian.Uint32(secret[4*i:])
	}
	var out [secretDigits]byte
	for i := len(out) - 1; i >= 0; i-- {
		var rest uint64
		for w := range words {
			n := rest<<32 | uint64(words[w])
			words[w], rest = uint32(n/62), n%62
		}
		out[i] = alphabet[rest]
	}
	return append(b, out[:]...)
}

func appendChecksum(b []byte, sum uint32) []byte {
	var out [checksumDigits]byte
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = alphabet[sum%62]
		sum /= 62
	}
	return append(b, out[:]...)
}

func readChecksum(s string) (uint32, bool) {
	var n uint64
	for i := range len(s) {
		n = n*62 + uint64(digits[s[i]])
	}
	return uint32(n), n <= 1<<32-1
}
