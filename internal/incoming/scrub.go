package incoming

import (
	"net/http"
	"slices"
	"strings"
)

// Scrub removes what no client may send from r, in place: protected headers in
// every spelling; protected names in Connection, by which a client would make a
// proxy delete the header that [Set] put there (RFC 9110 section 7.6.1); and
// trailers, those announced now and those that arrive at the body's end.
// An Upgrade to anything but a WebSocket goes too: in a connection that has
// become h2c, or whatever else carries requests, nobody would look at the
// headers of those that follow (RFC 7540 section 3.2).
// Where trailers can arrive, r.Body becomes a wrapper that neither buffers nor
// reads ahead.
func (rules *Rules) Scrub(r *http.Request) {
	for key := range r.Header {
		switch {
		case rules.protects(key):
			delete(r.Header, key)
		case folds(key, "upgrade") && !isWebSocket(r.Header[key]), folds(key, "http2-settings"):
			delete(r.Header, key)
		case folds(key, "connection"):
			scrubList(r.Header, key, rules.protects)
		case folds(key, "trailer"):
			scrubList(r.Header, key, rules.refusesTrailer)
		}
	}
	rules.scrubTrailer(r.Trailer)
	rules.guardTrailer(r)
}

// isWebSocket tells whether an Upgrade field asks for that and nothing else
// (RFC 6455 section 4.1).
func isWebSocket(lines []string) bool {
	return len(lines) == 1 && strings.EqualFold(strings.TrimSpace(lines[0]), "websocket")
}

// scrubList removes the refused names from the comma-separated lists (RFC 9110
// section 5.6.1) under key. Lines without one stay as they are, others are
// written anew, and those with nothing left are dropped.
func scrubList(header http.Header, key string, refused func(string) bool) {
	lines := header[key]
	if !slices.ContainsFunc(lines, func(line string) bool { return listHas(line, refused) }) {
		return
	}
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		if !listHas(line, refused) {
			kept = append(kept, line)
			continue
		}
		if line = listWithout(line, refused); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(header, key)
		return
	}
	header[key] = kept
}

func listHas(line string, refused func(string) bool) bool {
	for more := true; more; {
		var element string
		element, line, more = strings.Cut(line, ",")
		if refused(strings.TrimSpace(element)) {
			return true
		}
	}
	return false
}

func listWithout(line string, refused func(string) bool) string {
	var kept []string
	for element := range strings.SplitSeq(line, ",") {
		if element = strings.TrimSpace(element); element != "" && !refused(element) {
			kept = append(kept, element)
		}
	}
	return strings.Join(kept, ", ")
}
