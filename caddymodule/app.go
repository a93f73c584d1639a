// Package caddymodule puts API access tokens in front of any HTTP API: a Caddy
// app that keeps the tokens, a handler that checks them at each request and
// serves the routes and the page where they are made, and a matcher that lets
// them past other handlers.
package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/events"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/metrics"
	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/auditfile"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/census"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/page"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/refusals"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/signinlimit"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/streams"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"

	// Every build has these.
	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/command"
	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/webhook"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
)

func init() { caddy.RegisterModule(new(App)) }

// appName is the app's key in the configuration.
const appName = "access_tokens"

// App keeps the tokens of all projects of a server.
type App struct {
	config.App

	ctx    caddy.Context
	logger *zap.Logger
	events events.Events
	dir    string
	keys   []*token.Key // those that are given, the first for new tokens; none: the store's own
	// auditFile is absolute, "" for none.
	auditFile string
	// schedule is of backups, nil for none.
	schedule *backup.Schedule

	mu sync.Mutex
	// rules, prefixes and carriers are what the sites of this configuration say.
	rules    map[string]registry.Rules
	prefixes map[string]bool
	carriers incoming.Carriers

	// ready is closed once registry is set, or is known never to be.
	ready    chan struct{}
	closing  sync.Once // of ready
	registry atomic.Pointer[registry.Registry]
	pages    atomic.Pointer[page.Memory]         // set before registry
	failures atomic.Pointer[signinlimit.Limiter] // the same
	opened   *openStore
	leased   bool // opened is to be given back
	enforced atomic.Bool
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
	a.rules = make(map[string]registry.Rules)
	a.prefixes = make(map[string]bool)
	a.ready = make(chan struct{})
	if err := metrics.Register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("access_tokens: metrics: %w", err)
	}
	if err := a.Check(); err != nil {
		return fmt.Errorf("access_tokens: %w", err)
	}
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.events = eventsOf{events.(*caddyevents.App), ctx}
	if err := a.provisionDir(); err != nil {
		return fmt.Errorf("access_tokens: store: %w", err)
	}
	if err := a.provisionKeys(); err != nil {
		return fmt.Errorf("access_tokens: %w", err)
	}
	if err := a.provisionAudit(); err != nil {
		return fmt.Errorf("access_tokens: audit file: %w", err)
	}
	if err := a.provisionBackup(); err != nil {
		return fmt.Errorf("access_tokens: backup: %w", err)
	}
	if err := a.checkSameStore(); err != nil {
		return fmt.Errorf("access_tokens: %w", err)
	}
	// What the running configuration has open is shared from here on. So no
	// request waits for Start, and keys that tokens would be refused with are
	// refused themselves before anything of this configuration serves requests.
	err = a.lease(func() (caddy.Destructor, error) { return nil, errNotOpen })
	if err != nil && !errors.Is(err, errNotOpen) {
		return fmt.Errorf("access_tokens: %w", err)
	}
	return nil
}

var errNotOpen = errors.New("no running configuration has the store open")

// checkSameStore refuses a reload with another store: it would be a new, empty
// one, and every client would throw its token away.
func (a *App) checkSameStore() error {
	if other := running(); other != nil && other.dir != a.dir {
		return fmt.Errorf("the store has moved from %s to %s: restart required, so that nobody's token is refused by mistake; to keep the tokens, stop Caddy and move the directory", other.dir, a.dir)
	}
	return nil
}

func (a *App) provisionAudit() (err error) {
	if a.Audit.File == "" {
		return nil
	}
	path, err := caddyvalue.Expand(a.Audit.File)
	if err == nil {
		a.auditFile, err = filepath.Abs(path)
	}
	return err
}

