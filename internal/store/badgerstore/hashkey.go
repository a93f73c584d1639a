package badgerstore

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func keyFileIn(dir string) string { return filepath.Join(dir, "hash.key") }

func (s *Store) keyFile() string { return keyFileIn(s.dir) }

// OwnKey is the key that the store has made for where none is given. If none was
// given when it was opened, its file isn't needed any more.
func (s *Store) OwnKey() (*token.Key, error) {
	if s.own != nil {
		return s.own, nil
	}
	return loadKey(s.keyFile(), false)
}

// OwnKeyText is the secret of that key, for a backup that is to hold it.
func (s *Store) OwnKeyText() (string, error) {
	text, err := os.ReadFile(s.keyFile())
	return strings.TrimSpace(string(text)), err
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
