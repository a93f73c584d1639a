package registry

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

const (
	// MaxPage is how many of others' tokens an administrator lists at a time.
	MaxPage = 1000
	// MaxSorted is how far into a list that isn't in the order of creation one
	// can look: Offset and Limit together.
	MaxSorted = 10_000
	// readAtOnce is how many records are in memory at a time.
	readAtOnce = 50
)

// What lists under way are bounded by. Who reads one slowly holds a page of the
// index and of records meanwhile, which with the longest texts is half a MiB.
const (
	listsAtOnce       = 128
	listsOfUserAtOnce = 4
	// listTurn is how long a list waits for others to end.
	listTurn = 10 * time.Second
)

// listing bounds the lists under way.
type listing struct {
	users turns
	all   chan struct{}
}

func newListing() listing {
	return listing{turns{atOnce: listsOfUserAtOnce}, make(chan struct{}, listsAtOnce)}
}

// begin waits until another list of the user can be read, which ends when done
// is called. It fails with ErrBusy or store.ErrUnavailable.
func (l *listing) begin(ctx context.Context, of turnOf) (done func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listTurn, ErrBusy)
	defer cancel()
	left, err := l.users.take(ctx, of)
	if err != nil {
		return nil, err
	}
	select {
	case l.all <- struct{}{}:
		return func() { <-l.all; left() }, nil
	case <-ctx.Done():
		left()
		if cause := context.Cause(ctx); !errors.Is(cause, ErrBusy) {
			return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, cause)
		}
		return nil, fmt.Errorf("%w: too many lists are being read", store.ErrUnavailable)
	}
}

// Everyone stands, as Listing.User, for all users. No user's id is that.
const Everyone = "*"

// Order is what a list is sorted by. Ties are in the order of creation.
type Order int

const (
	// ByCreation is oldest first.
	ByCreation Order = iota
	// ByExpiry is what expires first, and what never does last.
	ByExpiry
	// ByLastUse is what was never used first, and what was used last, last.
	ByLastUse
)

// State says which tokens of a list are wanted.
type State int

const (
	// AnyState is all that aren't deleted.
	AnyState State = iota
	// Active tokens haven't expired.
	Active
	// Expired tokens have.
	Expired
	// ExpiringSoon are those active ones of which ExpiresSoon tells so.
	ExpiringSoon
)

// ExpiresSoon tells whether a token that was made for so long is about to
// expire, with so much left: within a week, or, where it was made for less than
// ten weeks, in the last tenth of that.
func ExpiresSoon(lifetime, left time.Duration) bool {
	const week = 7 * 24 * time.Hour
	return left > 0 && left < min(week, lifetime/10)
}

// Listing says which tokens to list.
type Listing struct {
	// User is whose tokens an administrator asks for, or Everyone; the
	// caller's own if "".
	User string
	// Order, or with Descending its reverse.
	Order      Order
	Descending bool
	State      State
	// ExpiringWithin is for how long from now on a token may be active at most. 0
	// is any.
	ExpiringWithin time.Duration
	// UnusedFor is for how long a token hasn't been used, since it was made if
	// it never was. 0 is any.
	UnusedFor time.Duration
	// Match tells of a record whether its token is wanted; nil wants all. All
	// records are read for it.
	Match func(*store.Record) bool
	// After is the token to go on behind, in the order of creation alone and
	// without Offset. It may have ended since.
	After uuid.UUID
	// Offset is how many to pass over, Limit how many to return: 0 is all of
	// the caller's own in the order of creation, else MaxPage.
	Offset, Limit int
	// Count asks List for the number of all.
	Count bool
}

// List returns the tokens that l asks for, and their number if asked for. It
// fails as Tokens and Count do.
func (r *Registry) List(p *Project, c Caller, l Listing) (tokens []Token, count int, err error) {
	tokens = []Token{}
	for page, err := range r.Tokens(context.Background(), p, c, l) {
		if err != nil {
			return nil, 0, err
		}
		tokens = append(tokens, page...)
	}
	if l.Count {
		count, err = r.Count(context.Background(), p, c, l)
	}
	return tokens, count, err
}

// Tokens returns the tokens that l asks for, a few at a time and read when they
// are wanted: each page is of a moment of its own. What is deleted meanwhile
// may be missing, and what is made meanwhile be there.
//
// It ends with ErrForbidden, ErrInvalid, ErrBusy or store.ErrUnavailable.
func (r *Registry) Tokens(ctx context.Context, p *Project, c Caller, l Listing) iter.Seq2[[]Token, error] {
	return r.tokens(ctx, turnOf{p.Name, c.User.ID}, l, func() (*search, error) { return r.search(ctx, p, c, l) })
}

