package registry

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// MaxAddresses is how many addresses and networks a token can be limited to.
const MaxAddresses = 16

// limit works out what a new token is limited to: what is wished for, which
// can only narrow what the caller's token is limited to, or else the same. It
// fails with ErrInvalid or ErrForbidden.
func (w *Wish) limit(c Caller) error {
	if w.Replace && c.Token == nil {
		return refuse(ErrInvalid, "replace goes with a token, which the new one replaces: sign-ins have none.")
	}
	if err := w.checkScopes(); err != nil {
		return err
	}
	if len(w.Addresses) > MaxAddresses {
		return refuse(ErrInvalid, "addresses can be at most %d.", MaxAddresses)
	}
	if c.Token == nil {
		return nil
	}
	if w.Scopes == nil {
		w.Scopes = c.Token.Scopes
	}
	if w.Addresses == nil {
		w.Addresses = c.Token.Addresses
	}
	for _, name := range w.Scopes {
		if c.Token.Scopes != nil && !slices.Contains(c.Token.Scopes, name) {
			return refuse(ErrForbidden, "The new token would have the scope %q, which the one it renews hasn't. Sign in to make a token with other scopes.", name)
		}
	}
	for _, inner := range w.Addresses {
		if c.Token.Addresses != nil && !slices.ContainsFunc(c.Token.Addresses, func(outer netip.Prefix) bool { return covers(outer, inner) }) {
			return refuse(ErrForbidden, "The new token could be used from %s, and the one it renews can't. Sign in to make a token for other addresses.", inner)
		}
	}
	return nil
}

func covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

func (w *Wish) checkScopes() error {
	for _, name := range w.Scopes {
		if !slices.Contains(w.SiteScopes, name) {
			if len(w.SiteScopes) == 0 {
				return refuse(ErrInvalid, "scopes can't be given: this site has none.")
			}
			return refuse(ErrInvalid, "scopes must be names of this site's scopes: %s.", strings.Join(w.SiteScopes, ", "))
		}
	}
	return nil
}

// ParseAddress reads an address or a network (CIDR, RFC 4632). An address of
// IPv4 in IPv6's notation (RFC 4291, 2.5.5.2) is one of IPv4, a network without
// the bits behind its length.
func ParseAddress(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, refuse(ErrInvalid, "addresses must be such as 192.0.2.1 or 2001:db8::/32.")
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Addr().Is4In6() && prefix.Bits() < 96 {
		return netip.Prefix{}, refuse(ErrInvalid, "addresses must be such as 192.0.2.1 or 2001:db8::/32.")
	}
	if prefix.Addr().Is4In6() {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// FormatAddresses writes addresses as ParseAddress reads them.
func FormatAddresses(prefixes []netip.Prefix) (texts []string) {
	for _, p := range prefixes {
		if p.IsSingleIP() {
			texts = append(texts, p.Addr().String())
		} else {
			texts = append(texts, p.String())
		}
	}
	return texts
}

// IsLimited tells whether a token may do less than its user.
func IsLimited(r *store.Record) bool { return r.Scopes != nil || r.Addresses != nil }

// allows tells whether a client may use a token. Of a client whose address
// isn't known nothing can be told.
func allows(r *store.Record, client netip.Addr) bool {
	return r.Addresses == nil || slices.ContainsFunc(r.Addresses, func(p netip.Prefix) bool { return p.Contains(client) })
}
