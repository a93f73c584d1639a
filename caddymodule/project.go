package caddymodule

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// newRules returns what this site's configuration says of its project.
func (h *Handler) newRules() (registry.Rules, error) {
	rules := registry.Rules{Fixed: store.Settings{Enabled: h.APIAccess}, SignIns: h.signIns.rules()}
	if h.MaxLifetimeDays != nil {
		rules.Fixed.MaxLifetimeDays = *h.MaxLifetimeDays
	}
	if h.MaxTokensPerUser != nil {
		rules.MaxTokensPerUser = *h.MaxTokensPerUser
	}
	admins, err := expandUserIDs("admins", h.Admins)
	if err != nil {
		return rules, err
	}
	rules.Admins = make(map[string]bool, len(admins))
	for _, id := range admins {
		rules.Admins[id] = true
	}
	if h.AllowGenerate != nil {
		rules.Fixed.Generate = h.AllowGenerate.Who
		rules.Fixed.Users, err = expandUserIDs("allow_generate users", h.AllowGenerate.Users)
	}
	return rules, err
}

// expandUserIDs returns the ids that texts stand for, sorted, and never nil.
func expandUserIDs(option string, texts []string) ([]string, error) {
	ids := make([]string, len(texts))
	for i, text := range texts {
		id, err := caddyvalue.Expand(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
		ids[i] = id
	}
	if err := config.CheckUserIDs(option, ids); err != nil {
		return nil, err
	}
	slices.Sort(ids)
	return ids, nil
}

// policyDifferences names the options in which two sites of a project differ.
func policyDifferences(a, b *registry.Rules) (options []string) {
	if !maps.Equal(a.Admins, b.Admins) {
		options = append(options, "admins")
	}
	if !reflect.DeepEqual(a.Fixed.Enabled, b.Fixed.Enabled) {
		options = append(options, "api_access")
	}
	if a.Fixed.Generate != b.Fixed.Generate || !slices.Equal(a.Fixed.Users, b.Fixed.Users) {
		options = append(options, "allow_generate")
	}
	if a.Fixed.MaxLifetimeDays != b.Fixed.MaxLifetimeDays {
		options = append(options, "max_lifetime")
	}
	if a.MaxTokensPerUser != b.MaxTokensPerUser {
		options = append(options, "max_tokens_per_user")
	}
	return options
}

// checkUsable refuses a configuration under which nobody could ever make a
// token.
func checkUsable(rules *registry.Rules) error {
	if len(rules.SignIns) == 0 {
		return errors.New("nobody can sign in, so that nobody could ever make a token: add a sign-in, for example a block `sign_in basic` with a line `<user> <hash from caddy hash-password>` for each user")
	}
	if rules.Fixed.Generate == registry.GenerateEveryone || anyCanSignIn(rules, maps.Keys(rules.Admins)) || anyCanSignIn(rules, slices.Values(rules.Fixed.Users)) {
		return nil
	}
	if slices.ContainsFunc(rules.SignIns, func(s registry.SignIn) bool { return s.NamesAdmins }) {
		return nil
	}
	return errors.New("nobody who can sign in may make tokens: name one of them under `admins`, or allow others by `allow_generate everyone` or `allow_generate users <id>…`")
}

func anyCanSignIn(rules *registry.Rules, ids iter.Seq[string]) bool {
	for id := range ids {
		if slices.ContainsFunc(rules.SignIns, func(s registry.SignIn) bool { return s.Knows(id) }) {
			return true
		}
	}
	return false
}
