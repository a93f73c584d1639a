package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// A next names a place of the page to go to after signing in, and behind a
// colon what it is about: ids of tokens, or a user's. "" is the list.

// nextAbout is the next of a place about a token or a user.
func nextAbout(place, id string) string { return parseNext(place + ":" + id) }

// nextOf is the next of a request for rest.
func (v *visit) nextOf(rest string) string {
	asked := v.asked()
	switch place := strings.TrimPrefix(rest, "/"); place {
	case "":
		if asked.Get("user") == registry.Everyone {
			return "everyone"
		}
		return nextAbout("user", asked.Get("user"))
	case "token", "delete":
		return nextAbout(place, strings.Join(asked["id"], " "))
	case "generate":
		if asked.Has("renews") {
			return nextAbout("renew", asked.Get("renews"))
		}
		return place
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

// asked are the parameters of a request: its query's, or its form's.
func (v *visit) asked() url.Values {
	if v.r.Method == http.MethodPost {
		return v.r.PostForm
	}
	return v.r.URL.Query()
}

// cameFrom is the list that led to a document, as it was, and that a form in it
// leads back to. Whatever a request says, it is a list of the page's.
func (v *visit) cameFrom() view { return parseView(v.asked().Get("from")) }

// backTo is the list of a user's tokens: as it was, if that is where one came
// from.
func (v *visit) backTo(user string) view {
	if from := v.cameFrom(); from.User == user {
		return from
	}
	return viewOf(user)
}

// parseNext returns next if it names a place, or else "", the list.
func parseNext(next string) string {
	place, id, about := strings.Cut(next, ":")
	known := false
	switch {
	case !about:
		known = slices.Contains([]string{"generate", "settings", "everyone", "blocked", "delete-all"}, place)
	case place == "delete":
		ids, ok := parseIDs([]string{id})
		known = ok && joinIDs(ids) == id
	case place == "token" || place == "renew":
		_, known = parseID(id)
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
	case place == "token" || place == "delete":
		return "/" + place + "?id=" + url.QueryEscape(id)
	case place == "renew":
		return "/generate?renews=" + id
	case about:
		return "/" + place + "?user=" + url.QueryEscape(id)
	}
	return "/" + place
}
