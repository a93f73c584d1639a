package tokenapi

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

func TestParseListing(t *testing.T) {
	for query, want := range map[string]registry.Listing{
		"":                            {},
		"limit=1":                     {Limit: 1},
		"limit=2147483647":            {Limit: 1<<31 - 1},
		"offset=0":                    {},
		"offset=2147483647":           {Offset: 1<<31 - 1},
		"limit=10&offset=20":          {Limit: 10, Offset: 20},
		"offset=20&limit=10":          {Limit: 10, Offset: 20},
		"includeCount=true":           {Count: true},
		"includeCount=false":          {},
		"user=bob":                    {User: "bob"},
		"user=*":                      {User: registry.Everyone},
		"user=%2A":                    {User: registry.Everyone},
		"user=a%26b%3Dc+d%2B":         {User: "a&b=c d+"},
		"user=%C3%A4":                 {User: "ä"},
		"user=*&limit=1000":           {User: registry.Everyone, Limit: 1000},
		"%6Cimit=3":                   {Limit: 3},
		"unknown=1&unknown=2&limit=3": {Limit: 3},
		"Limit=x&LIMIT=y&limit=3":     {Limit: 3},
		"successors=maybe":            {},
	} {
		got, err := parseListing(query)
		if err != nil {
			t.Errorf("?%s: %v", query, details(err))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("?%s (-want +got):\n%s", query, diff)
		}
	}
}

func TestParseListingRefuses(t *testing.T) {
	const (
		malformed = "The query is malformed: separate parameters by & and encode special characters by %XX."
		limit     = "limit must be a whole number from 1 to 2147483647."
		page      = "limit must be a whole number from 1 to 1000."
		offset    = "offset must be a whole number from 0 to 2147483647."
		count     = "includeCount must be true or false."
		user      = "user must be a user's id, or * for everyone's tokens."
	)
	for query, want := range map[string]string{
		"%":                               malformed,
		"limit=%zz":                       malformed,
		"limit=1;offset=2":                malformed,
		"limit":                           limit,
		"limit=":                          limit,
		"limit=0":                         limit,
		"limit=-1":                        limit,
		"limit=%2B1":                      limit,
		"limit=1.0":                       limit,
		"limit=1e3":                       limit,
		"limit=0x10":                      limit,
		"limit=1_000":                     limit,
		"limit=%201":                      limit,
		"limit=%D9%A1":                    limit,
		"limit=2147483648":                limit,
		"limit=18446744073709551617":      limit,
		"user=*&limit=1001":               page,
		"user=*&limit=0":                  page,
		"user=bob&limit=1001":             page,
		"offset=-1":                       offset,
		"offset=":                         offset,
		"offset=x":                        offset,
		"offset=2147483648":               offset,
		"includeCount":                    count,
		"includeCount=":                   count,
		"includeCount=1":                  count,
		"includeCount=True":               count,
		"user":                            user,
		"user=":                           user,
		"user=&limit=x":                   user,
		"limit=1&limit=1":                 "limit must be given once.",
		"limit=1&%6Cimit=2":               "limit must be given once.",
		"offset=1&offset=1":               "offset must be given once.",
		"includeCount=true&includeCount=": "includeCount must be given once.",
		"user=a&user=b":                   "user must be given once.",
		"user=&user=b":                    "user must be given once.",
	} {
		_, err := parseListing(query)
		if diff := cmp.Diff(want, details(err)); diff != "" {
			t.Errorf("?%s (-want +got):\n%s", query, diff)
		}
	}
}

// Rights are looked at before the rest of the query, so whose tokens are asked
// for must be known whatever the rest is.
func TestParseListingTellsTheUserInAnyCase(t *testing.T) {
	for query, want := range map[string]string{
		"user=bob&limit=x":     "bob",
		"limit=x&user=bob":     "bob",
		"user=bob&user=carol":  "bob",
		"user=bob&offset=":     "bob",
		"user=bob&limit=1001":  "bob",
		"user=":                registry.Everyone,
		"user":                 registry.Everyone,
		"user=&user=&limit=x":  registry.Everyone,
		"limit=x":              "",
		"username=bob&limit=x": "",
	} {
		got, err := parseListing(query)
		if err == nil {
			t.Errorf("?%s is taken", query)
		}
		if got.User != want {
			t.Errorf("?%s: user %q, want %q", query, got.User, want)
		}
	}
}

