package page

import (
	"io"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Memory is what the page remembers between requests, for all projects of a
// server. A restart begins anew.
type Memory struct {
	Sessions *Sessions
	forms    *forms
	random   io.Reader
}

// NewMemory returns an empty Memory.
func NewMemory(now func() time.Time, random io.Reader) *Memory {
	return &Memory{Sessions: NewSessions(now, random), forms: newForms(), random: random}
}

// How many users' forms are remembered, and how many of one user.
const (
	maxFormUsers   = 10_000
	maxFormsOfUser = 100
)

// forms remembers which forms have been sent, so that none makes a second
// token when a browser sends it again.
type forms struct {
	mu    sync.Mutex
	users *simplelru.LRU[sessionUser, *simplelru.LRU[string, struct{}]]
}

func newForms() *forms {
	users, err := simplelru.NewLRU[sessionUser, *simplelru.LRU[string, struct{}]](maxFormUsers, nil)
	if err != nil {
		panic(err) // the size is positive
	}
	return &forms{users: users}
}

// use reports whether a user sends this form for the first time.
func (f *forms) use(user sessionUser, nonce string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	own, known := f.users.Get(user)
	if !known {
		own, _ = simplelru.NewLRU[string, struct{}](maxFormsOfUser, nil)
		f.users.Add(user, own)
	}
	if own.Contains(nonce) {
		return false
	}
	own.Add(nonce, struct{}{})
	return true
}

// release makes a form usable again that has made nothing.
func (f *forms) release(user sessionUser, nonce string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if own, known := f.users.Peek(user); known {
		own.Remove(nonce)
	}
}
