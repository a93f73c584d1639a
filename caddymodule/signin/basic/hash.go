package basic

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

var (
	errNoHash = errors.New("this is neither a bcrypt hash ($2a$…) nor an argon2id hash ($argon2id$…); `caddy hash-password` makes one")
	// errDamaged doesn't show the hash: what is left of it may be the secret part.
	errDamaged = errors.New("this hash is damaged; write all that `caddy hash-password` printed, and nothing else")
	errCost    = errors.New("`caddy hash-password` makes a hash of a useful cost")
)

// What a hash may cost. A comparison takes a quarter of a minute of a core at
// most: others wait for one minute. The memory is what RFC 9106 section 4
// recommends where there is plenty, and is taken at each sign-in.
const (
	minBcryptCost, maxBcryptCost = 4, 18
	maxArgon2idMemory            = 2 << 20  // KiB
	maxArgon2idWork              = 16 << 20 // KiB, in all passes together
	maxArgon2idThreads           = 255
	maxArgon2idSalt              = 64  // bytes
	maxArgon2idKey               = 128 // bytes
)

// What Caddy's modules would compare with no error and no panic, and could
// match: a whole hash.
var (
	bcryptHash   = regexp.MustCompile(`^\$2[abxy]?\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)
	argon2idHash = regexp.MustCompile(`^\$argon2id\$v=19\$m=([0-9]+),t=([0-9]+),p=([0-9]+)\$([+/A-Za-z0-9]{11,})\$([+/A-Za-z0-9]{22,})$`)
)

// parseHash tells a hash's algorithm by its prefix, and checks its form and
// cost. It compares nothing: that takes up to a second for each user.
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
		algorithm, err = "argon2id", checkArgon2id(hash)
	case strings.HasPrefix(string(hash), "$2"):
		algorithm, err = "bcrypt", checkBcrypt(hash)
	default:
		return "", nil, errNoHash
	}
	if err != nil {
		return "", nil, err
	}
	return algorithm, hash, nil
}

func checkBcrypt(hash []byte) error {
	parts := bcryptHash.FindSubmatch(hash)
	if parts == nil {
		return errDamaged
	}
	_, err := checkCost("bcrypt cost ", string(parts[1]), minBcryptCost, maxBcryptCost)
	return err
}

func checkArgon2id(hash []byte) error {
	parts := argon2idHash.FindSubmatch(hash)
	if parts == nil {
		return errDamaged
	}
	memory, err := checkCost("argon2id m=", string(parts[1]), 1, maxArgon2idMemory)
	if err != nil {
		return err
	}
	threads, err := checkCost("argon2id p=", string(parts[3]), 1, maxArgon2idThreads)
	if err != nil {
		return err
	}
	// Each thread has 8 KiB at least (RFC 9106 section 3.1).
	if _, err := checkCost(fmt.Sprintf("beside m=%d, argon2id t=", memory), string(parts[2]), 1, maxArgon2idWork/max(memory, 8*threads)); err != nil {
		return err
	}
	for _, part := range []struct {
		what  string
		text  []byte
		bytes int
	}{{"salt", parts[4], maxArgon2idSalt}, {"key", parts[5], maxArgon2idKey}} {
		if n := base64.RawStdEncoding.DecodedLen(len(part.text)); n > part.bytes {
			return fmt.Errorf("argon2id: a %s of %d bytes is out of range; allowed: up to %d; %w", part.what, n, part.bytes, errCost)
		}
	}
	if _, _, err := caddyauth.DecodeHash(hash); err != nil {
		return errDamaged
	}
	return nil
}

// checkCost returns the number that digits write, or says that it is too low or
// too high, however many digits there are.
func checkCost(what, digits string, least, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s%s is out of range; allowed: %d to %d; %w", what, digits, least, most, errCost)
	}
	return n, nil
}
