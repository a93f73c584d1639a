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
	header, byBasic := u.credentials(r)
	if header == nil {
		return
	}
	timer := time.NewTimer(u.took.refusing(byBasic))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// answerTimes are how long the routes of this process took, by URL. They outlive
// a reload, so that time doesn't tell more after one.
var answerTimes sync.Map

func answerTimesOf(url string) *durations {
	d, _ := answerTimes.LoadOrStore(url, new(durations))
	return d.(*durations)
}

// answer is what an API's time depends on: a password is compared, a session
// looked up.
type answer struct{ byBasic, refused bool }

// durations remembers how long the most recent answers of each kind took.
type durations struct {
	mu     sync.Mutex
	recent map[answer][]time.Duration
}

const (
	// maxRecent is how many answers of a kind are remembered.
	maxRecent = 32
	// unknownDuration stands for how long an API takes that hasn't answered yet.
	unknownDuration = 50 * time.Millisecond
)

func (d *durations) note(a answer, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recent == nil {
		d.recent = make(map[answer][]time.Duration)
	}
	d.recent[a] = append(d.recent[a], took)
	d.recent[a] = d.recent[a][max(0, len(d.recent[a])-maxRecent):]
}

// refusing returns how long one of the recent refusals took, so that they spread
// as the API's own do; or of what is most like one.
func (d *durations) refusing(byBasic bool) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range []answer{{byBasic, true}, {byBasic, false}, {!byBasic, true}, {!byBasic, false}} {
		if known := d.recent[a]; len(known) > 0 {
			return known[rand.N(len(known))] //nolint:gosec // no secret
		}
	}
	return unknownDuration
}
