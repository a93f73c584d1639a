package registry

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Project is a named space of tokens. It outlives configurations: what it allows
// is what the one that runs says, asked whenever something is decided.
type Project struct {
	Name  string
	rules atomic.Pointer[Rules]
}

// Rules are what a configuration says of a project.
type Rules struct {
	// Admins are the ids of users who are always administrators.
	Admins map[string]bool
	// MaxTokensPerUser is how many living tokens a user can have, 0 for any
	// number.
	MaxTokensPerUser int
	// Fixed are the settings that can't be changed at run time.
	Fixed store.Settings
	// SignIns are the ways to sign in, of all its sites.
	SignIns []SignIn
}

// SignIn is what is known beforehand of a way to sign in.
type SignIn struct {
	// Kind is what Caller.By says of whoever signed in by it.
	Kind string
	// Knows tells whether it can establish a user.
	Knows func(userID string) bool
	// NamesAdmins: it may call users administrators.
	NamesAdmins bool
}

// NewProject returns a project with these rules.
func NewProject(name string, rules Rules) *Project {
	p := &Project{Name: name}
	p.rules.Store(&rules)
	return p
}

// Project returns the project of that name, always the same. Until Adopt
// has been told of it, nothing can be decided in it.
func (r *Registry) Project(name string) *Project {
	r.projectsMu.Lock()
	defer r.projectsMu.Unlock()
	return r.project(name)
}

func (r *Registry) project(name string) *Project {
	p := r.projects[name]
	if p == nil {
		p = &Project{Name: name}
		r.projects[name] = p
	}
	return p
}

// Projects returns the names of those that the configuration that runs has, sorted.
func (r *Registry) Projects() (names []string) {
	r.projectsMu.Lock()
	defer r.projectsMu.Unlock()
	for name, p := range r.projects {
		if p.Exists() == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Adopt puts the rules of another configuration in force, for all projects.
// When it returns, no change is committed any more that was decided by the
// rules before.
func (r *Registry) Adopt(rules map[string]Rules) {
	r.deciding.Lock()
	defer r.deciding.Unlock()
	r.projectsMu.Lock()
	defer r.projectsMu.Unlock()
	for name, p := range r.projects {
		if _, known := rules[name]; !known {
			p.rules.Store(nil)
		}
	}
	for name, of := range rules {
		r.project(name).rules.Store(&of)
	}
	r.Ended("", "")
}

// errGone: the configuration that runs has no such project any more.
var errGone = fmt.Errorf("%w: the configuration that runs has no site of this project", store.ErrUnavailable)

// Exists returns nil if the configuration that runs has the project, or an error
// that is store.ErrUnavailable.
func (p *Project) Exists() error {
	if p.rules.Load() == nil {
		return errGone
	}
	return nil
}

// current returns the rules in force; those of a project that is gone allow
// nothing.
func (p *Project) current() *Rules {
	if rules := p.rules.Load(); rules != nil {
		return rules
	}
	return &nothing
}

var nothing Rules

// Knows tells whether whoever signed in as c could still do so: a reload may
// have taken the user, or the way to sign in, out of the file.
func (p *Project) Knows(c Caller) bool {
	for _, s := range p.current().SignIns {
		if s.Kind == c.By && s.Knows(c.User.ID) {
			return true
		}
	}
	return false
}

// confirm returns c with the rights that the rules in force leave it. It fails
// with ErrForbidden or store.ErrUnavailable.
func (p *Project) confirm(c Caller) (Caller, error) {
	if err := p.Exists(); err != nil {
		return Caller{}, err
	}
	if c.Token != nil {
		return c, nil
	}
	if !p.Knows(c) {
		return Caller{}, refuse(ErrForbidden, "You signed in in a way that is no longer known in project %q. Nothing has been changed. Sign in again.", p.Name)
	}
	if c.SignedInAdmin {
		c.SignedInAdmin = p.namesAdmins(c.By)
	}
	return c, nil
}

func (p *Project) namesAdmins(kind string) bool {
	for _, s := range p.current().SignIns {
		if s.Kind == kind && s.NamesAdmins {
			return true
		}
	}
	return false
}
