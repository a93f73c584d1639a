package store

import (
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Never is the Lifetime of a token that doesn't expire.
const Never int64 = -1

// Record is one token as the store keeps it. It never holds the value.
type Record struct {
	// ID is public and independent of the value.
	ID uuid.UUID
	// Hash is the value's hash under the key named Key.
	Hash token.Hash
	Key  token.KeyID

	Project string
	User    User

	// SignedIn is when the sign-in took place that this token's line of
	// renewals began with; SignedInAdmin whether that sign-in called its user
	// an administrator. Both serve renewal alone.
	SignedIn      time.Time
	SignedInAdmin bool

	Description string

	// Created and Revoked have millisecond precision; Revoked is zero while
	// the token is not revoked.
	Created, Revoked time.Time
	// Lifetime is in seconds, or Never.
	Lifetime int64

	// Parent is the token that this one renews, zero if none.
	Parent uuid.UUID

	// Scopes names what the token is limited to; nil is all that its user may.
	Scopes []string
	// Addresses hold the clients that may use the token; nil is all. They have
	// no zone.
	Addresses []netip.Prefix

	// The store sets the rest. Revision is that of the last mutation of this
	// record, CreatedRevision that of its Create.
	Revision, CreatedRevision uint64
	// Number counts the tokens that a store ever held, from 1 on. It is 0 if
	// the token was made before tokens had numbers.
	Number uint64
}

// User is who made a token, as the sign-in said.
type User struct {
	ID    string
	Email string
	Name  string
	// Claims are further named facts, nil if there are none.
	Claims map[string]string
}

// Expires returns when the token expires, exactly Lifetime after Created;
// false if never.
func (r *Record) Expires() (time.Time, bool) {
	if r.Lifetime == Never {
		return time.Time{}, false
	}
	return r.Created.Add(time.Duration(r.Lifetime) * time.Second), true
}

// Expired tells whether the token has expired at now. There is no leeway.
func (r *Record) Expired(now time.Time) bool {
	at, ok := r.Expires()
	return ok && !now.Before(at)
}

// IsRevoked tells whether the token was deleted.
func (r *Record) IsRevoked() bool { return !r.Revoked.IsZero() }
