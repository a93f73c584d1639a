package tokenapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Problem is an answer that says why a request is refused and what to do. It
// holds nothing that a client sent.
type Problem struct {
	Status int
	// Name is for programs, Message and Details for people. Details says what
	// to do.
	Name, Message, Details string

	// bearerError is the error of the Bearer challenge (RFC 6750 section 3.1).
	bearerError string
	// bearerScope are the scopes that would do.
	bearerScope []string
	// allow lists a resource's methods (RFC 9110 section 10.2.1).
	allow string
	// retryAfter is when to try again.
	retryAfter time.Duration
}

func (p *Problem) Error() string { return p.Name + ": " + p.Message }

// Reasons to refuse that don't come from the registry.
var (
	// ErrNotSignedIn: nobody here says who the caller is.
	ErrNotSignedIn = errors.New("not signed in")
	// ErrNoRoute: the path is none of ours.
	ErrNoRoute = errors.New("route doesn't exist")
	// ErrMetTwice: the request has passed an access_tokens handler before.
	ErrMetTwice = errors.New("the request has met access_tokens before")
)

// Unauthorized makes 401 of an error, whatever that is by itself: another proxy that
// asks about a request may know no more than that and 403.
type Unauthorized struct{ Err error }

func (u *Unauthorized) Error() string { return u.Err.Error() }
func (u *Unauthorized) Unwrap() error { return u.Err }

// OutOfScope is a denial because of a token's scopes.
type OutOfScope struct {
	*registry.Denial
	// Scopes are those that the request would be within, of the site's; if there
	// are none, those of the token.
	Scopes []string
}

func (o *OutOfScope) Unwrap() error { return o.Denial }

// ProblemOf is the one place that maps errors to answers. An error it doesn't
// know is one that the request can't be decided by, which is 503: clients
// throw their token away at a 401.
func ProblemOf(err error) *Problem {
	if of, ok := errors.AsType[*Unauthorized](err); ok {
		p := *ProblemOf(of.Err)
		p.Status, p.Name = http.StatusUnauthorized, "AuthenticationRequired"
		return &p
	}
	if problem, ok := errors.AsType[*Problem](err); ok {
		return problem
	}
	if limited, ok := errors.AsType[*signinlimit.LimitedError](err); ok {
		return &Problem{Status: http.StatusTooManyRequests, Name: "TooManyRequestsException", retryAfter: limited.RetryAfter,
			Message: "Too many sign-ins have failed",
			Details: "Wait as long as Retry-After says, then sign in again. Tokens go on working meanwhile."}
	}
	p := problemByReason(err)
	if outside, ok := errors.AsType[*OutOfScope](err); ok {
		p.bearerScope = outside.Scopes
	}
	if refusal, ok := errors.AsType[*registry.Refusal](err); ok {
		p.Details = refusal.Details
	}
	return p
}

