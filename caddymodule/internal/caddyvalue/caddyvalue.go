// Package caddyvalue reads what Caddy knows: values of placeholders, and of a
// request's variables.
package caddyvalue

import (
	"fmt"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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
