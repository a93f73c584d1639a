package backup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/wholefile"
)

// Schedule says which backups are made without being asked for.
type Schedule struct {
	// Dir is where they go. It is made if need be.
	Dir string
	// Every is how much time passes between two.
	Every time.Duration
	// Keep is how many stay, at least 1.
	Keep int
	// Recipients are those they are encrypted to, none for plain files.
	Recipients []age.Recipient
}

// Source is a store that is backed up.
type Source interface {
	Snapshot() (store.Snapshot, error)
	// CopyDeletedList writes the list of all that was taken away, up to now.
	CopyDeletedList(io.Writer) error
	// OtherStore returns "" if the store's list knows all that the one that is read
	// does, or else a word for the store that that one is of.
	OtherStore(list io.Reader) string
	// DeletedListSize changes when something was taken away.
	DeletedListSize() int64
}

// Keeper makes backups of one store by the schedule that is in force. There is one of
// it as long as the store is open, whatever configurations come and go.
type Keeper struct {
	config KeeperConfig
	stop   context.CancelFunc
	ended  chan struct{}
	// wake says that there is another schedule.
	wake chan struct{}

	mu       sync.Mutex
	schedule *Schedule
}

// KeeperConfig is what a Keeper works with.
type KeeperConfig struct {
	Source Source
	// DeletedList is the name of the copy of the list.
	DeletedList string
	// Now is the time by which backups are named.
	Now    func() time.Time
	Logger *zap.Logger
	// Succeeded is told when the last backup was made, also of a process before.
	Succeeded func(time.Time)
}

const (
	// retryAfter is how long nothing is tried after a failure, if Every isn't less.
	retryAfter = 10 * time.Minute
	// copyEvery is how far the copy of the list is behind, at most, unless copying it
	// takes long.
	copyEvery = time.Minute
	// abandoned is how old a file is that a crash has left.
	abandoned = time.Hour
)

// NewKeeper returns a Keeper without a schedule.
func NewKeeper(c KeeperConfig) *Keeper {
	ctx, stop := context.WithCancel(context.Background())
	k := &Keeper{config: c, stop: stop, ended: make(chan struct{}), wake: make(chan struct{}, 1)}
	go func() {
		defer close(k.ended)
		k.run(ctx)
	}()
	return k
}

// Use puts a schedule in force, nil for none. A backup that is being made is
// finished.
func (k *Keeper) Use(s *Schedule) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.schedule = s
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Close ends it. A backup that is being made is broken off, and leaves nothing.
func (k *Keeper) Close() {
	k.stop()
	<-k.ended
}

func (k *Keeper) scheduled() *Schedule {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.schedule
}

func (k *Keeper) run(ctx context.Context) {
	var at *runs
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			// What was deleted last is in the copy, too, when the machine is gone.
			if s := k.scheduled(); s != nil && at != nil && at.dir == s.Dir {
				at.slow = 0
				at.copyList(context.WithoutCancel(ctx), s)
			}
			return
		case <-k.wake:
		case <-timer.C:
		}
		s := k.scheduled()
		if s == nil {
			at = nil
			continue
		}
		if at == nil || at.dir != s.Dir {
			at = k.resume(s)
		}
		at.backUp(ctx, s)
		at.copyList(ctx, s)
		timer.Reset(at.wait(s))
	}
}

// runs are what has been done in a directory.
type runs struct {
	*KeeperConfig
	dir string
	// last is when the last backup was made, tried when the last one failed.
	last, tried time.Time
	// said are the failures that the log knows of, by what was tried.
	said map[string]string
	// listed is the size of the list that has been copied, -1 before; copied when
	// that was, and slow for how long it isn't copied again.
	listed int64
	copied time.Time
	slow   time.Duration
}

// resume finds out what earlier processes have done in a directory.
func (k *Keeper) resume(s *Schedule) *runs {
	r := &runs{KeeperConfig: &k.config, dir: s.Dir, listed: -1, said: make(map[string]string)}
	now := k.config.Now()
	ours := func(name string) bool {
		_, ok := NamedAt(name)
		return ok || name == k.config.DeletedList
	}
	if err := wholefile.RemoveLeftovers(s.Dir, now.Add(-abandoned), ours); err != nil && !errors.Is(err, os.ErrNotExist) {
		k.config.Logger.Warn("looking at the backups", zap.String("dir", s.Dir), zap.Error(err))
	}
	// One that was made while the clock was wrong says nothing.
	if all, err := madeBefore(s.Dir, now); err == nil && len(all) > 0 {
		r.last = all[0].at
		r.Succeeded(r.last)
	}
	return r
}

// due is when the next backup is to be made.
func (r *runs) due(s *Schedule) time.Time {
	due := r.last.Add(s.Every)
	if r.last.IsZero() {
		due = r.last
	}
	if !r.tried.IsZero() {
		if again := r.tried.Add(min(retryAfter, s.Every)); again.After(due) {
			return again
		}
	}
	return due
}

// wait is for how long there is nothing to do. It isn't for long, since clocks are
// set, too.
func (r *runs) wait(s *Schedule) time.Duration {
	return max(min(r.due(s).Sub(r.Now()), copyEvery), 10*time.Millisecond)
}

func (r *runs) backUp(ctx context.Context, s *Schedule) {
	now := r.Now()
	// A clock that was ahead and is right again mustn't keep the next one away.
	if r.last.After(now) {
		r.last = now
	}
	if r.tried.After(now) {
		r.tried = now
	}
	if now.Before(r.due(s)) {
		return
	}
	name, err := r.tryBackUp(ctx, s, now)
	if ctx.Err() != nil {
		return
	}
	if r.tell("backing up the token store", err); err != nil {
		r.tried = now
		return
	}
	r.last, r.tried = now, time.Time{}
	r.Succeeded(now)
	// A restore needs a list that goes as far as the backup.
	r.listed = -1
	r.tell("removing old backups", r.removeOld(s, name, now))
}

