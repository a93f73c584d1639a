package contract

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
)

// A ledger is a client that writes down each token of its own, and what became
// of it as far as the client can know.
type ledger struct {
	g       *gateway
	name    string
	user    string
	random  *rand.Rand
	calling *caller
	entries []*entry
	errors  []error
	// done and undone count the changes in doubt that were found to be so.
	done, undone int
}

type entry struct {
	token          // no value if the answer with it was lost
	parent  *entry // nil unless renewed
	fate    fate
	touched bool // since the server was last started
}

// fate is what a client knows of a token.
type fate int

const (
	alive fate = iota
	deleted
	making   // asked for, and the answer was lost
	deleting // the same, for its deletion
)

func newLedger(t testing.TB, g *gateway, number int, seed uint64) *ledger {
	t.Helper()
	l := &ledger{
		g: g, name: fmt.Sprintf("client %d", number), user: []string{"alice", "bob", "carol"}[number%3],
		random: rand.New(rand.NewPCG(seed, uint64(number))),
	}
	l.entries = []*entry{{token: g.create(t, as(l.user), 3600, l.name)}}
	return l
}

func (l *ledger) fail(format string, args ...any) {
	l.errors = append(l.errors, fmt.Errorf(format, args...))
}

// work makes, renews, uses and deletes tokens until the server is killed.
func (l *ledger) work(acknowledge func(), killing *atomic.Bool) {
	for {
		var err error
		usable := l.usable()
		one := usable[l.random.IntN(len(usable))]
		switch dice := l.random.IntN(100); {
		case dice < 10:
			err = l.create(nil)
		case dice < 50 && len(usable) < 20:
			err = l.create(one)
		case dice < 60:
			err = l.use(one)
		case one == l.entries[0]: // the first is kept
			continue
		case dice < 90:
			err = l.remove(one, false)
		default:
			err = l.remove(one, true)
		}
		if err != nil {
			if !killing.Load() {
				l.fail("before the server was killed: %w", err)
			}
			return
		}
		acknowledge()
	}
}

// usable returns the tokens that the client can use.
func (l *ledger) usable() (usable []*entry) {
	for _, e := range l.entries {
		if e.fate == alive && e.value != "" {
			usable = append(usable, e)
		}
	}
	return usable
}

// create makes a token by password, or renews parent.
func (l *ledger) create(parent *entry) error {
	e := &entry{parent: parent, fate: making, touched: true}
	e.info.Description = fmt.Sprintf("%s, token %d", l.name, len(l.entries))
	l.entries = append(l.entries, e)
	a := ask{method: "POST", target: api, auth: as(l.user), body: fmt.Sprintf(`{"lifetimeSeconds": 3600, "description": %q}`, e.info.Description)}
	if parent != nil {
		a.auth = bearer(parent.value)
	}
	got, _, err := l.calling.sendOnce(a)
	if got, err = want(got, err, http.StatusCreated); err != nil {
		return err
	}
	e.token, e.fate = got.token(), alive
	return nil
}

func (l *ledger) use(e *entry) error {
	got, _, err := l.calling.sendOnce(ask{auth: bearer(e.value)})
	_, err = want(got, err, http.StatusOK)
	return err
}

// remove deletes a token, and with successors all that descend from it.
func (l *ledger) remove(e *entry, successors bool) error {
	line := []*entry{e}
	target := e.target()
	if successors {
		line = l.line(e)
		target += "?successors=true"
	}
	for _, e := range line {
		e.fate, e.touched = deleting, true
	}
	got, _, err := l.calling.sendOnce(ask{method: "DELETE", target: target, auth: bearer(l.entries[0].value)})
	if _, err = want(got, err, http.StatusNoContent); err != nil {
		return err
	}
	for _, e := range line {
		e.fate = deleted
	}
	return nil
}

// line returns e and those of its descendants that aren't deleted.
func (l *ledger) line(e *entry) []*entry {
	line := []*entry{}
	within := map[*entry]bool{e: true}
	for _, other := range l.entries { // parents come first
		if other != e && !within[other.parent] {
			continue
		}
		within[other] = true
		if other.fate == alive {
			line = append(line, other)
		}
	}
	return line
}

// compare looks at what is listed after a restart, settles what was in doubt,
// and takes from the list what it expects there.
func (l *ledger) compare(listed map[string]tokenInfo) {
	var kept, gone int // of a deletion that was in doubt
	for _, e := range l.entries {
		info, isListed := listed[e.info.Description]
		delete(listed, e.info.Description)
		switch {
		case isListed && (info.UserID == nil || *info.UserID != l.user):
			l.fail("%q is listed as another user's: %v", info.Description, info.UserID)
		case e.fate == alive && !isListed:
			l.fail("%q is lost", e.info.Description)
		case e.fate == alive && info.TokenID != e.info.TokenID:
			l.fail("%q has another id", e.info.Description)
		case e.fate == deleted && isListed:
			l.fail("%q is back", e.info.Description)
		case e.fate == deleting && isListed:
			e.fate = alive
			kept++
		case e.fate == deleting:
			e.fate = deleted
			gone++
		case e.fate == making && isListed:
			e.fate, e.info = alive, info
			l.done++
		case e.fate == making:
			e.fate = deleted
			l.undone++
		}
	}
	l.done, l.undone = l.done+gone, l.undone+kept
	if kept > 0 && gone > 0 {
		l.fail("of a line of successors, %d are deleted and %d are not", gone, kept)
	}
}

// tryOut uses the tokens of this round, or of all.
func (l *ledger) tryOut(all bool) {
	for _, e := range l.entries {
		if e.value == "" || !e.touched && !all {
			continue
		}
		e.touched = false
		got, err := l.calling.send(ask{auth: bearer(e.value)})
		switch {
		case err != nil:
			l.fail("using %q: %w", e.info.Description, err)
		case e.fate == alive && (got.status != http.StatusOK || got.body != l.user):
			l.fail("%q doesn't work any more: %s", e.info.Description, got)
		case e.fate == deleted && !got.isInvalidToken():
			l.fail("%q works again: %s", e.info.Description, got)
		}
	}
}
