package incoming

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestScrubOverHTTP2(t *testing.T) {
	type fields [][2]string
	tests := []struct {
		name     string
		header   fields
		body     string
		trailer  fields // nil: the header, or the body, ends the request
		want     http.Header
		trailers http.Header
	}{
		{
			name: "repeated lines, underscores and dots",
			header: fields{{"remote-user", "a"}, {"remote-user", "b"}, {"remote_user", "c"}, {"remote.user", "d"},
				{"x_trifacta.user", "e"}, {"accept", "*/*"}, {"accept", "text/plain"}},
			want: http.Header{"Accept": {"*/*", "text/plain"}},
		},
		{
			name:     "announced trailers, and others beside them",
			header:   fields{{"trailer", "x-sum, remote-user"}, {"trailer", "remote_email,Cookie"}},
			body:     "abc",
			trailer:  fields{{"x-sum", "1"}, {"remote-user", "a"}, {"remote_email", "b"}, {"cookie", "c=1"}, {"remote-name", "d"}},
			want:     http.Header{},
			trailers: http.Header{"X-Sum": {"1"}},
		},
		{
			name:    "no trailer announced",
			body:    "abc",
			trailer: fields{{"remote-user", "a"}, {"x_trifacta_user", "b"}, {"authorization", "Basic c"}},
			want:    http.Header{},
		},
		{
			name:     "announced trailers behind a length of zero",
			header:   fields{{"content-length", "0"}, {"trailer", "x-sum, remote-user"}},
			trailer:  fields{{"x-sum", "1"}, {"remote-user", "a"}, {"remote_user", "b"}},
			want:     http.Header{"Content-Length": {"0"}},
			trailers: http.Header{"X-Sum": {"1"}},
		},
	}
	servers := []struct {
		name      string
		configure func(*http.Server) error
	}{
		{name: "net/http", configure: func(*http.Server) error { return nil }},
		{name: "x/net/http2", configure: func(s *http.Server) error { return http2.ConfigureServer(s, nil) }}, //nolint:staticcheck // deprecated, and what Caddy uses
	}
	rules := newRules(t)
	for _, implementation := range servers {
		for _, copied := range copies {
			handler, seen := recordingHandler(rules, copied.before, copied.after)
			server := httptest.NewUnstartedServer(handler)
			server.EnableHTTP2 = true
			if err := implementation.configure(server.Config); err != nil {
				t.Fatal(err)
			}
			server.StartTLS()
			t.Cleanup(server.Close)
			for _, test := range tests {
				t.Run(implementation.name+"/"+copied.name+"/"+test.name, func(t *testing.T) {
					client := dialHTTP2(t, server.Listener.Addr().String())
					method := "GET"
					if test.trailer != nil {
						method = "POST"
					}
					header := fields{{":method", method}, {":scheme", "https"}, {":authority", "api.example.com"}, {":path", "/"}}
					client.writeHeaders(append(header, test.header...), test.body == "" && test.trailer == nil)
					if test.body != "" {
						client.writeData(test.body)
					}
					if test.trailer != nil {
						client.writeHeaders(test.trailer, true)
					}
					want := seenRequest{Major: 2, Header: test.want, Body: test.body, Trailer: test.trailers}
					if diff := cmp.Diff(want, await(t, seen)); diff != "" {
						t.Errorf("next handler (-want +got):\n%s", diff)
					}
				})
			}
		}
	}
}

// http2Client writes the frames of one request, whatever they say.
type http2Client struct {
	t      *testing.T
	framer *http2.Framer
}

func dialHTTP2(t *testing.T, address string) *http2Client {
	t.Helper()
	dialer := &net.Dialer{Timeout: serverPatience}
	conn, err := tls.DialWithDialer(dialer, "tcp", address, &tls.Config{
		InsecureSkipVerify: true, // the test server's own certificate
		NextProtos:         []string{http2.NextProtoTLS},
	})
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	t.Cleanup(func() {
		_ = conn.Close()
		<-drained
	})
	if got := conn.ConnectionState().NegotiatedProtocol; got != http2.NextProtoTLS {
		t.Fatalf("negotiated %q, want %q", got, http2.NextProtoTLS)
	}
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, conn)
	}()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, nil)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return &http2Client{t: t, framer: framer}
}

func (c *http2Client) writeHeaders(fields [][2]string, end bool) {
	c.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSize(0) // each block stands alone
	for _, field := range fields {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			c.t.Fatal(err)
		}
	}
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndStream: end, EndHeaders: true,
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *http2Client) writeData(body string) {
	c.t.Helper()
	if err := c.framer.WriteData(1, false, []byte(body)); err != nil {
		c.t.Fatal(err)
	}
}
