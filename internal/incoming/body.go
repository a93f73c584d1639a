package incoming

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	// MaxBody is the largest body of a request that is for us, in bytes.
	MaxBody = 64 << 10
	// BodyTime is how long such a body may take to arrive, so that no request is
	// decided long after it began.
	BodyTime = 10 * time.Second
)

var (
	// ErrBodyTooLarge says that a body has more than [MaxBody] bytes.
	ErrBodyTooLarge = errors.New("the body is too large")
	// ErrBodyLate says that a body didn't arrive in time.
	ErrBodyLate = errors.New("the body didn't arrive in time")
	// ErrBodyCut says that a body ended before its end.
	ErrBodyCut = errors.New("the body ended early")
)

// ReadBody returns the body of r, which w answers. It fails with one of the
// errors above if the body isn't there, all of it, within that time.
func ReadBody(w http.ResponseWriter, r *http.Request, within time.Duration) ([]byte, error) {
	if r.ContentLength > MaxBody {
		return nil, ErrBodyTooLarge
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(within)); err != nil {
		return readAside(r.Body, within)
	}
	body, err := readAll(r.Body)
	if err == nil {
		// What else is read on the connection has a time of its own.
		_ = control.SetReadDeadline(time.Time{})
	}
	return body, err
}

// readAside reads where a reader can't be told when to give up: it goes on,
// heard by nobody, until the server closes the body.
func readAside(r io.Reader, within time.Duration) ([]byte, error) {
	type outcome struct {
		body []byte
		err  error
	}
	read := make(chan outcome, 1)
	go func() {
		body, err := readAll(r)
		read <- outcome{body, err}
	}()
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case o := <-read:
		return o.body, o.err
	case <-late.C:
		return nil, ErrBodyLate
	}
}

func readAll(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, MaxBody+1))
	switch {
	case len(body) > MaxBody:
		return nil, ErrBodyTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, ErrBodyLate
	case err != nil:
		return nil, ErrBodyCut
	}
	return body, nil
}
