package contract

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// instant is how the routes write a time.
const instant = "2006-01-02T15:04:05.000Z"

var instantShape = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

// at parses a time of the routes, in their one format.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	when, err := time.Parse(instant, text)
	if err != nil || !instantShape.MatchString(text) {
		t.Fatalf("%q isn't a time in UTC with milliseconds and Z", text)
	}
	return when
}

func TestATokenValue(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	seen := map[string]bool{}
	for range 20 {
		value := g.create(t, as("alice"), 60, "").value
		if !regexp.MustCompile(`^cat_[0-9A-Za-z]{49}$`).MatchString(value) || len(value) != 53 {
			t.Fatalf("%q isn't cat_, 43 and 6 characters of base62", value)
		}
		if want := checksum(value[:47]); value[47:] != want {
			t.Errorf("the checksum of %q is to be %q", value, want)
		}
		number := new(big.Int)
		for _, digit := range value[4:47] {
			number.Mul(number, big.NewInt(62))
			number.Add(number, big.NewInt(int64(strings.IndexRune(alphabet, digit))))
		}
		if number.BitLen() > 256 {
			t.Errorf("%q doesn't stand for 32 bytes", value)
		}
		if seen[value] {
			t.Errorf("%q was made twice", value)
		}
		seen[value] = true
	}
}

func TestPostAnswersWithTheValueOnceAndTheTokenInfo(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	before := time.Now().Truncate(time.Millisecond)
	got := g.do(t, ask{method: "POST", target: api, auth: as("alice"), body: `{"lifetimeSeconds": 86400, "description": "nightly"}`})
	after := time.Now()
	wantStatus(t, got, http.StatusCreated)

	var made struct {
		TokenValue string         `json:"tokenValue"`
		TokenInfo  map[string]any `json:"tokenInfo"`
	}
	got.into(t, &made)
	fields := slices.Sorted(maps.Keys(made.TokenInfo))
	if diff := cmp.Diff([]string{"createdAt", "description", "expiredAt", "lastUsed", "tokenId"}, fields); diff != "" {
		t.Errorf("tokenInfo's fields (-want +got):\n%s", diff)
	}
	var outer map[string]json.RawMessage
	got.into(t, &outer)
	if diff := cmp.Diff([]string{"tokenInfo", "tokenValue"}, slices.Sorted(maps.Keys(outer))); diff != "" {
		t.Errorf("the answer's fields (-want +got):\n%s", diff)
	}
	if made.TokenInfo["description"] != "nightly" || made.TokenInfo["lastUsed"] != nil {
		t.Errorf("want its description and no use yet: %v", made.TokenInfo)
	}
	id, _ := made.TokenInfo["tokenId"].(string)
	if parsed, err := uuid.Parse(id); err != nil || parsed.String() != id {
		t.Errorf("tokenId %q isn't a UUID", id)
	}
	createdText, _ := made.TokenInfo["createdAt"].(string)
	expiredText, _ := made.TokenInfo["expiredAt"].(string)
	created, expired := at(t, createdText), at(t, expiredText)
	if created.Before(before) || created.After(after) {
		t.Errorf("createdAt %v isn't between %v and %v", created, before, after)
	}
	if !expired.Equal(created.Add(86400 * time.Second)) {
		t.Errorf("expiredAt %v isn't createdAt %v plus the lifetime", expired, created)
	}

	t.Run("and no other answer shows the value again", func(t *testing.T) {
		for _, a := range []ask{
			{target: api}, {target: api + "/" + id}, {target: api + "?user=*"}, {target: api + "?includeCount=true"},
		} {
			a.auth = as("alice")
			if got := g.do(t, a); strings.Contains(got.body, made.TokenValue[4:47]) {
				t.Errorf("GET %s shows it", a.target)
			}
		}
	})
	t.Run("and GET of its id answers the same tokenInfo", func(t *testing.T) {
		got := g.do(t, ask{target: api + "/" + id, auth: as("alice")})
		wantStatus(t, got, http.StatusOK)
		var info map[string]any
		got.into(t, &info)
		if diff := cmp.Diff(made.TokenInfo, info); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("and so does the list, of one", func(t *testing.T) {
		got := g.do(t, ask{target: api, auth: as("alice")})
		wantStatus(t, got, http.StatusOK)
		var list map[string][]map[string]any
		got.into(t, &list)
		if diff := cmp.Diff(map[string][]map[string]any{"data": {made.TokenInfo}}, list); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestLastUsedIsNullUntilTheFirstUseAndThenSetAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "")
	if info := g.info(t, as("alice"), made.info.TokenID); info.LastUsed != nil {
		t.Fatalf("lastUsed %q before any use", *info.LastUsed)
	}
	previous := at(t, made.info.CreatedAt)
	for range 3 {
		before := time.Now().Truncate(time.Millisecond)
		wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "alice")
		after := time.Now()
		info := g.info(t, as("alice"), made.info.TokenID)
		if info.LastUsed == nil {
			t.Fatal("lastUsed is null after a use")
		}
		used := at(t, *info.LastUsed)
		if used.Before(before) || used.After(after) || used.Before(previous) {
			t.Errorf("lastUsed %v isn't between %v and %v", used, before, after)
		}
		if listed := g.list(t, as("alice"), "").Data[0]; listed.LastUsed == nil || *listed.LastUsed != *info.LastUsed {
			t.Errorf("the list says something else than GET: %v", listed)
		}
		previous = used
	}
}

func TestADeletedTokenIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	for n := range 20 {
		made := g.create(t, as("bob"), 3600, fmt.Sprint(n))
		wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "bob")
		// Whoever signs in may delete it, and whoever holds it.
		by := as("bob")
		if n%2 == 1 {
			by = bearer(made.value)
		}
		g.remove(t, by, made.target())
		wantRefused(t, g.do(t, ask{auth: bearer(made.value)}), http.StatusUnauthorized, "InvalidToken")
		wantRefused(t, g.do(t, ask{target: api, auth: bearer(made.value)}), http.StatusUnauthorized, "InvalidToken")
		wantRefused(t, g.do(t, ask{method: "DELETE", target: made.target(), auth: as("bob")}),
			http.StatusNotFound, "DataNotFoundException")
		wantRefused(t, g.do(t, ask{target: made.target(), auth: as("bob")}), http.StatusNotFound, "DataNotFoundException")
		// To administrators as well.
		wantRefused(t, g.do(t, ask{method: "DELETE", target: made.target(), auth: as("alice")}),
			http.StatusNotFound, "DataNotFoundException")
	}
}

