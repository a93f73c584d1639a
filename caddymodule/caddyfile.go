package caddymodule

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/grammar"
)

func init() {
	httpcaddyfile.RegisterGlobalOption(appName, parseGlobalOption)
	httpcaddyfile.RegisterDirective(appName, parseDirective)
	httpcaddyfile.RegisterDirectiveOrder(appName, httpcaddyfile.Before, "request_header")
}

// parseGlobalOption sets up the app. Syntax:
//
//	access_tokens {
//	    store    badger [<directory>]
//	    hash_key <text> {
//	        previous <text>...
//	    }
//	    retain   expired|deleted <duration>
//	    audit    file <path>
//	    backup   <directory> {
//	        every      <duration>
//	        keep       <number>
//	        recipients <age public key>...
//	    }
//	}
//
// retain and previous can be repeated.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option's name
	if existing != nil {
		return nil, d.Errf("access_tokens is written twice among the global options; write it once")
	}
	if d.NextArg() {
		return nil, d.Errf("the global option access_tokens takes no arguments; write its options into its block")
	}
	var a config.App
	if err := globalOptions(&a).ParseBeside(siteOptions(httpcaddyfile.Helper{}, nil, nil), belongsToASite, d, "retain"); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: appName, Value: caddyconfig.JSON(a, nil)}, nil
}

// What is said of an option that stands in the wrong one of the two blocks
// called access_tokens.
const (
	belongsToASite = "belongs to a site; write it in the block `access_tokens` of that site"
	belongsToAll   = "belongs to all sites together; write it in the global options block `access_tokens`, at the top of the Caddyfile"
)

func globalOptions(a *config.App) grammar.Options {
	return grammar.Options{
		"store": func(d *caddyfile.Dispenser) error {
			args := d.RemainingArgs()
			if len(args) < 1 || len(args) > 2 {
				return d.Errf("store takes a kind, and at most a directory; write `store badger`, or `store badger <directory>`")
			}
			a.Store.Type = args[0]
			if len(args) > 1 {
				a.Store.Path = args[1]
			}
			if !slices.Contains(config.StoreTypes, a.Store.Type) {
				return d.Errf("%q is no kind of store; allowed: %s", a.Store.Type, strings.Join(config.StoreTypes, ", "))
			}
			return grammar.NoBlock(d, "store")
		},
		"hash_key": func(d *caddyfile.Dispenser) error { return parseHashKey(d, a) },
		"retain":   func(d *caddyfile.Dispenser) error { return parseRetain(d, &a.Retain) },
		"audit": func(d *caddyfile.Dispenser) error {
			args := d.RemainingArgs()
			if len(args) != 2 || args[0] != "file" || args[1] == "" {
				return d.Errf("audit takes a kind and a path; write `audit file <path>`; without audit, changes are in Caddy's log alone")
			}
			a.Audit.File = args[1]
			return grammar.NoBlock(d, "audit")
		},
		"backup": func(d *caddyfile.Dispenser) error { return parseBackup(d, &a.Backup) },
	}
}

func parseHashKey(d *caddyfile.Dispenser, a *config.App) (err error) {
	const usage = "<text of at least 32 characters, best as a placeholder such as {file./etc/caddy/tokens.key}>"
	if a.HashKey, err = grammar.OneArgBeforeBlock(d, usage); err != nil {
		return err
	}
	if err := checkKeyText(a.HashKey); err != nil {
		return d.Errf("hash_key: %v", err)
	}
	return grammar.Options{
		"previous": func(d *caddyfile.Dispenser) error {
			keys, err := grammar.SomeArgs(d, "<text of a former key>…")
			if err != nil {
				return err
			}
			for _, key := range keys {
				if err := checkKeyText(key); err != nil {
					return d.Errf("hash_key, previous: %v", err)
				}
				if key == a.HashKey || slices.Contains(a.PreviousHashKeys, key) {
					return d.Errf("hash_key, previous: %v", errSameKey)
				}
				a.PreviousHashKeys = append(a.PreviousHashKeys, key)
			}
			return nil
		},
	}.Parse(d, "previous")
}

// checkKeyText says what is wrong with a hash key, as far as that is known before
// placeholders are replaced.
func checkKeyText(text string) error {
	if grammar.HasPlaceholder(text) {
		return nil
	}
	_, err := token.NewKey(text)
	return err
}

