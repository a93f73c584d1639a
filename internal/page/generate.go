package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// The values of the form's lifetime that aren't a number of days.
const (
	otherDays = "other"
	neverEnds = "never"
)

// generateForm is the document that asks what a new token is to be.
type generateForm struct {
	Choices                                []choice
	Lifetime, Days, Description, Addresses field
	Scopes                                 []scopeChoice
	// ClientIP is where whoever fills in the form seems to be.
	ClientIP  string
	MaxDays   int
	Unlimited bool
	Nonce     string
	// Error is what went wrong with the whole.
	Error string
	Now   time.Time
	// Renews is the token in whose place this one is made, nil for none.
	Renews *row
	// Back is the list to go back to.
	Back view
}

// choice is one lifetime to choose.
type choice struct {
	Value, Label string
	Ends         *time.Time
	Chosen       bool
}

// HasErrors tells whether something in the form is wrong.
func (f generateForm) HasErrors() bool {
	return f.Lifetime.Error != "" || f.Days.Error != "" || f.Description.Error != "" || f.Addresses.Error != ""
}

// unlimited tells whether tokens may be made that never expire.
func unlimited(p registry.Policy) bool { return p.MaxLifetimeDays == registry.Unlimited }

// maxDays is the longest lifetime that ends.
func maxDays(p registry.Policy) int {
	if unlimited(p) {
		return registry.MaxLifetimeDays
	}
	return p.MaxLifetimeDays
}

// presets are the lifetimes offered, in days, where they are allowed.
var presets = []int{7, 30, 90, 365}

const defaultDays = 30

func (v *visit) generateForm() error {
	if !v.policy.Enabled {
		return v.settingsForm() // where the switch is
	}
	if done, err := v.mayNotGenerate(); done {
		return err
	}
	form := generateForm{Lifetime: field{Value: strconv.Itoa(min(defaultDays, maxDays(v.policy)))}}
	renewed, err := v.renewed()
	if err != nil {
		return err
	}
	form.Scopes = v.scopeChoices(renewed, func(string) bool { return false })
	if renewed != nil {
		form = renewForm(v.policy, &renewed.Record)
		form.Scopes = v.scopeChoices(renewed, func(name string) bool { return slices.Contains(renewed.Scopes, name) })
		form.Addresses.Value = strings.Join(registry.FormatAddresses(renewed.Addresses), ", ")
	}
	return v.renderGenerate(http.StatusOK, form, renewed)
}

// renewForm is the form as it would be filled in for a token like another one, as
// far as that is allowed.
func renewForm(p registry.Policy, r *store.Record) generateForm {
	form := generateForm{Description: field{Value: r.Description}}
	const perDay = int64(day / time.Second)
	days := maxDays(p)
	switch {
	case r.Lifetime == store.Never && unlimited(p):
		form.Lifetime.Value = neverEnds
		return form
	case r.Lifetime != store.Never:
		days = int(min((r.Lifetime+perDay-1)/perDay, int64(days)))
	}
	form.Lifetime.Value = strconv.Itoa(days)
	if !slices.ContainsFunc(choices(p, time.Time{}, ""), func(c choice) bool { return c.Value == form.Lifetime.Value }) {
		form.Days.Value, form.Lifetime.Value = form.Lifetime.Value, otherDays
	}
	return form
}

// renewed returns the caller's token in whose place another one is asked for,
// nil for none.
func (v *visit) renewed() (*registry.Token, error) {
	if !v.asked().Has("renews") {
		return nil, nil
	}
	id, ok := parseID(v.asked().Get("renews"))
	if !ok {
		return nil, v.gone()
	}
	t, err := v.Registry.Get(v.Project, v.caller, id)
	// Nobody makes tokens for others, administrators neither.
	if errors.Is(err, registry.ErrNotFound) || err == nil && t.User.ID != v.caller.User.ID {
		return nil, v.gone()
	}
	return &t, err
}

// mayNotGenerate answers those who can't generate.
func (v *visit) mayNotGenerate() (done bool, err error) {
	if !v.policy.Enabled {
		return true, errOff
	}
	err = v.policy.MayGenerate(v.caller, v.Registry.Now())
	if err != nil && v.lacksAdmin() {
		return true, v.askAgain(v.nextOf("/generate"))
	}
	return err != nil, err
}

