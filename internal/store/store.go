// Package store is what the registry needs of a store of tokens: records,
// the mutations that change them, and errors with one meaning each.
//
// Every change is a Mutation. It is ordered, gets a revision, is made durable
// and is applied in one transaction along with that revision; only then is it
// acknowledged, and only then do readers see it. On one machine the ordering
// and the applying are one step. A cluster would order mutations in a shared
// log and feed each machine's store from it: which is why a Mutation carries
// the revision of what its author saw, and why applying one reads nothing but
// the store and the Mutation itself, no clock and no randomness.
package store

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

var (
	// ErrNotFound says that there is no such record.
	ErrNotFound = errors.New("no such token record")
	// ErrConflict says that what the mutation was based on has changed since. Read
	// again and decide again.
	ErrConflict = errors.New("the record has changed meanwhile")
	// ErrLimit says that the user has as many living tokens as are allowed.
	ErrLimit = errors.New("the user has as many tokens as are allowed")
	// ErrOutboxFull says that what the mutation has to tell can't be kept until
	// somebody takes it.
	ErrOutboxFull = errors.New("the outbox is full")
	// ErrFull says that there is no room for what the mutation would add.
	ErrFull = errors.New("the store's disk is too full")
	// ErrTooLarge says that the mutation is more than can be made durable at once.
	ErrTooLarge = errors.New("the change is too large to be made at once")
	// ErrUnavailable says that the store can't answer, now or any more.
	ErrUnavailable = errors.New("the token store is unavailable")
)

// Store keeps token records. It is safe for concurrent use. Methods that read
// see everything acknowledged before they were called. Any error other than
// the ones named wraps ErrUnavailable.
type Store interface {
	Reader

	// Commit orders m and returns what became of it once it is durable and
	// visible. It fails with ErrConflict, ErrNotFound, ErrLimit, ErrTooLarge,
	// ErrFull or ErrOutboxFull, and then nothing has changed. If ctx ends first,
	// m may still be committed.
	//
	// Lines are what must leave the store because of m. They go into its
	// outbox with m or not at all, and stay there until they are Delivered.
	Commit(ctx context.Context, m Mutation, lines ...[]byte) (Outcome, error)

	// UseKeys replaces Keys. NoteKeys has noted them, the present first one is
	// among them, and no living token is under another one.
	UseKeys([]*token.Key)
}

// Reader is what can be asked of a Store.
type Reader interface {
	// ByHash returns the record under a value's hash, whether it is valid,
	// expired or revoked, or ErrNotFound. It never waits for a write.
	ByHash(token.Hash) (Record, error)

	// Revision returns that of the last change that readers see. It never waits.
	Revision() uint64

	// ByID returns the record of a token id as ByHash does.
	ByID(uuid.UUID) (Record, error)

	// Scan returns the next tokens of a list by creation, those left out that
	// are revoked. There are no more if it returns fewer than asked for.
	Scan(Query) ([]Entry, error)

	// Records returns the records of tokens, those left out that are revoked
	// or not there.
	Records(ids ...uuid.UUID) ([]Record, error)

	// LastUsed returns each token's last use according to the last committed
	// Touch; At is zero for never.
	LastUsed(ids ...uuid.UUID) ([]Use, error)

	// Successors returns all that descend from a token and aren't revoked,
	// parents before their successors.
	Successors(uuid.UUID) ([]uuid.UUID, error)

	// Ended returns at most limit records to purge: expired before expired,
	// or revoked before revoked.
	Ended(expired, revoked time.Time, limit int) ([]uuid.UUID, error)

	// Expiring returns the next tokens that expire, by when they do, at most limit
	// of those behind a place that expire before a time. Some may have been ended
	// by a Void. There are no more if it returns fewer than asked for.
	Expiring(after Expiry, before time.Time, limit int) ([]Expiry, error)

	// Told is what the last Tell noted, nil if none did.
	Told() ([]Expiry, error)

	// Settings returns what has been set at run time of a project's policy,
	// and the revision at which it was, zero for never. It never waits.
	Settings(project string) (s Settings, revision uint64)

	// Account returns what is kept of a user as a whole, zero if nothing is.
	Account(project, user string) (Account, error)

	// IsBlocked tells whether a user is blocked. It never waits.
	IsBlocked(project, user string) bool

	// Blocked returns the blocked users of a project, sorted by id.
	Blocked(project string) []BlockedUser

	// Voids returns what Voids have ended without all records saying so yet.
	// To readers those tokens are revoked all the same.
	Voids() []Voided

	// VoidedTokens returns at most limit tokens that v has ended and whose
	// records don't say so.
	VoidedTokens(v Voided, limit int) ([]uuid.UUID, error)

	// Keys are those that token values are hashed under, the first for new
	// tokens. They can change while the store is in use; there is always one.
	Keys() []*token.Key

	// KeyUse counts the tokens that are living at now by the key they are
	// under. It looks at all records.
	KeyUse(now time.Time) (map[token.KeyID]int, error)

	// UnderOtherKeys calls each, until it returns false, with all tokens that
	// are living at now and under other keys than the first. It looks at all
	// records, and no lock is held meanwhile.
	UnderOtherKeys(now time.Time, each func(Record) bool) error

	// Position is that of the last mutation that readers see.
	Position() Position

	// Snapshot returns all as of Position, to be closed.
	Snapshot() (Snapshot, error)

	// Outbox returns the next lines behind a place, or the first ones if that
	// is zero, in the order of their changes; none if there are no more.
	Outbox(after LinePlace) ([]Line, error)

	// Receipt is that of the last Delivered that had one, nil if none had.
	Receipt() ([]byte, error)
}

