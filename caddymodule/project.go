package caddymodule

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"

	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// newProject returns the project with the settings that the file fixes.
func (h *Handler) newProject() (registry.Project, error) {
	p := registry.Project{Name: h.Project, Prefix: h.Prefix, Fixed: store.Settings{Enabled: h.APIAccess}}
	if h.MaxLifetimeDays != nil {
		p.Fixed.MaxLifetimeDays = *h.MaxLifetimeDays
	}
	admins, err := expandUserIDs("admins", h.Admins)
	if err != nil {
		return p, err
	}
	p.Admins = make(map[string]bool, len(admins))
	for _, id := range admins {
		p.Admins[id] = true
	}
	if h.AllowGenerate != nil {
		p.Fixed.Generate = h.AllowGenerate.Who
		p.Fixed.Users, err = expandUserIDs("allow_generate users", h.AllowGenerate.Users)
	}
	return p, err
}

// expandUserIDs returns the ids that texts stand for, sorted, and never nil.
func expandUserIDs(option string, texts []string) ([]string, error) {
	ids := make([]string, len(texts))
	for i, text := range texts {
		id, err := expand(text)
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

// policyDifferences names the options in which two projects differ.
func policyDifferences(a, b *registry.Project) (options []string) {
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
func (h *Handler) checkUsable() error {
	if len(h.signIns) == 0 {
		return errors.New("nobody can sign in, so that nobody could ever make a token: add a sign-in, for example a block `sign_in basic` with a line `<user> <hash from caddy hash-password>` for each user")
	}
	fixed := h.project.Fixed
	if fixed.Generate == registry.GenerateEveryone || h.anyCanSignIn(maps.Keys(h.project.Admins)) || h.anyCanSignIn(slices.Values(fixed.Users)) {
		return nil
	}
	for _, s := range h.signIns {
		_, fixed := s.(fixedUsers)
		plain, ok := s.(plainUsers)
		if !fixed && !(ok && plain.hasNoAdmins()) {
			return nil // it may call its users administrators
		}
	}
	return errors.New("nobody who can sign in may make tokens: name one of them under `admins`, or allow others by `allow_generate everyone` or `allow_generate users <id>…`")
}

func (h *Handler) anyCanSignIn(ids iter.Seq[string]) bool {
	for id := range ids {
		for _, s := range h.signIns {
			if known, fixed := s.(fixedUsers); !fixed || known.hasUser(id) {
				return true
			}
		}
	}
	return false
}