func parseRetain(d *caddyfile.Dispenser, r *config.Retain) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("retain takes two values; write `retain expired <duration>` or `retain deleted <duration>`, with a duration such as 30d")
	}
	var to *caddy.Duration
	switch args[0] {
	case "expired":
		to = &r.Expired
	case "deleted":
		to = &r.Deleted
	default:
		return d.Errf("retain: %q is not known; allowed: expired, deleted", args[0])
	}
	if *to != 0 {
		return d.Errf("retain %s is written twice; write it once", args[0])
	}
	duration, err := caddy.ParseDuration(args[1])
	if err != nil {
		return d.Errf("retain %s: %q is no duration; write one such as 30d or 12h", args[0], args[1])
	}
	if err := config.CheckRetain(duration); err != nil {
		return d.Errf("retain %s: %v", args[0], err)
	}
	*to = caddy.Duration(duration)
	return grammar.NoBlock(d, "retain")
}

// parseDirective sets up the handler. Syntax:
//
//	access_tokens {
//	    project        <name>
//	    prefix         <2 to 12 of a-z 0-9>
//	    admins         <user id>...
//	    api_access     on|off
//	    allow_generate admins|everyone|users <user id>...
//	    max_lifetime   <days>d|unlimited
//	    max_tokens_per_user <number>
//	    sign_in        <module> ...
//	    sign_in_limit  <failures> <window>
//	    without_token  reject|pass
//	    foreign_token  reject|pass
//	    public         <path or @matcher>...
//	    identity {
//	        <header> <value>
//	    }
//	    identity_encoding utf-8|percent
//	    strip          <header>...
//	    keep_cookies   <cookie>...
//	    script_access  on|off
//	    token_from     basic|header <name>
//	    keep_authorization
//	    scope          <name> [<text>] {
//	        <matcher> ...
//	    }
//	    verify         <path> x_original|x_forwarded|path
//	    open_streams   close|leave
//	    api            <path>
//	    page           <path>|off
//	}
//
// Every option has a default, but at least one sign_in is needed. sign_in,
// public, strip, token_from, scope and verify can be repeated.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // the directive's name
	if h.NextArg() {
		return nil, h.Errf("access_tokens takes no matcher and no arguments (%q); to use it for some requests only, write it into a `handle` block", h.Val())
	}
	var handler Handler
	inFront := false
	options := siteOptions(h, &handler.Site, &inFront)
	if err := options.ParseBeside(globalOptions(nil), belongsToAll, h.Dispenser, "sign_in", "public", "strip", "token_from", "scope", "verify"); err != nil {
		return nil, err
	}
	if inFront && handler.ForeignToken == config.Pass {
		return nil, grammar.At(h.Dispenser, errInFrontAndForeign)
	}
	if err := handler.CheckTokenFrom(); err != nil {
		return nil, grammar.At(h.Dispenser, err)
	}
	return h.NewRoute(nil, &handler), nil
}

