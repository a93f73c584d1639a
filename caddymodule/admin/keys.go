package admin

import (
	"errors"
	"net/http"
)

var errBothKeyChanges = errors.New("finish and new exclude each other: make the next key first")

// rotateKey lists the tokens that are still under an older hash key, ends them, or
// makes the next key where the store has made the present one.
func rotateKey(w http.ResponseWriter, r *http.Request) error {
	app, err := running()
	if err != nil {
		return problem(err)
	}
	o, err := operator(r)
	if err != nil {
		return err
	}
	var finish, next, dryRun bool
	if err := readBody(w, r, fields{"finish": &finish, "new": &next, "dryRun": &dryRun}); err != nil {
		return err
	}
	switch {
	case finish && next:
		return refuse(http.StatusBadRequest, "%w", errBothKeyChanges)
	case next:
		return nextKey(w, r, app, dryRun)
	case !finish:
		return answerList(w, r, o.Now(), o.UnderOtherKeys(r.Context()))
	}
	told := Deletion{DryRun: dryRun}
	if dryRun {
		for some, err := range o.UnderOtherKeys(r.Context()) {
			if err != nil {
				return problem(err)
			}
			told.Deleted += len(some)
		}
	} else if told.Deleted, err = app.FinishKeys(r.Context(), origin(r)); err != nil {
		return problem(err)
	}
	answer(w, http.StatusOK, told)
	return nil
}

// NewKey is the key that has been made for new tokens, and those that older ones may
// be under; with DryRun only these, among which the present one is.
type NewKey struct {
	Key      string   `json:"key,omitempty"`
	Previous []string `json:"previousKeys"`
	DryRun   bool     `json:"dryRun,omitempty"`
}

func nextKey(w http.ResponseWriter, r *http.Request, app App, dryRun bool) error {
	keys, err := app.NextKey(r.Context(), origin(r), dryRun)
	if errors.Is(err, ErrKeyGiven) {
		return refuse(http.StatusConflict, "%w", err)
	}
	if err != nil {
		return problem(err)
	}
	told := NewKey{Previous: []string{}, DryRun: dryRun}
	for i, id := range keys {
		if i == 0 && !dryRun {
			told.Key = id.String()
		} else {
			told.Previous = append(told.Previous, id.String())
		}
	}
	answer(w, http.StatusOK, told)
	return nil
}