func TestParseSuccessors(t *testing.T) {
	for query, want := range map[string]bool{
		"": false, "successors=true": true, "successors=false": false, "limit=x&user=": false, "Successors=maybe": false,
	} {
		if got, err := parseSuccessors(query); err != nil || got != want {
			t.Errorf("?%s: %v, %v; want %v", query, got, err, want)
		}
	}
	for query, want := range map[string]string{
		"successors":                       "successors must be true or false.",
		"successors=":                      "successors must be true or false.",
		"successors=yes":                   "successors must be true or false.",
		"successors=TRUE":                  "successors must be true or false.",
		"successors=true&successors=true":  "successors must be given once.",
		"successors=true&successors=false": "successors must be given once.",
		"successors=true;":                 "The query is malformed: separate parameters by & and encode special characters by %XX.",
	} {
		got, err := parseSuccessors(query)
		if got {
			t.Errorf("?%s: true in spite of the error", query)
		}
		if diff := cmp.Diff(want, details(err)); diff != "" {
			t.Errorf("?%s (-want +got):\n%s", query, diff)
		}
	}
}

// details is what the client is told about a wrong request, or else what kind of
// error it isn't.
func details(err error) string {
	var p *Problem
	switch {
	case err == nil:
		return "no error"
	case !errors.As(err, &p) || p.Status != http.StatusBadRequest || p.Name != "ApiValidationFailed":
		return "not ApiValidationFailed: " + err.Error()
	}
	return p.Details
}

func FuzzListing(f *testing.F) {
	for _, query := range []string{
		"", "limit=10&offset=20&includeCount=true&user=*", "user=", "user=a%26b", "limit=1001&user=x", "limit=0x1", "offset=2147483648",
		"sort=-lastUsed&state=active", "sort=expiredAt&unusedFor=36525", "state=expired&after=0bc1d49f-5475-4c62-a0ba-6ad269389ada", "after=&sort=-",
		"limit=1&limit=2", "%", "a;b", "includeCount=maybe", "limit=+1", "user=%00%ff", "user=a&user=b&limit=",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got, err := parseListing(query)
		values, malformed := url.ParseQuery(query)
		if malformed == nil && values.Has("user") != (got.User != "") {
			t.Fatalf("?%q: asks for others' tokens: %v, taken for %q", query, values.Has("user"), got.User)
		}
		if err != nil {
			// One of a few sentences, in which nothing is the client's.
			if sentence := details(err); !isSentence(sentence) {
				t.Fatalf("?%q: %s", query, sentence)
			}
			return
		}
		if malformed != nil {
			t.Fatalf("?%q is taken, though %v", query, malformed)
		}
		if got.Limit < 0 || got.Offset < 0 || values.Has("limit") && got.Limit == 0 || got.User != "" && got.Limit > registry.MaxPage {
			t.Fatalf("?%q: %+v", query, got)
		}
		again, err := parseListing(queryOf(got))
		if err != nil || !cmp.Equal(again, got) {
			t.Fatalf("?%q is %+v, which as ?%q is %+v, %v", query, got, queryOf(got), again, err)
		}
	})
}

func queryOf(l registry.Listing) string {
	q := url.Values{"includeCount": {strconv.FormatBool(l.Count)}, "offset": {strconv.Itoa(l.Offset)}}
	if l.Limit != 0 {
		q.Set("limit", strconv.Itoa(l.Limit))
	}
	if l.User != "" {
		q.Set("user", l.User)
	}
	for name, order := range orders {
		if order == l.Order && l.Descending {
			q.Set("sort", "-"+name)
		} else if order == l.Order {
			q.Set("sort", name)
		}
	}
	if l.State != registry.AnyState {
		q.Set("state", map[registry.State]string{registry.Active: "active", registry.Expired: "expired"}[l.State])
	}
	if l.UnusedFor > 0 {
		q.Set("unusedFor", strconv.Itoa(int(l.UnusedFor/(24*time.Hour))))
	}
	if l.After != uuid.Nil {
		q.Set("after", l.After.String())
	}
	return q.Encode()
}

func isSentence(details string) bool {
	for _, ending := range []string{" must be given once.", " must be true or false."} {
		if name, found := strings.CutSuffix(details, ending); found {
			return slices.Contains([]string{"limit", "offset", "includeCount", "user", "sort", "state", "unusedFor", "after"}, name)
		}
	}
	return slices.Contains([]string{
		"The query is malformed: separate parameters by & and encode special characters by %XX.",
		"user must be a user's id, or * for everyone's tokens.",
		"limit must be a whole number from 1 to 1000.",
		"limit must be a whole number from 1 to 2147483647.",
		"offset must be a whole number from 0 to 2147483647.",
		"sort must be createdAt, expiredAt or lastUsed, with - in front for the reverse.",
		"state must be active or expired.",
		"unusedFor must be a whole number from 1 to 36525.",
		"after must be the id of a token of the list.",
	}, details)
}
