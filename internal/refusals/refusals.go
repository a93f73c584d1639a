// Package refusals remembers of each token why it was refused lately, so that
// its owner can be told why a script gets 401. It keeps this in memory, and only
// of so many tokens: those that were refused last.
package refusals

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"
)

// MaxTokens is of how many tokens refusals are remembered.
const MaxTokens = 10_000

// Refusal is how often a token has been refused for one reason since the start,
// and the last time.
type Refusal struct {
	// Why is a word of the access log, such as "expired".
	Why   string
	Count int
	Last  time.Time
	// Address is the client's, zero if unknown.
	Address netip.Addr
}

// Refusals are those of one store's tokens. The zero value is ready.
type Refusals struct {
	mu sync.Mutex
	// byID has the elements of recent, whose last one was refused longest ago.
	byID   map[uuid.UUID]*list.Element
	recent list.List
}

type token struct {
	id       uuid.UUID
	refusals []Refusal // the last one last
}

// Note remembers that a token was refused.
func (r *Refusals) Note(id uuid.UUID, why string, at time.Time, from netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = make(map[uuid.UUID]*list.Element)
	}
	element := r.byID[id]
	if element == nil {
		if r.recent.Len() == MaxTokens {
			delete(r.byID, r.recent.Remove(r.recent.Back()).(*token).id)
		}
		element = r.recent.PushFront(&token{id: id})
		r.byID[id] = element
	}
	r.recent.MoveToFront(element)
	element.Value.(*token).note(why, at, from)
}

func (t *token) note(why string, at time.Time, from netip.Addr) {
	now := Refusal{Why: why}
	for i, other := range t.refusals {
		if other.Why == why {
			now.Count = other.Count
			t.refusals = append(t.refusals[:i], t.refusals[i+1:]...)
			break
		}
	}
	now.Count++
	now.Last, now.Address = at, from
	t.refusals = append(t.refusals, now)
}

// Of returns the refusals of a token, the latest first, nil if none are
// remembered.
func (r *Refusals) Of(id uuid.UUID) []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	element := r.byID[id]
	if element == nil {
		return nil
	}
	kept := element.Value.(*token).refusals
	all := make([]Refusal, 0, len(kept))
	for i := len(kept) - 1; i >= 0; i-- {
		all = append(all, kept[i])
	}
	return all
}
