// Package badgerstore is the embedded store: token records in a Badger
// database of this machine, and beside it the key their values are hashed
// under.
//
// Badger runs in managed mode: a batch of mutations is one transaction,
// committed at its last revision, and readers read at the last revision that
// is known to be on disk. So readers see whole batches, durable ones only, and
// never wait for a write.
package badgerstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// A store is of the lowest format whose releases can read all that is in it.
// It begins as oldestFormat, and the first entry that those releases would
// overlook or couldn't read raises it, in the same transaction.
const (
	oldestFormat = 1
	newestFormat = 2
)

// memTableSize is a compromise: small records fill it slowly, and its log is
// reserved on disk in full. It can't shrink: a log that is larger than its
// memtable may be doesn't open.
const memTableSize = 8 << 20

// Options says how to open a store.
type Options struct {
	// Key hashes token values. If nil, the store makes one at its first start
	// and keeps it in its directory, readable by its owner only.
	Key *token.Key
	// Previous are keys that older tokens may still be under.
	Previous []*token.Key
	// Logger gets what the owner should know. Required.
	Logger *zap.Logger

	// MemTableSize is in bytes, 8 MiB if 0. Tests choose a small one, for
	// memtables that fill up soon.
	MemTableSize int64
	// disk is for tests that own the disk's free space.
	disk disk
	// maxRead and discardEvery are for tests that can't wait.
	maxRead, discardEvery time.Duration
}

// Store is a store.Store in a directory of this machine.
type Store struct {
	db     *badger.DB
	dir    string
	keys   atomic.Pointer[[]*token.Key]
	logger *zap.Logger
	space  *space

	// format is the committer's.
	format byte
	// applied is the last revision that is on disk. Readers read at it.
	applied atomic.Uint64
	// position is applied with its epoch.
	position atomic.Pointer[store.Position]
	// holds are in force before anything is acknowledged that they are about.
	holds atomic.Pointer[holds]
	// settings are those of all projects as of applied. The map is replaced,
	// never changed.
	settings atomic.Pointer[map[string]setting]

	// mu is held for reading while the database is in use, and for writing
	// once, to close it.
	mu     sync.RWMutex
	closed bool

	reads reads
	// The constants of these names, but for tests.
	maxRead, discardEvery time.Duration

	// isNew: this opening has made the store.
	isNew bool

	commits   chan *commit
	stop      chan struct{}
	committer sync.WaitGroup
}

// Open opens the store in dir, which it makes if need be. Only one process can
// have a store open. The errors are for the owner and say what to do.
func Open(dir string, o Options) (*Store, error) {
	if o.MemTableSize == 0 {
		o.MemTableSize = memTableSize
	}
	if err := checkOwnership(dir); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "db")
	if err := makePrivateDir(data); err != nil {
		return nil, err
	}
	if o.disk == nil {
		o.disk = realDisk(data)
	}
	space := &space{dir: data, disk: o.disk, memTable: o.MemTableSize, logger: o.logger()}
	if err := space.checkOpen(); err != nil {
		return nil, err
	}
	if err := removeLeftovers(data); err != nil {
		return nil, err
	}
	db, err := badger.OpenManaged(badgerOptions(data, o))
	if err != nil {
		return nil, openError(dir, err)
	}
	s := &Store{
		db: db, dir: dir, logger: o.logger(), space: space,
		maxRead: cmp.Or(o.maxRead, maxRead), discardEvery: cmp.Or(o.discardEvery, discardEvery),
		commits: make(chan *commit, maxBatch),
		stop:    make(chan struct{}),
	}
	if err := s.prepare(dir, o.Key); err != nil {
		_ = db.Close()
		return nil, err
	}
	if err := s.loadSettings(); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("reading the settings in the token store in %s: %w", dir, err)
	}
	if err := s.loadHolds(); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("reading who is blocked in the token store in %s: %w", dir, err)
	}
	space.busy = s.badgerIsBusy
	space.begin()
	space.last = roomForCreates
	s.committer.Go(s.runCommitter)
	if err := s.openKeys(o); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (o *Options) logger() *zap.Logger {
	if o.Logger == nil {
		return zap.NewNop()
	}
	return o.Logger
}

func badgerOptions(dir string, o Options) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(badgerLogger{o.logger().Named("badger").Sugar()}).
		WithMemTableSize(o.MemTableSize).
		WithNumMemtables(2).
		WithNumCompactors(2).
		// A batch is one transaction, so that this is one sync a batch, and
		// it covers the batch whole even when a memtable fills up in between.
		WithSyncWrites(true).
		// One committer, which checks revisions itself.
		WithDetectConflicts(false).
		// Records stay in the tree: nothing goes to the value log, of which
		// Badger doesn't tell when syncing it fails.
		WithValueThreshold(min(1<<20, o.MemTableSize/10)).
		WithValueLogFileSize(1 << 20).
		// Hashes don't compress, and without compression blocks are read
		// straight from the page cache.
		WithCompression(options.None).
		WithBlockCacheSize(0).
		// Never OnBlockRead: Badger takes a key in a damaged block for one that
		// isn't there, and goes on to older versions of it.
		WithChecksumVerificationMode(options.NoVerification).
		WithMetricsEnabled(false)
}

