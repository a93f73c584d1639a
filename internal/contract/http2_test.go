package contract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// withHTTP2 lets a gateway speak HTTP/2 without TLS, to clients that know.
const withHTTP2 = `
	servers {
		protocols h1 h2c
	}`

// A field is a header or trailer line of HTTP/2, which may be one that no proper
// client would send.
type field struct{ name, value string }

// fields turns "Name: value" lines into HTTP/2's, in lower case.
func fields(lines ...string) []field {
	var all []field
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		all = append(all, field{strings.ToLower(name), strings.TrimSpace(value)})
	}
	return all
}

// An ask2 is one HTTP/2 request, sent frame by frame.
type ask2 struct {
	site     int
	method   string // default GET, or POST with a body
	target   string // default /v3/things
	fields   []field
	body     string
	trailers []field
}

// do2 sends a request on a connection of its own. A stream or connection that the
// server ends without an answer is status 0.
func (g *gateway) do2(t testing.TB, a ask2) answered {
	t.Helper()
	before := g.api.count()
	conn, err := net.Dial("tcp", g.addresses[a.site])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := a.send(conn, g.addresses[a.site]); err != nil {
		t.Fatal(err)
	}
	got, err := receive2(conn)
	if err != nil {
		t.Fatalf("HTTP/2: %v\n%s", err, tail(g.logs(), 4000))
	}
	got.reached = g.api.count() - before
	if n, err := strconv.Atoi(got.header.Get(upstreamNumber)); err == nil {
		got.received = g.api.request(n)
	}
	if value := got.tokenValue(); value != "" {
		secret(value)
	}
	return got
}

// send writes the whole request as stream 1.
func (a ask2) send(conn io.Writer, host string) error {
	var wire bytes.Buffer
	wire.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&wire, nil)
	framer.AllowIllegalWrites = true
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	headers := func(end bool, all ...field) error {
		block.Reset()
		for _, f := range all {
			if err := encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}); err != nil {
				return err
			}
		}
		return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: end, EndHeaders: true})
	}
	method, target := a.method, a.target
	if method == "" {
		method = http.MethodGet
		if a.body != "" || a.trailers != nil {
			method = http.MethodPost
		}
	}
	if target == "" {
		target = "/v3/things"
	}
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	all := append([]field{{":method", method}, {":scheme", "http"}, {":authority", host}, {":path", target}}, a.fields...)
	if err := headers(a.body == "" && a.trailers == nil, all...); err != nil {
		return err
	}
	if a.body != "" {
		if err := framer.WriteData(1, a.trailers == nil, []byte(a.body)); err != nil {
			return err
		}
	}
	if a.trailers != nil {
		if err := headers(true, a.trailers...); err != nil {
			return err
		}
	}
	_, err := conn.Write(wire.Bytes())
	return err
}

// receive2 reads the answer on stream 1.
func receive2(conn io.ReadWriter) (answered, error) {
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	got := answered{header: http.Header{}}
	var body strings.Builder
	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		ended := false
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				if h.Name == ":status" {
					if got.status, err = strconv.Atoi(h.Value); err != nil {
						return got, fmt.Errorf("status %q", h.Value)
					}
					continue
				}
				got.header.Add(h.Name, h.Value)
			}
			ended = f.StreamEnded() && got.status >= 200
		case *http2.DataFrame:
			body.Write(f.Data())
			ended = f.StreamEnded()
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			ended = true
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := framer.WriteSettingsAck(); err != nil {
					return got, err
				}
			}
		}
		if ended {
			got.body = body.String()
			return got, nil
		}
	}
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	g := start(t, site("keep_cookies locale"), globals(withHTTP2))
	made := g.create(t, as("alice"), 3600, "")
	authorization := field{"authorization", bearer(made.value)}

	t.Run("a token opens the API", func(t *testing.T) {
		got := g.do2(t, ask2{fields: []field{authorization, {"cookie", "session=1"}, {"cookie", "locale=de"}}, body: "hello"})
		wantProxied(t, got, "alice")
		if cookies := got.received.lines("Cookie"); len(cookies) != 1 || cookies[0] != "Cookie: locale=de" {
			t.Errorf("cookies: %q", cookies)
		}
		if got.received.body != "hello" || len(got.received.lines("Authorization")) != 0 {
			t.Errorf("arrived: %s", got.received.raw)
		}
	})
	t.Run("the routes answer", func(t *testing.T) {
		got := g.do2(t, ask2{method: "POST", target: api, body: `{"lifetimeSeconds": 60}`,
			fields: []field{{"authorization", as("alice")}, {"content-type", "application/json"}}})
		wantStatus(t, got, http.StatusCreated)
		wantProxied(t, g.do2(t, ask2{fields: []field{{"authorization", bearer(got.tokenValue())}}}), "alice")
	})
	t.Run("refusals are the same", func(t *testing.T) {
		for _, test := range []struct {
			ask    ask2
			status int
			name   string
		}{
			{ask2{}, 401, "AuthenticationRequired"},
			{ask2{fields: []field{{"authorization", bearer(neverIssued("cat"))}}}, 401, "InvalidToken"},
			{ask2{fields: []field{authorization, authorization}}, 400, "InvalidRequest"},
			{ask2{fields: []field{authorization}, target: "/?t=" + neverIssued("cat")}, 400, "InvalidRequest"},
			{ask2{fields: []field{authorization}, target: "/v4/apiaccesstokens"}, 404, "RouteNotFoundException"},
			{ask2{fields: []field{authorization}, target: "/v4/x/../apiAccessTokens"}, 404, "RouteNotFoundException"},
			{ask2{fields: []field{authorization}, target: `/v4\apiAccessTokens`}, 404, "RouteNotFoundException"},
		} {
			wantRefused(t, g.do2(t, test.ask), test.status, test.name)
		}
	})
}
