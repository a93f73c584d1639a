package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Site configures the handler "access_tokens" of one site.
type Site struct {
	// The name of the space that this site's tokens belong to: 1 to 64
	// letters, digits, '.', '_' and '-'. A token of one project is nothing in
	// another. Default: "default".
	Project string `json:"project,omitempty"`

	// What new token values begin with: 2 to 12 of a-z and 0-9. Older tokens
	// keep working when it changes. Default: "cat".
	Prefix string `json:"prefix,omitempty"`

	// The ids of users who manage everyone's tokens of the project.
	Admins []string `json:"admins,omitempty"`

	// Whether tokens work at all. Default: true.
	APIAccess *bool `json:"api_access,omitempty"`

	// Who, besides administrators, may make tokens. Default: nobody.
	AllowGenerate *AllowGenerate `json:"allow_generate,omitempty"`

	// The longest lifetime of a new token in days, 1 to 36525, or -1 for
	// unlimited, which also allows tokens that never expire. Default: 365.
	MaxLifetimeDays *int `json:"max_lifetime_days,omitempty"`

	// How many living tokens a user can have, 1 to 1000000. Where a user has more,
	// they stay, and no more are made until there are fewer. Default: unlimited.
	MaxTokensPerUser *int `json:"max_tokens_per_user,omitempty"`

	// How users prove who they are without a token, asked in this order. At
	// least one is needed.
	SignInsRaw []json.RawMessage `json:"sign_ins,omitempty" caddy:"namespace=access_tokens.sign_in inline_key=type"`

	// How many sign-ins may fail. Default: 10 a minute.
	SignInLimit *SignInLimit `json:"sign_in_limit,omitempty"`

	// What becomes of requests without a bearer token: "reject", or "pass" to
	// forward them as they are, as anonymous. Default: "reject".
	WithoutToken string `json:"without_token,omitempty"`

	// What becomes of bearer tokens that aren't of our shape, for example the
	// API's own: "reject", or "pass" to forward them as they are, as anonymous.
	// Default: "reject".
	ForeignToken string `json:"foreign_token,omitempty"`

	// Requests that need no token, by sets of matchers of which one has to
	// match. Default: none.
	PublicRaw []map[string]json.RawMessage `json:"public,omitempty" caddy:"namespace=http.matchers"`

	// The headers that tell the API behind who the user is, with the
	// text they are set to. No client can send them, or choose what is in
	// them: allowed placeholders are {http.auth.user.*},
	// {http.reverse_proxy.header.*}, {http.request.tls.client.*}, which is empty
	// unless the certificate was verified, {env.*}, {file.*} and {system.*}. Default:
	// Remote-User, Remote-Email and Remote-Name, set to
	// {http.auth.user.id}, {http.auth.user.email} and {http.auth.user.name}.
	Identity map[string]string `json:"identity,omitempty"`

	// How the values under identity are written: "utf-8", or "percent" to
	// percent-encode (RFC 3986 section 2.1) each byte that isn't visible ASCII, and
	// '%'. As "utf-8", a value that ends in a byte which servers strip isn't sent,
	// unless it is a name alone: the request is refused. Default: "utf-8".
	IdentityEncoding string `json:"identity_encoding,omitempty"`

	// More headers that no client may send; a '*' at the end stands for any
	// ending.
	Strip []string `json:"strip,omitempty"`

	// Cookies that may accompany a token; a '*' at the end stands for any ending.
	// Default: none.
	KeepCookies []string `json:"keep_cookies,omitempty"`

	// Whether scripts of the site's own pages may make and delete tokens with
	// what their browser sends along by itself: a session's cookie, a remembered
	// password, or whoever stands in front knows. Default: false.
	ScriptAccess bool `json:"script_access,omitempty"`

	// Where a token may be besides `Authorization: Bearer`. Default: nowhere.
	TokenFrom *TokenFrom `json:"token_from,omitempty"`

	// Whether `Authorization` goes on to the API beside a token from a header, so
	// that the API sees two users: whom the headers under identity name, and whom it
	// takes Authorization for. Default: false.
	KeepAuthorization bool `json:"keep_authorization,omitempty"`

	// What the maker of a token can limit it to. A token that is limited to scopes
	// makes those requests that one of them matches. Default: none, and every
	// token may do all that its user may.
	Scopes []Scope `json:"scopes,omitempty"`

	// Where other proxies ask whether a request may pass, which they then send to
	// the API themselves. They are believed if the server's trusted_proxies names
	// them. Default: nowhere.
	Verify []Verify `json:"verify,omitempty"`

	// What becomes of WebSockets, and of answers that are still being sent a second
	// after their header, when the token that opened them ends or doesn't hold any
	// more: "close", or "leave". Default: "close".
	OpenStreams string `json:"open_streams,omitempty"`

	// Where the routes are at which tokens are managed. Default:
	// "/v4/apiAccessTokens".
	API string `json:"api,omitempty"`

	// Where the Access Tokens page is, or "off". Default: "/access-tokens".
	Page string `json:"page,omitempty"`
}

