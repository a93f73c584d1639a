package page

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// person is a user as administrators see users. Name and e-mail are as the
// sign-in said when a token was made.
type person struct {
	store.User
	Blocked bool
	// Link leads to the user's tokens.
	Link string
}

func (v *visit) personOf(user store.User) person {
	return person{user, v.Registry.IsBlocked(v.Project, user.ID), v.root + userQuery(user.ID)}
}

// userQuery is the query of the list of a user's tokens.
func userQuery(user string) string { return "?user=" + url.QueryEscape(user) }

// person returns a user by id, as the newest of the user's tokens has it.
func (v *visit) person(id string) (person, error) {
	newest, _, err := v.Registry.List(v.Project, v.caller, registry.Listing{User: id, Descending: true, Limit: 1})
	if err != nil {
		return person{}, err
	}
	user := store.User{ID: id}
	if len(newest) > 0 {
		user = newest[0].User
	}
	return v.personOf(user), nil
}

// tabs lead administrators to lists.
type tabs struct {
	Root string
	// Current is the list that is shown, "" for that of Owner.
	Current string
	Owner   *person
}

const (
	tabOwn      = "own"
	tabEveryone = "everyone"
	tabBlocked  = "blocked"
)

// subject is a user whom an administrator looks at.
type subject struct {
	person
	// Block is nil unless the user is blocked.
	Block *block
	// DeleteLink and BlockLink lead to what can be done about the user; BlockLink
	// is "" for one who can't be blocked.
	DeleteLink, BlockLink string
}

func (v *visit) subject(id string) (*subject, error) {
	p, err := v.person(id)
	if err != nil {
		return nil, err
	}
	s := &subject{person: p, DeleteLink: v.root + "/delete-all" + userQuery(id)}
	if v.Project.MayBlock(v.caller, id) == nil {
		s.BlockLink = v.root + "/block" + userQuery(id)
	}
	blocked, err := v.Registry.Blocked(v.Project, v.caller)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(blocked, func(b store.BlockedUser) bool { return b.User == id }); i >= 0 {
		s.Block = v.blockOf(blocked[i], "")
	}
	return s, nil
}

// about answers whoever may not do what place does to another user, or who
// names none.
func (v *visit) about(place, user string) (done bool, err error) {
	if !v.isAdmin() {
		return true, v.onlyAdmins(nextAbout(place, user))
	}
	if err := registry.CheckUserID(user); err != nil {
		return true, &problem{http.StatusBadRequest, "This can’t be a user’s id", "Nothing was changed: " + err.Error() + "."}
	}
	return false, nil
}

// count returns how many tokens a user has in a state, the caller if "".
func (v *visit) count(user string, state registry.State) (int, error) {
	return v.Registry.Count(v.r.Context(), v.Project, v.caller, registry.Listing{User: user, State: state})
}
