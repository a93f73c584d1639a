package incoming

import (
	"net"
	"strings"
)

// IsLoopback tells whether a host, a name or an address without port and
// brackets, is this machine itself (RFC 6761 section 6.3).
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
