package badgerstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// maxBatch is how many mutations share one transaction and one sync.
const maxBatch = 256

// discardEvery is how often versions are given up that have been overwritten and
// that no read under way may come to.
const discardEvery = time.Second

// commit is one mutation under way.
type commit struct {
	ctx      context.Context
	mutation store.Mutation
	lines    [][]byte
	effect   effect
	outcome  store.Outcome
	// taken is what the mutation takes away.
	taken []takenAway
	err   error
	done  chan struct{}
}

func (c *commit) finish(err error) {
	c.err = err
	close(c.done)
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, m store.Mutation, lines ...[]byte) (store.Outcome, error) {
	if touch, ok := m.(store.Touch); ok && len(lines) == 0 && allNumbered(touch.Uses) {
		return store.Outcome{Position: s.Position()}, s.writeUses(touch.Uses)
	}
	c := &commit{ctx: ctx, mutation: m, lines: lines, done: make(chan struct{})}
	if err := s.enqueue(c); err != nil {
		return store.Outcome{}, err
	}
	select {
	case <-c.done:
		return c.outcome, c.err
	case <-ctx.Done():
		return store.Outcome{}, fmt.Errorf("%w: %w", store.ErrUnavailable, context.Cause(ctx))
	}
}

// enqueue hands c to the committer. Close waits for this lock, so that what is
// in the queue when the committer is told to stop is all there will be.
func (s *Store) enqueue(c *commit) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed || s.failure.Load() != nil {
		return store.ErrUnavailable
	}
	select {
	case s.commits <- c:
		return nil
	case <-c.ctx.Done():
		return fmt.Errorf("%w: %w", store.ErrUnavailable, context.Cause(c.ctx))
	}
}

// committer is the one writer of the database.
type committer struct {
	*Store
	// broken is set when a batch's fate is unknown: what a failed sync left
	// behind must not become durable under a later one.
	broken error
	// discarded is when versions were last given up.
	discarded time.Time
}

// runCommitter commits what is queued, as many mutations at a time as are
// waiting, until it is told to stop and the queue is empty.
func (s *Store) runCommitter() {
	w := &committer{Store: s, discarded: time.Now()}
	allVerified, failed := s.allVerified, s.failed
	for {
		select {
		case c := <-s.commits:
			w.commit(s.gather(c))
		case <-allVerified:
			allVerified = nil
			w.startCompactions()
		case <-failed:
			failed = nil
			w.abandon()
		case <-s.stop:
			for len(s.commits) > 0 {
				w.commit(s.gather(<-s.commits))
			}
			return
		}
	}
}

