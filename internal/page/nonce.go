package page

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// nonces are what tells one form from another, and that it is one of the
// page's own, made for whoever sends it. A script of the API's can send a form
// too, by a navigation that looks like anybody's, but can't read the documents
// in which a nonce stands.
type nonces struct {
	key    [sha256.Size]byte
	now    func() time.Time
	random io.Reader
}

// A nonce is when it was issued, in seconds, and random bytes; and the HMAC of
// these and of whom it was issued to.
const (
	nonceRandom = 16
	nonceHead   = 8 + nonceRandom
	nonceBytes  = nonceHead + sha256.Size
)

// nonceLimit is how long a form can be sent, which is as long as a session can
// last.
const nonceLimit = absoluteLimit

func newNonces(now func() time.Time, random io.Reader) *nonces {
	n := &nonces{now: now, random: random}
	if _, err := io.ReadFull(random, n.key[:]); err != nil {
		panic(fmt.Sprintf("reading random bytes: %v", err)) // crypto/rand's don't fail
	}
	return n
}

// issue returns a new nonce for a user's form.
func (n *nonces) issue(user sessionUser) (string, error) {
	var nonce [nonceBytes]byte
	binary.BigEndian.PutUint64(nonce[:], uint64(n.now().Unix()))
	if _, err := io.ReadFull(n.random, nonce[8:nonceHead]); err != nil {
		return "", fmt.Errorf("%w: reading random bytes: %w", store.ErrUnavailable, err)
	}
	copy(nonce[nonceHead:], n.mac(user, nonce[:nonceHead]))
	return base64.RawURLEncoding.EncodeToString(nonce[:]), nil
}

// issued tells whether text is a nonce that this user has been issued, not too
// long ago.
func (n *nonces) issued(user sessionUser, text string) bool {
	if len(text) != base64.RawURLEncoding.EncodedLen(nonceBytes) {
		return false
	}
	nonce, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(nonce) != nonceBytes || !hmac.Equal(nonce[nonceHead:], n.mac(user, nonce[:nonceHead])) {
		return false
	}
	at := time.Unix(int64(binary.BigEndian.Uint64(nonce)), 0)
	return n.now().Sub(at) < nonceLimit
}

func (n *nonces) mac(user sessionUser, head []byte) []byte {
	mac := hmac.New(sha256.New, n.key[:])
	mac.Write(head)
	mac.Write([]byte(user.project)) // which has no NUL
	mac.Write([]byte{0})
	mac.Write([]byte(user.id))
	return mac.Sum(nil)
}
