package caddymodule

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// knowsAddress tells whether it is certain that the client's address is the one that
// Caddy takes it for. A token that is limited to addresses is refused where it isn't.
func (h *Handler) knowsAddress(r *http.Request, record *store.Record) bool {
	what := uncertainAddress(r)
	if c := h.logger.Check(zap.WarnLevel, "a token that is limited to addresses is refused, since the client's address isn't certain: "+what); c != nil && what != "" {
		c.Write(zap.String("project", h.Project), zap.Stringer("token_id", record.ID))
	}
	return what == ""
}

// uncertainAddress says what to set where a proxy that is trusted doesn't say the
// client's address, or where whoever is the client could have chosen it; "" where it
// is certain.
func uncertainAddress(r *http.Request) string {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return ""
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		return "there is no server"
	}
	names := server.ClientIPHeaders
	if len(names) == 0 {
		names = []string{"X-Forwarded-For"}
	}
	var lines []string
	for _, name := range names {
		lines = append(lines, r.Header.Values(name)...)
	}
	said := addressesIn(lines)
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	switch header := strings.Join(names, " or "); {
	case len(said) > 1 && server.TrustedProxiesStrict == 0:
		return header + " holds more than one address, of which the first may be the client's own word; write trusted_proxies_strict, or let the proxy in front overwrite that header"
	case len(said) == 0, caddyvalue.ClientAddress(r) == remote.Addr().WithZone(""):
		return "the proxy in front, which trusted_proxies names, doesn't say it; let that set " + header
	}
	return ""
}

// addressesIn returns what is an address in lists of them, with or without a port.
func addressesIn(lines []string) (all []netip.Addr) {
	for element := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		element = strings.TrimSpace(element)
		if address, err := netip.ParseAddr(element); err == nil {
			all = append(all, address)
		} else if withPort, err := netip.ParseAddrPort(element); err == nil {
			all = append(all, withPort.Addr())
		}
	}
	return all
}
