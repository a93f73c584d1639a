package page

import (
	"slices"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// policy is what holds in the project now, and which parts of it the
// configuration file fixes.
type policy struct {
	Enabled         bool
	Generate        registry.Generate
	Users           []string
	MaxLifetimeDays int
	Fixed           []string
}

func (v *visit) readPolicy() (policy, error) {
	users := make([]string, 0, len(v.Project.Users))
	for id := range v.Project.Users {
		users = append(users, id)
	}
	slices.Sort(users)
	return policy{
		Enabled: v.Project.APIAccess, Generate: v.Project.Generate, Users: users,
		MaxLifetimeDays: v.Project.MaxLifetimeDays,
		Fixed:           []string{"enabled", "generate", "maxLifetimeDays"},
	}, nil
}

// unlimited tells whether tokens may be made that never expire.
func (p policy) unlimited() bool { return p.MaxLifetimeDays == registry.Unlimited }

// maxDays is the longest lifetime that ends.
func (p policy) maxDays() int {
	if p.unlimited() {
		return registry.MaxLifetimeDays
	}
	return p.MaxLifetimeDays
}

// mayGenerate returns nil if the caller may make tokens.
func (v *visit) mayGenerate() error {
	return v.Project.MayGenerate(v.caller, v.Registry.Now())
}