func problemByReason(err error) *Problem {
	switch {
	case errors.Is(err, incoming.ErrMalformed):
		return &Problem{Status: http.StatusBadRequest, Name: "InvalidRequest",
			Message: "The Authorization header is malformed",
			Details: "Send `Authorization: Bearer <token>`, or Basic and the credentials in base64: the scheme, a space, the rest, and nothing else."}
	case errors.Is(err, incoming.ErrRepeated):
		return &Problem{Status: http.StatusBadRequest, Name: "InvalidRequest",
			Message: "There is more than one Authorization header",
			Details: "Send exactly one Authorization header."}
	case errors.Is(err, incoming.ErrMisplacedToken):
		return &Problem{Status: http.StatusBadRequest, Name: "InvalidRequest",
			Message: "The Authorization header holds an access token in the wrong place",
			Details: "Send tokens as `Authorization: Bearer <token>`{also}, and neither under another scheme nor otherwise among user names and passwords."}
	case errors.Is(err, incoming.ErrTwoTokens):
		return &Problem{Status: http.StatusBadRequest, Name: "InvalidRequest",
			Message: "There is more than one access token, or more than one line of the header that it is in",
			Details: "Send exactly one token, in one place, as `Authorization: Bearer <token>`{also}."}
	case errors.Is(err, incoming.ErrTokenInHeader):
		return &Problem{Status: http.StatusBadRequest, Name: "InvalidRequest",
			Message: "A header holds an access token in the wrong place",
			Details: "Send tokens as `Authorization: Bearer <token>`{also}, and in no other header, with nothing before or behind it. If others could have seen this token, delete it."}
	case errors.Is(err, incoming.ErrTokenInURL):
		return &Problem{Status: http.StatusBadRequest, Name: "InvalidRequest",
			Message: "The URL holds an access token",
			Details: "Send tokens as `Authorization: Bearer <token>`{also} only. URLs end up in logs: delete this token and make a new one."}
	case errors.Is(err, incoming.ErrConnect):
		return &Problem{Status: http.StatusBadRequest, Name: "InvalidRequest",
			Message: "CONNECT isn't for this gateway",
			Details: "It makes no tunnels. Only a WebSocket is opened by CONNECT, over HTTP/2 or HTTP/3."}
	case errors.Is(err, incoming.ErrTarget):
		return &Problem{Status: http.StatusBadRequest, Name: "InvalidRequest",
			Message: "The request target is malformed",
			Details: "Send a path that begins with /, as in `GET /v4/people/current HTTP/1.1`."}
	case errors.Is(err, incoming.ErrBodyTooLarge):
		return &Problem{Status: http.StatusRequestEntityTooLarge, Name: "PayloadTooLarge",
			Message: "The body is too large",
			Details: fmt.Sprintf("Send at most %d KiB.", incoming.MaxBody>>10)}
	case errors.Is(err, incoming.ErrBodyLate):
		return invalid("The body didn't arrive within %.0f s: send it again.", incoming.BodyTime.Seconds())
	case errors.Is(err, incoming.ErrBodyCut):
		return invalid("The body ended early: send it again.")
	case errors.Is(err, registry.ErrInvalid):
		return &Problem{Status: http.StatusBadRequest, Name: "ApiValidationFailed",
			Message: "The request is not valid",
			Details: "Check the parameters and the body's fields."}
	case errors.Is(err, ErrNotSignedIn):
		return &Problem{Status: http.StatusUnauthorized, Name: "AuthenticationRequired",
			Message: "Authentication is required",
			Details: "Send an access token as `Authorization: Bearer <token>`{also}. To make one, POST to {api} {signed in}. If that is what you did, you are not known here like that{no password}."}
	case errors.Is(err, registry.ErrInvalidToken):
		return &Problem{Status: http.StatusUnauthorized, Name: "InvalidToken", bearerError: "invalid_token",
			Message: "The access token is not valid",
			Details: "It may have expired or been deleted, or belong to another project. To make a new one, POST to {api} {signed in}."}
	case errors.Is(err, registry.ErrOff):
		return &Problem{Status: http.StatusForbidden, Name: "AccessControlException",
			Message: "API access is off for this project",
			Details: "Keep the token: it works again once an administrator has switched API access on."}
	case errors.Is(err, registry.ErrBlocked):
		return &Problem{Status: http.StatusForbidden, Name: "AccessControlException",
			Message: "The user is blocked in this project",
			Details: "Ask an administrator of the project. Keep your tokens: they work again once the user is unblocked."}
	case errors.Is(err, registry.ErrScope):
		return &Problem{Status: http.StatusForbidden, Name: "AccessControlException", bearerError: "insufficient_scope",
			Message: "The request is outside of the access token's scopes",
			Details: "Use a token that is made for this, or sign in to make one with other scopes."}
	case errors.Is(err, registry.ErrAddress):
		return &Problem{Status: http.StatusForbidden, Name: "AccessControlException",
			Message: "The access token can't be used from this address",
			Details: "Use it where its maker meant it to be used, or make another token for this address."}
	case errors.Is(err, registry.ErrForbidden):
		return &Problem{Status: http.StatusForbidden, Name: "AccessControlException",
			Message: "You are not allowed to do this",
			Details: "Ask an administrator of the project."}
	case errors.Is(err, registry.ErrFixed):
		return &Problem{Status: http.StatusConflict, Name: "ConflictException",
			Message: "The gateway's configuration sets this",
			Details: "Whoever runs this gateway can change it."}
	case errors.Is(err, registry.ErrLimit):
		return &Problem{Status: http.StatusConflict, Name: "ConflictException",
			Message: "You have as many tokens as are allowed",
			Details: "Delete one that you no longer need."}
	case errors.Is(err, registry.ErrProtected):
		return &Problem{Status: http.StatusConflict, Name: "ConflictException",
			Message: "This user can't be blocked",
			Details: "Whoever runs this gateway decides who is an administrator."}
	case errors.Is(err, registry.ErrBusy):
		return &Problem{Status: http.StatusTooManyRequests, Name: "TooManyRequestsException", retryAfter: retrySoon,
			Message: "Too many of your lists are being read",
			Details: "Read those that you asked for to their end, or give them up, then ask again."}
	case errors.Is(err, registry.ErrNotFound):
		return &Problem{Status: http.StatusNotFound, Name: "DataNotFoundException",
			Message: "There is no such token",
			Details: "List your tokens to see their ids. A deleted token is gone for good."}
	case errors.Is(err, ErrNoRoute):
		return &Problem{Status: http.StatusNotFound, Name: "RouteNotFoundException",
			Message: "Route doesn't exist",
			Details: "Check the path's spelling: upper and lower case, and no / at its end."}
	case errors.Is(err, ErrMetTwice):
		return &Problem{Status: http.StatusInternalServerError, Name: "ConfigurationException",
			Message: "The gateway's configuration is wrong",
			Details: "Tell whoever runs this gateway; its log says what to change."}
	case errors.Is(err, store.ErrFull):
		return &Problem{Status: http.StatusInsufficientStorage, Name: "InsufficientStorage",
			Message: "There is no room on the gateway's disk",
			Details: "Nothing has been changed, and existing tokens go on working. Try again later, or tell whoever runs this gateway that its disk is full."}
	}
	return &Problem{Status: http.StatusServiceUnavailable, Name: "ServiceUnavailable",
		Message: "The request can't be decided right now",
		Details: "Keep the token and try again in a few seconds."}
}

