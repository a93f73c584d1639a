package contract

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// descriptionFile describes the routes to their users, in OpenAPI 3.1.
var descriptionFile = filepath.Join("..", "..", "docs", "openapi.yaml")

// description is the OpenAPI description, closed: it leaves room for answers to
// get further fields one day, but as of today they have none that it doesn't name.
var description = sync.OnceValues(func() (*openapi3.T, error) {
	text, err := os.ReadFile(descriptionFile)
	if err != nil {
		return nil, err
	}
	doc, err := loadDescription(text)
	if err != nil {
		return nil, err
	}
	for name, schema := range doc.Components.Schemas {
		if name != "CreateToken" && name != "ChangeSettings" { // a request may have more fields
			closeObjects(schema)
		}
	}
	return doc, nil
})

// loadDescription fails if text isn't a valid OpenAPI 3.1 description, of which
// all examples are valid too.
func loadDescription(text []byte) (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		return nil, fmt.Errorf("OpenAPI %s, not 3.1", doc.OpenAPI)
	}
	return doc, doc.Validate(context.Background(), openapi3.EnableSchemaFormatValidation())
}

func closeObjects(ref *openapi3.SchemaRef) {
	if ref.Ref != "" {
		return // closed where it is defined
	}
	if len(ref.Value.Properties) > 0 {
		ref.Value.AdditionalProperties.Has = openapi3.Ptr(false)
	}
	for _, property := range ref.Value.Properties {
		closeObjects(property)
	}
}

// checkAgainstOpenAPI returns what the description doesn't allow in the answer to
// a request for the routes: its status, its header, its body; or in the request,
// if the answer is that all went well. sent is the request on the wire, as HTTP/1.1.
// Answers that aren't ours are passed over.
func checkAgainstOpenAPI(sent string, got answered) error {
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(sent)))
	if err != nil || got.received != nil {
		return nil //nolint:nilerr // the HTTP server's own answer, or the API's behind
	}
	rest, ours := strings.CutPrefix(req.URL.EscapedPath(), api)
	if !ours || rest != "" && rest[0] != '/' {
		return nil
	}
	known := got.refusal(req.Method + " " + rest)
	if _, seen := describedRefusals.Load(known); seen && known != "" {
		return nil
	}
	doc, err := description()
	if err != nil {
		return err
	}
	if err := describedBy(route(doc, req.Method, rest), req, got); err != nil {
		return fmt.Errorf("docs/openapi.yaml doesn't describe the answer to %s %s: %w\n%s", req.Method, req.URL.Path, err, got)
	}
	describedRefusals.Store(known, true)
	return nil
}

// describedRefusals are those that the description was seen to allow. A thousand
// guesses get the same one, and the validator compiles its schemas each time.
var describedRefusals sync.Map

// refusal is all of a refusal that its description depends on, "" for other answers,
// in which the request counts too.
func (a answered) refusal(of string) string {
	if a.status < http.StatusBadRequest {
		return ""
	}
	header := a.header.Clone()
	header.Del("Date")
	return fmt.Sprintf("%s\n%d\n%q\n%s", of, a.status, header, a.body)
}

// route returns the operation of a request. Where the description has none, it is
// one with the answers that concern all requests.
func route(doc *openapi3.T, method, rest string) *routers.Route {
	path := pathOf(api + rest)
	found := &routers.Route{Spec: doc, Path: path, PathItem: doc.Paths.Value(path), Method: method}
	known := strings.Count(rest, "/") < 2
	if found.Operation = found.PathItem.Operations()[method]; found.Operation != nil && known {
		return found
	}
	names := map[int]string{
		400: "InvalidRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NoRoute",
		425: "TooEarly", 429: "TooManyRequests", 503: "ServiceUnavailable",
	}
	if known {
		names[405] = "MethodNotAllowed"
	}
	found.Operation = &openapi3.Operation{Responses: openapi3.NewResponses()}
	for status, name := range names {
		found.Operation.Responses.Set(strconv.Itoa(status), &openapi3.ResponseRef{Value: doc.Components.Responses[name].Value})
	}
	return found
}

