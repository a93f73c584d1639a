// Package upstream is the sign-in through the API behind itself: its
// who-am-I route says who sent a request.
package upstream

import (
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
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/grammar"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
)

func init() { caddy.RegisterModule(new(SignIn)) }

// SignIn signs users in through the API behind: it asks the API's
// who-am-I route with the caller's own Basic credentials, or else with the
// cookies of the caller's session, and reads the user from the JSON answer.
// Nothing else of the request is sent, and redirects are not followed.
//
// Paths into the answer are names, and places in arrays counted from 0,
// separated by dots: user.email, or users.0.email.
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

	// What has to stand in the answer, by paths: a string, a number, true or false,
	// written as text. Nobody is signed in unless all of it does. Default: nothing.
	Require map[string]string `json:"require,omitempty"`

	// Whether Basic credentials are sent on. Default: true.
	Basic *bool `json:"basic,omitempty"`

	// The cookies that are sent on if Basic credentials are not; a '*' at the end
	// of a name stands for any ending. Default: none.
	Cookies []string `json:"cookies,omitempty"`

	// Further headers of the question. Placeholders such as {env.API_KEY} are
	// replaced. Default: none.
	Headers map[string]string `json:"headers,omitempty"`

	// The Unix socket at which the API listens, as unix//run/api.sock. The URL then
	// only says path and host. Default: the URL says where.
	Dial string `json:"dial,omitempty"`

	// How long the whole answer may take, up to a minute. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How the route is reached, as in reverse_proxy, except that no proxy is
	// taken from the environment. Default: {"protocol": "http"}.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	url     *url.URL
	socket  *reverseproxy.DialInfo // nil: the URL says where
	header  http.Header
	api     http.RoundTripper
	took    *durations
	session *incoming.Rules // which cookies are the session's

	logger *zap.Logger
	ids    *ids
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
	u.logger = ctx.Logger()
	u.ids = &ids{complaints: rate.Sometimes{Interval: time.Minute}}
	text, err := caddyvalue.Expand(u.URL)
	if err != nil {
		return err
	}
	var ok bool
	if u.url, ok = parseWhoAmI(text); !ok {
		return errNoWhoAmI(u.URL)
	}
	if u.Dial != "" {
		text, err := caddyvalue.Expand(u.Dial)
		if err != nil {
			return fmt.Errorf("dial: %w", err)
		}
		if u.socket, err = parseSocket(text); err != nil {
			return err
		}
	}
	if u.header, err = u.provisionHeader(); err != nil {
		return err
	}
	if u.url.Scheme == "http" && u.socket == nil && !incoming.IsLoopback(u.url.Hostname()) {
		u.logger.Warn("passwords and sessions are sent to another machine unencrypted; use https", zap.String("url", u.URL))
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
	for _, path := range slices.Concat([]string{u.UserID, u.Email, u.Name, u.Admin}, slices.Sorted(maps.Values(u.Claims)), slices.Sorted(maps.Keys(u.Require))) {
		if err := checkPath(path); err != nil {
			return err
		}
	}
	for name := range u.Headers {
		if err := checkHeader(name); err != nil {
			return err
		}
	}
	if _, err := parseSocket(u.Dial); u.Dial != "" && !grammar.HasPlaceholder(u.Dial) && err != nil {
		return err
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

func checkPath(path string) error {
	if path != "" && !answerPath.MatchString(path) {
		return fmt.Errorf("%q is no path into a JSON answer; allowed: names separated by dots, such as user.id", path)
	}
	return nil
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
	return fmt.Errorf("%q can't be asked who somebody is; allowed: http:// or https://, a host and a path, without user name and fragment; a Unix socket goes into the block, as `dial unix//run/api.sock`",
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

// NamesAdmins implements signin.AdminNamer.
func (u *SignIn) NamesAdmins() bool { return u.Admin != "" }

// Authority implements signin.AuthorityNamer: it is the API, by its origin, whatever
// the route and however this machine is called.
func (u *SignIn) Authority() string {
	if u.socket != nil {
		return u.socket.String()
	}
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
