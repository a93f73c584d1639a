// Package caddymodule puts API access tokens in front of any HTTP API: a Caddy
// app that keeps the tokens, a handler that checks them at each request and
// serves the routes where they are made, and the contract for guest modules
// that sign users in.
package caddymodule

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/page"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func init() { caddy.RegisterModule(new(App)) }

// appName is the app's key in the configuration.
const appName = "access_tokens"

// App keeps the tokens of all projects of a server.
type App struct {
	config.App

	ctx    caddy.Context
	logger *zap.Logger
	dir    string
	key    *token.Key // nil: the store's own

	mu sync.Mutex
	// projects and prefixes are what the handlers of this configuration use.
	projects map[string]registry.Project
	prefixes map[string]bool

	// started is closed once registry is set, or is known never to be.
	started  chan struct{}
	settled  sync.Once // closes started
	registry atomic.Pointer[registry.Registry]
	pages    atomic.Pointer[page.Memory] // set before registry
	leased   bool
}

// CaddyModule implements caddy.Module.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appName,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision implements caddy.Provisioner. It leaves the store alone: `caddy
// validate` comes this far, beside a server that has the store open.
func (a *App) Provision(ctx caddy.Context) error {
	a.App = a.Complete()
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.projects = make(map[string]registry.Project)
	a.prefixes = make(map[string]bool)
	a.started = make(chan struct{})
	if err := a.Validate(); err != nil {
		return fmt.Errorf("access_tokens: %w", err)
	}
	if err := a.provisionDir(); err != nil {
		return fmt.Errorf("access_tokens: store: %w", err)
	}
	if err := a.provisionKey(); err != nil {
		return fmt.Errorf("access_tokens: hash_key: %w", err)
	}
	// What the running configuration has open is shared from here on. So no
	// request waits for Start, and what takes a restart is refused before
	// anything of this configuration serves requests.
	err := a.lease(func(settings) (caddy.Destructor, error) { return nil, errNotOpen })
	if err != nil && !errors.Is(err, errNotOpen) {
		return fmt.Errorf("access_tokens: %w", err)
	}
	return nil
}

var errNotOpen = errors.New("no running configuration has the store open")

func (a *App) provisionKey() error {
	if a.HashKey == "" {
		return nil
	}
	text, err := expand(a.HashKey)
	if err == nil {
		a.key, err = token.NewKey(text)
	}
	return err
}

func (a *App) provisionDir() (err error) {
	dir := filepath.Join(caddy.AppDataDir(), "access-tokens")
	if a.Store.Path != "" {
		if dir, err = expand(a.Store.Path); err != nil {
			return err
		}
	}
	a.dir, err = canonical(dir)
	return err
}

// canonical returns the one name of a directory that may not exist yet.
func canonical(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real, nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return dir, nil
	}
	parent, err = canonical(parent)
	return filepath.Join(parent, filepath.Base(dir)), err
}

// addProject makes a site's project known. Sites that share a project have to
// say the same about it.
func (a *App) addProject(p registry.Project) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.prefixes[p.Prefix] = true
	p.Prefix = ""
	if other, known := a.projects[p.Name]; known {
		if options := policyDifferences(&p, &other); len(options) > 0 {
			return fmt.Errorf("two directives of this project differ in %s: write the same in both, or give each site its own project", strings.Join(options, " and "))
		}
	}
	a.projects[p.Name] = p
	return nil
}

// Start implements caddy.App. It opens the store, unless it shares it with the
// configuration that this one replaces.
func (a *App) Start() error {
	defer a.settle()
	a.warnOfCredentialsInLogs()
	if a.leased {
		return nil
	}
	if err := a.lease(a.open); err != nil {
		return err
	}
	a.logger.Info("opened the token store", zap.String("dir", a.dir))
	return nil
}

// lease shares the store if it is open in this process, and else opens it.
func (a *App) lease(open func(settings) (caddy.Destructor, error)) error {
	wanted := settings{retain: registry.Retain{
		Expired: time.Duration(a.Retain.Expired),
		Deleted: time.Duration(a.Retain.Deleted),
	}}
	if a.key != nil {
		wanted.key = a.key.ID()
	}
	value, _, err := stores.LoadOrNew(a.dir, func() (caddy.Destructor, error) { return open(wanted) })
	if err != nil {
		return err
	}
	a.leased = true
	opened := value.(*openStore)
	if opened.settings != wanted {
		return fmt.Errorf("hash_key or retain of the store in %s has changed: restart required", a.dir)
	}
	a.pages.Store(opened.pages)
	a.registry.Store(opened.registry)
	return nil
}

// settle lets requests go on that wait for the store.
func (a *App) settle() { a.settled.Do(func() { close(a.started) }) }

// warnOfCredentialsInLogs tells the owner if an access log would hold tokens.
func (a *App) warnOfCredentialsInLogs() {
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return
	}
	for name, server := range app.(*caddyhttp.App).Servers {
		if server.Logs != nil && server.Logs.ShouldLogCredentials {
			a.logger.Warn("log_credentials is on: the access log holds tokens and passwords that anybody who reads it can use", zap.String("server", name))
		}
	}
}

// Stop implements caddy.App. Requests go on until Cleanup.
func (*App) Stop() error { return nil }

// Cleanup implements caddy.CleanerUpper. It also runs after a Provision or a
// Start that failed, and where another app's failed before Start was called.
func (a *App) Cleanup() error {
	a.settle()
	if !a.leased {
		return nil
	}
	a.leased = false
	_, err := stores.Delete(a.dir)
	return err
}

// stores are the open stores by their directories. Configurations share them,
// so that a reload closes nothing.
var stores = caddy.NewUsagePool()

// settings are what a store is opened with and can't change while it is open.
type settings struct {
	key    token.KeyID // zero: the store's own
	retain registry.Retain
}

// openStore is a store in use by one or more configurations.
type openStore struct {
	settings
	registry *registry.Registry
	pages    *page.Memory
	store    *badgerstore.Store
}

func (a *App) open(s settings) (caddy.Destructor, error) {
	// The store outlives this configuration, and so must its logger.
	logger := currentLogger(appName)
	opened, err := badgerstore.Open(a.dir, badgerstore.Options{Key: a.key, Logger: logger})
	if err != nil {
		return nil, err
	}
	return &openStore{s, registry.New(registry.Config{
		Store: opened,
		Now:   time.Now, Random: rand.Reader,
		Retain: s.retain, Logger: logger,
	}), page.NewMemory(time.Now, rand.Reader), opened}, nil
}

// Destruct implements caddy.Destructor.
func (s *openStore) Destruct() error {
	return errors.Join(s.registry.Close(), s.store.Close())
}

// expand replaces the placeholders that stand for the configuration's own
// surroundings. An empty or unknown one is an error.
func expand(text string) (string, error) {
	expanded, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return "", fmt.Errorf("%w; allowed: {env.NAME}, {file./path} and others that have a value before any request", err)
	}
	return expanded, nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
	_ caddy.Destructor   = (*openStore)(nil)
)
