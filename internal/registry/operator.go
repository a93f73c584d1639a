package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Operator is whoever runs the gateway: may see everything, and take anything
// away, of every project that has tokens, also of one that the configuration which
// runs doesn't have any more. Nobody else is asked, so no rules are; what is
// decided about tokens is decided by the same code as for everybody.
type Operator struct {
	*Registry
	Origin
}

// Operator returns the one who asks from there.
func (r *Registry) Operator(from Origin) *Operator { return &Operator{r, from} }

// operatorsName stands as who has blocked a user. It isn't one that people have.
const operatorsName = "whoever runs this gateway"

func (o *Operator) event(kind, project, user string) Event {
	return Event{Time: Time{o.Now().UTC().Truncate(time.Millisecond)}, Kind: kind, Project: project, User: user, Actor: Actor{By: ByAdmin}, Origin: o.Origin}
}

// ErrUnknownProject says that the configuration that runs has no such project.
var ErrUnknownProject = errors.New("no such project")

// CheckProject returns an error that is ErrUnknownProject unless the configuration
// that runs has the project, or the store has tokens of it.
func (o *Operator) CheckProject(name string) error {
	if o.Project(name).Exists() == nil {
		return nil
	}
	some, err := o.Store.Scan(store.Query{Project: name, Limit: 1})
	if err == nil && len(some) == 0 {
		return fmt.Errorf("%w: %q; there are: %q", ErrUnknownProject, name, o.Projects())
	}
	return err
}

// Tokens returns what Registry.Tokens does, of one project. User is "" for all.
func (o *Operator) Tokens(ctx context.Context, project string, l Listing) iter.Seq2[[]Token, error] {
	return o.tokens(ctx, turnOf{}, l, func() (*search, error) {
		s := o.searchIn(ctx, project, l)
		return s, s.goOnAfter(l.After)
	})
}

// Count returns how many tokens of one project l asks for.
func (o *Operator) Count(ctx context.Context, project string, l Listing) (int, error) {
	done, err := o.listing.begin(ctx, turnOf{})
	if err != nil {
		return 0, err
	}
	defer done()
	return o.searchIn(ctx, project, l).count()
}

func (o *Operator) searchIn(ctx context.Context, project string, l Listing) *search {
	return &search{o.Registry, l, ctx, store.Query{Project: project, User: l.User}, o.Now()}
}

// ProjectOf returns the project of a token, deleted or not. It fails with
// ErrNotFound or store.ErrUnavailable.
func (o *Operator) ProjectOf(id uuid.UUID) (string, error) {
	record, err := o.byID(id)
	return record.Project, err
}

// Get returns a token, deleted or not. It fails as ProjectOf does.
func (o *Operator) Get(id uuid.UUID) (Token, error) {
	record, err := o.byID(id)
	if err != nil {
		return Token{}, err
	}
	tokens, err := o.withUses([]store.Record{record})
	if err != nil {
		return Token{}, err
	}
	return tokens[0], nil
}

// WhyRefused returns why a token would be refused now wherever it came from: a word
// of the access log, "" if it wouldn't be.
func (o *Operator) WhyRefused(t *Token) string {
	// Last of all it is looked at from where, which isn't known here.
	err := o.check(o.Project(t.Project), &t.Record, netip.Addr{}, o.Now())
	denial, denied := errors.AsType[*Denial](err)
	switch {
	case denied && denial.Why != WhyAddress:
		return denial.Why
	case err != nil && !denied:
		return "unavailable"
	}
	return ""
}

// Deleted is what has become of tokens that were to be deleted.
type Deleted struct {
	// Living is how many of them were, and Expired how many had only been left in
	// lists.
	Living, Expired int
	// Unknown are ids that no token has, or none that isn't deleted.
	Unknown []uuid.UUID
}

func (d *Deleted) add(r *store.Record, now time.Time) {
	switch {
	case r.ID == uuid.Nil:
	case r.Expired(now):
		d.Expired++
	default:
		d.Living++
	}
}

// DeleteEach ends tokens of any project, or with dryRun tells what that would do.
// If it fails, it can be called again.
func (o *Operator) DeleteEach(ctx context.Context, ids []uuid.UUID, dryRun bool) (deleted Deleted, err error) {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	now := o.Now()
	var mu sync.Mutex
	err = sideBySide(ids, func(id uuid.UUID) error {
		end := o.wouldEnd
		if !dryRun {
			end = func(id uuid.UUID) (store.Record, error) {
				return o.revoke(ctx, id, o.event(TokenDeleted, "", ""))
			}
		}
		record, err := end(id)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if deleted.add(&record, now); record.ID == uuid.Nil {
			deleted.Unknown = append(deleted.Unknown, id)
		}
		return nil
	})
	return deleted, err
}

// wouldEnd returns the record of a token that can be ended, else a zero one.
func (o *Operator) wouldEnd(id uuid.UUID) (store.Record, error) {
	record, err := o.byID(id)
	if errors.Is(err, ErrNotFound) || record.IsRevoked() {
		return store.Record{}, nil
	}
	return record, err
}

