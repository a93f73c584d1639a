// Package caddyvalue reads what Caddy knows: values of placeholders, and of a
// request's variables.
package caddyvalue

import (
	"fmt"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/config"
)

// Expand replaces the placeholders that stand for the configuration's own
// surroundings. An empty or unknown one is an error.
func Expand(text string) (string, error) {
	expanded, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return "", fmt.Errorf("%w; allowed: {env.NAME}, {file./path} and others that have a value before any request", err)
	}
	return expanded, nil
}

// Source returns what a source that config.CheckSource allows is in r, and
// whether each of its placeholders has a value there. A client's certificate says
// nothing before it is verified: anybody can make one.
func Source(r *http.Request, source string) (text string, complete bool) {
	verified := r.TLS != nil && len(r.TLS.VerifiedChains) > 0
	complete = true
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	text, err := repl.ReplaceFunc(source, func(name string, value any) (any, error) {
		if config.OfClientCertificate(name) && !verified {
			value = nil
		}
		if caddy.ToString(value) == "" {
			complete = false
		}
		return value, nil
	})
	return text, complete && err == nil
}

// CheckSource says what is wrong with a source that config.CheckSource allows,
// once its surroundings are known: nothing of them may be empty.
func CheckSource(source string) error {
	_, err := caddy.NewReplacer().ReplaceFunc(source, func(name string, value any) (any, error) {
		if config.OfOwner(name) && caddy.ToString(value) == "" {
			return nil, fmt.Errorf("placeholder {%s} is empty", name)
		}
		return value, nil
	})
	return err
}

// ClientAddress is the client's as Caddy knows it (trusted_proxies), the zero
// address if it has none, as over a Unix socket.
func ClientAddress(r *http.Request) netip.Addr {
	address, err := netip.ParseAddr(ClientIP(r))
	if err != nil {
		return netip.Addr{}
	}
	return address
}

// ClientIP is ClientAddress as Caddy writes it, "" if the client has none.
func ClientIP(r *http.Request) string {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return text
}