// gather returns first and whatever else waits.
func (s *Store) gather(first *commit) []*commit {
	batch := append(make([]*commit, 0, 16), first)
	for len(batch) < maxBatch {
		select {
		case c := <-s.commits:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// commit commits batch in as few transactions as it fits in.
func (w *committer) commit(batch []*commit) {
	for len(batch) > 0 {
		rest := batch
		if err := w.guard(func() error { rest = w.commitSome(batch); return nil }); err != nil {
			w.broken = err
			rest = unanswered(batch)
		}
		batch = rest
	}
	if w.broken == nil && time.Since(w.discarded) >= w.discardEvery {
		w.discard()
	}
}

func (w *committer) discard() {
	w.endSnapshots()
	if unread, ok := w.reads.next(w.applied.Load()); ok {
		w.db.SetDiscardTs(unread)
		w.discarded = time.Now()
	}
}

// unanswered returns those of a batch that nobody has answered.
func unanswered(batch []*commit) (rest []*commit) {
	for _, c := range batch {
		select {
		case <-c.done:
		default:
			rest = append(rest, c)
		}
	}
	return rest
}

// commitSome commits as much of batch as fits in one transaction, answers
// those mutations, and returns the rest.
func (w *committer) commitSome(batch []*commit) (rest []*commit) {
	if failure := w.failure.Load(); failure != nil && w.broken == nil {
		w.broken = *failure
	}
	if w.broken != nil {
		for _, c := range batch {
			c.finish(w.broken)
		}
		return nil
	}
	room := w.space.look()
	at := w.Position()
	t := w.transaction(at.Revision)
	defer t.txn.Discard()

	// Those that are refused may be so because of others in the batch: they
	// hear of it when they can see why.
	var accepted, refused []*commit
	defer func() {
		for _, c := range refused {
			c.finish(c.err)
		}
	}()
	for i, c := range batch {
		next := store.Position{Epoch: at.Epoch, Revision: at.Revision + 1}
		err := w.tryOne(t, c, room, next)
		if errors.Is(err, errNoFit) {
			if len(accepted) > 0 {
				rest = batch[i:]
				break
			}
			err = store.ErrTooLarge
		}
		if err != nil {
			c.err = err
			refused = append(refused, c)
			continue
		}
		at = c.outcome.Position
		accepted = append(accepted, c)
		if c.effect.epoch != 0 {
			// What a transaction takes away is all of one epoch.
			rest = batch[i+1:]
			break
		}
	}
	if len(accepted) == 0 {
		return rest
	}
	began := time.Now()
	err := w.write(t, accepted)
	if err != nil {
		w.logger.Error("the token store can't be written any more; it refuses all changes until it is restarted", zap.Error(err))
		w.broken = err
		w.writesFail.Store(true)
	} else if w.options.Committed != nil {
		w.options.Committed(time.Since(began))
	}
	for _, c := range accepted {
		c.finish(cmp.Or(err, c.err))
	}
	return rest
}

// tryOne adds c's mutation to the transaction, whole or not at all.
func (w *committer) tryOne(t *transaction, c *commit, room room, at store.Position) error {
	if err := c.ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if room < roomFor(c.mutation) {
		return store.ErrFull
	}
	e, err := effectOf(t.txn, c.mutation, at.Revision)
	if err != nil {
		return err
	}
	at.Epoch = max(at.Epoch, e.epoch)
	posted, err := post(t.txn, at, c.lines)
	if err != nil {
		return err
	}
	c.taken = takenBy(c.mutation, e.writes, at)
	c.effect, c.outcome = e, store.Outcome{Position: at, Ended: e.ended, Revoked: e.revoked}
	return t.add(append(e.writes, posted...))
}

// write makes a transaction durable, and then visible.
func (w *committer) write(t *transaction, accepted []*commit) error {
	at := accepted[len(accepted)-1].outcome.Position
	var taken []takenAway
	for _, c := range accepted {
		taken = append(taken, c.taken...)
	}
	meta := batchMeta{at.Revision, w.applied.Load(), w.list.store}
	if err := t.set(write{metaRevision, meta.encode()}); err != nil {
		return unavailable(err)
	}
	if len(taken) > 0 {
		reach := listReach{w.list.last, w.list.last.after(taken), w.applied.Load()}
		if err := t.set(write{metaList, reach.append(nil)}); err != nil {
			return unavailable(err)
		}
	}
	if err := t.txn.CommitAt(at.Revision, nil); err != nil {
		return fmt.Errorf("%w: committing: %T", store.ErrUnavailable, err)
	}
	if err := w.space.wrote(t.size + ownEntries*entryOverhead); err != nil {
		return fmt.Errorf("%w: committing: %w", store.ErrUnavailable, err)
	}
	if len(taken) > 0 {
		if err := w.list.append(taken, at); err != nil {
			return fmt.Errorf("%w: committing: %w", store.ErrUnavailable, err)
		}
	}
	for _, c := range accepted {
		if len(c.effect.uses) > 0 {
			c.err = w.uses.write(c.effect.uses)
		}
		if len(c.effect.forgotten) > 0 {
			w.uses.forget(c.effect.forgotten)
		}
	}
	w.written.Add(t.size)
	w.showSettings(accepted)
	w.addHolds(accepted)
	w.cache.drop(accepted, at.Revision)
	w.show(at)
	w.liftHolds(accepted)
	return nil
}

// transaction is a Badger transaction that knows how much more it can take.
type transaction struct {
	txn         *snapshot
	count, size int64
	maxCount    int64
	maxSize     int64
	maxValue    int64
}

// ownEntries are those of each transaction: the revision, where deleted.list is,
// and Badger's own end mark.
const ownEntries = 4

// errNoFit: the transaction has no room for that.
var errNoFit = fmt.Errorf("no room in the transaction")

// entryOverhead is more than what Badger adds to a key and a value, in a
// transaction's count, a memtable's log or, on average, its skip list.
const entryOverhead = 64

func (s *Store) transaction(readAt uint64) *transaction {
	return &transaction{
		txn:      s.snapshot(readAt, true),
		maxCount: s.db.MaxBatchCount() - ownEntries,
		maxSize:  s.db.MaxBatchSize() - ownEntries*entryOverhead,
		maxValue: s.db.Opts().ValueThreshold,
	}
}

// add adds all writes or none.
func (t *transaction) add(writes []write) error {
	size := int64(0)
	for _, w := range writes {
		// It would go to the value log, which nobody verifies.
		if int64(len(w.value)) >= t.maxValue {
			return store.ErrTooLarge
		}
		size += int64(len(w.key)+len(w.value)) + entryOverhead
	}
	if t.count+int64(len(writes)) >= t.maxCount || t.size+size >= t.maxSize {
		return errNoFit
	}
	for _, w := range writes {
		if err := t.set(w); err != nil {
			return unavailable(err)
		}
	}
	t.count += int64(len(writes))
	t.size += size
	return nil
}

func (t *transaction) set(w write) error {
	if w.value == nil {
		return t.txn.Delete(w.key)
	}
	return t.txn.Set(w.key, w.value)
}
