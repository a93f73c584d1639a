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
	// ByHash returns the record under a value's hash, whether it is valid,
	// expired or revoked, or ErrNotFound. It never waits for a write.
	ByHash(token.Hash) (Record, error)

	// ByID returns the record of a token id as ByHash does.
	ByID(uuid.UUID) (Record, error)

	// List returns the records that are not revoked, oldest first.
	List(Query) (Page, error)

	// LastUsed returns each token's last use according to the last committed
	// Touch; At is zero for never.
	LastUsed(ids ...uuid.UUID) ([]Use, error)

	// Successors returns all that descend from a token and aren't revoked,
	// parents before their successors.
	Successors(uuid.UUID) ([]uuid.UUID, error)

	// Ended returns at most limit records to purge: expired before expired,
	// or revoked before revoked.
	Ended(expired, revoked time.Time, limit int) ([]uuid.UUID, error)

	// Settings returns what has been set at run time of a project's policy,
	// and the revision at which it was, zero for never. It never waits.
	Settings(project string) (s Settings, revision uint64)

	// Commit orders m and returns its revision once it is durable and
	// visible. It fails with ErrConflict, ErrNotFound, ErrTooLarge or ErrFull,
	// and then nothing has changed. If ctx ends first, m may still be committed.
	Commit(ctx context.Context, m Mutation) (revision uint64, err error)
}

// Query says which records to list.
type Query struct {
	Project string
	// User narrows the list to one user's tokens; everyone's if "".
	User string
	// Offset is how many to pass over, Limit how many to return; 0 is all.
	Offset, Limit int
	// Count asks for the number of all that match.
	Count bool
}

// Page is part of a list.
type Page struct {
	Records []Record
	Count   int
}

// Mutation is one change of the store: a Create, Revoke, Touch, Purge or
// Configure.
type Mutation interface{ mutation() }

// Create adds a record. It fails with ErrConflict if the id or the hash is
// taken, if its project's settings are no longer at SettingsRevision, or if the
// record has a parent and that one is no longer at ParentRevision: revoked,
// above all.
type Create struct {
	Record           Record
	SettingsRevision uint64
	ParentRevision   uint64
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

// Touch records when tokens were last used. What is earlier than the use that
// is known, or of a token that is not, is passed over.
type Touch struct{ Uses []Use }

// Use is one token's last use.
type Use struct {
	ID uuid.UUID
	At time.Time
	// Address is where it came from at that moment, without a zone; zero if that
	// isn't known.
	Address netip.Addr
}

// Purge removes every trace of a token that ended long ago, if there is any.
// Its successors become its parent's; a token that has very many of them is
// still there afterwards, with fewer, and is to be purged again.
type Purge struct{ ID uuid.UUID }

// Configure sets all settings of a project. It fails with ErrConflict if they
// are no longer at Revision, or if it is made by a token and that one is no
// longer at TokenRevision: revoked, above all.
type Configure struct {
	Project       string
	Settings      Settings
	Revision      uint64
	Token         uuid.UUID
	TokenRevision uint64
}

func (Create) mutation()    {}
func (Revoke) mutation()    {}
func (Touch) mutation()     {}
func (Purge) mutation()     {}
func (Configure) mutation() {}