func invalid(details string, args ...any) *Problem {
	return ProblemOf(&registry.Refusal{Reason: registry.ErrInvalid, Details: fmt.Sprintf(details, args...)})
}

var (
	errMediaType = &Problem{Status: http.StatusUnsupportedMediaType, Name: "UnsupportedMediaType",
		Message: "The body is not declared as JSON", Details: "Send JSON and say so: with curl, add -H 'Content-Type: application/json'."}
	errEncoded = &Problem{Status: http.StatusUnsupportedMediaType, Name: "UnsupportedMediaType",
		Message: "The body is compressed", Details: "Send it as it is, without a Content-Encoding header."}
	errCrossOrigin = &Problem{Status: http.StatusForbidden, Name: "AccessControlException",
		Message: "The request comes from another site's page", Details: "Pages of other origins can't change anything here. Use a program instead."}
	errScript = &Problem{Status: http.StatusForbidden, Name: "AccessControlException",
		Message: "A page's script can't change anything with what its browser sends along",
		Details: "Send an access token. Whoever runs this gateway can let scripts use sessions and passwords too (script_access on)."}
	errTooEarly = &Problem{Status: http.StatusTooEarly, Name: "TooEarly",
		Message: "The request was sent before the connection was secure against replay", Details: "Send it again once the TLS handshake is complete."}
)

func methodNotAllowed(to *route) *Problem {
	return &Problem{Status: http.StatusMethodNotAllowed, Name: "MethodNotAllowed", allow: to.allow,
		Message: "The route doesn't have this method", Details: "Use one of: " + to.allow + ". " + to.advice}
}

// retrySoon is when what can't be decided now may be.
const retrySoon = 5 * time.Second

// Challenge says how an answer asks for credentials.
type Challenge struct {
	// Realm is the project's name.
	Realm string
	// Basic: a sign-in takes user name and password.
	Basic bool
	// Elsewhere: the request is for none of the routes, and nobody signs in
	// there.
	Elsewhere bool
	// Only is the one scheme that is asked for, whatever sign-ins take; NoScheme: as
	// they do.
	Only incoming.Scheme
	// Carriers are where tokens are taken from beside Bearer; {also} in details stands
	// for them.
	Carriers incoming.Carriers
	// API is the path of the routes as the client knows it, which stands for {api}
	// in details, as {signed in} does for how to sign in.
	API string
}

