package caddymodule

import (
	"errors"
	"fmt"
	"maps"

	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// newProject returns the project with the policy that the file fixes, or its
// defaults.
func (h *Handler) newProject() (registry.Project, error) {
	p := registry.Project{
		Name: h.Project, Prefix: h.Prefix,
		APIAccess: true, Generate: registry.GenerateAdmins, MaxLifetimeDays: 365,
	}
	if h.APIAccess != nil {
		p.APIAccess = *h.APIAccess
	}
	if h.MaxLifetimeDays != nil {
		p.MaxLifetimeDays = *h.MaxLifetimeDays
	}
	var err error
	if p.Admins, err = expandUserIDs("admins", h.Admins); err != nil {
		return p, err
	}
	if h.AllowGenerate != nil {
		p.Generate = registry.Generate(h.AllowGenerate.Who)
		p.Users, err = expandUserIDs("allow_generate users", h.AllowGenerate.Users)
	}
	return p, err
}

func expandUserIDs(option string, texts []string) (map[string]bool, error) {
	ids := make(map[string]bool, len(texts))
	for _, text := range texts {
		id, err := expand(text)
		if err == nil {
			err = config.CheckUserID(id)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
		ids[id] = true
	}
	return ids, nil
}

// policyDifferences names the options in which two projects differ.
func policyDifferences(a, b *registry.Project) (options []string) {
	if !maps.Equal(a.Admins, b.Admins) {
		options = append(options, "admins")
	}
	if a.APIAccess != b.APIAccess {
		options = append(options, "api_access")
	}
	if a.Generate != b.Generate || !maps.Equal(a.Users, b.Users) {
		options = append(options, "allow_generate")
	}
	if a.MaxLifetimeDays != b.MaxLifetimeDays {
		options = append(options, "max_lifetime")
	}
	return options
}

// checkUsable refuses a configuration under which nobody could ever make a
// token.
func (h *Handler) checkUsable() error {
	if len(h.signIns) == 0 {
		return errors.New("nobody can sign in, so that nobody could ever make a token: add a sign-in, for example a block `sign_in basic` with a line `<user> <hash from caddy hash-password>` for each user")
	}
	if h.project.Generate == registry.GenerateEveryone || h.anyCanSignIn(h.project.Admins) || h.anyCanSignIn(h.project.Users) {
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

func (h *Handler) anyCanSignIn(ids map[string]bool) bool {
	for id := range ids {
		for _, s := range h.signIns {
			if known, fixed := s.(fixedUsers); !fixed || known.hasUser(id) {
				return true
			}
		}
	}
	return false
}
