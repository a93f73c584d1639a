package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A visitor is a person at a real browser, Chromium without a window, with a
// profile of its own. It fails its test when the browser reports an error, such
// as a violation of the Content-Security-Policy.
type visitor struct {
	g   *gateway
	ctx context.Context
	// encrypted: the page is reached over TLS.
	encrypted bool

	mu     sync.Mutex
	errors []string
}

// browse starts a browser. It takes ACCESS_TOKENS_TEST_BROWSER=1, Chromium, and
// in ACCESS_TOKENS_TEST_AXE the path of axe-core's axe.min.js.
func browse(t *testing.T, g *gateway) *visitor {
	t.Helper()
	if os.Getenv("ACCESS_TOKENS_TEST_BROWSER") != "1" {
		t.Skip("set ACCESS_TOKENS_TEST_BROWSER=1, and ACCESS_TOKENS_TEST_AXE, to test in Chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP tokens.example 127.0.0.1"), // a host that isn't this machine's name
		chromedp.Flag("lang", "en-GB"), chromedp.Env("TZ=UTC"),
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 800))
	ctx, cancel := context.WithTimeout(t.Context(), 15*patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	v := &visitor{g: g}
	v.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(v.listen))
	t.Cleanup(cancel)
	v.run(t, command(log.Enable, cdp.Empty{}), command(runtime.Enable, cdp.Empty{}),
		command(runtime.AddBinding, runtime.AddBindingParams{Name: "reportViolation"}),
		command(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: `addEventListener("securitypolicyviolation", (e) => reportViolation(e.violatedDirective + " " + e.blockedURI + " " + e.sourceFile))`,
		}),
		command(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))
	for _, permission := range []string{"clipboard-read", "clipboard-write"} {
		v.run(t, command(browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: permission, AllowWithoutSanitization: true}, Setting: browser.PermissionSettingGranted,
		}))
	}
	t.Cleanup(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, problem := range v.errors {
			t.Errorf("the browser reports: %s", problem)
		}
	})
	return v
}

// command is an action that sends the browser a command of its protocol.
func command[P, R any](name cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, name, params)
		return chromedp.Void{}, err
	}
}

// listen notes what the browser complains about.
func (v *visitor) listen(event any) {
	problem := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		// That an answer's status is 401 isn't an error of the page's.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			problem = string(e.Entry.Source) + ": " + e.Entry.Text
		}
	case *runtime.EventExceptionThrown:
		problem = e.ExceptionDetails.Text
	case *runtime.EventBindingCalled:
		problem = "security policy: " + e.Payload
	}
	if problem != "" {
		v.mu.Lock()
		v.errors = append(v.errors, problem)
		v.mu.Unlock()
	}
}

func (v *visitor) run(t testing.TB, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(v.ctx, actions...); err != nil {
		t.Fatalf("%v\n%s", err, v.source())
	}
}

// source is the document as it stands, for messages.
func (v *visitor) source() string {
	html, _ := chromedp.Run(v.ctx, chromedp.Evaluate[string](`document.documentElement.outerHTML`))
	return tail(html, 4000)
}

// url is where the page is.
func (v *visitor) url(below string) string {
	_, port, _ := strings.Cut(v.g.addresses[0], ":")
	scheme := map[bool]string{true: "https", false: "http"}[v.encrypted]
	return scheme + "://localhost:" + port + "/access-tokens" + below
}

func (v *visitor) open(t testing.TB, below string) {
	t.Helper()
	v.run(t, chromedp.Navigate(v.url(below)))
}

// follow clicks what leads to another document, and waits for it.
func (v *visitor) follow(t testing.TB, selector string) {
	t.Helper()
	v.leave(t, chromedp.Click(chromedp.CSS(selector)))
}

// leave does what leads to another document, and waits for it.
func (v *visitor) leave(t testing.TB, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if _, err := chromedp.RunResponse(v.ctx, actions...); err != nil {
		t.Fatalf("%v\n%s", err, v.source())
	}
}

func (v *visitor) click(t testing.TB, selector string) {
	t.Helper()
	v.run(t, chromedp.Click(chromedp.CSS(selector)))
}

// fill types into a field, over what is there.
func (v *visitor) fill(t testing.TB, selector, text string) {
	t.Helper()
	eval[bool](t, v, fmt.Sprintf(`{ const field = document.querySelector(%q); field.focus(); field.select(); true }`, selector))
	v.press(t, text)
}

// press presses keys, at whatever has the focus.
func (v *visitor) press(t testing.TB, keys string) {
	t.Helper()
	v.run(t, chromedp.KeyEvent(keys))
}

// eval returns what an expression is; promises are waited for.
func eval[T any](t testing.TB, v *visitor, expression string) T {
	t.Helper()
	value, err := chromedp.Run(v.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%v\n%s", err, v.source())
	}
	return value
}

// text is what an element shows, "" if there is none.
func (v *visitor) text(t testing.TB, selector string) string {
	t.Helper()
	return strings.TrimSpace(eval[string](t, v, fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector)))
}

