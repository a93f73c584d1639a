package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func TestParseLifetime(t *testing.T) {
	const aDay = 24 * 60 * 60
	year, sixty, unlimited := registry.Policy{MaxLifetimeDays: 365}, registry.Policy{MaxLifetimeDays: 60}, registry.Policy{MaxLifetimeDays: registry.Unlimited}
	for _, test := range []struct {
		policy         registry.Policy
		lifetime, days string
		want           int64 // 0: wrong
	}{
		{year, "30", "", 30 * aDay}, {year, "365", "", 365 * aDay}, {year, "366", "", 0}, {year, "31", "", 0}, {year, "", "", 0}, {year, "-1", "", 0},
		{sixty, "60", "", 60 * aDay}, {sixty, "90", "", 0}, {sixty, "30", " ", 30 * aDay},
		{year, "other", "1", aDay}, {year, "other", " 365 ", 365 * aDay}, {year, "other", "366", 0}, {year, "other", "0", 0}, {year, "other", "-1", 0},
		{year, "other", "+7", 0}, {year, "other", "1e2", 0}, {year, "other", "", 0}, {year, "30", "31", 0}, {year, "never", "", 0},
		{unlimited, "never", "", store.Never}, {unlimited, "other", "-1", store.Never}, {unlimited, "other", "-2", 0},
		{unlimited, "other", "36525", 36525 * aDay}, {unlimited, "other", "36526", 0}, {unlimited, "other", "99999999999999999999", 0},
	} {
		got, wrongLifetime, wrongDays := parseLifetime(test.policy, test.lifetime, test.days)
		wrong := wrongLifetime != "" || wrongDays != ""
		if got != test.want || wrong != (test.want == 0) {
			t.Errorf("at most %d days: %q, %q is %d (%s%s), want %d", test.policy.MaxLifetimeDays, test.lifetime, test.days, got, wrongLifetime, wrongDays, test.want)
		}
	}
}

// What a form offers is what it accepts.
func TestChoicesAreAccepted(t *testing.T) {
	for _, days := range []int{1, 6, 7, 30, 45, 364, 365, 366, 36525, registry.Unlimited} {
		p := registry.Policy{MaxLifetimeDays: days}
		offered := choices(p, newClock().now, "")
		if len(offered) == 0 {
			t.Errorf("at most %d days: nothing to choose", days)
		}
		for _, c := range offered {
			if seconds, _, _ := parseLifetime(p, c.Value, ""); seconds == 0 {
				t.Errorf("at most %d days: %s is offered, and refused", days, c.Label)
			}
		}
	}
}

func FuzzForm(f *testing.F) {
	for _, text := range []string{"", "a=b", "a=b&a=c", "a=%ff", "a;b=c", "%zz", "lifetime=other&days=12&description=%E2%82%AC", "enabled=on&generate=users&users=bob%0D%0Aalice&limit=days&days=9"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		form, ok := parseForm(text)
		if !ok {
			return
		}
		for name, values := range form {
			if len(values) != 1 || !utf8.ValidString(name) || !utf8.ValidString(values[0]) {
				t.Errorf("%q has %q", name, values)
			}
		}
		p := registry.Policy{MaxLifetimeDays: 365}
		if seconds, a, b := parseLifetime(p, form.Get("lifetime"), form.Get("days")); (seconds == 0) == (a+b == "") || seconds > 365*86400 {
			t.Errorf("%q: %d seconds, %q", text, seconds, a+b)
		}
		var settings settingsForm
		change := settings.read(form)
		if err := registry.CheckSettings(change); err != nil && !settings.HasErrors() {
			t.Errorf("%q: %v, and the form has no error", text, err)
		}
	})
}

func TestSettingsForm(t *testing.T) {
	fixed := settingsForm{Fixed: []string{"generate", "maxLifetimeDays"}}
	change := fixed.read(url.Values{"enabled": {"on"}, "generate": {"everyone"}, "users": {"bob"}, "limit": {"unlimited"}})
	on := true
	if diff := cmp.Diff(store.Settings{Enabled: &on}, change); diff != "" {
		t.Errorf("what is fixed is changed (-want +got):\n%s", diff)
	}
	var free settingsForm
	change = free.read(url.Values{"generate": {"users"}, "users": {" bob \r\n\r\nalice\nbob"}, "limit": {"days"}, "days": {" 7 "}})
	off := false
	want := store.Settings{Enabled: &off, Generate: "users", Users: []string{"bob", "alice"}, MaxLifetimeDays: 7}
	if diff := cmp.Diff(want, change); diff != "" || free.HasErrors() {
		t.Errorf("(-want +got):\n%s%+v", diff, free)
	}
}

func TestTakeCookies(t *testing.T) {
	for _, test := range []struct{ lines, kept, taken []string }{
		{nil, nil, nil},
		{[]string{"a=1; b=2"}, []string{"a=1; b=2"}, nil},
		{[]string{"access-tokens-p=x"}, nil, []string{"access-tokens-p=x"}},
		{[]string{"a=1; __Host-access-tokens-p=x; b=2", "c=3"}, []string{"a=1; b=2", "c=3"}, []string{"__Host-access-tokens-p=x"}},
		{[]string{"a=access-tokens-p; b"}, []string{"a=access-tokens-p; b"}, nil},
		{[]string{"a=1, access-tokens-p=x; b=1,2"}, []string{"b=1,2"}, []string{"a=1, access-tokens-p=x"}},
		{[]string{"a=1,__Host-access-tokens-p=x"}, nil, []string{"a=1,__Host-access-tokens-p=x"}},
		{[]string{"__host-ACCESS-tokens-p=x;a=1"}, []string{"a=1"}, []string{"__host-ACCESS-tokens-p=x"}},
	} {
		header := http.Header{"Cookie": test.lines}
		taken := TakeCookies(header)
		if diff := cmp.Diff(test.kept, header["Cookie"]); diff != "" {
			t.Errorf("%q, kept (-want +got):\n%s", test.lines, diff)
		}
		if diff := cmp.Diff(test.taken, []string(taken)); diff != "" {
			t.Errorf("%q, taken (-want +got):\n%s", test.lines, diff)
		}
	}
}

// Nothing of the page's cookies stays, and nothing of others' goes.
func FuzzTakeCookies(f *testing.F) {
	for _, line := range []string{"access-tokens-p=x", "a=1; __Host-access-tokens-p=x;;b", `"access-tokens-"=1`, "a=1;\taccess-tokens-", "a=1, access-tokens-p=x", "x"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		header := http.Header{"Cookie": {line}}
		taken := TakeCookies(header)
		kept := strings.Join(header["Cookie"], ";")
		if again := TakeCookies(header); len(again) > 0 {
			t.Errorf("%q: left %q", line, again)
		}
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			if !strings.Contains(kept, pair) && !slices.Contains(taken, pair) {
				t.Errorf("%q: %q is lost", line, pair)
			}
		}
	})
}
