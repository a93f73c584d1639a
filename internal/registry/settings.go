package registry

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// The names that users know the settings by.
const (
	SettingEnabled         = "enabled"
	SettingGenerate        = "generate"
	SettingUsers           = "users"
	SettingMaxLifetimeDays = "maxLifetimeDays"
)

// FixedSettings names the settings that can't be changed at run time. Who the
// users are is part of who may generate.
func (p *Project) FixedSettings() []string {
	names := []string{}
	if p.Fixed.Enabled != nil {
		names = append(names, SettingEnabled)
	}
	if p.Fixed.Generate != "" {
		names = append(names, SettingGenerate)
	}
	if p.Fixed.MaxLifetimeDays != 0 {
		names = append(names, SettingMaxLifetimeDays)
	}
	return names
}

// Configure sets what change sets, all of it or nothing, and returns the policy
// that holds from then on: once it has returned without error, no decision is
// taken by an older one. Of two changes of the same setting the last one wins.
//
// It fails with ErrForbidden, ErrInvalid, ErrFixed, store.ErrFull or
// store.ErrUnavailable.
func (r *Registry) Configure(ctx context.Context, p *Project, c Caller, change store.Settings) (Policy, error) {
	if err := p.MayAdministrate(c); err != nil {
		return Policy{}, err
	}
	if err := CheckSettings(change); err != nil {
		return Policy{}, err
	}
	if err := p.checkNotFixed(change); err != nil {
		return Policy{}, err
	}
	for {
		before, revision := r.Store.Settings(p.Name)
		after := change.Over(before)
		if reflect.DeepEqual(before, after) {
			return r.Policy(p), nil
		}
		_, err := r.Store.Commit(ctx, store.Configure{Project: p.Name, Settings: after, Revision: revision})
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return Policy{}, err
		}
		policy := r.Policy(p)
		r.Logger.Info("settings changed", zap.String("project", p.Name), zap.String("by", c.User.ID),
			zap.Bool(SettingEnabled, policy.Enabled), zap.String(SettingGenerate, policy.Generate),
			zap.Strings(SettingUsers, policy.Users), zap.Int(SettingMaxLifetimeDays, policy.MaxLifetimeDays))
		return policy, nil
	}
}

func (p *Project) checkNotFixed(change store.Settings) error {
	fixed := func(setting, option string) error {
		return refuse(ErrFixed, "%s can't be changed here: the gateway's configuration sets it (%s). Nothing has been changed. Whoever runs the gateway can change the option, or remove it.", setting, option)
	}
	switch {
	case change.Enabled != nil && p.Fixed.Enabled != nil:
		return fixed(SettingEnabled, "api_access")
	case change.Generate != "" && p.Fixed.Generate != "":
		return fixed(SettingGenerate, "allow_generate")
	case change.Users != nil && p.Fixed.Generate != "":
		return fixed(SettingUsers, "allow_generate")
	case change.MaxLifetimeDays != 0 && p.Fixed.MaxLifetimeDays != 0:
		return fixed(SettingMaxLifetimeDays, "max_lifetime")
	}
	return nil
}

// CheckSettings returns nil if s may be set, or an error that is ErrInvalid.
func CheckSettings(s store.Settings) error {
	if s.Generate != "" && !slices.Contains([]string{GenerateAdmins, GenerateEveryone, GenerateUsers}, s.Generate) {
		return refuseField(SettingGenerate, `must be "admins", "everyone" or "users".`)
	}
	seen := make(map[string]bool, len(s.Users))
	for i, id := range s.Users {
		if err := CheckUserID(id); err != nil {
			return refuseField(SettingUsers, "must be a list of user ids, and number %d is none: %v.", i+1, err)
		}
		if seen[id] {
			return refuseField(SettingUsers, "must name nobody twice: number %d has been there before.", i+1)
		}
		seen[id] = true
	}
	if days := s.MaxLifetimeDays; days != 0 && days != Unlimited && (days < 1 || days > MaxLifetimeDays) {
		return refuseField(SettingMaxLifetimeDays, "must be a whole number of days from 1 to %d, or -1 for unlimited.", MaxLifetimeDays)
	}
	return nil
}

// CheckUserID says why no user can have that id. Servers drop white space
// around a header's value, so that an id with some would become another one on
// its way to the API behind.
func CheckUserID(id string) error {
	switch {
	case id == "":
		return errors.New("a user id is empty; allowed: 1 to 256 characters")
	case id == Everyone:
		return errors.New("* is no user id, it stands for everyone")
	case !utf8.ValidString(id):
		return errors.New("a user id is no valid UTF-8")
	case utf8.RuneCountInString(id) > 256:
		return errors.New("a user id has more than 256 characters; allowed: 1 to 256")
	case strings.ContainsFunc(id, unicode.IsControl):
		return errors.New("a user id has control characters")
	case token.Contains(id):
		return errors.New("a user id holds a token value")
	case strings.TrimSpace(id) != id:
		return errors.New("a user id begins or ends with white space")
	}
	return nil
}
