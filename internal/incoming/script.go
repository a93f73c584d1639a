package incoming

import "net/http"

// ByScript tells whether a browser says that a page's script has sent a request,
// and nobody who navigates (Fetch Metadata Request Headers, Sec-Fetch-Mode).
// Scripts can't leave that out or change it; programs don't send it. Whatever
// isn't exactly a navigation counts as a script's.
func ByScript(h http.Header) bool {
	modes := h["Sec-Fetch-Mode"]
	return len(modes) > 0 && !(len(modes) == 1 && modes[0] == "navigate")
}

// ByBrowser tells whether a browser says that it has sent a request: with
// Sec-Fetch-Mode, or where that is missing, as in Chromium's handshakes of WebSockets,
// with the Origin that browsers send there (RFC 6455 section 4.1).
func ByBrowser(h http.Header) bool {
	return h["Sec-Fetch-Mode"] != nil || h["Sec-Websocket-Version"] != nil && h["Origin"] != nil
}

var crossOrigin = http.NewCrossOriginProtection()

// CrossOrigin tells whether a browser sends a changing request for another
// origin's page. Programs, which send neither Origin nor Sec-Fetch-Site, are not
// concerned.
func CrossOrigin(r *http.Request) bool { return crossOrigin.Check(r) != nil }

// Replayable tells whether a request came in TLS early data, which others may
// have recorded and sent again (RFC 8470).
func Replayable(r *http.Request) bool { return r.TLS != nil && !r.TLS.HandshakeComplete }
