package registry

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

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
	names, fixed := []string{}, p.current().Fixed
	if fixed.Enabled != nil {
		names = append(names, SettingEnabled)
	}
	if fixed.Generate != "" {
		names = append(names, SettingGenerate)
	}
	if fixed.MaxLifetimeDays != 0 {
		names = append(names, SettingMaxLifetimeDays)
	}
	return names
}

// Configure sets what change sets, all of it or nothing, and returns the policy
// that holds from then on: once it has returned without error, no decision is
// taken by an older one. Of two changes of the same setting the last one wins.
//
// It fails with ErrForbidden, ErrInvalid, ErrFixed, ErrOff, ErrBlocked or
// ErrInvalidToken if the caller was good when authenticated, store.ErrFull or
// store.ErrUnavailable.
func (r *Registry) Configure(ctx context.Context, p *Project, c Caller, change store.Settings) (Policy, error) {
	if err := CheckSettings(change); err != nil {
		return Policy{}, err
	}
	for {
		before, _ := r.Store.Settings(p.Name)
		if err := r.settingsPace.WaitN(ctx, min(len(change.Over(before).Append(nil)), settingsBurst)); err != nil {
			return Policy{}, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		policy, err := r.configure(ctx, p, c, change)
		if !errors.Is(err, store.ErrConflict) {
			return policy, err
		}
	}
}

// configure decides about a change by the rules in force, and commits it.
func (r *Registry) configure(ctx context.Context, p *Project, c Caller, change store.Settings) (Policy, error) {
	r.deciding.RLock()
	defer r.deciding.RUnlock()
	c, err := p.confirm(c)
	if err != nil {
		return Policy{}, err
	}
	if err := p.MayAdministrate(c); err != nil {
		return Policy{}, err
	}
	if err := p.checkNotFixed(change); err != nil {
		return Policy{}, err
	}
	before, revision := r.Store.Settings(p.Name)
	m := store.Configure{Project: p.Name, Settings: change.Over(before), Revision: revision}
	if m.Token, m.TokenRevision, err = r.mayStill(p.policy(before, revision), c); err != nil {
		return Policy{}, err
	}
	if reflect.DeepEqual(before, m.Settings) {
		return r.Policy(p), nil
	}
	e := c.event(SettingsChanged, p, r.Now())
	e.Before, e.After = &before, &m.Settings
	if _, err := r.commit(ctx, m, e); err != nil {
		return Policy{}, err
	}
	return r.Policy(p), nil
}

// How fast settings may change, in bytes. The store keeps overwritten ones for
// a while.
const (
	settingsRate  = 1 << 20 // a second
	settingsBurst = 4 << 20
)

func (p *Project) checkNotFixed(change store.Settings) error {
	of := p.current().Fixed
	fixed := func(setting, option string) error {
		return refuse(ErrFixed, "%s can't be changed here: the gateway's configuration sets it (%s). Nothing has been changed. Whoever runs the gateway can change the option, or remove it.", setting, option)
	}
	switch {
	case change.Enabled != nil && of.Enabled != nil:
		return fixed(SettingEnabled, "api_access")
	case change.Generate != "" && of.Generate != "":
		return fixed(SettingGenerate, "allow_generate")
	case change.Users != nil && of.Generate != "":
		return fixed(SettingUsers, "allow_generate")
	case change.MaxLifetimeDays != 0 && of.MaxLifetimeDays != 0:
		return fixed(SettingMaxLifetimeDays, "max_lifetime")
	}
	return nil
}

// CheckSettings returns nil if s may be set, or an error that is ErrInvalid.
func CheckSettings(s store.Settings) error {
	if s.Generate != "" && !slices.Contains([]string{GenerateAdmins, GenerateEveryone, GenerateUsers}, s.Generate) {
		return refuse(ErrInvalid, `%s must be "admins", "everyone" or "users".`, SettingGenerate)
	}
	seen := make(map[string]bool, len(s.Users))
	for i, id := range s.Users {
		if err := CheckUserID(id); err != nil {
			return refuse(ErrInvalid, "%s must be a list of user ids, and number %d is none: %v.", SettingUsers, i+1, err)
		}
		if seen[id] {
			return refuse(ErrInvalid, "%s must name nobody twice: number %d has been there before.", SettingUsers, i+1)
		}
		seen[id] = true
	}
	if days := s.MaxLifetimeDays; days != 0 && days != Unlimited && (days < 1 || days > MaxLifetimeDays) {
		return refuse(ErrInvalid, "%s must be a whole number of days from 1 to %d, or -1 for unlimited.", SettingMaxLifetimeDays, MaxLifetimeDays)
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
