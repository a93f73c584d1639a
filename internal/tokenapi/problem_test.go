package tokenapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func TestProblemOf(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		name   string
	}{
		{incoming.ErrMalformed, 400, "InvalidRequest"},
		{incoming.ErrRepeated, 400, "InvalidRequest"},
		{incoming.ErrTokenInURL, 400, "InvalidRequest"},
		{incoming.ErrTarget, 400, "InvalidRequest"},
		{incoming.ErrConnect, 400, "InvalidRequest"},
		{registry.ErrInvalid, 400, "ApiValidationFailed"},
		{ErrNotSignedIn, 401, "AuthenticationRequired"},
		{registry.ErrInvalidToken, 401, "InvalidToken"},
		{registry.ErrOff, 403, "AccessControlException"},
		{registry.ErrForbidden, 403, "AccessControlException"},
		{errCrossOrigin, 403, "AccessControlException"},
		{registry.ErrNotFound, 404, "DataNotFoundException"},
		{ErrNoRoute, 404, "RouteNotFoundException"},
		{methodNotAllowed(collection), 405, "MethodNotAllowed"},
		{incoming.ErrBodyTooLarge, 413, "PayloadTooLarge"},
		{incoming.ErrBodyLate, 400, "ApiValidationFailed"},
		{incoming.ErrBodyCut, 400, "ApiValidationFailed"},
		{errMediaType, 415, "UnsupportedMediaType"},
		{errTooEarly, 425, "TooEarly"},
		{&signinlimit.LimitedError{RetryAfter: time.Second}, 429, "TooManyRequestsException"},
		{ErrMetTwice, 500, "ConfigurationException"},
		{store.ErrFull, 507, "InsufficientStorage"},
		// What says nothing about the credentials must not look as if it did.
		{store.ErrUnavailable, 503, "ServiceUnavailable"},
		{store.ErrNotFound, 503, "ServiceUnavailable"},
		{store.ErrConflict, 503, "ServiceUnavailable"},
		{store.ErrCorrupt, 503, "ServiceUnavailable"},
		{store.ErrTooLarge, 503, "ServiceUnavailable"},
		{context.Canceled, 503, "ServiceUnavailable"},
		{errors.New("anything else"), 503, "ServiceUnavailable"},
	} {
		for _, err := range []error{test.err, fmt.Errorf("wrapped: %w", test.err), errors.Join(errors.New("beside"), test.err)} {
			p := ProblemOf(err)
			if p.Status != test.status || p.Name != test.name {
				t.Errorf("%v: %d %s, want %d %s", err, p.Status, p.Name, test.status, test.name)
			}
			if p.Message == "" || p.Details == "" {
				t.Errorf("%v: it says neither what is wrong nor what to do: %+v", err, p)
			}
			if strings.Contains(p.Message+p.Details, "wrapped") {
				t.Errorf("%v: the error's own text is told: %+v", err, p)
			}
		}
	}
}

func TestProblemOfARefusalTellsItsDetails(t *testing.T) {
	for _, reason := range []error{registry.ErrInvalid, registry.ErrForbidden, registry.ErrNotFound} {
		want := ProblemOf(reason)
		want.Details = "Do this instead."
		got := ProblemOf(fmt.Errorf("listing: %w", &registry.Refusal{Reason: reason, Details: "Do this instead."}))
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%v: %+v, want %+v", reason, got, want)
		}
	}
}

