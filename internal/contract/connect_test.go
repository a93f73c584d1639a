package contract

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// CONNECT would make a tunnel to wherever a client likes.
func TestCONNECTIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t, site("public /open/*")+siteAt("{$PORT2}", "project other\nwithout_token pass\nforeign_token pass"), globals(withHTTP2))
	made := g.create(t, as("alice"), 3600, "")
	for _, auth := range []string{bearer(made.value), as("alice"), "", "Bearer foreign"} {
		for site := range 2 {
			for _, target := range []string{"example.com:443", "127.0.0.1:22", "h", "/v4/x", "/open/x", api, "[::1]:80"} {
				e := wantRefused(t, g.do(t, ask{site: site, method: "CONNECT", target: target, auth: auth}), http.StatusBadRequest, "InvalidRequest")
				if !strings.Contains(e.Details, "WebSocket") {
					t.Errorf("details %q", e.Details)
				}
			}
			tunnel := g.stream(t, site, false, []field{{":method", "CONNECT"}, {":authority", "example.com:443"}, {"authorization", auth}})
			got, err := receive2(tunnel.conn)
			if err != nil || got.status != http.StatusBadRequest || !strings.Contains(got.body, `"InvalidRequest"`) {
				t.Errorf("over HTTP/2: %v: %s", err, got)
			}
		}
	}
}

// stream is a stream of HTTP/2, the first of its connection.
type stream struct {
	conn   net.Conn
	framer *http2.Framer
}

// stream opens one, and ends it on this side or leaves it open.
func (g *gateway) stream(t *testing.T, site int, open bool, fields []field) *stream {
	t.Helper()
	conn, err := net.Dial("tcp", g.addresses[site])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	say(t, conn, http2.ClientPreface)
	s := &stream{conn, http2.NewFramer(conn, conn)}
	if err := s.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		if err := encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: !open, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	return s
}

// next returns the stream's next header or data, and tells of settings.
func (s *stream) next(t *testing.T) (status string, data []byte, settings map[http2.SettingID]uint32) {
	t.Helper()
	s.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	settings = map[http2.SettingID]uint32{}
	for {
		frame, err := s.framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if f.IsAck() {
				continue
			}
			_ = f.ForeachSetting(func(one http2.Setting) error { settings[one.ID] = one.Val; return nil })
			if err := s.framer.WriteSettingsAck(); err != nil {
				t.Fatal(err)
			}
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status"), nil, settings
		case *http2.DataFrame:
			return "", bytes.Clone(f.Data()), settings
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			t.Fatalf("%v", frame)
		}
	}
}

// A WebSocket over HTTP/2 is opened by the extended CONNECT of RFC 8441, where
// Caddy has it.
func TestAWebSocketOverHTTP2Passes(t *testing.T) {
	t.Parallel()
	g := start(t, site(""), globals(withHTTP2), env("GODEBUG", "http2xconnect=1"))
	made := g.create(t, as("alice"), 3600, "")
	open := func(protocol, auth string) *stream {
		return g.stream(t, 0, true, []field{
			{":method", "CONNECT"}, {":protocol", protocol}, {":scheme", "http"}, {":path", "/ws"}, {":authority", g.addresses[0]},
			{"sec-websocket-version", "13"}, {"authorization", auth}, {"remote-user", "bob"},
		})
	}
	users := make(chan string, 1)
	g.api.echoing("/ws", users)
	s := open("websocket", bearer(made.value))
	status, _, settings := s.next(t)
	if status != "200" || settings[http2.SettingEnableConnectProtocol] != 1 {
		t.Fatalf("status %s, settings %v", status, settings)
	}
	if user := until(t, "the API behind is asked", users); user != "alice" {
		t.Errorf("the API behind was told %q", user)
	}
	for _, message := range []string{"\x81\x05hello", "\x82\x02\x00\xff"} {
		if err := s.framer.WriteData(1, false, []byte(message)); err != nil {
			t.Fatal(err)
		}
		var heard []byte
		for len(heard) < len(message) {
			_, data, _ := s.next(t)
			heard = append(heard, data...)
		}
		if string(heard) != message {
			t.Errorf("heard %q, want %q", heard, message)
		}
	}
	for name, test := range map[string]struct {
		protocol, auth string
		status         string
	}{
		"without a token":       {"websocket", "", "401"},
		"with a deleted one":    {"websocket", bearer(neverIssued("cat")), "401"},
		"another protocol":      {"connect-udp", bearer(made.value), "400"},
		"another one's letters": {"WebSocket", bearer(made.value), "400"},
	} {
		t.Run(name, func(t *testing.T) {
			before := g.api.count()
			if status, _, _ := open(test.protocol, test.auth).next(t); status != test.status || g.api.count() != before {
				t.Errorf("status %s, want %s", status, test.status)
			}
		})
	}
}

// And over HTTP/3 by that of RFC 9220.
func TestAWebSocketOverHTTP3Passes(t *testing.T) {
	t.Parallel()
	g := prepare(t, certifiedSite, env("GORACE", "exitcode=0")) // see TestTheRoutesRefuseEarlyData
	trusts := &tls.Config{RootCAs: g.writeCertificate(t), ServerName: "localhost", MinVersion: tls.VersionTLS13, NextProtos: []string{http3.NextProtoH3}}
	g.up(t)
	users := make(chan string, 1)
	g.api.echoing("/ws", users)
	conn, err := quic.DialAddr(t.Context(), g.addresses[0], trusts, &quic.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	client := new(http3.Transport).NewClientConn(conn)
	address := "https://" + strings.Replace(g.addresses[0], "127.0.0.1", "localhost", 1)
	opened := func(method, protocol, auth string) (*http3.RequestStream, *http.Response) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, address+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Proto = protocol
		r.Header.Set("Authorization", auth)
		r.Header.Set("Sec-WebSocket-Version", "13")
		if protocol == "" && method == http.MethodConnect {
			r.URL.Path = "" // a tunnel names a host alone
		}
		s, err := client.OpenRequestStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if err := s.SendRequestHeader(r); err != nil {
			t.Fatal(err)
		}
		resp, err := s.ReadResponse()
		if err != nil {
			t.Fatal(err)
		}
		return s, resp
	}
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+api, strings.NewReader(anHour))
	if err != nil {
		t.Fatal(err)
	}
	post.Header.Set("Authorization", as("alice"))
	post.Header.Set("Content-Type", "application/json")
	answer, err := client.RoundTrip(post)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	token := made(t, answered{status: answer.StatusCode, header: answer.Header, body: string(body)})
	secret(token.value)

	s, resp := opened(http.MethodConnect, "websocket", bearer(token.value))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	if user := until(t, "the API behind is asked", users); user != "alice" {
		t.Errorf("the API behind was told %q", user)
	}
	say(t, s, "\x81\x05hello")
	hear(t, s, "\x81\x05hello")
	for name, test := range map[string]struct {
		protocol, auth string
		status         int
	}{
		"without a token":  {"websocket", "Bearer " + neverIssued("cat"), http.StatusUnauthorized},
		"another protocol": {"webtransport", bearer(token.value), http.StatusBadRequest},
		"a tunnel":         {"", bearer(token.value), http.StatusBadRequest},
	} {
		if _, resp := opened(http.MethodConnect, test.protocol, test.auth); resp.StatusCode != test.status {
			t.Errorf("%s: status %d, want %d", name, resp.StatusCode, test.status)
		}
	}
}
