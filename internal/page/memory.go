package page

import (
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Memory is what the page remembers between requests, for all projects of a
// server. A restart begins anew.
type Memory struct {
	Sessions *Sessions
	forms    *forms
	nonces   *nonces
}

// NewMemory returns an empty Memory.
func NewMemory(now func() time.Time, random io.Reader) *Memory {
	return &Memory{Sessions: NewSessions(now, random), forms: newForms(), nonces: newNonces(now, random)}
}

// How many users' forms are remembered, and how many of one user.
const (
	maxFormUsers   = 10_000
	maxFormsOfUser = 100
)

// forms remembers which forms have been sent, and the token that each has made,
// so that none makes a second one when a browser sends it again.
type forms struct {
	mu    sync.Mutex
	users *simplelru.LRU[sessionUser, *simplelru.LRU[string, uuid.UUID]]
}

func newForms() *forms {
	users, err := simplelru.NewLRU[sessionUser, *simplelru.LRU[string, uuid.UUID]](maxFormUsers, nil)
	if err != nil {
		panic(err) // the size is positive
	}
	return &forms{users: users}
}

// use reports whether a user sends this form for the first time, or else what
// it has made, uuid.Nil if that isn't known yet.
func (f *forms) use(user sessionUser, nonce string) (first bool, made uuid.UUID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	own, known := f.users.Get(user)
	if !known {
		own, _ = simplelru.NewLRU[string, uuid.UUID](maxFormsOfUser, nil)
		f.users.Add(user, own)
	}
	if made, used := own.Peek(nonce); used {
		return false, made
	}
	own.Add(nonce, uuid.Nil)
	return true, uuid.Nil
}

// made notes what a form has made.
func (f *forms) made(user sessionUser, nonce string, token uuid.UUID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if own, known := f.users.Peek(user); known && own.Contains(nonce) {
		own.Add(nonce, token)
	}
}

// release makes a form usable again that has made nothing.
func (f *forms) release(user sessionUser, nonce string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if own, known := f.users.Peek(user); known {
		own.Remove(nonce)
	}
}
