package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/metrics"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/auditfile"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// auditor writes each change to Caddy's log and, if there is one, to a file.
type auditor struct {
	logger *zap.Logger
	file   *auditfile.Writer
}

// Ready implements registry.Auditor.
func (a auditor) Ready() error { return a.file.Ready() }

// Lines implements registry.Auditor.
func (a auditor) Lines(events []registry.Event) (lines [][]byte) {
	if !a.file.Wanted() {
		return nil
	}
	for _, e := range events {
		lines = append(lines, e.Text())
	}
	return lines
}

// Changed implements registry.Auditor.
func (a auditor) Changed(events []registry.Event) error {
	for _, e := range events {
		metrics.Changed(e.Project, e.Kind)
		if c := a.logger.Check(zap.InfoLevel, e.Kind); c != nil {
			c.Write(auditFields(&e)...)
		}
	}
	return a.file.Await(events[0].Position)
}

// auditFields are those of an event's text, whose one form is in the registry.
func auditFields(e *registry.Event) []zap.Field {
	fields := []zap.Field{zap.Uint64("epoch", e.Epoch), zap.Uint64("revision", e.Revision)}
	text := json.NewDecoder(bytes.NewReader(e.Text()))
	_, _ = text.Token() // {
	for text.More() {
		name, err := text.Token()
		var value any
		if err == nil {
			err = text.Decode(&value)
		}
		if err != nil {
			panic(err) // it was encoded a moment ago
		}
		fields = append(fields, zap.Any(name.(string), value))
	}
	return fields
}

// tellRestored writes to the log that the store was restored, which nobody could do
// when it was: its line is in the outbox. It stays there for an audit file; where there
// has never been one, it has gone where all lines go.
func (a auditor) tellRestored(s store.Store, hasFile bool) error {
	lines, err := s.Outbox(store.LinePlace{})
	if err != nil {
		return err
	}
	receipt, err := s.Receipt()
	if err != nil {
		return err
	}
	for _, line := range lines {
		e := registry.Event{Position: line.Position}
		if json.Unmarshal(line.Text, &e) != nil || e.Kind != registry.Restored {
			continue
		}
		if c := a.logger.Check(zap.InfoLevel, e.Kind); c != nil {
			c.Write(auditFields(&e)...)
		}
		if hasFile || receipt != nil {
			continue
		}
		if _, err := s.Commit(context.Background(), store.Delivered{Lines: []store.LinePlace{line.LinePlace}}); err != nil {
			return err
		}
	}
	return nil
}
