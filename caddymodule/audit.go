package caddymodule

import (
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/metrics"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// auditLog writes each change to Caddy's log, and counts it.
type auditLog struct{ logger *zap.Logger }

// Changed implements registry.Auditor.
func (l auditLog) Changed(e registry.Event) {
	metrics.Changed(e.Project, e.Kind)
	c := l.logger.Check(zap.InfoLevel, e.Kind)
	if c == nil {
		return
	}
	fields := []zap.Field{
		zap.String("time", timestamp(e.Time)), zap.String("event", e.Kind), zap.Uint64("epoch", e.Epoch), zap.Uint64("revision", e.Revision),
		zap.String("project", e.Project), zap.Any("actor", actorFields(e.Actor)),
	}
	if e.Actor.ClientIP != "" {
		fields = append(fields, zap.String("client_ip", e.Actor.ClientIP))
	}
	if e.Actor.RequestID != "" {
		fields = append(fields, zap.String("request_id", e.Actor.RequestID))
	}
	if e.Token != nil {
		fields = append(fields, tokenFields(e)...)
	}
	if e.Kind == registry.SettingsChanged {
		fields = append(fields, zap.Any("before", e.Before), zap.Any("after", e.After))
	}
	c.Write(fields...)
}

func actorFields(a registry.Actor) map[string]string {
	actor := map[string]string{"user": a.User, "by": a.By}
	if a.TokenID != uuid.Nil {
		actor["token_id"] = a.TokenID.String()
	}
	return actor
}

func tokenFields(e registry.Event) []zap.Field {
	fields := []zap.Field{zap.String("token_id", e.Token.ID.String()), zap.String("user", e.Token.User.ID)}
	if at, ends := e.Token.Expires(); ends {
		fields = append(fields, zap.String("expires", timestamp(at)))
	}
	if e.Token.Parent != (store.Record{}).Parent {
		fields = append(fields, zap.String("parent_id", e.Token.Parent.String()))
	}
	if e.Successors {
		fields = append(fields, zap.Bool("successors", true))
	}
	return fields
}

// timestamp is in UTC with milliseconds (RFC 3339), as the routes write it.
func timestamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }
