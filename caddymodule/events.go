package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/events"
)

// eventsOf is Caddy's events app of one configuration.
type eventsOf struct {
	*caddyevents.App
	ctx caddy.Context // of the app "access_tokens", where events come from
}

// Emit implements events.Events.
func (e eventsOf) Emit(name string, data map[string]any) { e.App.Emit(e.ctx, name, data) }

// currentEvents returns the events app of the configuration that runs. Those of one
// that is still being started can't be used yet.
func currentEvents() events.Events {
	if app := running(); app != nil {
		return app.events
	}
	return nil
}

// running returns the app of the configuration that runs, nil if it has none.
func running() *App {
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	if err != nil {
		return nil
	}
	return app.(*App)
}

// degraded says in a word why not everything works.
func (s *openStore) degraded() string {
	switch {
	case s.store.Failure() != nil:
		return "stopped"
	case !s.store.Writable():
		return "not_writable"
	case s.audit.Ready() != nil:
		return "audit_not_writable"
	}
	return ""
}

// Interface guard
var _ events.Events = eventsOf{}
