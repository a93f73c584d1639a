package tokenapi

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func TestParseSettings(t *testing.T) {
	for body, want := range map[string]store.Settings{
		`{}`:                                     {},
		`{"enabled": false}`:                     {Enabled: new(false)},
		`{"enabled": true, "generate": "x"}`:     {Enabled: new(true), Generate: "x"}, // the registry knows which there are
		`{"users": []}`:                          {Users: []string{}},
		`{"users": ["bob", "carol", "b\u006f"]}`: {Users: []string{"bob", "carol", "bo"}},
		`{"maxLifetimeDays": -1}`:                {MaxLifetimeDays: -1},
		`{"maxLifetimeDays": 40000}`:             {MaxLifetimeDays: 40000},
		`{"enabled": true, "fixed": ["generate"], "newer": {}}`: {Enabled: new(true)},
	} {
		got, wrong := parseSettings([]byte(body))
		if wrong != nil {
			t.Errorf("%s: %s", body, wrong.details())
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
}

func TestParseWrongSettings(t *testing.T) {
	for body, field := range map[string]string{
		``: "", `null`: "", `[]`: "", `{"enabled": true`: "", `{"enabled": true} {}`: "", `{"x": 1, "x": 2}`: "", `{"enable": false}`: "", `{"fixed": []}`: "",
		`{"enabled": 1}`: "enabled", `{"enabled": "true"}`: "enabled", `{"enabled": null}`: "enabled", `{"Enabled": true}`: "enabled",
		`{"enabled": true, "enabled": true}`: "enabled",
		`{"generate": null}`:                 "generate", `{"generate": ""}`: "generate", `{"generate": ["admins"]}`: "generate", `{"generate": true}`: "generate",
		`{"users": null}`: "users", `{"users": "bob"}`: "users", `{"users": [1]}`: "users", `{"users": [null]}`: "users", `{"users": {"bob": true}}`: "users", `{"users": [["bob"]]}`: "users",
		`{"maxLifetimeDays": 0}`: "maxLifetimeDays", `{"maxLifetimeDays": -0}`: "maxLifetimeDays", `{"maxLifetimeDays": 1.0}`: "maxLifetimeDays", `{"maxLifetimeDays": 3e1}`: "maxLifetimeDays",
		`{"maxLifetimeDays": "30"}`: "maxLifetimeDays", `{"maxLifetimeDays": null}`: "maxLifetimeDays", `{"maxLifetimeDays": 99999999999}`: "maxLifetimeDays", `{"max_lifetime_days": 30}`: "maxLifetimeDays",
	} {
		got, wrong := parseSettings([]byte(body))
		if wrong == nil {
			t.Errorf("%s: accepted as %+v", body, got)
			continue
		}
		if wrong.Field != field || wrong.Problem == "" {
			t.Errorf("%s: %q is wrong, want %q: %s", body, wrong.Field, field, wrong.details())
		}
	}
}

func FuzzParseSettings(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"enabled":true,"generate":"users","users":["bob"],"maxLifetimeDays":30}`, `{"maxLifetimeDays":-1}`, `{"users":[]}`, `{"users":[null]}`, `{"enabled":null}`,
		`{"Enabled":true}`, `{"users":["\ud800"]}`, `{"maxLifetimeDays":1e2}`, `{"enabled":true,"enabled":false}`,
	} {
		f.Add([]byte(seed))
	}
	known := []string{"", "enabled", "generate", "users", "maxLifetimeDays"}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, wrong := parseSettings(body)
		if wrong != nil {
			if wrong.Problem == "" || !slices.Contains(known, wrong.Field) {
				t.Fatalf("%q: an error that doesn't help: %+v", body, *wrong)
			}
			return
		}
		// What is accepted means what the standard library reads, to the letter.
		var standard struct {
			Enabled         *bool    `json:"enabled"`
			Generate        string   `json:"generate"`
			Users           []string `json:"users"`
			MaxLifetimeDays int      `json:"maxLifetimeDays"`
		}
		if err := json.Unmarshal(body, &standard); err != nil {
			t.Fatalf("%q: accepted, but encoding/json says %v", body, err)
		}
		if diff := cmp.Diff(store.Settings(standard), got); diff != "" {
			t.Fatalf("%q (-standard +got):\n%s", body, diff)
		}
	})
}

// asked is what the settings are, as an administrator reads them.
func (d *desk) settings(t *testing.T) string {
	t.Helper()
	w := d.ask("GET", base+"/settings", "root", "")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return string(bytes.TrimSpace(w.Body.Bytes()))
}

func TestChangingSettings(t *testing.T) {
	d := newDesk(t)
	d.fix(store.Settings{})
	steps := []struct {
		body string
		code int
		want string
	}{
		{`{}`, 200, `{"enabled":true,"generate":"admins","users":[],"maxLifetimeDays":365,"fixed":[]}`},
		{`{"generate": "users", "users": ["ann", "Ben"]}`, 200, `{"enabled":true,"generate":"users","users":["ann","Ben"],"maxLifetimeDays":365,"fixed":[]}`},
		{`{"maxLifetimeDays": -1}`, 200, `{"enabled":true,"generate":"users","users":["ann","Ben"],"maxLifetimeDays":-1,"fixed":[]}`},
		{`{"maxLifetimeDays": 30, "generate": "nobody"}`, 400, `{"enabled":true,"generate":"users","users":["ann","Ben"],"maxLifetimeDays":-1,"fixed":[]}`},
		{`{"maxLifetimeDays": 36526, "generate": "admins"}`, 400, `{"enabled":true,"generate":"users","users":["ann","Ben"],"maxLifetimeDays":-1,"fixed":[]}`},
		{`{"maxLifetimeDays": -2}`, 400, `{"enabled":true,"generate":"users","users":["ann","Ben"],"maxLifetimeDays":-1,"fixed":[]}`},
		{`{"users": ["*"], "enabled": false}`, 400, `{"enabled":true,"generate":"users","users":["ann","Ben"],"maxLifetimeDays":-1,"fixed":[]}`},
		{`{"users": ["ann", "ann"]}`, 400, `{"enabled":true,"generate":"users","users":["ann","Ben"],"maxLifetimeDays":-1,"fixed":[]}`},
		{`{"users": [""]}`, 400, `{"enabled":true,"generate":"users","users":["ann","Ben"],"maxLifetimeDays":-1,"fixed":[]}`},
		{`{"users": [], "maxLifetimeDays": 36525}`, 200, `{"enabled":true,"generate":"users","users":[],"maxLifetimeDays":36525,"fixed":[]}`},
		{`{"generate": "everyone", "enabled": false}`, 200, `{"enabled":false,"generate":"everyone","users":[],"maxLifetimeDays":36525,"fixed":[]}`},
		{`{"enabled": true}`, 200, `{"enabled":true,"generate":"everyone","users":[],"maxLifetimeDays":36525,"fixed":[]}`},
	}
	for _, step := range steps {
		w := d.ask("PATCH", base+"/settings", "root", step.body)
		if w.Code != step.code {
			t.Fatalf("%s: %d, want %d: %s", step.body, w.Code, step.code, w.Body)
		}
		if answered := strings.TrimSpace(w.Body.String()); w.Code == 200 && answered != step.want {
			t.Errorf("%s answers %s\nwant %s", step.body, answered, step.want)
		}
		if got := d.settings(t); got != step.want {
			t.Errorf("after %s there is %s\nwant %s", step.body, got, step.want)
		}
	}
}

func TestFixedSettings(t *testing.T) {
	for _, test := range []struct {
		fixed    store.Settings
		want     string
		conflict []string
		open     []string
	}{
		{store.Settings{Enabled: new(true)}, `{"enabled":true,"generate":"admins","users":[],"maxLifetimeDays":365,"fixed":["enabled"]}`,
			[]string{`{"enabled": true}`, `{"enabled": false}`, `{"generate": "everyone", "enabled": true}`}, []string{`{"users": []}`, `{"generate": "admins"}`, `{"maxLifetimeDays": 365}`}},
		{store.Settings{Generate: registry.GenerateUsers, Users: []string{"ben"}}, `{"enabled":true,"generate":"users","users":["ben"],"maxLifetimeDays":365,"fixed":["generate"]}`,
			[]string{`{"generate": "users"}`, `{"users": ["ben"]}`, `{"users": []}`, `{"maxLifetimeDays": 1, "users": []}`}, []string{`{"enabled": true}`, `{"maxLifetimeDays": 365}`}},
		{store.Settings{MaxLifetimeDays: -1}, `{"enabled":true,"generate":"admins","users":[],"maxLifetimeDays":-1,"fixed":["maxLifetimeDays"]}`,
			[]string{`{"maxLifetimeDays": -1}`, `{"maxLifetimeDays": 1, "enabled": false}`}, []string{`{"enabled": true}`, `{"users": []}`}},
	} {
		d := newDesk(t)
		d.fix(test.fixed)
		if got := d.settings(t); got != test.want {
			t.Errorf("%+v shows %s\nwant %s", test.fixed, got, test.want)
		}
		for _, body := range test.conflict {
			w := d.ask("PATCH", base+"/settings", "root", body)
			if w.Code != 409 || !strings.Contains(w.Body.String(), "ConflictException") {
				t.Errorf("%s: %d %s", body, w.Code, w.Body)
			}
			if got := d.settings(t); got != test.want {
				t.Errorf("after %s there is %s\nwant %s", body, got, test.want)
			}
		}
		for _, body := range test.open {
			if w := d.ask("PATCH", base+"/settings", "root", body); w.Code != 200 {
				t.Errorf("%s: %d %s", body, w.Code, w.Body)
			}
		}
	}
}

// While API access is off, an administrator who signs in switches it on again.
func TestSettingsWhileOff(t *testing.T) {
	d := newDesk(t)
	anns, _ := d.make(t, "ann")
	roots, _ := d.make(t, "root")
	if w := d.ask("PATCH", base+"/settings", roots, `{"enabled": false}`); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for by, want := range map[string]int{
		"root": 200, "ann": 404, "unknown": 404, "": 404, "troubled": 503, anns: 403, roots: 403, "cat_foreign": 401,
	} {
		for _, method := range []string{"GET", "HEAD", "PATCH"} {
			if w := d.ask(method, base+"/settings", by, `{"generate": "everyone"}`); method == "PATCH" && by == "root" && w.Code != 409 || (method != "PATCH" || by != "root") && w.Code != want {
				t.Errorf("%s by %q: %d, want %d", method, by, w.Code, want)
			}
		}
	}
	if w := d.ask("POST", base+"/settings", "root", ""); w.Code != 405 {
		t.Errorf("another method: %d", w.Code)
	}
	if w := d.ask("OPTIONS", base+"/settings", "", ""); w.Code != 404 {
		t.Errorf("its methods: %d", w.Code)
	}
	if w := d.ask("PATCH", base+"/settings", "root", `{"enabled": true}`); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := d.ask("GET", base, anns, ""); w.Code != 200 {
		t.Errorf("on again: %d %s", w.Code, w.Body)
	}
}

func TestWrongSettingsSayWhatIsAllowed(t *testing.T) {
	d := newDesk(t)
	d.fix(store.Settings{})
	for body, want := range map[string]string{
		`{"generate": "all"}`:        `generate must be \"admins\", \"everyone\" or \"users\".`,
		`{"users": ["ann", " ben"]}`: `users must be a list of user ids, and number 2 is none: a user id begins or ends with white space.`,
		`{"users": ["a", "b", "a"]}`: `users must name nobody twice: number 3 has been there before.`,
		`{"maxLifetimeDays": 36526}`: `maxLifetimeDays must be a whole number of days from 1 to 36525, or -1 for unlimited.`,
		`{"maxLifetimeDays": "30"}`:  `maxLifetimeDays must be a JSON number without quotes: a whole number of days from 1 to 36525, or -1 for unlimited.`,
		`{"enabled": 0}`:             `enabled must be true or false, without quotes.`,
		`not JSON`:                   `The body must be a JSON object; the mistake is at byte 2. For example: {\"generate\": \"users\", \"users\": [\"bob\"], \"maxLifetimeDays\": 30}`,
	} {
		w := d.ask("PATCH", base+"/settings", "root", body)
		if w.Code != 400 || !strings.Contains(w.Body.String(), want) || !strings.Contains(w.Body.String(), `"ApiValidationFailed"`) {
			t.Errorf("%s: %d %s\nwant %s", body, w.Code, w.Body, want)
		}
	}
}
