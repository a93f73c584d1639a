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

// unblockForm is a form that lifts a block. From is the user's list that it stands
// in, Page the page of the blocked users, 0 if it isn't there.
type unblockForm struct {
	Root, Nonce, User, From string
	Page                    int
}

func (v *visit) blockOf(b store.BlockedUser, from string, page int) *block {
	return &block{b.By, b.At, relative(v.Registry.Now(), b.At), unblockForm{v.root, v.nonce, b.User, from, page}}
}

// blockForm is the document that asks whether a user is to be blocked.
type blockForm struct {
	Owner  person
	Living int
	// Back is the list to go back to.
	Back view
}

func (v *visit) blockForm() error {
	user := v.r.URL.Query().Get("user")
	if done, err := v.about("block", user); done {
		return err
	}
	if v.Registry.IsBlocked(v.Project, user) {
		return v.redirect(v.backTo(user).Query()) // which says so
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
	v.render(http.StatusOK, "block", document{Title: "Block this user", Section: "tokens", Body: blockForm{owner, living, v.backTo(user)}})
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
	return v.redirect(v.backTo(user).Query())
}

func (v *visit) unblock() error {
	user := v.r.PostForm.Get("user")
	if done, err := v.about("user", user); done {
		return err
	}
	if err := v.Registry.Unblock(v.r.Context(), v.Project, v.caller, user); err != nil {
		return err
	}
	if v.r.PostForm.Has("page") {
		return v.redirect(blockedPage(parsePage(v.r.PostForm.Get("page"))) + "&unblocked=" + url.QueryEscape(user))
	}
	return v.redirect(v.backTo(user).saying("unblocked", ""))
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

// blockedPage is where a page of that document is, below the page's path.
func blockedPage(page int) string { return fmt.Sprintf("/blocked?page=%d", page) }

func (v *visit) blockedUsers() error {
	if !v.isAdmin() {
		return v.onlyAdmins("blocked")
	}
	query := v.r.URL.Query()
	all, err := v.Registry.Blocked(v.Project, v.caller)
	if err != nil {
		return err
	}
	page := parsePage(query.Get("page"))
	list := blockedUsers{Tabs: tabs{Root: v.root, Current: tabBlocked}, part: partOf("blocked user", len(all), page, func(page int) string { return v.root + blockedPage(page) })}
	for _, b := range all[list.First-1 : list.Last] {
		owner, err := v.person(b.User)
		if err != nil {
			return err
		}
		list.Rows = append(list.Rows, blockedRow{owner, v.blockOf(b, "", page)})
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
