package tokenapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func (c *call) settings() error {
	if err := c.Project.MayAdministrate(c.caller); err != nil {
		return err
	}
	c.writeSettings(c.Registry.Policy(c.Project))
	return nil
}

func (c *call) changeSettings() error {
	if err := c.Project.MayAdministrate(c.caller); err != nil {
		return err
	}
	body, err := c.body()
	if err != nil {
		return err
	}
	change, wrong := parseSettings(body)
	if wrong != nil {
		return wrongBody(wrong, `{"generate": "users", "users": ["bob"], "maxLifetimeDays": 30}`, registry.Policy{})
	}
	policy, err := c.Registry.Configure(c.r.Context(), c.Project, c.caller, change)
	if err != nil {
		return err
	}
	c.writeSettings(policy)
	return nil
}

func (c *call) writeSettings(p registry.Policy) {
	writeJSON(c.w, http.StatusOK, struct {
		Enabled         bool     `json:"enabled"`
		Generate        string   `json:"generate"`
		Users           []string `json:"users"`
		MaxLifetimeDays int      `json:"maxLifetimeDays"`
		Fixed           []string `json:"fixed"`
	}{p.Enabled, p.Generate, p.Users, p.MaxLifetimeDays, c.Project.FixedSettings()})
}

var settingNames = []string{registry.SettingEnabled, registry.SettingGenerate, registry.SettingUsers, registry.SettingMaxLifetimeDays}

// parseSettings reads the body of a request to change settings. Whether they
// may have these values isn't looked at here, except where the value is one
// that would mean "not set".
func parseSettings(body []byte) (s store.Settings, wrong *fieldError) {
	fields, wrong := strictObject(body, settingNames...)
	if wrong != nil {
		return store.Settings{}, wrong
	}
	if len(fields) > 0 && !slices.ContainsFunc(settingNames, func(name string) bool { return fields[name] != nil }) {
		// In an emergency a slip would look like success.
		return store.Settings{}, &fieldError{Problem: "names none of the settings: " + strings.Join(settingNames, ", ")}
	}
	if value, found := fields[registry.SettingEnabled]; found {
		enabled := string(value) == "true"
		if !enabled && string(value) != "false" {
			return store.Settings{}, &fieldError{Field: registry.SettingEnabled, Problem: "must be true or false, without quotes"}
		}
		s.Enabled = &enabled
	}
	if value, found := fields[registry.SettingGenerate]; found {
		var ok bool
		if s.Generate, ok = parseString(value); !ok || s.Generate == "" {
			return store.Settings{}, &fieldError{Field: registry.SettingGenerate, Problem: `must be "admins", "everyone" or "users"`}
		}
	}
	if value, found := fields[registry.SettingUsers]; found {
		var ok bool
		if s.Users, ok = parseStrings(value); !ok {
			return store.Settings{}, &fieldError{Field: registry.SettingUsers, Problem: `must be a list of user ids, such as ["alice", "bob"]`}
		}
	}
	if value, found := fields[registry.SettingMaxLifetimeDays]; found {
		// One spelling of each number, as with a lifetime.
		days, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil || days == 0 {
			return store.Settings{}, &fieldError{Field: registry.SettingMaxLifetimeDays, Problem: "must be a JSON number without quotes: a whole number of days from 1 to 36525, or -1 for unlimited"}
		}
		s.MaxLifetimeDays = int(days)
	}
	return s, nil
}

// parseStrings takes a list of strings, which isn't nil then.
func parseStrings(value json.RawMessage) (texts []string, ok bool) {
	var items []json.RawMessage
	if !bytes.HasPrefix(value, []byte{'['}) || json.Unmarshal(value, &items) != nil {
		return nil, false
	}
	texts = make([]string, len(items))
	for i, item := range items {
		if texts[i], ok = parseString(item); !ok {
			return nil, false
		}
	}
	return texts, true
}
