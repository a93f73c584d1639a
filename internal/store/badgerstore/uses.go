package badgerstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// usesFileName is the file of last uses, beside the database.
const usesFileName = "uses"

// allNumbered tells whether uses go to the file of last uses, all of them and without
// a look at the database. Nothing else depends on them, and nobody waits for them.
func allNumbered(uses []store.Use) bool {
	return len(uses) > 0 && !slices.ContainsFunc(uses, func(use store.Use) bool { return use.Number == 0 })
}

func (s *Store) writeUses(uses []store.Use) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.closed || s.failure.Load() != nil:
		return store.ErrUnavailable
	case !s.space.takesCreates():
		return store.ErrFull // Badger may need what room there is.
	}
	return s.uses.write(slices.Clone(uses))
}

// usesFile holds when each token was last used, and from where, at a place that its
// number gives. So a use costs a plain write of a few bytes, however many tokens there
// are, and none of what a database does for what must not be lost.
//
// It is nothing that a start could fail for. What is damaged, or is of another store,
// is as if it had never been written.
type usesFile struct {
	path   string
	store  storeID
	logger *zap.Logger

	mu sync.RWMutex
	// file is nil where there is none that can be used.
	file *os.File

	saidUnreadable sync.Once
}

const (
	usesTitle = "access-tokens uses 1\n"
	usesHead  = 4096
	// A slot: milliseconds since 1970, the token's id, the address, how long that is,
	// nothing, and a checksum of all that and of whose slot it is.
	usesSlot     = 48
	slotAddress  = 8 + 16
	slotLength   = slotAddress + 16
	slotChecksum = usesSlot - 4
	// usesWindow is how many slots are read at once.
	usesWindow = 256
)

// openUses opens a store's file of last uses, or begins one. What can't be used is
// set aside; where that isn't possible either, last uses aren't known, and the file is
// tried again whenever some are to be written.
func openUses(dir string, of storeID, isNew bool, logger *zap.Logger) *usesFile {
	u := &usesFile{path: filepath.Join(dir, usesFileName), store: of, logger: logger}
	if err := u.open(isNew); err != nil {
		logger.Error("the file of last uses can't be used: when tokens were last used isn't known, and isn't written down", zap.String("file", u.path), zap.Error(err))
	}
	return u
}

func (u *usesFile) open(isNew bool) error {
	info, err := os.Stat(u.path)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Lstat(u.path) // a link to nothing
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !isNew {
			u.logger.Warn("the file of last uses isn't there, and is made anew", zap.String("file", u.path))
		}
		return u.begin()
	case err != nil:
		return err
	case !info.Mode().IsRegular(): // whoever opens a pipe may wait for ever
		return u.setAside()
	}
	file, err := os.OpenFile(u.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	head := make([]byte, len(u.head()))
	if _, err := io.ReadFull(file, head); err == nil && string(head) == string(u.head()) {
		u.file = file
		return nil
	}
	if err := file.Close(); err != nil {
		return err
	}
	return u.setAside()
}

// setAside gives another name to what can't be used, and begins a file.
func (u *usesFile) setAside() error {
	aside := u.path + ".damaged"
	if err := os.Rename(u.path, aside); err != nil {
		return err
	}
	u.logger.Error("the file of last uses is damaged, or another store's, and is set aside: when tokens were last used isn't known", zap.String("file", u.path), zap.String("to", aside))
	return u.begin()
}

func (u *usesFile) begin() error {
	file, err := os.OpenFile(u.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.Write(u.head()); err != nil {
		return errors.Join(err, file.Close())
	}
	u.file = file
	return nil
}

func (u *usesFile) head() []byte { return append([]byte(usesTitle), u.store[:]...) }

func (u *usesFile) close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil {
		return nil
	}
	return u.file.Close()
}

func usesOffset(number uint64) int64 { return usesHead + int64(number-1)*usesSlot }

// write notes uses, each with its token's number, unless a later one is known. It
// fails with store.ErrFull or store.ErrUnavailable; some may be written then.
func (u *usesFile) write(uses []store.Use) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil {
		if err := u.open(false); err != nil {
			return fmt.Errorf("%w: opening the file of last uses: %w", store.ErrUnavailable, err)
		}
	}
	slices.SortFunc(uses, func(a, b store.Use) int { return cmp.Compare(a.Number, b.Number) })
	window := make([]byte, usesWindow*usesSlot)
	for len(uses) > 0 {
		first := uses[0].Number
		n := 1
		for n < len(uses) && uses[n].Number-first < usesWindow {
			n++
		}
		if err := u.writeNear(window, uses[:n]); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return store.ErrFull
			}
			return fmt.Errorf("%w: writing last uses: %w", store.ErrUnavailable, err)
		}
		uses = uses[n:]
	}
	if err := u.file.Sync(); err != nil {
		return fmt.Errorf("%w: writing last uses: %w", store.ErrUnavailable, err)
	}
	return nil
}

