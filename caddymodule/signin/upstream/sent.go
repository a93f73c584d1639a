package upstream

import (
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// traced returns r so that notSent can tell from an error of its round trip that
// nothing of r has left: there was no connection to send it by. Where that isn't
// certain, as with a transport that tells nothing, it says that r was sent.
func traced(r *http.Request) (traced *http.Request, notSent func(error) bool) {
	var connecting, connected atomic.Bool
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { connecting.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}
	notSent = func(err error) bool {
		var dialing reverseproxy.DialError
		return !connected.Load() && (connecting.Load() || errors.As(err, &dialing))
	}
	return r.WithContext(httptrace.WithClientTrace(r.Context(), trace)), notSent
}