// siteOptions fill s, and inFront with whether one of the sign-ins reads whom
// handlers in front have established.
func siteOptions(h httpcaddyfile.Helper, s *config.Site, inFront *bool) grammar.Options {
	return grammar.Options{
		"project": func(d *caddyfile.Dispenser) (err error) {
			if s.Project, err = grammar.OneArg(d, "<name>"); err != nil {
				return err
			}
			return grammar.At(d, config.CheckProject(s.Project))
		},
		"prefix": func(d *caddyfile.Dispenser) (err error) {
			if s.Prefix, err = grammar.OneArg(d, "<2 to 12 characters of a-z and 0-9>"); err != nil {
				return err
			}
			return grammar.At(d, config.CheckPrefix(s.Prefix))
		},
		"admins": func(d *caddyfile.Dispenser) (err error) {
			if s.Admins, err = grammar.SomeArgs(d, "<user id>…"); err != nil {
				return err
			}
			return grammar.At(d, config.CheckUserIDs("admins", s.Admins))
		},
		"api_access": func(d *caddyfile.Dispenser) (err error) {
			s.APIAccess, err = grammar.OnOff(d)
			return err
		},
		"allow_generate": func(d *caddyfile.Dispenser) error {
			args, err := grammar.SomeArgs(d, "admins|everyone|users <user id>…")
			if err != nil {
				return err
			}
			s.AllowGenerate = &config.AllowGenerate{Who: args[0], Users: args[1:]}
			return grammar.At(d, s.AllowGenerate.Check())
		},
		"max_lifetime": func(d *caddyfile.Dispenser) error {
			value, err := grammar.OneArg(d, "<days>d|unlimited")
			if err != nil {
				return err
			}
			days, err := parseDays(value)
			if err != nil {
				return d.Errf("max_lifetime: %q is no lifetime; allowed: whole days such as 365d, or unlimited", value)
			}
			s.MaxLifetimeDays = &days
			return grammar.At(d, config.CheckMaxLifetimeDays(days))
		},
		"max_tokens_per_user": func(d *caddyfile.Dispenser) error {
			value, err := grammar.OneArg(d, "<number>")
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(value)
			if err != nil {
				return d.Errf("max_tokens_per_user: %q is no number of tokens; write one such as 1000", value)
			}
			s.MaxTokensPerUser = &n
			return grammar.At(d, config.CheckMaxTokensPerUser(n))
		},
		"sign_in": func(d *caddyfile.Dispenser) error {
			module, raw, err := parseSignIn(d)
			if _, ok := module.(signin.InFront); ok {
				*inFront = true
			}
			s.SignInsRaw = append(s.SignInsRaw, raw)
			return err
		},
		"sign_in_limit": func(d *caddyfile.Dispenser) (err error) {
			s.SignInLimit, err = parseSignInLimit(d)
			return err
		},
		"without_token": func(d *caddyfile.Dispenser) (err error) {
			s.WithoutToken, err = rejectOrPass(d)
			return err
		},
		"foreign_token": func(d *caddyfile.Dispenser) (err error) {
			s.ForeignToken, err = rejectOrPass(d)
			return err
		},
		"public": func(d *caddyfile.Dispenser) error {
			sets, err := parsePublic(h.WithDispenser(d))
			s.PublicRaw = append(s.PublicRaw, sets...)
			return err
		},
		"identity": func(d *caddyfile.Dispenser) (err error) {
			s.Identity, err = parseIdentity(d)
			return err
		},
		"identity_encoding": func(d *caddyfile.Dispenser) (err error) {
			if s.IdentityEncoding, err = grammar.OneArg(d, "utf-8|percent"); err != nil {
				return err
			}
			return grammar.At(d, config.CheckIdentityEncoding(s.IdentityEncoding))
		},
		"strip": func(d *caddyfile.Dispenser) error {
			patterns, err := grammar.SomeArgs(d, "<header>…")
			if err != nil {
				return err
			}
			s.Strip = append(s.Strip, patterns...)
			return grammar.AtFirst(d, patterns, config.CheckStrip)
		},
		"keep_cookies": func(d *caddyfile.Dispenser) (err error) {
			if s.KeepCookies, err = grammar.SomeArgs(d, "<cookie>…"); err != nil {
				return err
			}
			return grammar.AtFirst(d, s.KeepCookies, func(name string) error { return config.CheckCookie("keep_cookies", name) })
		},
		"script_access": func(d *caddyfile.Dispenser) error {
			on, err := grammar.OnOff(d)
			s.ScriptAccess = on != nil && *on
			return err
		},
		"token_from": func(d *caddyfile.Dispenser) error { return parseTokenFrom(d, s) },
		"keep_authorization": func(d *caddyfile.Dispenser) error {
			if d.NextArg() {
				return d.Errf("keep_authorization takes no value; write `keep_authorization`, or leave it out")
			}
			s.KeepAuthorization = true
			return grammar.NoBlock(d, "keep_authorization")
		},
		"scope": func(d *caddyfile.Dispenser) error {
			scope, err := parseScope(d)
			if err == nil && slices.ContainsFunc(s.Scopes, func(other config.Scope) bool { return other.Name == scope.Name }) {
				err = d.Errf("scope %s is written twice; write it once", scope.Name)
			}
			s.Scopes = append(s.Scopes, scope)
			return err
		},
		"verify": func(d *caddyfile.Dispenser) error {
			args := d.RemainingArgs()
			if len(args) != 2 {
				return d.Errf("verify takes a path and a form; write `verify /verify x_original` for nginx, x_forwarded for Traefik and Caddy, or path for Envoy")
			}
			v := config.Verify{Path: args[0], From: args[1]}
			s.Verify = append(s.Verify, v)
			if err := v.Check(); err != nil {
				return grammar.At(d, err)
			}
			return grammar.NoBlock(d, "verify")
		},
		"open_streams": func(d *caddyfile.Dispenser) (err error) {
			if s.OpenStreams, err = grammar.OneArg(d, "close|leave"); err != nil {
				return err
			}
			return grammar.At(d, config.CheckOpenStreams(s.OpenStreams))
		},
		"api": func(d *caddyfile.Dispenser) (err error) {
			if s.API, err = grammar.OneArg(d, "<path>"); err != nil {
				return err
			}
			return grammar.At(d, config.CheckAPI(s.API))
		},
		"page": func(d *caddyfile.Dispenser) (err error) {
			if s.Page, err = grammar.OneArg(d, "<path>|off"); err != nil {
				return err
			}
			return grammar.At(d, config.CheckPage(s.Page))
		},
	}
}

func parseTokenFrom(d *caddyfile.Dispenser, s *config.Site) error {
	args := d.RemainingArgs()
	if s.TokenFrom == nil {
		s.TokenFrom = new(config.TokenFrom)
	}
	switch {
	case len(args) == 1 && args[0] == "basic":
		if s.TokenFrom.Basic {
			return d.Errf("token_from basic is written twice; write it once")
		}
		s.TokenFrom.Basic = true
	case len(args) == 2 && args[0] == "header":
		s.TokenFrom.Headers = append(s.TokenFrom.Headers, args[1])
		if _, err := s.TokenFrom.Carriers(); err != nil {
			return grammar.At(d, err)
		}
	default:
		return d.Errf("token_from takes a place; write `token_from basic`, or `token_from header <name>`, such as `token_from header X-API-Key`, once for each header")
	}
	return grammar.NoBlock(d, "token_from")
}

