package admin

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// Token is what is told of a token. The names are those of the routes where people
// manage theirs.
type Token struct {
	ID              uuid.UUID      `json:"tokenId"`
	Project         string         `json:"project"`
	State           string         `json:"state"` // active, expired or deleted
	UserID          string         `json:"userId"`
	UserEmail       string         `json:"userEmail,omitempty"`
	UserName        string         `json:"userName,omitempty"`
	Description     string         `json:"description"`
	CreatedAt       registry.Time  `json:"createdAt"`
	ExpiredAt       *registry.Time `json:"expiredAt"`
	LastUsed        *registry.Time `json:"lastUsed"`
	LastUsedAddress string         `json:"lastUsedAddress,omitempty"`
	Scopes          []string       `json:"scopes,omitempty"`
	Addresses       []string       `json:"addresses,omitempty"`
	ParentID        uuid.UUID      `json:"parentId,omitzero"`
}

func infoOf(t *registry.Token, now time.Time) Token {
	told := Token{
		ID: t.ID, Project: t.Project, State: "active",
		UserID: t.User.ID, UserEmail: t.User.Email, UserName: t.User.Name,
		Description: t.Description, CreatedAt: registry.Time{Time: t.Created}, Scopes: t.Scopes, ParentID: t.Parent,
	}
	switch {
	case t.IsRevoked():
		told.State = "deleted"
	case t.Expired(now):
		told.State = "expired"
	}
	if at, expires := t.Expires(); expires {
		told.ExpiredAt = &registry.Time{Time: at}
	}
	if !t.LastUsed.IsZero() {
		told.LastUsed = &registry.Time{Time: t.LastUsed}
	}
	if t.LastUsedAddress.IsValid() {
		told.LastUsedAddress = t.LastUsedAddress.String()
	}
	for _, a := range t.Addresses {
		told.Addresses = append(told.Addresses, a.String())
	}
	return told
}

// tokens lists the tokens of a project, or of all in the order of their names, the
// oldest first.
func tokens(w http.ResponseWriter, r *http.Request) error {
	o, err := operator(r)
	if err != nil {
		return err
	}
	project, l, err := parseListing(r.URL.RawQuery)
	if err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	projects := o.Projects()
	if project != "" {
		if err := o.CheckProject(project); err != nil {
			return problem(err)
		}
		projects = []string{project}
	}
	if l.After != uuid.Nil {
		last, err := o.ProjectOf(l.After)
		if err != nil {
			return problem(err)
		}
		projects = slices.DeleteFunc(projects, func(name string) bool { return name < last })
		if len(projects) == 0 || projects[0] != last {
			return refuse(http.StatusBadRequest, "after must be the id of a token of the list")
		}
	}
	return answerList(w, r, o.Now(), func(yield func([]registry.Token, error) bool) {
		for _, project := range projects {
			for some, err := range o.Tokens(r.Context(), project, l) {
				if !yield(some, err) {
					return
				}
				if l.Limit > 0 {
					if l.Limit -= len(some); l.Limit == 0 {
						return
					}
				}
			}
			l.After = uuid.Nil
		}
	})
}

// parseListing reads which tokens are wanted.
func parseListing(rawQuery string) (project string, l registry.Listing, err error) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return "", l, errQuery
	}
	for name, values := range q {
		if len(values) > 1 {
			return "", l, badParameter(name, "is given twice")
		}
		value := values[0]
		switch name {
		case "project":
			project = value
			if value == "" {
				err = badParameter(name, "is empty")
			}
		case "user":
			l.User = value
			if registry.CheckUserID(value) != nil {
				err = badParameter(name, "has to be a user's id")
			}
		case "state":
			switch value {
			case "active":
				l.State = registry.Active
			case "expired":
				l.State = registry.Expired
			default:
				err = badParameter(name, "has to be active or expired")
			}
		case "unusedFor":
			l.UnusedFor, err = days(name, value)
		case "expiringWithin":
			l.ExpiringWithin, err = days(name, value)
		case "limit":
			if l.Limit, err = strconv.Atoi(value); err != nil || l.Limit < 1 {
				err = badParameter(name, "has to be a whole number from 1 on")
			}
		case "after":
			if l.After, err = uuid.Parse(value); err != nil || l.After == uuid.Nil {
				err = badParameter(name, "must be the id of a token of the list")
			}
		default:
			err = badParameter(name, "is unknown; there are project, user, state, unusedFor, expiringWithin, limit and after")
		}
		if err != nil {
			return "", l, err
		}
	}
	return project, l, nil
}