// Verify is where proxies of one kind ask.
type Verify struct {
	// The path, and all below it.
	Path string `json:"path"`

	// How they say which request they ask about: "x_original" by X-Original-Method
	// and X-Original-URI, as nginx does; "x_forwarded" by X-Forwarded-Method,
	// X-Forwarded-Host and X-Forwarded-Uri, as Traefik and other Caddys do; "path" by
	// their own method and what follows the path, as Envoy does.
	From string `json:"from"`
}

// The values of Verify.From.
const (
	XOriginal  = "x_original"
	XForwarded = "x_forwarded"
	BelowPath  = "path"
)

// Check says what is wrong with v.
func (v Verify) Check() error {
	if err := incoming.ValidBase(v.Path); err != nil {
		return fmt.Errorf("verify: %q %w", v.Path, err)
	}
	if !slices.Contains([]string{XOriginal, XForwarded, BelowPath}, v.From) {
		return fmt.Errorf("verify: %q is not known; allowed: %s (nginx), %s (Traefik, Caddy), %s (Envoy)", v.From, XOriginal, XForwarded, BelowPath)
	}
	return nil
}

// Scope is what a token can be limited to.
type Scope struct {
	// What tokens and clients call it: 1 to 64 of a-z, 0-9, '.', '_', ':' and
	// '-'. Tokens keep it: a name that is gone from here grants nothing.
	Name string `json:"name"`

	// What it allows, for people who pick it. Default: its name.
	Text string `json:"text,omitempty"`

	// The requests that are within it, by sets of matchers of which one has to
	// match: method, path, path_regexp, host, header and protocol, and not of
	// these. What these don't see, such as a body, isn't limited.
	MatchRaw []map[string]json.RawMessage `json:"match" caddy:"namespace=http.matchers"`
}

// SignInLimit says how many sign-ins may fail before others are refused
// unasked.
type SignInLimit struct {
	// Failures of one address and user; ten times as many are allowed of one
	// address.
	Failures int `json:"failures"`

	// In which time.
	Window caddy.Duration `json:"window"`
}

// TokenFrom says where a token may be besides `Authorization: Bearer`.
type TokenFrom struct {
	// Basic credentials, as the password beside any user name, or as the user name
	// beside an empty password or "x-oauth-basic". An answer 401 then asks programs
	// for Basic alone.
	Basic bool `json:"basic,omitempty"`

	// Headers, each with nothing but the token in it. What else clients send in them
	// is the API's own, except on a request with a token, on which they are removed.
	Headers []string `json:"headers,omitempty"`
}

// The values of WithoutToken and ForeignToken.
const (
	Reject = "reject"
	Pass   = "pass"
)

// The values of OpenStreams.
const (
	Close = "close"
	Leave = "leave"
)

// The values of IdentityEncoding.
const (
	UTF8    = "utf-8"
	Percent = "percent"
)

// AllowGenerate says who, besides administrators, may make tokens.
type AllowGenerate struct {
	// "admins", "everyone", or "users" for those named under users.
	Who string `json:"who"`

	// User ids.
	Users []string `json:"users,omitempty"`
}

// The values of AllowGenerate.Who.
const (
	Admins   = registry.GenerateAdmins
	Everyone = registry.GenerateEveryone
	Users    = registry.GenerateUsers
)

// Off is the Page that stands for none.
const Off = "off"

// Unlimited is the MaxLifetimeDays that allows tokens that never expire.
const Unlimited = registry.Unlimited

// DefaultIdentity are the headers set if Identity is empty. No client can send
// them in any case.
var DefaultIdentity = map[string]string{
	"Remote-User":  "{http.auth.user.id}",
	"Remote-Email": "{http.auth.user.email}",
	"Remote-Name":  "{http.auth.user.name}",
}

