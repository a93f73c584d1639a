package incoming

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
)

func TestTargets(t *testing.T) {
	connect := func(major int, proto string, protocols ...string) *http.Request {
		r := &http.Request{Method: http.MethodConnect, ProtoMajor: major, Proto: proto, URL: &url.URL{Path: "/ws"}, Header: http.Header{}}
		if protocols != nil {
			r.Header[":protocol"] = protocols
		}
		return r
	}
	parsed := func(target string) *http.Request {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Request{Method: http.MethodGet, ProtoMajor: 1, Proto: "HTTP/1.1", URL: u, Header: http.Header{}}
	}
	for name, test := range map[string]struct {
		r    *http.Request
		want error
	}{
		"a path":                                 {parsed("/v4/x?y"), nil},
		"a URL":                                  {parsed("http://h/v4/x"), nil},
		"an opaque one":                          {parsed("x:http://h/v4/x"), ErrTarget},
		"with a user":                            {parsed("http://bob@h/v4/x"), ErrTarget},
		"CONNECT over HTTP/1":                    {connect(1, "HTTP/1.1"), ErrConnect},
		"CONNECT over HTTP/1, named a WebSocket": {connect(1, "HTTP/1.1", "websocket"), ErrConnect},
		"CONNECT over HTTP/1, calling itself that": {connect(1, "websocket"), ErrConnect},
		"CONNECT over HTTP/2":                      {connect(2, "HTTP/2.0"), ErrConnect},
		"a WebSocket over HTTP/2":                  {connect(2, "HTTP/2.0", "websocket"), nil},
		"something else over HTTP/2":               {connect(2, "HTTP/2.0", "connect-udp"), ErrConnect},
		"a WebSocket in capitals":                  {connect(2, "HTTP/2.0", "WebSocket"), ErrConnect},
		"two over HTTP/2":                          {connect(2, "HTTP/2.0", "websocket", "websocket"), ErrConnect},
		"CONNECT over HTTP/3":                      {connect(3, "HTTP/3.0"), ErrConnect},
		"CONNECT over HTTP/3 with HTTP/2's header": {connect(3, "HTTP/3.0", "websocket"), ErrConnect},
		"a WebSocket over HTTP/3":                  {connect(3, "websocket"), nil},
		"something else over HTTP/3":               {connect(3, "webtransport"), ErrConnect},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := NewRules(nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rules.Admit(test.r); !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("%v, want %v", err, test.want)
			}
			if test.want != nil && !errors.Is(test.want, ErrTarget) {
				t.Errorf("%v is no ErrTarget", test.want)
			}
		})
	}
}