var errQuery = errors.New("the query is malformed: separate parameters by & and encode special characters by %XX")

func badParameter(name, what string) error { return fmt.Errorf("%s %s", name, what) }

func days(name, value string) (time.Duration, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > registry.MaxLifetimeDays {
		return 0, badParameter(name, "has to be a whole number of days from 1 to "+strconv.Itoa(registry.MaxLifetimeDays))
	}
	return time.Duration(n) * 24 * time.Hour, nil
}

// TokenDetails is all that is known of a token.
type TokenDetails struct {
	Token
	// RefusedNow is why it would be refused at present wherever it came from: a word
	// of the access log.
	RefusedNow string `json:"refusedNow,omitempty"`
	// DeletedAt is when it was, and DeletedBy by whom, if that is known.
	DeletedAt *registry.Time `json:"deletedAt,omitempty"`
	DeletedBy *Actor         `json:"deletedBy,omitempty"`
	// HashKey is the id of the key that its value is kept under.
	HashKey  string            `json:"hashKey"`
	Claims   map[string]string `json:"claims,omitempty"`
	Refusals []Refusal         `json:"refusals"`
}

// Actor is who has changed something, as the audit says it.
type Actor struct {
	User     string    `json:"user,omitempty"`
	By       string    `json:"by"`
	TokenID  uuid.UUID `json:"tokenId,omitzero"`
	ClientIP string    `json:"clientIp,omitempty"`
}

// Refusal is how often it was refused for one reason since the start.
type Refusal struct {
	Refusal string        `json:"refusal"`
	Count   int           `json:"count"`
	Last    registry.Time `json:"last"`
	Address string        `json:"address,omitempty"`
}

func show(w http.ResponseWriter, r *http.Request) error {
	app, err := running()
	if err != nil {
		return problem(err)
	}
	o, err := operator(r)
	if err != nil {
		return err
	}
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil {
		return refuse(http.StatusNotFound, "a token id looks like 0f8fad5b-d9cb-469f-a165-70867728950e; what was asked for isn't one")
	}
	t, err := o.Get(id)
	if err != nil {
		return problem(err)
	}
	told := TokenDetails{Token: infoOf(&t, o.Now()), RefusedNow: o.WhyRefused(&t), HashKey: t.Key.String(), Claims: t.User.Claims, Refusals: []Refusal{}}
	if t.IsRevoked() {
		told.DeletedAt = &registry.Time{Time: t.Revoked}
	}
	if e := app.Ended(&t); e != nil {
		told.DeletedBy = &Actor{e.Actor.User, e.Actor.By, e.Actor.TokenID, e.ClientIP}
	}
	for _, one := range app.Refusals(id) {
		from := ""
		if one.Address.IsValid() {
			from = one.Address.String()
		}
		told.Refusals = append(told.Refusals, Refusal{one.Why, one.Count, registry.Time{Time: one.Last}, from})
	}
	answer(w, http.StatusOK, told)
	return nil
}

const (
	// listChunk is how much of a list is written at a time, in bytes.
	listChunk = 32 << 10
	// listPatience is how long a client may take to read that much.
	listPatience = 30 * time.Second
)

// answerList writes a list as it is read. Where it can't be completed, and its
// reader has a part already, the connection ends, or that would look whole.
func answerList(w http.ResponseWriter, r *http.Request, now time.Time, pages iter.Seq2[[]registry.Token, error]) error {
	var text bytes.Buffer
	begun := false
	write := func() error {
		if !begun {
			begun = true
			writeHeader(w, http.StatusOK)
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(listPatience))
		_, err := text.WriteTo(w)
		return err
	}
	text.WriteString(`{"data":[`)
	separator := ""
	for some, err := range pages {
		if err == nil && r.Method == http.MethodHead {
			break // there is a list
		}
		if err == nil && text.Len() >= listChunk {
			err = write()
		}
		switch {
		case err != nil && begun:
			panic(http.ErrAbortHandler)
		case err != nil:
			return problem(err)
		}
		for i := range some {
			text.WriteString(separator)
			encode(&text, infoOf(&some[i], now))
			separator = ","
		}
	}
	text.WriteString("]}\n")
	_ = write()
	return nil
}