func (v *visit) renderGenerate(status int, form generateForm, renewed *registry.Token) error {
	if form.Nonce == "" {
		form.Nonce = v.nonce
	}
	form.Now = v.Registry.Now()
	form.MaxDays, form.Unlimited = maxDays(v.policy), unlimited(v.policy)
	form.Choices = choices(v.policy, form.Now, form.Lifetime.Value)
	form.Back = v.cameFrom()
	form.ClientIP = v.caller.ClientIP
	title := "Generate New Token"
	if renewed != nil {
		r := v.rowOf(renewed, form.Now)
		form.Renews, title = &r, "Renew Token"
	}
	if form.HasErrors() {
		title = "Error: " + title
	}
	v.render(status, "generate", document{Title: title, Section: "tokens", Body: form})
	return nil
}

func choices(p registry.Policy, now time.Time, chosen string) (all []choice) {
	days := slices.DeleteFunc(slices.Clone(presets), func(d int) bool { return d > maxDays(p) })
	if !unlimited(p) && maxDays(p) < presets[len(presets)-1] && !slices.Contains(days, maxDays(p)) {
		days = append(days, maxDays(p))
	}
	for _, d := range days {
		ends := now.Add(time.Duration(d) * day)
		value := strconv.Itoa(d)
		all = append(all, choice{Value: value, Label: plural(d, "day"), Ends: &ends, Chosen: value == chosen})
	}
	if unlimited(p) {
		all = append(all, choice{Value: neverEnds, Label: "Never expires", Chosen: chosen == neverEnds})
	}
	return all
}

// parseLifetime returns the lifetime that a form asks for, in seconds, and what
// is wrong with its two fields.
func parseLifetime(p registry.Policy, lifetime, days string) (seconds int64, wrongLifetime, wrongDays string) {
	days = strings.TrimSpace(days)
	switch {
	case lifetime == otherDays:
		n, err := strconv.Atoi(days)
		switch {
		case err == nil && n == registry.Unlimited && unlimited(p):
			return store.Never, "", ""
		case err == nil && n >= 1 && n <= maxDays(p) && !strings.HasPrefix(days, "+"):
			return int64(n) * int64(day/time.Second), "", ""
		case days == "":
			return 0, "", "Enter a number of days."
		}
		wrongDays = fmt.Sprintf("Enter a whole number of days from 1 to %d.", maxDays(p))
		if unlimited(p) {
			wrongDays = fmt.Sprintf("Enter a whole number of days from 1 to %d, or -1 for a token that never expires.", maxDays(p))
		}
		return 0, "", wrongDays
	case days != "":
		return 0, "", "Choose “Other” to use this number of days, or empty the field."
	case lifetime == neverEnds && unlimited(p):
		return store.Never, "", ""
	}
	n, err := strconv.Atoi(lifetime)
	if err != nil || !slices.Contains(presets, n) && n != maxDays(p) || n > maxDays(p) {
		return 0, "Choose how long the token is to work.", ""
	}
	return int64(n) * int64(day/time.Second), "", ""
}

// madeToken is the document that shows a new token's value, this once.
type madeToken struct {
	row
	Value string
	// Command is a line for a shell that uses the token.
	Command string
	// Renews is the token in whose place it was made, nil for none.
	Renews *row
	// Back is the list to go back to.
	Back view
}

// alreadyMade is the document for a form that is sent again.
type alreadyMade struct {
	ID uuid.UUID
	// Known: ID is the token that the form has made.
	Known bool
	// Back is the list to go back to.
	Back view
}

