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
// It fails with ErrForbidden, ErrInvalid, ErrFixed, ErrOff, ErrBlocked or
// ErrInvalidToken if the caller was good when authenticated, store.ErrFull or
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
	// Once it may be committed it is seen through: whoever goes away has changed
	// the settings all the same, and the log has to say so.
	committing := context.WithoutCancel(ctx)
	for {
		before, revision := r.Store.Settings(p.Name)
		m := store.Configure{Project: p.Name, Settings: change.Over(before), Revision: revision}
		if reflect.DeepEqual(before, m.Settings) {
			return r.Policy(p), nil
		}
		var err error
		if m.Token, m.TokenRevision, err = r.mayStill(p.policy(before, revision), c); err != nil {
			return Policy{}, err
		}
		if err := r.settingsPace.WaitN(ctx, min(len(m.Settings.Append(nil)), settingsBurst)); err != nil {
			return Policy{}, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		_, err = r.Store.Commit(committing, m)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return Policy{}, err
		}
		r.logChange(p, c, change)
		return r.Policy(p), nil
	}
}

// How fast settings may change, in bytes. The store keeps overwritten ones for
// a while.
const (
	settingsRate  = 1 << 20 // a second
	settingsBurst = 4 << 20
)

// logChange tells the owner who set what.
func (r *Registry) logChange(p *Project, c Caller, change store.Settings) {
	fields := []zap.Field{zap.String("project", p.Name), zap.String("by", c.User.ID)}
	if change.Enabled != nil {
		fields = append(fields, zap.Bool(SettingEnabled, *change.Enabled))
	}
	if change.Generate != "" {
		fields = append(fields, zap.String(SettingGenerate, change.Generate))
	}
	if change.Users != nil {
		fields = append(fields, zap.Strings(SettingUsers, change.Users))
	}
	if change.MaxLifetimeDays != 0 {
		fields = append(fields, zap.Int(SettingMaxLifetimeDays, change.MaxLifetimeDays))
	}
	r.Logger.Info("settings changed", fields...)
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
