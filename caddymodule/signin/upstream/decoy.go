package upstream

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
)

// Decoy implements the interface of that name. It really asks the API,
// whose time can't be guessed, with the session of r or, instead of a password
// of r, a made-up user's.
func (u *SignIn) Decoy(r *http.Request) {
	header, byBasic := u.credentials(r)
	if header == nil {
		return
	}
	if byBasic {
		_, token68, _ := strings.Cut(header.Get("Authorization"), " ")
		user, password, _ := incoming.DecodeBasic(token68)
		header.Set("Authorization", decoyBasic(user, password))
	}
	_, _, _ = u.ask(header)
}

// decoyKey keys the choice of made-up users, so that nobody can make their names
// known to an API beforehand.
var decoyKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return key
})

// decoyBasic returns Basic credentials of a user who doesn't exist. They are the
// same for the same user and password, since an API may become slower for a user
// whose sign-ins fail; and they look alike, since it may be quicker to refuse
// what is no e-mail address, or too short for a password.
func decoyBasic(user, password string) string {
	name := decoyText("user "+user, 20)
	if at := strings.IndexByte(user, '@'); at >= 0 {
		name += user[at:]
	}
	password = decoyText("password "+user+":"+password, len(password))
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// decoyText returns letters and digits that nobody can tell from random ones,
// and that are always the same for the same purpose.
func decoyText(purpose string, length int) string {
	const most = 4096 // characters; HKDF has an end
	length = min(length, most)
	bytes, err := hkdf.Key(sha256.New, decoyKey(), nil, purpose, length)
	if err != nil {
		panic(err) // the length is within bounds
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(bytes))[:length]
}
