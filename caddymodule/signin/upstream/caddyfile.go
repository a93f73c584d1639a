package upstream

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-access-tokens/caddy-access-tokens/config"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/grammar"
)

// UnmarshalCaddyfile reads:
//
//	upstream <url> {
//	    user_id   <path>
//	    email     <path>
//	    name      <path>
//	    admin     <path>
//	    claim     <name> <path>
//	    require   <path> <value>
//	    basic     on|off
//	    cookies   <name>...
//	    header    <name> <value>
//	    dial      unix/<path>
//	    timeout   <duration>
//	    transport <kind> ...
//	}
//
// claim, require and header can be repeated.
func (u *SignIn) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Errf("sign_in upstream takes the URL of the who-am-I route; write `sign_in upstream <url>`")
	}
	u.URL = args[0]
	if !grammar.HasPlaceholder(u.URL) {
		if _, ok := parseWhoAmI(u.URL); !ok {
			return d.Errf("sign_in upstream: %v", errNoWhoAmI(u.URL))
		}
	}
	path := func(to *string) func(*caddyfile.Dispenser) error {
		return func(d *caddyfile.Dispenser) (err error) {
			*to, err = grammar.OneArg(d, "<path into the answer>")
			return err
		}
	}
	err := grammar.Options{
		"user_id": path(&u.UserID),
		"email":   path(&u.Email),
		"name":    path(&u.Name),
		"admin":   path(&u.Admin),
		"claim":   func(d *caddyfile.Dispenser) error { return grammar.Claim(d, &u.Claims, "<path into the answer>") },
		"require": func(d *caddyfile.Dispenser) error {
			return grammar.Pair(d, &u.Require, "<path into the answer>", "<value>", checkPath)
		},
		"header": func(d *caddyfile.Dispenser) error {
			return grammar.Pair(d, &u.Headers, "<name>", "<value>", checkHeader)
		},
		"dial": func(d *caddyfile.Dispenser) (err error) {
			u.Dial, err = grammar.OneArg(d, "unix//run/api.sock")
			return err
		},
		"basic": func(d *caddyfile.Dispenser) (err error) {
			u.Basic, err = grammar.OnOff(d)
			return err
		},
		"cookies": func(d *caddyfile.Dispenser) (err error) {
			if u.Cookies, err = grammar.SomeArgs(d, "<cookie>…"); err != nil {
				return err
			}
			for _, name := range u.Cookies {
				if err := config.CheckCookie("cookies", name); err != nil {
					return grammar.At(d, err)
				}
			}
			return nil
		},
		"timeout": func(d *caddyfile.Dispenser) error {
			text, err := grammar.OneArg(d, "<duration>")
			if err != nil {
				return err
			}
			duration, err := caddy.ParseDuration(text)
			if err != nil || duration <= 0 {
				return d.Errf("timeout: %q is no duration; write one such as 5s", text)
			}
			u.Timeout = caddy.Duration(duration)
			return nil
		},
		"transport": func(d *caddyfile.Dispenser) error {
			if !d.NextArg() {
				return d.Errf("transport takes a kind; write `transport http { … }`, as in reverse_proxy")
			}
			kind := d.Val()
			module, err := caddyfile.UnmarshalModule(d, "http.reverse_proxy.transport."+kind)
			if err != nil {
				return err
			}
			if _, ok := module.(http.RoundTripper); !ok {
				return d.Errf("transport: %q can't send requests", kind)
			}
			u.TransportRaw = caddyconfig.JSONModuleObject(module, "protocol", kind, nil)
			return nil
		},
	}.Parse(d, "claim", "require", "header")
	if err != nil {
		return err
	}
	if err := u.check(); err != nil {
		return d.Errf("sign_in upstream: %v", err)
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*SignIn)(nil)
