package upstream

import (
	"strings"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
)

// However long a user name and a password are, they can be asked for in vain.
func TestDecoyCredentials(t *testing.T) {
	for _, length := range []int{0, 1, 7, 72, 4096, 5000, 100_000} {
		text := strings.Repeat("x", length)
		token68 := strings.TrimPrefix(decoyBasic(text, text), "Basic ")
		user, password, ok := incoming.DecodeBasic(token68)
		if !ok || len(user) != 20 || len(password) != min(length, 4096) || length > 6 && strings.Contains(password, text) {
			t.Errorf("of %d characters: %q and %d characters, %t", length, user, len(password), ok)
		}
	}
}
