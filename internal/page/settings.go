package page

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// settingsForm is the document that shows administrators the settings.
type settingsForm struct {
	// Was is what the form showed at first: what is left as it was isn't set,
	// so that a form from before an emergency doesn't end it.
	Was            loaded
	Enabled        bool
	Generate       string
	Users, MaxDays field
	Unlimited      bool
	Fixed          []string
	Error          string
	Saved          bool
	GenerateError  string
	LongestLimit   int
}

// loaded is what a form was loaded with, as text.
type loaded struct{ Enabled, Generate, Users, Limit string }

// IsFixed tells whether the configuration file says what a setting is.
func (f settingsForm) IsFixed(name string) bool { return slices.Contains(f.Fixed, name) }

// AllFixed tells that there is nothing to change.
func (f settingsForm) AllFixed() bool { return len(f.Fixed) == 3 }

// HasErrors tells whether something in the form is wrong.
func (f settingsForm) HasErrors() bool {
	return f.GenerateError != "" || f.Users.Error != "" || f.MaxDays.Error != ""
}

func (v *visit) settingsForm() error {
	if !v.isAdmin() {
		return v.onlyAdmins("settings")
	}
	form := v.currentSettings()
	form.Saved = v.r.URL.Query().Has("saved")
	v.renderSettings(http.StatusOK, form)
	return nil
}

// currentSettings is the form as it stands when nothing has been entered.
func (v *visit) currentSettings() settingsForm {
	form := settingsForm{
		Enabled: v.policy.Enabled, Generate: v.policy.Generate,
		Users:     field{Value: strings.Join(v.policy.Users, "\n")},
		Unlimited: v.policy.MaxLifetimeDays == registry.Unlimited,
		Fixed:     v.Project.FixedSettings(),
	}
	if !form.Unlimited {
		form.MaxDays.Value = strconv.Itoa(v.policy.MaxLifetimeDays)
	}
	form.Was = loaded{strconv.FormatBool(form.Enabled), form.Generate, form.Users.Value, strconv.Itoa(v.policy.MaxLifetimeDays)}
	return form
}

// loadedWith returns what a form was loaded with, which it carries along.
func loadedWith(entered url.Values) loaded {
	return loaded{entered.Get("was-enabled"), entered.Get("was-generate"), lines(entered.Get("was-users")), entered.Get("was-limit")}
}

// lines undoes what a browser does to the ends of lines.
func lines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

func (v *visit) renderSettings(status int, form settingsForm) {
	form.LongestLimit = registry.MaxLifetimeDays
	title := "Settings"
	if form.HasErrors() {
		title = "Error: " + title
	}
	v.render(status, "settings", document{Title: title, Section: "settings", Body: form})
}

func (v *visit) changeSettings() error {
	if !v.isAdmin() {
		return v.onlyAdmins("settings")
	}
	if !v.r.PostForm.Has("switch") && !v.r.PostForm.Has("all") {
		return errBadForm // an empty one would switch off
	}
	form := v.currentSettings()
	if v.r.PostForm.Has("all") {
		form.Was = loadedWith(v.r.PostForm)
	}
	change := form.read(v.r.PostForm)
	if form.HasErrors() {
		v.renderSettings(http.StatusBadRequest, form)
		return nil
	}
	_, err := v.Registry.Configure(v.r.Context(), v.Project, v.caller, change)
	switch {
	case err == nil:
		return v.redirect("/settings?saved")
	case errors.Is(err, store.ErrFull):
		form.Error = "There is no room on the gateway’s disk to save this. Nothing was changed."
		v.renderSettings(http.StatusInsufficientStorage, form)
		return nil
	case errors.Is(err, store.ErrUnavailable):
		form.Error = "This couldn’t be saved right now. Try again in a few seconds."
		v.retryAfter(err)
		v.renderSettings(http.StatusServiceUnavailable, form)
		return answered{err}
	}
	return err
}

// read puts what was entered into the form, with what is wrong with it, and
// returns the change that it asks for. What is fixed stays as it is.
func (f *settingsForm) read(entered url.Values) (change store.Settings) {
	if !f.IsFixed(registry.SettingEnabled) {
		f.Enabled = entered.Get("enabled") == "on"
		change.Enabled = &f.Enabled
	}
	if entered.Has("switch") {
		return change // the switch alone
	}
	if strconv.FormatBool(f.Enabled) == f.Was.Enabled {
		change.Enabled = nil
	}
	if !f.IsFixed(registry.SettingGenerate) {
		f.readGenerate(entered, &change)
	}
	if !f.IsFixed(registry.SettingMaxLifetimeDays) {
		f.readMaxLifetime(entered, &change)
	}
	return change
}

func (f *settingsForm) readGenerate(entered url.Values, change *store.Settings) {
	f.Generate, f.Users.Value = entered.Get("generate"), entered.Get("users")
	change.Generate, change.Users = f.Generate, []string{}
	if !slices.Contains([]string{registry.GenerateAdmins, registry.GenerateEveryone, registry.GenerateUsers}, f.Generate) {
		f.GenerateError = "Choose who may generate tokens."
	}
	for line := range strings.Lines(f.Users.Value) {
		id := strings.TrimSpace(line)
		if id == "" || slices.Contains(change.Users, id) {
			continue
		}
		change.Users = append(change.Users, id)
		if err := registry.CheckUserID(id); err != nil && f.Users.Error == "" {
			f.Users.Error = fmt.Sprintf("Number %d can’t be a user id: %v.", len(change.Users), err)
		}
	}
	if f.Generate == registry.GenerateUsers && len(change.Users) == 0 {
		f.Users.Error = "Enter at least one user id, or choose another answer."
	}
	if f.Generate == f.Was.Generate {
		change.Generate = ""
	}
	if lines(f.Users.Value) == f.Was.Users {
		change.Users = nil
	}
}

func (f *settingsForm) readMaxLifetime(entered url.Values, change *store.Settings) {
	f.MaxDays.Value = strings.TrimSpace(entered.Get("days"))
	if f.Unlimited = entered.Get("limit") == "unlimited"; f.Unlimited {
		if f.Was.Limit != strconv.Itoa(registry.Unlimited) {
			change.MaxLifetimeDays = registry.Unlimited
		}
		return
	}
	days, err := strconv.ParseUint(f.MaxDays.Value, 10, 31)
	if err != nil || days < 1 || days > registry.MaxLifetimeDays {
		f.MaxDays.Error = fmt.Sprintf("Enter a whole number of days from 1 to %d.", registry.MaxLifetimeDays)
	}
	if f.Was.Limit != strconv.FormatUint(days, 10) {
		change.MaxLifetimeDays = int(days)
	}
}

// onlyAdmins answers those who don't administrate the project, or don't any
// more and go on to next after entering the password again.
func (v *visit) onlyAdmins(next string) error {
	if v.lapsed {
		return v.askAgain(next)
	}
	return v.Project.MayAdministrate(v.caller)
}

// off tells everybody but administrators that the project's API access is off.
func (v *visit) off(rest string) error {
	if v.lapsed {
		return v.askAgain(v.nextOf(rest))
	}
	status := http.StatusOK
	if v.r.Method == http.MethodPost {
		status = http.StatusForbidden
	}
	v.render(status, "off", document{Title: "API access is off"})
	return nil
}
