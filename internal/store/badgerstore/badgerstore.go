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

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/clock"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// format is the layout of keys and records that this release writes, and
// oldestFormat the oldest that it reads. Format 2 has deleted.list beside the
// database, which earlier releases wouldn't write to.
const (
	format       = 2
	oldestFormat = 1
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
	// WithoutKey opens a store whose keys nobody needs, or has: it can be looked at,
	// and nobody can recognise a token. There has to be one, or Open fails with
	// ErrNoStore.
	WithoutKey bool
	// Logger gets what the owner should know. Required.
	Logger *zap.Logger
	// Committed, if it isn't nil, is told how long each transaction took to become
	// durable. It mustn't wait for anything.
	Committed func(time.Duration)

	// Cache is how many bytes of records are in memory at most, DefaultCache if 0,
	// none if less.
	Cache int64

	// MemTableSize is in bytes, 8 MiB if 0. Tests choose a small one, for
	// memtables that fill up soon.
	MemTableSize int64
	// Time is where the store's clock takes the time from, clock.System if nil.
	Time clock.Source

	// disk is for tests that own the disk's free space.
	disk disk
	// maxRead, discardEvery, maxSnapshot and maxPinned are for tests that can't
	// wait.
	maxRead, discardEvery, maxSnapshot time.Duration
	maxPinned                          int64
	// verification is for tests that have tables verified when they say so.
	verification verification
	// tendEvery is how far the mark is behind at most, one second if 0.
	tendEvery time.Duration
}

// Store is a store.Store in a directory of this machine.
type Store struct {
	dir     string
	options Options
	db      *badger.DB
	keys    atomic.Pointer[[]*token.Key]
	own     ownKeys
	// keysChanged: this opening has put other keys in force.
	keysChanged bool
	logger      *zap.Logger
	space       *space
	clock       *clock.Clock
	list        *deletedList
	uses        *usesFile

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
	// to close it.
	mu     sync.RWMutex
	closed bool
	// dbClosed: the database is closed because it is damaged.
	dbClosed bool

	reads     reads
	snapshots snapshots
	// written counts the bytes of what was committed.
	written atomic.Int64
	// The constants of these names, but for tests.
	maxRead, discardEvery, maxSnapshot time.Duration
	maxPinned                          int64

	// isNew: this opening has made the store.
	isNew bool

	commits   chan *commit
	stop      chan struct{}
	committer sync.WaitGroup

	// failure is why the store has stopped, and failed closed then.
	failure atomic.Pointer[error]
	failed  chan struct{}
	// writesFail: a write has failed, and no other is tried.
	writesFail atomic.Bool

	verification verification
	unverified   atomic.Pointer[unverified]
	// withoutCompactors: the database was opened so, until allVerified.
	withoutCompactors bool
	allVerified       chan struct{}
	checked           checkedRecords
	cache             *cache
	// known is what is known of the tables, writtenDown what is of it on disk.
	knownMu            sync.Mutex
	known, writtenDown map[uint64]identity

	stopTending context.CancelFunc
	tending     sync.WaitGroup
}