// MaxOutbox bounds the lines in an outbox, in bytes.
const MaxOutbox = 64 << 20

// LinePlace is where a line stands in the outbox: the change that it is about,
// and which of that change's lines it is.
type LinePlace struct {
	Position
	Number uint16
}

// Line is something that must leave the store.
type Line struct {
	LinePlace
	Text []byte
}

// Position is where a mutation stands among all that there ever were. An epoch
// begins when a store is restored from a backup: revisions may then be given
// again, and what they meant before holds no more.
type Position struct{ Epoch, Revision uint64 }

// Before tells whether p comes before q.
func (p Position) Before(q Position) bool { return p.Compare(q) < 0 }

// Compare returns what cmp.Compare does of positions.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Epoch, q.Epoch), cmp.Compare(p.Revision, q.Revision))
}

// Outcome is what became of a mutation.
type Outcome struct {
	Position
	// Ended is how many living tokens a Void ended.
	Ended int
	// Revoked are the tokens whose records a Revoke or a Sweep has overwritten.
	Revoked []uuid.UUID
}

// BlockedUser is a user who is blocked: when, and by whom.
type BlockedUser struct {
	User string
	At   time.Time
	By   string
}

// Voided are the tokens of a user that were created before a revision.
type Voided struct {
	Project, User string
	Before        uint64
}

// MaxScan is how many tokens Scan returns at most: nobody holds more of a list
// in memory, or reads for long at a time.
const MaxScan = 1000

// Query says which tokens of a list come next.
type Query struct {
	Project string
	// User narrows the list to one user's tokens; everyone's if "".
	User string
	// After is the place to go on behind, the beginning if zero. What stood
	// there may be gone.
	After Place
	// Descending: newest first.
	Descending bool
	// Limit is how many to return, at most MaxScan, which is also meant by 0.
	Limit int
}

// Place is where a token stands in lists.
type Place struct {
	Created time.Time
	ID      uuid.UUID
}

// Entry is what lists say of a token without its record.
type Entry struct {
	Place
	// Expires is zero if the token never does.
	Expires time.Time
}

// Expiry is where a token stands among all that expire.
type Expiry struct {
	At time.Time
	ID uuid.UUID
}

// Mutation is one change of the store.
type Mutation interface{ mutation() }

// Create adds a record. It fails with ErrConflict if the id or the hash is
// taken, if its project's settings are no longer at SettingsRevision or its
// user's account at AccountRevision, or if the record has a parent and that one
// is no longer at ParentRevision: revoked, above all.
//
// It fails with ErrLimit if the user has Limit living tokens at the record's
// creation; 0 is no limit. With ReplacesParent the parent ends as this token
// begins, which needs no free place under the limit.
type Create struct {
	Record           Record
	SettingsRevision uint64
	AccountRevision  uint64
	ParentRevision   uint64
	ReplacesParent   bool
	Limit            int
}

