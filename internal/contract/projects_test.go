package contract

import (
	"net/http"
	"strings"
	"testing"
)

func TestProjectsSideBySideInOneStore(t *testing.T) {
	t.Parallel()
	// The first and the third site are of one project.
	g := start(t, siteAt("{$PORT}", "project one")+siteAt("{$PORT2}", "project two")+siteAt("{$PORT3}", "project one"))
	one := g.createAt(t, 0, as("alice"), 3600, "one's")
	two := g.createAt(t, 1, as("alice"), 3600, "two's")

	for _, test := range []struct {
		name  string
		site  int
		made  token
		valid bool
	}{
		{"a token of the project", 0, one, true},
		{"on the project's other site", 2, one, true},
		{"another project's token", 1, one, false},
		{"the other project's own", 1, two, true},
		{"and the other way round", 0, two, false},
		{"and on the other site", 2, two, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, target := range []string{"/v3/x", api} {
				got := g.do(t, ask{site: test.site, target: target, auth: bearer(test.made.value)})
				if test.valid {
					wantStatus(t, got, http.StatusOK)
					continue
				}
				wantRefused(t, got, http.StatusUnauthorized, "InvalidToken")
			}
		})
	}
	t.Run("its list shows its own", func(t *testing.T) {
		for site, want := range []string{"one's", "two's", "one's"} {
			for _, query := range []string{"", "?user=*"} {
				got := g.do(t, ask{site: site, target: api + query, auth: as("alice")})
				var list listing
				if got.into(t, &list); len(list.Data) != 1 || list.Data[0].Description != want {
					t.Errorf("site %d, %s: %s", site, query, got.body)
				}
			}
		}
	})
	t.Run("its administrators see and delete none of another's", func(t *testing.T) {
		for _, method := range []string{"GET", "DELETE"} {
			got := g.do(t, ask{site: 1, method: method, target: one.target(), auth: as("alice")})
			wantRefused(t, got, http.StatusNotFound, "DataNotFoundException")
		}
		wantProxied(t, g.do(t, ask{site: 2, auth: bearer(one.value)}), "alice")
	})
	t.Run("deleted on one site, refused on the other", func(t *testing.T) {
		g.remove(t, as("alice"), one.target())
		wantRefused(t, g.do(t, ask{site: 2, auth: bearer(one.value)}), http.StatusUnauthorized, "InvalidToken")
		wantProxied(t, g.do(t, ask{site: 1, auth: bearer(two.value)}), "alice")
	})
}

func TestOlderTokensKeepWorkingWhenThePrefixChanges(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	old := g.create(t, as("alice"), 3600, "")
	if complaint := g.reload(t, site("prefix dp2")); complaint != "" {
		t.Fatal(complaint)
	}
	made := g.create(t, as("alice"), 3600, "")
	if !strings.HasPrefix(made.value, "dp2_") || len(made.value) != len("dp2_")+49 || made.value[47:] != checksum(made.value[:47]) {
		t.Errorf("%q isn't dp2_, 43 characters and their checksum", made.value)
	}
	for _, value := range []string{old.value, made.value} {
		wantProxied(t, g.do(t, ask{auth: bearer(value)}), "alice")
		wantStatus(t, g.do(t, ask{target: api, auth: bearer(value)}), http.StatusOK)
	}
	g.remove(t, as("alice"), old.target())
	wantRefused(t, g.do(t, ask{auth: bearer(old.value)}), http.StatusUnauthorized, "InvalidToken")
}

func TestTokensUsesAndDeletionsSurviveTheProcess(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	kept := g.create(t, as("bob"), 3600, "kept")
	used := g.create(t, as("bob"), 3600, "used")
	deleted := g.create(t, as("bob"), 3600, "deleted")
	wantProxied(t, g.do(t, ask{auth: bearer(used.value)}), "bob")
	wantProxied(t, g.do(t, ask{auth: bearer(deleted.value)}), "bob")
	g.remove(t, as("bob"), deleted.target())
	before := g.list(t, as("bob"), "")

	check := func(t *testing.T) {
		t.Helper()
		after := g.list(t, as("bob"), "")
		if len(after.Data) != 2 || after.Data[0].Description != "kept" || after.Data[1].Description != "used" {
			t.Fatalf("bob has %+v", after)
		}
		if lastUsed := after.Data[1].LastUsed; lastUsed == nil || *lastUsed != *before.Data[1].LastUsed {
			t.Errorf("the last use was %s, is %v", *before.Data[1].LastUsed, lastUsed)
		}
		if lastUsed := after.Data[0].LastUsed; lastUsed != nil {
			t.Errorf("one that was never used says %v", *lastUsed)
		}
		wantRefused(t, g.do(t, ask{auth: bearer(deleted.value)}), http.StatusUnauthorized, "InvalidToken")
	}
	g.restart(t)
	t.Run("a stop, last uses included", check)
	g.kill9(t)
	g.up(t)
	t.Run("a kill -9", check)
	wantProxied(t, g.do(t, ask{auth: bearer(kept.value)}), "bob")
	g.create(t, bearer(kept.value), 60, "renewed afterwards")
}
