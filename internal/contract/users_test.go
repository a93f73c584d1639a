package contract

import (
	"encoding/base64"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// The people of these tests. Everywhere alice is the administrator, unless the
// test says otherwise. A password may contain what a user name may not.
var passwords = map[string]string{
	"alice": secret("alice opens with this"),
	"bob":   secret("bob's pass phrase"),
	"carol": secret("carol: wörd with colons: €"),
}

// passwordHashes returns {$ALICE_HASH} and so on, at the cost that is quickest.
var passwordHashes = sync.OnceValue(func() map[string]string {
	hashes := make(map[string]string, len(passwords))
	for user, password := range passwords {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			panic(err)
		}
		hashes[strings.ToUpper(user)+"_HASH"] = string(hash)
	}
	return hashes
})

// as is the Authorization value of a user who signs in.
func as(user string) string { return basic(user, passwords[user]) }

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// bearer is the Authorization value of whoever holds a token.
func bearer(value string) string { return "Bearer " + value }

// site is a whole site at {$PORT} with further options for its directive.
func site(options string) string { return siteAt("{$PORT}", options) }

// siteAt is site at another port.
func siteAt(port, options string) string {
	if !strings.Contains(options, "project ") {
		options += "\nproject dataprep"
	}
	return `
http://:` + port + ` {
	bind 127.0.0.1
	access_tokens {
		admins alice
		sign_in basic {
			alice {$ALICE_HASH} alice@example.com "Alice A."
			bob {$BOB_HASH}
			carol {$CAROL_HASH} carol@example.com
		}
		` + options + `
	}
	reverse_proxy {$UPSTREAM}
}
`
}
