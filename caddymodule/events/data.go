package events

import (
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// dataOf is what an event says of a token: neither its value nor a hash.
func dataOf(n *registry.Notice, r *store.Record) map[string]any {
	data := map[string]any{
		"project": r.Project, "token_id": r.ID.String(), "user": r.User.ID, "description": r.Description,
		"created": registry.Time{Time: r.Created}.String(),
	}
	setText(data, "user_email", r.User.Email)
	setText(data, "user_name", r.User.Name)
	setID(data, "parent_id", r.Parent)
	if at, expires := r.Expires(); expires {
		data["expires"] = registry.Time{Time: at}.String()
	}
	if n.Kind == registry.TokenDeleted && r.IsRevoked() {
		data["deleted"] = registry.Time{Time: r.Revoked}.String()
	}
	if n.Kind == registry.TokenExpiring {
		data["days"] = int(n.Before / (24 * time.Hour))
	}
	if n.Actor != nil {
		actor := map[string]any{"by": n.Actor.By}
		setText(actor, "user", n.Actor.User)
		setID(actor, "token_id", n.Actor.TokenID)
		data["actor"] = actor
	}
	return data
}

func setText(data map[string]any, name, text string) {
	if text != "" {
		data[name] = text
	}
}

func setID(data map[string]any, name string, id uuid.UUID) {
	if id != uuid.Nil {
		data[name] = id.String()
	}
}
