package contract

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// api is where the routes are by default.
const api = "/v4/apiAccessTokens"

// An ask is one HTTP/1.1 request, sent as it is written here: no normalization
// of the target, no header beyond Host, the ones below, and a body's own two.
type ask struct {
	site   int      // 0 is {$PORT}, 1 is {$PORT2}, 2 is {$PORT3}
	method string   // default GET
	target string   // default /v3/things
	auth   string   // the Authorization value; none if empty
	kind   string   // a body's Content-Type, by default application/json; "none" for none
	lines  []string // further header lines
	host   string   // the Host line, by default where the site listens
	body   string
}

// answered is what a client sees.
type answered struct {
	status   int
	header   http.Header
	body     string
	received *received // what the API behind was sent, nil if it gave no answer to this
	reached  int       // how many requests reached the API behind meanwhile
}

func (a answered) String() string {
	return fmt.Sprintf("%d\n%v\n%s", a.status, a.header, a.body)
}

// text is the request on the wire.
func (a ask) text(host string) string {
	var b strings.Builder
	method, target := a.method, a.target
	if method == "" {
		method = http.MethodGet
	}
	if target == "" {
		target = "/v3/things"
	}
	if a.host != "" {
		host = a.host
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, host)
	if a.auth != "" {
		fmt.Fprintf(&b, "Authorization: %s\r\n", a.auth)
	}
	for _, line := range a.lines {
		b.WriteString(line + "\r\n")
	}
	if a.body != "" {
		switch a.kind {
		case "none":
		case "":
			b.WriteString("Content-Type: application/json\r\n")
		default:
			fmt.Fprintf(&b, "Content-Type: %s\r\n", a.kind)
		}
		if !slices.ContainsFunc(a.lines, func(line string) bool { return strings.HasPrefix(line, "Transfer-Encoding:") }) {
			fmt.Fprintf(&b, "Content-Length: %d\r\n", len(a.body))
		}
	}
	b.WriteString("\r\n" + a.body)
	return b.String()
}

// do sends a request on a connection of its own and reads the whole answer.
func (g *gateway) do(t testing.TB, a ask) answered {
	t.Helper()
	got, err := g.try(a)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", a.method, a.target, err, tail(g.logs(), 4000))
	}
	return got
}

// try is do for goroutines other than the test's own.
func (g *gateway) try(a ask) (answered, error) {
	before := g.api.count()
	conn, err := net.Dial("tcp", g.addresses[a.site])
	if err != nil {
		return answered{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return answered{}, err
	}
	// An error here isn't one yet: a server may answer before it has read all.
	_, writeErr := io.WriteString(conn, a.text(g.addresses[a.site]))
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: a.method})
	if err != nil {
		return answered{}, fmt.Errorf("reading the answer: %w", errors.Join(err, writeErr))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answered{}, fmt.Errorf("reading the answer's body: %w", err)
	}
	got := answered{status: resp.StatusCode, header: resp.Header, body: string(body)}
	got.reached = g.api.count() - before
	if n, err := strconv.Atoi(resp.Header.Get(upstreamNumber)); err == nil {
		got.received = g.api.request(n)
	}
	if value := got.tokenValue(); value != "" {
		secret(value)
	}
	return got, checkAgainstOpenAPI(a.text(g.addresses[a.site]), got)
}

func (a answered) tokenValue() string {
	var made struct {
		TokenValue string `json:"tokenValue"`
	}
	if a.status != http.StatusCreated || json.Unmarshal([]byte(a.body), &made) != nil {
		return ""
	}
	return made.TokenValue
}

// tokenInfo is what the routes say about a token.
type tokenInfo struct {
	TokenID     string  `json:"tokenId"`
	Description string  `json:"description"`
	CreatedAt   string  `json:"createdAt"`
	ExpiredAt   *string `json:"expiredAt"`
	LastUsed    *string `json:"lastUsed"`
	UserID      *string `json:"userId"`
	ParentID    string  `json:"parentId"`

	Scopes    []string `json:"scopes"`
	Addresses []string `json:"addresses"`

	LastUsedAddress string `json:"lastUsedAddress"`
	UserEmail       string `json:"userEmail"`
	UserName        string `json:"userName"`
}

// token is a token as its maker sees it.
type token struct {
	value string
	info  tokenInfo
}

func (k token) target() string { return api + "/" + k.info.TokenID }

