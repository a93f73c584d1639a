package page

import (
	"net/http"
	"strings"
)

// isNavigation tells whether somebody goes to a document, in a window of its
// own, as far as the browser says what a request is for (W3C Fetch Metadata
// Request Headers, sections 2.1 and 2.2): a script's fetch does not, nor does a
// frame, nor what is asked for ahead of time (Sec-Purpose). Programs say nothing,
// and neither do browsers from before 2023, nor any over plain http.
func isNavigation(h http.Header) bool {
	return saysOnly(h, "Sec-Fetch-Mode", "navigate") && saysOnly(h, "Sec-Fetch-Dest", "document") && len(h["Sec-Purpose"]) == 0
}

// saysOnly tells whether a header has no other value, or isn't there at all.
func saysOnly(h http.Header, name, value string) bool {
	for _, said := range h[name] {
		if said != value {
			return false
		}
	}
	return true
}

// isolate parts the document from every window and script that isn't the
// page's own, those of the same origin included.
//
// noopener-allow-popups (HTML, "cross-origin opener policies") is the value
// for that. Firefox doesn't know it, and would take it for none at all. There,
// same-origin together with an embedder policy parts the page from all
// documents but those that have both.
func isolate(h http.Header, userAgent string) {
	if isGecko(userAgent) {
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Embedder-Policy", "require-corp")
		return
	}
	h.Set("Cross-Origin-Opener-Policy", "noopener-allow-popups")
}

// isGecko tells Firefox, and what is built from it, by the User-Agent: others
// say "like Gecko" at most. A script can't choose what a navigation says there.
func isGecko(userAgent string) bool { return strings.Contains(userAgent, "Gecko/") }