// Open opens the store in dir, which it makes if need be. Only one process can
// have a store open. The errors are for the owner and say what to do; of those
// that say that the store is damaged, nothing in dir has been changed.
func Open(dir string, o Options) (*Store, error) {
	s, err := newStore(dir, o)
	if err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	s.space.busy, s.space.listHasRoom = s.badgerIsBusy, s.list.hasRoom
	s.space.begin()
	s.space.last = roomForCreates
	s.committer.Go(s.runCommitter)
	s.tend()
	if o.WithoutKey {
		return s, nil
	}
	if err := s.openKeys(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// newStore returns a store in dir, which it makes if need be, that isn't open.
func newStore(dir string, o Options) (*Store, error) {
	if o.MemTableSize == 0 {
		o.MemTableSize = memTableSize
	}
	if o.tendEvery == 0 {
		o.tendEvery = time.Second
	}
	if o.Time == nil {
		o.Time = clock.System
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
	s := &Store{
		dir: dir, options: o, logger: o.logger(),
		space:   &space{dir: data, disk: o.disk, memTable: o.MemTableSize, logger: o.logger()},
		maxRead: cmp.Or(o.maxRead, maxRead), discardEvery: cmp.Or(o.discardEvery, discardEvery),
		maxSnapshot: cmp.Or(o.maxSnapshot, maxSnapshot), maxPinned: cmp.Or(o.maxPinned, maxPinned),
		commits: make(chan *commit, maxBatch),
		stop:    make(chan struct{}),
		failed:  make(chan struct{}), allVerified: make(chan struct{}),
		verification: o.verification.orDefault(),
		cache:        newCache(max(0, cmp.Or(o.Cache, DefaultCache))),
	}
	return s, s.space.checkOpen()
}

// open opens the database, if it is whole.
func (s *Store) open() error {
	e, err := s.look()
	if err != nil {
		return err
	}
	if s.db, err = openBadger(s.badgerOptions()); err != nil {
		return errors.Join(openError(s.dir, err), putBack(s.dir))
	}
	s.withoutCompactors = s.db.Opts().NumCompactors == 0
	err = s.prepare(e)
	if err == nil {
		if err = s.loadSettings(); err != nil {
			err = fmt.Errorf("reading the settings in the token store in %s: %w", s.dir, err)
		}
	}
	if err == nil {
		if err = s.loadHolds(); err != nil {
			err = fmt.Errorf("reading who is blocked in the token store in %s: %w", s.dir, err)
		}
	}
	if err == nil {
		err = s.dropAside(e)
	}
	if err == nil {
		s.uses = openUses(s.dir, s.list.store, s.isNew, s.logger)
	}
	if err != nil {
		_ = s.db.Close()
		if s.list != nil {
			_ = s.list.close()
		}
		return errors.Join(err, putBack(s.dir))
	}
	return nil
}

// openBadger opens the database. What panics on the way is an error.
func openBadger(o badger.Options) (db *badger.DB, err error) {
	defer recovered(&err)
	return badger.OpenManaged(o)
}

func (o *Options) logger() *zap.Logger {
	if o.Logger == nil {
		return zap.NewNop()
	}
	return o.Logger
}

func (s *Store) badgerOptions() badger.Options {
	o := s.options
	// A compaction believes what it reads.
	compactors := 2
	if u := s.unverified.Load(); u != nil && u.left.Load() > 0 {
		compactors = 0
	}
	return badger.DefaultOptions(s.space.dir).
		WithLogger(badgerLogger{o.logger().Named("badger").Sugar()}).
		WithMemTableSize(o.MemTableSize).
		WithNumMemtables(2).
		WithNumCompactors(compactors).
		// While there are no compactors, full memtables pile up.
		WithNumLevelZeroTablesStall(stallAt(compactors)).
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

// stallAt returns at how many tables of the first level writing waits for a
// compaction.
func stallAt(compactors int) int {
	if compactors == 0 {
		return 1000
	}
	return badger.DefaultOptions("").NumLevelZeroTablesStall
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

// Clock is the clock that this store remembers.
func (s *Store) Clock() *clock.Clock { return s.clock }

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
	s.cache.close()

	close(s.stop)
	s.committer.Wait()
	s.stopTending()
	s.tending.Wait()
	defer s.list.close()
	defer s.uses.close()
	if s.failure.Load() != nil {
		// What is damaged stays as it is, and the mark where it was.
		if !s.dbClosed {
			_ = closeDB(s.db)
		}
		return nil
	}
	if err := s.list.note(s.Position()); err != nil {
		s.logger.Warn("the token store's mark can't be written", zap.Error(err))
	}
	if !s.space.canClose() {
		s.logger.Warn("the disk is too full to tidy up the token store; nothing is lost, and the next start will do it", zap.String("dir", s.space.dir))
		return nil
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the token store: %w", err)
	}
	if err := s.writeDownLastTables(); err != nil {
		return fmt.Errorf("closing the token store: %w", err)
	}
	return nil
}

// badgerIsBusy tells whether memtables are being put away, or tables compacted.
func (s *Store) badgerIsBusy() bool {
	logs := 0
	s.space.eachFile(".mem", func(string, int64) { logs++ })
	if s.db.Opts().NumCompactors == 0 {
		return logs > 1
	}
	return logs > 1 || slices.ContainsFunc(s.db.Levels(), func(l badger.LevelInfo) bool { return l.Score >= 1 })
}

func openError(dir string, err error) error {
	// Badger wraps the error of flock in a text of its own.
	if strings.Contains(err.Error(), "directory lock") {
		return inUse(dir)
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