func TestSomeoneElsesTokenLooksLikeNone(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alices := g.create(t, as("alice"), 3600, "alice's own")
	bobs := g.create(t, as("bob"), 3600, "")
	gone := g.create(t, as("bob"), 3600, "")
	g.remove(t, as("bob"), gone.target())
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		for _, auth := range []string{as("bob"), bearer(bobs.value)} {
			never := g.do(t, ask{method: method, target: api + "/" + uuid.NewString(), auth: auth})
			wantStatus(t, never, http.StatusNotFound)
			if method != "HEAD" {
				wantRefused(t, never, http.StatusNotFound, "DataNotFoundException")
			}
			never.header.Del("Date")
			for whose, made := range map[string]token{"someone else's": alices, "a deleted one": gone} {
				got := g.do(t, ask{method: method, target: made.target(), auth: auth})
				got.header.Del("Date")
				if diff := cmp.Diff(never.String(), got.String()); diff != "" {
					t.Errorf("%s of %s differs from one that never existed:\n%s", method, whose, diff)
				}
			}
		}
	}
	wantProxied(t, g.do(t, ask{auth: bearer(alices.value)}), "alice")
	if got := g.list(t, as("bob"), ""); strings.Contains(fmt.Sprint(got), "alice") {
		t.Errorf("bob's list shows alice's token: %v", got)
	}
}

