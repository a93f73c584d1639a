package metrics

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Project counts what happens in a project. Its series are there, from 0 on, as
// long as somebody uses it.
type Project struct {
	name    string
	passed  prometheus.Counter
	refused map[string]prometheus.Counter
	decided prometheus.Observer
	limited prometheus.Counter

	users int // guarded by projects.mu
}

// projects are those in use.
var projects = inUse{all: make(map[string]*Project)}

type inUse struct {
	mu  sync.Mutex
	all map[string]*Project
}

// Use returns the counters of a project, to be released once. Those who use the
// same one at the same time share them: so a reload that keeps the project, whose
// new sites come before the old ones go, takes nothing off them.
func Use(name string) *Project {
	projects.mu.Lock()
	defer projects.mu.Unlock()
	p := projects.all[name]
	if p == nil {
		p = newProject(name)
		projects.all[name] = p
	}
	p.users++
	return p
}

func newProject(name string) *Project {
	p := &Project{
		name:   name,
		passed: requestsTotal.WithLabelValues(name, ok), refused: make(map[string]prometheus.Counter),
		decided: authenticationDuration.WithLabelValues(name),
		limited: signInsTotal.WithLabelValues(name, nobodyAsked, limited),
	}
	for _, why := range refusals {
		p.refused[why] = requestsTotal.WithLabelValues(name, why)
	}
	for _, event := range changes {
		changesTotal.WithLabelValues(name, event)
	}
	return p
}

// Release ends the use of a project, and of its series if it was the last one.
// Whoever counts on counts for nobody then.
func (p *Project) Release() {
	projects.mu.Lock()
	defer projects.mu.Unlock()
	if p.users--; p.users > 0 {
		return
	}
	delete(projects.all, p.name)
	of := prometheus.Labels{"project": p.name}
	requestsTotal.DeletePartialMatch(of)
	authenticationDuration.DeletePartialMatch(of)
	signInsTotal.DeletePartialMatch(of)
	changesTotal.DeletePartialMatch(of)
}

func (u *inUse) names() (names []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for name := range u.all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Passed counts a request whose credentials were good, or that needed none.
func (p *Project) Passed() { p.passed.Inc() }

// Refused counts a request that was refused, by the access log's word for why.
func (p *Project) Refused(why string) {
	counter, known := p.refused[why]
	if !known {
		counter = requestsTotal.WithLabelValues(p.name, why)
	}
	counter.Inc()
}

// Authenticated says how long it took to decide about a token.
func (p *Project) Authenticated(took time.Duration) { p.decided.Observe(took.Seconds()) }

// Limited counts an attempt to sign in that was refused unasked.
func (p *Project) Limited() { p.limited.Inc() }

// SignIn counts what one sign-in of a project says.
type SignIn struct{ Yes, No, NotMine, Error prometheus.Counter }

// SignIn returns the counters of the sign-in with that module id.
func (p *Project) SignIn(id string) SignIn {
	of := func(result string) prometheus.Counter { return signInsTotal.WithLabelValues(p.name, id, result) }
	return SignIn{of(yes), of(no), of(notMine), of(errored)}
}

// Changed counts a change in a project, or in all of them if that is "", by its
// event in the audit. In a project that nobody uses it isn't counted.
func Changed(project, event string) {
	projects.mu.Lock()
	defer projects.mu.Unlock()
	if _, used := projects.all[project]; used || project == "" {
		changesTotal.WithLabelValues(project, event).Inc()
	}
}
