package contract

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What is promised of tokens that aren't bearer tokens: token_from.

// carriersAt is a site at {$PORT} that takes tokens from everywhere, and one at
// {$PORT2}, of the same project, that takes bearer tokens only.
func carriersAt(options string) string {
	return siteAt("{$PORT}", "allow_generate everyone\ntoken_from basic\ntoken_from header X-API-Key\ntoken_from header Private-Token\n"+options) +
		siteAt("{$PORT2}", "allow_generate everyone\n"+options)
}

func apiKey(value string) []string { return []string{"X-API-Key: " + value} }

// encoded is a Basic Authorization of these bytes.
func encoded(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

// wantNoKeys wants nothing at the API behind by which it could take the request for
// somebody else's than Remote-User says.
func wantNoKeys(t *testing.T, got answered, names ...string) {
	t.Helper()
	for _, name := range append(names, "Authorization", "X-API-Key", "Private-Token") {
		if lines := got.received.lines(name); len(lines) > 0 {
			t.Errorf("the API behind was sent %q", lines)
		}
	}
}

func TestTokensAreTakenFromWhereTheSiteSays(t *testing.T) {
	t.Parallel()
	g := start(t, carriersAt(""))
	bobs := g.create(t, as("bob"), 3600, "").value
	for name, a := range map[string]ask{
		"a password":                              {auth: encoded("bob:" + bobs)},
		"a password beside somebody else's name":  {auth: encoded("alice:" + bobs)},
		"a password beside an unknown name":       {auth: encoded("oauth2:" + bobs)},
		"a password beside no name":               {auth: encoded(":" + bobs)},
		"a password beside a name in Latin-1":     {auth: encoded("J\xf6rg:" + bobs)},
		"a name beside no password":               {auth: encoded(bobs + ":")},
		"a name beside x-oauth-basic":             {auth: encoded(bobs + ":x-oauth-basic")},
		"Basic in capitals":                       {auth: strings.Replace(encoded("bob:"+bobs), "Basic", "BASIC  ", 1)},
		"a header":                                {lines: apiKey(bobs)},
		"another header":                          {lines: []string{"Private-Token: " + bobs}},
		"a header in small letters":               {lines: []string{"x-api-key: " + bobs}},
		"a header, cookies beside it":             {lines: []string{"X-API-Key: " + bobs, "Cookie: session=1"}},
		"a header, a password beside it":          {lines: apiKey(bobs), auth: as("alice")},
		"a header, another scheme beside it":      {lines: apiKey(bobs), auth: "Digest username=alice"},
		"a header, a foreign bearer beside it":    {lines: apiKey(bobs), auth: bearer("somebody-elses")},
		"a header, the API's own key beside it":   {lines: []string{"X-API-Key: " + bobs, "Private-Token: the-apis-own"}},
		"bearer":                                  {auth: bearer(bobs)},
		"bearer, the API's own key beside it":     {auth: bearer(bobs), lines: apiKey("the-apis-own")},
		"bearer, the API's own keys beside it":    {auth: bearer(bobs), lines: []string{"X-API-Key: one", "X-API-Key: two"}},
		"a password, the API's own key beside it": {auth: encoded("bob:" + bobs), lines: apiKey("the-apis-own")},
	} {
		t.Run(name, func(t *testing.T) {
			got := g.do(t, a)
			wantProxied(t, got, "bob")
			wantNoKeys(t, got, "Cookie")
		})
	}
	t.Run("and on the routes it is a token", func(t *testing.T) {
		for _, a := range []ask{
			{auth: encoded("alice:" + bobs)},
			{lines: apiKey(bobs)},
			{lines: apiKey(bobs), auth: as("alice")},
			{lines: apiKey(bobs), auth: bearer("foreign")},
		} {
			a.target = api + "/current"
			got := g.do(t, a)
			wantStatus(t, got, http.StatusOK)
			a.method, a.target, a.body = "POST", api, `{"lifetimeSeconds": 60}`
			made := g.do(t, a)
			wantStatus(t, made, http.StatusCreated)
			var token struct{ TokenInfo tokenInfo }
			made.into(t, &token)
			if token.TokenInfo.ParentID == "" {
				t.Errorf("no successor of the token that asked: %s", made.body)
			}
		}
	})
}

func TestMoreThanOneTokenIsRefused(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "without_token pass\nforeign_token pass", "public /v3/*"} {
		g := start(t, carriersAt(mode))
		bobs := g.create(t, as("bob"), 3600, "").value
		other := g.create(t, as("bob"), 3600, "").value
		unknown := neverIssued("cat")
		for name, a := range map[string]ask{
			"bearer and header":                      {auth: bearer(bobs), lines: apiKey(other)},
			"bearer and header, the same":            {auth: bearer(bobs), lines: apiKey(bobs)},
			"bearer and header, one made up":         {auth: bearer(bobs), lines: apiKey(unknown)},
			"bearer and header, the other made up":   {auth: bearer(unknown), lines: apiKey(bobs)},
			"bearer that begins like one and header": {auth: bearer("cat_nonsense"), lines: apiKey(bobs)},
			"bearer that holds one and header":       {auth: bearer("x." + bobs), lines: apiKey(bobs)},
			"password and header":                    {auth: encoded("bob:" + bobs), lines: apiKey(bobs)},
			"password and name":                      {auth: encoded(bobs + ":" + other)},
			"password and in the name":               {auth: encoded("x" + bobs + ":" + other)},
			"name and some password":                 {auth: encoded(bobs + ":secret")},
			"in the password":                        {auth: encoded("bob:x" + bobs)},
			"in the password, behind a colon":        {auth: encoded("bob::" + bobs)},
			"no colon":                               {auth: encoded(bobs)},
			"unpadded":                               {auth: strings.TrimRight(encoded("bob1:"+bobs), "=")},
			"a line break behind":                    {auth: encoded("bob:" + bobs + "\n")},
			"two headers":                            {lines: []string{"X-API-Key: " + bobs, "Private-Token: " + other}},
			"two headers, the same":                  {lines: []string{"X-API-Key: " + bobs, "Private-Token: " + bobs}},
			"a header twice":                         {lines: []string{"X-API-Key: " + bobs, "X-API-Key: " + bobs}},
			"a header twice, a key first":            {lines: []string{"X-API-Key: own", "X-API-Key: " + bobs}},
			"a header twice, a key last":             {lines: []string{"X-API-Key: " + bobs, "x-api-key: own"}},
			"a header twice, an empty one":           {lines: []string{"X-API-Key: " + bobs, "X-API-Key:"}},
			"a header in two spellings":              {lines: []string{"X-API-Key: " + bobs, "X~API~Key: own"}},
			"a header in another spelling":           {lines: []string{"x-api~key: " + bobs}},
			"a header with pipes":                    {lines: []string{"X|API|Key: " + bobs}},
			"a scheme in a header":                   {lines: apiKey("Bearer " + bobs)},
			"a list in a header":                     {lines: apiKey(bobs + ", own")},
			"base64 in a header":                     {lines: apiKey(base64.StdEncoding.EncodeToString([]byte("bob:" + bobs)))},
		} {
			t.Run(name+", "+mode, func(t *testing.T) {
				for _, target := range []string{"/v3/things", api, "/access-tokens"} {
					a.target = target
					wantRefused(t, g.do(t, a), http.StatusBadRequest, "InvalidRequest")
				}
			})
		}
	}
}

