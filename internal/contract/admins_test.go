package contract

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnAdministratorManagesEveryonesTokens(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	alices := g.create(t, as("alice"), 3600, "a")
	bobs := g.create(t, as("bob"), 3600, "b")
	carols := g.create(t, as("carol"), 3600, "c")
	bobs2 := g.create(t, as("bob"), 3600, "b2")

	for how, auth := range map[string]string{"signed in": as("alice"), "with a token": bearer(alices.value)} {
		t.Run(how, func(t *testing.T) {
			for _, test := range []struct {
				query string
				want  []token
			}{
				{"?user=bob", []token{bobs, bobs2}},
				{"?user=carol", []token{carols}},
				{"?user=alice", []token{alices}},
				{"?user=*", []token{alices, bobs, carols, bobs2}},
				{"?user=*&limit=2&offset=1", []token{bobs, carols}},
				{"?user=nobody", nil},
				{"?user=Bob", nil},
			} {
				list := g.list(t, auth, test.query)
				got, want := list.ids(), []string{}
				for _, made := range test.want {
					want = append(want, made.info.TokenID)
				}
				if test.query == "?user=*" { // made in the same millisecond, their order is open
					slices.Sort(got)
					slices.Sort(want)
				}
				if len(got) != len(want) || !strings.Contains(test.query, "offset") && !cmp.Equal(want, got) {
					t.Errorf("%s: got %v, want %v", test.query, got, want)
				}
				for _, item := range list.Data {
					if owner := ownerOf(item.Description); item.UserID == nil || *item.UserID != owner {
						t.Errorf("%s: an item of %s's says userId %v", test.query, owner, item.UserID)
					}
				}
			}
			if list := g.list(t, auth, "?user=*&includeCount=true&limit=1"); list.Count == nil || *list.Count != 4 {
				t.Errorf("count %v, want 4", list.Count)
			}
		})
	}
	t.Run("their own list has no userId", func(t *testing.T) {
		for _, item := range g.list(t, as("alice"), "").Data {
			if item.UserID != nil || item.Description != "a" {
				t.Errorf("in alice's own list: %+v", item)
			}
		}
	})
	t.Run("reading", func(t *testing.T) {
		if info := g.info(t, as("alice"), bobs.info.TokenID); info.Description != "b" {
			t.Errorf("got %+v", info)
		}
		if info := g.info(t, bearer(alices.value), carols.info.TokenID); info.Description != "c" {
			t.Errorf("got %+v", info)
		}
	})
	t.Run("deleting, by sign-in and by token", func(t *testing.T) {
		g.remove(t, as("alice"), bobs.target())
		wantRefused(t, g.do(t, ask{auth: bearer(bobs.value)}), http.StatusUnauthorized, "InvalidToken")
		g.remove(t, bearer(alices.value), bobs2.target())
		wantRefused(t, g.do(t, ask{auth: bearer(bobs2.value)}), http.StatusUnauthorized, "InvalidToken")
		wantProxied(t, g.do(t, ask{auth: bearer(carols.value)}), "carol")
	})
	t.Run("nobody else: ?user= is 403, whoever it names", func(t *testing.T) {
		for _, query := range []string{"?user=alice", "?user=*", "?user=carol", "?user=nobody"} {
			for _, auth := range []string{as("carol"), bearer(carols.value)} {
				got := g.do(t, ask{target: api + query, auth: auth})
				wantRefused(t, got, http.StatusForbidden, "AccessControlException")
			}
		}
	})
}

func ownerOf(description string) string {
	return map[byte]string{'a': "alice", 'b': "bob", 'c': "carol"}[description[0]]
}

func TestAnAdministratorSeesAThousandTokensAtATime(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	const many = 1005
	var making sync.WaitGroup
	next := make(chan int)
	failures := make(chan string, many)
	// With a token each: nobody's password has to be checked a thousand times.
	bobs := g.create(t, as("bob"), 3600, "")
	for range 16 {
		making.Go(func() {
			for n := range next {
				got, err := g.try(ask{method: "POST", target: api, auth: bearer(bobs.value), body: `{"lifetimeSeconds": 60}`})
				if err != nil || got.status != http.StatusCreated {
					failures <- fmt.Sprint(n, err, got)
				}
			}
		})
	}
	for n := range many - 1 {
		next <- n
	}
	close(next)
	making.Wait()
	select {
	case failure := <-failures:
		t.Fatal(failure)
	default:
	}

	if got := len(g.list(t, as("bob"), "").Data); got != many {
		t.Errorf("bob's own list, without a limit, has %d of %d", got, many)
	}
	for _, query := range []string{"?user=bob", "?user=*", "?user=bob&limit=1000"} {
		list := g.list(t, as("alice"), query+"&includeCount=true")
		if len(list.Data) != 1000 || list.Count == nil || *list.Count != many {
			t.Errorf("%s: %d items, count %v; want 1000 of %d", query, len(list.Data), list.Count, many)
		}
	}
	if rest := g.list(t, as("alice"), "?user=bob&offset=1000"); len(rest.Data) != many-1000 {
		t.Errorf("the rest is %d items, want %d", len(rest.Data), many-1000)
	}
	got := g.do(t, ask{target: api + "?user=bob&limit=1001", auth: as("alice")})
	if got.status == http.StatusOK {
		var list listing
		if got.into(t, &list); len(list.Data) > 1000 {
			t.Errorf("limit=1001 shows %d at a time", len(list.Data))
		}
	} else if e := wantRefused(t, got, http.StatusBadRequest, "ApiValidationFailed"); !strings.Contains(e.Details, "1000") && !strings.Contains(e.Details, "1,000") {
		t.Errorf("the details don't say what is allowed: %s", e.Details)
	}
}