func describedBy(route *routers.Route, req *http.Request, got answered) error {
	options := &openapi3filter.Options{
		IncludeResponseStatus: true,
		SkipSettingDefaults:   true,
		AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
	}
	input := &openapi3filter.RequestValidationInput{
		Request: req, Route: route, Options: options,
		PathParams: map[string]string{"tokenId": strings.TrimPrefix(req.URL.Path, api+"/")},
	}
	if got.status < 300 {
		if err := openapi3filter.ValidateRequest(req.Context(), input); err != nil {
			return fmt.Errorf("such a request isn't to be granted: %w", err)
		}
	}
	if req.Method == http.MethodHead {
		// The validator passes over HEAD, but not over its description.
		get := *req
		get.Method = http.MethodGet
		input.Request = &get
		options.ExcludeResponseBody = true
	}
	answer := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Options: options,
		Status: got.status, Header: http.Header{},
	}
	for name, lines := range got.header {
		answer.Header.Set(name, strings.Join(lines, ", ")) // the same, RFC 9110 section 5.3
	}
	if err := openapi3filter.ValidateResponse(req.Context(), answer.SetBodyBytes([]byte(got.body))); err != nil {
		return err
	}
	described := route.Operation.Responses.Status(got.status).Value
	if got.body != "" && (len(described.Content) == 0 || options.ExcludeResponseBody) {
		return errors.New("there is a body")
	}
	known := slices.Clone(generalHeader)
	for name := range described.Headers {
		known = append(known, http.CanonicalHeaderKey(name))
	}
	for name := range got.header {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is a header %s", name)
		}
	}
	return nil
}

// generalHeader are fields of HTTP and of Caddy itself, which no description of
// an API lists.
var generalHeader = []string{"Alt-Svc", "Connection", "Content-Length", "Content-Type", "Date", "Referrer-Policy", "Server", "Via"}

