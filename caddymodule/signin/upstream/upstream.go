// Package upstream is the sign-in through the API behind itself: its
// who-am-I route says who sent a request.
package upstream

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/whoami"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

func init() { caddy.RegisterModule(new(SignIn)) }

// SignIn signs users in through the API behind: it asks the API's
// who-am-I route with the caller's own Basic credentials, or else with the
// cookies of the caller's session, and reads the user from the JSON answer.
// Nothing else of the request is sent, and redirects are not followed.
//
// Paths into the answer are names separated by dots, such as user.email.
type SignIn struct {
	// The who-am-I route.
	URL string `json:"url"`

	// Where the user's id is. A number becomes its digits. Prefer an id that
	// never changes hands. Default: "id".
	UserID string `json:"user_id,omitempty"`

	// Where the user's e-mail address is. Default: not read.
	Email string `json:"email,omitempty"`

	// Where the user's name is. Default: not read.
	Name string `json:"name,omitempty"`

	// Where it says whether the user is an administrator: JSON true, and
	// nothing else. Default: not read.
	Admin string `json:"admin,omitempty"`

	// Further claims, by the names they have in placeholders.
	Claims map[string]string `json:"claims,omitempty"`

	// Whether Basic credentials are sent on. Default: true.
	Basic *bool `json:"basic,omitempty"`

	// The cookies that are sent on if Basic credentials are not. Default: none.
	Cookies []string `json:"cookies,omitempty"`

	// How long the whole answer may take, up to a minute. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How the route is reached, as in reverse_proxy, except that no proxy is
	// taken from the environment. Default: {"protocol": "http"}.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	url     *url.URL
	api     http.RoundTripper
	took    *durations
	session *incoming.Rules // which cookies are the session's
}

// maxAnswerHeader bounds the header of the route's answer, in bytes.
const maxAnswerHeader = 64 << 10

// How long the who-am-I route's answer may take.
const (
	defaultTimeout = 5 * time.Second
	maxTimeout     = time.Minute
)

// answerPath has no empty names, and doesn't begin as in JSONPath.
var answerPath = regexp.MustCompile(`^[^.$][^.]*(\.[^.]+)*$`)

// CaddyModule implements caddy.Module.
func (*SignIn) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "access_tokens.sign_in.upstream",
		New: func() caddy.Module { return new(SignIn) },
	}
}

// Provision implements caddy.Provisioner.
func (u *SignIn) Provision(ctx caddy.Context) error {
	if err := u.provision(ctx); err != nil {
		return fmt.Errorf("sign_in upstream: %w", err)
	}
	return nil
}

func (u *SignIn) provision(ctx caddy.Context) error {
	text, err := caddyvalue.Expand(u.URL)
	if err != nil {
		return err
	}
	var ok bool
	if u.url, ok = parseWhoAmI(text); !ok {
		return errNoWhoAmI(u.URL)
	}
	if u.url.Scheme == "http" && !incoming.IsLoopback(u.url.Hostname()) {
		ctx.Logger().Warn("passwords and sessions are sent to another machine unencrypted; use https", zap.String("url", u.URL))
	}
	if u.UserID == "" {
		u.UserID = "id"
	}
	if u.Timeout == 0 {
		u.Timeout = caddy.Duration(defaultTimeout)
	}
	if err := u.check(); err != nil {
		return err
	}
	if u.session, err = incoming.NewRules(nil, nil, u.Cookies); err != nil {
		return err
	}
	transport, err := u.transport(ctx)
	if err != nil {
		return err
	}
	u.api, u.took = transport, answerTimesOf(u.url.String())
	return nil
}

// check says what is wrong with what doesn't depend on placeholders.
func (u *SignIn) check() error {
	if !u.TakesBasic() && len(u.Cookies) == 0 {
		return errors.New("with `basic off` and no `cookies` nobody can sign in: name the session's cookies")
	}
	if u.Timeout < 0 || time.Duration(u.Timeout) > maxTimeout {
		return fmt.Errorf("timeout: %v is out of range; allowed: up to %v", time.Duration(u.Timeout), maxTimeout)
	}
	for _, path := range append([]string{u.UserID, u.Email, u.Name, u.Admin}, slices.Sorted(maps.Values(u.Claims))...) {
		if path != "" && !answerPath.MatchString(path) {
			return fmt.Errorf("%q is no path into a JSON answer; allowed: names separated by dots, such as user.id", path)
		}
	}
	var transport struct {
		TLS json.RawMessage `json:"tls"`
	}
	if err := json.Unmarshal(u.TransportRaw, &transport); u.TransportRaw != nil && err != nil {
		return fmt.Errorf("transport: %w", err)
	}
	if transport.TLS != nil && strings.HasPrefix(u.URL, "http://") {
		return errTLSForHTTP
	}
	return signin.CheckClaimNames(slices.Sorted(maps.Keys(u.Claims))...)
}

