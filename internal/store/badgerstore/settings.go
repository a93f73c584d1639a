package badgerstore

import (
	"encoding/binary"
	"errors"
	"maps"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// setting is what a project's settings are, and since which revision. They are
// needed at every request, and few: so they are all in memory.
type setting struct {
	store.Settings
	revision uint64
}

// Settings implements store.Store.
func (s *Store) Settings(project string) (store.Settings, uint64) {
	now := (*s.settings.Load())[project]
	return now.Settings, now.revision
}

func (s *Store) loadSettings() error {
	all := make(map[string]setting)
	err := s.read(func(txn *snapshot) error {
		return iterate(txn, []byte{spacePolicy}, func(item *badger.Item) (bool, error) {
			now, err := settingOf(item)
			all[string(item.Key()[1:])] = now
			return true, err
		})
	})
	s.settings.Store(&all)
	return err
}

// showSettings makes visible what has become durable.
func (s *Store) showSettings(accepted []*commit) {
	for _, c := range accepted {
		if m, ok := c.mutation.(store.Configure); ok {
			all := maps.Clone(*s.settings.Load())
			all[m.Project] = setting{m.Settings, c.outcome.Revision}
			s.settings.Store(&all)
		}
	}
}

func configure(txn *snapshot, m store.Configure, revision uint64) ([]write, error) {
	if err := settingsAre(txn, m.Project, m.Revision); err != nil {
		return nil, err
	}
	if err := byToken(txn, m.Token, m.TokenRevision); err != nil {
		return nil, err
	}
	return []write{settingWrite(m.Project, setting{m.Settings, revision})}, nil
}

func settingWrite(project string, s setting) write {
	return write{policyKey(project), s.Append(binary.BigEndian.AppendUint64(nil, s.revision))}
}

// settingsAre returns store.ErrConflict if a project's settings aren't at that
// revision.
func settingsAre(txn *snapshot, project string, revision uint64) error {
	now, err := findSetting(txn, project)
	if err == nil && now.revision != revision {
		err = store.ErrConflict
	}
	return err
}

// findSetting returns the settings of a project, zero if it has none.
func findSetting(txn *snapshot, project string) (setting, error) {
	item, err := find(txn, policyKey(project))
	if errors.Is(err, store.ErrNotFound) {
		return setting{}, nil
	}
	if err != nil {
		return setting{}, err
	}
	return settingOf(item)
}

func settingOf(item *badger.Item) (now setting, err error) {
	err = item.Value(func(b []byte) error {
		if len(b) < 8 {
			return store.ErrCorrupt
		}
		now.revision = binary.BigEndian.Uint64(b)
		now.Settings, err = store.DecodeSettings(b[8:])
		return err
	})
	return now, unavailable(err)
}
