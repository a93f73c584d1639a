package admin

import (
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
)

// Backups are made by the app.
type Backups interface {
	// BackupOptions says how what is asked for is to be written. Its errors are those of
	// whoever asks.
	BackupOptions(BackupRequest) (backup.Options, error)
	// WriteBackup writes one. The first thing that can fail does so before anything is
	// written.
	WriteBackup(io.Writer, backup.Options) (backup.Summary, error)
}

// BackupRequest is what the body of a request for a backup says, with the fields
// "recipients" and "withKey". It can be left out.
type BackupRequest struct {
	// Recipients are age's public keys; if there is no such field, those of the
	// option backup of the Caddyfile. An empty list asks for a plain file.
	Recipients *[]string
	// WithKey: the hash keys go with it, too. It has to be encrypted then.
	WithKey bool
}

// stalled is how long a client may take nothing.
const stalled = time.Minute

// backupsAtOnce bounds how many are made at a time: each takes some megabytes of
// memory, for as long as its reader likes.
var backupsAtOnce = make(chan struct{}, 4)

// makeBackup answers with the file.
func makeBackup(w http.ResponseWriter, r *http.Request) error {
	app, err := running()
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	return answerBackup(app, w, r)
}

func answerBackup(app Backups, w http.ResponseWriter, r *http.Request) error {
	var asked BackupRequest
	if r.ContentLength != 0 {
		var recipients []string
		if err := readBody(w, r, fields{"recipients": &recipients, "withKey": &asked.WithKey}); err != nil {
			return err
		}
		if recipients != nil {
			asked.Recipients = &recipients
		}
	}
	select {
	case backupsAtOnce <- struct{}{}:
		defer func() { <-backupsAtOnce }()
	default:
		return refuse(http.StatusServiceUnavailable, "%d backups are being made already: try again when one of them is done", cap(backupsAtOnce))
	}
	options, err := app.BackupOptions(asked)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	to := &attachment{w: w, control: http.NewResponseController(w), name: backup.Name(options.Time, len(options.Recipients) > 0)}
	if _, err := app.WriteBackup(to, options); err != nil {
		if to.begun {
			// Whoever reads has to notice: this ends the connection, and Caddy would
			// write the error behind what was written.
			caddy.Log().Named("access_tokens").Error("a backup that was asked for was broken off", zap.Error(err))
			panic(http.ErrAbortHandler)
		}
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	return nil
}

// attachment answers with a file once there is something in it.
type attachment struct {
	w       http.ResponseWriter
	control *http.ResponseController
	name    string
	begun   bool
}

func (a *attachment) Write(b []byte) (int, error) {
	if !a.begun {
		a.begun = true
		h := a.w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", `attachment; filename="`+a.name+`"`)
		h.Set("Cache-Control", "no-store")
	}
	_ = a.control.SetWriteDeadline(time.Now().Add(stalled)) // where it can't be had, the snapshot's end has to do
	return a.w.Write(b)
}
