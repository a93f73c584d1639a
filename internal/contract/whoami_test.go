package contract

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Who-am-I routes that misbehave. PITFALLS of the product: 401, 403, a redirect,
// and 200 with an absent, null or empty id mean "not signed in"; any other
// status, a time-out, or an answer that isn't JSON of a sane size "can't tell".

const yes, no, cantTell = http.StatusCreated, http.StatusUnauthorized, http.StatusServiceUnavailable

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"id": 17, "error": "not now"}`)
	}
}

func redirect(code int, target string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, code) }
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// hangs answers when nobody waits any more.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// drips goes on for ever, byte by byte.
func drips(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(w, " "); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// slow answers late, but within the time limit.
func slow(w http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(300 * time.Millisecond):
		says(`{"id": 17}`)(w, r)
	case <-r.Context().Done():
	}
}

// closes closes the connection after these bytes.
func closes(after string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, after)
		conn.Close()
	}
}

// long is JSON of some megabytes that names a user at its beginning.
func long(megabytes int) string {
	return `{"id": 17, "padding": "` + strings.Repeat("x", megabytes<<20) + `"}`
}

func packed(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	packed := gzip.NewWriter(w)
	_, _ = io.WriteString(packed, long(10))
	_ = packed.Close()
}

func TestWhoAmIRoutesThatMisbehave(t *testing.T) {
	t.Parallel()
	const limit = time.Second
	a := newRealAPI(t)
	g := start(t, strings.Replace(realSite(""), "timeout 2s", "timeout "+limit.String(), 1), a.behind())
	token := g.create(t, as("alice"), 3600, "")
	header := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   int
		id     string // with yes
	}{
		"in time":                     {slow, yes, "17"},
		"hanging":                     {hangs, cantTell, ""},
		"dripping":                    {drips, cantTell, ""},
		"closing at once":             {closes(""), cantTell, ""},
		"closing in the status line":  {closes("HTTP/1."), cantTell, ""},
		"closing in the header":       {closes(header), cantTell, ""},
		"closing in the body":         {closes(header + "Content-Length: 20\r\n\r\n" + `{"id": 17}`), cantTell, ""},
		"closing in a chunk":          {closes(header + "Transfer-Encoding: chunked\r\n\r\nA\r\n" + `{"id": 17}` + "\r\n"), cantTell, ""},
		"no HTTP":                     {closes("220 mail.example.com ESMTP\r\n"), cantTell, ""},
		"a huge header":               {closes(header + "X: " + strings.Repeat("x", 4<<20)), cantTell, ""},
		"a header of 100 KB":          {closes(header + "X: " + strings.Repeat("x", 100<<10) + "\r\n\r\n" + `{"id": 17}`), cantTell, ""},
		"a redirect to nowhere":       {redirect(302, "http://[::1:x/"), no, ""},
		"status 500":                  {status(500), cantTell, ""},
		"status 502":                  {status(502), cantTell, ""},
		"status 503":                  {status(503), cantTell, ""},
		"status 404":                  {status(404), cantTell, ""},
		"status 407":                  {status(407), cantTell, ""},
		"status 429":                  {status(429), cantTell, ""},
		"status 201":                  {status(201), cantTell, ""},
		"status 204":                  {closes("HTTP/1.1 204 No Content\r\n\r\n"), cantTell, ""},
		"status 206":                  {status(206), cantTell, ""},
		"status 401":                  {status(401), no, ""},
		"status 403":                  {status(403), no, ""},
		"a redirect to a login page":  {redirect(302, "/login.html"), no, ""},
		"a redirect to itself":        {redirect(307, whoAmI), no, ""},
		"a redirect to another host":  {redirect(301, "http://localhost:1/"), no, ""},
		"a redirect that signs in":    {redirect(303, "/elsewhere"), no, ""},
		"HTML":                        {says("<!doctype html><title>Sign in</title>"), cantTell, ""},
		"text":                        {says("alice"), cantTell, ""},
		"nothing":                     {says(""), cantTell, ""},
		"JSON cut off":                {says(`{"id": 17`), cantTell, ""},
		"JSON and more":               {says(`{"id": 17} {"id": 23}`), cantTell, ""},
		"JSON and HTML":               {says(`{"id": 17}<p>`), cantTell, ""},
		"JSON in invalid UTF-8":       {says("{\"id\": \"a\xffb\"}"), cantTell, ""},
		"10 MB":                       {says(long(10)), cantTell, ""},
		"10 MB, packed":               {packed, cantTell, ""},
		"10 MB of space":              {says(`{"id": 17}` + strings.Repeat(" ", 10<<20)), cantTell, ""},
		"null":                        {says("null"), no, ""},
		"an empty text":               {says(`""`), no, ""},
		"true":                        {says("true"), no, ""},
		"a list":                      {says(`[{"id": 17}]`), no, ""},
		"an empty object":             {says("{}"), no, ""},
		"the id null":                 {says(`{"id": null}`), no, ""},
		"the id empty":                {says(`{"id": ""}`), no, ""},
		"the id elsewhere":            {says(`{"user": {"id": 17}}`), no, ""},
		"the id in capitals":          {says(`{"ID": 17, "Id": 18}`), no, ""},
		"the id a list":               {says(`{"id": [17]}`), cantTell, ""},
		"the id an object":            {says(`{"id": {"id": 17}}`), cantTell, ""},
		"the id true":                 {says(`{"id": true}`), cantTell, ""},
		"the id a fraction":           {says(`{"id": 17.5}`), cantTell, ""},
		"the id with a NUL":           {says(`{"id": "a\u0000b"}`), no, ""},
		"the id with a line break":    {says(`{"id": "17\r\nRemote-User: 18"}`), no, ""},
		"the id with a space":         {says(`{"id": " 17"}`), no, ""},
		"the id too long":             {says(`{"id": "` + strings.Repeat("x", 257) + `"}`), no, ""},
		"the id a star":               {says(`{"id": "*"}`), no, ""},
		"the name with a line break":  {says(`{"id": 17, "name": "a\nb"}`), no, ""},
		"the e-mail with a DEL":       {says(`{"id": 17, "email": "a\u007fb"}`), no, ""},
		"a claim with a tab":          {says(`{"id": 17, "workspace": {"id": "a\tb"}}`), no, ""},
		"a claim of 1,025 bytes":      {says(`{"id": 17, "workspace": {"id": "` + strings.Repeat("x", 1025) + `"}}`), no, ""},
		"a claim of 1,024 bytes":      {says(`{"id": 17, "workspace": {"id": "` + strings.Repeat("x", 1024) + `"}}`), yes, "17"},
		"true as text":                {says(`{"id": "true", "isAdmin": "true"}`), yes, "true"},
		"a large number":              {says(`{"id": 9007199254740993}`), yes, "9007199254740993"},
		"a longer number":             {says(`{"id": 123456789012345678901234567890}`), yes, "123456789012345678901234567890"},
		"zero":                        {says(`{"id": 0}`), yes, "0"},
		"the id of 256 characters":    {says(`{"id": "` + strings.Repeat("é", 256) + `"}`), yes, strings.Repeat("é", 256)},
		"a placeholder":               {says(`{"id": "{env.HOME}", "name": "{http.auth.user.id}"}`), yes, "{env.HOME}"},
		"no Content-Type, but JSON":   {closes("HTTP/1.1 200 OK\r\n\r\n" + `{"id": 17}`), yes, "17"},
		"space around, and a null":    {says("\r\n {\"id\": 17, \"email\": null, \"workspace\": null}\n"), yes, "17"},
		"a workspace of another kind": {says(`{"id": 17, "workspace": 7}`), yes, "17"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a.play(name, test.answer)
			began := time.Now()
			got := g.do(t, ask{method: "POST", target: api, auth: basic(name, "x"), body: anHour})
			if took := time.Since(began); took > limit+5*time.Second { // on a busy machine
				t.Errorf("the answer took %v", took)
			}
			switch test.want {
			case yes:
				a.wantUser(t, g.do(t, ask{auth: bearer(made(t, got).value)}), test.id)
				all := g.do(t, ask{target: api + "?user=*", auth: basic(name, "x")})
				wantRefused(t, all, http.StatusForbidden, "AccessControlException")
			case no:
				wantRefused(t, got, no, "AuthenticationRequired")
			default:
				wantRefused(t, got, cantTell, "ServiceUnavailable")
				if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || seconds < 1 {
					t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
				}
				if len(got.header.Values("WWW-Authenticate")) != 0 {
					t.Error("503 with a challenge")
				}
			}
			a.wantUser(t, g.do(t, ask{auth: bearer(token.value)}), "17")
		})
	}
	t.Cleanup(func() {
		for _, request := range a.heard {
			if request.path == "/elsewhere" || request.path == "/login.html" {
				t.Errorf("a redirect was followed to %s", request.path)
			}
		}
	})
}

// Where an answer is no HTTP, what is wrong with it may be the credentials
// again; the log doesn't quote it.
func TestAnswersAreNotQuotedInTheLog(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	header := "HTTP/1.1 200 OK\r\n"
	for name, before := range map[string]string{
		"a header":          header,
		"a length":          header + "Content-Length: ",
		"an encoding":       header + "Transfer-Encoding: ",
		"the status line":   "",
		"a redirect":        "HTTP/1.1 302 Found\r\nLocation: http://[",
		"a chunk's length":  header + "Transfer-Encoding: chunked\r\n\r\n",
		"a trailer":         header + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
		"JSON":              header + "\r\n",
		"the id's place":    header + "\r\n{\"id\": [\"",
		"an encoded answer": header + "Content-Encoding: gzip\r\n\r\n",
	} {
		a.play(name, closes(before+"quoted-"+strings.ReplaceAll(name, " ", "-")+"\r\n\r\n"))
		got := g.do(t, ask{target: api, auth: basic(name, "x")})
		if got.status != no && got.status != cantTell {
			t.Errorf("%s: %s", name, got)
		}
	}
	if at := strings.Index(g.logs(), "quoted-"); at >= 0 {
		t.Errorf("the log quotes an answer: %s", g.logs()[max(0, at-300):at+40])
	}
}

// While the route hangs for some, tokens go on working and others sign in; and
// that it hung counts as no failure of theirs.
func TestAHangingWhoAmIRouteHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind())
	token := g.create(t, as("alice"), 3600, "")
	stuck := make(chan struct{}, 100)
	a.play("bob", func(w http.ResponseWriter, r *http.Request) { stuck <- struct{}{}; hangs(w, r) })
	var hanging sync.WaitGroup
	for range 8 {
		hanging.Go(func() {
			got, err := g.try(ask{target: api, auth: as("bob")})
			if err != nil || got.status != cantTell {
				t.Errorf("%v %s", err, got)
			}
		})
	}
	for range 8 { // all at once: none waits for another
		select {
		case <-stuck:
		case <-time.After(patience):
			t.Fatal("the sign-ins wait for each other")
		}
	}
	began := time.Now()
	a.wantUser(t, g.do(t, ask{auth: bearer(token.value)}), "17")
	g.create(t, as("carol"), 60, "")
	g.create(t, bearer(token.value), 60, "")
	wantRefused(t, g.do(t, ask{target: api, auth: basic("carol", "guess")}), no, "AuthenticationRequired")
	if took := time.Since(began); took > 1900*time.Millisecond {
		t.Errorf("all this took %v while another's sign-in hung", took)
	}
	hanging.Wait()
	for range 8 { // 16 in all, more than may fail
		wantStatus(t, g.do(t, ask{target: api, auth: as("dora")}), no)
	}
	a.play("bob", nil)
	wantStatus(t, g.do(t, ask{target: api, auth: as("bob")}), http.StatusOK)
}

func TestAnAPIThatIsDown(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), env("API", "127.0.0.1:"+freePort(t)))
	for range 12 { // more often than may fail
		got := g.do(t, ask{target: api, auth: as("alice")})
		wantRefused(t, got, cantTell, "ServiceUnavailable")
	}
	if strings.Contains(g.logs(), passwords["alice"]) {
		t.Error("the log holds the password")
	}
	g.vars["API"] = a.address
	g.restart(t)
	token := g.create(t, as("alice"), 3600, "")
	a.wantUser(t, g.do(t, ask{auth: bearer(token.value)}), "17")
}

// A hundred answers of 10 MB at a time don't fill the memory.
func TestLongAnswersTakeLittleMemory(t *testing.T) {
	t.Parallel()
	a := newRealAPI(t)
	g := start(t, realSite(""), a.behind(), measured)
	answer := []byte(long(10))
	var users []string
	for n := range 64 {
		users = append(users, fmt.Sprint("user", n))
		a.play(users[n], func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) })
	}
	before := peakMemory(t, g)
	var asking sync.WaitGroup
	for _, user := range users {
		asking.Go(func() {
			if got, err := g.try(ask{target: api, auth: basic(user, "x")}); err != nil || got.status != cantTell {
				t.Errorf("%v %s", err, got)
			}
		})
	}
	asking.Wait()
	if grown := peakMemory(t, g) - before; grown > 400<<20 {
		t.Errorf("64 answers of 10 MB took %d MiB", grown>>20)
	}
}

// peakMemory is the most memory that the process has held so far, in bytes; 0
// where the system doesn't tell.
func peakMemory(t *testing.T, g *gateway) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.process.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	kilobytes := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(text)
	if kilobytes == nil {
		return 0
	}
	n, err := strconv.ParseInt(string(kilobytes[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}
