// Package config is the JSON form of the configuration: what can be set, what
// holds if it isn't, and what is refused. It does no input or output; what
// needs the running server is checked where it is used.
package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// App configures the Caddy app "access_tokens": what all projects of a server
// share.
type App struct {
	// Where tokens are kept.
	Store Store `json:"store,omitzero"`

	// The secret under which token values are hashed: at least 32 characters,
	// best as a placeholder such as {file./etc/caddy/tokens.key} or
	// {env.TOKENS_KEY}. Default: made at the first start and kept in the
	// store's directory, with mode 0600.
	HashKey string `json:"hash_key,omitempty"`

	// Former keys, written as hash_key is, that older tokens may still be under; a
	// token moves to hash_key when it is used. A key that living tokens are under
	// can't be left out, and a reload can put another hash_key in front only if
	// the one that runs is among these. Default: none.
	PreviousHashKeys []string `json:"previous_hash_keys,omitempty"`

	// How long records stay after their token ended.
	Retain Retain `json:"retain,omitzero"`

	// Where each change is written to, besides Caddy's log.
	Audit Audit `json:"audit,omitzero"`

	// Backups that are made while the server runs. Default: none.
	Backup Backup `json:"backup,omitzero"`
}

// Store says where tokens are kept.
type Store struct {
	// The kind of store. Default, and so far the only one: "badger".
	Type string `json:"type,omitempty"`

	// The store's directory. Placeholders such as {env.TOKENS_DIR} are
	// replaced. Default: access-tokens in Caddy's data directory.
	Path string `json:"path,omitempty"`
}

// Retain says how long records stay after their token ended.
type Retain struct {
	// After expiry. Until then the token is listed. Default: 30d.
	Expired caddy.Duration `json:"expired,omitempty"`

	// After deletion. Default: 90d.
	Deleted caddy.Duration `json:"deleted,omitempty"`
}

// Audit says where each change is written to, besides Caddy's log.
type Audit struct {
	// A file, which is made if need be, with mode 0600: for each change it gets a
	// line of JSON that is on disk before the change is acknowledged, chained to
	// the line before by its hash. Placeholders such as {env.AUDIT_FILE} are
	// replaced. Default: none.
	File string `json:"file,omitempty"`
}

// Backup says which backups are made while the server runs.
type Backup struct {
	// The directory they go to, which is made if need be, with mode 0700; best on
	// another disk, and nobody else's. A copy of deleted.list is kept there, too.
	// Placeholders such as {env.BACKUPS} are replaced. Default: none, and no backups.
	Dir string `json:"dir,omitempty"`

	// How much time passes between two. Default: 1d.
	Every caddy.Duration `json:"every,omitempty"`

	// How many stay. Default: 14.
	Keep int `json:"keep,omitempty"`

	// Whom they are encrypted to: public keys of age, such as age1…. Placeholders
	// are replaced. Default: nobody, and they are plain.
	Recipients []string `json:"recipients,omitempty"`
}

const day = 24 * time.Hour

// StoreTypes are the kinds of store there are.
var StoreTypes = []string{"badger"}

// Complete returns a with its defaults filled in, but for the store's path.
func (a App) Complete() App {
	if a.Store.Type == "" {
		a.Store.Type = StoreTypes[0]
	}
	if a.Retain.Expired == 0 {
		a.Retain.Expired = caddy.Duration(30 * day)
	}
	if a.Retain.Deleted == 0 {
		a.Retain.Deleted = caddy.Duration(90 * day)
	}
	if a.Backup.Dir != "" && a.Backup.Every == 0 {
		a.Backup.Every = caddy.Duration(day)
	}
	if a.Backup.Dir != "" && a.Backup.Keep == 0 {
		a.Backup.Keep = 14
	}
	return a
}

// Check says what is wrong with a, which is complete. It isn't called Validate, or
// Caddy would take whatever embeds it for a caddy.Validator.
func (a App) Check() error {
	if a.Store.Type != StoreTypes[0] {
		return fmt.Errorf("store: %q is no kind of store; allowed: %s", a.Store.Type, StoreTypes[0])
	}
	if len(a.PreviousHashKeys) > 0 && a.HashKey == "" {
		return errors.New("previous_hash_keys: hash_key isn't given; give the key for new tokens too, as {file.<path of the store>/hash.key} if the store has made it")
	}
	if err := CheckRetain(time.Duration(a.Retain.Expired)); err != nil {
		return fmt.Errorf("retain expired: %w", err)
	}
	if err := CheckRetain(time.Duration(a.Retain.Deleted)); err != nil {
		return fmt.Errorf("retain deleted: %w", err)
	}
	if a.Backup.Dir == "" {
		if a.Backup.Every != 0 || a.Backup.Keep != 0 || a.Backup.Recipients != nil {
			return errors.New("backup: dir isn't given; give the directory that backups go to")
		}
		return nil
	}
	if err := CheckBackupEvery(time.Duration(a.Backup.Every)); err != nil {
		return fmt.Errorf("backup: every: %w", err)
	}
	if err := CheckBackupKeep(a.Backup.Keep); err != nil {
		return fmt.Errorf("backup: keep: %w", err)
	}
	return nil
}

// CheckBackupEvery says what is wrong with how often backups are made.
func CheckBackupEvery(d time.Duration) error {
	if d < time.Second {
		return fmt.Errorf("%v is too short; give a duration of at least one second, such as 1d", d)
	}
	return nil
}

// CheckBackupKeep says what is wrong with how many backups stay.
func CheckBackupKeep(n int) error {
	if n < 1 {
		return fmt.Errorf("%d is too few; give a number from 1 on, such as 14", n)
	}
	return nil
}

// CheckRetain says what is wrong with a time to retain records.
func CheckRetain(d time.Duration) error {
	if d < time.Second {
		return fmt.Errorf("%v is too short; give a duration of at least one second, such as 30d", d)
	}
	return nil
}