// prepare checks that the database is ours and made with this key, or, if it
// is new, makes it so.
func (s *Store) prepare(dir string, key *token.Key) error {
	var meta struct {
		format, revision []byte
		epoch            uint64
	}
	err := s.db.View(func(t *badger.Txn) (err error) {
		txn := &snapshot{Txn: t, update: true}
		if meta.format, err = get(txn, metaFormat); errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			meta.revision, err = get(txn, metaRevision)
		}
		if err == nil {
			meta.epoch, err = epochOf(txn)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the token store in %s: %w", dir, err)
	}
	isNew := meta.format == nil
	s.isNew = isNew
	if !isNew && (len(meta.format) != 1 || meta.format[0] < oldestFormat || meta.format[0] > newestFormat) {
		return fmt.Errorf("the token store in %s has format %x, and this release reads formats %d to %d: upgrade, or choose another directory", dir, meta.format, oldestFormat, newestFormat)
	}
	if key == nil {
		var err error
		if key, err = loadKey(filepath.Join(dir, "hash.key"), isNew); err != nil {
			return err
		}
	}
	s.keys.Store(&[]*token.Key{key})
	if isNew {
		return s.initialise(key.ID())
	}
	s.format = meta.format[0]
	s.show(store.Position{Epoch: meta.epoch, Revision: binary.BigEndian.Uint64(meta.revision)})
	s.reads.since = s.applied.Load()
	s.db.SetDiscardTs(s.applied.Load())
	return nil
}

func (s *Store) initialise(id token.KeyID) error {
	const first = 1
	txn := s.db.NewTransactionAt(0, true)
	defer txn.Discard()
	for _, e := range []*badger.Entry{
		badger.NewEntry(metaFormat, []byte{oldestFormat}),
		badger.NewEntry(metaRevision, binary.BigEndian.AppendUint64(nil, first)),
		badger.NewEntry(metaKeyID, id[:]),
	} {
		if err := txn.SetEntry(e); err != nil {
			return fmt.Errorf("writing to a new token store: %w", err)
		}
	}
	if err := txn.CommitAt(first, nil); err != nil {
		return fmt.Errorf("writing to a new token store: %w", err)
	}
	s.format = oldestFormat
	s.show(store.Position{Epoch: 1, Revision: first})
	return nil
}

// openKeys checks the keys that are given against those the store was used with
// last, and notes them.
func (s *Store) openKeys(o Options) error {
	return s.UseKeys(context.Background(), append([]*token.Key{s.Key()}, o.Previous...), time.Now())
}

// show lets readers see what has become durable.
func (s *Store) show(at store.Position) {
	s.applied.Store(at.Revision)
	s.position.Store(&at)
}

// Position implements store.Store.
func (s *Store) Position() store.Position { return *s.position.Load() }

// IsNew tells whether opening the store has made it.
func (s *Store) IsNew() bool { return s.isNew }

// Close waits for running operations and closes the database. Operations that
// come later fail with store.ErrUnavailable. Closing again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()

	close(s.stop)
	s.committer.Wait()
	if !s.space.canClose() {
		s.logger.Warn("the disk is too full to tidy up the token store; nothing is lost, and the next start will do it", zap.String("dir", s.space.dir))
		return nil
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the token store: %w", err)
	}
	return nil
}

// badgerIsBusy tells whether memtables are being put away, or tables compacted.
func (s *Store) badgerIsBusy() bool {
	logs := 0
	s.space.eachFile(".mem", func(string, int64) { logs++ })
	return logs > 1 || slices.ContainsFunc(s.db.Levels(), func(l badger.LevelInfo) bool { return l.Score >= 1 })
}

func openError(dir string, err error) error {
	// Badger wraps the error of flock in a text of its own.
	if strings.Contains(err.Error(), "directory lock") {
		return fmt.Errorf("the token store in %s is in use by another process: stop that one, or give this one a directory of its own", dir)
	}
	return fmt.Errorf("opening the token store in %s: %w", dir, err)
}

// checkOwnership refuses a directory that is there already and in which others
// could put a store and a key of their own.
func checkOwnership(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) || runtime.GOOS == "windows" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at the token store's directory: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("others can write to the token store's directory %s (mode %04o): `chmod go-w` it", dir, mode)
	}
	for _, part := range []string{dir, filepath.Join(dir, "db"), filepath.Join(dir, "hash.key")} {
		if err := checkOwner(part); err != nil {
			return err
		}
	}
	return nil
}

// checkOwner refuses what belongs to somebody else, who could change it at any
// time.
func checkOwner(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil //nolint:nilerr // it is made later, or the error told then
	}
	owner, known := ownerOf(info)
	if self := os.Geteuid(); known && owner != self {
		return fmt.Errorf("%s of the token store belongs to %s, and Caddy runs as %s: run Caddy as %[2]s, or `chown -R` the store to %[3]s", path, userName(owner), userName(self))
	}
	return nil
}

// userName is a user's name and number, as far as they are known.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return fmt.Sprintf("%s (%d)", u.Username, uid)
	}
	return fmt.Sprintf("user %d", uid)
}

// makePrivateDir makes dir and what leads to it, and lets only its owner in:
// Badger's files are readable by everyone.
func makePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the token store's directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at the token store's directory: %w", err)
	}
	if info.Mode().Perm()&^fs.FileMode(0o700) == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("others can read the token store, and that can't be changed: %w", err)
	}
	return nil
}
