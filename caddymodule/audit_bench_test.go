package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/auditfile"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
)

// How many tokens are made in a second, by one user or by many, with an audit file
// and without.
func BenchmarkCreate(b *testing.B) {
	for _, users := range []int{1, 64} {
		for _, file := range []string{"", "audit.jsonl"} {
			b.Run(fmt.Sprintf("users=%d/audit=%t", users, file != ""), func(b *testing.B) { benchmarkCreate(b, users, file) })
		}
	}
}

func benchmarkCreate(b *testing.B, users int, name string) {
	s, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	path := ""
	if name != "" {
		path = filepath.Join(b.TempDir(), name)
	}
	file, err := auditfile.Open(s, path, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	tokens := registry.New(registry.Config{
		Notices: registry.Nobody{},
		Store:   s, Now: time.Now, Certain: time.Now, Random: rand.Reader,
		Retain: registry.Retain{Expired: time.Hour, Deleted: time.Hour}, Audit: auditor{zap.NewNop(), file}, Logger: zap.NewNop(),
	})
	defer func() {
		if err := errors.Join(tokens.Close(), file.Close(), s.Close()); err != nil {
			b.Error(err)
		}
	}()
	project := registry.NewProject("p", registry.Rules{
		Fixed:   store.Settings{Generate: registry.GenerateEveryone, MaxLifetimeDays: 365},
		SignIns: []registry.SignIn{{Kind: "k", Knows: func(string) bool { return true }}},
	})
	var made atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	for n := range users {
		caller := registry.SignedIn("k", store.User{ID: fmt.Sprint("user ", n)}, false)
		caller.Origin = registry.Origin{ClientIP: "192.0.2.1", RequestID: "3f7a1c54-9e0b-4d5e-8a57-0f2f6a3b9c11"}
		all.Go(func() {
			for made.Add(1) <= int64(b.N) {
				if _, _, err := tokens.Issue(context.Background(), project, caller, registry.Wish{Prefix: "cat", LifetimeSeconds: 3600, Description: "nightly"}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creations/s")
}
