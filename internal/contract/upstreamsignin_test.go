package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An API's own users make tokens: sign_in upstream, from outside.

const anHour = `{"lifetimeSeconds": 3600}`

// made is the token in an answer to POST.
func made(t testing.TB, got answered) token {
	t.Helper()
	wantStatus(t, got, http.StatusCreated)
	var made struct {
		TokenValue string    `json:"tokenValue"`
		TokenInfo  tokenInfo `json:"tokenInfo"`
	}
	got.into(t, &made)
	return token{made.TokenValue, made.TokenInfo}
}

// bySession makes a token by a session's cookie line.
func (g *gateway) bySession(t testing.TB, cookie string) token {
	t.Helper()
	return made(t, g.do(t, ask{method: "POST", target: api, lines: []string{cookie}, body: anHour}))
}

func TestATokenMadeByPasswordBySessionAndByAnotherToken(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	byPassword := g.create(t, as("alice"), 3600, "by password")
	bySession := g.bySession(t, a.cookie("alice"))
	byToken := g.create(t, bearer(bySession.value), 3600, "by another token")
	for _, token := range []token{byPassword, bySession, byToken} {
		request := a.wantUser(t, g.do(t, ask{auth: bearer(token.value)}), "17")
		for name, want := range map[string]string{"Remote-Email": "alice@example.com", "Remote-Name": "Alice A.", "X-Trifacta-Workspace-Id": "7"} {
			if got := request.header.Values(name); !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
	if ids := g.list(t, as("alice"), "").ids(); len(ids) != 3 {
		t.Errorf("alice has %d tokens, want 3", len(ids))
	}
	t.Run("only the credentials are sent to who-am-I", func(t *testing.T) {
		got := g.do(t, ask{method: "POST", target: api + "?x=1", auth: as("alice"), body: anHour,
			lines: []string{a.cookie("bob"), "X-Other: 1", "Accept-Language: de", "X-Forwarded-User: bob", "From: bob@example.com"}})
		a.wantUser(t, g.do(t, ask{auth: bearer(made(t, got).value)}), "17")
		for _, request := range a.heard {
			if request.path != whoAmI {
				continue
			}
			for name := range request.header {
				if !slices.Contains([]string{"Authorization", "Cookie", "Accept", "User-Agent", "Accept-Encoding"}, name) {
					t.Errorf("who-am-I was sent %s", name)
				}
			}
			if request.header.Get("Authorization") != "" && request.header.Get("Cookie") != "" {
				t.Errorf("Basic credentials, or else cookies: %v", request.header)
			}
		}
	})
	t.Run("of the cookies only the session's", func(t *testing.T) {
		before := a.count()
		got := g.do(t, ask{target: api, lines: []string{"Cookie: a=1; " + session + "=" + a.logIn("bob") + "; theme=dark", "Cookie: locale=de"}})
		wantStatus(t, got, http.StatusOK)
		if sent := a.heard[before].header.Get("Cookie"); strings.Contains(sent, "theme") || strings.Contains(sent, "locale") || strings.Contains(sent, "a=1") {
			t.Errorf("who-am-I was sent %q", sent)
		}
	})
	t.Run("not by a wrong password, an ended session, a token of the API's own", func(t *testing.T) {
		for name, request := range map[string]ask{
			"password": {auth: basic("alice", "guess")},
			"nobody":   {auth: basic("eve", "guess")},
			"session":  {lines: []string{"Cookie: " + session + "=ended"}},
			"cookie":   {lines: []string{"Cookie: sid=" + a.logIn("alice")}},
			"nothing":  {},
		} {
			request.method, request.target, request.body = "POST", api, anHour
			got := g.do(t, request)
			wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
			if challenges := got.header.Values("WWW-Authenticate"); len(challenges) != 2 || !strings.HasPrefix(challenges[1], "Basic ") {
				t.Errorf("%s: challenges %q, want Bearer and Basic", name, challenges)
			}
		}
		got := g.do(t, ask{method: "POST", target: api, auth: a.jwt("alice"), body: anHour})
		wantRefused(t, got, http.StatusUnauthorized, "InvalidToken")
	})
	t.Run("a password or a session opens the routes only", func(t *testing.T) {
		before := a.count()
		wantRefused(t, g.do(t, ask{auth: as("alice")}), http.StatusUnauthorized, "AuthenticationRequired")
		wantRefused(t, g.do(t, ask{lines: []string{a.cookie("alice")}}), http.StatusUnauthorized, "AuthenticationRequired")
		if a.count() != before {
			t.Error("the API was asked")
		}
	})
}

func TestBasicOff(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, strings.Replace(realSite(""), "timeout 2s", "basic off", 1), a.behind())
	before := a.count()
	got := g.do(t, ask{method: "POST", target: api, auth: as("alice"), body: anHour})
	wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
	if challenges := got.header.Values("WWW-Authenticate"); len(challenges) != 1 || strings.Contains(challenges[0], "Basic") {
		t.Errorf("challenges %q, want none that asks for a password", challenges)
	}
	if a.count() != before {
		t.Error("the password was sent on")
	}
	a.wantUser(t, g.do(t, ask{auth: bearer(g.bySession(t, a.cookie("bob")).value)}), "23")
}

func TestTheAPIIsntAskedWhenATokenIsUsed(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	token := g.create(t, as("bob"), 3600, "")
	before := a.timesAsked()
	if before != 1 {
		t.Errorf("one sign-in asked %d times", before)
	}
	for _, target := range []string{"/v4/jobs", "/v3/jobs", api, token.target()} {
		wantStatus(t, g.do(t, ask{target: target, auth: bearer(token.value), lines: []string{a.cookie("alice")}}), http.StatusOK)
	}
	g.create(t, bearer(token.value), 60, "renewed")
	g.remove(t, bearer(token.value), token.target())
	if asked := a.timesAsked(); asked != before {
		t.Errorf("the who-am-I route was asked %d times for a token", asked-before)
	}
	t.Run("nor twice for one sign-in, nor is its answer remembered", func(t *testing.T) {
		wantStatus(t, g.do(t, ask{target: api, auth: as("bob")}), http.StatusOK)
		wantStatus(t, g.do(t, ask{target: api, auth: as("bob")}), http.StatusOK)
		if asked := a.timesAsked(); asked != before+2 {
			t.Errorf("two sign-ins asked %d times", asked-before)
		}
	})
}

func TestUserBWithUserAsTokenIsUserA(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	alices := g.create(t, as("alice"), 3600, "handed to bob")
	bobs := g.create(t, as("bob"), 3600, "")
	a.wantUser(t, g.do(t, ask{auth: bearer(alices.value), lines: []string{a.cookie("bob"), "Remote-User: 23"}}), "17")
	a.wantUser(t, g.do(t, ask{auth: bearer(bobs.value)}), "23")
	renewed := g.create(t, bearer(alices.value), 60, "made by bob")
	a.wantUser(t, g.do(t, ask{auth: bearer(renewed.value)}), "17")
	if ids := g.list(t, as("bob"), "").ids(); !slices.Equal(ids, []string{bobs.info.TokenID}) {
		t.Errorf("bob has %v, want his own only", ids)
	}
}

func TestNobodyMakesATokenForAnother(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite("admins 17"), a.behind())
	tokens := map[string]string{"17": g.create(t, as("alice"), 3600, "").value, "23": g.create(t, as("bob"), 3600, "").value}
	for id, others := range map[string]string{"17": "23", "23": "17"} {
		auth := map[string]string{"17": as("alice"), "23": as("bob")}[id]
		for _, auth := range []string{auth, bearer(tokens[id])} {
			for _, a := range []ask{
				{target: api + "?user=" + others},
				{target: api + "?userId=" + others},
				{body: `{"lifetimeSeconds": 60, "userId": "` + others + `", "user": "` + others + `", "owner": {"id": ` + others + `}}`},
				{lines: []string{"Remote-User: " + others, "X-Trifacta-User-Id: " + others, "remote_user: " + others}},
				{lines: []string{"X-Forwarded-User: " + others, "X-Remote-User: " + others}},
				{target: api + "/" + others}, {target: api + "/for/" + others},
			} {
				a.method, a.auth = "POST", auth
				if a.target == "" {
					a.target = api
				}
				if a.body == "" {
					a.body = anHour
				}
				got := g.do(t, a)
				if got.status != http.StatusCreated {
					if got.status/100 != 4 {
						t.Errorf("%s: %s", a.target, got)
					}
					continue
				}
				if used := g.do(t, ask{auth: bearer(got.tokenValue())}); !strings.Contains(used.body, `"user":"`+id+`"`) {
					t.Errorf("%s's %v made a token that is %s", id, a, used.body)
				}
			}
		}
	}
}

