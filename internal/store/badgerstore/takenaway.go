package badgerstore

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// takenAway is one thing that was taken away, and when.
type takenAway struct {
	store.Position
	// token was deleted, which would have expired at expires; zero if never.
	token   uuid.UUID
	expires time.Time
	// Or, if there is no token, project was switched on or off.
	project string
	enabled bool
	// Or user of project was rid of all tokens, or else blocked or unblocked.
	user            string
	voided, blocked bool
}

// subject is what a record that isn't of a token is about, so that a later one of
// it says all that is to be known.
func (a *takenAway) subject() takenAway {
	return takenAway{project: a.project, user: a.user, voided: a.voided}
}

func (a *takenAway) append(b []byte) []byte {
	switch {
	case a.user != "" && a.voided:
		return appendLine(b, fmt.Sprintf("voided %d %d %q %q", a.Epoch, a.Revision, a.project, a.user))
	case a.user != "":
		return appendLine(b, fmt.Sprintf("blocked %d %d %q %q %t", a.Epoch, a.Revision, a.project, a.user, a.blocked))
	case a.token == uuid.Nil:
		return appendLine(b, fmt.Sprintf("enabled %d %d %q %t", a.Epoch, a.Revision, a.project, a.enabled))
	}
	expires := "never"
	if !a.expires.IsZero() {
		expires = strconv.FormatInt(a.expires.Unix(), 10)
	}
	return appendLine(b, fmt.Sprintf("deleted %d %d %s %s", a.Epoch, a.Revision, a.token, expires))
}

// parseTakenAway reads what append wrote, without the checksum.
func parseTakenAway(text string) (a takenAway, err error) {
	kind, text, _ := strings.Cut(text, " ")
	for _, n := range []*uint64{&a.Epoch, &a.Revision} {
		var number string
		number, text, _ = strings.Cut(text, " ")
		if *n, err = strconv.ParseUint(number, 10, 64); err != nil {
			return a, err
		}
	}
	at := strings.LastIndexByte(text, ' ')
	if a.Epoch == 0 || at < 0 {
		return a, fmt.Errorf("no record: %q", kind)
	}
	if kind == "voided" || kind == "blocked" {
		return a, a.parseUser(kind, text)
	}
	what, how := text[:at], text[at+1:]
	switch kind {
	case "deleted":
		if a.token, err = uuid.Parse(what); err != nil {
			return a, err
		}
		if a.token == uuid.Nil {
			return a, errors.New("no token")
		}
		if how == "never" {
			return a, nil
		}
		seconds, err := strconv.ParseInt(how, 10, 64)
		a.expires = time.Unix(seconds, 0).UTC()
		return a, err
	case "enabled":
		if a.project, err = strconv.Unquote(what); err != nil {
			return a, err
		}
		a.enabled, err = strconv.ParseBool(how)
		return a, err
	}
	return a, fmt.Errorf("no kind of record: %q", kind)
}

// parseUser reads whom a record is about, and what follows.
func (a *takenAway) parseUser(kind, text string) (err error) {
	for _, name := range []*string{&a.project, &a.user} {
		quoted, err := strconv.QuotedPrefix(strings.TrimPrefix(text, " "))
		if err != nil {
			return err
		}
		text = strings.TrimPrefix(text, " ")[len(quoted):]
		if *name, err = strconv.Unquote(quoted); err != nil {
			return err
		}
	}
	switch {
	case a.user == "":
		return errors.New("no user")
	case kind == "voided" && text == "":
		a.voided = true
		return nil
	case kind == "blocked" && strings.HasPrefix(text, " "):
		a.blocked, err = strconv.ParseBool(text[1:])
		return err
	}
	return errors.New("no record of a user")
}
