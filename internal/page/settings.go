package page

import (
	"net/http"
	"slices"
	"strings"
)

// settingsForm is the document that shows administrators the policy.
type settingsForm struct {
	policy
	MaxLifetime field
	UserIDs     field
	Saved       bool
}

// IsFixed tells whether the configuration file says what a setting is.
func (f settingsForm) IsFixed(name string) bool { return slices.Contains(f.Fixed, name) }

// AllFixed tells whether there is nothing to change.
func (f settingsForm) AllFixed() bool {
	return f.IsFixed("enabled") && f.IsFixed("generate") && f.IsFixed("maxLifetimeDays")
}

func (v *visit) settingsForm() error {
	if !v.isAdmin() {
		return v.onlyAdmins()
	}
	v.render(http.StatusOK, "settings", document{Title: "Settings", Section: "settings",
		Body: settingsForm{policy: v.policy, UserIDs: field{Value: strings.Join(v.policy.Users, "\n")}}})
	return nil
}

func (v *visit) changeSettings() error {
	if !v.isAdmin() {
		return v.onlyAdmins()
	}
	return errNoPage
}

// onlyAdmins answers those who don't administrate the project.
func (v *visit) onlyAdmins() error {
	switch {
	case v.lapsed:
		return v.askAgain("settings")
	case !v.policy.Enabled:
		return v.off()
	}
	return v.Project.MayAdministrate(v.caller)
}

// off answers while the project's API access is off: administrators see the
// switch, and everybody else that it is off.
func (v *visit) off() error {
	switch {
	case v.isAdmin():
		return v.settingsForm()
	case v.lapsed:
		return v.askAgain("settings")
	}
	v.render(http.StatusOK, "off", document{Title: "API access is off"})
	return nil
}