func (a *App) provisionDir() (err error) {
	dir := filepath.Join(caddy.AppDataDir(), "access-tokens")
	if a.Store.Path != "" {
		if dir, err = caddyvalue.Expand(a.Store.Path); err != nil {
			return err
		}
	} else if !filepath.IsAbs(dir) {
		a.logger.Warn("neither HOME nor XDG_DATA_HOME is set, so that tokens are kept below the directory that Caddy was started in: set one of them, or write `store badger <directory>`", zap.String("dir", dir))
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

// addSite makes known what a site says of its project. Sites that share a project
// have to say the same about its policy.
func (a *App) addSite(project, prefix string, rules registry.Rules, carriers incoming.Carriers) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.prefixes[prefix] = true
	a.carriers = a.carriers.Join(carriers)
	if other, known := a.rules[project]; known {
		if options := policyDifferences(&rules, &other); len(options) > 0 {
			return fmt.Errorf("two directives of this project differ in %s: write the same in both, or give each site its own project", strings.Join(options, " and "))
		}
		rules.SignIns = append(other.SignIns, rules.SignIns...)
	}
	a.rules[project] = rules
	return nil
}

// Start implements caddy.App. It opens the store, unless it shares it with the
// configuration that this one replaces.
func (a *App) Start() error {
	defer a.announce()
	a.warnOfCredentialsInLogs()
	if !a.leased {
		if err := a.lease(a.open); err != nil {
			return err
		}
	}
	if err := a.opened.noteKeys(a); err != nil {
		return err
	}
	a.enforce()
	return nil
}

// await returns the registry, with the rules of this configuration in force,
// once the store is open. Caddy's HTTP servers may start first.
func (a *App) await(ctx context.Context) (*registry.Registry, error) {
	tokens := a.registry.Load()
	if tokens == nil {
		select {
		case <-a.ready:
		case <-ctx.Done():
		}
		if tokens = a.registry.Load(); tokens == nil {
			return nil, store.ErrUnavailable
		}
	}
	a.enforce()
	return tokens, nil
}

// enforce puts what this configuration says of projects in force, if that hasn't
// been done. Its sites may be asked before it is started.
func (a *App) enforce() {
	if !a.enforced.Load() {
		a.opened.enforce(a)
	}
}

// lease shares the store if it is open in this process, and else opens it.
func (a *App) lease(open func() (caddy.Destructor, error)) error {
	value, _, err := stores.LoadOrNew(a.dir, open)
	if err != nil {
		return err
	}
	a.opened, a.leased = value.(*openStore), true
	if err := a.opened.checkKeys(a); err != nil {
		return err
	}
	if err := a.opened.audit.file.Check(a.auditFile); err != nil {
		return err
	}
	a.pages.Store(a.opened.pages)
	a.failures.Store(a.opened.failures)
	a.registry.Store(a.opened.registry)
	return nil
}

// announce lets requests go on that wait for the store.
func (a *App) announce() { a.closing.Do(func() { close(a.ready) }) }

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
func (a *App) Stop() error {
	a.opened.succeed(a)
	return nil
}

// Cleanup implements caddy.CleanerUpper. It also runs after a Provision or a
// Start that failed, and where another app's failed before Start was called.
func (a *App) Cleanup() error {
	a.announce()
	if !a.leased {
		return nil
	}
	a.leased = false
	a.opened.leave(a)
	_, err := stores.Delete(a.dir)
	return err
}

// stores are the open stores by their directories. Configurations share them,
// so that a reload closes nothing.
var stores = caddy.NewUsagePool()

// openStore is a store in use by one or more configurations.
type openStore struct {
	registry *registry.Registry
	pages    *page.Memory
	failures *signinlimit.Limiter // of sign-ins, at all sites
	streams  *streams.Streams
	census   *census.Census
	watched  *metrics.Watched
	backups  *backup.Keeper
	refusals refusals.Refusals // of tokens, for their owners
	events   *events.Emitter
	store    *badgerstore.Store
	audit    auditor
	log      *followingLog
	logger   *zap.Logger // of log

	mu sync.Mutex
	// enforced are the configurations that have been put in force and aren't
	// cleaned up, the one whose rules hold last.
	enforced []*App
	// noted is the configuration whose hash keys were noted last, unless it has been
	// cleaned up since.
	noted *App
}

// enforce puts a configuration in force, once.
func (s *openStore) enforce(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.enforced.Swap(true) {
		return
	}
	s.enforced = append(s.enforced, a)
	s.adoptLast()
}

// leave takes a configuration out of force. Where it was the newest, because
// starting it failed elsewhere, the one before it holds again.
func (s *openStore) leave(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.enforced.Store(true) // or a late request would put it in force
	if s.noted == a {
		s.noted = nil
	}
	s.enforced = slices.DeleteFunc(s.enforced, func(other *App) bool { return other == a })
	s.adoptLast()
}

// succeed makes the newest configuration's hold what can't be taken back: keys,
// since tokens are made under them, and for how long records stay. Caddy stops
// the one before once all of the newest has started.
func (s *openStore) succeed(stopped *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := s.enforced[len(s.enforced)-1]
	if newest == stopped {
		return // Caddy ends, or starts something else, or starting this failed elsewhere.
	}
	s.useKeys(newest)
	s.registry.SetRetain(newest.retain())
}

func (s *openStore) adoptLast() {
	if n := len(s.enforced); n > 0 {
		last := s.enforced[n-1]
		s.audit.file.Use(last.auditFile)
		s.registry.Adopt(last.rules)
		s.backups.Use(last.schedule)
		s.log.follow(last.logger)
		return
	}
	s.log.follow(caddy.Log())
}

func (a *App) retain() registry.Retain {
	return registry.Retain{Expired: time.Duration(a.Retain.Expired), Deleted: time.Duration(a.Retain.Deleted)}
}

func (a *App) open() (caddy.Destructor, error) {
	// The store outlives this configuration, and so must its logger.
	following := newFollowingLog(a.logger)
	logger := following.logger(appName)
	options := badgerstore.Options{Logger: logger, Committed: metrics.Committed}
	if len(a.keys) > 0 {
		options.Key, options.Previous = a.keys[0], a.keys[1:]
	}
	opened, err := badgerstore.Open(a.dir, options)
	if err != nil {
		return nil, err
	}
	err = auditor{logger: logger.Named("audit")}.tellRestored(opened, a.auditFile != "")
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	file, err := auditfile.Open(opened, a.auditFile, logger)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	tellOpened(logger, a.dir, opened)
	s := &openStore{
		log: following, logger: logger, audit: auditor{logger.Named("audit"), file}, store: opened,
		pages: page.NewMemory(time.Now, rand.Reader), failures: signinlimit.New(),
	}
	s.events = events.New(events.Config{Current: currentEvents, Record: opened.ByID, Degraded: s.degraded, Logger: logger})
	s.streams = streams.New(func(o *streams.Opener) bool {
		return s.registry.Holds(s.registry.Project(o.Project), o.Token, o.Client)
	}, opened.Clock().Now)
	s.registry = registry.New(registry.Config{
		Store: opened,
		Now:   opened.Clock().Now, Certain: opened.Clock().Certain, Random: rand.Reader,
		Retain: a.retain(), Audit: s.audit, Logger: logger, Ended: s.streams.Ended, Notices: s.events,
	})
	s.census = census.New(opened, opened.Clock().Now, s.registry.Projects)
	if opened.KeysChanged() {
		s.tellKeys(opened.Keys())
	}
	s.watched = metrics.Watch(s)
	s.backups = s.newKeeper()
	return s, nil
}

// tellOpened says which store this is: whoever has lost his tokens finds out that
// he looks at another one.
func tellOpened(logger *zap.Logger, dir string, opened *badgerstore.Store) {
	if opened.IsNew() {
		logger.Info("made a new token store", zap.String("dir", dir))
		return
	}
	go func() { // counting a million takes a second
		if n, err := opened.Count(); err == nil {
			logger.Info("opened the token store", zap.String("dir", dir), zap.Int("tokens", n))
		}
	}()
}

// Destruct implements caddy.Destructor.
func (s *openStore) Destruct() error {
	s.backups.Close()
	s.watched.End()
	s.census.Close()
	s.streams.Close()
	closed := s.registry.Close()
	s.events.Close()
	return errors.Join(closed, s.audit.file.Close(), s.store.Close())
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
	_ caddy.Destructor   = (*openStore)(nil)
)