func (r *Registry) tokens(ctx context.Context, of turnOf, l Listing, begin func() (*search, error)) iter.Seq2[[]Token, error] {
	return func(yield func([]Token, error) bool) {
		done, err := r.listing.begin(ctx, of)
		if err != nil {
			yield(nil, err)
			return
		}
		defer done()
		s, err := begin()
		if err == nil && l.Order == ByCreation {
			err = s.inOrder(yield)
		} else if err == nil {
			err = s.sorted(yield)
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}

// Count returns how many tokens l asks for, its After, Offset and Limit aside.
// It fails as Tokens does.
func (r *Registry) Count(ctx context.Context, p *Project, c Caller, l Listing) (n int, err error) {
	done, err := r.listing.begin(ctx, turnOf{p.Name, c.User.ID})
	if err != nil {
		return 0, err
	}
	defer done()
	l.After = uuid.Nil
	s, err := r.search(ctx, p, c, l)
	if err != nil {
		return 0, err
	}
	return s.count()
}

// search is a listing under way.
type search struct {
	*Registry
	Listing
	ctx   context.Context
	query store.Query
	now   time.Time
}

func (r *Registry) search(ctx context.Context, p *Project, c Caller, l Listing) (*search, error) {
	s := &search{r, l, ctx, store.Query{Project: p.Name, User: c.User.ID}, r.Now()}
	if l.User != "" {
		if err := p.MayAdministrate(c); err != nil {
			return nil, err
		}
		if s.query.User = l.User; l.User == Everyone {
			s.query.User = ""
		}
		if s.Limit == 0 || s.Limit > MaxPage {
			s.Limit = MaxPage
		}
	}
	if l.Order == ByCreation {
		s.query.Descending = l.Descending
		return s, s.goOnAfter(l.After)
	}
	if s.Limit == 0 {
		s.Limit = MaxPage
	}
	switch {
	case l.After != uuid.Nil:
		return nil, refuse(ErrInvalid, "after goes with the order of creation: sort by createdAt, or use offset.")
	case s.Offset > MaxSorted || s.Offset+s.Limit > MaxSorted:
		return nil, refuse(ErrInvalid, "offset and limit can be %d together where a list isn't sorted by createdAt.", MaxSorted)
	}
	return s, nil
}

// goOnAfter finds the place of a token that has to be one of the list, or to
// have been.
func (s *search) goOnAfter(id uuid.UUID) error {
	if id == uuid.Nil {
		return nil
	}
	if s.Offset > 0 {
		return refuse(ErrInvalid, "after and offset can't be given together.")
	}
	r, err := s.Store.ByID(id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil || r.Project != s.query.Project || s.query.User != "" && r.User.ID != s.query.User {
		return refuse(ErrInvalid, "after must be the id of a token of the list.")
	}
	s.query.After = store.Place{Created: r.Created, ID: id}
	return nil
}

// errEnough ends a search that has what it wants.
var errEnough = errors.New("enough")

// found is an entry that matches, and its last use if that had to be looked at.
type found struct {
	store.Entry
	lastUse time.Time
}

// end is when a token expires, which it never does after all others have.
func (f *found) end() time.Time {
	if f.Expires.IsZero() {
		return time.UnixMilli(math.MaxInt64)
	}
	return f.Expires
}

// entries calls each with what matches, a page at a time, until it returns an
// error, and count with how many those are.
func (s *search) entries(each func([]found) error, count func(int)) error {
	query := s.query
	for {
		if err := s.ctx.Err(); err != nil {
			return errors.Join(store.ErrUnavailable, context.Cause(s.ctx))
		}
		entries, err := s.Store.Scan(query)
		if err != nil {
			return err
		}
		matching, err := s.matching(entries)
		if err != nil {
			return err
		}
		count(len(matching))
		if err := each(matching); err != nil {
			return err
		}
		if len(entries) < store.MaxScan {
			return nil
		}
		query.After = entries[len(entries)-1].Place
	}
}

func (s *search) matching(entries []store.Entry) ([]found, error) {
	matching, err := s.matchingByEntry(entries)
	if err != nil || s.Match == nil {
		return matching, err
	}
	return s.matchingByRecord(matching)
}

// matchingByRecord returns those that Match wants.
func (s *search) matchingByRecord(some []found) ([]found, error) {
	wanted := make(map[uuid.UUID]bool)
	for chunk := range slices.Chunk(some, readAtOnce) {
		records, err := s.records(chunk)
		if err != nil {
			return nil, err
		}
		for i := range records {
			wanted[records[i].ID] = s.Match(&records[i])
		}
	}
	return slices.DeleteFunc(some, func(f found) bool { return !wanted[f.ID] }), nil
}

func (s *search) matchingByEntry(entries []store.Entry) (matching []found, err error) {
	var ids []uuid.UUID
	for _, e := range entries {
		if s.wants(e) {
			matching = append(matching, found{Entry: e})
			ids = append(ids, e.ID)
		}
	}
	if s.UnusedFor == 0 && s.Order != ByLastUse {
		return matching, nil
	}
	uses, err := s.lastUses(ids...)
	if err != nil {
		return nil, err
	}
	for i := range matching {
		matching[i].lastUse = uses[i].At
	}
	if s.UnusedFor == 0 {
		return matching, nil
	}
	latest := s.now.Add(-s.UnusedFor)
	return slices.DeleteFunc(matching, func(f found) bool {
		if f.lastUse.IsZero() {
			return f.Created.After(latest)
		}
		return f.lastUse.After(latest)
	}), nil
}

// wants tells whether a token is one of those that State and ExpiringWithin say.
func (s *search) wants(e store.Entry) bool {
	left := time.Duration(math.MaxInt64)
	if !e.Expires.IsZero() {
		left = e.Expires.Sub(s.now)
	}
	if s.ExpiringWithin > 0 && (left <= 0 || left > s.ExpiringWithin) {
		return false
	}
	switch s.State {
	case Active:
		return left > 0
	case Expired:
		return left <= 0
	case ExpiringSoon:
		return ExpiresSoon(e.Expires.Sub(e.Created), left)
	}
	return true
}

// count returns how many there are.
func (s *search) count() (n int, err error) {
	return n, s.entries(func([]found) error { return nil }, func(some int) { n += some })
}

// inOrder yields tokens as they come.
func (s *search) inOrder(yield func([]Token, error) bool) error {
	skip, left := s.Offset, s.Limit
	if left == 0 {
		left = math.MaxInt
	}
	return s.entries(func(some []found) error {
		skipped := min(skip, len(some))
		skip -= skipped
		for chunk := range slices.Chunk(some[skipped:], readAtOnce) {
			tokens, err := s.read(chunk[:min(left, len(chunk))])
			if err != nil {
				return err
			}
			left -= len(tokens)
			if len(tokens) > 0 && !yield(tokens, nil) || left == 0 {
				return errEnough
			}
		}
		return nil
	}, func(int) {})
}

// sorted yields tokens once all have been looked at, of which it keeps no more
// than are wanted.
func (s *search) sorted(yield func([]Token, error) bool) error {
	best := &firsts{compare: s.compare}
	wanted := s.Offset + s.Limit
	err := s.entries(func(some []found) error {
		for _, f := range some {
			best.keep(f, wanted)
		}
		return nil
	}, func(int) {})
	if err != nil {
		return err
	}
	slices.SortFunc(best.all, s.compare)
	for chunk := range slices.Chunk(best.all[min(s.Offset, len(best.all)):], readAtOnce) {
		tokens, err := s.read(chunk)
		if err != nil {
			return err
		}
		if len(tokens) > 0 && !yield(tokens, nil) {
			return nil
		}
	}
	return nil
}

func (s *search) compare(a, b found) int {
	c := 0
	switch s.Order {
	case ByLastUse:
		c = a.lastUse.Compare(b.lastUse)
	case ByExpiry:
		c = a.end().Compare(b.end())
	}
	c = cmp.Or(c, a.Created.Compare(b.Created), slices.Compare(a.ID[:], b.ID[:]))
	if s.Descending {
		return -c
	}
	return c
}

// firsts are those that come first, as a heap with the last of them on top.
type firsts struct {
	all     []found
	compare func(a, b found) int
}

func (h *firsts) keep(f found, wanted int) {
	switch {
	case len(h.all) < wanted:
		heap.Push(h, f)
	case h.compare(f, h.all[0]) < 0:
		h.all[0] = f
		heap.Fix(h, 0)
	}
}

func (h *firsts) Len() int           { return len(h.all) }
func (h *firsts) Less(i, j int) bool { return h.compare(h.all[i], h.all[j]) > 0 }
func (h *firsts) Swap(i, j int)      { h.all[i], h.all[j] = h.all[j], h.all[i] }
func (h *firsts) Push(f any)         { h.all = append(h.all, f.(found)) }
func (h *firsts) Pop() any           { panic("nothing is taken out of it") }

// read returns the tokens that were found and are still there.
func (s *search) read(some []found) ([]Token, error) {
	records, err := s.records(some)
	if err != nil {
		return nil, err
	}
	return s.withUses(records)
}

func (s *search) records(some []found) ([]store.Record, error) {
	ids := make([]uuid.UUID, len(some))
	for i, f := range some {
		ids[i] = f.ID
	}
	return s.Store.Records(ids...)
}

func (r *Registry) withUses(records []store.Record) ([]Token, error) {
	ids := make([]uuid.UUID, len(records))
	for i := range records {
		ids[i] = records[i].ID
	}
	uses, err := r.lastUses(ids...)
	if err != nil {
		return nil, err
	}
	tokens := make([]Token, len(records))
	for i, record := range records {
		tokens[i] = Token{record, uses[i].At, uses[i].Address}
	}
	return tokens, nil
}
