package caddymodule

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// What a request costs in Caddy, from its server to the end of the answer, with the
// directive and without: run with -benchmem, and compare medians of -count 10. Tokens
// at random are of as many as ACCESS_TOKENS_BENCH_TOKENS says, 10,000 by default.
func BenchmarkRequest(b *testing.B) {
	const sites = `
http://with.localhost:PORT {
	bind 127.0.0.1
	access_tokens {
		allow_generate everyone
		admins alice
		sign_in placeholder {http.auth.user.id}
	}
	respond 204
}
http://bare.localhost:PORT {
	bind 127.0.0.1
	respond 204
}
http://refusing.localhost:PORT {
	bind 127.0.0.1
	respond 401
}
`
	s := serve(b, sites)
	if err := loadCaddyfile(b, strings.Replace(s.caddyfile(sites), "\tdebug\n", "", 1)); err != nil {
		b.Fatal(err)
	}
	n := 10_000
	if text := os.Getenv("ACCESS_TOKENS_BENCH_TOKENS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	tokens := makeTokens(b, n)
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		b.Fatal(err)
	}
	var server *caddyhttp.Server
	for _, server = range app.(*caddyhttp.App).Servers {
	}
	ask := func(b *testing.B, host string, want int, authorization func() string) {
		b.ReportAllocs()
		client := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}
		for b.Loop() {
			r := httptest.NewRequestWithContext(context.WithValue(context.Background(), http.LocalAddrContextKey, net.Addr(client)), http.MethodGet, "http://"+host+".localhost:"+s.port+"/v4/jobs/17?limit=10", nil)
			r.RemoteAddr = client.String()
			r.Header.Set("User-Agent", "curl/8.0")
			r.Header.Set("Accept", "*/*")
			r.Header.Set("Authorization", authorization())
			var w statusOnly
			server.ServeHTTP(&w, r)
			if w.status != want {
				b.Fatalf("status %d, want %d", w.status, want)
			}
		}
	}
	always := func(value string) func() string { return func() string { return "Bearer " + value } }
	unknown := unknownToken(b)
	b.Run("bare", func(b *testing.B) { ask(b, "bare", 204, always(tokens[0])) })
	b.Run("one", func(b *testing.B) { ask(b, "with", 204, always(tokens[0])) })
	b.Run("random", func(b *testing.B) {
		for _, value := range tokens { // each was seen before
			r := httptest.NewRequest(http.MethodGet, "http://with.localhost:"+s.port+"/", nil)
			r.Header.Set("Authorization", "Bearer "+value)
			server.ServeHTTP(new(statusOnly), r)
		}
		ask(b, "with", 204, func() string { return "Bearer " + tokens[rand.IntN(len(tokens))] })
	})
	b.Run("bare401", func(b *testing.B) { ask(b, "refusing", 401, always(tokens[0])) })
	b.Run("unknown", func(b *testing.B) {
		ask(b, "with", 401, always(unknown))
	})
	b.Run("checksum", func(b *testing.B) { ask(b, "with", 401, always(tokens[0][:52]+string('a'+(tokens[0][52]+1)%2))) })
}

// statusOnly keeps the status alone.
type statusOnly struct {
	header http.Header
	status int
}

func (w *statusOnly) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}
func (w *statusOnly) WriteHeader(status int)            { w.status = status }
func (w *statusOnly) Write(b []byte) (n int, err error) { return len(b), nil }

// makeTokens returns the values of new tokens of as many users.
func makeTokens(b *testing.B, n int) []string {
	tokens := running().registry.Load()
	values := make([]string, n)
	p := tokens.Project("default")
	const writers = 64
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < n; i += writers {
				user := "user " + strconv.Itoa(i)
				caller := registry.SignedIn("access_tokens.sign_in.placeholder", store.User{ID: user}, false)
				value, _, err := tokens.Issue(context.Background(), p, caller, registry.Wish{Prefix: "cat", LifetimeSeconds: 3600 * 24})
				if err != nil {
					b.Error(err)
					return
				}
				values[i] = value.Reveal()
			}
		})
	}
	all.Wait()
	return values
}

// unknownToken is a token value with a right checksum that nobody has.
func unknownToken(b *testing.B) string {
	value, err := token.Make("cat", crand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	return value.Reveal()
}
