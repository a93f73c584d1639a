package caddymodule

import (
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/metrics"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/census"
)

// What metrics look at.

// Size implements metrics.Store.
func (s *openStore) Size() int64 { return s.store.Size() }

// Free implements metrics.Store.
func (s *openStore) Free() (int64, error) { return s.store.Free() }

// Writable implements metrics.Store.
func (s *openStore) Writable() bool { return s.store.Writable() }

// FlushAge implements metrics.Store.
func (s *openStore) FlushAge() time.Duration { return s.registry.FlushAge() }

// Tokens implements metrics.Store.
func (s *openStore) Tokens() map[string]census.Count { return s.census.Counts() }

// OpenStreams implements metrics.Store.
func (s *openStore) OpenStreams() map[string]int { return s.streams.Counts() }

// AuditFailures implements metrics.Store.
func (s *openStore) AuditFailures() uint64 { return s.audit.file.Failures() }

// Interface guard
var _ metrics.Store = (*openStore)(nil)
