package badgerstore

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/wholefile"
)

const (
	keyName = "hash.key"
	// previousKeysName is a file of keys, one a line, that the store has made before
	// the one in hash.key. It isn't there before there are some.
	previousKeysName = "hash.previous.keys"
)

func keyFileIn(dir string) string { return filepath.Join(dir, keyName) }

func (s *Store) keyFile() string { return keyFileIn(s.dir) }

// ownKeys are those that a store has made for where none are given.
type ownKeys struct {
	mu sync.Mutex
	// keys has the one for new tokens first. It is nil where the store was opened
	// with others.
	keys []*token.Key
}

// readOwnKeys reads them. It makes the first if the store is new.
func readOwnKeys(dir string, isNew bool) ([]*token.Key, error) {
	first, err := loadKey(filepath.Join(dir, keyName), isNew)
	if err != nil {
		return nil, err
	}
	keys := []*token.Key{first}
	file := filepath.Join(dir, previousKeysName)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return keys, nil
	}
	if err == nil {
		err = checkPrivate(file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the previous hash keys: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		key, err := token.NewKey(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		// Where making the next key was cut short, the present one is here, too.
		if !slices.Contains(idsOf(keys), key.ID()) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// OwnKeys are those that the store has made for where none are given, the one for
// new tokens first. If it was opened with them, their files aren't needed any more.
func (s *Store) OwnKeys() ([]*token.Key, error) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	return s.ownKeys()
}

func (s *Store) ownKeys() ([]*token.Key, error) {
	if s.own.keys != nil {
		return s.own.keys, nil
	}
	return readOwnKeys(s.dir, false)
}

// NextOwnKey makes the next key of the store's own, and returns what OwnKeys does
// from then on. They aren't in force yet; if they don't come in force before the
// store is opened again, they are then. A key that it has made before, and that
// isn't in force, is the next one.
func (s *Store) NextOwnKey() ([]*token.Key, error) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	keys, err := s.ownKeys()
	if err != nil || keys[0].ID() != s.Key().ID() {
		return keys, err
	}
	// The present key first is with the previous ones, so that at no moment it is
	// nowhere.
	previous, err := os.ReadFile(s.keyFile())
	if err != nil {
		return nil, fmt.Errorf("reading the hash key: %w", err)
	}
	if key, err := token.NewKey(string(previous)); err != nil || key.ID() != keys[0].ID() {
		return nil, fmt.Errorf("%s isn't the hash key in force any more: put that back", s.keyFile())
	}
	previous = append(bytes.TrimSpace(previous), '\n')
	file := filepath.Join(s.dir, previousKeysName)
	if older, err := os.ReadFile(file); err == nil {
		previous = append(previous, older...)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the previous hash keys: %w", err)
	}
	if err := writeFile(file, previous); err != nil {
		return nil, fmt.Errorf("writing the previous hash keys: %w", err)
	}
	text, err := makeKey(s.keyFile())
	if err != nil {
		return nil, fmt.Errorf("making the hash key: %w", err)
	}
	next, err := token.NewKey(string(text))
	if err != nil {
		return nil, err
	}
	s.own.keys = append([]*token.Key{next}, keys...)
	return s.own.keys, nil
}

// ForgetPreviousOwnKeys removes what the store has made but the key for new
// tokens, which alone is in force.
func (s *Store) ForgetPreviousOwnKeys() error {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	keys, err := s.ownKeys()
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, previousKeysName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the previous hash keys: %w", err)
	}
	s.own.keys = keys[:1]
	return wholefile.SyncDir(s.dir)
}

// OwnKeyTexts are the secrets of OwnKeys, for a backup that is to hold them.
func (s *Store) OwnKeyTexts() ([]string, error) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	text, err := os.ReadFile(s.keyFile())
	if err != nil {
		return nil, err
	}
	previous, err := os.ReadFile(filepath.Join(s.dir, previousKeysName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var texts []string
	for _, line := range append([]string{string(text)}, strings.Split(string(previous), "\n")...) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(texts, line) {
			texts = append(texts, line)
		}
	}
	return texts, nil
}

// loadKey reads the key file, or makes it if the store is new. A key that is
// missing beside a store with records is an error: a new one would refuse every
// token in it, silently and for good.
func loadKey(file string, isNew bool) (*token.Key, error) {
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && isNew:
		if text, err = makeKey(file); err != nil {
			return nil, fmt.Errorf("making the hash key: %w", err)
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is missing, and without it no token in the store can be recognised: restore it from a backup, or, if the store was used with a hash key of your own, give that; or remove the store to begin anew without any of its tokens", file)
	case err != nil:
		return nil, fmt.Errorf("reading the hash key: %w", err)
	}
	if err := checkPrivate(file); err != nil {
		return nil, err
	}
	key, err := token.NewKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// makeKey writes a new key file whole or not at all.
func makeKey(file string) ([]byte, error) {
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, err
	}
	text := append(hex.AppendEncode(nil, secret[:]), '\n')

	return text, writeFile(file, text)
}

func checkPrivate(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("looking at the hash key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("%s can be read by others (mode %04o): `chmod 600` it", file, mode)
	}
	return nil
}