// Complete returns s with its defaults filled in, but for those that can be
// changed while the server runs.
func (s Site) Complete() Site {
	if s.Project == "" {
		s.Project = "default"
	}
	if s.Prefix == "" {
		s.Prefix = "cat"
	}
	if s.API == "" {
		s.API = "/v4/apiAccessTokens"
	}
	if s.Page == "" {
		s.Page = "/access-tokens"
	}
	if len(s.Identity) == 0 {
		s.Identity = maps.Clone(DefaultIdentity)
	}
	if s.IdentityEncoding == "" {
		s.IdentityEncoding = UTF8
	}
	if s.SignInLimit == nil {
		s.SignInLimit = &SignInLimit{Failures: 10, Window: caddy.Duration(time.Minute)}
	}
	if s.WithoutToken == "" {
		s.WithoutToken = Reject
	}
	if s.ForeignToken == "" {
		s.ForeignToken = Reject
	}
	if s.OpenStreams == "" {
		s.OpenStreams = Close
	}
	return s
}

// Check says what is wrong with s, which is complete. Each error names its option.
// It isn't called Validate, or Caddy would take whatever embeds it for a
// caddy.Validator.
func (s Site) Check() error {
	if err := CheckProject(s.Project); err != nil {
		return err
	}
	if err := CheckPrefix(s.Prefix); err != nil {
		return err
	}
	if err := CheckUserIDs("admins", s.Admins); err != nil {
		return err
	}
	if err := s.SignInLimit.Check(); err != nil {
		return err
	}
	if err := CheckRejectPass("without_token", s.WithoutToken); err != nil {
		return err
	}
	if err := CheckRejectPass("foreign_token", s.ForeignToken); err != nil {
		return err
	}
	if err := CheckOpenStreams(s.OpenStreams); err != nil {
		return err
	}
	if s.AllowGenerate != nil {
		if err := s.AllowGenerate.Check(); err != nil {
			return err
		}
	}
	if s.MaxLifetimeDays != nil {
		if err := CheckMaxLifetimeDays(*s.MaxLifetimeDays); err != nil {
			return err
		}
	}
	if s.MaxTokensPerUser != nil {
		if err := CheckMaxTokensPerUser(*s.MaxTokensPerUser); err != nil {
			return err
		}
	}
	if err := CheckIdentity(s.Identity); err != nil {
		return err
	}
	if err := CheckIdentityEncoding(s.IdentityEncoding); err != nil {
		return err
	}
	for _, pattern := range s.Strip {
		if err := CheckStrip(pattern); err != nil {
			return err
		}
	}
	for _, name := range s.KeepCookies {
		if err := CheckCookie("keep_cookies", name); err != nil {
			return err
		}
	}
	if _, err := s.Rules(); err != nil {
		return err
	}
	if err := checkScopes(s.Scopes); err != nil {
		return err
	}
	if err := CheckAPI(s.API); err != nil {
		return err
	}
	if err := s.checkVerify(); err != nil {
		return err
	}
	return s.checkPage()
}

func (s Site) checkVerify() error {
	for i, v := range s.Verify {
		if err := v.Check(); err != nil {
			return err
		}
		others := []string{s.API}
		if s.Page != Off {
			others = append(others, s.Page)
		}
		for _, other := range s.Verify[:i] {
			others = append(others, other.Path)
		}
		for _, other := range others {
			if incoming.Within(other, v.Path) || incoming.Within(v.Path, other) {
				return fmt.Errorf("verify: %q and %q overlap; choose paths of which none is below another, upper and lower case aside", v.Path, other)
			}
		}
	}
	return nil
}

func checkScopes(scopes []Scope) error {
	named := make(map[string]bool)
	for _, scope := range scopes {
		if err := scope.Check(); err != nil {
			return err
		}
		if named[scope.Name] {
			return fmt.Errorf("scope: %q is written twice; write it once", scope.Name)
		}
		named[scope.Name] = true
	}
	return nil
}

var scopeName = regexp.MustCompile(`^[a-z0-9._:-]{1,64}$`)

// scopeMatchers are those that see what the API reads: others look at what it may
// read in another way, or at what anybody can choose.
var scopeMatchers = []string{"method", "path", "path_regexp", "host", "header", "protocol", "not"}

// Check says what is wrong with s.
func (s Scope) Check() error {
	if err := CheckScopeName(s.Name); err != nil {
		return err
	}
	if len(s.Text) > maxScopeText {
		return fmt.Errorf("scope %s: its text has more than %d bytes", s.Name, maxScopeText)
	}
	if err := checkScopeMatchers(s.MatchRaw); err != nil {
		return fmt.Errorf("scope %s: %w", s.Name, err)
	}
	return nil
}

