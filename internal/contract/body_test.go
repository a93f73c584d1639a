package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestAWrongBodyIsRefusedAndTheFieldNamed(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	for _, test := range []struct {
		body string
		name string // what the details have to name
	}{
		// Not one JSON object.
		{``, ""},
		{` `, ""},
		{`{`, ""},
		{`null`, ""},
		{`[]`, ""},
		{`"lifetimeSeconds"`, ""},
		{`86400`, ""},
		{`lifetimeSeconds=86400`, ""},
		{`{"lifetimeSeconds": 60,}`, ""},
		{`{'lifetimeSeconds': 60}`, ""},
		{`[{"lifetimeSeconds": 60}]`, ""},
		// Trailing data.
		{`{"lifetimeSeconds": 60}{}`, ""},
		{`{"lifetimeSeconds": 60} x`, ""},
		{`{"lifetimeSeconds": 60}]`, ""},
		{`{"lifetimeSeconds": 60} {"lifetimeSeconds": 60}`, ""},
		// The lifetime: digits for a whole number of seconds.
		{`{}`, "lifetimeSeconds"},
		{`{"description": "no lifetime"}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": null}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": "60"}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": true}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": [60]}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": {}}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": 1.5}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": 60.0}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": 6e1}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": 6E1}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": 1e999}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": 0}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": -0}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": -2}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": -1}`, "lifetimeSeconds"}, // the project isn't unlimited
		{`{"lifetimeSeconds": 060}`, ""},
		{`{"lifetimeSeconds": +60}`, ""},
		{`{"lifetimeSeconds": 31536001}`, "lifetimeSeconds"}, // the maximum is 365 days
		{`{"lifetimeSeconds": 9223372036854775808}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": 18446744073709551676}`, "lifetimeSeconds"}, // 60 in 64 bits
		{`{"lifetimeSeconds": 99999999999999999999999999999999999999}`, "lifetimeSeconds"},
		// The description.
		{`{"lifetimeSeconds": 60, "description": 5}`, "description"},
		{`{"lifetimeSeconds": 60, "description": ["x"]}`, "description"},
		{`{"lifetimeSeconds": 60, "description": "` + strings.Repeat("x", 1025) + `"}`, "description"},
		{`{"lifetimeSeconds": 60, "description": "` + strings.Repeat("😀", 1025) + `"}`, "description"},
		{`{"lifetimeSeconds": 60, "name": 5}`, "name"},
		{`{"lifetimeSeconds": 60, "name": "` + strings.Repeat("x", 1025) + `"}`, "name"},
		// Repeated fields, whatever they say.
		{`{"lifetimeSeconds": 60, "name": "a", "name": "b"}`, "name"},
		{`{"lifetimeSeconds": 60, "lifetimeSeconds": 60}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": 60, "lifetimeSeconds": 3600}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": 60, "lifetime\u0053econds": 60}`, "lifetimeSeconds"},
		{`{"description": "a", "lifetimeSeconds": 60, "description": "b"}`, "description"},
		// Other spelling.
		{`{"LifetimeSeconds": 60}`, "lifetimeSeconds"},
		{`{"lifetimeseconds": 60}`, "lifetimeSeconds"},
		{`{"LIFETIMESECONDS": 60}`, "lifetimeSeconds"},
		{`{"lifetime\u017Feconds": 60}`, "lifetimeSeconds"}, // ſ folds to s
		{`{"lifetimeSeconds": 60, "lifetimeseconds": 60}`, "lifetimeSeconds"},
		{`{"lifetimeSeconds": 60, "Description": "x"}`, "description"},
		// Invalid UTF-8, raw.
		{"{\"lifetimeSeconds\": 60, \"description\": \"\xff\"}", ""},
		{"{\"lifetimeSeconds\": 60, \"description\": \"\xc0\xaf\"}", ""},
		{"{\"lifetimeSeconds\": 60, \"description\": \"\xed\xa0\x80\"}", ""},
		{"{\"lifetimeSeconds\": 60, \"other\xff\": 1}", ""},
	} {
		name := test.body
		if len(name) > 60 {
			name = name[:60]
		}
		t.Run(name, func(t *testing.T) {
			a := ask{method: "POST", target: api, auth: as("alice"), body: test.body}
			if test.body == "" {
				a.lines = []string{"Content-Type: application/json", "Content-Length: 0"}
			}
			e := wantRefused(t, g.do(t, a), http.StatusBadRequest, "ApiValidationFailed")
			if !strings.Contains(e.Details, test.name) {
				t.Errorf("the details don't name %s: %s", test.name, e.Details)
			}
		})
	}
	if made := g.list(t, as("alice"), "").ids(); len(made) != 0 {
		t.Errorf("tokens were made all the same: %v", made)
	}
}

