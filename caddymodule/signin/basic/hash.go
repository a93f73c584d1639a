package basic

import (
	"encoding/base64"
	"errors"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

var (
	errNoHash = errors.New("this is neither a bcrypt hash ($2a$…) nor an argon2id hash ($argon2id$…); `caddy hash-password` makes one")
	// errDamaged doesn't show the hash: what is left of it may be the secret part.
	errDamaged = errors.New("this hash is damaged; write all that `caddy hash-password` printed, and nothing else")
)

// What Caddy's modules would compare with no error and no panic, and could
// match: a whole hash with a cost of its algorithm.
var (
	bcryptHash   = regexp.MustCompile(`^\$2[abxy]?\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$`)
	argon2idHash = regexp.MustCompile(`^\$argon2id\$v=19\$m=[1-9][0-9]*,t=[1-9][0-9]*,p=[1-9][0-9]*\$[+/A-Za-z0-9]{11,}\$[+/A-Za-z0-9]{22,}$`)
)

// parseHash tells a hash's algorithm by its prefix, and checks its form. It
// compares nothing: that takes up to a second for each user.
func parseHash(text string) (algorithm string, hash []byte, err error) {
	hash = []byte(text)
	if !strings.HasPrefix(text, "$") {
		// Caddy once wrote hashes in base64, and still reads them.
		if hash, err = base64.StdEncoding.DecodeString(text); err != nil {
			return "", nil, errNoHash
		}
	}
	switch {
	case strings.HasPrefix(string(hash), "$argon2id$"):
		if _, _, err := caddyauth.DecodeHash(hash); err != nil || !argon2idHash.Match(hash) {
			return "", nil, errDamaged
		}
		return "argon2id", hash, nil
	case strings.HasPrefix(string(hash), "$2"):
		if !bcryptHash.Match(hash) {
			return "", nil, errDamaged
		}
		return "bcrypt", hash, nil
	}
	return "", nil, errNoHash
}
