package page

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// How long a session lasts, and how many there can be.
const (
	idleLimit     = 30 * time.Minute
	absoluteLimit = 12 * time.Hour
	// adminLimit is how long a sign-in's word that its user is an
	// administrator holds.
	adminLimit = 15 * time.Minute

	maxSessionsOfUser = 20
	maxSessions       = 100_000
)

// Sessions are the people who signed in on the page, in memory alone. It is
// safe for concurrent use.
type Sessions struct {
	now    func() time.Time
	random io.Reader

	mu sync.Mutex
	// byID is ordered by when a session was last seen.
	byID   *simplelru.LRU[sessionID, *session]
	byUser map[sessionUser][]sessionID // oldest first
}

// sessionID is the hash of what the browser holds, so that memory holds
// nothing that opens a session.
type sessionID [sha256.Size]byte

type sessionUser struct{ project, id string }

type session struct {
	project            string
	by                 string
	user               store.User
	admin              bool
	signedIn, lastSeen time.Time
}

// NewSessions returns Sessions that live by this clock.
func NewSessions(now func() time.Time, random io.Reader) *Sessions {
	s := &Sessions{now: now, random: random, byUser: make(map[sessionUser][]sessionID)}
	var err error
	if s.byID, err = simplelru.NewLRU(maxSessions, s.forget); err != nil {
		panic(err) // the size is positive
	}
	return s
}

// start begins a session of whoever just signed in, and returns the secret
// that opens it. A user's oldest session ends if there are too many.
func (s *Sessions) start(project string, c registry.Caller) (secret string, err error) {
	var bytes [32]byte
	if _, err := io.ReadFull(s.random, bytes[:]); err != nil {
		return "", fmt.Errorf("%w: reading random bytes: %w", store.ErrUnavailable, err)
	}
	secret = base64.RawURLEncoding.EncodeToString(bytes[:])
	now := s.now()
	user := sessionUser{project, c.User.ID}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetIdle(now)
	if own := s.byUser[user]; len(own) >= maxSessionsOfUser {
		s.byID.Remove(own[0])
	}
	id := sessionID(sha256.Sum256([]byte(secret)))
	s.byID.Add(id, &session{project: project, by: c.By, user: c.User, admin: c.SignedInAdmin, signedIn: now, lastSeen: now})
	s.byUser[user] = append(s.byUser[user], id)
	return secret, nil
}

// find returns whom a secret stands for in a project. lapsed tells that the
// sign-in called the user an administrator, but too long ago.
func (s *Sessions) find(project, secret string) (caller registry.Caller, lapsed, found bool) {
	id := sessionID(sha256.Sum256([]byte(secret)))
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.byID.Peek(id)
	if !ok || known.project != project {
		return registry.Caller{}, false, false
	}
	if known.ended(now) {
		s.byID.Remove(id)
		return registry.Caller{}, false, false
	}
	s.byID.Get(id)
	known.lastSeen = now
	fresh := now.Sub(known.signedIn) < adminLimit
	return registry.SignedIn(known.by, known.user, known.admin && fresh), known.admin && !fresh, true
}

// end ends the session that a secret opens, if there is one in the project.
func (s *Sessions) end(project, secret string) {
	id := sessionID(sha256.Sum256([]byte(secret)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.byID.Peek(id); ok && known.project == project {
		s.byID.Remove(id)
	}
}

func (s *session) ended(now time.Time) bool {
	return now.Sub(s.lastSeen) >= idleLimit || now.Sub(s.signedIn) >= absoluteLimit
}

// forgetIdle drops the sessions that nobody has used for too long. Those that
// are too old all the same go when they are next asked for.
func (s *Sessions) forgetIdle(now time.Time) {
	for {
		id, oldest, ok := s.byID.GetOldest()
		if !ok || now.Sub(oldest.lastSeen) < idleLimit {
			return
		}
		s.byID.Remove(id)
	}
}

// forget is called with each session that goes.
func (s *Sessions) forget(id sessionID, gone *session) {
	user := sessionUser{gone.project, gone.user.ID}
	rest := slices.DeleteFunc(s.byUser[user], func(other sessionID) bool { return other == id })
	if len(rest) == 0 {
		delete(s.byUser, user)
		return
	}
	s.byUser[user] = rest
}