func (v *visit) generate() error {
	if done, err := v.mayNotGenerate(); done {
		return err
	}
	form := generateForm{
		Lifetime:    field{Value: v.r.PostForm.Get("lifetime")},
		Days:        field{Value: v.r.PostForm.Get("days")},
		Description: field{Value: strings.TrimSpace(v.r.PostForm.Get("description"))},
		Nonce:       v.r.PostForm.Get("nonce"),
	}
	renewed, err := v.renewed()
	if err != nil {
		return err
	}
	form.Scopes = v.scopeChoices(renewed, func(name string) bool { return v.r.PostForm.Has(scopeField + name) })
	form.Addresses.Value = strings.TrimSpace(v.r.PostForm.Get("addresses"))
	addresses, wrongAddresses := parseAddresses(form.Addresses.Value)
	form.Addresses.Error = wrongAddresses
	seconds, wrongLifetime, wrongDays := parseLifetime(v.policy, form.Lifetime.Value, form.Days.Value)
	form.Lifetime.Error, form.Days.Error = wrongLifetime, wrongDays
	if n := utf8.RuneCountInString(form.Description.Value); n > registry.MaxDescription {
		form.Description.Error = fmt.Sprintf("Enter at most %d characters; these are %d.", registry.MaxDescription, n)
	}
	if form.HasErrors() {
		return v.renderGenerate(http.StatusBadRequest, form, renewed)
	}
	user := v.user()
	if first, made := v.Memory.forms.use(user, form.Nonce); !first {
		v.render(http.StatusConflict, "already", document{Title: "This token has been made already", Section: "tokens", Body: alreadyMade{made, made != uuid.Nil, v.cameFrom()}})
		return nil
	}
	wish := registry.Wish{Prefix: v.Prefix, LifetimeSeconds: seconds, Description: form.Description.Value}
	for _, s := range form.Scopes {
		wish.SiteScopes = append(wish.SiteScopes, s.Name)
		if s.Chosen {
			wish.Scopes = append(wish.Scopes, s.Name)
		}
	}
	wish.Addresses = addresses
	if renewed != nil && len(v.Scopes) == 0 {
		// Nothing was asked: the new one is limited as the one before is.
		wish.Scopes, wish.SiteScopes, wish.Addresses = renewed.Scopes, renewed.Scopes, renewed.Addresses
	}
	value, made, err := v.Registry.Issue(context.WithoutCancel(v.r.Context()), v.Project, v.caller, wish)
	if err != nil {
		v.Memory.forms.release(user, form.Nonce)
		return v.generateFailed(form, renewed, err)
	}
	v.Memory.forms.made(user, form.Nonce, made.ID)
	now := v.Registry.Now()
	body := madeToken{
		row: v.rowOf(&made, now), Value: value.Reveal(), Back: v.cameFrom(),
		Command: fmt.Sprintf(`curl -H "Authorization: Bearer %s" "%s%s"`, value.Reveal(), v.Origin, v.API),
	}
	if renewed != nil {
		r := v.rowOf(renewed, now)
		body.Renews = &r
	}
	v.render(http.StatusOK, "made", document{Title: "Your new token", Section: "tokens", Body: body})
	return nil
}

func (v *visit) generateFailed(form generateForm, renewed *registry.Token, err error) error {
	form.Nonce = ""
	switch {
	case errors.Is(err, store.ErrFull):
		form.Error = "There is no room for another token. Existing tokens go on working. Tell whoever runs this gateway that its disk is full."
		return v.renderGenerate(http.StatusInsufficientStorage, form, renewed)
	case errors.Is(err, registry.ErrTokenInText):
		form.Description = field{Error: "That was a token. Describe what uses the new one instead, and delete the one you entered if others could have seen it."}
		return v.renderGenerate(http.StatusBadRequest, form, renewed)
	case errors.Is(err, registry.ErrInvalid):
		form.Lifetime.Error = "Choose how long the token is to work; this is no longer allowed."
		return v.renderGenerate(http.StatusBadRequest, form, renewed)
	case errors.Is(err, registry.ErrLimit):
		form.Error = "You have as many tokens as this project allows. Delete one that you no longer need, then generate this one."
		return v.renderGenerate(http.StatusConflict, form, renewed)
	case errors.Is(err, registry.ErrOff):
		return errOff
	case errors.Is(err, registry.ErrForbidden), errors.Is(err, registry.ErrBlocked):
		return err
	}
	form.Error = "The token couldn’t be made right now. Try again in a few seconds."
	v.retryAfter(err)
	if err := v.renderGenerate(http.StatusServiceUnavailable, form, renewed); err != nil {
		return err
	}
	return answered{err}
}
