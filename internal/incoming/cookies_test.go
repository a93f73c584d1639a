package incoming

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDropCredentials(t *testing.T) {
	tests := []struct {
		name         string
		keep         []string
		header, want http.Header
	}{
		{
			name: "the token, in every case and line",
			header: http.Header{
				"Authorization": {"Bearer a", "Bearer b"}, "authorization": {"Bearer c"}, "AUTHORIZATION": {"Bearer d"},
				"Accept": {"*/*"},
			},
			want: http.Header{"Accept": {"*/*"}},
		},
		{
			name:   "all cookies by default",
			header: http.Header{"Cookie": {"session.sid=1; locale=en"}, "cookie": {"locale=en"}},
			want:   http.Header{},
		},
		{
			name:   "kept ones in one line, in order",
			keep:   []string{"locale", "theme"},
			header: http.Header{"Cookie": {"theme=dark; session.sid=1", "locale=en;theme=light"}},
			want:   http.Header{"Cookie": {"theme=dark; locale=en; theme=light"}},
		},
		{
			name:   "values byte for byte",
			keep:   []string{"a"},
			header: http.Header{"Cookie": {"a=x=y\xff ;\ta=; b=a=1; a=\"q\"\t"}},
			want:   http.Header{"Cookie": {"a=x=y\xff; a=; a=\"q\""}},
		},
		{
			name:   "no value that some server takes for two cookies",
			keep:   []string{"a"},
			header: http.Header{"Cookie": {"a=1 session=x; a=2,session=x; a=\"; a=3\"; a=4\\; a=5"}},
			want:   http.Header{"Cookie": {"a=5"}},
		},
		{
			name:   "names exactly",
			keep:   []string{"locale"},
			header: http.Header{"Cookie": {"Locale=1; locale =2; locale; locales=3; =locale; xlocale=4; \u00a0locale=5; ;; lo\"cale\"=6"}},
			want:   http.Header{},
		},
		{
			name:   "any ending",
			keep:   []string{"lb*", "a"},
			header: http.Header{"Cookie": {"lb=1; lb-2=2; lb_a.b=3; LB=4; xlb=5; l=6; lb\"a=7; lb a=8; lb =9; lb\x80=10; a=11; ab=12; lb; lb*=13"}},
			want:   http.Header{"Cookie": {"lb=1; lb-2=2; lb_a.b=3; a=11; lb*=13"}},
		},
		{
			name:   "the canonical line alone is read",
			keep:   []string{"a"},
			header: http.Header{"cookie": {"a=1"}, "COOKIE": {"a=2"}, "Cookie": {"a=3"}},
			want:   http.Header{"Cookie": {"a=3"}},
		},
		{
			name:   "none there",
			keep:   []string{"a"},
			header: http.Header{"Accept": {"*/*"}},
			want:   http.Header{"Accept": {"*/*"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			newRules(t, test.keep...).DropCredentials(&http.Request{Header: test.header}, Authorization{})
			if diff := cmp.Diff(test.want, test.header); diff != "" {
				t.Errorf("the caller's own map (-want +got):\n%s", diff)
			}
		})
	}
}
