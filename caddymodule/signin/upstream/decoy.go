package upstream

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Decoy implements signin.Decoy. It waits as long as one of the API's recent
// answers took, and asks nothing: the API would be shown what may be another
// user's password, and count failures that are none of its users'.
func (u *SignIn) Decoy(r *http.Request) {
	if header, _ := u.credentials(r); header == nil {
		return
	}
	timer := time.NewTimer(u.recent.any())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// durations remembers how long the API's most recent answers took.
type durations struct {
	mu    sync.Mutex
	known [32]time.Duration
	n     int // that were ever noted
}

// unknownDuration stands for how long an API takes that hasn't answered yet.
const unknownDuration = 50 * time.Millisecond

func (d *durations) note(took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[d.n%len(d.known)] = took
	d.n++
}

// any returns one of them, so that they spread as the API's own do.
func (d *durations) any() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == 0 {
		return unknownDuration
	}
	return d.known[rand.N(min(d.n, len(d.known)))]
}
