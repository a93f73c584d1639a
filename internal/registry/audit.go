package registry

import (
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Auditor is told of every change and who made it, in no particular order, once
// it is durable and before it is acknowledged. It is called concurrently.
type Auditor interface{ Changed(Event) }

// The kinds of change.
const (
	TokenCreated    = "token_created"
	TokenRenewed    = "token_renewed"
	TokenDeleted    = "token_deleted"
	TokensDeleted   = "tokens_deleted"
	SettingsChanged = "settings_changed"
	UserBlocked     = "user_blocked"
	UserUnblocked   = "user_unblocked"
)

// Event is one change. It holds neither a token's value nor its hash.
type Event struct {
	Time time.Time
	Kind string
	// Position is the change's in the store.
	store.Position
	Project string
	Actor   Actor
	// Token is what was made, renewed into, or deleted; nil for other changes.
	Token *store.Record
	// Successors: all that descends from Token was deleted with it.
	Successors bool
	// User is who was blocked, unblocked, or rid of all tokens, of which Tokens
	// were living.
	User   string
	Tokens int
	// Before and After are what administrators had set and have set, for a
	// change of settings.
	Before, After store.Settings
}

// Actor is who made a change.
type Actor struct {
	User string
	// By is the kind of sign-in that established the user, or ByToken.
	By string
	// TokenID is the actor's token, zero if the actor signed in.
	TokenID uuid.UUID
	Origin
}

// ByToken is Actor.By of whoever holds a token.
const ByToken = "token"

// Origin is where a request came from.
type Origin struct {
	// ClientIP is the client's address, "" if it has none.
	ClientIP string
	// RequestID names the request in other logs.
	RequestID string
}

// actor returns who c is to an auditor.
func (c *Caller) actor() Actor {
	a := Actor{User: c.User.ID, By: c.By, Origin: c.Origin}
	if c.Token != nil {
		a.By, a.TokenID = ByToken, c.Token.ID
	}
	return a
}

// changed tells the auditor of a change by c.
func (r *Registry) changed(c *Caller, p *Project, e Event) {
	e.Project, e.Actor = p.Name, c.actor()
	switch e.Kind {
	case TokenDeleted:
		r.Ended(p.Name, e.Token.User.ID)
	case TokensDeleted, UserBlocked:
		r.Ended(p.Name, e.User)
	case SettingsChanged:
		r.Ended(p.Name, "")
	}
	r.Audit.Changed(e)
}
