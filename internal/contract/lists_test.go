package contract

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAListShowsTheCallersOwnTokensOldestFirst(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	if ids := g.list(t, as("bob"), "").ids(); len(ids) != 0 {
		t.Fatalf("bob has no token yet, but %v is listed", ids)
	}
	g.create(t, as("alice"), 60, "not bob's")
	var want []string
	var tokens []token
	for n := range 6 {
		lifetime := int64(3600)
		if n == 2 {
			lifetime = 1
		}
		made := g.create(t, as("bob"), lifetime, fmt.Sprint("number ", n))
		tokens = append(tokens, made)
		want = append(want, made.info.TokenID)
		// The next one is to be younger by a millisecond at least.
		created := at(t, made.info.CreatedAt)
		g.wait(t, "the clock goes on", func() bool { return time.Since(created) > 2*time.Millisecond })
	}

	t.Run("whether they sign in or hold a token", func(t *testing.T) {
		for _, auth := range []string{as("bob"), bearer(tokens[0].value)} {
			if diff := cmp.Diff(want, g.list(t, auth, "").ids()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
	t.Run("expired ones too", func(t *testing.T) {
		short := tokens[2]
		end := at(t, *short.info.ExpiredAt)
		g.wait(t, "a token of one second is refused", func() bool {
			got := g.do(t, ask{auth: bearer(short.value)})
			if got.status == http.StatusOK {
				return false
			}
			wantRefused(t, got, http.StatusUnauthorized, "InvalidToken")
			return true
		})
		if now := time.Now(); now.Before(end) {
			t.Errorf("refused at %v, before its end at %v", now, end)
		}
		if diff := cmp.Diff(want, g.list(t, as("bob"), "").ids()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if info := g.info(t, as("bob"), short.info.TokenID); *info.ExpiredAt != *short.info.ExpiredAt {
			t.Errorf("its expiredAt has changed to %v", *info.ExpiredAt)
		}
	})
	t.Run("a part of them, with limit and offset", func(t *testing.T) {
		for _, test := range []struct {
			query    string
			from, to int
			counted  bool
		}{
			{"?limit=2", 0, 2, false},
			{"?limit=2&offset=4", 4, 6, false},
			{"?offset=4&limit=100", 4, 6, false},
			{"?offset=3", 3, 6, false},
			{"?offset=6", 6, 6, false},
			{"?offset=600", 6, 6, false},
			{"?limit=1000", 0, 6, false},
			{"?includeCount=true", 0, 6, true},
			{"?includeCount=false", 0, 6, false},
			{"?limit=1&offset=1&includeCount=true", 1, 2, true},
			{"?offset=600&includeCount=true", 6, 6, true},
		} {
			got := g.list(t, as("bob"), test.query)
			if diff := cmp.Diff(want[test.from:test.to], got.ids()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.query, diff)
			}
			if counted := got.Count != nil; counted != test.counted {
				t.Errorf("%s: count is there: %v, want %v", test.query, counted, test.counted)
			} else if counted && *got.Count != 6 {
				t.Errorf("%s: count %d, want 6", test.query, *got.Count)
			}
		}
	})
	t.Run("deleted ones not", func(t *testing.T) {
		g.remove(t, as("bob"), tokens[3].target())
		want = slices.Delete(want, 3, 4)
		got := g.list(t, as("bob"), "?includeCount=true")
		if diff := cmp.Diff(want, got.ids()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got.Count == nil || *got.Count != 5 {
			t.Errorf("count %v, want 5", got.Count)
		}
	})
	t.Run("and a wrong parameter is named", func(t *testing.T) {
		for _, query := range []string{
			"limit=-1", "limit=x", "limit=1.5", "limit=99999999999999999999",
			"offset=-1", "offset=x", "offset=99999999999999999999", "includeCount=maybe",
		} {
			got := g.do(t, ask{target: api + "?" + query, auth: as("bob")})
			e := wantRefused(t, got, http.StatusBadRequest, "ApiValidationFailed")
			if name, _, _ := strings.Cut(query, "="); !strings.Contains(e.Details, name) {
				t.Errorf("?%s: the details don't name it: %s", query, e.Details)
			}
		}
	})
}