// create makes a token, of whoever signs in with auth or holds the token in it.
func (g *gateway) create(t testing.TB, auth string, lifetime int64, description string) token {
	t.Helper()
	return g.createAt(t, 0, auth, lifetime, description)
}

func (g *gateway) createAt(t testing.TB, site int, auth string, lifetime int64, description string) token {
	t.Helper()
	body, err := json.Marshal(map[string]any{"lifetimeSeconds": lifetime, "description": description})
	if err != nil {
		t.Fatal(err)
	}
	got := g.do(t, ask{site: site, method: "POST", target: api, auth: auth, body: string(body)})
	wantStatus(t, got, http.StatusCreated)
	var made struct {
		TokenValue string    `json:"tokenValue"`
		TokenInfo  tokenInfo `json:"tokenInfo"`
	}
	got.into(t, &made)
	return token{made.TokenValue, made.TokenInfo}
}

// info reads what is known about a token.
func (g *gateway) info(t testing.TB, auth, id string) tokenInfo {
	t.Helper()
	got := g.do(t, ask{target: api + "/" + id, auth: auth})
	wantStatus(t, got, http.StatusOK)
	var info tokenInfo
	got.into(t, &info)
	return info
}

// listing is a list's answer.
type listing struct {
	Data  []tokenInfo `json:"data"`
	Count *int        `json:"count"`
}

func (l listing) ids() []string {
	ids := []string{}
	for _, info := range l.Data {
		ids = append(ids, info.TokenID)
	}
	return ids
}

// list asks for a list, with the given query.
func (g *gateway) list(t testing.TB, auth, query string) listing {
	t.Helper()
	got := g.do(t, ask{target: api + query, auth: auth})
	wantStatus(t, got, http.StatusOK)
	var all listing
	got.into(t, &all)
	if all.Data == nil {
		t.Errorf("data is to be a list, also when there is nothing in it: %s", got.body)
	}
	return all
}

// remove deletes a token.
func (g *gateway) remove(t testing.TB, auth, target string) {
	t.Helper()
	got := g.do(t, ask{method: "DELETE", target: target, auth: auth})
	wantStatus(t, got, http.StatusNoContent)
	if got.body != "" {
		t.Errorf("204 with a body: %q", got.body)
	}
}

// into parses a JSON answer.
func (a answered) into(t testing.TB, target any) {
	t.Helper()
	if kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";"); kind != "application/json" {
		t.Errorf("Content-Type %q, want application/json", a.header.Get("Content-Type"))
	}
	if err := json.Unmarshal([]byte(a.body), target); err != nil {
		t.Fatalf("%v in %s", err, a)
	}
}

func wantStatus(t testing.TB, got answered, status int) {
	t.Helper()
	if got.status != status {
		t.Fatalf("status %d, want %d: %s", got.status, status, got)
	}
}

// wantProxied wants the API behind to have answered a request of this user.
func wantProxied(t testing.TB, got answered, user string) {
	t.Helper()
	wantStatus(t, got, http.StatusOK)
	if got.received == nil {
		t.Fatalf("the API behind didn't answer this: %s", got)
	}
	if lines := got.received.lines("Remote-User"); len(lines) != 1 || lines[0] != "Remote-User: "+user {
		t.Errorf("the API behind was told %q, want exactly one user, %s", lines, user)
	}
}

// wantRefused wants the module's own error, and nothing at the API behind.
func wantRefused(t testing.TB, got answered, status int, name string) exception {
	t.Helper()
	wantStatus(t, got, status)
	if got.reached != 0 {
		t.Errorf("%d requests reached the API behind", got.reached)
	}
	e := got.exception(t)
	if e.Name != name {
		t.Errorf("exception %s, want %s: %s", e.Name, name, got.body)
	}
	return e
}

// exception is the module's way to say no.
type exception struct{ Name, Message, Details string }

// exception parses an error's body, which has exactly the fields it has to have.
func (a answered) exception(t testing.TB) exception {
	t.Helper()
	var outer map[string]map[string]string
	a.into(t, &outer)
	inner, found := outer["exception"]
	e := exception{inner["name"], inner["message"], inner["details"]}
	if !found || len(outer) != 1 || len(inner) != 3 || e.Name == "" || e.Message == "" || e.Details == "" {
		t.Errorf(`want {"exception": {"name", "message", "details"}}, each with a text: %s`, a.body)
	}
	return e
}
