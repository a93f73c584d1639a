package whoami

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func respond(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}
}

// Whatever the body says, only 200 names a user, and only what can be nothing
// else says that nobody is signed in.
func TestStatus(t *testing.T) {
	const user = `{"id": "alice"}`
	for status := 200; status < 600; status++ {
		answer, err := Read(respond(status, user))
		id, idErr := answer.ID("id")
		if idErr != nil {
			t.Errorf("%d: %v", status, idErr)
		}
		switch {
		case status == 200:
			if err != nil || id != "alice" {
				t.Errorf("%d: %q, %v, want alice", status, id, err)
			}
		case status == 401, status == 403, status/100 == 3:
			if err != nil || id != "" {
				t.Errorf("%d: %q, %v, want nobody", status, id, err)
			}
		case err == nil || !strings.Contains(err.Error(), strconv.Itoa(status)):
			t.Errorf("%d: %q, %v, want an error that tells the status", status, id, err)
		}
	}
}

func TestAnswerThatIsNobody(t *testing.T) {
	for _, body := range []string{
		`null`, `""`, `"alice"`, `[]`, `[{"id": "alice"}]`, `17`, `true`, `false`, `{}`, ` {} `,
		`{"id": null}`, `{"id": ""}`, `{"ID": "alice"}`, `{"user": {"id": "alice"}}`,
	} {
		answer, err := Read(respond(200, body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if id, err := answer.ID("id"); id != "" || err != nil {
			t.Errorf("%s: %q, %v, want nobody", body, id, err)
		}
	}
}

func TestAnswerThatCantBeRead(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":               ``,
		"white space":           " \n",
		"HTML":                  `<!DOCTYPE html><title>Sign in</title>`,
		"text":                  `alice`,
		"XML":                   `<user id="alice"/>`,
		"JSON cut short":        `{"id": "alice"`,
		"JSON with a tail":      `{"id": "alice"} x`,
		"two values":            `{"id": "alice"}{"id": "bob"}`,
		"an object and a brace": `{"id": "alice"}}`,
		"two byte order marks":  "\ufeff\ufeff" + `{"id": "alice"}`,
		"UTF-16":                "\xff\xfe{\x00}\x00",
		"a comment":             `{"id": "alice"} // hi`,
		"single quotes":         `{'id': 'alice'}`,
		"a callback":            `callback({"id": "alice"})`,
		"a prefix":              `)]}',{"id": "alice"}`,
		"invalid UTF-8":         "{\"id\": \"alice\xff\"}",
		"invalid UTF-8 beside":  "{\"id\": \"alice\", \"x\": \"\xc3\"}",
		"an unescaped control":  "{\"id\": \"ali\nce\"}",
		"a byte too many":       `{"id": "alice"}` + strings.Repeat(" ", maxAnswer-14),
		"10 MB":                 `{"id": "alice", "x": "` + strings.Repeat("x", 10<<20) + `"}`,
		"very deep":             strings.Repeat(`[`, 100_000) + strings.Repeat(`]`, 100_000),
	} {
		answer, err := Read(respond(200, body))
		if err == nil || answer != nil {
			t.Errorf("%s: %v, want an error", name, answer)
		} else if strings.Contains(err.Error(), "alice") {
			t.Errorf("%s: the error tells the answer: %v", name, err)
		}
	}
	whole := `{"id": "alice"}`
	if answer, err := Read(respond(200, whole+strings.Repeat(" ", maxAnswer-len(whole)))); err != nil || !answer.Is("id", "alice") {
		t.Errorf("the longest: %v, %v", answer, err)
	}
}

// endless never ends, and counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func (*endless) Close() error { return nil }

func TestMemoryIsBounded(t *testing.T) {
	body := new(endless)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Read(&http.Response{StatusCode: 200, Body: body})
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("an answer without end is read")
	}
	if body.read > 2*maxAnswer {
		t.Errorf("%d bytes are read", body.read)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 16*maxAnswer {
		t.Errorf("%d bytes are allocated", took)
	}
	// What says nobody needs no body at all.
	body = new(endless)
	if answer, err := Read(&http.Response{StatusCode: 401, Body: body}); answer != nil || err != nil || body.read > 0 {
		t.Errorf("%v, %v, %d bytes are read", answer, err, body.read)
	}
}

var errBroken = errors.New("connection reset")

func TestAnswerThatBreaksOff(t *testing.T) {
	body := io.NopCloser(io.MultiReader(strings.NewReader(`{"id": "alice"}`), brokenReader{}))
	if answer, err := Read(&http.Response{StatusCode: 200, Body: body}); answer != nil || err == nil || strings.Contains(err.Error(), errBroken.Error()) {
		t.Errorf("%v, %v, want an error without the text, which may be the API's", answer, err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

func TestIDAndText(t *testing.T) {
	huge := "9" + strings.Repeat("0", 400)
	for _, test := range []struct {
		value    string
		id, text string
		noID     bool // an error as an id
		noText   bool // an error as text
	}{
		{`"alice"`, "alice", "alice", false, false},
		{`"\ufeffalice"`, "\ufeffalice", "\ufeffalice", false, false},
		{`""`, "", "", false, false},
		{`null`, "", "", false, false},
		{`" alice "`, " alice ", " alice ", false, false},
		{`"\u0061lice"`, "alice", "alice", false, false},
		{`"line\nbreak"`, "line\nbreak", "line\nbreak", false, false}, // others refuse it
		{`"😀"`, "😀", "😀", false, false},
		{`"\ud83d\ude00"`, "😀", "😀", false, false},
		{`"{env.HOME}"`, "{env.HOME}", "{env.HOME}", false, false},
		{`"1e3"`, "1e3", "1e3", false, false},
		{`17`, "17", "17", false, false},
		{`0`, "0", "0", false, false},
		{`-1`, "-1", "-1", false, false},
		{`9007199254740993`, "9007199254740993", "9007199254740993", false, false},
		{`18446744073709551616`, "18446744073709551616", "18446744073709551616", false, false},
		{huge, huge, huge, false, false},
		{`1.5`, "", "", true, true},
		{`1.0`, "", "", true, true},
		{`1e3`, "", "", true, true},
		{`1E3`, "", "", true, true},
		{`-0`, "", "", true, true},
		{`true`, "true", "true", true, false},
		{`false`, "false", "false", true, false},
		{`{}`, "", "", true, true},
		{`[]`, "", "", true, true},
		{`["alice"]`, "", "", true, true},
		{`{"id": "alice"}`, "", "", true, true},
		// JSON that no text stands for: what is read could be someone else.
		{`"\ud800"`, "\ufffd", "\ufffd", true, false},
		{`"a\udc00b"`, "a\ufffdb", "a\ufffdb", true, false},
		{`"\ud800\ud800"`, "\ufffd\ufffd", "\ufffd\ufffd", true, false},
		{`"\ufffd"`, "\ufffd", "\ufffd", true, false},
	} {
		answer, err := Read(respond(200, `{"a": {"b": `+test.value+`}}`))
		if err != nil {
			t.Errorf("%s: %v", test.value, err)
			continue
		}
		if id, err := answer.ID("a.b"); (err != nil) != test.noID || err == nil && id != test.id {
			t.Errorf("id %s: %q, %v", test.value, id, err)
		} else if err != nil && !strings.Contains(err.Error(), `"a.b"`) {
			t.Errorf("id %s: the error doesn't tell where: %v", test.value, err)
		}
		if text, err := answer.Text("a.b"); (err != nil) != test.noText || err == nil && text != test.text {
			t.Errorf("text %s: %q, %v", test.value, text, err)
		}
	}
}

func TestPaths(t *testing.T) {
	answer, err := Read(respond(200, `{
		"id": 17, "user": {"id": 18, "": "nameless", "name": {"first": "Alice"}},
		"user.id": 19, "list": [{"id": 20}, 21, [22]], "0": 23, "text": "t", "nothing": null
	}`))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, path := range []string{
		"", "id", "user.id", "user.name.first", "user.name.last", "user.name.first.x", "user.", "User.id", "list.0.id", "list.id", "list.1", "list.2.0", "0",
		"list.3", "list.00.id", "list.+0.id", "list.-1", "list.0x0.id", "list.99999999999999999999", "list.0.id.0", "list..id", "list.",
		"text.0", "nothing.id", "absent", "absent.id", ".", "..", ".id", "id.",
	} {
		if got[path], err = answer.Text(path); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
	want := map[string]string{
		"": "", "id": "17", "user.id": "18", "user.name.first": "Alice", "user.name.last": "", "user.name.first.x": "", "user.": "nameless", "User.id": "",
		"list.0.id": "20", "list.id": "", "list.1": "21", "list.2.0": "22", "0": "23",
		"list.3": "", "list.00.id": "", "list.+0.id": "", "list.-1": "", "list.0x0.id": "", "list.99999999999999999999": "", "list.0.id.0": "", "list..id": "", "list.": "",
		"text.0": "", "nothing.id": "", "absent": "", "absent.id": "", ".": "", "..": "", ".id": "", "id.": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, path := range []string{"user", "list", "user.name", "list.0", "list.2"} {
		if text, err := answer.Text(path); err == nil {
			t.Errorf("%q: %q, want an error", path, text)
		}
	}
}

// Nobody is read as nobody, everywhere.
func TestNoAnswer(t *testing.T) {
	var none *Answer
	id, err := none.ID("id")
	if id != "" || err != nil || none.IsTrue("admin") || none.Is("a", "") || none.Lacks("id") {
		t.Errorf("%q, %v", id, err)
	}
}

func TestIsTrue(t *testing.T) {
	for value, want := range map[string]bool{
		`true`: true, `false`: false, `null`: false, `"true"`: false, `"yes"`: false, `1`: false, `[true]`: false, `{"true": true}`: false, `""`: false,
	} {
		answer, err := Read(respond(200, `{"a": {"admin": `+value+`}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.IsTrue("a.admin"); got != want {
			t.Errorf("%s: %t", value, got)
		}
		if answer.IsTrue("a") || answer.IsTrue("") || answer.IsTrue("admin") {
			t.Errorf("%s: true where it isn't", value)
		}
	}
}

func TestIs(t *testing.T) {
	for value, want := range map[string]string{
		`true`: "true", `false`: "false", `"true"`: "true", `1`: "1", `"1"`: "1", `1.50`: "1.50", `"a b"`: "a b", `0`: "0", `1e3`: "1e3", `""`: "",
	} {
		answer, err := Read(respond(200, `{"a": [{"x": `+value+`}]}`))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"true", "false", "1", "1.5", "1.50", "a b", "0", "1000", "1e3", "", "null"} {
			if got := answer.Is("a.0.x", text); got != (text == want) {
				t.Errorf("%s is %q: %t", value, text, got)
			}
		}
		if answer.Is("a.0.y", "") || answer.Is("a", want) || answer.Is("", "") || answer.Is("a.0.X", want) {
			t.Errorf("%s: it is where it isn't", value)
		}
	}
	for _, value := range []string{`null`, `{}`, `[]`, `["true"]`} {
		answer, err := Read(respond(200, `{"a": `+value+`}`))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", "null", "true", "{}", "[]", "map[]"} {
			if answer.Is("a", text) {
				t.Errorf("%s is %q", value, text)
			}
		}
	}
}

func TestArrays(t *testing.T) {
	answer, err := Read(respond(200, `[{"id": "alice"}, {"id": 17}]`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"0.id": "alice", "1.id": "17", "2.id": "", "id": "", "length": ""} {
		if id, err := answer.ID(path); id != want || err != nil {
			t.Errorf("%s: %q, %v", path, id, err)
		}
	}
}

func TestByteOrderMark(t *testing.T) {
	answer, err := Read(respond(200, "\ufeff"+`{"id": "alice"}`))
	if id, _ := answer.ID("id"); err != nil || id != "alice" {
		t.Errorf("%q, %v", id, err)
	}
}

func TestLacks(t *testing.T) {
	for body, want := range map[string]bool{
		`{}`: false, `[]`: false, `null`: false, `"x"`: false, `{"id": null}`: false, `{"id": ""}`: false, `{"id": {}}`: false,
		`{"user": {"id": 1}}`: true, `{"ID": 1}`: true, `[{"id": 1}]`: true,
	} {
		answer, err := Read(respond(200, body))
		if got := answer.Lacks("id"); got != want || err != nil {
			t.Errorf("%s: %t, %v", body, got, err)
		}
	}
}
