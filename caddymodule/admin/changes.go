package admin

import (
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// maxIDs is how many tokens can be named at a time.
const maxIDs = 10_000

// Deletion is what has been deleted, or with DryRun would be.
type Deletion struct {
	// Deleted counts those that were living, Expired those that had only been left in
	// lists.
	Deleted int `json:"deleted"`
	Expired int `json:"expired"`
	// Unknown are ids that no token has, or one that is deleted.
	Unknown []uuid.UUID `json:"unknown,omitempty"`
	DryRun  bool        `json:"dryRun,omitempty"`
}

var errSelector = errors.New("say what to delete: ids; or project and user; or project and all, which is true")

// remove deletes the tokens of these ids, those of a user in a project, or all of a
// project.
func remove(w http.ResponseWriter, r *http.Request) error {
	o, err := operator(r)
	if err != nil {
		return err
	}
	var ids []uuid.UUID
	var project, user string
	var all, dryRun bool
	err = readBody(w, r, fields{"ids": &ids, "project": &project, "user": &user, "all": &all, "dryRun": &dryRun})
	if err != nil {
		return err
	}
	var d registry.Deleted
	switch {
	case len(ids) > maxIDs:
		return refuse(http.StatusBadRequest, "ids are %d at most", maxIDs)
	case len(ids) > 0 && project == "" && user == "" && !all:
		d, err = o.DeleteEach(r.Context(), ids, dryRun)
	case len(ids) > 0, project == "", all == (user != ""):
		return refuse(http.StatusBadRequest, "%w", errSelector)
	default:
		if err := o.CheckProject(project); err != nil {
			return problem(err)
		}
		if all {
			d, err = o.DeleteEverything(r.Context(), project, dryRun)
			break
		}
		if err := o.CheckUser(user); err != nil {
			return problem(err)
		}
		d, err = o.DeleteAll(r.Context(), project, user, dryRun)
	}
	if err != nil {
		return problem(err)
	}
	answer(w, http.StatusOK, Deletion{d.Living, d.Expired, d.Unknown, dryRun})
	return nil
}

// Blocking is where a user has been blocked or unblocked, or with DryRun would be.
type Blocking struct {
	// Changed are the projects where that wasn't so already.
	Changed []string `json:"changed"`
	DryRun  bool     `json:"dryRun,omitempty"`
}

func block(w http.ResponseWriter, r *http.Request) error   { return setBlocked(w, r, true) }
func unblock(w http.ResponseWriter, r *http.Request) error { return setBlocked(w, r, false) }

// setBlocked blocks or unblocks a user in one project, or in all.
func setBlocked(w http.ResponseWriter, r *http.Request, blocked bool) error {
	o, err := operator(r)
	if err != nil {
		return err
	}
	var user, project string
	var dryRun bool
	if err := readBody(w, r, fields{"user": &user, "project": &project, "dryRun": &dryRun}); err != nil {
		return err
	}
	if err := o.CheckUser(user); err != nil {
		return problem(err)
	}
	projects := o.Projects()
	if project != "" {
		if err := o.CheckProject(project); err != nil {
			return problem(err)
		}
		projects = []string{project}
	}
	told := Blocking{[]string{}, dryRun}
	for _, project := range projects {
		changed, err := o.SetBlocked(r.Context(), project, user, blocked, dryRun)
		if err != nil {
			return problem(err)
		}
		if changed {
			told.Changed = append(told.Changed, project)
		}
	}
	answer(w, http.StatusOK, told)
	return nil
}
