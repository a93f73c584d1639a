package store

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var someSettings = rapid.Custom(func(t *rapid.T) (s Settings) {
	if rapid.Bool().Draw(t, "has enabled") {
		s.Enabled = new(rapid.Bool().Draw(t, "enabled"))
	}
	s.Generate = rapid.SampledFrom([]string{"", "admins", "everyone", "users"}).Draw(t, "generate")
	if rapid.Bool().Draw(t, "has users") {
		s.Users = append([]string{}, rapid.SliceOf(rapid.String()).Draw(t, "users")...)
	}
	s.MaxLifetimeDays = rapid.IntRange(-1, 36525).Draw(t, "days")
	return s
})

// No users and users not set are two things.
func TestSettingsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := someSettings.Draw(t, "settings")
		got, err := DecodeSettings(want.Append([]byte("before"))[len("before"):])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestSettingsThatArent(t *testing.T) {
	for text, want := range map[string]error{
		"": ErrCorrupt, "{}": ErrVersion, "\x00{}": ErrCorrupt, "\x01": ErrCorrupt, "\x02{}": ErrVersion, "\xff": ErrVersion,
		"\x01{": ErrCorrupt, "\x01{} x": ErrCorrupt, "\x01{}{}": ErrCorrupt, `` + "\x01" + `{"other":1}`: ErrCorrupt,
		"\x01" + `{"enabled":"true"}`: ErrCorrupt, "\x01" + `{"users":"bob"}`: ErrCorrupt,
	} {
		if got, err := DecodeSettings([]byte(text)); !errors.Is(err, want) || !cmp.Equal(got, Settings{}) {
			t.Errorf("%q: %+v, %v, want %v", text, got, err, want)
		}
	}
}

func TestOver(t *testing.T) {
	full := Settings{Enabled: new(true), Generate: "users", Users: []string{"bob"}, MaxLifetimeDays: 7}
	for _, test := range []struct{ s, under, want Settings }{
		{Settings{}, full, full},
		{full, Settings{}, full},
		{Settings{Enabled: new(false)}, full, Settings{Enabled: new(false), Generate: "users", Users: []string{"bob"}, MaxLifetimeDays: 7}},
		{Settings{Generate: "admins"}, full, Settings{Enabled: new(true), Generate: "admins", Users: []string{"bob"}, MaxLifetimeDays: 7}},
		{Settings{Users: []string{}}, full, Settings{Enabled: new(true), Generate: "users", Users: []string{}, MaxLifetimeDays: 7}},
		{Settings{MaxLifetimeDays: -1}, full, Settings{Enabled: new(true), Generate: "users", Users: []string{"bob"}, MaxLifetimeDays: -1}},
	} {
		if diff := cmp.Diff(test.want, test.s.Over(test.under)); diff != "" {
			t.Errorf("%+v over %+v (-want +got):\n%s", test.s, test.under, diff)
		}
	}
}

func FuzzDecodeSettings(f *testing.F) {
	f.Add([]byte("\x01{}"))
	f.Add(Settings{Enabled: new(true), Generate: "users", Users: []string{"bob"}, MaxLifetimeDays: 7}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSettings(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		again, err := DecodeSettings(s.Append(nil))
		if err != nil || !cmp.Equal(s, again) {
			t.Fatalf("%q is %+v, encoded again %+v, %v", b, s, again, err)
		}
	})
}
