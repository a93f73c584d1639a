package upstream

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
)

// checkHeader says why a header of that name can't be part of the question: it is
// the connection's, the credentials', or makes the answer another one than JSON of
// a whole.
func checkHeader(name string) error {
	if err := incoming.ValidHeaderName(name); err != nil {
		return err
	}
	folded := incoming.Fold(name)
	for _, other := range []string{"accept-encoding", "expect", "range"} {
		if folded == other {
			return fmt.Errorf("header %q: use another name, because the answer has to be plain JSON", name)
		}
	}
	if strings.HasPrefix(folded, "content-") {
		return fmt.Errorf("header %q: use another name, because the question has no content", name)
	}
	return nil
}

// provisionHeader returns the further headers with their placeholders replaced.
func (u *SignIn) provisionHeader() (http.Header, error) {
	header := make(http.Header, len(u.Headers))
	written := make(map[string]bool, len(u.Headers))
	for _, name := range slices.Sorted(maps.Keys(u.Headers)) {
		value, err := caddyvalue.Expand(u.Headers[name])
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		if written[incoming.Fold(name)] {
			return nil, fmt.Errorf("header %s is written twice; write it once", name)
		}
		written[incoming.Fold(name)] = true
		if err := incoming.Set(header, name, value); err != nil {
			return nil, err
		}
	}
	return header, nil
}

// parseSocket reads the address of a Unix socket as Caddy has it.
func parseSocket(text string) (*reverseproxy.DialInfo, error) {
	address, err := caddy.ParseNetworkAddress(text)
	if err != nil || address.Network != "unix" || address.Host == "" {
		return nil, fmt.Errorf("dial: %q is no Unix socket; write one as unix//run/api.sock, and other addresses into the URL", text)
	}
	return &reverseproxy.DialInfo{Network: address.Network, Address: address.Host, Host: address.Host}, nil
}
