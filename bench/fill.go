package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
)

// writers is how many make tokens at a time.
const writers = 64

// tokensEach is how many tokens a user has.
const tokensEach = 10

// fill puts those tokens into the store that aren't there from an earlier run, and
// returns how many were made a second.
func (b *bench) fill(ctx context.Context, from, to int) (perSecond float64, err error) {
	info, err := os.Stat(b.valuesFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if err == nil {
		from = max(from, int(info.Size())/(valueLen+1))
	}
	if from >= to {
		return 0, nil
	}
	b.say("making tokens, up to %s", count(to))
	return makeTokens(ctx, b.store(), b.valuesFile(), from, to)
}

// makeTokens puts tokens into the store in dir, those from one number up to another, by the
// same way as the server's: each is durable before its maker has it. It returns how
// many were made a second.
func makeTokens(ctx context.Context, dir, valuesFile string, from, to int) (perSecond float64, err error) {
	opened, err := badgerstore.Open(dir, badgerstore.Options{Logger: zap.NewNop()})
	if err != nil {
		return 0, err
	}
	made, err := createValues(valuesFile)
	if err != nil {
		return 0, errors.Join(err, opened.Close())
	}
	tokens := registry.New(registry.Config{
		Store: opened, Now: opened.Clock().Now, Certain: opened.Clock().Certain, Random: rand.Reader,
		Retain: registry.Retain{Expired: 30 * 24 * time.Hour, Deleted: 90 * 24 * time.Hour},
		Audit:  unaudited{}, Logger: zap.NewNop(), Ended: func(string, string) {}, Notices: registry.Nobody{},
	})
	const signIn = "access_tokens.sign_in.placeholder"
	tokens.Adopt(map[string]registry.Rules{"default": {
		Fixed:   store.Settings{Generate: registry.GenerateEveryone},
		SignIns: []registry.SignIn{{Kind: signIn, Knows: func(string) bool { return true }}},
	}})
	project := tokens.Project("default")
	began := time.Now()
	errs := make([]error, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := from + w; n < to && errs[w] == nil; n += writers {
				// Neighbours have different users: each user makes one token at a time.
				user := fmt.Sprintf("user-%06d", n/(tokensEach*writers)*writers+n%writers)
				caller := registry.SignedIn(signIn, store.User{ID: user, Email: user + "@example.com", Name: "User " + user}, false)
				value, _, err := tokens.Issue(ctx, project, caller, registry.Wish{Prefix: "cat", LifetimeSeconds: 90 * 24 * 3600, Description: "nightly"})
				if err == nil {
					err = made.put(n, value.Reveal())
				}
				errs[w] = err
			}
		})
	}
	all.Wait()
	perSecond = float64(to-from) / time.Since(began).Seconds()
	return perSecond, errors.Join(errors.Join(errs...), tokens.Close(), opened.Close(), made.close())
}

// unaudited writes no change down.
type unaudited struct{}

func (unaudited) Ready() error                    { return nil }
func (unaudited) Lines([]registry.Event) [][]byte { return nil }
func (unaudited) Changed([]registry.Event) error  { return nil }
