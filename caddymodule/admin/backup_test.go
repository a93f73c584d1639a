package admin

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
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

// waiting is an app whose backups wait.
type waiting struct {
	failing
	begun, goOn chan struct{}
}

func (w waiting) WriteBackup(io.Writer, backup.Options) (backup.Summary, error) {
	w.begun <- struct{}{}
	<-w.goOn
	return backup.Summary{}, nil
}

// However many ask, no more are made at a time than there is memory for.
func TestBackupsAtOnce(t *testing.T) {
	app := waiting{begun: make(chan struct{}), goOn: make(chan struct{})}
	ask := func() error { return answerBackup(app, httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil)) }
	ended := make(chan error)
	for range cap(backupsAtOnce) {
		go func() { ended <- ask() }()
		<-app.begun
	}
	if answer, ok := errors.AsType[caddy.APIError](ask()); !ok || answer.HTTPStatus != http.StatusServiceUnavailable {
		t.Errorf("one more: %v", answer.Err)
	}
	close(app.goOn)
	for range cap(backupsAtOnce) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	go func() { <-app.begun }()
	if err := ask(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// noted is an app that notes what it was asked for.
type noted struct {
	failing
	asked *BackupRequest
}

func (n noted) BackupOptions(asked BackupRequest) (backup.Options, error) {
	*n.asked = asked
	return backup.Options{}, nil
}

// What is misspelled, repeated or null isn't taken for an order to write in plain.
func TestBackupBodiesAreStrict(t *testing.T) {
	for body, want := range map[string]*BackupRequest{
		``:                                     {},
		`{}`:                                   {},
		`{"recipients":[]}`:                    {Recipients: &[]string{}},
		`{"recipients":["a"],"withKey":true}`:  {Recipients: &[]string{"a"}, WithKey: true},
		`{"recipients":["a"],"recipients":[]}`: nil,
		`{"recipients":null}`:                  nil,
		`{"Recipients":["a"]}`:                 nil,
		`{"withkey":true}`:                     nil,
		`{"recipients":["a"]} {}`:              nil,
		` `:                                    nil,
	} {
		var got BackupRequest
		err := answerBackup(noted{asked: &got}, httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(body)))
		if (err == nil) != (want != nil) || want != nil && !reflect.DeepEqual(got, *want) {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
}
