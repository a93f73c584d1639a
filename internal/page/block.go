package page

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// block is when a user was blocked, and by whom.
type block struct {
	By      string
	At      time.Time
	Ago     string
	Unblock unblockForm
}

// unblockForm is a form that lifts a block. From is the document that it stands
// in, "" for the user's list.
type unblockForm struct{ Root, Nonce, User, From string }

func (v *visit) blockOf(b store.BlockedUser, from string) *block {
	return &block{b.By, b.At, relative(v.Registry.Now(), b.At), unblockForm{v.root, v.nonce, b.User, from}}
}

// blockForm is the document that asks whether a user is to be blocked.
type blockForm struct {
	Owner  person
	Living int
}

func (v *visit) blockForm() error {
	user := v.r.URL.Query().Get("user")
	if done, err := v.about("block", user); done {
		return err
	}
	if v.Registry.IsBlocked(v.Project, user) {
		return v.redirect(userQuery(user)) // which says so
	}
	if err := v.Project.MayBlock(v.caller, user); err != nil {
		return err
	}
	owner, err := v.person(user)
	if err != nil {
		return err
	}
	living, err := v.count(user, registry.Active)
	if err != nil {
		return err
	}
	v.render(http.StatusOK, "block", document{Title: "Block this user", Section: "tokens", Body: blockForm{owner, living}})
	return nil
}

func (v *visit) block() error {
	user := v.r.PostForm.Get("user")
	if done, err := v.about("block", user); done {
		return err
	}
	if err := v.Registry.Block(v.r.Context(), v.Project, v.caller, user); err != nil {
		return err
	}
	return v.redirect(userQuery(user))
}

func (v *visit) unblock() error {
	user := v.r.PostForm.Get("user")
	if done, err := v.about("user", user); done {
		return err
	}
	if err := v.Registry.Unblock(v.r.Context(), v.Project, v.caller, user); err != nil {
		return err
	}
	if v.r.PostForm.Get("from") == fromBlocked {
		return v.redirect("/blocked?unblocked=" + url.QueryEscape(user))
	}
	return v.redirect(userQuery(user) + "&unblocked")
}

// blockedUsers is the document that shows who is blocked.
type blockedUsers struct {
	part
	Tabs tabs
	Rows []blockedRow
	// Unblocked is a user who has just been, nil for nobody.
	Unblocked *person
}

type blockedRow struct {
	Owner person
	*block
}

// fromBlocked says in a form that it stands in that document.
const fromBlocked = "blocked"

func (v *visit) blockedUsers() error {
	if !v.isAdmin() {
		return v.onlyAdmins("blocked")
	}
	query := v.r.URL.Query()
	all, err := v.Registry.Blocked(v.Project, v.caller)
	if err != nil {
		return err
	}
	list := blockedUsers{Tabs: tabs{Root: v.root, Current: tabBlocked}, part: partOf("blocked user", len(all), parsePage(query.Get("page")), func(page int) string { return fmt.Sprintf("%s/blocked?page=%d", v.root, page) })}
	for _, b := range all[list.First-1 : list.Last] {
		owner, err := v.person(b.User)
		if err != nil {
			return err
		}
		list.Rows = append(list.Rows, blockedRow{owner, v.blockOf(b, fromBlocked)})
	}
	if user := query.Get("unblocked"); registry.CheckUserID(user) == nil && !v.Registry.IsBlocked(v.Project, user) {
		list.Unblocked = &person{}
		if *list.Unblocked, err = v.person(user); err != nil {
			return err
		}
	}
	v.render(http.StatusOK, "blocked", document{Title: "Blocked users", Section: "tokens", Body: list})
	return nil
}
