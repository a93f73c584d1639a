package caddymodule

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// ClaimNamer is a SignIn that may establish claims. Their placeholders are
// empty, instead of unknown, where a user has none.
type ClaimNamer interface {
	ClaimNames() []string
}

// ownFields are the placeholders of every user; no claim can have such a name.
var ownFields = []string{"id", "email", "name", "token_id", "project"}

var claimName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

func checkClaimName(name string) error {
	switch {
	case slices.Contains(ownFields, name):
		return fmt.Errorf("claim: %s is taken; choose another name than %s", name, strings.Join(ownFields, ", "))
	case !claimName.MatchString(name):
		return fmt.Errorf("claim: %q is no name; allowed: 1 to 64 letters, digits, '_' and '-', a letter first", name)
	}
	return nil
}

func checkClaimNames(claims map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		if err := checkClaimName(name); err != nil {
			return err
		}
	}
	return nil
}

// parseClaim reads `claim <name> <source>`.
func parseClaim(d *caddyfile.Dispenser, claims *map[string]string, source string) error {
	args := d.RemainingArgs()
	if len(args) != 2 || args[1] == "" {
		return d.Errf("claim takes two values; write `claim <name> %s`", source)
	}
	if err := checkClaimName(args[0]); err != nil {
		return at(d, err)
	}
	if _, taken := (*claims)[args[0]]; taken {
		return d.Errf("claim %s is written twice; write it once", args[0])
	}
	if *claims == nil {
		*claims = make(map[string]string)
	}
	(*claims)[args[0]] = args[1]
	return noBlock(d, "claim")
}

// hasPlaceholder tells whether text is known only once placeholders are
// replaced.
func hasPlaceholder(text string) bool { return strings.Contains(text, "{") }

// ClaimNames implements ClaimNamer.
func (u *UpstreamSignIn) ClaimNames() []string { return slices.Collect(maps.Keys(u.Claims)) }

// ClaimNames implements ClaimNamer.
func (p *PlaceholderSignIn) ClaimNames() []string { return slices.Collect(maps.Keys(p.Claims)) }

// Interface guards
var (
	_ ClaimNamer = (*UpstreamSignIn)(nil)
	_ ClaimNamer = (*PlaceholderSignIn)(nil)
)
