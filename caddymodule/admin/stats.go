package admin

import (
	"net/http"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Stats are what the owner wants to know of the store.
type Stats struct {
	Dir       string `json:"dir"`
	Epoch     uint64 `json:"epoch"`
	Revision  uint64 `json:"revision"`
	SizeBytes int64  `json:"sizeBytes"`
	// FreeBytes can still be written to the disk, -1 if that isn't known.
	FreeBytes int64 `json:"freeBytes"`
	// Writable tells whether everything can be written, new tokens included.
	Writable bool `json:"writable"`
	// AuditFile is absolute, "" if there is none.
	AuditFile string `json:"auditFile,omitempty"`
	// AuditFailing is why nothing can be written there at present.
	AuditFailing string `json:"auditFailing,omitempty"`

	// Keys are the hash keys in use, the first of them for new tokens.
	Keys     []KeyUse  `json:"keys"`
	Projects []Project `json:"projects"`
}

// KeyUse is how many living tokens are under a hash key.
type KeyUse struct {
	Key    string `json:"key"`
	Tokens int    `json:"tokens"`
}

// KeysInUse puts the keys in the order of ids.
func KeysInUse(ids []token.KeyID, use map[token.KeyID]int) []KeyUse {
	keys := make([]KeyUse, len(ids))
	for i, id := range ids {
		keys[i] = KeyUse{id.String(), use[id]}
	}
	return keys
}

// Project is what is told of one.
type Project struct {
	Project string `json:"project"`
	Active  int    `json:"active"`
	Expired int    `json:"expired"`
	// Expiring counts those of the active ones that expire within that many days.
	Expiring map[string]int `json:"expiring"`
	// Blocked are the users who are.
	Blocked []string `json:"blocked"`
	// What is allowed at present, as the routes' settings say it.
	Enabled         bool     `json:"enabled"`
	Generate        string   `json:"generate"`
	Users           []string `json:"users,omitempty"`
	MaxLifetimeDays int      `json:"maxLifetimeDays"`
}

func stats(w http.ResponseWriter, r *http.Request) error {
	all, err := projectsOf(r)
	if err != nil {
		return err
	}
	app, err := running()
	if err != nil {
		return problem(err)
	}
	told, err := app.Stats()
	if err != nil {
		return problem(err)
	}
	told.Projects = all
	answer(w, http.StatusOK, told)
	return nil
}

func projects(w http.ResponseWriter, r *http.Request) error {
	all, err := projectsOf(r)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]any{"data": all})
	return nil
}

func projectsOf(r *http.Request) ([]Project, error) {
	app, err := running()
	if err != nil {
		return nil, problem(err)
	}
	o, err := operator(r)
	if err != nil {
		return nil, err
	}
	all := []Project{}
	for _, name := range o.Projects() {
		count, err := app.Count(r.Context(), name)
		if err != nil {
			return nil, problem(err)
		}
		policy := o.Policy(o.Project(name))
		p := Project{
			Project: name, Active: count.Active, Expired: count.Expired,
			Expiring: map[string]int{"1d": count.Expiring[0], "7d": count.Expiring[1], "30d": count.Expiring[2]},
			Blocked:  []string{}, Enabled: policy.Enabled, Generate: policy.Generate, MaxLifetimeDays: policy.MaxLifetimeDays,
		}
		if policy.Generate == registry.GenerateUsers {
			p.Users = policy.Users
		}
		for _, b := range o.Blocked(name) {
			p.Blocked = append(p.Blocked, b.User)
		}
		all = append(all, p)
	}
	return all, nil
}
