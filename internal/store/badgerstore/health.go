package badgerstore

import (
	"io/fs"
	"path/filepath"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Failure returns why the store has stopped, so that it can't answer until it is
// opened again; nil if it hasn't.
func (s *Store) Failure() error {
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.ErrUnavailable
	}
	return nil
}

// Writable tells whether everything can be written, new tokens included.
func (s *Store) Writable() bool {
	return s.Failure() == nil && !s.writesFail.Load() && s.space.takesCreates()
}

// Size returns the length of all files in the store's directory, in bytes. What
// can't be looked at, for example because it has just been removed, is left out.
func (s *Store) Size() (size int64) {
	_ = filepath.WalkDir(s.dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil //nolint:nilerr // it is left out
		}
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return size
}

// Free returns how many bytes can still be written to the disk under the store.
func (s *Store) Free() (int64, error) { return s.space.disk.free() }
