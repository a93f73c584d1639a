package badgerstore

import (
	"fmt"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

const (
	// maxSnapshot is how long a snapshot can be open.
	maxSnapshot = 15 * time.Minute
	// maxPinned is how many bytes can be committed while a snapshot is open. About
	// as much of what they overwrite is kept for it on disk.
	maxPinned = 1 << 30
)

var errSnapshotClosed = fmt.Errorf("%w: the snapshot is closed", store.ErrUnavailable)

// pinned is a store.Snapshot. It is a read of its generation that takes longer
// than others, without a lock or a transaction: those are of a page.
type pinned struct {
	s          *Store
	head       store.Head
	generation uint64
	// When it ends by itself, and at how much of s.written.
	deadline time.Time
	most     int64

	mu sync.Mutex
	// ended is why it has ended.
	ended error
}

// snapshots are those that are open.
type snapshots struct {
	mu  sync.Mutex
	all map[*pinned]bool
}

// Snapshot implements store.Store.
func (s *Store) Snapshot() (store.Snapshot, error) {
	p := &pinned{s: s, generation: s.reads.begin(), deadline: time.Now().Add(s.maxSnapshot), most: s.written.Load() + s.maxPinned}
	p.head = store.Head{Position: s.Position(), Clock: s.clock.Remembered(), Store: s.list.store}
	s.snapshots.mu.Lock()
	if s.snapshots.all == nil {
		s.snapshots.all = make(map[*pinned]bool)
	}
	s.snapshots.all[p] = true
	s.snapshots.mu.Unlock()
	err := s.readAt(p.head.Revision, func(txn *snapshot) (err error) {
		if p.head.Keys, err = keysIn(txn); err != nil {
			return err
		}
		p.head.Number, err = counter(txn, metaNumber)
		return err
	})
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Head implements store.Snapshot.
func (p *pinned) Head() store.Head { return p.head }

// Records implements store.Snapshot.
func (p *pinned) Records(each func(store.Record) error) error {
	return eachPaged(p.read, []byte{spaceToken}, func(txn *snapshot, item *badger.Item) (store.Record, bool, error) {
		r, moved, err := decodeEntry(item)
		if err != nil || moved != uuid.Nil {
			return r, false, err
		}
		e, err := idEntryOf(txn, r.ID)
		if err != nil {
			return r, false, lost(err, "a token's record")
		}
		return r, true, e.check(&r)
	}, each)
}

// Uses implements store.Snapshot.
func (p *pinned) Uses(each func(store.Use) error) error {
	err := eachPaged(p.read, []byte{spaceUsed}, func(_ *snapshot, item *badger.Item) (store.Use, bool, error) {
		if len(item.Key()) != len(usedKey(uuid.Nil)) {
			return store.Use{}, false, unavailable(store.ErrCorrupt)
		}
		use, err := useOf(uuid.UUID(item.Key()[1:]), item)
		return use, true, err
	}, each)
	if err != nil {
		return err
	}
	return p.s.uses.each(p.head.Number, func(use store.Use) error {
		if err := p.read(func(*snapshot) error { return nil }); err != nil {
			return err
		}
		use.Number = 0
		return each(use)
	})
}

// Accounts implements store.Snapshot.
func (p *pinned) Accounts(each func(store.UserAccount) error) error {
	return eachPaged(p.read, []byte{spaceAccount}, func(txn *snapshot, item *badger.Item) (a store.UserAccount, _ bool, err error) {
		o, err := ownerIn(item.Key())
		if err != nil {
			return a, false, err
		}
		a = store.UserAccount{Project: o.project, User: o.user}
		if a.Account, err = accountIn(item); err != nil || a.Void == 0 {
			return a, true, err
		}
		flags, err := holdFlags(txn, o)
		a.Swept = flags&holdsVoid == 0
		return a, true, err
	}, each)
}

// Settings implements store.Snapshot.
func (p *pinned) Settings(each func(store.ProjectSettings) error) error {
	return eachPaged(p.read, []byte{spacePolicy}, func(_ *snapshot, item *badger.Item) (store.ProjectSettings, bool, error) {
		now, err := settingOf(item)
		return store.ProjectSettings{Project: string(item.Key()[1:]), Settings: now.Settings, Revision: now.revision}, true, err
	}, each)
}

// Close implements store.Snapshot.
func (p *pinned) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(errSnapshotClosed)
}

// read reads a page.
func (p *pinned) read(f func(*snapshot) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endIfDue()
	if p.ended != nil {
		return p.ended
	}
	return p.s.readAt(p.head.Revision, f)
}

func (p *pinned) endIfDue() {
	switch {
	case time.Now().After(p.deadline):
		p.end(fmt.Errorf("%w: a snapshot has been open for longer than %v", store.ErrUnavailable, p.s.maxSnapshot))
	case p.s.written.Load() > p.most:
		p.end(fmt.Errorf("%w: more than %d MiB have been written since a snapshot was opened", store.ErrUnavailable, p.s.maxPinned>>20))
	}
}

// end lets go of what the snapshot is of, once.
func (p *pinned) end(because error) {
	if p.ended != nil {
		return
	}
	p.ended = because
	p.s.reads.end(p.generation)
	p.s.snapshots.mu.Lock()
	defer p.s.snapshots.mu.Unlock()
	delete(p.s.snapshots.all, p)
}

// endSnapshots ends those that are due. One that is just reading looks itself before
// it reads on.
func (s *Store) endSnapshots() {
	s.snapshots.mu.Lock()
	open := make([]*pinned, 0, len(s.snapshots.all))
	for p := range s.snapshots.all {
		open = append(open, p)
	}
	s.snapshots.mu.Unlock()
	for _, p := range open {
		if p.mu.TryLock() {
			p.endIfDue()
			p.mu.Unlock()
		}
	}
}
