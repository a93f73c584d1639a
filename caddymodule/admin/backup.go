package admin

import (
	"encoding/json"
	"errors"
	"fmt"
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

// BackupRequest is the body of a request for a backup. It can be left out.
type BackupRequest struct {
	// Recipients are age's public keys; if there is no such field, those of the
	// option backup of the Caddyfile. An empty list asks for a plain file.
	Recipients *[]string `json:"recipients"`
	// WithKey: the hash keys go with it, too. It has to be encrypted then.
	WithKey bool `json:"withKey"`
}

const (
	// maxBackupBody bounds the body of a request, in bytes.
	maxBackupBody = 64 << 10
	// stalled is how long a client may take nothing.
	stalled = time.Minute
)

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
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBackupBody))
	body.DisallowUnknownFields()
	if err := body.Decode(&asked); err != nil && !errors.Is(err, io.EOF) {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf(`the body is not as it should be (%w); write {"recipients": ["age1…"], "withKey": false}, or nothing`, err)}
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
