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
