package page

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// signInForm is the document that asks who is there.
type signInForm struct {
	// Why says why it is asked now, Error what was wrong before.
	Why, Error     string
	User, Password field
	// Next is where to go afterwards.
	Next string
	// Form: there is a form for user name and password. Otherwise Insecure
	// says that the connection is the reason, or no sign-in takes them.
	Form, Insecure bool
	// Untrusted: something in front says that the connection is secure, and
	// isn't believed.
	Untrusted bool
	Again     bool
}

// askToSignIn answers a request for rest of somebody who isn't signed in.
func (v *visit) askToSignIn(rest string) error {
	form := signInForm{Next: v.nextOf(rest)}
	if v.expired {
		v.clearCookie()
		form.Why = "Your session has ended. Sign in again."
	}
	status := http.StatusOK
	if v.r.Method == http.MethodPost {
		v.challenge()
		status = http.StatusUnauthorized
		form.Why = "Your session has ended, and nothing was changed. Sign in again."
	}
	v.renderSignIn(status, form)
	return nil
}

const whyAgain = "Administrator rights last 15 minutes after signing in. Enter your password again to use them."

// askAgain asks an administrator whose rights have lapsed for the password.
func (v *visit) askAgain(next string) error {
	form := signInForm{Next: next, Again: true, User: field{Value: v.caller.User.ID}, Why: whyAgain}
	status := http.StatusOK
	if v.r.Method == http.MethodPost {
		v.challenge()
		status = http.StatusUnauthorized
		form.Why = "Nothing was changed. " + form.Why
	}
	v.renderSignIn(status, form)
	return nil
}

func (v *visit) renderSignIn(status int, form signInForm) {
	form.Form = v.TakesPassword && v.Connection != Open
	form.Insecure = v.TakesPassword && v.Connection == Open
	form.Untrusted = form.Insecure && v.Untrusted
	v.render(status, "signin", document{Title: "Sign in", Body: form})
}

// challenge names the only scheme that a browser doesn't answer with a window
// of its own.
func (v *visit) challenge() {
	v.w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s"`, v.Project.Name))
}

// signIn takes user name and password.
func (v *visit) signIn() error {
	next := parseNext(v.r.PostForm.Get("next"))
	form := signInForm{Next: next, User: field{Value: v.r.PostForm.Get("user")}, Again: v.r.PostForm.Has("again")}
	if form.Again {
		form.Why = whyAgain
	}
	user, password := form.User.Value, v.r.PostForm.Get("password")
	form.User.Error, form.Password.Error = wrongUserName(user), wrongPassword(password)
	switch {
	case !v.TakesPassword || v.Connection == Open:
		v.renderSignIn(http.StatusForbidden, form)
		return nil
	case form.User.Error != "" || form.Password.Error != "":
		v.renderSignIn(http.StatusBadRequest, form)
		return nil
	}
	caller, err := v.Check(v.r, user, password)
	if err != nil {
		return v.refuseSignIn(form, err)
	}
	v.Identified(v.r, &caller)
	if old, sent := v.Cookies.value(v.cookieName()); sent {
		v.Memory.Sessions.end(v.Project.Name, old)
	}
	secret, err := v.Memory.Sessions.start(v.Project.Name, caller)
	if err != nil {
		return err
	}
	v.setCookie(secret)
	return v.redirect(pathOf(next))
}

func (v *visit) refuseSignIn(form signInForm, err error) error {
	limited, isLimited := errors.AsType[*signinlimit.LimitedError](err)
	switch {
	case isLimited:
		form.Error = limitedSentence(limited)
		v.retryAfter(err)
		v.renderSignIn(http.StatusTooManyRequests, form)
		return nil
	case errors.Is(err, tokenapi.ErrNotSignedIn):
		form.Error = "User name or password is wrong."
		v.challenge()
		v.renderSignIn(http.StatusUnauthorized, form)
		return nil
	case errors.Is(err, registry.ErrBlocked):
		v.renderRefused()
		return nil
	}
	form.Error = "Signing in isn’t possible right now. Try again in a few seconds."
	v.retryAfter(err)
	v.renderSignIn(http.StatusServiceUnavailable, form)
	return answered{err}
}

// wrongUserName says why nobody's user name can be that (RFC 7617 section 2).
func wrongUserName(user string) string {
	switch {
	case user == "":
		return "Enter your user name."
	case strings.Contains(user, ":"):
		return "A user name can’t contain a colon."
	case strings.ContainsFunc(user, unicode.IsControl):
		return "A user name can’t contain control characters."
	}
	return ""
}

func wrongPassword(password string) string {
	switch {
	case password == "":
		return "Enter your password."
	case strings.ContainsFunc(password, unicode.IsControl):
		return "A password can’t contain control characters."
	}
	return ""
}

// signOut ends the session.
func (v *visit) signOut() error {
	if secret, sent := v.Cookies.value(v.cookieName()); sent {
		v.Memory.Sessions.end(v.Project.Name, secret)
		v.clearCookie()
	}
	return v.redirect("")
}

// refresh asks a browser that comes from another site to ask once more, by
// itself: only then does it send the session's cookie, which is SameSite=Strict.
func (v *visit) refresh() bool {
	h := v.r.Header
	if len(v.Cookies) > 0 || v.r.Method != http.MethodGet || h.Get("Sec-Fetch-Site") != "cross-site" ||
		h.Get("Sec-Fetch-Mode") != "navigate" || h.Get("Sec-Fetch-Dest") != "document" {
		return false
	}
	v.w.Header().Set("Refresh", "0")
	v.render(http.StatusOK, "refresh", document{Title: "Access Tokens"})
	return true
}
