package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
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

// checkKeys refuses keys that the open store can't go on with.
func (a *App) checkKeys() error {
	if len(a.keys) == 0 {
		own, err := a.opened.store.OwnKey()
		if err != nil {
			return fmt.Errorf("hash_key isn't given: %w", err)
		}
		a.keys = []*token.Key{own}
	}
	if err := a.opened.store.CheckKeys(a.keys, a.opened.store.Clock().Certain()); err != nil {
		return fmt.Errorf("hash_key: %w", err)
	}
	return nil
}

// noteKeys makes durable that the store's keys are about to be this
// configuration's. That can fail, and what follows can't.
func (a *App) noteKeys() error {
	if err := a.opened.store.NoteKeys(context.Background(), a.keys); err != nil {
		return fmt.Errorf("hash_key: noting the keys in the token store: %w", err)
	}
	return nil
}

// useKeys puts a configuration's keys in force.
func (s *openStore) useKeys(keys []*token.Key) {
	before, now := s.store.Key().ID(), keys[0].ID()
	s.registry.UseKeys(keys)
	if before != now {
		s.logger.Info("new tokens are hashed under another key", zap.Stringer("key", now), zap.Stringer("before", before))
	}
}
