package incoming

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// valueOf is a token value, always the same for the same byte.
func valueOf(t testing.TB, b byte) string {
	t.Helper()
	v, err := token.Make("cat", bytes.NewReader(bytes.Repeat([]byte{b}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return v.Reveal()
}

func carriersOf(t testing.TB, basic bool, headers ...string) Carriers {
	t.Helper()
	c, err := NewCarriers(basic, headers)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func basicOf(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

func TestHeadersThatCannotCarryATokenAreRefused(t *testing.T) {
	for _, name := range []string{
		"", "X API", "X-*", "*", "Authorization", "authorization", "Host", "host", "Cookie", "Connection", "TE", "Upgrade", "Content-Length",
		"Proxy-Authorization", "Proxy-Anything", "Content-Type", "Sec-Fetch-Mode", "Sec-WebSocket-Protocol", "Referer", "Origin", "Set-Cookie",
		"X-Forwarded-For", "x_forwarded_host", "X-Original-URI", "Forwarded", "User-Agent", "Accept", "Accept-Language", "If-Match", "X_HTTP_Method_Override", "x_api_key", "X.API.Key", "X~Key",
	} {
		if c, err := NewCarriers(false, []string{name}); err == nil || !strings.Contains(err.Error(), `header "`+name+`": `) {
			t.Errorf("%q: %v, %v, want an error that names it", name, c, err)
		}
	}
	if _, err := NewCarriers(false, []string{"X-API-Key", "x-api-key"}); err == nil || !strings.Contains(err.Error(), "name it once") {
		t.Errorf("one header under two names: %v", err)
	}
	carriersOf(t, true, "X-API-Key", "Private-Token", "api-key", "X-Auth", "Token", "Contents", "Sect")
	for _, name := range []string{"Remote-User", "remote-name", "X-Trifacta-Token", "X-Api-User"} {
		if err := newRules(t).TakeFrom(carriersOf(t, false, name), false); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s, which no client may send: %v", name, err)
		}
	}
}

func TestCarriersRead(t *testing.T) {
	a, b := valueOf(t, 1), valueOf(t, 2)
	all := carriersOf(t, true, "X-API-Key", "Private-Token")
	for name, test := range map[string]struct {
		header   http.Header
		want     string // the value
		inHeader bool
		err      error
	}{
		"nothing":                        {http.Header{}, "", false, nil},
		"bearer":                         {http.Header{"Authorization": {"Bearer " + a}}, a, false, nil},
		"a password":                     {http.Header{"Authorization": {basicOf("u:" + a)}}, a, false, nil},
		"a password that isn't one":      {http.Header{"Authorization": {basicOf("u:secret")}}, "", false, nil},
		"a name":                         {http.Header{"Authorization": {basicOf(a + ":")}}, a, false, nil},
		"a name beside x-oauth-basic":    {http.Header{"Authorization": {basicOf(a + ":x-oauth-basic")}}, a, false, nil},
		"a name beside X-OAuth-Basic":    {http.Header{"Authorization": {basicOf(a + ":X-OAuth-Basic")}}, "", false, ErrMisplacedToken},
		"a name beside a password":       {http.Header{"Authorization": {basicOf(a + ":secret")}}, "", false, ErrMisplacedToken},
		"name and password":              {http.Header{"Authorization": {basicOf(a + ":" + b)}}, "", false, ErrTwoTokens},
		"name and password, the same":    {http.Header{"Authorization": {basicOf(a + ":" + a)}}, "", false, ErrTwoTokens},
		"in the alphabet of URLs":        {http.Header{"Authorization": {strings.NewReplacer("+", "-", "/", "_").Replace(basicOf("\xff\xfe\xfd?>:" + a))}}, "", false, ErrMisplacedToken},
		"no credentials at all":          {http.Header{"Authorization": {"Basic "}}, "", false, ErrMalformed},
		"in base64 twice":                {http.Header{"Authorization": {basicOf("u:" + base64.StdEncoding.EncodeToString([]byte(a)))}}, "", false, ErrMisplacedToken},
		"under another scheme":           {http.Header{"Authorization": {"Token " + a}}, "", false, ErrMisplacedToken},
		"a header":                       {http.Header{"X-Api-Key": {a}}, a, true, nil},
		"another header":                 {http.Header{"Private-Token": {a}}, a, true, nil},
		"a header as it was written":     {http.Header{"x-API-key": {a}}, a, true, nil},
		"a header, a password beside":    {http.Header{"X-Api-Key": {a}, "Authorization": {basicOf("u:secret")}}, a, true, nil},
		"a header, foreign beside":       {http.Header{"X-Api-Key": {a}, "Authorization": {"Bearer x"}}, a, true, nil},
		"a header, two lines beside":     {http.Header{"X-Api-Key": {a}, "Authorization": {"Bearer x", "Bearer x"}}, "", false, ErrRepeated},
		"a header, a token beside":       {http.Header{"X-Api-Key": {a}, "Authorization": {"Bearer " + b}}, "", false, ErrTwoTokens},
		"a header, one amid text beside": {http.Header{"X-Api-Key": {a}, "Authorization": {"Bearer x." + b}}, "", false, ErrTwoTokens},
		"two headers":                    {http.Header{"X-Api-Key": {a}, "Private-Token": {b}}, "", false, ErrTwoTokens},
		"a header twice":                 {http.Header{"X-Api-Key": {a, a}}, "", false, ErrTwoTokens},
		"a header, and an empty line":    {http.Header{"X-Api-Key": {a, ""}}, "", false, ErrTwoTokens},
		"a header in two cases":          {http.Header{"X-Api-Key": {a}, "x-api-key": {"own"}}, "", false, ErrTwoTokens},
		"a header in two spellings":      {http.Header{"X-Api-Key": {a}, "X_api_key": {"own"}}, "", false, ErrTwoTokens},
		"a header in another spelling":   {http.Header{"X_api_key": {a}}, "", false, ErrTokenInHeader},
		"a space before":                 {http.Header{"X-Api-Key": {" " + a}}, "", false, ErrTokenInHeader},
		"something behind":               {http.Header{"X-Api-Key": {a + "="}}, "", false, ErrTokenInHeader},
		"percent-encoded":                {http.Header{"X-Api-Key": {strings.Replace(a, "_", "%5F", 1)}}, "", false, ErrTokenInHeader},
		"own keys":                       {http.Header{"X-Api-Key": {"own", "own"}, "Private-Token": {"cat_own"}}, "", false, nil},
		"a header that is none":          {http.Header{"X-Key": {a}}, "", false, nil},
	} {
		auth, err := all.Read(test.header)
		if !errors.Is(err, test.err) || auth.Value.Reveal() != test.want || auth.InHeader != test.inHeader {
			t.Errorf("%s: %q, in a header %t, %v; want %q, %t, %v", name, auth.Value.Reveal(), auth.InHeader, err, test.want, test.inHeader, test.err)
		}
	}
}

// What stands where it may decides, whoever reads it, and what stands elsewhere
// doesn't get past.
func FuzzCarriers(f *testing.F) {
	f.Add("u", "\x01", "X-Api-Key", "own", "", "")
	f.Add("\x01", "", "x_api_key", "\x01", "Private-Token", "\x02\nown")
	f.Add("\x01", "x-oauth-basic", "X-Api-Key", "\x01\n\x01", "X.Api.Key", "")
	f.Add("u\xff", "\x01:", "X-Api-Key", " \x01", "Private_Token", "Bearer \x02")
	a, b := valueOf(f, 1), valueOf(f, 2)
	values := strings.NewReplacer("\x01", a, "\x02", b)
	f.Fuzz(func(t *testing.T, user, password, name1, lines1, name2, lines2 string) {
		user, password = values.Replace(user), values.Replace(password)
		header := http.Header{"Authorization": {basicOf(user + ":" + password)}}
		for name, lines := range map[string]string{name1: lines1, name2: lines2} {
			if spelledLike(name) != "authorization" {
				header[name] = append(header[name], strings.Split(values.Replace(lines), "\n")...)
			}
		}
		everywhere := carriersOf(t, true, "X-Api-Key", "Private-Token")
		candidates := everywhere.Candidates(nil, header)
		for _, site := range []Carriers{everywhere, {}, carriersOf(t, true), carriersOf(t, false, "X-Api-Key")} {
			rules := newRules(t)
			if err := rules.TakeFrom(site, false); err != nil {
				t.Fatal(err)
			}
			r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: header.Clone(), ProtoMajor: 1}
			request, err := rules.Admit(r)
			if err != nil {
				continue
			}
			auth := request.Authorization
			strays := site.Strays(&everywhere, r.Header)
			for _, c := range candidates {
				if auth.Value != c && !slices.Contains(strays, c) {
					t.Fatalf("%q: the matcher sees %v, and the site neither takes nor refuses it", header, c.Reveal())
				}
			}
			if !auth.Value.IsZero() {
				if len(candidates) == 0 {
					t.Fatalf("%q: the site takes %v, and the matcher doesn't see it", header, auth.Value.Reveal())
				}
				inBasic := password == auth.Value.Reveal() || user == auth.Value.Reveal() && (password == "" || password == "x-oauth-basic")
				if !auth.InHeader && (!inBasic || !site.Basic) {
					t.Fatalf("%q is taken from %q: %q", auth.Value.Reveal(), user, password)
				}
				rules.DropCredentials(r, auth)
			}
			for key, lines := range r.Header {
				like := spelledLike(key)
				taken := slices.ContainsFunc(site.headers, func(h carrier) bool { return spelledLike(h.name) == like })
				if taken && !auth.Value.IsZero() || like == "authorization" && !auth.Value.IsZero() {
					t.Fatalf("%q goes on beside a token", key)
				}
				if taken && !strings.EqualFold(key, "X-Api-Key") && !strings.EqualFold(key, "Private-Token") {
					t.Fatalf("%q goes on", key)
				}
				for _, line := range lines {
					if taken && token.Contains(line) {
						t.Fatalf("a token goes on in %s: %q", key, line)
					}
				}
			}
		}
	})
}

func TestReadingCarriersDoesNotAllocate(t *testing.T) {
	bearer := http.Header{"Authorization": {"Bearer " + valueOf(t, 1)}, "Accept": {"*/*"}, "User-Agent": {"x"}}
	for name, c := range map[string]Carriers{"none": {}, "all": carriersOf(t, true, "X-Api-Key")} {
		if n := testing.AllocsPerRun(100, func() { _, _ = c.Read(bearer) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	key := http.Header{"X-Api-Key": {valueOf(t, 1)}, "Accept": {"*/*"}}
	all := carriersOf(t, true, "X-Api-Key")
	if n := testing.AllocsPerRun(100, func() { _, _ = all.Read(key) }); n != 0 {
		t.Errorf("a header: %v allocations", n)
	}
}
