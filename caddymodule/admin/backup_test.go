package admin

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
)

// failing is an app whose backups fail after some bytes.
type failing struct {
	after int
	err   error
}

func (failing) BackupOptions(BackupRequest) (backup.Options, error) {
	return backup.Options{Time: time.Unix(0, 0)}, nil
}

func (f failing) WriteBackup(to io.Writer, _ backup.Options) (backup.Summary, error) {
	if f.after == 0 {
		return backup.Summary{}, f.err
	}
	_, err := io.WriteString(to, strings.Repeat("b", f.after))
	return backup.Summary{}, errors.Join(err, f.err)
}

// A client can't take a backup that was broken off for a whole one.
func TestBackupThatIsBrokenOffEndsTheConnection(t *testing.T) {
	gone := errors.New("the disk is gone")
	for name, test := range map[string]struct {
		app    failing
		status int
		whole  bool
	}{
		"whole":               {failing{100_000, nil}, http.StatusOK, true},
		"failed at its begin": {failing{0, gone}, http.StatusServiceUnavailable, true},
		"broken off":          {failing{100_000, gone}, http.StatusOK, false},
		"broken off at once":  {failing{1, gone}, 0, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := answerBackup(test.app, w, r); err != nil {
				var problem caddy.APIError
				if !errors.As(err, &problem) {
					t.Error(err)
				}
				w.WriteHeader(problem.HTTPStatus)
			}
		}))
		response, err := http.Post(server.URL, "application/json", nil)
		if test.status == 0 {
			if err == nil {
				t.Errorf("%s: %s", name, response.Status)
			}
			server.Close()
			continue
		}
		if err != nil {
			t.Fatal(name, err)
		}
		body, err := io.ReadAll(response.Body)
		if response.StatusCode != test.status || (err == nil) != test.whole || test.status == http.StatusOK && test.whole && len(body) != test.app.after {
			t.Errorf("%s: %s, %d bytes, %v", name, response.Status, len(body), err)
		}
		if want := `attachment; filename="access-tokens-19700101T000000Z.backup"`; test.status == http.StatusOK && response.Header.Get("Content-Disposition") != want {
			t.Errorf("%s: %s", name, response.Header)
		}
		response.Body.Close()
		server.Close()
	}
}