func TestTheDescriptionIsOpenAPI31(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(descriptionFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loadDescription(text); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []struct{ what, old, new string }{
		{"another version", "openapi: 3.1.0", "openapi: 3.0.3"},
		{"no title", "  title: ", "  titel: "},
		{"an unknown field", "operationId: getToken", "operationID: getToken"},
		{"an operation's id twice", "operationId: getToken", "operationId: listTokens"},
		{"a dangling reference", "$ref: '#/components/schemas/Time'", "$ref: '#/components/schemas/Tim'"},
		{"an unknown type", "type: 'null'", "type: none"},
		{"a bound that is no number", "minimum: -1", "minimum: none"},
		{"an unknown security scheme", "  - bearer: []", "  - bear: []"},
		{"an answer without description", "description: The token is deleted.", "x-description: none"},
		{"an example of a request that isn't valid", "{lifetimeSeconds: -1}", "{lifetimeSeconds: 0}"},
		{"an example of an answer that isn't valid", "lastUsed: '2019-01-16T03:00:00.012Z'", "lastUsed: never"},
	} {
		spoilt := strings.Replace(string(text), wrong.old, wrong.new, 1)
		if spoilt == string(text) {
			t.Errorf("%s: %q isn't in the description", wrong.what, wrong.old)
		}
		if _, err := loadDescription([]byte(spoilt)); err == nil {
			t.Errorf("%s: taken for valid", wrong.what)
		}
	}
}

// What would be the worth of a check that finds nothing?
func TestTheDescriptionAllowsNothingElse(t *testing.T) {
	t.Parallel()
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "a note")
	edit := func(old, new string) func(*answered) {
		return func(got *answered) {
			if !strings.Contains(got.body, old) {
				t.Errorf("%q isn't in %s", old, got.body)
			}
			got.body = strings.Replace(got.body, old, new, 1)
		}
	}
	header := func(name, value string) func(*answered) {
		return func(got *answered) { got.header.Set(name, value) }
	}
	without := func(name string) func(*answered) {
		return func(got *answered) { got.header.Del(name) }
	}
	status := func(code int) func(*answered) {
		return func(got *answered) { got.status = code }
	}
	var (
		post    = ask{method: "POST", target: api, auth: as("alice"), body: `{"lifetimeSeconds": 60, "description": "x"}`}
		list    = ask{target: api + "?includeCount=true", auth: as("alice")}
		head    = ask{method: "HEAD", target: api, auth: as("alice")}
		get     = ask{target: made.target(), auth: as("alice")}
		methods = ask{method: "OPTIONS", target: api}
		nobody  = ask{target: api}
		never   = ask{target: api + "/none", auth: as("alice")}
		deep    = ask{method: "PUT", target: api + "/x/y", auth: as("alice")}
		put     = ask{method: "PUT", target: made.target(), auth: as("alice")}
	)
	for _, test := range []struct {
		ask   ask
		what  string
		spoil func(*answered)
	}{
		{post, "another status", status(200)},
		{list, "an unknown status", status(299)},
		{head, "an unknown status", status(206)},
		{methods, "an unknown status", status(200)},
		{nobody, "a status that isn't the body's", status(403)},
		{put, "a status of other operations", status(413)},
		{deep, "a status of other paths", status(405)},
		{list, "a missing header", without("Cache-Control")},
		{head, "a missing header", without("Cache-Control")},
		{methods, "a missing header", without("Allow")},
		{nobody, "a missing header", without("WWW-Authenticate")},
		{put, "a missing header", without("Allow")},
		{list, "a wrong header", header("Cache-Control", "max-age=60")},
		{methods, "a wrong header", header("Allow", "GET")},
		{nobody, "a wrong header", header("WWW-Authenticate", "Bearer")},
		{list, "an unknown header", header("Access-Control-Allow-Origin", "*")},
		{head, "an unknown header", header("X-Total", "1")},
		{never, "an unknown header", header("WWW-Authenticate", `Bearer realm="dataprep"`)},
		{list, "another type", header("Content-Type", "text/html")},
		{list, "an unknown field", edit(`{"data"`, `{"next":"","data"`)},
		{list, "an unknown field of an item", edit(`{"tokenId"`, `{"hash":"","tokenId"`)},
		{get, "an unknown field", edit(`{"tokenId"`, `{"hash":"","tokenId"`)},
		{get, "a missing field", edit(`"lastUsed"`, `"userId"`)},
		{get, "a time in another zone", edit(`Z"`, `+00:00"`)},
		{get, "a time that is a number", edit(`"lastUsed":null`, `"lastUsed":0`)},
		{get, "null where there is a text", edit(`"a note"`, `null`)},
		{get, "another kind of id", edit(`"tokenId":"`, `"tokenId":"0`)},
		{list, "a number as a text", func(got *answered) { got.body = `{"data":[],"count":"0"}` }},
		{list, "no list", func(got *answered) { got.body = `{"data":null}` }},
		{list, "not JSON", func(got *answered) { got.body = "oops" }},
		{list, "no body", func(got *answered) { got.body = "" }},
		{head, "a body", func(got *answered) { got.body = "{}" }},
		{methods, "a body", func(got *answered) { got.body = "{}" }},
		{post, "a value that isn't one", edit(`"tokenValue":"cat_`, `"tokenValue":"cat-`)},
		{post, "a value in the wrong place", edit(`"tokenInfo":{`, `"tokenInfo":{"tokenValue":"",`)},
		{never, "an error of another status", edit("DataNotFoundException", "AccessControlException")},
		{deep, "an error of another path", edit("RouteNotFoundException", "DataNotFoundException")},
		{never, "an error without details", edit(`"details"`, `"detail"`)},
		{never, "an empty text", func(got *answered) {
			got.body = `{"exception":{"name":"DataNotFoundException","message":"","details":"x"}}`
		}},
	} {
		got := g.do(t, test.ask)
		test.spoil(&got)
		if checkAgainstOpenAPI(test.ask.text(g.addresses[0]), got) == nil {
			t.Errorf("%s is passed over in the answer to %s %s: %s", test.what, test.ask.method, test.ask.target, got)
		}
	}
	for _, wrong := range []ask{
		{method: "POST", target: api, body: `{"lifetimeSeconds": 0}`},
		{method: "POST", target: api, body: `{"lifetimeSeconds": "60"}`},
		{method: "POST", target: api, body: `{"lifetimeSeconds": 3155760001}`},
		{method: "POST", target: api, body: `{}`},
		{method: "POST", target: api, kind: "text/plain", body: `{"lifetimeSeconds": 60}`},
	} {
		got := g.do(t, post)
		if checkAgainstOpenAPI(wrong.text(g.addresses[0]), got) == nil {
			t.Errorf("%s may be granted", wrong.body)
		}
	}
	for _, query := range []string{"limit=0", "limit=x", "offset=-1", "includeCount=2"} {
		wrong := ask{target: api + "?" + query}
		if got := g.do(t, list); checkAgainstOpenAPI(wrong.text(g.addresses[0]), got) == nil {
			t.Errorf("%s may be granted", query)
		}
	}
}