func rejectOrPass(d *caddyfile.Dispenser) (string, error) {
	option := d.Val()
	value, err := grammar.OneArg(d, "reject|pass")
	if err != nil {
		return "", err
	}
	return value, grammar.At(d, config.CheckRejectPass(option, value))
}

func parseSignInLimit(d *caddyfile.Dispenser) (*config.SignInLimit, error) {
	const usage = "sign_in_limit takes two values; write `sign_in_limit <failures> <window>`, such as `sign_in_limit 10 1m`"
	args := d.RemainingArgs()
	if len(args) != 2 {
		return nil, d.Errf(usage)
	}
	failures, err := strconv.Atoi(args[0])
	if err != nil {
		return nil, d.Errf("sign_in_limit: %q is no number of failures; write one such as 10", args[0])
	}
	window, err := caddy.ParseDuration(args[1])
	if err != nil {
		return nil, d.Errf("sign_in_limit: %q is no duration; write one such as 1m", args[1])
	}
	limit := &config.SignInLimit{Failures: failures, Window: caddy.Duration(window)}
	if err := limit.Check(); err != nil {
		return nil, grammar.At(d, err)
	}
	return limit, grammar.NoBlock(d, "sign_in_limit")
}

// parsePublic reads paths and named matchers.
func parsePublic(h httpcaddyfile.Helper) (sets []map[string]json.RawMessage, err error) {
	if h.CountRemainingArgs() == 0 {
		return nil, h.Errf("public takes at least one value; write `public <path or @matcher>…`")
	}
	for h.CountRemainingArgs() > 0 {
		set, isMatcher, err := h.MatcherToken()
		switch {
		case err != nil:
			return nil, h.Errf("public: %v", err)
		case !isMatcher:
			return nil, h.Errf("public: %q is neither a path nor a named matcher; allowed: /path, /path/*, @name", h.Val())
		}
		if err := checkPublic(set); err != nil {
			return nil, h.Errf("%v (%q)", err, h.Val())
		}
		sets = append(sets, set)
	}
	return sets, grammar.NoBlock(h.Dispenser, "public")
}

// parseDays reads whole days, such as 365d, or "unlimited".
func parseDays(text string) (int, error) {
	if text == "unlimited" {
		return config.Unlimited, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 31); err == nil {
			return int(n), nil
		}
	}
	duration, err := caddy.ParseDuration(text)
	if err == nil && (duration < 0 || duration%(24*time.Hour) != 0) {
		err = strconv.ErrSyntax
	}
	return int(duration / (24 * time.Hour)), err
}

// signInNamespace is where sign-in modules are registered.
const signInNamespace = "access_tokens.sign_in"

func parseSignIn(d *caddyfile.Dispenser) (module caddyfile.Unmarshaler, raw json.RawMessage, err error) {
	if !d.NextArg() {
		return nil, nil, d.Errf("sign_in takes a kind; write `sign_in <kind> …`; there are: %s", signInKinds())
	}
	kind := d.Val()
	if _, err := caddy.GetModule(signInNamespace + "." + kind); err != nil {
		return nil, nil, d.Errf("%q is no sign-in; there are: %s", kind, signInKinds())
	}
	if module, err = caddyfile.UnmarshalModule(d, signInNamespace+"."+kind); err != nil {
		return nil, nil, err
	}
	return module, caddyconfig.JSONModuleObject(module, "type", kind, nil), nil
}

func signInKinds() string {
	var kinds []string
	for _, m := range caddy.GetModules(signInNamespace) {
		kinds = append(kinds, m.ID.Name())
	}
	return strings.Join(kinds, ", ")
}

func parseIdentity(d *caddyfile.Dispenser) (map[string]string, error) {
	if d.NextArg() {
		return nil, d.Errf("identity takes no arguments; write each header into its block, in a line `<header> <value>`")
	}
	headers := make(map[string]string)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		value, err := grammar.OneArg(d, "<value, for example {http.auth.user.id}>")
		if err != nil {
			return nil, err
		}
		if headers[name] != "" {
			return nil, d.Errf("identity: %s is written twice; write it once", name)
		}
		headers[name] = value
		if err := config.CheckIdentity(headers); err != nil {
			return nil, grammar.At(d, err)
		}
	}
	if len(headers) == 0 {
		return nil, d.Errf("identity: name at least one header, in a block with a line `<header> <value>` each; without identity the default headers are set")
	}
	return headers, nil
}