// Revoke ends a token for good by overwriting its record; with Successors also
// all that descend from it. It fails with ErrNotFound, with ErrConflict if the
// record is no longer at Revision, or with ErrTooLarge if too many descend from
// it: revoke those first.
type Revoke struct {
	ID         uuid.UUID
	Revision   uint64
	At         time.Time
	Successors bool
}

// Void ends all tokens that a user has, whatever is renewed meanwhile. It
// changes the account alone: the records are overwritten afterwards, by Sweep.
// If it is made by a token it fails with ErrConflict as Configure does.
type Void struct {
	Project, User string
	At            time.Time
	Token         uuid.UUID
	TokenRevision uint64
}

// Sweep overwrites records of tokens that a Void has ended, so that they say so
// by themselves. Others are passed over. Last says that there are no more. It
// fails with ErrConflict if another Void has come meanwhile.
type Sweep struct {
	Voided
	IDs  []uuid.UUID
	Last bool
}

// Block blocks a user, or with Lift no longer does. It fails with ErrConflict
// if the account is no longer at Revision, or as Configure does if it is made
// by a token.
type Block struct {
	Project, User string
	Revision      uint64
	Lift          bool
	At            time.Time
	By            string
	Token         uuid.UUID
	TokenRevision uint64
}

// BeginEpoch begins an epoch. It fails with ErrConflict if the store is in a
// later one, or in that.
type BeginEpoch struct{ Epoch uint64 }

// Touch records when tokens were last used. What is earlier than the use that
// is known, or of a token that is not, is passed over.
type Touch struct{ Uses []Use }

// Use is one token's last use.
type Use struct {
	ID uuid.UUID
	// Number is the token's, 0 if whoever has the use doesn't know it.
	Number uint64
	At     time.Time
	// Address is where it came from at that moment, without a zone; zero if that
	// isn't known.
	Address netip.Addr
}

// Tell notes up to where others have been told of tokens that expire, for each of
// some intervals ahead of it: whoever notes that before he tells tells at most once.
type Tell struct{ Upto []Expiry }

// Purge removes every trace of a token that ended long ago, if there is any.
// Its successors become its parent's; a token that has very many of them is
// still there afterwards, with fewer, and is to be purged again.
type Purge struct{ ID uuid.UUID }

// Configure sets all settings of a project. It fails with ErrConflict if they
// are no longer at Revision, or if it is made by a token and that one is no
// longer at TokenRevision, revoked above all, or its user is blocked.
type Configure struct {
	Project       string
	Settings      Settings
	Revision      uint64
	Token         uuid.UUID
	TokenRevision uint64
}

// Rehash moves a token to another key, under which its value has this hash.
// The hash before goes on leading to the token. It fails with ErrConflict if the
// record is no longer at Revision, or is that of a token that has ended or whose
// user is blocked, or if the hash is taken.
type Rehash struct {
	ID       uuid.UUID
	Revision uint64
	Hash     token.Hash
	Key      token.KeyID
}

// NoteKeys notes which keys the store's tokens can be under from now on, the first
// of which is for new ones.
type NoteKeys struct{ Keys []token.KeyID }

// Delivered takes lines out of the outbox. Those that aren't in it are passed
// over. A Receipt, unless it is nil, takes the place of the one before: whoever
// delivers lines finds in it where they have gone.
type Delivered struct {
	Lines   []LinePlace
	Receipt []byte
}

func (Create) mutation()     {}
func (Revoke) mutation()     {}
func (Void) mutation()       {}
func (Sweep) mutation()      {}
func (Block) mutation()      {}
func (Touch) mutation()      {}
func (Tell) mutation()       {}
func (Purge) mutation()      {}
func (Configure) mutation()  {}
func (Rehash) mutation()     {}
func (NoteKeys) mutation()   {}
func (Delivered) mutation()  {}
func (BeginEpoch) mutation() {}