// Every answer that the description promises is given, with every name that it
// lists, but for those that no client here can bring about.
func TestEveryDescribedAnswerIsGiven(t *testing.T) {
	t.Parallel()
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, site(""))
	made := g.create(t, as("alice"), 3600, "")
	seen, said := map[string]bool{}, map[exception]bool{}
	want := func(a ask, status int, name string) {
		t.Helper()
		got := g.do(t, a)
		wantStatus(t, got, status)
		if err := checkAgainstOpenAPI(a.text(g.addresses[0]), got); err != nil {
			t.Error(err)
		}
		if a.method == "HEAD" {
			name = ""
		} else if name != "" {
			e := got.exception(t)
			if said[e] = true; e.Name != name {
				t.Errorf("%s %s: want %s: %s", a.method, a.target, name, got)
			}
		}
		seen[promise(a.method, pathOf(a.target), status, name)] = true
	}

	targets := []string{api, made.target(), currentTarget, settingsTarget, blockedTarget}
	for _, target := range targets {
		for method := range doc.Paths.Find(pathOf(target)).Operations() {
			twice := ask{method: method, target: target, auth: as("alice"), lines: []string{"Authorization: " + as("alice")}}
			want(twice, 400, "InvalidRequest")
			if method == "OPTIONS" {
				want(ask{method: method, target: target}, 204, "")
				continue
			}
			want(ask{method: method, target: target}, 401, "AuthenticationRequired")
			want(ask{method: method, target: target, auth: bearer(neverIssued("cat"))}, 401, "InvalidToken")
		}
	}
	want(ask{method: "GET", target: api, auth: "Bearer"}, 400, "InvalidRequest")
	const body = `{"lifetimeSeconds": 60}`
	want(ask{method: "POST", target: api, auth: as("alice"), body: body}, 201, "")
	want(ask{method: "POST", target: api, auth: as("alice"), body: `{}`}, 400, "ApiValidationFailed")
	want(ask{method: "POST", target: api, auth: as("alice"), body: `{"lifetimeSeconds": 0}`}, 400, "ApiValidationFailed")
	methods := g.do(t, ask{method: "PUT", target: made.target(), auth: as("alice")}) // which no operation promises
	said[wantRefused(t, methods, 405, "MethodNotAllowed")] = true
	want(ask{method: "POST", target: api, auth: as("bob"), body: body}, 403, "AccessControlException")
	want(ask{method: "POST", target: api, auth: as("alice"), body: strings.Repeat(" ", 65537)}, 413, "PayloadTooLarge")
	want(ask{method: "POST", target: api, auth: as("alice"), kind: "none", body: body}, 415, "UnsupportedMediaType")
	for _, method := range []string{"GET", "HEAD"} {
		want(ask{method: method, target: api, auth: as("alice")}, 200, "")
		want(ask{method: method, target: api + "?user=*&limit=1&includeCount=true", auth: as("alice")}, 200, "")
		want(ask{method: method, target: api + "?limit=x", auth: as("alice")}, 400, "ApiValidationFailed")
		want(ask{method: method, target: api + "?user=alice", auth: as("bob")}, 403, "AccessControlException")
		want(ask{method: method, target: made.target(), auth: as("alice")}, 200, "")
		want(ask{method: method, target: made.target(), auth: as("bob")}, 404, "DataNotFoundException")
	}
	for _, method := range []string{"GET", "HEAD", "PATCH"} {
		change := ask{method: method, target: settingsTarget, auth: as("alice")}
		if method == "PATCH" {
			change.body = `{"users": ["bob"]}`
		}
		want(change, 200, "")
		change.auth = as("bob")
		want(change, 403, "AccessControlException")
	}
	want(ask{method: "PATCH", target: settingsTarget, auth: as("alice"), body: `{"users": "bob"}`}, 400, "ApiValidationFailed")
	want(ask{method: "PATCH", target: settingsTarget, auth: as("alice"), body: strings.Repeat(" ", 65537)}, 413, "PayloadTooLarge")
	want(ask{method: "PATCH", target: settingsTarget, auth: as("alice"), kind: "none", body: `{}`}, 415, "UnsupportedMediaType")
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
		request := ask{method: method, target: blockedTarget, auth: as("alice")}
		if method == "PUT" || method == "DELETE" {
			want(request, 400, "ApiValidationFailed")
			request.target += "?user=carol"
			want(request, 204, "")
		} else {
			want(request, 200, "")
		}
		request.auth = as("bob")
		want(request, 403, "AccessControlException")
	}
	want(ask{method: "PUT", target: blockedTarget + "?user=alice", auth: as("alice")}, 409, "ConflictException")
	want(ask{method: "DELETE", target: api + "?user=carol", auth: as("alice")}, 200, "")
	want(ask{method: "DELETE", target: api + "?user=carol", auth: as("bob")}, 403, "AccessControlException")
	want(ask{method: "DELETE", target: api, auth: as("alice")}, 400, "ApiValidationFailed")
	doomed := g.create(t, as("alice"), 3600, "")
	want(ask{method: "DELETE", target: doomed.target() + "?successors=maybe", auth: as("alice")}, 400, "ApiValidationFailed")
	want(ask{method: "DELETE", target: doomed.target() + "?successors=true", auth: as("alice")}, 204, "")
	want(ask{method: "DELETE", target: doomed.target(), auth: as("alice")}, 404, "DataNotFoundException")

	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		want(ask{method: method, target: currentTarget, auth: as("alice")}, 404, "DataNotFoundException")
	}
	ended := g.create(t, as("alice"), 3600, "")
	for _, method := range []string{"GET", "HEAD"} {
		want(ask{method: method, target: currentTarget, auth: bearer(ended.value)}, 200, "")
	}
	want(ask{method: "DELETE", target: currentTarget + "?successors=maybe", auth: bearer(ended.value)}, 400, "ApiValidationFailed")
	want(ask{method: "DELETE", target: currentTarget, auth: bearer(ended.value), lines: []string{"Sec-Fetch-Site: cross-site"}}, 403, "AccessControlException")
	want(ask{method: "DELETE", target: currentTarget, auth: bearer(ended.value)}, 204, "")

	if complaint := g.reload(t, site("max_lifetime 365d\nmax_tokens_per_user 1")); complaint != "" {
		t.Fatal(complaint)
	}
	want(ask{method: "POST", target: api, auth: as("alice"), body: body}, 409, "ConflictException")
	want(ask{method: "PATCH", target: settingsTarget, auth: as("alice"), body: `{"maxLifetimeDays": 7}`}, 409, "ConflictException")
	if complaint := g.reload(t, site("sign_in_limit 1 1h")); complaint != "" {
		t.Fatal(complaint)
	}
	want(ask{method: "GET", target: api, auth: basic("alice", "guess")}, 401, "AuthenticationRequired")
	for _, target := range targets {
		for method := range doc.Paths.Find(pathOf(target)).Operations() {
			if method != "OPTIONS" {
				want(ask{method: method, target: target, auth: as("alice")}, 429, "TooManyRequestsException")
			}
		}
	}

	g.write(t, site("api_access off"))
	g.restart(t)
	for _, target := range targets {
		for method := range doc.Paths.Find(pathOf(target)).Operations() {
			want(ask{method: method, target: target, auth: as("bob")}, 404, "RouteNotFoundException")
			if method != "OPTIONS" && !(method == "DELETE" && target == currentTarget) {
				want(ask{method: method, target: target, auth: bearer(made.value)}, 403, "AccessControlException")
			}
		}
	}

	for _, elsewhere := range []struct {
		status int
		name   string
		reason error
		why    string
	}{
		{425, "TooEarly", early(), "takes a client that sends early data, in HTTP/3"},
		{503, "ServiceUnavailable", store.ErrUnavailable, "takes a store that has failed"},
		{507, "InsufficientStorage", store.ErrFull, "takes a full disk"},
	} {
		// Their form is checked all the same.
		for path, item := range doc.Paths.Map() {
			for method, operation := range item.Operations() {
				if operation.Responses.Status(elsewhere.status) == nil {
					continue
				}
				name := elsewhere.name
				if method == "HEAD" {
					name = ""
				}
				key := promise(method, path, elsewhere.status, name)
				if seen[key] {
					t.Errorf("%s %s, but it was given", key, elsewhere.why)
				}
				seen[key] = true
				got := answerTo(method, elsewhere.reason)
				if err := checkAgainstOpenAPI(ask{method: method, target: path}.text("localhost"), got); err != nil {
					t.Error(err)
				}
				if method != "HEAD" {
					said[got.exception(t)] = true
				}
			}
		}
	}
	if diff := cmp.Diff(promises(t, doc), slices.Sorted(maps.Keys(seen))); diff != "" {
		t.Errorf("described and given (-described +given):\n%s", diff)
	}
	for name, response := range doc.Components.Responses {
		content := response.Value.Content.Get("application/json")
		if content == nil {
			t.Errorf("%s has no JSON", name)
			continue
		}
		if content.Examples == nil {
			t.Errorf("%s has no example", name)
		}
		for of, example := range content.Examples {
			if e, refusal := exceptionOf(example.Value.Value); refusal && !said[e] {
				t.Errorf("%s, example %s: nobody was told %+v", name, of, e)
			}
		}
	}
}

