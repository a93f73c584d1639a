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