// texts are what all elements show.
func (v *visitor) texts(t testing.TB, selector string) []string {
	t.Helper()
	return eval[[]string](t, v, fmt.Sprintf(`[...document.querySelectorAll(%q)].map((e) => e.innerText.trim())`, selector))
}

// wants wants a text somewhere in the document's main part.
func (v *visitor) wants(t testing.TB, texts ...string) {
	t.Helper()
	shown := v.text(t, "main")
	for _, text := range texts {
		if !strings.Contains(shown, text) {
			t.Fatalf("the page doesn't say %q:\n%s", text, shown)
		}
	}
}

// until polls until an expression is true, in whatever document is there then.
func (v *visitor) until(t testing.TB, expression string) {
	t.Helper()
	var err error
	v.g.wait(t, expression, func() (done bool) {
		done, err = chromedp.Run(v.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		return done && err == nil
	})
}

// signIn signs in by the form.
func (v *visitor) signIn(t testing.TB, user string) {
	t.Helper()
	v.fill(t, "#user", user)
	v.fill(t, "#password", passwords[user])
	v.follow(t, "form button.primary")
}

// size is the window's.
func (v *visitor) size(t testing.TB, width, height int64) {
	t.Helper()
	v.run(t, chromedp.EmulateViewport(width, height))
}

func (v *visitor) theme(t testing.TB, theme string) {
	t.Helper()
	v.run(t, command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		// Without motion, as colours on their way to others have any contrast.
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	}))
}

func (v *visitor) script(t testing.TB, on bool) {
	t.Helper()
	v.run(t, command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}))
}

var axe = sync.OnceValues(func() (string, error) {
	text, err := os.ReadFile(os.Getenv("ACCESS_TOKENS_TEST_AXE"))
	return string(text), err
})

// look lets axe-core look at the page as it is now, in both themes and several
// widths, and takes its picture.
func (v *visitor) look(t testing.TB, name string) {
	t.Helper()
	source, err := axe()
	if err != nil {
		t.Fatalf("ACCESS_TOKENS_TEST_AXE: %v", err)
	}
	for _, as := range []struct {
		theme   string
		width   int64
		picture string
	}{
		{"light", 1280, name}, {"light", 768, ""}, {"light", 360, ""},
		{"dark", 1280, ""}, {"dark", 360, name + "-phone"},
	} {
		v.theme(t, as.theme)
		v.size(t, as.width, 800)
		v.run(t, chromedp.Evaluate[chromedp.Void](source+"; undefined"))
		v.check(t, fmt.Sprintf("%s, %s, %d wide", name, as.theme, as.width))
		if as.picture != "" {
			v.picture(t, as.picture)
		}
	}
	v.theme(t, "light")
	v.size(t, 1280, 800)
}

// check wants axe-core to find nothing, and nothing to stick out sideways.
func (v *visitor) check(t testing.TB, state string) {
	t.Helper()
	found := eval[string](t, v, `axe.run(document, {
		preload: false,
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
	}).then((result) => JSON.stringify(result.violations.map((v) => ({rule: v.id, help: v.help, nodes: v.nodes.map((n) => n.html + " " + n.failureSummary)}))))`)
	var violations []any
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		t.Fatal(err)
	}
	for _, violation := range violations {
		text, _ := json.MarshalIndent(violation, "", " ")
		t.Errorf("%s: axe-core: %s", state, text)
	}
	if wider := eval[int](t, v, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); wider > 0 {
		t.Errorf("%s: the page is %d pixels wider than the window", state, wider)
	}
	small := eval[[]string](t, v, `[...document.querySelectorAll("a.button, button, summary, input:not([type=hidden]), nav a")]
		.filter((e) => e.checkVisibility() && !(e.type === "radio" || e.type === "checkbox"))
		.filter((e) => e.getBoundingClientRect().width < 24 || e.getBoundingClientRect().height < 24)
		.map((e) => e.outerHTML)`)
	for _, target := range small {
		t.Errorf("%s: a target has less than 24 pixels: %s", state, target)
	}
}

// picture keeps a picture of the page in the directory that
// ACCESS_TOKENS_SCREENSHOTS names.
func (v *visitor) picture(t testing.TB, name string) {
	t.Helper()
	dir := os.Getenv("ACCESS_TOKENS_SCREENSHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(v.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, name+".png"))
	if err == nil {
		err = errors.Join(writeSmall(file, picture), file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// writeSmall writes a PNG picture in as few bytes as can be without losing more
// than nobody sees.
func writeSmall(to io.Writer, picture []byte) error {
	whole, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return err
	}
	counts := map[color.RGBA]int{}
	bounds := whole.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[color.RGBAModel.Convert(whole.At(x, y)).(color.RGBA)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int { return counts[b] - counts[a] })
	var palette color.Palette
	for _, c := range colors[:min(len(colors), 256)] {
		palette = append(palette, c)
	}
	small := image.NewPaletted(bounds, palette)
	draw.Draw(small, bounds, whole, bounds.Min, draw.Src)
	return (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(to, small)
}
