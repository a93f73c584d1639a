package page

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// problem is an answer to people that says what went wrong and what to do.
type problem struct {
	status         int
	title, details string
}

// message is the document that shows a problem.
type message struct {
	Details string
	// Forget: the address is to leave the browser's history.
	Forget bool
}

func (p *problem) Error() string { return p.title }

var (
	errNoPage = &problem{http.StatusNotFound, "This page doesn’t exist",
		"Check the address, or go to your access tokens."}
	errTokenInURL = &problem{http.StatusBadRequest, "That was a token",
		"A token in an address ends up in histories and logs: delete that token, and generate another. To find a token, look for its description or its ID."}
	errCrossOrigin = &problem{http.StatusForbidden, "This came from another site",
		"Other sites can’t change anything here. Go to your access tokens and do it there."}
	errNoNavigation = &problem{http.StatusForbidden, "Only people use this page",
		"Scripts and frames can’t: open it in a window of its own. Programs manage tokens through the API."}
	errNotOurForm = &problem{http.StatusForbidden, "This form can’t be used any more",
		"Nothing was changed. A form of this page works for 12 hours, for whoever opened it, until the gateway is restarted. Go to your access tokens and fill in a new one."}
	errOff = &problem{http.StatusForbidden, "API access is off",
		"No token was made. An administrator can switch API access on first."}
	errTooEarly = &problem{http.StatusTooEarly, "Try again",
		"The request came before the connection was secure. Load the page again."}
	errTooLarge = &problem{http.StatusRequestEntityTooLarge, "That’s too much text",
		"Go back and enter less."}
	errLate = &problem{http.StatusBadRequest, "The form didn’t arrive in time",
		"Nothing was changed. Go back and send it again."}
	errBusy = &problem{http.StatusTooManyRequests, "Too many of your lists are being read",
		"Wait until the others are there, then load this one again."}
	errMediaType = &problem{http.StatusUnsupportedMediaType, "This isn’t the page’s form",
		"Use the form on the page. Programs manage tokens through the API."}
	errBadForm = &problem{http.StatusBadRequest, "The form can’t be read",
		"Go back, load the page again and fill in the form once more."}
)

// fail answers with what err means. Errors that are for the module's owner
// too, such as those of a store that can't answer, are passed on to be logged.
func (v *visit) fail(err error) error {
	if errors.Is(err, registry.ErrBlocked) {
		v.renderRefused()
		return answered{err}
	}
	p := v.problemOf(err)
	if p.status == http.StatusTooManyRequests || p.status == http.StatusServiceUnavailable {
		v.retryAfter(err)
	}
	v.render(p.status, "message", document{Title: p.title, Body: message{Details: p.details}})
	if p.status >= http.StatusInternalServerError {
		return answered{err}
	}
	return nil
}

// renderRefused tells users that they are blocked.
func (v *visit) renderRefused() {
	v.render(http.StatusForbidden, "refused", document{Title: "You are blocked"})
}

// answered is an error that the caller of Serve has been told of already.
type answered struct{ error }

func (e answered) Unwrap() error { return e.error }

// IsAnswered tells whether an error from Serve has been answered already, and
// is only to be logged.
func IsAnswered(err error) bool {
	_, ok := errors.AsType[answered](err)
	return ok
}

func (v *visit) problemOf(err error) *problem {
	if own, ok := errors.AsType[*problem](err); ok {
		return own
	}
	if limited, ok := errors.AsType[*signinlimit.LimitedError](err); ok {
		return &problem{http.StatusTooManyRequests, "Too many sign-ins have failed", limitedSentence(limited)}
	}
	switch {
	case errors.Is(err, tokenapi.ErrNoRoute):
		return errNoPage
	case errors.Is(err, incoming.ErrTokenInURL):
		return errTokenInURL
	case errors.Is(err, registry.ErrBusy):
		return errBusy
	case errors.Is(err, incoming.ErrBodyTooLarge):
		return errTooLarge
	case errors.Is(err, incoming.ErrBodyLate):
		return errLate
	case errors.Is(err, incoming.ErrBodyCut):
		return errBadForm
	}
	if refusal, ok := errors.AsType[*registry.Refusal](err); ok && errors.Is(err, registry.ErrProtected) {
		return &problem{http.StatusConflict, "This user can’t be blocked", refusal.Details}
	}
	p := tokenapi.ProblemOf(err)
	if p.Status == http.StatusServiceUnavailable {
		return &problem{p.Status, "This can’t be answered right now", "Nothing is lost. Try again in a few seconds."}
	}
	return &problem{p.Status, p.Message, p.Details}
}

// limitedSentence says how long to wait.
func limitedSentence(limited *signinlimit.LimitedError) string {
	seconds := int(math.Ceil(limited.RetryAfter.Seconds()))
	if seconds <= 90 {
		return "Too many sign-ins have failed. Try again in " + plural(max(seconds, 1), "second") + "."
	}
	return "Too many sign-ins have failed. Try again in " + plural((seconds+59)/60, "minute") + "."
}

// retryAfter says when to try again (RFC 9110 section 10.2.3).
func (v *visit) retryAfter(err error) {
	wait := 5 * time.Second
	if limited, ok := errors.AsType[*signinlimit.LimitedError](err); ok {
		wait = max(limited.RetryAfter, time.Second)
	}
	v.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
}

func (v *visit) methodNotAllowed(to place) error {
	allow := "GET, HEAD"
	if to.post != nil {
		allow += ", POST"
	}
	v.w.Header().Set("Allow", allow)
	return &problem{http.StatusMethodNotAllowed, "That’s not how this page is used", "Go to your access tokens."}
}