// writeNear writes uses whose slots are in one window.
func (u *usesFile) writeNear(window []byte, uses []store.Use) error {
	first := uses[0].Number
	window = window[:(uses[len(uses)-1].Number-first+1)*usesSlot]
	if err := u.read(window, first); err != nil {
		return err
	}
	for _, use := range uses {
		slot := window[(use.Number-first)*usesSlot:][:usesSlot]
		if known, ok := u.decode(slot, use.Number); !ok || known.ID != use.ID || use.At.After(known.At) {
			u.encode(slot, use)
		}
	}
	_, err := u.file.WriteAt(window, usesOffset(first))
	return err
}

// read fills slots from that of a number on. What is behind the file's end is empty,
// and all of it where there is no file.
func (u *usesFile) read(slots []byte, number uint64) error {
	if u.file == nil {
		clear(slots)
		return nil
	}
	n, err := u.file.ReadAt(slots, usesOffset(number))
	if errors.Is(err, io.EOF) {
		clear(slots[n:])
		return nil
	}
	return err
}

// unreadable says, once, that what was written can't be read.
func (u *usesFile) unreadable(err error) {
	u.saidUnreadable.Do(func() {
		u.logger.Error("the file of last uses can't be read everywhere: when some tokens were last used isn't known", zap.String("file", u.path), zap.Error(err))
	})
}

// last returns the last use of a token, zero for never, or if it can't be read.
func (u *usesFile) last(id uuid.UUID, number uint64) store.Use {
	u.mu.RLock()
	defer u.mu.RUnlock()
	var slot [usesSlot]byte
	if err := u.read(slot[:], number); err != nil {
		u.unreadable(err)
		return store.Use{ID: id}
	}
	if use, ok := u.decode(slot[:], number); ok && use.ID == id {
		return use
	}
	return store.Use{ID: id}
}

// forget removes what is known of tokens. It is no matter if that fails: nobody can
// ask for it.
func (u *usesFile) forget(numbers []uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil {
		return
	}
	var empty [usesSlot]byte
	for _, number := range numbers {
		if at, err := u.file.Seek(0, io.SeekEnd); err == nil && usesOffset(number) < at {
			_, _ = u.file.WriteAt(empty[:], usesOffset(number))
		}
	}
}

// each calls f with all uses up to that of a number that can be read, also of tokens
// that are gone.
func (u *usesFile) each(upTo uint64, f func(store.Use) error) error {
	slots := make([]byte, usesWindow*usesSlot)
	for first := uint64(1); first <= upTo; first += usesWindow {
		slots := slots[:min(usesWindow, upTo-first+1)*usesSlot]
		u.mu.RLock()
		err := u.read(slots, first)
		u.mu.RUnlock()
		if err != nil {
			u.unreadable(err)
			continue
		}
		for i := range uint64(len(slots) / usesSlot) {
			if use, ok := u.decode(slots[i*usesSlot:][:usesSlot], first+i); ok {
				if err := f(use); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (u *usesFile) encode(slot []byte, use store.Use) {
	clear(slot)
	binary.BigEndian.PutUint64(slot, uint64(use.At.UnixMilli()))
	copy(slot[8:], use.ID[:])
	slot[slotLength] = byte(copy(slot[slotAddress:slotLength], use.Address.AsSlice()))
	binary.BigEndian.PutUint32(slot[slotChecksum:], u.checksum(slot, use.Number))
}

// decode reads a slot, and tells whether anything true is in it.
func (u *usesFile) decode(slot []byte, number uint64) (use store.Use, ok bool) {
	ms := int64(binary.BigEndian.Uint64(slot))
	if ms == 0 || binary.BigEndian.Uint32(slot[slotChecksum:]) != u.checksum(slot, number) {
		return use, false
	}
	use = store.Use{ID: uuid.UUID(slot[8:slotAddress]), Number: number, At: time.UnixMilli(ms).UTC()}
	if n := slot[slotLength]; n > 0 {
		use.Address, ok = netip.AddrFromSlice(slot[slotAddress:][:min(n, 16)])
		return use, ok
	}
	return use, true
}

func (u *usesFile) checksum(slot []byte, number uint64) uint32 {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], number)
	sum := crc32.Checksum(u.store[:], castagnoli)
	sum = crc32.Update(sum, castagnoli, n[:])
	return crc32.Update(sum, castagnoli, slot[:slotChecksum])
}
