package store

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Account is what a store keeps of one user of a project as a whole.
type Account struct {
	// Void is the revision of the last Void: tokens created before it are
	// ended. It is 0 if there was none. VoidAt is its author's time.
	Void   uint64
	VoidAt time.Time

	// Blocked is when the user was blocked, by BlockedBy, and zero if the user
	// isn't.
	Blocked   time.Time
	BlockedBy string
	// BlockRevision is that of the last Block, also one that was lifted.
	BlockRevision uint64

	// Revision is that of the last Void, Block or Unblock, 0 if there was none.
	// What was decided about the user before it is to be decided again.
	Revision uint64

	// Living counts the user's tokens that are neither revoked, nor ended by a
	// Void, nor expired at Counted. The first of them to expire does so at
	// Next; zero if none ever does.
	Living        uint64
	Counted, Next time.Time
}

// accountVersion is the first byte of an encoded account, as recordVersion is
// of a record.
const accountVersion = 1

// Append appends a's encoding to b: the version, then all fields.
func (a *Account) Append(b []byte) []byte {
	b = append(b, accountVersion)
	b = binary.BigEndian.AppendUint64(b, a.Revision)
	b = binary.BigEndian.AppendUint64(b, a.Void)
	b = appendTime(b, a.VoidAt)
	b = appendTime(b, a.Blocked)
	b = appendString(b, a.BlockedBy)
	b = binary.BigEndian.AppendUint64(b, a.BlockRevision)
	b = binary.BigEndian.AppendUint64(b, a.Living)
	b = appendTime(b, a.Counted)
	return appendTime(b, a.Next)
}

// DecodeAccount reads what Append wrote. It fails with ErrVersion or
// ErrCorrupt.
func DecodeAccount(b []byte) (Account, error) {
	if len(b) > 0 && b[0] > accountVersion {
		return Account{}, fmt.Errorf("%w (account format %d)", ErrVersion, b[0])
	}
	d := decoder{s: string(b)}
	if d.byte() != accountVersion {
		return Account{}, ErrCorrupt
	}
	a := Account{
		Revision: d.uint64(), Void: d.uint64(), VoidAt: d.time(),
		Blocked: d.time(), BlockedBy: d.string(), BlockRevision: d.uint64(),
		Living: d.uint64(), Counted: d.time(), Next: d.time(),
	}
	// A Void without a time would end nothing.
	if d.bad || d.s != "" || (a.Void == 0) != a.VoidAt.IsZero() {
		return Account{}, ErrCorrupt
	}
	return a, nil
}

// IsBlocked tells whether the user is blocked.
func (a *Account) IsBlocked() bool { return !a.Blocked.IsZero() }

// Counts tells whether Living includes a token.
func (a *Account) Counts(r *Record) bool {
	return !r.IsRevoked() && r.CreatedRevision >= a.Void && !r.Expired(a.Counted)
}

// Add counts a token that is made.
func (a *Account) Add(r *Record) {
	if !a.Counts(r) {
		return
	}
	a.Living++
	if at, ok := r.Expires(); ok && (a.Next.IsZero() || at.Before(a.Next)) {
		a.Next = at
	}
}

// Remove takes a token that is ended or purged off the count.
func (a *Account) Remove(r *Record) {
	if a.Counts(r) && a.Living > 0 {
		a.Living--
	}
}
