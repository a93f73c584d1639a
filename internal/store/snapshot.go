package store

import (
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Snapshot is what a store holds as of one position, for whoever reads for long,
// such as a backup: everything but the outbox and the hashes that tokens had under
// other keys, whatever is changed meanwhile. It is read a little at a time, so that
// nothing waits for it and little is in memory.
//
// What it is of has to stay on disk as long as it is open. So a snapshot that has
// been open for long, or since which much has been written, ends by itself: then
// its methods fail with ErrUnavailable, as for all other reasons but an error of
// each, which they return.
type Snapshot interface {
	Head() Head
	// Records calls each with every record, revoked ones included. Those of tokens
	// that a Void has ended say so once they are swept; before, Accounts does.
	Records(each func(Record) error) error
	// Uses calls each with the last use of every token that has one, as it is by
	// then: later than the rest, or gone with its token.
	Uses(each func(Use) error) error
	// Accounts calls each with every account.
	Accounts(each func(UserAccount) error) error
	// Settings calls each with those of every project that has some.
	Settings(each func(ProjectSettings) error) error
	// Close ends the snapshot. Closing again does nothing.
	Close()
}

// Head is what a store says of itself.
type Head struct {
	Position
	// Store tells this store from others, the one that it was restored from among
	// them.
	Store uuid.UUID
	// Keys are those that token values are hashed under, the first for new tokens.
	Keys []token.KeyID
	// Number is that of the last token that was made, 0 if none has one.
	Number uint64
	// Clock is a time that has certainly come.
	Clock time.Time
}

// UserAccount is what is kept of a user of a project.
type UserAccount struct {
	Project, User string
	Account
	// Swept: the records of all that its Void has ended say so.
	Swept bool
}

// ProjectSettings are the settings of a project, and the revision at which they
// were set.
type ProjectSettings struct {
	Project string
	Settings
	Revision uint64
}
