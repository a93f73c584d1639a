package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// provisionKeys reads the keys that the configuration gives, each once.
func (a *App) provisionKeys() error {
	if a.HashKey == "" {
		return nil
	}
	if err := a.addKey(a.HashKey); err != nil {
		return fmt.Errorf("hash_key: %w", err)
	}
	for i, text := range a.PreviousHashKeys {
		if err := a.addKey(text); err != nil {
			return fmt.Errorf("hash_key, previous key %d: %w", i+1, err)
		}
	}
	return nil
}

var errSameKey = errors.New("the same key is given twice; give each key once")

func (a *App) addKey(text string) error {
	text, err := caddyvalue.Expand(text)
	if err != nil {
		return err
	}
	key, err := token.NewKey(text)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(a.keys, func(other *token.Key) bool { return other.ID() == key.ID() }) {
		return errSameKey
	}
	a.keys = append(a.keys, key)
	return nil
}

// keysFor are the keys that a configuration gives, or the store's own.
func (s *openStore) keysFor(a *App) ([]*token.Key, error) {
	if len(a.keys) > 0 {
		return a.keys, nil
	}
	own, err := s.store.OwnKeys()
	if err != nil {
		return nil, fmt.Errorf("hash_key isn't given: %w", err)
	}
	return own, nil
}

// checkKeys refuses keys that the open store can't go on with.
func (s *openStore) checkKeys(a *App) error {
	keys, err := s.keysFor(a)
	if err != nil {
		return err
	}
	if err := s.store.CheckKeys(keys, s.store.Clock().Certain()); err != nil {
		return fmt.Errorf("hash_key: %w", err)
	}
	return nil
}

// noteKeys makes durable that the store's keys are about to be this
// configuration's. That can fail, and what follows can't. They are checked again:
// the store's own may have changed since, and from here on don't.
func (s *openStore) noteKeys(a *App) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkKeys(a); err != nil {
		return err
	}
	keys, err := s.keysFor(a)
	if err == nil {
		err = s.store.NoteKeys(context.Background(), keys)
	}
	if err != nil {
		return fmt.Errorf("hash_key: noting the keys in the token store: %w", err)
	}
	s.noted = a
	return nil
}

// useKeys puts a configuration's keys in force, which have been noted. It can't
// fail: where the store can't say so any more, they are in force all the same.
func (s *openStore) useKeys(a *App) {
	keys, err := s.keysFor(a)
	if err != nil {
		return // They are its own, which it has in memory once they are in force.
	}
	if slices.Equal(idsOf(keys), idsOf(s.store.Keys())) {
		return
	}
	if !s.tellKeys(keys) {
		s.registry.UseKeys(keys)
	}
}

// tellKeys is rotate, for keys that come from the configuration.
func (s *openStore) tellKeys(keys []*token.Key) bool {
	err := s.rotate(context.Background(), registry.Origin{}, keys)
	if err != nil {
		s.logger.Error("what hash keys are in force now isn't written to the audit", zap.Error(err))
	}
	return err == nil
}

// rotate puts keys in force and says so.
func (s *openStore) rotate(ctx context.Context, from registry.Origin, keys []*token.Key) error {
	before := s.store.Key().ID()
	if err := s.registry.Operator(from).RotateKeys(ctx, keys); err != nil {
		return err
	}
	if now := keys[0].ID(); before != now {
		s.logger.Info("new tokens are hashed under another key", zap.Stringer("key", now), zap.Stringer("before", before))
	}
	return nil
}

// NextKey implements admin.App. The files come first: wherever this is cut short,
// the next try or the next start goes on with them.
func (a *App) NextKey(ctx context.Context, from registry.Origin, dryRun bool) ([]token.KeyID, error) {
	s := a.opened
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keyIsGiven() {
		return nil, admin.ErrKeyGiven
	}
	if dryRun {
		return idsOf(s.store.Keys()), nil
	}
	keys, err := s.store.NextOwnKey()
	if err == nil {
		err = s.rotate(ctx, from, keys)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: making the next hash key: %w", store.ErrUnavailable, err)
	}
	return idsOf(keys), nil
}

// FinishKeys implements admin.App.
func (a *App) FinishKeys(ctx context.Context, from registry.Origin) (ended int, err error) {
	s := a.opened
	if ended, err = s.registry.Operator(from).EndUnderOtherKeys(ctx); err != nil {
		return ended, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keyIsGiven() || len(s.store.Keys()) == 1 {
		return ended, nil
	}
	first := s.store.Keys()[:1]
	if err := s.store.CheckKeys(first, s.store.Clock().Certain()); err != nil {
		return ended, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err := s.rotate(ctx, from, first); err != nil {
		return ended, err
	}
	return ended, s.store.ForgetPreviousOwnKeys()
}

// keyIsGiven tells whether the hash keys are the configuration's, or are about to
// be.
func (s *openStore) keyIsGiven() bool {
	given := func(a *App) bool { return len(a.keys) > 0 }
	return slices.ContainsFunc(s.enforced, given) || s.noted != nil && given(s.noted)
}

func idsOf(keys []*token.Key) []token.KeyID {
	ids := make([]token.KeyID, len(keys))
	for i, key := range keys {
		ids[i] = key.ID()
	}
	return ids
}