func TestAPasswordChangeLeavesTokensAsTheyAre(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	token := g.create(t, as("bob"), 3600, "")
	fresh := secret("bob's new pass phrase")
	a.change("bob", func(row *account) { row.password = fresh })
	a.wantUser(t, g.do(t, ask{auth: bearer(token.value)}), "23")
	a.wantUser(t, g.do(t, ask{auth: bearer(g.create(t, bearer(token.value), 60, "").value)}), "23")
	t.Run("and the old password is useless from then on", func(t *testing.T) {
		for _, method := range []string{"GET", "POST"} {
			got := g.do(t, ask{method: method, target: api, auth: as("bob"), body: anHour})
			wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
		}
		got := g.do(t, ask{method: "DELETE", target: token.target(), auth: as("bob")})
		wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
	})
	a.wantUser(t, g.do(t, ask{auth: bearer(g.create(t, basic("bob", fresh), 60, "").value)}), "23")
}

func TestTokensOfAnAPIsUsersAreImmutable(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	token := g.create(t, as("alice"), 3600, "as it is")
	for _, auth := range []string{as("alice"), bearer(token.value)} {
		for _, method := range []string{"PUT", "PATCH", "POST"} {
			got := g.do(t, ask{method: method, target: token.target(), auth: auth, body: `{"description": "changed", "lifetimeSeconds": 86400}`})
			wantRefused(t, got, http.StatusMethodNotAllowed, "MethodNotAllowed")
			if got.header.Get("Allow") == "" {
				t.Errorf("%s: no Allow", method)
			}
		}
	}
	after := g.info(t, as("alice"), token.info.TokenID)
	after.LastUsed, after.LastUsedAddress = nil, ""
	if diff := cmp.Diff(token.info, after); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestOneUserHasTenThousandTokens(t *testing.T) {
	t.Parallel()
	const clients, each = 12, 834
	a := newRealAPI(t)
	g := start(t, strings.ReplaceAll(realSite(""), "timeout 2s", "timeout 20s"), a.behind())
	cookie := strings.TrimPrefix(a.cookie("bob"), "Cookie: ")
	client := &http.Client{Timeout: 3 * patience, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	values := make([][]string, clients)
	var making sync.WaitGroup
	for n := range clients {
		making.Go(func() {
			for i := range each {
				value, err := makeOne(client, g.addresses[0], cookie, fmt.Sprintf(`{"lifetimeSeconds": 3600, "description": "%d of client %d"}`, i, n))
				if err != nil {
					t.Error(err)
					return
				}
				values[n] = append(values[n], secret(value))
			}
		})
	}
	making.Wait()
	if t.Failed() {
		return
	}
	auth := bearer(values[clients-1][each-1])
	if count := g.list(t, auth, "?limit=1&includeCount=true").Count; count == nil || *count != clients*each {
		t.Fatalf("count %v, want %d", count, clients*each)
	}
	all := g.list(t, auth, "").ids()
	var paged []string
	for offset := 0; ; offset += 1000 {
		page := g.list(t, auth, fmt.Sprintf("?limit=1000&offset=%d", offset)).ids()
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
	}
	if !slices.Equal(all, paged) {
		t.Errorf("%d listed at once, %d in pages, not the same", len(all), len(paged))
	}
	if slices.Sort(paged); len(slices.Compact(paged)) != clients*each {
		t.Errorf("%d different tokens are listed, want %d", len(slices.Compact(paged)), clients*each)
	}
	for n := range clients {
		for _, value := range []string{values[n][0], values[n][each-1]} {
			a.wantUser(t, g.do(t, ask{auth: bearer(value)}), "23")
		}
	}
}

// makeOne makes a token by a session, over a connection that is kept.
func makeOne(client *http.Client, address, cookie, body string) (string, error) {
	r, err := http.NewRequest("POST", "http://"+address+api, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("Cookie", cookie)
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	var made struct {
		TokenValue string `json:"tokenValue"`
	}
	if err != nil || resp.StatusCode != http.StatusCreated || json.Unmarshal(bytes.TrimSpace(answer), &made) != nil {
		return "", fmt.Errorf("status %d, %w: %s", resp.StatusCode, err, answer)
	}
	return made.TokenValue, nil
}

func TestV3AndV4Alike(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	token := g.create(t, as("alice"), 3600, "")
	for _, target := range []string{"/v3/jobs", "/v4/jobs", "/v4/jobs/1?embed=x", "/v3/apiAccessTokens", whoAmI, "/v10/x", "/"} {
		for _, method := range []string{"GET", "POST", "DELETE", "PATCH"} {
			got := g.do(t, ask{method: method, target: target, auth: bearer(token.value)})
			if target == whoAmI {
				wantStatus(t, got, http.StatusOK)
				continue
			}
			a.wantUser(t, got, "17")
			wantRefused(t, g.do(t, ask{method: method, target: target}), http.StatusUnauthorized, "AuthenticationRequired")
		}
	}
}

func TestAfterExpiryOnlyASignInMakesANewToken(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	short := g.create(t, as("bob"), 1, "short")
	end := at(t, *short.info.ExpiredAt)
	g.wait(t, "the token is over", func() bool { return time.Now().After(end) })
	for _, request := range []ask{
		{}, {target: api}, {target: short.target()}, {method: "DELETE", target: short.target()},
		{method: "POST", target: api, body: anHour}, {method: "POST", target: api, body: `{"lifetimeSeconds": 1}`},
		{method: "POST", target: api, body: anHour, lines: []string{a.cookie("bob")}}, // a bearer decides alone
	} {
		request.auth = bearer(short.value)
		wantRefused(t, g.do(t, request), http.StatusUnauthorized, "InvalidToken")
	}
	a.wantUser(t, g.do(t, ask{auth: bearer(g.create(t, as("bob"), 60, "").value)}), "23")
	a.wantUser(t, g.do(t, ask{auth: bearer(g.bySession(t, a.cookie("bob")).value)}), "23")
}

func TestTheSameUserIDInTwoProjectsSharesNothing(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite("project one")+realSiteAt("{$PORT2}", "project two"), a.behind())
	one := g.create(t, as("alice"), 3600, "one's")
	two := g.createAt(t, 1, as("alice"), 3600, "two's")
	for at, other := range []token{two, one} {
		own := []token{one, two}[at]
		wantRefused(t, g.do(t, ask{site: at, auth: bearer(other.value)}), http.StatusUnauthorized, "InvalidToken")
		for _, method := range []string{"GET", "DELETE"} {
			got := g.do(t, ask{site: at, method: method, target: other.target(), auth: as("alice")})
			wantRefused(t, got, http.StatusNotFound, "DataNotFoundException")
		}
		for _, query := range []string{"", "?user=17", "?user=*"} {
			var list listing
			got := g.do(t, ask{site: at, target: api + query, auth: as("alice")})
			if got.into(t, &list); !slices.Equal(list.ids(), []string{own.info.TokenID}) {
				t.Errorf("site %d lists %s", at, got.body)
			}
		}
		a.wantUser(t, g.do(t, ask{site: at, auth: bearer(own.value)}), "17")
	}
}

func TestACookieOfBobBesideATokenOfAliceIsAlice(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	for _, mode := range []string{"", "without_token pass", "keep_cookies locale"} {
		g := start(t, realSite(mode), a.behind())
		token := g.create(t, as("alice"), 3600, "")
		cookie := a.cookie("bob")
		request := a.wantUser(t, g.do(t, ask{auth: bearer(token.value), lines: []string{cookie + "; locale=de"}}), "17")
		if sent := request.header.Get("Cookie"); strings.Contains(sent, session) {
			t.Errorf("%s: the API was sent %s", mode, sent)
		}
		if ids := g.list(t, bearer(token.value), "").ids(); len(ids) != 1 {
			t.Errorf("%s: alice lists %v", mode, ids)
		}
		got := g.do(t, ask{method: "POST", target: api, auth: bearer(token.value), lines: []string{cookie}, body: anHour})
		a.wantUser(t, g.do(t, ask{auth: bearer(made(t, got).value)}), "17")
		t.Run("and an invalid token is nobody", func(t *testing.T) {
			for _, target := range []string{"/v4/x", api} {
				got := g.do(t, ask{target: target, auth: bearer(neverIssued("cat")), lines: []string{cookie}})
				wantRefused(t, got, http.StatusUnauthorized, "InvalidToken")
			}
		})
	}
}

func TestClaimsAreRecordedWithTheTokenAndInherited(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	told := func(value string) []string {
		t.Helper()
		return a.wantUser(t, g.do(t, ask{auth: bearer(value), lines: []string{"X-Trifacta-Workspace-Id: 99"}}), "17").header.Values("X-Trifacta-Workspace-Id")
	}
	old := g.create(t, as("alice"), 3600, "")
	a.change("alice", func(row *account) { row.Workspace = map[string]any{"id": "moved to ü"} })
	renewed := g.create(t, bearer(old.value), 3600, "")
	fresh := g.create(t, as("alice"), 3600, "")
	a.change("alice", func(row *account) { row.Workspace = map[string]any{"id": "{env.HOME}"} })
	literal := g.create(t, as("alice"), 3600, "")
	a.change("alice", func(row *account) { row.Workspace = map[string]any{"id": nil} })
	none := g.create(t, as("alice"), 3600, "")
	check := func(t *testing.T) {
		t.Helper()
		for _, test := range []struct {
			token token
			want  []string
		}{
			{old, []string{"7"}},
			{renewed, []string{"7"}},
			{fresh, []string{"moved to ü"}},
			{literal, []string{"{env.HOME}"}},
			{none, nil},
		} {
			if diff := cmp.Diff(test.want, told(test.token.value)); diff != "" {
				t.Errorf("the workspace (-want +got):\n%s", diff)
			}
		}
	}
	check(t)
	g.restart(t)
	t.Run("after a restart", check)
}

func TestOnlyJSONTrueMakesAnAdministrator(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	for _, value := range []any{true, false, "true", "True", 1, 1.0, "1", []bool{true}, map[string]bool{"true": true}, nil, "yes", ""} {
		a.change("alice", func(row *account) { row.IsAdmin = value })
		got := g.do(t, ask{target: api + "?user=*", auth: as("alice")})
		if value == true {
			wantStatus(t, got, http.StatusOK)
			continue
		}
		wantRefused(t, got, http.StatusForbidden, "AccessControlException")
	}
	t.Run("and a token never carries that right", func(t *testing.T) {
		a.change("alice", func(row *account) { row.IsAdmin = true })
		token := g.create(t, as("alice"), 3600, "")
		wantRefused(t, g.do(t, ask{target: api + "?user=*", auth: bearer(token.value)}), http.StatusForbidden, "AccessControlException")
		bobs := g.create(t, as("bob"), 3600, "")
		got := g.do(t, ask{method: "DELETE", target: bobs.target(), auth: bearer(token.value)})
		wantRefused(t, got, http.StatusNotFound, "DataNotFoundException")
		g.remove(t, as("alice"), bobs.target())
	})
	t.Run("except to renew itself where only administrators generate", func(t *testing.T) {
		g := start(t, strings.Replace(realSite(""), "allow_generate everyone", "allow_generate admins", 1), a.behind())
		token := g.create(t, as("alice"), 3600, "")
		a.wantUser(t, g.do(t, ask{auth: bearer(g.create(t, bearer(token.value), 3600, "").value)}), "17")
		got := g.do(t, ask{method: "POST", target: api, auth: as("bob"), body: anHour})
		wantRefused(t, got, http.StatusForbidden, "AccessControlException")
	})
}

func TestChainsOfSignIns(t *testing.T) {
	t.Parallel()
	first, second := newRealAPI(t), newRealAPI(t)
	// The same user names with other ids; dora is known to the second only.
	second.change("carol", func(row *account) { row.ID = 1042 })
	second.change("dora", func(row *account) { row.ID, row.password = 1064, secret("dora's pass phrase") })
	ofSecond := strings.NewReplacer("{$API}", "{$API2}", session, "second.sid").Replace(askRealAPI)
	users := `sign_in basic {
			alice {$ALICE_HASH}
		}
		`
	g := start(t, realSite(users)+realSiteAt("{$PORT2}", "project two\n"+ofSecond), first.behind(), env("API2", second.address))

	t.Run("a user listed in basic is decided there", func(t *testing.T) {
		before := first.timesAsked()
		first.wantUser(t, g.do(t, ask{auth: bearer(g.create(t, as("alice"), 60, "").value)}), "alice")
		other := secret("alice's password at the API")
		first.change("alice", func(row *account) { row.password = other })
		got := g.do(t, ask{target: api, auth: basic("alice", other)})
		wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
		if first.timesAsked() != before {
			t.Error("the API was asked for her")
		}
	})
	t.Run("others go on to the next", func(t *testing.T) {
		first.wantUser(t, g.do(t, ask{auth: bearer(g.create(t, as("bob"), 60, "").value)}), "23")
		first.wantUser(t, g.do(t, ask{auth: bearer(g.bySession(t, first.cookie("alice")).value)}), "17")
	})
	t.Run("two APIs: the first one's no is final for passwords", func(t *testing.T) {
		before := first.timesAsked()
		got := g.do(t, ask{site: 1, target: api, auth: basic("dora", "dora's pass phrase")})
		// The second stands first in this site: realSiteAt writes its options before.
		wantStatus(t, got, http.StatusOK)
		if first.timesAsked() != before {
			t.Error("the next was asked after a yes")
		}
		got = g.do(t, ask{site: 1, target: api, auth: basic("dora", "guess")})
		wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
		if first.timesAsked() != before {
			t.Error("the next was asked after a no")
		}
	})
	t.Run("and each knows its own sessions", func(t *testing.T) {
		for cookie, want := range map[string]string{
			first.cookie("carol"): "42",
			strings.Replace(second.cookie("carol"), session, "second.sid", 1): "",
		} {
			got := g.do(t, ask{site: 1, method: "POST", target: api, lines: []string{cookie}, body: anHour})
			if want == "" { // the API reads another cookie than is sent on: nobody
				wantRefused(t, got, http.StatusUnauthorized, "AuthenticationRequired")
				continue
			}
			first.wantUser(t, g.do(t, ask{site: 1, auth: bearer(made(t, got).value)}), want)
		}
		got := g.do(t, ask{site: 1, method: "POST", target: api, body: anHour,
			lines: []string{"Cookie: second.sid=ended; " + session + "=" + first.logIn("carol")}})
		first.wantUser(t, g.do(t, ask{site: 1, auth: bearer(made(t, got).value)}), "42")
	})
	t.Run("an error isn't passed over", func(t *testing.T) {
		second.play("bob", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		before := first.timesAsked()
		got := g.do(t, ask{site: 1, target: api, auth: as("bob")})
		wantRefused(t, got, http.StatusServiceUnavailable, "ServiceUnavailable")
		if first.timesAsked() != before {
			t.Error("the next was asked after an error")
		}
	})
}