func TestTheDetailsSayWhatIsAllowed(t *testing.T) {
	t.Parallel()
	g := start(t, site("max_lifetime 30d"))
	for body, want := range map[string]string{
		`{"lifetimeSeconds": 2592001}`: "2592000",
		`{"lifetimeSeconds": 0}`:       "1",
		`{"lifetimeSeconds": 60, "description": "` + strings.Repeat("x", 1025) + `"}`: "1024",
		`{"description": "x"}`:                            "lifetimeSeconds is required: a whole number of seconds from 1 to 2592000 (30 days).",
		`{"lifetimeSeconds": 3600.0}`:                     "lifetimeSeconds must be digits without quotes fraction or exponent: a whole number of seconds from 1 to 2592000 (30 days).",
		`{"lifetimeSeconds": "3600"}`:                     "lifetimeSeconds must be digits",
		`{"lifetimeSeconds": null}`:                       "lifetimeSeconds must be digits",
		`{"lifetimeSeconds": 1e3}`:                        "lifetimeSeconds must be digits",
		`{"lifetimeSeconds": 99999999999999999999999999}`: "lifetimeSeconds must be a whole number of seconds from 1 to 2592000 (30 days).",
	} {
		e := wantRefused(t, g.do(t, ask{method: "POST", target: api, auth: as("alice"), body: body}),
			http.StatusBadRequest, "ApiValidationFailed")
		if !strings.Contains(strings.ReplaceAll(e.Details, ",", ""), want) {
			t.Errorf("%.60s: the details don't say %s: %s", body, want, e.Details)
		}
	}
}

func TestARightBodyIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	for _, test := range []struct {
		name, body, description string
	}{
		{"description is optional", `{"lifetimeSeconds": 60}`, ""},
		{"an empty one too", `{"lifetimeSeconds": 60, "description": ""}`, ""},
		{"the longest", `{"lifetimeSeconds": 31536000, "description": "` + strings.Repeat("x", 1024) + `"}`, strings.Repeat("x", 1024)},
		{"the longest in code points", `{"lifetimeSeconds": 1, "description": "` + strings.Repeat("😀", 1024) + `"}`, strings.Repeat("😀", 1024)},
		{"null is none", `{"lifetimeSeconds": 60, "description": null}`, ""},
		{"what Alteryx One calls it", `{"lifetimeSeconds": 60, "name": "nightly"}`, "nightly"},
		{"beside a description that is null", `{"name": "nightly", "lifetimeSeconds": 60, "description": null}`, "nightly"},
		{"but beside one that is there", `{"name": "nightly", "lifetimeSeconds": 60, "description": ""}`, ""},
		{"both null", `{"name": null, "lifetimeSeconds": 60, "description": null}`, ""},
		{"unknown fields", `{"name": "x", "tags": {"a": [1, null, {"lifetimeSeconds": 5}]}, "lifetimeSeconds": 60, "description": "d"}`, "d"},
		{"white space", " \r\n\t{ \"lifetimeSeconds\" :\n60 , \"description\" : \" d \" } \n", " d "},
		{"escapes", `{"lifetimeSeconds": 60, "\u0064escription": "\u00e9\ud83d\ude00\n\"\\\/"}`, "é😀\n\"\\/"},
		{"an environment variable is never expanded", `{"lifetimeSeconds": 60, "description": "{env.HOME} {$HOME}"}`, "{env.HOME} {$HOME}"},
		{"nor any other placeholder", `{"lifetimeSeconds": 60, "description": "{http.auth.user.id}{system.hostname}{file./etc/passwd}"}`,
			"{http.auth.user.id}{system.hostname}{file./etc/passwd}"},
		{"markup stays markup", `{"lifetimeSeconds": 60, "description": "<script>alert(1)</script> & 'so' on"}`, "<script>alert(1)</script> & 'so' on"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := g.do(t, ask{method: "POST", target: api, auth: as("alice"), body: test.body})
			wantStatus(t, got, http.StatusCreated)
			var made struct {
				TokenInfo tokenInfo `json:"tokenInfo"`
			}
			got.into(t, &made)
			if made.TokenInfo.Description != test.description {
				t.Errorf("POST answers %q, want %q", made.TokenInfo.Description, test.description)
			}
			if info := g.info(t, as("alice"), made.TokenInfo.TokenID); info.Description != test.description {
				t.Errorf("GET answers %q, want %q", info.Description, test.description)
			}
		})
	}
}