const maxScopeText = 200

// CheckScopeName says what is wrong with a scope's name.
func CheckScopeName(name string) error {
	if !scopeName.MatchString(name) {
		return fmt.Errorf("scope: %q is no name; allowed: 1 to 64 of a-z, 0-9, '.', '_', ':' and '-'", name)
	}
	return nil
}

// checkScopeMatchers refuses matchers that a scope can't have, and sets without any.
func checkScopeMatchers(sets []map[string]json.RawMessage) error {
	if len(sets) == 0 {
		return errEmptyScope
	}
	for _, set := range sets {
		if len(set) == 0 {
			return errEmptyScope
		}
		for name, raw := range set {
			if !slices.Contains(scopeMatchers, name) {
				return fmt.Errorf("the matcher %s can't be in a scope; allowed: %s", name, strings.Join(scopeMatchers, ", "))
			}
			if name != "not" {
				continue
			}
			var inner []map[string]json.RawMessage
			if err := json.Unmarshal(raw, &inner); err != nil {
				return fmt.Errorf("not: %w", err)
			}
			if err := checkScopeMatchers(inner); err != nil {
				return fmt.Errorf("not: %w", err)
			}
		}
	}
	return nil
}

var errEmptyScope = errors.New("it has no matchers; write into its block what requests it allows, such as `method GET HEAD`")

func (s Site) checkPage() error {
	if err := CheckPage(s.Page); err != nil || s.Page == Off {
		return err
	}
	if incoming.Within(s.API, s.Page) || incoming.Within(s.Page, s.API) {
		return fmt.Errorf("page: %q and api %q overlap; choose two paths of which neither is below the other, upper and lower case aside, or write `page off`", s.Page, s.API)
	}
	return nil
}

// Check says what is wrong with l.
func (l SignInLimit) Check() error {
	if l.Failures < 1 || l.Failures > 1_000_000 {
		return fmt.Errorf("sign_in_limit: %d failures is out of range; allowed: 1 to 1000000", l.Failures)
	}
	if l.Window < caddy.Duration(time.Second) || l.Window > caddy.Duration(24*time.Hour) {
		return fmt.Errorf("sign_in_limit: %v is out of range; allowed: 1s to 24h", time.Duration(l.Window))
	}
	return nil
}

// CheckRejectPass says what is wrong with without_token or foreign_token.
func CheckRejectPass(option, value string) error {
	if value != Reject && value != Pass {
		return fmt.Errorf("%s: %q is not known; allowed: %s, %s", option, value, Reject, Pass)
	}
	return nil
}

// CheckOpenStreams says what is wrong with open_streams.
func CheckOpenStreams(value string) error {
	if value != Close && value != Leave {
		return fmt.Errorf("open_streams: %q is not known; allowed: %s, %s", value, Close, Leave)
	}
	return nil
}

// Check says what is wrong with a.
func (a AllowGenerate) Check() error {
	switch {
	case !slices.Contains([]string{Admins, Everyone, Users}, a.Who):
		return fmt.Errorf("allow_generate: %q is not known; allowed: %s, %s, or %s followed by user ids", a.Who, Admins, Everyone, Users)
	case a.Who == Users && len(a.Users) == 0:
		return fmt.Errorf("allow_generate users: name at least one user id")
	case a.Who != Users && len(a.Users) > 0:
		return fmt.Errorf("allow_generate %s takes no user ids; write `allow_generate users <id>…`", a.Who)
	}
	return CheckUserIDs("allow_generate users", a.Users)
}

var projectName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// CheckProject says what is wrong with a project's name.
func CheckProject(name string) error {
	if !projectName.MatchString(name) {
		return fmt.Errorf("project: %q is no name; allowed: 1 to 64 letters, digits, '.', '_' and '-'", name)
	}
	return nil
}

// CheckPrefix says what is wrong with a token prefix.
func CheckPrefix(prefix string) error {
	if !token.ValidPrefix(prefix) {
		return fmt.Errorf("prefix: %q can't begin a token; allowed: 2 to 12 characters of a-z and 0-9", prefix)
	}
	return nil
}