func TestHeadAnswersAsGetDoes(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "")
	for _, a := range []ask{
		{target: api, auth: as("alice")},
		{target: api + "?limit=1&includeCount=true", auth: as("alice")},
		{target: made.target(), auth: as("alice")},
		{target: made.target(), auth: bearer(made.value)},
		{target: api},
		{target: made.target(), auth: basic("alice", "not her password")},
		{target: api + "/" + uuid.NewString(), auth: as("alice")},
		{target: api + "?limit=x", auth: as("alice")},
	} {
		get := g.do(t, a)
		a.method = "HEAD"
		head := g.do(t, a)
		if head.body != "" {
			t.Errorf("HEAD %s has a body: %q", a.target, head.body)
		}
		for _, answer := range []answered{get, head} {
			answer.header.Del("Date")
			answer.header.Del("Content-Length") // optional for HEAD, RFC 9110 section 8.6
		}
		if get.status != head.status || !cmp.Equal(get.header, head.header) {
			t.Errorf("%s: HEAD says\n%d %v\nGET says\n%d %v", a.target, head.status, head.header, get.status, get.header)
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	made := g.create(t, as("bob"), 3600, "")
	collection := []string{"DELETE", "GET", "HEAD", "OPTIONS", "POST"}
	item := []string{"DELETE", "GET", "HEAD", "OPTIONS"}

	t.Run("OPTIONS answers 204 with Allow, without credentials", func(t *testing.T) {
		for target, want := range map[string][]string{api: collection, made.target(): item, api + "/" + uuid.NewString(): item} {
			got := g.do(t, ask{method: "OPTIONS", target: target})
			wantStatus(t, got, http.StatusNoContent)
			wantAllow(t, got, want)
			if got.body != "" || got.reached != 0 {
				t.Errorf("OPTIONS %s: %s", target, got)
			}
		}
	})
	t.Run("tokens are immutable, and other methods have no meaning: 405 with Allow", func(t *testing.T) {
		for _, test := range []struct {
			method, target string
			want           []string
		}{
			{"PUT", made.target(), item},
			{"PATCH", made.target(), item},
			{"POST", made.target(), item},
			{"PUT", api, collection},
			{"PATCH", api, collection},
			{"POST", blockedTarget, []string{"DELETE", "GET", "HEAD", "OPTIONS", "PUT"}},
			{"PROPFIND", api, collection},
			{"get", api, collection},
		} {
			got := g.do(t, ask{method: test.method, target: test.target, auth: as("bob"), body: `{"description": "changed"}`})
			wantRefused(t, got, http.StatusMethodNotAllowed, "MethodNotAllowed")
			wantAllow(t, got, test.want)
		}
		if info := g.info(t, as("bob"), made.info.TokenID); info.Description != "" {
			t.Errorf("changed all the same: %v", info)
		}
	})
}

func wantAllow(t *testing.T, got answered, want []string) {
	t.Helper()
	var methods []string
	for _, line := range got.header.Values("Allow") {
		for method := range strings.SplitSeq(line, ",") {
			methods = append(methods, strings.TrimSpace(method))
		}
	}
	slices.Sort(methods)
	if diff := cmp.Diff(want, methods); diff != "" {
		t.Errorf("Allow (-want +got):\n%s", diff)
	}
}

func TestNoAnswerOfTheRoutesIsStoredOrSharedWithOtherOrigins(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	kept := g.create(t, as("alice"), 3600, "")
	doomed := g.create(t, as("alice"), 3600, "")
	for _, test := range []struct {
		status int
		ask    ask
	}{
		{201, ask{method: "POST", target: api, auth: as("alice"), body: `{"lifetimeSeconds": 60}`}},
		{200, ask{target: api, auth: as("alice")}},
		{200, ask{method: "HEAD", target: api, auth: as("alice")}},
		{200, ask{target: kept.target(), auth: bearer(kept.value)}},
		{204, ask{method: "DELETE", target: doomed.target(), auth: as("alice")}},
		{204, ask{method: "OPTIONS", target: api, lines: []string{"Access-Control-Request-Method: POST"}}},
		{204, ask{method: "OPTIONS", target: kept.target(), lines: []string{"Access-Control-Request-Method: DELETE"}}},
		{400, ask{method: "POST", target: api, auth: as("alice"), body: `{}`}},
		{400, ask{target: api, auth: "Bearer"}},
		{401, ask{target: api}},
		{401, ask{target: api, auth: bearer(neverIssued("cat"))}},
		{403, ask{method: "POST", target: api, auth: as("bob"), body: `{"lifetimeSeconds": 60}`}},
		{404, ask{target: doomed.target(), auth: as("alice")}},
		{404, ask{target: api + "/", auth: as("alice")}},
		{405, ask{method: "PUT", target: kept.target(), auth: as("alice")}},
		{415, ask{method: "POST", target: api, auth: as("alice"), kind: "text/plain", body: `{"lifetimeSeconds": 60}`}},
	} {
		test.ask.lines = append(test.ask.lines, "Origin: http://"+g.addresses[0])
		got := g.do(t, test.ask)
		if got.status != test.status {
			t.Errorf("%s %s: status %d, want %d", test.ask.method, test.ask.target, got.status, test.status)
		}
		if control := got.header.Get("Cache-Control"); control != "no-store" {
			t.Errorf("%d %s %s: Cache-Control %q", got.status, test.ask.method, test.ask.target, control)
		}
		for name := range got.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%d %s %s: a CORS header, %s", got.status, test.ask.method, test.ask.target, name)
			}
		}
	}
}