// What isn't a token in a header is the API's own.
func TestTheAPIsOwnKeysPass(t *testing.T) {
	t.Parallel()
	g := start(t, carriersAt("without_token pass\nforeign_token pass"))
	for _, a := range []ask{
		{lines: apiKey("own-key")},
		{lines: []string{"X-Api-Key: one", "X-Api-Key: two"}},
		{lines: apiKey("cat_nearly")},
		{lines: apiKey(""), auth: bearer("foreign")},
		{lines: apiKey("own-key"), auth: encoded("bob:the-apis-own")},
	} {
		got := g.do(t, a)
		wantStatus(t, got, http.StatusOK)
		if sent := got.received.header.Values("X-Api-Key"); len(sent) != len(a.lines) {
			t.Errorf("the API was sent %q, want %q", sent, a.lines)
		}
		if sent := got.received.header.Get("Authorization"); sent != a.auth {
			t.Errorf("the API was sent Authorization %q, want %q", sent, a.auth)
		}
	}
	t.Run("and of tokens, none in a spelling that Caddy drops", func(t *testing.T) {
		bobs := g.create(t, as("bob"), 3600, "").value
		for _, name := range []string{"x_api_key", "X.API.Key"} {
			got := g.do(t, ask{lines: []string{name + ": " + bobs}})
			wantStatus(t, got, http.StatusOK)
			wantNoKeys(t, got, "Remote-User")
		}
	})
	t.Run("under its own name alone", func(t *testing.T) {
		got := g.do(t, ask{lines: []string{"x_api_key: own", "X.API.Key: own", "x-api~key: own"}})
		wantStatus(t, got, http.StatusOK)
		for name := range got.received.header {
			if strings.Contains(strings.ToLower(name), "api") {
				t.Errorf("the API was sent %s", name)
			}
		}
	})
}

