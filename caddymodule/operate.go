package caddymodule

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/auditfile"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/census"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/refusals"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// What the admin endpoint asks of the app. All but Operator is asked after that.

// Operator implements admin.App.
func (a *App) Operator(from registry.Origin) (*registry.Operator, error) {
	tokens := a.registry.Load()
	if tokens == nil {
		return nil, errOpening
	}
	return tokens.Operator(from), nil
}

// Refusals implements admin.App.
func (a *App) Refusals(id uuid.UUID) []refusals.Refusal { return a.opened.refusals.Of(id) }

// Ended implements admin.App. It looks into the audit file that is written now.
func (a *App) Ended(t *registry.Token) (by *registry.Event) {
	if a.auditFile == "" || !t.IsRevoked() {
		return nil
	}
	err := auditfile.Around(a.auditFile, t.Revoked, func(text []byte) bool {
		var e registry.Event
		if json.Unmarshal(text, &e) == nil && e.Ended(&t.Record) {
			by = &e
		}
		return by == nil
	})
	if err != nil {
		a.logger.Warn("looking into the audit file for who has deleted a token", zap.Error(err))
	}
	return by
}

// Count implements admin.App.
func (a *App) Count(ctx context.Context, project string) (census.Count, error) {
	return a.opened.census.Count(ctx, project)
}

// Stats implements admin.App.
func (a *App) Stats() (admin.Stats, error) {
	s := a.opened.store
	use, err := s.KeyUse(s.Clock().Now())
	if err != nil {
		return admin.Stats{}, err
	}
	free, err := s.Free()
	if err != nil {
		free = -1
	}
	at := s.Position()
	told := admin.Stats{
		Dir: a.dir, Epoch: at.Epoch, Revision: at.Revision, SizeBytes: s.Size(), FreeBytes: free, Writable: s.Writable(),
		AuditFile: a.auditFile, Keys: admin.KeysInUse(idsOf(s.Keys()), use),
	}
	if err := a.opened.audit.Ready(); err != nil {
		told.AuditFailing = err.Error()
	}
	return told, nil
}
