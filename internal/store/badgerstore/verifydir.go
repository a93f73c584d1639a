package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// ErrNoStore says that there is no store in a directory.
var ErrNoStore = errors.New("there is no token store in it")

// Verified is what a stopped store is found to be.
type Verified struct {
	store.Position
	// Made is how many tokens it ever held.
	Made uint64
	// Keys are those that its tokens can be under, the first for new ones. InFile is
	// the one that lies in its directory, zero if there is none that can be read.
	Keys   []token.KeyID
	InFile token.KeyID
	// Tables is how many files hold its records, and Bytes how much they are.
	Tables int
	Bytes  int64
	// Listed is how many records deleted.list has. ListTorn: what follows is left of a
	// crash, and the next start completes it.
	Listed   int
	ListTorn bool
	// Clock is the remembered time.
	Clock time.Time
	// Waiting is what has to be written to the audit file yet, in bytes.
	Waiting int64
	// Warnings are what the owner should know.
	Warnings []string
}

// VerifyDir reads all files of a stopped store to their end, and changes none. It
// returns nil if a server can start on it, given its hash key. Table is called as
// each is verified. It fails with ErrNoStore, with a Damage, or where another process
// has the store open.
func VerifyDir(dir string, table func(done, of int)) (v Verified, err error) {
	data := filepath.Join(dir, "db")
	if _, err := os.ReadDir(data); errors.Is(err, fs.ErrNotExist) {
		return v, ErrNoStore
	} else if err != nil {
		return v, err
	}
	unlock, err := lockDir(data)
	if err != nil {
		return v, inUse(dir)
	}
	defer unlock()
	s := &Store{dir: dir, options: Options{MemTableSize: memTableSize}, space: &space{dir: data}}
	if _, err := os.Stat(asideDir(dir)); err == nil {
		return v, fmt.Errorf("a start of the server on %s was broken off: start it once, and verify it then", dir)
	}
	e, err := examine(dir, s.badgerOptions())
	if err != nil {
		return v, err
	}
	if e.isNew {
		return v, ErrNoStore
	}
	if err := e.checkFormat(); err != nil {
		return v, err
	}
	if err := e.checkList(); err != nil {
		return v, err
	}
	v = Verified{
		Position: store.Position{Epoch: e.epoch(), Revision: e.revision},
		Tables:   len(e.tables), Listed: max(e.list.lines-1, 0), ListTorn: e.list.damaged, Clock: e.list.mark.clock,
		Made: e.number(metaNumber), Waiting: int64(e.number(metaOutbox)), Warnings: e.warnings,
	}
	if len(e.unnamed) > 0 {
		v.Warnings = append(v.Warnings, fmt.Sprintf("there are tables that the database doesn't name, as a crash leaves them: %v", e.unnamed))
	}
	for _, name := range [][]byte{metaKeyID, metaPreviousKeys} {
		for id := range slices.Chunk(e.meta.get(name), len(token.KeyID{})) {
			if len(id) < len(token.KeyID{}) {
				return v, e.damage("db", "it doesn't say which hash keys its tokens are under")
			}
			v.Keys = append(v.Keys, token.KeyID(id))
		}
	}
	if text, err := os.ReadFile(keyFileIn(dir)); err == nil {
		if key, err := token.NewKey(string(text)); err == nil {
			v.InFile = key.ID()
		}
	}
	v.Bytes, err = e.verifyTables(table)
	return v, err
}

// number is one of the database's own counters.
func (e *examination) number(name []byte) uint64 {
	if b := e.meta.get(name); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// verifyTables verifies all tables whole.
func (e *examination) verifyTables(table func(done, of int)) (size int64, err error) {
	u := newUnverified(e)
	for i, t := range u.tables {
		if err := u.verify(t, unpaced); err != nil {
			return size, err
		}
		size += t.size
		table(i+1, len(u.tables))
	}
	return size, nil
}
