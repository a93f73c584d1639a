package tokenapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// recordsStore can be made to find no more records.
type recordsStore struct {
	store.Store
	left int
}

func (s *recordsStore) Records(ids ...uuid.UUID) ([]store.Record, error) {
	if s.left -= len(ids); s.left < 0 {
		return nil, store.ErrUnavailable
	}
	return s.Store.Records(ids...)
}

// deadlines is a connection that keeps to write deadlines: what it is told, and
// none at first.
type deadlines struct {
	*httptest.ResponseRecorder
	told []time.Time
	// open is how often it can be written to.
	open int
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.told = append(d.told, at)
	return nil
}

func (d *deadlines) Write(p []byte) (int, error) {
	if d.open--; d.open < 0 {
		return 0, errLate
	}
	return d.ResponseRecorder.Write(p)
}

var errLate = errors.New("i/o timeout")

func TestALongList(t *testing.T) {
	d := newDesk(t)
	records := &recordsStore{Store: d.store}
	d.Registry.Store = records
	const tokens = 1000
	for range tokens {
		d.make(t, "ann")
	}
	list := func(method string, w http.ResponseWriter) error {
		r := httptest.NewRequest(method, base, nil)
		r.SetBasicAuth("ann", "x")
		return d.Serve(w, r, incoming.Authorization{Scheme: incoming.Basic}, "")
	}
	t.Run("is written as it is read, each part by a deadline", func(t *testing.T) {
		records.left = tokens
		w := &deadlines{ResponseRecorder: httptest.NewRecorder(), open: tokens}
		begun := time.Now()
		if err := list("GET", w); err != nil {
			t.Fatal(err)
		}
		var got struct{ Data []json.RawMessage }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Data) != tokens {
			t.Errorf("%d tokens, %v", len(got.Data), err)
		}
		if length := w.Header().Get("Content-Length"); length != "" {
			t.Errorf("its length is said to be %s", length)
		}
		last := len(w.told) - 1
		if last < 3 || !w.told[last].IsZero() {
			t.Fatalf("deadlines %v", w.told)
		}
		for _, at := range w.told[:last] {
			if at.Before(begun.Add(listPatience)) || at.After(time.Now().Add(listPatience)) {
				t.Errorf("deadline %v, begun at %v", at, begun)
			}
		}
	})
	t.Run("isn't read for its header alone", func(t *testing.T) {
		records.left = tokens / 2
		w := httptest.NewRecorder()
		if err := list("HEAD", w); err != nil || w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%v, %d %v", err, w.Code, w.Header())
		}
	})
	t.Run("is cut off where the store ends", func(t *testing.T) {
		records.left = tokens / 2
		w := httptest.NewRecorder()
		if err := list("GET", w); !errors.Is(err, ErrCut) || !errors.Is(err, store.ErrUnavailable) || w.Body.Len() < listChunk {
			t.Errorf("%v, %d %d bytes", err, w.Code, w.Body.Len())
		}
	})
	t.Run("is refused where nothing was written yet", func(t *testing.T) {
		records.left = 0
		w := httptest.NewRecorder()
		if err := list("GET", w); errors.Is(err, ErrCut) || !errors.Is(err, store.ErrUnavailable) || w.Body.Len() > 0 {
			t.Errorf("%v, %d %d bytes", err, w.Code, w.Body.Len())
		}
	})
	t.Run("is cut off where its client doesn't read", func(t *testing.T) {
		records.left = tokens
		w := &deadlines{ResponseRecorder: httptest.NewRecorder(), open: 2}
		if err := list("GET", w); !errors.Is(err, ErrCut) || !errors.Is(err, errLate) || records.left == 0 {
			t.Errorf("%v, %d unread", err, records.left)
		}
	})
}
