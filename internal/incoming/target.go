package incoming

import (
	"errors"
	"fmt"
	"net/http"
)

var (
	// ErrTarget means that the request target is of a form that the API behind
	// could read otherwise than Caddy does.
	ErrTarget = errors.New("the request target is no path")
	// ErrConnect is the [ErrTarget] of a CONNECT that would make a tunnel to
	// wherever the client likes.
	ErrConnect = fmt.Errorf("%w: CONNECT", ErrTarget)
)

// checkTarget says whether r asks for something at the API behind, and for
// nothing else.
//
// Caddy's reverse proxy sends an opaque target on as it is: x:http://h/p would
// choose path and host at the API behind. A target with user name and password
// (RFC 9110 section 4.2.4) would tell them to everybody. And CONNECT names a
// host instead of a path (RFC 9110 section 9.3.6), unless it is the extended
// one.
func checkTarget(r *http.Request) error {
	switch {
	case r.URL.Opaque != "" || r.URL.User != nil:
		return ErrTarget
	case r.Method == http.MethodConnect && !connectsWebSocket(r):
		return ErrConnect
	}
	return nil
}

// connectsWebSocket tells whether a CONNECT is the extended one that opens a
// WebSocket, over HTTP/2 (RFC 8441) or HTTP/3 (RFC 9220), as Caddy's reverse proxy
// recognises it: it makes an upgrade of it. Their servers tell :protocol in
// different places.
func connectsWebSocket(r *http.Request) bool {
	switch r.ProtoMajor {
	case 2:
		protocols := r.Header[":protocol"]
		return len(protocols) == 1 && protocols[0] == "websocket"
	case 3:
		return r.Proto == "websocket"
	}
	return false
}
