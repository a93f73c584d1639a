package registry

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Auditor is told of every change and who made it, in no particular order: a
// registry can change nothing without one. It is called concurrently.
type Auditor interface {
	// Ready returns why events can't be written at present where they have to be,
	// nil if they can.
	Ready() error
	// Lines returns what has to leave the store because of a change: a line of each
	// of its events, or nothing if nothing has to.
	Lines([]Event) [][]byte
	// Changed is told of a change's events once it is durable, and before it is
	// acknowledged. It returns when they are written where they have to be, or why
	// that has to wait.
	Changed([]Event) error
}

// The kinds of change.
const (
	TokenCreated    = "token_created"
	TokenRenewed    = "token_renewed"
	TokenDeleted    = "token_deleted"
	TokensDeleted   = "tokens_deleted"
	SettingsChanged = "settings_changed"
	UserBlocked     = "user_blocked"
	UserUnblocked   = "user_unblocked"
	KeyRotated      = "key_rotated"
	Restored        = "restored"
)

// Kinds are all of them.
var Kinds = []string{TokenCreated, TokenRenewed, TokenDeleted, TokensDeleted, SettingsChanged, UserBlocked, UserUnblocked, KeyRotated, Restored}

// Event is one change as it is written for people and programs to read, for
// years. It holds neither a token's value nor its hash.
type Event struct {
	// Position is the change's in the store, zero before it is made.
	store.Position `json:"-"`

	Time    Time   `json:"time"`
	Kind    string `json:"event"`
	Project string `json:"project"`
	Actor   Actor  `json:"actor"`
	Origin

	// TokenID is what was made, renewed into, or deleted. Expires is zero if it
	// never does; Parent is what it renews. Scopes and Addresses are what it is
	// limited to. Successors: all that descends from it was deleted with it.
	TokenID    uuid.UUID      `json:"token_id,omitzero"`
	User       string         `json:"user,omitempty"` // whose it is, or who was blocked, unblocked or rid of all tokens
	Expires    Time           `json:"expires,omitzero"`
	Parent     uuid.UUID      `json:"parent_id,omitzero"`
	Scopes     []string       `json:"scopes,omitempty"`
	Addresses  []netip.Prefix `json:"addresses,omitempty"`
	Successors bool           `json:"successors,omitempty"`

	// Before and After are what administrators had set and have set, for a
	// change of settings.
	Before *store.Settings `json:"before,omitempty"`
	After  *store.Settings `json:"after,omitempty"`

	// Key is the id of the hash key that new tokens are under from now on, and
	// PreviousKeys are those that older ones may be under.
	Key          string   `json:"key,omitempty"`
	PreviousKeys []string `json:"previous_keys,omitempty"`

	// *Restoration is what the whole store was made of; it is of no project.
	*Restoration
}

// Restoration says what a store was restored from.
type Restoration struct {
	// The backup: when it was made, of which position, of how many tokens.
	BackupTime     Time   `json:"backup_time"`
	BackupEpoch    uint64 `json:"backup_epoch"`
	BackupRevision uint64 `json:"backup_revision"`
	Tokens         int    `json:"tokens"`
	// TakenAway counts what was taken away since and is so again, up to that
	// position; zero if that wasn't known.
	TakenAway    int    `json:"taken_away"`
	UpToEpoch    uint64 `json:"up_to_epoch,omitzero"`
	UpToRevision uint64 `json:"up_to_revision,omitzero"`
	// KeyLost: all tokens that were living were ended, since nobody could recognise
	// them.
	KeyLost bool `json:"key_lost,omitzero"`
}

// Time is written in UTC with milliseconds (RFC 3339), as the routes write it.
type Time struct{ time.Time }

func (t Time) String() string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// Actor is who made a change.
type Actor struct {
	User string `json:"user,omitempty"`
	// By is the kind of sign-in that established the user, ByToken or ByAdmin.
	By string `json:"by"`
	// TokenID is the actor's token, zero if the actor signed in.
	TokenID uuid.UUID `json:"token_id,omitzero"`
}

const (
	// ByToken is Actor.By of whoever holds a token.
	ByToken = "token"
	// ByAdmin is Actor.By of whoever runs the gateway: has Caddy's admin endpoint, the
	// configuration or the store's files.
	ByAdmin = "admin"
)

// Origin is where a request came from.
type Origin struct {
	// ClientIP is the client's address, "" if it has none.
	ClientIP string `json:"client_ip,omitempty"`
	// RequestID names the request in other logs.
	RequestID string `json:"request_id,omitempty"`
}

// event is a change that c makes in p.
func (c *Caller) event(kind string, p *Project, at time.Time) Event {
	by := Actor{User: c.User.ID, By: c.By}
	if c.Token != nil {
		by.By, by.TokenID = ByToken, c.Token.ID
	}
	return Event{Time: Time{at}, Kind: kind, Project: p.Name, Actor: by, Origin: c.Origin}
}

// of returns e as a change of a token.
func (e Event) of(r *store.Record) Event {
	e.TokenID, e.User, e.Parent, e.Scopes, e.Addresses = r.ID, r.User.ID, r.Parent, r.Scopes, r.Addresses
	if at, expires := r.Expires(); expires {
		e.Expires = Time{at}
	}
	return e
}

// Ended tells whether e is what ended a token that was deleted.
func (e *Event) Ended(r *store.Record) bool {
	if !r.IsRevoked() || !e.Time.Equal(r.Revoked) || e.Project != r.Project || e.User != r.User.ID {
		return false
	}
	return e.Kind == TokensDeleted || e.Kind == TokenDeleted && (e.TokenID == r.ID || e.Successors)
}

// Text returns e as a JSON object on one line, without its position.
func (e *Event) Text() []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // for people who read it; it is never HTML
	if err := encoder.Encode(e); err != nil {
		panic(err) // texts, times and ids can be encoded
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// takesAway tells whether e gives nobody anything: that goes on while nothing can
// be written about it.
func (e *Event) takesAway() bool {
	switch e.Kind {
	case TokenDeleted, TokensDeleted, UserBlocked, KeyRotated:
		return true
	case SettingsChanged:
		off := *e.Before
		off.Enabled = new(false)
		return reflect.DeepEqual(off, *e.After)
	}
	return false
}
