package contract

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// Whatever a browser asks for, nobody's window for passwords opens where tokens are
// taken from Basic: what is entered there would be sent with whatever follows.
func TestBrowserIsNotAskedForBasic(t *testing.T) {
	t.Parallel()
	g := start(t, logging("token_from basic"))
	v := browse(t, g)
	at := strings.TrimSuffix(v.url(""), "/access-tokens")
	v.run(t, chromedp.Navigate(at+"/v3/navigated"))
	if _, err := chromedp.Run(v.ctx, chromedp.Evaluate[bool](`(async () => {
		const ended = (it) => new Promise((done) => { it.onerror = it.onload = done })
		await fetch("/v3/fetched")
		await fetch("`+api+`?fetched", {method: "POST", body: "{}"})
		const image = new Image()
		image.src = "/v3/image"
		await ended(image)
		await ended(new WebSocket("`+strings.Replace(at, "http", "ws", 1)+`/v3/socket"))
		await ended(new EventSource("/v3/events"))
		return true
	})()`, chromedp.EvalAwaitPromise)); err != nil {
		t.Fatal(err)
	}
	v.run(t, chromedp.Navigate(at+api+"?navigated"))
	for _, uri := range []string{"/v3/navigated", "/v3/fetched", api + "?fetched", "/v3/image", "/v3/socket", "/v3/events", api + "?navigated"} {
		var line logLine
		g.wait(t, "the access log has a line of "+uri, func() bool {
			for _, line = range g.logLines("http.log.access") {
				if request, _ := line["request"].(map[string]any); request["uri"] == uri {
					return true
				}
			}
			return false
		})
		asked, _ := line["resp_headers"].(map[string]any)["Www-Authenticate"].([]any)
		if line["status"] != float64(401) || len(asked) != 1 || asked[0] != `Bearer realm="dataprep"` {
			t.Errorf("%s: status %v, asks for %q", uri, line["status"], asked)
		}
	}
}
