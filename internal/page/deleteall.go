package page

import (
	"net/http"
	"strconv"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// deleteAllForm is the document that asks whether all of a user's tokens are to
// go.
type deleteAllForm struct {
	// Owner is nil if it is the caller.
	Owner           *person
	Living, Expired int
}

func (v *visit) deleteAllForm() error {
	query := v.r.URL.Query()
	user, form := query.Get("user"), deleteAllForm{}
	if query.Has("user") {
		if done, err := v.about("delete-all", user); done {
			return err
		}
		owner, err := v.person(user)
		if err != nil {
			return err
		}
		form.Owner = &owner
	}
	var err error
	if form.Living, err = v.count(user, registry.Active); err != nil {
		return err
	}
	if form.Expired, err = v.count(user, registry.Expired); err != nil {
		return err
	}
	v.render(http.StatusOK, "deleteall", document{Title: "Delete all tokens", Section: "tokens", Body: form})
	return nil
}

func (v *visit) deleteAll() error {
	user, below := v.caller.User.ID, "?"
	if v.r.PostForm.Has("user") {
		user = v.r.PostForm.Get("user")
		if done, err := v.about("delete-all", user); done {
			return err
		}
		below = userQuery(user) + "&"
	}
	ended, err := v.Registry.DeleteAll(v.r.Context(), v.Project, v.caller, user)
	if err != nil {
		return err
	}
	return v.redirect(below + "ended=" + strconv.Itoa(ended))
}
