package tokenapi

import (
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// tokenInfo is all that is ever told about a token that exists.
type tokenInfo struct {
	TokenID string `json:"tokenId"`
	*userInfo
	Description string     `json:"description"`
	CreatedAt   timestamp  `json:"createdAt"`
	ExpiredAt   *timestamp `json:"expiredAt"`
	LastUsed    *timestamp `json:"lastUsed"`
	// LastUsedAddress is where LastUsed came from.
	LastUsedAddress string `json:"lastUsedAddress,omitempty"`
	// Scopes and Addresses are what it is limited to.
	Scopes    []string `json:"scopes,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	// ParentID is the token that this one renews.
	ParentID string `json:"parentId,omitempty"`
}

// userInfo is whose token it is, as the user was when it was made.
type userInfo struct {
	UserID    string `json:"userId"`
	UserEmail string `json:"userEmail,omitempty"`
	UserName  string `json:"userName,omitempty"`
}

// infoOf is what the caller sees of a token.
func (c *call) infoOf(t registry.Token) tokenInfo {
	if t.User.ID == c.caller.User.ID {
		return infoOf(t)
	}
	return infoForOthers(t)
}

// infoForOthers is what administrators see of others' tokens.
func infoForOthers(t registry.Token) tokenInfo {
	info := infoOf(t)
	info.userInfo = &userInfo{t.User.ID, t.User.Email, t.User.Name}
	return info
}

func infoOf(t registry.Token) tokenInfo {
	info := tokenInfo{TokenID: t.ID.String(), Description: t.Description, CreatedAt: timestamp(t.Created), Scopes: t.Scopes, Addresses: registry.FormatAddresses(t.Addresses)}
	if at, ok := t.Expires(); ok {
		info.ExpiredAt = (*timestamp)(&at)
	}
	if !t.LastUsed.IsZero() {
		info.LastUsed = (*timestamp)(&t.LastUsed)
	}
	if t.LastUsedAddress.IsValid() {
		info.LastUsedAddress = t.LastUsedAddress.String()
	}
	if t.Parent != uuid.Nil {
		info.ParentID = t.Parent.String()
	}
	return info
}

// timestamp is written in UTC with milliseconds (RFC 3339).
type timestamp time.Time

// MarshalText implements encoding.TextMarshaler.
func (t timestamp) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, "2006-01-02T15:04:05.000Z"), nil
}
