package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Hash is a value's HMAC-SHA-256 (RFC 2104, FIPS 180-4) under a Key. It is what
// the index holds in the value's place. Without the key nobody can compute it,
// so that write access to the store alone doesn't let anybody mint a token.
type Hash [sha256.Size]byte

// KeyID names a key without giving it away.
type KeyID [8]byte

// String is the id in hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// minKeyText is the shortest key text accepted, in bytes.
const minKeyText = 32

// ErrShortKey reports a key text of fewer than 32 bytes.
var ErrShortKey = errors.New("a hash key has at least 32 characters; `openssl rand -hex 32` makes one")

// Key is the secret under which values are hashed. It prints as its id.
type Key struct {
	id KeyID
	// The secret, padded to a block and combined with HMAC's two constants.
	inner, outer [sha256.BlockSize]byte
}

// NewKey returns the key whose secret is text without surrounding white space.
// It fails with ErrShortKey.
func NewKey(text string) (*Key, error) {
	secret := []byte(strings.TrimSpace(text))
	if len(secret) < minKeyText {
		return nil, ErrShortKey
	}
	// No value begins with a space, so that this is no value's hash.
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(" access-tokens key id"))
	k := new(Key)
	copy(k.id[:], m.Sum(nil))

	if len(secret) > sha256.BlockSize {
		sum := sha256.Sum256(secret)
		secret = sum[:]
	}
	copy(k.inner[:], secret)
	copy(k.outer[:], secret)
	for i := range sha256.BlockSize {
		k.inner[i] ^= 0x36
		k.outer[i] ^= 0x5c
	}
	return k, nil
}

// ID is the same for the same secret, and tells nothing about it.
func (k *Key) ID() KeyID { return k.id }

// Format makes every fmt verb print the id.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.id.String()) }

// Hash returns v's index key. It is HMAC written out, because crypto/hmac
// allocates and this runs at every request; a test holds it against
// crypto/hmac.
func (k *Key) Hash(v Value) Hash {
	var msg [sha256.BlockSize + maxPrefix + 1 + bodyLen]byte
	n := copy(msg[:], k.inner[:])
	n += copy(msg[n:], v.s)
	sum := sha256.Sum256(msg[:n])
	n = copy(msg[:], k.outer[:])
	n += copy(msg[n:], sum[:])
	return sha256.Sum256(msg[:n])
}