func TestABodyIsAtMost64KiB(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	const limit = 64 << 10
	padded := func(size int) string {
		body := `{"lifetimeSeconds": 60}`
		return body + strings.Repeat(" ", size-len(body))
	}
	post := ask{method: "POST", target: api, auth: as("alice")}

	post.body = padded(limit)
	wantStatus(t, g.do(t, post), http.StatusCreated)
	for _, size := range []int{limit + 1, 4 * limit} {
		post.body = padded(size)
		wantRefused(t, g.do(t, post), http.StatusRequestEntityTooLarge, "PayloadTooLarge")
	}
	t.Run("also when it doesn't say how long it is", func(t *testing.T) {
		post.lines = []string{"Transfer-Encoding: chunked"}
		post.body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", limit, padded(limit))
		wantStatus(t, g.do(t, post), http.StatusCreated)
		post.body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", limit+1, padded(limit+1))
		wantRefused(t, g.do(t, post), http.StatusRequestEntityTooLarge, "PayloadTooLarge")
	})
}

func TestABodyHasToBeSentAsJSON(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	for _, test := range []struct {
		kind   string
		status int
	}{
		{"application/json", 201},
		{"application/json; charset=utf-8", 201},
		{"application/json;charset=UTF-8", 201},
		{"Application/JSON", 201},
		{"none", 415},
		{"text/plain", 415},
		{"application/x-www-form-urlencoded", 415}, // what curl says by itself
		{"multipart/form-data; boundary=application/json", 415},
		{"text/plain; application/json", 415},
		{"application/jsonx", 415},
	} {
		t.Run(test.kind, func(t *testing.T) {
			got := g.do(t, ask{method: "POST", target: api, auth: as("alice"), kind: test.kind, body: `{"lifetimeSeconds": 60}`})
			if test.status == http.StatusCreated {
				wantStatus(t, got, test.status)
				return
			}
			e := wantRefused(t, got, test.status, "UnsupportedMediaType")
			if want := `-H 'Content-Type: application/json'`; !strings.Contains(e.Details, want) {
				t.Errorf("the details don't say to add %s: %s", want, e.Details)
			}
		})
	}
}

func TestWhatAClientWroteIsNotInErrorsUnescaped(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	const markup = `<img src=x onerror=alert(1)>{env.HOME}`
	body, err := json.Marshal(map[string]any{"lifetimeSeconds": markup})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []ask{
		{method: "POST", target: api, body: string(body)},
		{target: api + "?limit=%3Cimg%20src=x%20onerror=alert(1)%3E"},
		{target: api + "/%7Benv.HOME%7D"},
	} {
		a.auth = as("alice")
		got := g.do(t, a)
		if got.status < 400 || strings.Contains(got.body, "<img") || strings.Contains(got.body, g.dir) {
			t.Errorf("%s %s: %s", a.method, a.target, got)
		}
	}
}