// DeleteAll ends all of a user's tokens in a project, renewals under way included,
// or with dryRun tells what that would do.
func (o *Operator) DeleteAll(ctx context.Context, project, user string, dryRun bool) (deleted Deleted, err error) {
	deleted, err = o.ofUser(ctx, project, user)
	if err != nil || dryRun || deleted.Living+deleted.Expired == 0 {
		return deleted, err
	}
	deleted.Living, err = o.void(ctx, project, user)
	return deleted, err
}

// ofUser counts a user's tokens, or all of a project if that is "".
func (o *Operator) ofUser(ctx context.Context, project, user string) (d Deleted, err error) {
	if d.Living, err = o.Count(ctx, project, Listing{User: user, State: Active}); err != nil {
		return d, err
	}
	d.Expired, err = o.Count(ctx, project, Listing{User: user, State: Expired})
	return d, err
}

func (o *Operator) void(ctx context.Context, project, user string) (ended int, err error) {
	e := o.event(TokensDeleted, project, user)
	done, err := o.commit(ctx, store.Void{Project: project, User: user, At: e.Time.Time}, e)
	return done.Ended, err
}

// DeleteEverything ends all tokens that a project had when it was called, whenever
// they say that they were made, and all others of their users; or with dryRun tells
// what that would do. If it fails, it can be called again.
func (o *Operator) DeleteEverything(ctx context.Context, project string, dryRun bool) (deleted Deleted, err error) {
	if deleted, err = o.ofUser(ctx, project, ""); err != nil || dryRun {
		return deleted, err
	}
	deleted.Living = 0
	query := store.Query{Project: project}
	for {
		if err := ctx.Err(); err != nil {
			return deleted, errors.Join(store.ErrUnavailable, context.Cause(ctx))
		}
		entries, err := o.Store.Scan(query)
		if err != nil {
			return deleted, err
		}
		ended, err := o.voidUsersOf(ctx, project, entries)
		if deleted.Living += ended; err != nil || len(entries) < store.MaxScan {
			return deleted, err
		}
		query.After = entries[len(entries)-1].Place
	}
}

// voidUsersOf ends all tokens of those who have some of these, and returns how many
// of them were living.
func (o *Operator) voidUsersOf(ctx context.Context, project string, entries []store.Entry) (int, error) {
	users := make(map[string]bool)
	for some := range slices.Chunk(entries, readAtOnce) {
		ids := make([]uuid.UUID, len(some))
		for i, e := range some {
			ids[i] = e.ID
		}
		records, err := o.Store.Records(ids...)
		if err != nil {
			return 0, err
		}
		for i := range records {
			users[records[i].User.ID] = true
		}
	}
	var ended atomic.Int64
	err := sideBySide(slices.Collect(maps.Keys(users)), func(user string) error {
		n, err := o.void(ctx, project, user)
		ended.Add(int64(n))
		return err
	})
	return int(ended.Load()), err
}

// CheckUser returns an error that is ErrInvalid if that is no user's id.
func (o *Operator) CheckUser(id string) error { return checkUser(id) }

// SetBlocked blocks anybody in a project, administrators too, or unblocks. It tells
// whether that has changed anything, or with dryRun whether it would.
func (o *Operator) SetBlocked(ctx context.Context, project, user string, blocked, dryRun bool) (changed bool, err error) {
	if dryRun {
		return o.Store.IsBlocked(project, user) != blocked, nil
	}
	e := o.event("", project, user)
	m := store.Block{Project: project, User: user, Lift: !blocked, By: operatorsName, At: e.Time.Time}
	return o.setBlocked(ctx, m, e, func(*store.Block) error { return nil })
}

// Blocked returns the users who are blocked in a project, sorted by id.
func (o *Operator) Blocked(project string) []store.BlockedUser { return o.Store.Blocked(project) }

// UnderOtherKeys returns the living tokens that haven't been moved to the first
// hash key, a few at a time.
func (o *Operator) UnderOtherKeys(ctx context.Context) iter.Seq2[[]Token, error] {
	return func(yield func([]Token, error) bool) {
		var some []store.Record
		var err error
		hand := func() bool {
			tokens, failed := o.withUses(some)
			some, err = some[:0], failed
			return failed == nil && yield(tokens, nil)
		}
		wanted := true
		scanned := o.Store.UnderOtherKeys(o.Now(), func(r store.Record) bool {
			if some = append(some, r); len(some) == readAtOnce {
				wanted = hand()
			}
			wanted = wanted && ctx.Err() == nil
			return wanted
		})
		if err = errors.Join(err, scanned); err == nil && wanted && len(some) > 0 {
			hand()
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// RotateKeys puts other keys for token values in force, as UseKeys does, and notes
// them in the store before.
func (o *Operator) RotateKeys(ctx context.Context, keys []*token.Key) error {
	o.deciding.Lock()
	defer o.deciding.Unlock()
	e := o.event(KeyRotated, "", "")
	var noted store.NoteKeys
	for i, key := range keys {
		noted.Keys = append(noted.Keys, key.ID())
		if i == 0 {
			e.Key = key.ID().String()
		} else {
			e.PreviousKeys = append(e.PreviousKeys, key.ID().String())
		}
	}
	if _, err := o.commit(ctx, noted, e); err != nil {
		return err
	}
	o.Config.Store.UseKeys(keys)
	return nil
}
