package tokenapi

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// parseListing reads the list's parameters. Others are passed over. Even with
// an error, User is what the query says, so that rights can be looked at first.
func parseListing(rawQuery string) (l registry.Listing, err error) {
	q, err := parseQuery(rawQuery)
	if err != nil {
		return l, err
	}
	if q.Has("user") {
		if l.User = q.Get("user"); l.User == "" {
			// Nobody's id, but administration is asked for.
			l.User = registry.Everyone
			err = invalid("user must be a user's id, or * for everyone's tokens.")
		}
	}
	if one := checkOnce(q, "user", "limit", "offset", "includeCount", "sort", "state", "unusedFor", "after"); one != nil {
		return l, one
	}
	if err != nil {
		return l, err
	}
	longest := int64(1<<31 - 1)
	if l.User != "" {
		longest = registry.MaxPage
	}
	if l.Limit, err = parseNumber(q, "limit", 1, longest); err != nil {
		return l, err
	}
	if l.Offset, err = parseNumber(q, "offset", 0, 1<<31-1); err != nil {
		return l, err
	}
	if l.Count, err = parseBool(q, "includeCount"); err != nil {
		return l, err
	}
	if err := parseOrder(q, &l); err != nil {
		return l, err
	}
	switch state := q.Get("state"); {
	case !q.Has("state"):
	case state == "active":
		l.State = registry.Active
	case state == "expired":
		l.State = registry.Expired
	default:
		return l, invalid("state must be active or expired.")
	}
	days, err := parseNumber(q, "unusedFor", 1, registry.MaxLifetimeDays)
	if err != nil {
		return l, err
	}
	l.UnusedFor = time.Duration(days) * 24 * time.Hour
	if q.Has("after") {
		if l.After, err = uuid.Parse(q.Get("after")); err != nil || l.After == uuid.Nil {
			return l, invalid("after must be the id of a token of the list.")
		}
	}
	return l, nil
}

// orders are what a list can be sorted by; a - in front reverses it.
var orders = map[string]registry.Order{"createdAt": registry.ByCreation, "expiredAt": registry.ByExpiry, "lastUsed": registry.ByLastUse}

func parseOrder(q url.Values, l *registry.Listing) error {
	if !q.Has("sort") {
		return nil
	}
	name, descending := strings.CutPrefix(q.Get("sort"), "-")
	order, known := orders[name]
	if !known {
		return invalid("sort must be createdAt, expiredAt or lastUsed, with - in front for the reverse.")
	}
	l.Order, l.Descending = order, descending
	return nil
}

// parseUser reads whose tokens, or who, is meant.
func parseUser(rawQuery string) (string, error) {
	q, err := parseQuery(rawQuery)
	if err != nil {
		return "", err
	}
	if err := checkOnce(q, "user"); err != nil {
		return "", err
	}
	user := q.Get("user")
	if user == "" || user == registry.Everyone {
		return "", invalid("user must be one user's id, as in ?user=bob.")
	}
	return user, nil
}

func parseSuccessors(rawQuery string) (bool, error) {
	q, err := parseQuery(rawQuery)
	if err != nil {
		return false, err
	}
	if err := checkOnce(q, "successors"); err != nil {
		return false, err
	}
	return parseBool(q, "successors")
}

func parseQuery(rawQuery string) (url.Values, error) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, invalid("The query is malformed: separate parameters by & and encode special characters by %%XX.")
	}
	return q, nil
}

func checkOnce(q url.Values, names ...string) error {
	for _, name := range names {
		if len(q[name]) > 1 {
			return invalid("%s must be given once.", name)
		}
	}
	return nil
}

// parseNumber returns 0 for a parameter that isn't there.
func parseNumber(q url.Values, name string, least, most int64) (int, error) {
	if !q.Has(name) {
		return 0, nil
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 31)
	if err != nil || int64(n) < least || int64(n) > most {
		return 0, invalid("%s must be a whole number from %d to %d.", name, least, most)
	}
	return int(n), nil
}

func parseBool(q url.Values, name string) (bool, error) {
	switch value := q.Get(name); {
	case !q.Has(name), value == "false":
		return false, nil
	case value == "true":
		return true, nil
	}
	return false, invalid("%s must be true or false.", name)
}
