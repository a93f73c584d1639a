package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/grammar"
)

// parseBackup reads the option backup.
func parseBackup(d *caddyfile.Dispenser, b *config.Backup) (err error) {
	if b.Dir, err = grammar.OneArgBeforeBlock(d, "<directory>"); err != nil {
		return err
	}
	return grammar.Options{
		"every": func(d *caddyfile.Dispenser) error {
			text, err := grammar.OneArg(d, "<duration>")
			if err != nil {
				return err
			}
			every, err := caddy.ParseDuration(text)
			if err != nil {
				return d.Errf("backup, every: %q is no duration; write one such as 1d or 12h", text)
			}
			b.Every = caddy.Duration(every)
			if err := config.CheckBackupEvery(every); err != nil {
				return d.Errf("backup, every: %v", err)
			}
			return nil
		},
		"keep": func(d *caddyfile.Dispenser) error {
			text, err := grammar.OneArg(d, "<number>")
			if err != nil {
				return err
			}
			if b.Keep, err = strconv.Atoi(text); err != nil {
				return d.Errf("backup, keep: %q is no number of backups; write one such as 14", text)
			}
			if err := config.CheckBackupKeep(b.Keep); err != nil {
				return d.Errf("backup, keep: %v", err)
			}
			return nil
		},
		"recipients": func(d *caddyfile.Dispenser) (err error) {
			if b.Recipients, err = grammar.SomeArgs(d, "<age public key>…"); err != nil {
				return err
			}
			if slices.ContainsFunc(b.Recipients, grammar.HasPlaceholder) {
				return nil
			}
			if _, err := backup.ParseRecipients(b.Recipients); err != nil {
				return d.Errf("backup, recipients: %v", err)
			}
			return nil
		},
	}.Parse(d)
}

// provisionBackup reads the schedule.
func (a *App) provisionBackup() error {
	b := a.Backup
	if b.Dir == "" {
		return nil
	}
	dir, err := caddyvalue.Expand(b.Dir)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	a.schedule = &backup.Schedule{Dir: dir, Every: time.Duration(b.Every), Keep: b.Keep}
	var recipients []string
	for _, text := range b.Recipients {
		if text, err = caddyvalue.Expand(text); err != nil {
			return fmt.Errorf("recipients: %w", err)
		}
		recipients = append(recipients, text)
	}
	if a.schedule.Recipients, err = backup.ParseRecipients(recipients); err != nil {
		return fmt.Errorf("recipients: %w", err)
	}
	return nil
}

// newKeeper makes backups of s by whatever schedule is in force.
func (s *openStore) newKeeper() *backup.Keeper {
	return backup.NewKeeper(backup.KeeperConfig{
		Source: s.store, DeletedList: badgerstore.DeletedListName,
		Now: s.store.Clock().Now, Logger: s.logger.Named("backup"), Succeeded: s.watched.BackedUp,
	})
}

// BackupOptions implements admin.Backups.
func (a *App) BackupOptions(asked admin.BackupRequest) (o backup.Options, err error) {
	if a.registry.Load() == nil {
		return o, errOpening
	}
	o.Time = a.opened.store.Clock().Now()
	switch {
	case asked.Recipients != nil:
		o.Recipients, err = backup.ParseRecipients(*asked.Recipients)
	case a.schedule != nil:
		o.Recipients = a.schedule.Recipients
	}
	if err != nil {
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

// WriteBackup implements admin.Backups.
func (a *App) WriteBackup(to io.Writer, o backup.Options) (backup.Summary, error) {
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
		if texts, err = a.opened.store.OwnKeyTexts(); err != nil {
			return nil, err
		}
	}
	keys, err := a.opened.keysFor(a)
	if err != nil {
		return nil, err
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
	isInUse := func(text string, key *token.Key) bool {
		found, err := token.NewKey(text)
		return err == nil && found.ID() == key.ID()
	}
	if !slices.EqualFunc(texts, keys, isInUse) {
		return nil, errors.New("hash_key: where it is given there is another key by now than the one in use; put that back, or reload the configuration")
	}
	return texts, nil
}