func TestAuthorizationCanBeKeptBesideATokenFromAHeader(t *testing.T) {
	t.Parallel()
	g := start(t, siteAt("{$PORT}", "allow_generate everyone\ntoken_from basic\ntoken_from header X-API-Key\nkeep_authorization"))
	bobs := g.create(t, as("bob"), 3600, "").value
	for _, auth := range []string{encoded("alice:the-apis-own"), bearer("the-apis-own"), "Digest username=alice"} {
		got := g.do(t, ask{auth: auth, lines: apiKey(bobs)})
		wantProxied(t, got, "bob")
		if sent := got.received.header.Values("Authorization"); len(sent) != 1 || sent[0] != auth {
			t.Errorf("the API was sent Authorization %q, want %q", sent, auth)
		}
		if lines := got.received.lines("X-API-Key"); len(lines) > 0 {
			t.Errorf("the API was sent %q", lines)
		}
	}
	for _, auth := range []string{bearer(bobs), encoded("bob:" + bobs)} {
		got := g.do(t, ask{auth: auth})
		wantProxied(t, got, "bob")
		wantNoKeys(t, got)
	}
}

// git, docker and others send a password only when they are asked for one, and
// nothing else; browsers are never asked.
func TestBasicAloneIsAskedForWhereTokensAreTakenFromIt(t *testing.T) {
	t.Parallel()
	const (
		askBearer = `Bearer realm="dataprep"`
		invalid   = `Bearer realm="dataprep", error="invalid_token"`
		askBasic  = `Basic realm="dataprep", charset="UTF-8"`
	)
	g := start(t, carriersAt(""))
	deleted := g.create(t, as("bob"), 3600, "")
	g.remove(t, as("bob"), deleted.target())
	browser := func(mode string, more ...string) []string { return append(more, "Sec-Fetch-Mode: "+mode) }
	for _, target := range []string{"/v3/things", api} {
		for _, test := range []struct {
			a    ask
			want []string
		}{
			{ask{}, []string{askBasic}},
			{ask{lines: []string{"Cookie: session=1"}}, []string{askBasic}},
			{ask{auth: basic("bob", "wrong")}, []string{askBasic}},
			{ask{auth: encoded("bob:" + deleted.value)}, []string{askBasic}},
			{ask{auth: encoded("bob:" + neverIssued("cat"))}, []string{askBasic}},
			{ask{lines: apiKey("own")}, []string{askBasic}},
			{ask{auth: bearer(deleted.value)}, []string{invalid}},
			{ask{auth: bearer("foreign")}, []string{invalid}},
			{ask{lines: apiKey(deleted.value)}, []string{invalid}},
			{ask{lines: browser("navigate")}, []string{askBearer}},
			{ask{lines: browser("cors")}, []string{askBearer}},
			{ask{lines: browser("navigate"), auth: basic("bob", "wrong")}, []string{askBearer}},
			{ask{lines: browser("cors"), auth: encoded("bob:" + deleted.value)}, []string{invalid}},
		} {
			test.a.target = target
			got := g.do(t, test.a)
			wantStatus(t, got, http.StatusUnauthorized)
			if sent := got.header.Values("WWW-Authenticate"); !slices.Equal(sent, test.want) {
				t.Errorf("%s: WWW-Authenticate %q, want %q", test.a.text(""), sent, test.want)
			}
		}
	}
	t.Run("and elsewhere all is as ever", func(t *testing.T) {
		for target, want := range map[string][]string{"/v3/things": {askBearer}, api: {askBearer, askBasic}} {
			got := g.do(t, ask{site: 1, target: target})
			if sent := got.header.Values("WWW-Authenticate"); got.status != http.StatusUnauthorized || !slices.Equal(sent, want) {
				t.Errorf("%s: %s, want %q", target, got, want)
			}
		}
	})
}
