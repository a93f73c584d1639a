package whoami

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever an API answers, reading it neither fails badly nor finds a user whom
// another reader of the same JSON wouldn't.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []struct {
		status     int
		body, path string
	}{
		{200, `{"id": "alice"}`, "id"},
		{200, `{"id": 18446744073709551616}`, "id"},
		{200, `{"user": {"id": -17, "admin": true}}`, "user.id"},
		{200, `{"id": "\ud800"}`, "id"},
		{200, `{"id": 1e3}`, "id"},
		{200, `{"": {"": "x"}}`, "."},
		{200, `[{"id": "alice"}]`, "0.id"},
		{200, "\ufeff" + `{"users": [{"id": 1}, {"id": 2}]}`, "users.1.id"},
		{200, `null`, "id"},
		{200, `""`, ""},
		{200, "{\"id\": \"\xff\"}", "id"},
		{401, `{"id": "alice"}`, "id"},
		{302, ``, "id"},
		{503, `{"id": "alice"}`, "id"},
	} {
		f.Add(seed.status, seed.body, seed.path)
	}
	f.Fuzz(func(t *testing.T, status int, body, path string) {
		answer, err := Read(respond(status, body))
		if err != nil {
			if answer != nil {
				t.Fatalf("an answer and the error %v", err)
			}
			return
		}
		id, err := answer.ID(path)
		if err != nil || id == "" {
			return
		}
		if status != 200 {
			t.Fatalf("%q is signed in with status %d", id, status)
		}
		if !utf8.ValidString(id) || strings.ContainsRune(id, utf8.RuneError) {
			t.Fatalf("the id %q isn't what JSON carried", id)
		}
		var value any
		decoder := json.NewDecoder(strings.NewReader(strings.TrimPrefix(body, "\ufeff")))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			t.Fatalf("%q is signed in without JSON: %v", id, err)
		}
		for name := range strings.SplitSeq(path, ".") {
			if list, ok := value.([]any); ok {
				place, err := strconv.Atoi(name)
				if err != nil || place >= len(list) || strconv.Itoa(place) != name {
					t.Fatalf("%q is signed in, and there is no %q", id, path)
				}
				value = list[place]
				continue
			}
			object, ok := value.(map[string]any)
			if !ok {
				t.Fatalf("%q is signed in, and there is no %q", id, path)
			}
			value = object[name]
		}
		switch value := value.(type) {
		case string:
			if id != value {
				t.Fatalf("the id is %q, not %q", value, id)
			}
		case json.Number:
			if id != value.String() || strings.ContainsAny(id, ".eE+") || id == "-0" {
				t.Fatalf("the number %s became %q", value, id)
			}
		default:
			t.Fatalf("%T became the id %q", value, id)
		}
		text, err := answer.Text(path)
		if text != id || err != nil || answer.IsTrue(path) {
			t.Fatalf("the id is %q, the text %q, %v, true %t", id, text, err, answer.IsTrue(path))
		}
	})
}
