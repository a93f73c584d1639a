package page

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// scopeField begins the names of the form's fields of scopes.
const scopeField = "scope."

// scopeChoice is one scope to choose.
type scopeChoice struct {
	Scope
	// Gone: the site has it no more, so that it grants nothing.
	Gone, Chosen bool
}

// scopeChoices are the site's scopes, and what a token that is renewed has besides.
// A site without any asks nobody.
func (v *visit) scopeChoices(renewed *registry.Token, chosen func(name string) bool) (all []scopeChoice) {
	if len(v.Scopes) == 0 {
		return nil
	}
	for _, s := range v.Scopes {
		all = append(all, scopeChoice{Scope: s, Chosen: chosen(s.Name)})
	}
	if renewed == nil {
		return all
	}
	for _, name := range v.goneScopes(renewed) {
		all = append(all, scopeChoice{Scope: Scope{Name: name}, Gone: true, Chosen: chosen(name)})
	}
	return all
}

// goneScopes are those of a token that the site has no more.
func (v *visit) goneScopes(t *registry.Token) (gone []string) {
	for _, name := range t.Scopes {
		if !slices.ContainsFunc(v.Scopes, func(s Scope) bool { return s.Name == name }) {
			gone = append(gone, name)
		}
	}
	return gone
}

// parseAddresses reads what people write between addresses and networks: commas,
// spaces, lines.
func parseAddresses(text string) (prefixes []netip.Prefix, wrong string) {
	parts := strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ';' || c == ' ' || c == '\t' || c == '\n' || c == '\r' })
	if len(parts) > registry.MaxAddresses {
		return nil, fmt.Sprintf("Enter at most %d addresses; these are %d.", registry.MaxAddresses, len(parts))
	}
	for _, part := range parts {
		prefix, err := registry.ParseAddress(part)
		if err != nil {
			return nil, "Enter addresses such as 192.0.2.1, or networks such as 192.0.2.0/24 and 2001:db8::/32, with a comma between two."
		}
		if !slices.Contains(prefixes, prefix) {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, ""
}
