package incoming

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	testProtected = []string{"Remote-User", "Remote-Email", "Remote-Name"}
	testStrip     = []string{"X-Trifacta-*", "x-api.user"}
)

func newRules(t testing.TB, keepCookies ...string) *Rules {
	t.Helper()
	rules, err := NewRules(testProtected, testStrip, keepCookies)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestProtects(t *testing.T) {
	rules := newRules(t)
	tests := map[string]bool{
		"Remote-User":        true,
		"remote-user":        true,
		"REMOTE_USER":        true,
		"Remote.User":        true,
		"rEmOtE-eMaIl":       true,
		"X-Trifacta-User":    true,
		"X_Trifacta.user":    true,
		"x.trifacta_":        true,
		"X-Trifacta-":        true,
		"X-Api-User":         true,
		"x_API_user":         true,
		"Remote~User":        true,
		"Remote\x00User":     true,
		"Remote\xffUser":     true,
		"X`Trifacta|User":    true,
		"Remote-Users":       false,
		"Remote-Use":         false,
		"X-Remote-User":      false,
		"RemoteUser":         false,
		"Remote--User":       false,
		"X-Trifacta":         false,
		"XX-Trifacta-User":   false,
		"":                   false,
		"Remote-\u017Fer":    false, // only ASCII has case here
		"X-Forwarded-For":    false,
		"X-Api-User-Details": false,
	}
	for name, want := range tests {
		if got := rules.protects(name); got != want {
			t.Errorf("protects(%q) = %t, want %t", name, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	const letters = "a name has one or more letters, digits and "
	tests := []struct {
		name                    string
		protected, strip, keeps []string
		want                    []string // parts of the message
	}{
		{name: "empty name", protected: []string{""}, want: []string{`header ""`, letters}},
		{name: "space", protected: []string{"Remote User"}, want: []string{`header "Remote User"`, letters}},
		{name: "colon", protected: []string{"Remote-User:"}, want: []string{`header "Remote-User:"`, letters}},
		{name: "not ASCII", protected: []string{"Remote-Üser"}, want: []string{`header "Remote-Üser"`, letters}},
		{name: "line break", protected: []string{"A\r\nB"}, want: []string{`header "A\r\nB"`, letters}},
		{name: "wildcard identity", protected: []string{"Remote-*"}, want: []string{`header "Remote-*"`, "without '*'"}},
		{name: "the good before the bad", protected: []string{"Remote-User", "a b"}, want: []string{`header "a b"`}},
		{name: "strip not a token", strip: []string{"X Y"}, want: []string{`header "X Y"`, letters}},
		{name: "strip prefix not a token", strip: []string{"X Y*"}, want: []string{`header "X Y*"`, letters}},
		{name: "star in the middle", strip: []string{"X-*-User"}, want: []string{`header "X-*-User"`, "only one '*'"}},
		{name: "star at the start", strip: []string{"*-User"}, want: []string{`header "*-User"`, "only one '*'"}},
		{name: "two stars", strip: []string{"X-*-*"}, want: []string{`header "X-*-*"`, "only one '*'"}},
		{name: "two stars at the end", strip: []string{"X-**"}, want: []string{`header "X-**"`, "only one '*'"}},
		{name: "lone star", strip: []string{"*"}, want: []string{`header "*"`, "behind the beginning of a name"}},
		{name: "reserved strip", strip: []string{"cookie"}, want: []string{`header "cookie"`, "Cookie belongs to"}},
		{name: "prefix of a reserved name", strip: []string{"Auth*"}, want: []string{`header "Auth*"`, "takes Authorization too"}},
		{name: "prefix that is a reserved name", strip: []string{"te*"}, want: []string{`header "te*"`, "takes TE too"}},
		{name: "prefix of a reserved name, other spelling", strip: []string{"transfer_*"}, want: []string{"takes Transfer-Encoding too"}},
		{name: "empty cookie", keeps: []string{""}, want: []string{`cookie ""`, letters}},
		{name: "cookie with a separator", keeps: []string{"a;b"}, want: []string{`cookie "a;b"`, letters}},
		{name: "every cookie", keeps: []string{"*"}, want: []string{`cookie "*"`, "behind the beginning of a name"}},
		{name: "a cookie's beginning is left out", keeps: []string{"*id"}, want: []string{`cookie "*id"`, "one '*' at its end"}},
		{name: "a cookie's middle is left out", keeps: []string{"a*b"}, want: []string{`cookie "a*b"`, "one '*' at its end"}},
		{name: "a cookie with two stars", keeps: []string{"a**"}, want: []string{`cookie "a**"`, "one '*' at its end"}},
		{name: "cookie with a value", keeps: []string{"a=b"}, want: []string{`cookie "a=b"`, letters}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rules, err := NewRules(test.protected, test.strip, test.keeps)
			if err == nil || rules != nil {
				t.Fatalf("NewRules() = %v, %v, want an error alone", rules, err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q doesn't say %q", err, part)
				}
			}
		})
	}
}

func TestNewAccepts(t *testing.T) {
	protected := []string{"Remote-User", "remote_user", "X.User", "A!#$%&'+-.^_`|~9"}
	strip := []string{"Remote-User", "X-Trifacta-*", "X*", "Auth-*", "Cookie2", "Content-Lengths", "Hosts*", "Teapot*"}
	if _, err := NewRules(protected, strip, []string{"locale", "__Host-a", "__Secure-*", "a!#$%&'+-.^_`|~9*"}); err != nil {
		t.Error(err)
	}
	if _, err := NewRules(nil, nil, nil); err != nil {
		t.Errorf("without any rule: %v", err)
	}
}

func TestValidHeaderNameRefusesReserved(t *testing.T) {
	names := []string{
		"Host", "Authorization", "Cookie", "Content-Length", "Connection", "Keep-Alive", "Proxy-Authenticate",
		"Proxy-Authorization", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
	}
	for _, name := range names {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", ".")} {
			err := ValidHeaderName(spelling)
			if err == nil {
				t.Errorf("ValidHeaderName(%q) accepts it", spelling)
			} else if !strings.Contains(err.Error(), name+" belongs to") {
				t.Errorf("ValidHeaderName(%q) = %q, which doesn't name %s", spelling, err, name)
			}
		}
	}
}

func TestSet(t *testing.T) {
	tests := []struct {
		name        string
		header      http.Header
		field       string
		value       string
		want        http.Header
		wantRefused bool
	}{
		{name: "absent", header: http.Header{}, field: "Remote-User", value: "alice", want: http.Header{"Remote-User": {"alice"}}},
		{name: "canonical name", header: http.Header{}, field: "rEMOTE-uSER", value: "alice", want: http.Header{"Remote-User": {"alice"}}},
		{
			name:   "replaces all values and spellings",
			header: http.Header{"Remote-User": {"a", "b"}, "remote-user": {"c"}, "Remote_User": {"d"}, "Remote.user": {"e"}, "Remote-Users": {"f"}},
			field:  "Remote-User", value: "alice",
			want: http.Header{"Remote-User": {"alice"}, "Remote-Users": {"f"}},
		},
		{name: "empty removes", header: http.Header{"Remote-User": {"a"}, "remote_user": {"b"}}, field: "Remote-User", want: http.Header{}},
		{name: "any text", header: http.Header{}, field: "Remote-Name", value: "Zoë {env.X}, \"Z\"", want: http.Header{"Remote-Name": {"Zoë {env.X}, \"Z\""}}},
		{name: "leading space", header: http.Header{"Remote-User": {"a"}}, field: "Remote-User", value: " alice", want: http.Header{}, wantRefused: true},
		{name: "trailing tab", header: http.Header{"Remote-User": {"a"}}, field: "Remote-User", value: "alice\t", want: http.Header{}, wantRefused: true},
		{name: "line break", header: http.Header{"Remote-User": {"a"}}, field: "Remote-User", value: "alice\r\nX: y", want: http.Header{}, wantRefused: true},
		{name: "null", header: http.Header{"Remote-User": {"a"}}, field: "Remote-User", value: "al\x00ice", want: http.Header{}, wantRefused: true},
		{name: "delete", header: http.Header{"Remote-User": {"a"}}, field: "Remote-User", value: "al\x7fice", want: http.Header{}, wantRefused: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Set(test.header, test.field, test.value)
			if refused := err != nil; refused != test.wantRefused {
				t.Errorf("Set() = %v, want an error: %t", err, test.wantRefused)
			}
			if err != nil && strings.Contains(err.Error(), "alice") {
				t.Errorf("error %q holds the value", err)
			}
			if diff := cmp.Diff(test.want, test.header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}
