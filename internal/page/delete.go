package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// deleteForm is the document that asks whether tokens are to go.
type deleteForm struct {
	Rows []row
	// IDs are theirs, as the form sends them.
	IDs string
	// Others: not all tokens are the caller's.
	Others bool
	// Back is the list to go back to.
	Back view
}

func (v *visit) deleteForm() error {
	if !v.asked().Has("id") {
		return v.redirect(v.cameFrom().saying("none-marked", ""))
	}
	tokens, done, err := v.tokens("delete")
	if done {
		return err
	}
	form := deleteForm{Back: v.backFrom(tokens)}
	var ids []uuid.UUID
	for i := range tokens {
		form.Rows = append(form.Rows, v.rowOf(&tokens[i], v.Registry.Now()))
		ids = append(ids, tokens[i].ID)
	}
	form.IDs, form.Others = joinIDs(ids), v.others(tokens)
	title := "Delete Token"
	if len(tokens) > 1 {
		title = fmt.Sprintf("Delete %d Tokens", len(tokens))
	}
	v.render(http.StatusOK, "delete", document{Title: title, Section: "tokens", Body: form})
	return nil
}

func (v *visit) delete() error {
	tokens, done, err := v.tokens("delete")
	if done {
		return err
	}
	// A browser that goes away in between doesn't leave some of them.
	ctx, gone := context.WithoutCancel(v.r.Context()), 0
	for _, t := range tokens {
		switch err := v.Registry.Delete(ctx, v.Project, v.caller, t.ID, false); {
		case errors.Is(err, registry.ErrNotFound):
		case err != nil && gone > 0:
			return v.deletedSome(gone, len(tokens), err)
		case err != nil:
			return err
		default:
			gone++
		}
	}
	back := v.backFrom(tokens)
	switch {
	case gone == 0:
		return v.gone()
	case len(tokens) == 1:
		return v.redirect(back.saying("deleted", shortID(tokens[0].ID)))
	}
	return v.redirect(back.saying("gone", strconv.Itoa(gone)))
}

// deletedSome tells that err has kept tokens from being deleted after others.
func (v *visit) deletedSome(gone, all int, err error) error {
	v.retryAfter(err)
	v.render(http.StatusServiceUnavailable, "message", document{
		Title: fmt.Sprintf("%d of %d tokens are deleted", gone, all),
		Body:  message{Details: "The others couldn’t be deleted right now, and still work. Go to your access tokens and delete them in a few seconds."},
	})
	return answered{err}
}

// tokens returns the tokens that a request for a place names, those left out
// that are gone, or answers those who can't have any of them.
func (v *visit) tokens(place string) (all []registry.Token, done bool, err error) {
	ids, ok := parseIDs(v.asked()["id"])
	if !ok {
		return nil, true, v.gone()
	}
	for _, id := range ids {
		t, err := v.Registry.Get(v.Project, v.caller, id)
		switch {
		case errors.Is(err, registry.ErrNotFound) && v.lacksAdmin():
			return nil, true, v.askAgain(nextAbout(place, joinIDs(ids)))
		case errors.Is(err, registry.ErrNotFound):
			continue
		case err != nil:
			return nil, true, err
		}
		all = append(all, t)
	}
	if len(all) == 0 {
		return nil, true, v.gone()
	}
	return all, false, nil
}

// others tells whether not all tokens are the caller's.
func (v *visit) others(tokens []registry.Token) bool {
	return slices.ContainsFunc(tokens, func(t registry.Token) bool { return t.User.ID != v.caller.User.ID })
}

// backFrom is the list to go back to from a document about tokens: where one
// came from, which for those of others isn't one's own.
func (v *visit) backFrom(tokens []registry.Token) view {
	from := v.cameFrom()
	if from.User == "" && v.others(tokens) {
		return viewOf(registry.Everyone)
	}
	return from
}

func (v *visit) gone() error {
	return &problem{http.StatusNotFound, "There is no such token", "It may have been deleted already."}
}

// parseIDs reads the ids of tokens, separated by spaces, of which there are no
// more than a list shows. None may stand there twice.
func parseIDs(texts []string) (ids []uuid.UUID, ok bool) {
	for _, text := range strings.Fields(strings.Join(texts, " ")) {
		id, ok := parseID(text)
		if !ok || len(ids) == perPage || slices.Contains(ids, id) {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, len(ids) > 0
}

func joinIDs(ids []uuid.UUID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return strings.Join(texts, " ")
}

// parseID reads a token's id as it is written here.
func parseID(text string) (uuid.UUID, bool) {
	id, err := uuid.Parse(text)
	return id, err == nil && id.String() == text
}
