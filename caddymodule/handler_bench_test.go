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

// costSites are a site with the directive and the same without, and one that refuses,
// each on a server of its own: looking for one's site among others costs too.
const costSites = `
http://with.localhost:PORT {
	bind 127.0.0.1
	access_tokens {
		allow_generate everyone
		admins alice
		sign_in placeholder {http.auth.user.id}
	}
	respond 204
}
http://bare.localhost:BARE {
	bind 127.0.0.1
	respond 204
}
http://refusing.localhost:REFUSING {
	bind 127.0.0.1
	respond 401
}
`

// inProcess are Caddy's servers of costSites, to be asked without a connection.
type inProcess map[string]*caddyhttp.Server

func serveInProcess(t testing.TB) inProcess {
	t.Helper()
	sites := strings.NewReplacer("BARE", freePort(t), "REFUSING", freePort(t)).Replace(costSites)
	s := serve(t, sites)
	caddyfile := strings.Replace(s.caddyfile(sites), "\tdebug\n", "", 1)
	if err := loadCaddyfile(t, caddyfile); err != nil {
		t.Fatal(err)
	}
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	servers := make(inProcess)
	for _, server := range app.(*caddyhttp.App).Servers {
		_, port, _ := strings.Cut(server.Listen[0], ":")
		before, _, _ := strings.Cut(caddyfile, ".localhost:"+port+" ")
		servers[before[strings.LastIndex(before, "/")+1:]] = server
	}
	return servers
}

// ask asks a site as curl does, and returns its status.
func (s inProcess) ask(site, authorization string) int {
	client := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}
	r := httptest.NewRequestWithContext(context.WithValue(context.Background(), http.LocalAddrContextKey, net.Addr(client)), http.MethodGet, "http://"+site+".localhost/v4/jobs/17?limit=10", nil)
	r.RemoteAddr = client.String()
	r.Header.Set("User-Agent", "curl/8.0")
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Authorization", authorization)
	var w statusOnly
	s[site].ServeHTTP(&w, r)
	return w.status
}

// What a request costs in Caddy, from its server to the end of the answer, with the
// directive and without: run with -benchmem, and compare medians of -count 10. Tokens
// at random are of as many as ACCESS_TOKENS_BENCH_TOKENS says, 10,000 by default.
// `go run ./bench` runs this too.
func BenchmarkRequest(b *testing.B) {
	n := 10_000
	if text := os.Getenv("ACCESS_TOKENS_BENCH_TOKENS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	s := serveInProcess(b)
	bearers := makeTokens(b, n)
	for i, value := range bearers {
		bearers[i] = "Bearer " + value
	}
	ask := func(b *testing.B, site string, want int, authorization func() string) {
		b.ReportAllocs()
		for b.Loop() {
			if status := s.ask(site, authorization()); status != want {
				b.Fatalf("status %d, want %d", status, want)
			}
		}
	}
	always := func(authorization string) func() string { return func() string { return authorization } }
	b.Run("bare", func(b *testing.B) { ask(b, "bare", 204, always(bearers[0])) })
	b.Run("one", func(b *testing.B) { ask(b, "with", 204, always(bearers[0])) })
	b.Run("random", func(b *testing.B) {
		for _, bearer := range bearers { // each was seen before
			s.ask("with", bearer)
		}
		ask(b, "with", 204, func() string { return bearers[rand.IntN(len(bearers))] })
	})
	unknown := unknownToken(b)
	b.Run("bare401", func(b *testing.B) { ask(b, "refusing", 401, always("Bearer "+unknown)) })
	b.Run("unknown", func(b *testing.B) { ask(b, "with", 401, always("Bearer "+unknown)) })
	b.Run("checksum", func(b *testing.B) {
		ask(b, "with", 401, always("Bearer "+unknown[:52]+string('a'+unknown[52]%2)))
	})
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
func makeTokens(b testing.TB, n int) []string {
	b.Helper()
	tokens := running().registry.Load()
	values := make([]string, n)
	p := tokens.Project("default")
	const writers = 64
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < n; i += writers {
				user := "user-" + strconv.Itoa(i)
				caller := registry.SignedIn("access_tokens.sign_in.placeholder", store.User{ID: user, Email: user + "@example.com", Name: "User"}, false)
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
func unknownToken(b testing.TB) string {
	b.Helper()
	value, err := token.Make("cat", crand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	return value.Reveal()
}
