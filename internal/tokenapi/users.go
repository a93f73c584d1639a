package tokenapi

import (
	"context"
	"net/http"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

func (c *call) deleteAll() error {
	user, err := parseUser(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	deleted, err := c.Registry.DeleteAll(c.r.Context(), c.Project, c.caller, user)
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, struct {
		Deleted int `json:"deleted"`
	}{deleted})
	return nil
}

func (c *call) blocked() error {
	users, err := c.Registry.Blocked(c.Project, c.caller)
	if err != nil {
		return err
	}
	type blockedUser struct {
		UserID    string    `json:"userId"`
		BlockedAt timestamp `json:"blockedAt"`
		BlockedBy string    `json:"blockedBy"`
	}
	data := make([]blockedUser, len(users))
	for i, u := range users {
		data[i] = blockedUser{u.User, timestamp(u.At), u.By}
	}
	writeJSON(c.w, http.StatusOK, struct {
		Data []blockedUser `json:"data"`
	}{data})
	return nil
}

func (c *call) block() error   { return c.setBlocked(c.Registry.Block) }
func (c *call) unblock() error { return c.setBlocked(c.Registry.Unblock) }

func (c *call) setBlocked(set func(context.Context, *registry.Project, registry.Caller, string) error) error {
	// Rights come before the query.
	if err := c.Project.MayAdministrate(c.caller); err != nil {
		return err
	}
	user, err := parseUser(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	if err := set(c.r.Context(), c.Project, c.caller, user); err != nil {
		return err
	}
	noStore(c.w.Header())
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