// CheckMaxLifetimeDays says what is wrong with a maximum lifetime.
func CheckMaxLifetimeDays(days int) error {
	if days != Unlimited && (days < 1 || days > registry.MaxLifetimeDays) {
		return fmt.Errorf("max_lifetime: %d days is out of range; allowed: 1d to %dd, or unlimited", days, registry.MaxLifetimeDays)
	}
	return nil
}

// mostTokensPerUser is the highest max_tokens_per_user.
const mostTokensPerUser = 1_000_000

// CheckMaxTokensPerUser says what is wrong with how many tokens a user can have.
func CheckMaxTokensPerUser(n int) error {
	if n < 1 || n > mostTokensPerUser {
		return fmt.Errorf("max_tokens_per_user: %d tokens is out of range; allowed: 1 to %d, and without the option as many as users make", n, mostTokensPerUser)
	}
	return nil
}

// CheckIdentity says what is wrong with the headers that are to tell who the
// user is.
func CheckIdentity(headers map[string]string) error {
	spellings := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if err := incoming.ValidHeaderName(name); err != nil {
			return fmt.Errorf("identity: %w", err)
		}
		folded := incoming.Fold(name)
		if other, taken := spellings[folded]; taken {
			return fmt.Errorf("identity: %s and %s are one header to many servers; name it once", other, name)
		}
		spellings[folded] = name
		if err := CheckSource(headers[name]); err != nil {
			return fmt.Errorf("identity: %s: %w", name, err)
		}
	}
	return nil
}

// CheckIdentityEncoding says what is wrong with an encoding of identity values.
func CheckIdentityEncoding(encoding string) error {
	if encoding != UTF8 && encoding != Percent {
		return fmt.Errorf("identity_encoding: %q is not known; allowed: %s, %s", encoding, UTF8, Percent)
	}
	return nil
}

// CheckStrip says what is wrong with a header to strip.
func CheckStrip(pattern string) error {
	if _, err := incoming.NewRules(nil, []string{pattern}, nil); err != nil {
		return fmt.Errorf("strip: %w", err)
	}
	return nil
}

// CheckCookie says what is wrong with a cookie's name.
func CheckCookie(option, name string) error {
	if _, err := incoming.NewRules(nil, nil, []string{name}); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	return nil
}

// Carriers are the places that t names; those of nil are none.
func (t *TokenFrom) Carriers() (incoming.Carriers, error) {
	if t == nil {
		return incoming.Carriers{}, nil
	}
	carriers, err := incoming.NewCarriers(t.Basic, t.Headers)
	if err != nil {
		return carriers, fmt.Errorf("token_from: %w", err)
	}
	return carriers, nil
}

// CheckTokenFrom says what is wrong with token_from and keep_authorization, beside
// identity and strip.
func (s Site) CheckTokenFrom() error {
	_, err := s.Rules()
	return err
}

// Rules are what s says of the headers and cookies that come in.
func (s Site) Rules() (*incoming.Rules, error) {
	protected := slices.Sorted(maps.Keys(s.Identity))
	for name := range DefaultIdentity {
		protected = append(protected, name)
	}
	rules, err := incoming.NewRules(protected, s.Strip, s.KeepCookies)
	if err != nil {
		return nil, err
	}
	carriers, err := s.TokenFrom.Carriers()
	if err != nil {
		return nil, err
	}
	if s.KeepAuthorization && len(carriers.Headers()) == 0 {
		return nil, errors.New("keep_authorization: Authorization can be kept beside a token from a header alone, and there is none; add `token_from header <name>`")
	}
	if err := rules.TakeFrom(carriers, s.KeepAuthorization); err != nil {
		return nil, fmt.Errorf("token_from: %w", err)
	}
	return rules, nil
}

// CheckAPI says what is wrong with the path of the management routes.
func CheckAPI(path string) error {
	if err := incoming.ValidBase(path); err != nil {
		return fmt.Errorf("api: %q %w", path, err)
	}
	return nil
}

// CheckPage says what is wrong with the path of the page.
func CheckPage(path string) error {
	if path == Off {
		return nil
	}
	if err := incoming.ValidBase(path); err != nil {
		return fmt.Errorf("page: %q is not off, and as a path %w", path, err)
	}
	return nil
}

// CheckUserIDs says what is wrong with the user ids that an option lists.
func CheckUserIDs(option string, ids []string) error {
	for i, id := range ids {
		if err := registry.CheckUserID(id); err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
		if slices.Contains(ids[:i], id) {
			return fmt.Errorf("%s: %q is named twice", option, id)
		}
	}
	return nil
}