func TestWrite(t *testing.T) {
	const realm = `Bearer realm="p-1"`
	for _, test := range []struct {
		err    error
		header http.Header // beyond what every answer has
	}{
		{registry.ErrForbidden, http.Header{}},
		{ErrNoRoute, http.Header{}},
		{errTooEarly, http.Header{}},
		{store.ErrFull, http.Header{}},
		{ErrMetTwice, http.Header{}},
		{ErrNotSignedIn, http.Header{"Www-Authenticate": {realm}}},
		{registry.ErrInvalidToken, http.Header{"Www-Authenticate": {realm + `, error="invalid_token"`}}},
		{methodNotAllowed(&route{allow: "GET, HEAD"}), http.Header{"Allow": {"GET, HEAD"}}},
		{store.ErrUnavailable, http.Header{"Retry-After": {"5"}}},
		{&signinlimit.LimitedError{RetryAfter: 6 * time.Second}, http.Header{"Retry-After": {"6"}}},
		{&signinlimit.LimitedError{RetryAfter: 1500 * time.Millisecond}, http.Header{"Retry-After": {"2"}}},
		{&signinlimit.LimitedError{RetryAfter: 24 * time.Hour}, http.Header{"Retry-After": {"86400"}}},
	} {
		p := ProblemOf(test.err)
		w := httptest.NewRecorder()
		p.Write(w, httptest.NewRequest(http.MethodGet, "/", nil), Challenge{Realm: "p-1", API: "/tokens"})
		if w.Code != p.Status {
			t.Errorf("%v: status %d", test.err, w.Code)
		}
		test.header.Set("Content-Type", "application/json")
		test.header.Set("Content-Length", fmt.Sprint(w.Body.Len()))
		test.header.Set("Cache-Control", "no-store")
		test.header.Set("X-Content-Type-Options", "nosniff")
		test.header.Set("Referrer-Policy", "no-referrer")
		if diff := cmp.Diff(test.header, w.Header()); diff != "" {
			t.Errorf("%v: header (-want +got):\n%s", test.err, diff)
		}
		want := map[string]any{"exception": map[string]any{"name": p.Name, "message": p.Message, "details": strings.NewReplacer("{api}", "/tokens", "{signed in}", "with the session of the application that you are signed in to", "{also}", "", "{no password}", "; a token is no password").Replace(p.Details)}}
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: body (-want +got):\n%s", test.err, diff)
		}
	}
}

func TestWriteReplacesWhatOthersSaid(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("WWW-Authenticate", "Negotiate")
	w.Header().Set("Cache-Control", "max-age=60")
	w.Header().Set("Content-Type", "text/html")
	ProblemOf(ErrNotSignedIn).Write(w, httptest.NewRequest(http.MethodGet, "/", nil), Challenge{Realm: "p"})
	if got := w.Header()["Www-Authenticate"]; len(got) != 1 || got[0] != `Bearer realm="p"` {
		t.Errorf("challenges %q", got)
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("header %v", w.Header())
	}
}

func TestChallenges(t *testing.T) {
	const (
		bearer  = `Bearer realm="p"`
		invalid = `Bearer realm="p", error="invalid_token"`
		basic   = `Basic realm="p", charset="UTF-8"`
	)
	for _, test := range []struct {
		when  string
		err   error
		basic bool   // whether a sign-in takes it
		mode  string // Sec-Fetch-Mode
		want  []string
	}{
		{"no sign-in takes a password", ErrNotSignedIn, false, "", []string{bearer}},
		{"one does, to a program", ErrNotSignedIn, true, "", []string{bearer, basic}},
		{"one does, to a person at a browser", ErrNotSignedIn, true, "navigate", []string{bearer, basic}},
		{"one does, to a page's script", ErrNotSignedIn, true, "cors", []string{bearer}},
		{"one does, to a script of the same origin", ErrNotSignedIn, true, "same-origin", []string{bearer}},
		{"one does, to an image in a page", ErrNotSignedIn, true, "no-cors", []string{bearer}},
		{"one does, to a WebSocket", ErrNotSignedIn, true, "websocket", []string{bearer}},
		{"a token isn't valid", registry.ErrInvalidToken, false, "", []string{invalid}},
		{"a token isn't valid, and a password would be taken", registry.ErrInvalidToken, true, "", []string{invalid}},
		{"known, but not allowed", registry.ErrForbidden, true, "", nil},
		{"off", registry.ErrOff, true, "", nil},
		{"too many have failed", &signinlimit.LimitedError{RetryAfter: time.Second}, true, "", nil},
		{"can't tell", store.ErrUnavailable, true, "", nil},
		{"malformed", incoming.ErrMalformed, true, "", nil},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if test.mode != "" {
			r.Header.Set("Sec-Fetch-Mode", test.mode)
		}
		w := httptest.NewRecorder()
		ProblemOf(test.err).Write(w, r, Challenge{Realm: "p", Basic: test.basic})
		if diff := cmp.Diff(test.want, w.Header()["Www-Authenticate"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.when, diff)
		}
	}
}
