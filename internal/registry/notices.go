package registry

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// What others are told of beside changes.
const (
	TokenExpiring = "token_expiring"
	TokenExpired  = "token_expired"
)

// Notice is what others are told of a token: TokenCreated, TokenDeleted,
// TokenExpiring or TokenExpired.
type Notice struct {
	Kind    string
	TokenID uuid.UUID
	// Actor is who made or deleted it; nil if nobody knows any more, or if it is
	// time that makes it expire.
	Actor *Actor
	// Before is how long before its expiry a TokenExpiring is about.
	Before time.Duration
}

// Notices are told of tokens, once it is durable what there is to tell: at most
// once, and in the order of expiry. They are called concurrently, and never wait.
type Notices interface {
	// Ready tells whether it is known what is Wanted.
	Ready() bool
	// Wanted tells whether anybody wants to be told of a kind. Who does later isn't
	// told of what was before.
	Wanted(kind string) bool
	Notice(Notice)
}

// Nobody wants to be told of anything.
type Nobody struct{}

// Ready implements Notices.
func (Nobody) Ready() bool { return true }

// Wanted implements Notices.
func (Nobody) Wanted(string) bool { return false }

// Notice implements Notices.
func (Nobody) Notice(Notice) {}

// noticeChange tells of what a commit has changed.
func (r *Registry) noticeChange(events []Event, done store.Outcome) {
	for i := range events {
		switch e := &events[i]; e.Kind {
		case TokenCreated, TokenRenewed:
			r.Notices.Notice(Notice{Kind: TokenCreated, TokenID: e.TokenID, Actor: &e.Actor})
		case TokenDeleted:
			r.Notices.Notice(Notice{Kind: TokenDeleted, TokenID: e.TokenID, Actor: &e.Actor})
			for _, id := range done.Revoked {
				if id != e.TokenID {
					r.Notices.Notice(Notice{Kind: TokenDeleted, TokenID: id, Actor: &e.Actor})
				}
			}
		}
	}
}

// ahead are how long before their expiry others are told of tokens; at last, when
// they have expired. A shorter one comes before a longer one.
var ahead = [...]time.Duration{0, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour}

const (
	// tellingLate is how long a token has expired before anybody is told, so that those
	// that were made to live shortly, and are still being committed, come in turn.
	tellingLate = 2 * time.Second
	// tellAtOnce is how many tokens there are in a round at most.
	tellAtOnce = 250
	// noteTold is how far what is in the store of what was looked at can be behind.
	noteTold = time.Hour
	// clockWrong is how far the clock must have been set back for what was
	// noted before to count for nothing: nobody would be told for as long.
	clockWrong = time.Hour
)

// told is up to where tokens that expire have been looked at, for each of ahead.
type told struct {
	upto []store.Expiry
	// noted is the first of upto as it is in the store.
	noted time.Time
}

// tellExpiries tells of tokens that have expired or will, once that is noted.
func (r *Registry) tellExpiries(ctx context.Context) error {
	if !r.Notices.Ready() {
		return nil
	}
	for {
		more, err := r.tellSome(ctx)
		if err != nil || !more || ctx.Err() != nil {
			return err
		}
	}
}

func (r *Registry) tellSome(ctx context.Context) (more bool, err error) {
	now := r.Now().UTC().Truncate(time.Millisecond).Add(-tellingLate)
	if err := r.recallTold(now); err != nil {
		return false, err
	}
	next := make([]store.Expiry, len(ahead))
	var notices []Notice
	for i, before := range ahead {
		found, err := r.Store.Expiring(r.told.upto[i], now.Add(before), tellAtOnce)
		if err != nil {
			return false, err
		}
		next[i] = store.Expiry{At: now.Add(before)}
		if len(found) == tellAtOnce {
			next[i], more = found[len(found)-1], true
		}
		some, err := r.noticesOf(i, found, now)
		if err != nil {
			return false, err
		}
		notices = append(notices, some...)
	}
	if len(notices) > 0 || next[0].At.Sub(r.told.noted) >= noteTold {
		if err := r.noteTold(ctx, next); err != nil {
			return false, err
		}
	}
	r.told.upto = next
	for _, n := range notices {
		r.Notices.Notice(n)
	}
	return more, nil
}

// recallTold makes sure that it is known up to where tokens have been looked at.
// What expired before anybody ever looked is nothing to tell.
func (r *Registry) recallTold(now time.Time) error {
	if r.told.upto == nil {
		upto, err := r.Store.Told()
		if err != nil {
			return err
		}
		if len(upto) == len(ahead) {
			r.told = told{upto, upto[0].At}
		}
	}
	if r.told.upto != nil && r.told.upto[0].At.Sub(now) < clockWrong {
		return nil
	}
	r.told = told{upto: make([]store.Expiry, len(ahead))}
	for i, before := range ahead {
		r.told.upto[i].At = now.Add(before)
	}
	return nil
}

// noticesOf returns what there is to tell of tokens that were found for one of ahead.
func (r *Registry) noticesOf(i int, found []store.Expiry, now time.Time) (notices []Notice, err error) {
	kind := TokenExpiring
	if ahead[i] == 0 {
		kind = TokenExpired
	}
	if len(found) == 0 || !r.Notices.Wanted(kind) {
		return nil, nil
	}
	ids := make([]uuid.UUID, len(found))
	for i, f := range found {
		ids[i] = f.ID
	}
	records, err := r.Store.Records(ids...)
	if err != nil {
		return nil, err
	}
	for _, record := range records {
		at, _ := record.Expires()
		// After a time in which nobody looked, only the last there is to tell.
		late := i > 0 && at.Before(now.Add(ahead[i-1]))
		if !late && ahead[i] < at.Sub(record.Created) {
			notices = append(notices, Notice{Kind: kind, TokenID: record.ID, Before: ahead[i]})
		}
	}
	return notices, nil
}

// noteLooked notes what was looked at since something was last noted, so that
// whoever wants to be told from the next start on isn't told of that.
func (r *Registry) noteLooked(ctx context.Context) error {
	if r.told.upto == nil || r.told.upto[0].At.Equal(r.told.noted) {
		return nil
	}
	return r.noteTold(ctx, r.told.upto)
}

// noteTold notes in the store up to where tokens have been looked at.
func (r *Registry) noteTold(ctx context.Context, upto []store.Expiry) error {
	if err := tend(ctx, r, store.Tell{Upto: upto}); err != nil {
		return err
	}
	r.told.noted = upto[0].At
	return nil
}