// exceptionOf returns the refusal that an example is, if it is one.
func exceptionOf(example any) (e exception, ok bool) {
	outer, _ := example.(map[string]any)
	inner, ok := outer["exception"].(map[string]any)
	e.Name, _ = inner["name"].(string)
	e.Message, _ = inner["message"].(string)
	e.Details, _ = inner["details"].(string)
	return e, ok
}

// pathOf is the description's path that a target of the routes belongs to.
func pathOf(target string) string {
	target, _, _ = strings.Cut(target, "?")
	switch {
	case target == settingsTarget, target == currentTarget, target == blockedTarget:
		return target
	case strings.HasPrefix(target, api+"/"):
		return api + "/{tokenId}"
	}
	return api
}

// promises are all answers in the description, sorted.
func promises(t *testing.T, doc *openapi3.T) []string {
	t.Helper()
	var all []string
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for code, response := range operation.Responses.Map() {
				status, err := strconv.Atoi(code)
				if err != nil {
					t.Errorf("%s %s: no status: %s", method, path, code)
				}
				names := exceptionNames(response.Value)
				if status >= 400 && len(names) == 0 {
					t.Errorf("%s %s: an error without a name: %d", method, path, status)
				}
				if method == "HEAD" || len(names) == 0 {
					names = []any{""}
				}
				for _, name := range names {
					all = append(all, promise(method, path, status, fmt.Sprint(name)))
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

func promise(method, path string, status int, name string) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %d %s", path, method, status, name))
}

// exceptionNames are those that the response's schema lists.
func exceptionNames(response *openapi3.Response) []any {
	content := response.Content.Get("application/json")
	if content == nil || len(content.Schema.Value.AllOf) != 2 {
		return nil
	}
	return content.Schema.Value.AllOf[1].Value.Properties["exception"].Value.Properties["name"].Value.Enum
}

// early is why a request in TLS early data is refused.
func early() error {
	r := httptest.NewRequest(http.MethodGet, api, nil)
	r.TLS = new(tls.ConnectionState)
	return new(tokenapi.API).Serve(httptest.NewRecorder(), r, incoming.Authorization{}, "")
}

// answerTo is how the module answers a request that fails for that reason.
func answerTo(method string, reason error) answered {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, api, nil)
	tokenapi.ProblemOf(reason).Write(w, r, tokenapi.Challenge{Realm: "dataprep", Basic: true})
	got := answered{status: w.Code, header: w.Header(), body: w.Body.String()}
	if method == http.MethodHead {
		got.body = "" // as the HTTP server sees to
	}
	return got
}