// tell tells the log that something fails, or works again, once.
func (r *runs) tell(what string, err error) {
	switch said := r.said[what]; {
	case err == nil && said != "":
		r.Logger.Info(what+" works again", zap.String("dir", r.dir))
		delete(r.said, what)
	case err != nil && said != err.Error():
		r.Logger.Error(what+" failed; it is tried again, and said again only if something else is wrong", zap.String("dir", r.dir), zap.Error(err))
		r.said[what] = err.Error()
	}
}

// tryBackUp makes a backup, and returns its name.
func (r *runs) tryBackUp(ctx context.Context, s *Schedule, now time.Time) (name string, err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return "", err
	}
	snapshot, err := r.Source.Snapshot()
	if err != nil {
		return "", err
	}
	defer snapshot.Close()
	var sum Summary
	name = Name(now, len(s.Recipients) > 0)
	file := filepath.Join(s.Dir, name)
	begun := time.Now()
	size := int64(0)
	err = wholefile.Write(file, func(to *os.File) (err error) {
		w := &checked{ctx: ctx, to: to, hash: sha256.New()}
		if sum, err = Write(w, snapshot, Options{Time: now, Recipients: s.Recipients}); err != nil {
			return err
		}
		size = w.size
		return w.readBack(to)
	})
	if err != nil {
		return "", err
	}
	r.Logger.Info("backed up the token store", zap.String("file", file), zap.Int64("bytes", size),
		zap.Int("tokens", sum.Records), zap.Uint64("revision", sum.Revision), zap.Duration("took", time.Since(begun)))
	return name, nil
}

// checked writes until the context ends, and knows what it has written.
type checked struct {
	ctx  context.Context
	to   io.Writer
	hash hash.Hash
	size int64
}

func (c *checked) Write(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.to.Write(b)
	c.hash.Write(b[:n])
	c.size += int64(n)
	return n, err
}

// readBack returns nil if a file holds what was written. What an older backup is good
// for isn't given up for one that can't be read.
func (c *checked) readBack(f *os.File) error {
	again := sha256.New()
	if _, err := io.Copy(again, io.NewSectionReader(f, 0, c.size)); err != nil {
		return err
	}
	if !slices.Equal(again.Sum(nil), c.hash.Sum(nil)) {
		return errors.New("what was written isn't what is read")
	}
	return nil
}

// made is a backup of a schedule.
type made struct {
	name string
	at   time.Time
}

// madeBefore returns the backups in dir that were made by then, the last one first.
func madeBefore(dir string, then time.Time) (all []made, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if at, ok := NamedAt(file.Name()); ok && file.Type().IsRegular() && !at.After(then) {
			all = append(all, made{file.Name(), at})
		}
	}
	slices.SortFunc(all, func(a, b made) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(b.name, a.name)) })
	return all, nil
}

// Newest returns the path of the newest backup in dir that was made by then, "" if
// there is none.
func Newest(dir string, then time.Time) (string, error) {
	all, err := madeBefore(dir, then)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return filepath.Join(dir, all[0].name), nil
}

// removeOld removes all but the newest backups. The newest one is whole.
func (r *runs) removeOld(s *Schedule, newest string, now time.Time) error {
	all, err := madeBefore(s.Dir, now)
	if err != nil {
		return err
	}
	for _, old := range all[min(s.Keep, len(all)):] {
		if old.name == newest {
			continue
		}
		if err := os.Remove(filepath.Join(s.Dir, old.name)); err != nil {
			return err
		}
	}
	return nil
}

// copyList brings the copy of the list up to date.
func (r *runs) copyList(ctx context.Context, s *Schedule) {
	size := r.Source.DeletedListSize()
	if ctx.Err() != nil || size == r.listed || r.last.IsZero() || r.listed >= 0 && time.Since(r.copied) < r.slow {
		return
	}
	begun := time.Now()
	name := filepath.Join(s.Dir, r.DeletedList)
	err := r.keepOther(name)
	if err == nil {
		err = wholefile.Write(name, func(to *os.File) error { return r.Source.CopyDeletedList(to) })
	}
	r.copied = time.Now()
	if r.tell("copying "+r.DeletedList, err); err != nil {
		return
	}
	// It takes a hundredth of the time at most.
	r.listed, r.slow = size, 100*time.Since(begun)
}

// keepOther gives another name to a list that is of another store, or of a later state
// of this one: of its backups only it knows what was deleted since. It is there when a
// server has lost its store and begins a new one, or an earlier one.
func (r *runs) keepOther(name string) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	other := r.Source.OtherStore(f)
	if err := f.Close(); err != nil || other == "" {
		return err
	}
	kept := OtherList(name, other)
	if err := os.Rename(name, kept); err != nil {
		return err
	}
	r.Logger.Warn("beside the backups is a list that knows of deletions which this store doesn't: it is of another store, or of a later state of this one, which then has been put back to an earlier one, where what was deleted since works again; it is kept, since those backups can't be restored without it", zap.String("file", kept))
	return wholefile.SyncDir(filepath.Dir(name))
}

// OtherList is what the list with a name is called when it is of another store; of
// any, for "*".
func OtherList(name, store string) string {
	ext := filepath.Ext(name)
	return strings.TrimSuffix(name, ext) + "-" + store + ext
}
