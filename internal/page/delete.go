package page

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// deleteForm is the document that asks whether a token is to go.
type deleteForm struct {
	row
	// Others: the token isn't the caller's. From is the query of the list to
	// go back to then.
	Others bool
	From   string
}

func (v *visit) deleteForm() error {
	t, done, err := v.token(v.r.URL.Query().Get("id"))
	if done {
		return err
	}
	v.render(http.StatusOK, "delete", document{Title: "Delete Token", Section: "tokens",
		Body: deleteForm{v.rowOf(&t, v.Registry.Now()), t.User.ID != v.caller.User.ID, v.r.URL.Query().Get("from")}})
	return nil
}

func (v *visit) delete() error {
	t, done, err := v.token(v.r.PostForm.Get("id"))
	if done {
		return err
	}
	switch err := v.Registry.Delete(v.r.Context(), v.Project, v.caller, t.ID, false); {
	case errors.Is(err, registry.ErrNotFound):
		return v.gone()
	case err != nil:
		return err
	}
	below := "?deleted=" + shortID(t.ID)
	if t.User.ID != v.caller.User.ID {
		user := registry.Everyone
		if v.r.PostForm.Get("from") == t.User.ID {
			user = t.User.ID
		}
		below += "&user=" + url.QueryEscape(user)
	}
	return v.redirect(below)
}

// token returns the token of that id, or answers those who can't have it.
func (v *visit) token(text string) (t registry.Token, done bool, err error) {
	id, err := uuid.Parse(text)
	if err != nil || id.String() != text {
		return t, true, v.gone()
	}
	t, err = v.Registry.Get(v.Project, v.caller, id)
	switch {
	case errors.Is(err, registry.ErrNotFound) && v.lacksAdmin():
		return t, true, v.askAgain(nextAbout("delete", text))
	case errors.Is(err, registry.ErrNotFound):
		return t, true, v.gone()
	}
	return t, err != nil, err
}

func (v *visit) gone() error {
	return &problem{http.StatusNotFound, "There is no such token", "It may have been deleted already."}
}
