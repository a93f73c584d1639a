package caddymodule

import (
	"errors"
	"fmt"
	"io"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
)

// BackupOf implements admin.Backups.
func (a *App) BackupOf(asked admin.BackupRequest) (o backup.Options, err error) {
	if a.registry.Load() == nil {
		return o, errOpening
	}
	o.Time = a.opened.store.Clock().Now()
	var recipients []string
	if asked.Recipients != nil {
		recipients = *asked.Recipients
	}
	if o.Recipients, err = backup.ParseRecipients(recipients); err != nil {
		return o, err
	}
	if !asked.WithKey {
		return o, nil
	}
	if len(o.Recipients) == 0 {
		return o, backup.ErrKeyWithoutRecipients
	}
	o.Keys, err = a.keyTexts()
	return o, err
}

// Backup implements admin.Backups.
func (a *App) Backup(to io.Writer, o backup.Options) (backup.Summary, error) {
	return a.opened.backUp(to, o)
}

func (s *openStore) backUp(to io.Writer, o backup.Options) (backup.Summary, error) {
	snapshot, err := s.store.Snapshot()
	if err != nil {
		return backup.Summary{}, err
	}
	defer snapshot.Close()
	return backup.Write(to, snapshot, o)
}

// keyTexts are the secrets of all keys in use, the first for new tokens. They are
// read again where they lie, since nothing else needs them.
func (a *App) keyTexts() (texts []string, err error) {
	if a.HashKey == "" {
		text, err := a.opened.store.OwnKeyText()
		if err != nil {
			return nil, err
		}
		texts = []string{text}
	}
	for _, source := range append([]string{a.HashKey}, a.PreviousHashKeys...) {
		if source == "" {
			continue
		}
		text, err := caddyvalue.Expand(source)
		if err != nil {
			return nil, fmt.Errorf("hash_key: %w", err)
		}
		texts = append(texts, text)
	}
	for i, key := range a.keys {
		if found, err := token.NewKey(texts[min(i, len(texts)-1)]); err != nil || len(texts) != len(a.keys) || found.ID() != key.ID() {
			return nil, errors.New("hash_key: where it is given there is another key by now than the one in use; put that back, or reload the configuration")
		}
	}
	return texts, nil
}
