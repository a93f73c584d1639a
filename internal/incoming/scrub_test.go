package incoming

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScrubHeader(t *testing.T) {
	tests := []struct {
		name         string
		header, want http.Header
	}{
		{
			name: "every spelling, every line",
			header: http.Header{
				"Remote-User": {"a", "b"}, "remote-user": {"c"}, "REMOTE_USER": {"d"}, "Remote.User": {"e"},
				"X-Trifacta-Anything": {"f"}, "x_trifacta.else": {"g"}, "X-Api-User": {"h"},
				"Accept": {"*/*"}, "X-Forwarded-For": {"192.0.2.1", "192.0.2.2"},
			},
			want: http.Header{"Accept": {"*/*"}, "X-Forwarded-For": {"192.0.2.1", "192.0.2.2"}},
		},
		{
			name:   "credentials stay until somebody decides",
			header: http.Header{"Authorization": {"Bearer x"}, "Cookie": {"a=1"}},
			want:   http.Header{"Authorization": {"Bearer x"}, "Cookie": {"a=1"}},
		},
		{
			name:   "Connection keeps the rest",
			header: http.Header{"Connection": {"close, Remote-User"}},
			want:   http.Header{"Connection": {"close"}},
		},
		{
			name:   "Connection keeps Upgrade",
			header: http.Header{"Connection": {"remote_user,Upgrade ,\tX-TRIFACTA-USER"}, "Upgrade": {"websocket"}},
			want:   http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}},
		},
		{
			name:   "an upgrade to what carries requests",
			header: http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAMAAABk"}},
			want:   http.Header{"Connection": {"Upgrade, HTTP2-Settings"}},
		},
		{
			name:   "an upgrade to either",
			header: http.Header{"Upgrade": {"websocket, h2c"}},
			want:   http.Header{},
		},
		{
			name:   "two upgrades",
			header: http.Header{"Upgrade": {"websocket", "h2c"}},
			want:   http.Header{},
		},
		{
			name:   "a WebSocket in another case",
			header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"WebSocket"}},
			want:   http.Header{"Connection": {"Upgrade"}, "Upgrade": {"WebSocket"}},
		},
		{
			name:   "Connection goes when nothing is left",
			header: http.Header{"Connection": {"Remote-User", " , \tremote.user\t,, "}},
			want:   http.Header{},
		},
		{
			name:   "Connection lines without a protected name stay byte for byte",
			header: http.Header{"Connection": {" keep-alive ,,X-Other", "Remote-User", "Upgrade", "Remote-Email,close,Te"}},
			want:   http.Header{"Connection": {" keep-alive ,,X-Other", "Upgrade", "close, Te"}},
		},
		{
			name:   "Connection untouched",
			header: http.Header{"Connection": {"", ",", "Remote-Users,  X-Remote-User"}},
			want:   http.Header{"Connection": {"", ",", "Remote-Users,  X-Remote-User"}},
		},
		{
			name:   "Connection in another case",
			header: http.Header{"connection": {"Remote-User, close"}, "CONNECTION": {"Remote-Name"}},
			want:   http.Header{"connection": {"close"}},
		},
		{
			name:   "the Trailer header loses credentials as well",
			header: http.Header{"Trailer": {"X-Sum, Remote-User", "Authorization,cookie", "X-Trifacta-User"}, "trailer": {"COOKIE,a"}},
			want:   http.Header{"Trailer": {"X-Sum"}, "trailer": {"a"}},
		},
		{
			name:   "no values",
			header: http.Header{"Connection": nil, "Remote-User": nil, "Accept": {}},
			want:   http.Header{"Connection": nil, "Accept": {}},
		},
		{name: "nothing", header: nil, want: nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &http.Request{Header: test.header}
			newRules(t).Scrub(r)
			if diff := cmp.Diff(test.want, test.header); diff != "" {
				t.Errorf("the caller's own map (-want +got):\n%s", diff)
			}
		})
	}
}

// Copies of a request share the lines of its headers; what Scrub writes anew
// must not show up halfway in a slice that somebody else holds.
func TestScrubLeavesSharedLinesAlone(t *testing.T) {
	lines := []string{"Remote-User", "close, Remote-User", "Upgrade"}
	newRules(t).Scrub(&http.Request{Header: http.Header{"Connection": lines}})
	if diff := cmp.Diff([]string{"Remote-User", "close, Remote-User", "Upgrade"}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func typicalRequest() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v4/people/current", nil)
	r.Header = http.Header{
		"Accept":            {"application/json"},
		"Accept-Encoding":   {"gzip, deflate, br"},
		"Accept-Language":   {"en"},
		"Authorization":     {"Bearer cat_"},
		"Cache-Control":     {"no-cache"},
		"Connection":        {"keep-alive"},
		"Content-Type":      {"application/json"},
		"Cookie":            {"locale=en"},
		"Referer":           {"https://api.example.com/"},
		"User-Agent":        {"curl/8.0"},
		"X-Forwarded-For":   {"192.0.2.1"},
		"X-Forwarded-Proto": {"https"},
	}
	return r
}

func TestScrubDoesNotAllocate(t *testing.T) {
	rules, r := newRules(t), typicalRequest()
	body := r.Body
	if allocs := testing.AllocsPerRun(100, func() { rules.Scrub(r) }); allocs != 0 {
		t.Errorf("Scrub allocates %v times, want 0", allocs)
	}
	if r.Body != body {
		t.Error("the body of a request without one was wrapped")
	}
}

func BenchmarkScrub(b *testing.B) {
	rules, r := newRules(b), typicalRequest()
	b.ReportAllocs()
	for b.Loop() {
		rules.Scrub(r)
	}
}