func parseWhoAmI(text string) (parsed *url.URL, ok bool) {
	parsed, err := url.Parse(text)
	return parsed, err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") &&
		parsed.Hostname() != "" && parsed.User == nil && parsed.Fragment == ""
}

var userInfo = regexp.MustCompile(`(?s)//.*@`)

// errNoWhoAmI says why a URL can't be one, as the owner wrote it: without the
// secrets that its placeholders may stand for, and without a password.
func errNoWhoAmI(written string) error {
	return fmt.Errorf("%q can't be asked who somebody is; allowed: http:// or https://, a host and a path, without user name and fragment",
		userInfo.ReplaceAllString(written, "//***@"))
}

var errTLSForHTTP = errors.New("transport has TLS options, but the URL begins with http://; write https://")

// transport returns what the route is reached by.
func (u *SignIn) transport(ctx caddy.Context) (http.RoundTripper, error) {
	raw := map[string]any{"protocol": "http"}
	if u.TransportRaw != nil {
		if err := json.Unmarshal(u.TransportRaw, &raw); err != nil {
			return nil, fmt.Errorf("transport: %w", err)
		}
	}
	if raw["protocol"] == "http" {
		if raw["network_proxy"] == nil && raw["forward_proxy_url"] == nil {
			raw["network_proxy"] = map[string]string{"from": "none"}
		}
		if raw["max_response_header_size"] == nil {
			raw["max_response_header_size"] = maxAnswerHeader
		}
		if raw["tls"] == nil && u.url.Scheme == "https" {
			raw["tls"] = map[string]any{}
		}
	}
	if raw["tls"] != nil && u.url.Scheme == "http" {
		return nil, errTLSForHTTP
	}
	var err error
	if u.TransportRaw, err = json.Marshal(raw); err != nil {
		return nil, err
	}
	module, err := ctx.LoadModule(u, "TransportRaw")
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	transport, ok := module.(http.RoundTripper)
	if !ok {
		return nil, fmt.Errorf("transport: %T is no http.RoundTripper", module)
	}
	return transport, nil
}

// SignIn implements signin.SignIn.
func (u *SignIn) SignIn(r *http.Request) (signin.User, error) {
	header, byBasic := u.credentials(r)
	if header == nil {
		return signin.User{}, signin.ErrNotMine
	}
	begun := time.Now()
	said, status, err := u.ask(header)
	if err != nil {
		return signin.User{}, err
	}
	took := time.Since(begun)
	user, err := u.read(said)
	if err != nil {
		return signin.User{}, err
	}
	u.took.note(answer{byBasic, user.ID == ""}, took)
	if user.ID != "" {
		return user, nil
	}
	// That a session has ended says nothing about other ways to sign in.
	refused := signin.ErrNotMine
	if byBasic {
		refused = signin.ErrDenied
	}
	return signin.User{}, fmt.Errorf("%w: the who-am-I route answers with status %d and nothing at %q", refused, status, u.UserID)
}

// credentials returns the header to ask with, nil if r has no credentials.
func (u *SignIn) credentials(r *http.Request) (header http.Header, byBasic bool) {
	auth, err := incoming.ParseAuthorization(r.Header)
	if err == nil && auth.Scheme == incoming.Basic && u.TakesBasic() {
		// What the limit can't read a user from isn't sent: a laxer reader
		// behind could find one in it, whose failures nobody would count.
		if _, _, ok := incoming.DecodeBasic(auth.Token68); !ok {
			return nil, false
		}
		return http.Header{"Authorization": {"Basic " + auth.Token68}}, true
	}
	if kept := u.session.KeptCookies(r.Header["Cookie"]); kept != "" {
		return http.Header{"Cookie": {kept}}, false
	}
	return nil, false
}

