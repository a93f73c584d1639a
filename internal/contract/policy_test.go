package contract

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The settings that a Caddyfile fixes.

func TestAllowGenerate(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	for _, test := range []struct {
		option string
		may    map[string]bool
	}{
		{"", map[string]bool{"alice": true, "bob": false, "carol": false}},
		{"allow_generate admins", map[string]bool{"alice": true, "bob": false, "carol": false}},
		{"allow_generate everyone", map[string]bool{"alice": true, "bob": true, "carol": true}},
		{"allow_generate users bob", map[string]bool{"alice": true, "bob": true, "carol": false}},
		{"allow_generate users carol bob", map[string]bool{"alice": true, "bob": true, "carol": true}},
		{"allow_generate users Bob", map[string]bool{"alice": true, "bob": false, "carol": false}},
	} {
		t.Run(test.option, func(t *testing.T) {
			if complaint := g.reload(t, site(test.option)); complaint != "" {
				t.Fatal(complaint)
			}
			for user, may := range test.may {
				got := g.do(t, ask{method: "POST", target: api, auth: as(user), body: `{"lifetimeSeconds": 60}`})
				if may {
					wantStatus(t, got, http.StatusCreated)
				} else {
					wantRefused(t, got, http.StatusForbidden, "AccessControlException")
				}
				// Seeing one's own takes no right.
				wantStatus(t, g.do(t, ask{target: api, auth: as(user)}), http.StatusOK)
			}
		})
	}
}

func TestMaxLifetime(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	const day = 86400
	for _, test := range []struct {
		option  string
		allowed []int64
		tooMuch []int64
	}{
		{"", []int64{1, 365 * day}, []int64{365*day + 1, -1}},
		{"max_lifetime 30d", []int64{1, 30 * day}, []int64{30*day + 1, 365 * day, -1}},
		{"max_lifetime 1d", []int64{1, day}, []int64{day + 1, -1}},
		{"max_lifetime 36525d", []int64{3_155_760_000}, []int64{3_155_760_001, -1}},
		{"max_lifetime unlimited", []int64{1, 365*day + 1, 3_155_760_000, -1}, []int64{3_155_760_001, -2}},
	} {
		t.Run(test.option, func(t *testing.T) {
			if complaint := g.reload(t, site(test.option)); complaint != "" {
				t.Fatal(complaint)
			}
			for _, lifetime := range test.allowed {
				made := g.create(t, as("alice"), lifetime, "")
				if lifetime != 1 { // which may be over by now
					wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "alice")
				}
				for _, info := range []tokenInfo{made.info, g.info(t, as("alice"), made.info.TokenID)} {
					if lifetime == -1 {
						if info.ExpiredAt != nil {
							t.Errorf("for ever ends at %s", *info.ExpiredAt)
						}
						continue
					}
					if info.ExpiredAt == nil {
						t.Fatalf("%d seconds have no end", lifetime)
					}
					created, expired := at(t, info.CreatedAt), at(t, *info.ExpiredAt)
					if want := created.Add(time.Duration(lifetime) * time.Second); !expired.Equal(want) {
						t.Errorf("%d seconds from %v end at %v", lifetime, created, expired)
					}
				}
			}
			for _, lifetime := range test.tooMuch {
				got := g.do(t, ask{method: "POST", target: api, auth: as("alice"), body: fmt.Sprintf(`{"lifetimeSeconds": %d}`, lifetime)})
				wantRefused(t, got, http.StatusBadRequest, "ApiValidationFailed")
			}
		})
	}
}

func TestApiAccessOff(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alices := g.create(t, as("alice"), 3600, "kept")
	bobs := g.create(t, as("bob"), 3600, "kept")
	before := g.list(t, as("alice"), "?user=*")
	if complaint := g.reload(t, site("allow_generate everyone\napi_access off")); complaint != "" {
		t.Fatal(complaint)
	}
	t.Run("tokens are refused with 403 everywhere, so that nobody throws them away", func(t *testing.T) {
		for _, made := range []token{alices, bobs} {
			for _, a := range []ask{
				{target: "/v3/x"},
				{target: api},
				{target: api + "?user=*"},
				{target: made.target()},
				{method: "DELETE", target: made.target()},
				{method: "POST", target: api, body: `{"lifetimeSeconds": 60}`},
			} {
				a.auth = bearer(made.value)
				got := g.do(t, a)
				wantRefused(t, got, http.StatusForbidden, "AccessControlException")
				if challenges := got.header.Values("WWW-Authenticate"); len(challenges) != 0 {
					t.Errorf("%s: 403 with %q", a.target, challenges)
				}
			}
		}
	})
	t.Run("an administrator who signs in has the routes, and makes no token", func(t *testing.T) {
		if diff := cmp.Diff(before.ids(), g.list(t, as("alice"), "?user=*").ids()); diff != "" {
			t.Errorf("(-before +now):\n%s", diff)
		}
		e := wantRefused(t, g.tryCreate(t, as("alice"), 60), http.StatusForbidden, "AccessControlException")
		if !strings.Contains(e.Details, "api_access") {
			t.Errorf("details %q", e.Details)
		}
	})
	t.Run("everybody else finds the routes 404", func(t *testing.T) {
		for _, auth := range []string{as("bob"), basic("alice", "guess"), ""} {
			for _, a := range []ask{
				{target: api},
				{target: alices.target()},
				{method: "DELETE", target: alices.target()},
				{method: "POST", target: api, body: `{"lifetimeSeconds": 60}`},
			} {
				a.auth = auth
				wantRefused(t, g.do(t, a), http.StatusNotFound, "RouteNotFoundException")
			}
		}
	})
	t.Run("requests without a token are as before", func(t *testing.T) {
		wantRefused(t, g.do(t, ask{}), http.StatusUnauthorized, "AuthenticationRequired")
		wantRefused(t, g.do(t, ask{auth: as("alice")}), http.StatusUnauthorized, "AuthenticationRequired")
		wantRefused(t, g.do(t, ask{auth: "Bearer"}), http.StatusBadRequest, "InvalidRequest")
	})
	t.Run("on again, all tokens are as they were", func(t *testing.T) {
		if complaint := g.reload(t, site("allow_generate everyone\napi_access on")); complaint != "" {
			t.Fatal(complaint)
		}
		after := g.list(t, as("alice"), "?user=*")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
		wantProxied(t, g.do(t, ask{auth: bearer(alices.value)}), "alice")
		wantProxied(t, g.do(t, ask{auth: bearer(bobs.value)}), "bob")
	})
}
