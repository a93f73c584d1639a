package incoming

import (
	"net/http"
	"testing"
)

func TestByScript(t *testing.T) {
	for _, test := range []struct {
		modes []string
		want  bool
	}{
		{nil, false},
		{[]string{"navigate"}, false},
		{[]string{"cors"}, true},
		{[]string{"same-origin"}, true},
		{[]string{"no-cors"}, true},
		{[]string{"websocket"}, true},
		{[]string{""}, true},
		{[]string{"Navigate"}, true},
		{[]string{" navigate"}, true},
		{[]string{"navigate, navigate"}, true},
		{[]string{"navigate", "navigate"}, true},
		{[]string{"navigate", "cors"}, true},
		{[]string{"nested-navigate"}, true},
	} {
		if got := ByScript(http.Header{"Sec-Fetch-Mode": test.modes}); got != test.want {
			t.Errorf("%q: %v", test.modes, got)
		}
	}
}

func TestByBrowser(t *testing.T) {
	for name, test := range map[string]struct {
		header http.Header
		want   bool
	}{
		"a program":                      {http.Header{"User-Agent": {"git/2.39"}, "Accept": {"*/*"}}, false},
		"a navigation":                   {http.Header{"Sec-Fetch-Mode": {"navigate"}}, true},
		"a script":                       {http.Header{"Sec-Fetch-Mode": {"cors"}}, true},
		"an empty mode":                  {http.Header{"Sec-Fetch-Mode": {""}}, true},
		"a browser's WebSocket":          {http.Header{"Sec-Websocket-Version": {"13"}, "Origin": {"http://localhost"}}, true},
		"a program's WebSocket":          {http.Header{"Sec-Websocket-Version": {"13"}}, false},
		"a program that says its origin": {http.Header{"Origin": {"http://localhost"}}, false},
	} {
		if got := ByBrowser(test.header); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}