// ask returns the route's answer, nil if it says that nobody is signed in, and
// its status.
//
// The request's own context stays behind. A reverse_proxy in front, such as
// forward_auth, leaves in it which server Caddy's transports are to dial. And
// its end would be for the client to choose: who goes away before a slow "no"
// has still been told that it was no quick "yes", and that has to count.
func (u *SignIn) ask(header http.Header) (answer whoami.Answer, status int, err error) {
	ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx, cancel := context.WithTimeout(ctx, time.Duration(u.Timeout))
	defer cancel()

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	header.Set("Accept", "application/json")
	header.Set("User-Agent", "caddy-access-tokens")
	request.Header = header
	request, notSent := traced(request)
	response, err := u.api.RoundTrip(request)
	if err != nil {
		why := u.whyNot(ctx, err)
		if notSent(err) {
			why = fmt.Errorf("%w: %w", signin.ErrNotChecked, why)
		}
		return nil, 0, why
	}
	defer response.Body.Close()
	answer, err = whoami.Read(response)
	if err != nil && ctx.Err() != nil {
		err = u.whyNot(ctx, err)
	}
	return answer, response.StatusCode, err
}

// whyNot says why there is no answer. An error's text is shown only where it
// can't hold anything that the API has sent: that may be the credentials again.
func (u *SignIn) whyNot(ctx context.Context, err error) error {
	why := "it closed the connection, or what it sends is not HTTP"
	var dialing *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		why = fmt.Sprintf("it took longer than %v", time.Duration(u.Timeout))
	case errors.As(err, &dialing) && dialing.Op == "dial":
		why = dialing.Error()
	case errors.As(err, &certificate):
		why = certificate.Error()
	case strings.Contains(err.Error(), "server response headers exceeded"):
		why = "its answer's header is too long"
	}
	return errors.New("the who-am-I route can't be asked: " + why)
}

// read returns the user whom the answer names, with an empty id if none.
func (u *SignIn) read(answer whoami.Answer) (user signin.User, err error) {
	if user.ID, err = answer.ID(u.UserID); err != nil || user.ID == "" {
		return signin.User{}, err
	}
	for _, field := range []struct {
		path string
		to   *string
	}{{u.Email, &user.Email}, {u.Name, &user.Name}} {
		if *field.to, err = answer.Text(field.path); err != nil {
			return signin.User{}, err
		}
	}
	user.Admin = answer.IsTrue(u.Admin)
	user.Claims = make(map[string]string, len(u.Claims))
	for name, path := range u.Claims {
		if user.Claims[name], err = answer.Text(path); err != nil {
			return signin.User{}, err
		}
	}
	return user, nil
}

// NamesAdmins implements signin.AdminNamer.
func (u *SignIn) NamesAdmins() bool { return u.Admin != "" }

// Authority implements signin.AuthorityNamer: it is the API, by its origin, whatever
// the route and however this machine is called.
func (u *SignIn) Authority() string {
	host, port := strings.ToLower(u.url.Hostname()), u.url.Port()
	if incoming.IsLoopback(host) {
		host = "localhost"
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.url.Scheme]
	}
	return net.JoinHostPort(host, port)
}

// ClaimNames implements signin.ClaimNamer.
func (u *SignIn) ClaimNames() []string { return slices.Collect(maps.Keys(u.Claims)) }

// HasCredentials implements signin.CredentialTaker.
func (u *SignIn) HasCredentials(r *http.Request) bool {
	return u.session.KeptCookies(r.Header["Cookie"]) != ""
}

// TakesBasic implements signin.BasicTaker.
func (u *SignIn) TakesBasic() bool { return u.Basic == nil || *u.Basic }

// Interface guards
var (
	_ caddy.Provisioner      = (*SignIn)(nil)
	_ signin.SignIn          = (*SignIn)(nil)
	_ signin.BasicTaker      = (*SignIn)(nil)
	_ signin.CredentialTaker = (*SignIn)(nil)
	_ signin.AdminNamer      = (*SignIn)(nil)
	_ signin.ClaimNamer      = (*SignIn)(nil)
	_ signin.AuthorityNamer  = (*SignIn)(nil)
	_ signin.Decoy           = (*SignIn)(nil)
)
