package config

import (
	"fmt"
	"regexp"
	"strings"
)

// A source is text, with placeholders, from which a user is taken, or which the
// API behind is told of one. Nothing that a client can choose may be part of it,
// so that these are all the placeholders there are: what handlers in front
// established, which is the request's, and what the owner's surroundings are.
var (
	ofRequest = regexp.MustCompile(`^(http\.auth\.user\.[\w.-]+|http\.reverse_proxy\.header\.[\w-]+|http\.request\.tls\.client\.[\w.-]+)$`)
	ofOwner   = regexp.MustCompile(`^(env|file|system)\..+$`)
)

// OfClientCertificate tells whether a source's placeholder is read from the
// certificate that the client showed, which may be one that it made itself.
func OfClientCertificate(placeholder string) bool {
	return strings.HasPrefix(placeholder, "http.request.tls.client.")
}

// OfOwner tells whether a source's placeholder is read from the surroundings that
// the owner gave the server, the same for every request.
func OfOwner(placeholder string) bool { return ofOwner.MatchString(placeholder) }

// CheckSource says what is wrong with a source.
func CheckSource(text string) error {
	names, err := placeholders(text)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !ofRequest.MatchString(name) && !OfOwner(name) {
			return fmt.Errorf("{%s} may be what a client chooses, and proves nothing; allowed: {http.auth.user.…} and {http.reverse_proxy.header.…}, which a handler in front established, {http.request.tls.client.…}, {env.…}, {file.…} and {system.…}", name)
		}
	}
	return nil
}

// DependsOnRequest tells whether a source can be another text for another
// request.
func DependsOnRequest(source string) bool {
	names, err := placeholders(source)
	if err != nil {
		return false
	}
	for _, name := range names {
		if ofRequest.MatchString(name) {
			return true
		}
	}
	return false
}

// placeholders returns the names of those in text, as Caddy reads it. What Caddy
// would read in a way of its own, such as braces within braces, is an error.
func placeholders(text string) (names []string, err error) {
	for rest := text; ; {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			return names, nil
		}
		if open > 0 && rest[open-1] == '\\' {
			rest = rest[open+1:] // stands for itself
			continue
		}
		name, after, found := strings.Cut(rest[open+1:], "}")
		if rest[open] == '}' || !found || name == "" || strings.ContainsAny(name, "{") || strings.HasSuffix(name, `\`) {
			return nil, fmt.Errorf("%q has braces that are no placeholder; write one as {http.auth.user.id}, and \\{ or \\} for a brace", text)
		}
		names = append(names, name)
		rest = after
	}
}
