package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// A next names a place of the page to go to after signing in, and behind a
// colon what is to be done there: a token's id, or a user's. "" is the list.

// nextAbout is the next of a place about a token or a user.
func nextAbout(place, id string) string { return parseNext(place + ":" + id) }

// nextOf is the next of a request for rest.
func (v *visit) nextOf(rest string) string {
	asked := v.r.URL.Query()
	if v.r.Method == http.MethodPost {
		asked = v.r.PostForm
	}
	switch place := strings.TrimPrefix(rest, "/"); place {
	case "":
		if asked.Get("user") == registry.Everyone {
			return "everyone"
		}
		return nextAbout("user", asked.Get("user"))
	case "delete":
		return nextAbout(place, asked.Get("id"))
	case "block":
		return nextAbout(place, asked.Get("user"))
	case "delete-all":
		if asked.Has("user") {
			return nextAbout(place, asked.Get("user"))
		}
		return place
	case "unblock":
		return "blocked"
	default:
		return parseNext(place)
	}
}

// parseNext returns next if it names a place, or else "", the list.
func parseNext(next string) string {
	place, id, about := strings.Cut(next, ":")
	known := false
	switch {
	case !about:
		known = slices.Contains([]string{"generate", "settings", "everyone", "blocked", "delete-all"}, place)
	case place == "delete":
		parsed, err := uuid.Parse(id)
		known = err == nil && parsed.String() == id
	case place == "user" || place == "block" || place == "delete-all":
		known = registry.CheckUserID(id) == nil
	}
	if !known {
		return ""
	}
	return next
}

// pathOf returns where a next is, below the page's path.
func pathOf(next string) string {
	place, id, about := strings.Cut(next, ":")
	switch {
	case next == "":
		return ""
	case next == "everyone":
		return "?user=*"
	case place == "user":
		return userQuery(id)
	case place == "delete":
		return "/delete?id=" + id
	case about:
		return "/" + place + "?user=" + url.QueryEscape(id)
	}
	return "/" + place
}