// Write answers r with p.
func (p *Problem) Write(w http.ResponseWriter, r *http.Request, c Challenge) {
	h := w.Header()
	switch p.Status {
	case http.StatusUnauthorized:
		c.set(h, r, p)
	case http.StatusForbidden:
		if p.bearerError != "" {
			c.set(h, r, p)
		}
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", seconds(retrySoon))
	case http.StatusTooManyRequests:
		h.Set("Retry-After", seconds(p.retryAfter))
	case http.StatusMethodNotAllowed:
		h.Set("Allow", p.allow)
	}
	type exception struct {
		Name    string `json:"name"`
		Message string `json:"message"`
		Details string `json:"details"`
	}
	writeJSON(w, p.Status, struct {
		Exception exception `json:"exception"`
	}{exception{p.Name, p.Message, c.fill(p.Details)}})
}

// fill replaces what stands in braces in details. What is filled in has none.
func (c *Challenge) fill(details string) string {
	signedIn := "with the session of the application that you are signed in to"
	if c.Basic {
		signedIn = "with your user name and password"
	}
	noPassword := "; a token is no password"
	if c.Carriers.Basic {
		noPassword = ""
	}
	details = strings.ReplaceAll(details, "{api}", c.API)
	details = strings.ReplaceAll(details, "{signed in}", signedIn)
	details = strings.ReplaceAll(details, "{no password}", noPassword)
	return strings.ReplaceAll(details, "{also}", c.also())
}

// also says where a token may be, beside Bearer.
func (c *Challenge) also() string {
	var places []string
	if c.Carriers.Basic {
		places = append(places, "as the password of HTTP Basic beside any user name")
	}
	for _, name := range c.Carriers.Headers() {
		places = append(places, "as `"+name+": <token>`")
	}
	if len(places) == 0 {
		return ""
	}
	return ", or " + strings.Join(places, ", or ")
}

// seconds writes a Retry-After (RFC 9110 section 10.2.3).
func seconds(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}

// set writes the challenges (RFC 9110 section 11.6.1): Bearer (RFC 6750
// section 3), and Basic (RFC 7617) in a line of its own where a sign-in takes
// it. A page's script gets no Basic challenge: its browser would ask for a
// password in a window of its own. Programs that know Basic alone, such as git and
// docker, fail at a Bearer challenge beside it.
func (c Challenge) set(h http.Header, r *http.Request, p *Problem) {
	bearer := `Bearer realm="` + c.Realm + `"`
	if p.bearerError != "" {
		bearer += `, error="` + p.bearerError + `"`
	}
	if len(p.bearerScope) > 0 {
		bearer += fmt.Sprintf(`, scope="%s"`, strings.Join(p.bearerScope, " "))
	}
	basic := func() string { return fmt.Sprintf(`Basic realm="%s", charset="UTF-8"`, c.Realm) }
	if c.Only == incoming.Basic {
		h.Set("WWW-Authenticate", basic())
		return
	}
	h.Set("WWW-Authenticate", bearer)
	if c.Only == incoming.NoScheme && c.Basic && !c.Elsewhere && p.bearerError == "" && !incoming.ByScript(r.Header) {
		h.Add("WWW-Authenticate", basic())
	}
}

// writeJSON answers with v, which always can be encoded.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // for people who read it; it is never HTML
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	writeHeader(w, status)
	_, _ = w.Write(body.Bytes())
}

// writeHeader begins an answer in JSON.
func writeHeader(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	noStore(w.Header())
	w.WriteHeader(status)
}

func noStore(h http.Header) {
	// At once. Others can't have the same: handlers in front may change values in place.
	// A browser would tell the URL, token included, with whatever it asks next.
	values := [...]string{"no-store", "nosniff", "no-referrer"}
	h["Cache-Control"], h["X-Content-Type-Options"], h["Referrer-Policy"] = values[0:1:1], values[1:2:2], values[2:3:3]
}
