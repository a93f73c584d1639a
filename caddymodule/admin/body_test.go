package admin

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// selector is what a body says is to be deleted.
type selector struct {
	ids           []uuid.UUID
	project, user string
	all           bool
}

func (s *selector) fields() fields {
	return fields{"ids": &s.ids, "project": &s.project, "user": &s.user, "all": &s.all}
}

func TestBodiesAreStrict(t *testing.T) {
	for body, want := range map[string]string{
		`{}`: "", ` { "project" : "p", "all" : true } `: "", `{"ids":["0f8fad5b-d9cb-469f-a165-70867728950e"]}`: "",
		``: "one JSON object", `null`: "one JSON object", `[]`: "one JSON object", `{"all":true`: "one JSON object", `{"all":true}{}`: "one JSON object", `{"all":true} ,`: "one JSON object", `{"all" true}`: "one JSON object",
		`{"All":true}`: `no field "All"`, `{"every":true}`: `no field "every"`, `{"":true}`: `no field ""`,
		`{"all":true,"all":false}`: `"all" is there twice`,
		`{"all":null}`:             `"all" has a value of another kind`, `{"all":"true"}`: `"all" has`, `{"all":1}`: `"all" has`, `{"ids":["x"]}`: `"ids" has`, `{"ids":"x"}`: `"ids" has`, `{"user":{}}`: `"user" has`,
		`{"user":""}`:         `"user" is empty`,
		"{\"user\":\"\xff\"}": "no UTF-8",
	} {
		var s selector
		if err := parseBody([]byte(body), s.fields()); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
	var s selector
	large := httptest.NewRequest("POST", "/", strings.NewReader(`{"user":"`+strings.Repeat("x", maxBody)+`"}`))
	if err := readBody(httptest.NewRecorder(), large, s.fields()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large body: %v", err)
	}
}

// A token's value isn't taken for anything, nor repeated.
func TestTokensAreNotRepeated(t *testing.T) {
	value, err := token.Make("cat", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for what, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"as a field": func(w http.ResponseWriter, r *http.Request) error { return readBody(w, r, fields{}) },
		"in an error": func(http.ResponseWriter, *http.Request) error {
			return refuse(http.StatusNotFound, "no such project: %q", value.Reveal())
		},
	} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(`{"`+value.Reveal()+`":1}`))
		err := route{"/", "POST", serve}.ServeHTTP(httptest.NewRecorder(), r)
		if answer, ok := errors.AsType[caddy.APIError](err); !ok || answer.HTTPStatus/100 != 4 || strings.Contains(err.Error(), value.Reveal()) {
			t.Errorf("%s: %v", what, err)
		}
	}
	var s selector
	r := httptest.NewRequest("POST", "/", strings.NewReader(`{"user":"`+value.Reveal()+`"}`))
	if err := readBody(httptest.NewRecorder(), r, s.fields()); err == nil {
		t.Error("a token's value is a user")
	}
}

// What is taken is what encoding/json takes for the same object, and never wider
// than what was said.
func FuzzParseBody(f *testing.F) {
	for _, seed := range []string{`{}`, `{"project":"p","all":true}`, `{"project":"p","user":"bob"}`, `{"ids":["0f8fad5b-d9cb-469f-a165-70867728950e"]}`, `{"all":null}`, `{"All":true}`, `{"all":true,"all":false}`, `{"user":"\ud800"}`, `[]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var s selector
		if parseBody(body, s.fields()) != nil {
			return
		}
		var object map[string]json.RawMessage
		if !utf8.Valid(body) || json.Unmarshal(body, &object) != nil || object == nil {
			t.Fatalf("%q was taken", body)
		}
		for name, value := range object {
			switch {
			case s.fields()[name] == nil, string(value) == "null", string(value) == `""`:
				t.Fatalf("%q was taken", body)
			}
		}
		if (object["user"] == nil) != (s.user == "") || s.all != (string(object["all"]) == "true") {
			t.Fatalf("%q is %+v", body, s)
		}
	})
}

// A listing that is taken asks for no more than was said.
func FuzzParseListing(f *testing.F) {
	for _, seed := range []string{"", "project=p&user=bob", "state=active&unusedFor=90&expiringWithin=7", "limit=10&after=0f8fad5b-d9cb-469f-a165-70867728950e", "state=", "user=*", "user=a&user=b", "limit=+1", "x=1", "%zz", "project=%00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		project, l, err := parseListing(query)
		if err != nil {
			return
		}
		has := func(name string) bool { return strings.Contains(query, name+"=") }
		if project != "" && !has("project") || l.User != "" && !has("user") || l.UnusedFor != 0 && !has("unusedFor") {
			// Names can be written as %XX, too.
			if !strings.Contains(query, "%") {
				t.Fatalf("%q is %q, %+v", query, project, l)
			}
		}
		if l.Limit < 0 || l.User == registry.Everyone || l.UnusedFor < 0 || l.ExpiringWithin < 0 || query == "" && (project != "" || l.Limit != 0) {
			t.Fatalf("%q is %q, %+v", query, project, l)
		}
	})
}
