package signin

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// reserved are the placeholders of every user; no claim can have such a name.
var reserved = []string{"id", "email", "name", "token_id", "project", "scopes"}

// IsReserved tells whether {http.auth.user.<name>} is there for every user.
func IsReserved(name string) bool { return slices.Contains(reserved, name) }

var claimName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// CheckClaimNames says why a user can't have claims of these names. One is 1 to
// 64 letters, digits, '_' and '-', a letter first, and none of those that every
// user has.
func CheckClaimNames(names ...string) error {
	for _, name := range names {
		switch {
		case IsReserved(name):
			return fmt.Errorf("claim: %s is taken; choose another name than %s", name, strings.Join(reserved, ", "))
		case !claimName.MatchString(name):
			return fmt.Errorf("claim: %q is no name; allowed: 1 to 64 letters, digits, '_' and '-', a letter first", name)
		}
	}
	return nil
}
