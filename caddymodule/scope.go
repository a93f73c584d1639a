package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/grammar"
	"github.com/caddy-access-tokens/caddy-access-tokens/config"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/page"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/tokenapi"
)

// scopes are what a site's tokens can be limited to.
type scopes []scope

type scope struct {
	name, text string
	sets       []scopeSet
}

// scopeSet are matchers that all have to match.
type scopeSet struct {
	caddyhttp.MatcherSet
	// upgrades: it asks for the header Upgrade.
	upgrades bool
	// protocols are those that it names, under not too.
	protocols []string
}

func provisionScopes(ctx caddy.Context, configured []config.Scope) (all scopes, err error) {
	for _, c := range configured {
		if err := checkScope(&c); err != nil {
			return nil, err
		}
		s := scope{name: c.Name, text: c.Text}
		for _, set := range c.MatchRaw {
			s.sets = append(s.sets, scopeSet{upgrades: asksForUpgrade(set), protocols: protocolsIn(set)})
		}
		modules, err := ctx.LoadModule(&c, "MatchRaw") // which empties it
		if err != nil {
			return nil, fmt.Errorf("scope %s: %w", c.Name, err)
		}
		var sets caddyhttp.MatcherSets
		if err := sets.FromInterface(modules); err != nil {
			return nil, fmt.Errorf("scope %s: %w", c.Name, err)
		}
		for i, set := range sets {
			s.sets[i].MatcherSet = set
		}
		all = append(all, s)
	}
	return all, nil
}

// checkScope refuses a scope that every request would be within.
func checkScope(s *config.Scope) error {
	if err := s.Check(); err != nil {
		return err
	}
	for _, set := range s.MatchRaw {
		every, err := matchesEveryPath(set)
		if err != nil {
			return fmt.Errorf("scope %s: %w", s.Name, err)
		}
		if every {
			return fmt.Errorf("scope %s: every request would be within it; a token without scopes may do all that its user may", s.Name)
		}
	}
	return nil
}

// asksForUpgrade tells whether matchers want the header Upgrade to be there.
func asksForUpgrade(set map[string]json.RawMessage) bool {
	var headers map[string][]string
	if json.Unmarshal(set["header"], &headers) != nil {
		return false
	}
	for name, values := range headers {
		if strings.EqualFold(name, "Upgrade") && len(values) > 0 {
			return true
		}
	}
	return false
}

// protocolsIn returns which protocols matchers name. They are valid.
func protocolsIn(set map[string]json.RawMessage) (names []string) {
	var name string
	if json.Unmarshal(set["protocol"], &name) == nil {
		names = append(names, name)
	}
	var inner []map[string]json.RawMessage
	if json.Unmarshal(set["not"], &inner) == nil {
		for _, set := range inner {
			names = append(names, protocolsIn(set)...)
		}
	}
	return names
}

func (all scopes) names() (names []string) {
	for _, s := range all {
		names = append(names, s.name)
	}
	return names
}

func (all scopes) forPeople() (choices []page.Scope) {
	for _, s := range all {
		choices = append(choices, page.Scope{Name: s.name, Text: s.text})
	}
	return choices
}

// overriding are headers by which some servers take a request for one of another
// method or path, which a scope wouldn't see.
var overriding = []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url"}

// check returns nil if a request is within one of its token's scopes, however its
// path is read. It removes what would make another request of it. Where another proxy
// asks, knows tells whether it is known if the request has a protocol.
func (all scopes) check(r *http.Request, request *incoming.Request, record *store.Record, knows func(protocol string) bool) error {
	for _, name := range overriding {
		_ = incoming.Set(r.Header, name, "") // in every spelling
	}
	if overridesInQuery(r.URL.RawQuery) {
		return all.deny(record, nil)
	}
	var would []string
	for i := range all {
		within, err := all[i].holds(r, request, knows)
		if err != nil {
			return fmt.Errorf("scope %s: %w", all[i].name, err)
		}
		if !within {
			continue
		}
		if slices.Contains(record.Scopes, all[i].name) {
			return nil
		}
		would = append(would, all[i].name)
	}
	return all.deny(record, would)
}

func (all scopes) deny(record *store.Record, would []string) error {
	if would == nil {
		would = record.Scopes
	}
	return &tokenapi.OutOfScope{Denial: &registry.Denial{Reason: registry.ErrScope, Why: registry.WhyScope, Token: *record}, Scopes: would}
}

// holds tells whether a request is within s.
func (s *scope) holds(r *http.Request, request *incoming.Request, knows func(string) bool) (bool, error) {
	return request.Path.Everywhere(r, func(r *http.Request) (bool, error) {
		for i := range s.sets {
			if upgrades(r) && !s.sets[i].upgrades || knows != nil && !allKnown(s.sets[i].protocols, knows) {
				continue
			}
			if within, err := s.sets[i].matches(r); within || err != nil {
				return within, err
			}
		}
		return false, nil
	})
}

// matches matches what the API gets: of a WebSocket that is opened by CONNECT (RFC
// 8441), that is a GET with an Upgrade.
func (s *scopeSet) matches(r *http.Request) (bool, error) {
	if r.Method == http.MethodConnect {
		defer func(method string) {
			r.Method = method
			delete(r.Header, "Upgrade")
		}(r.Method)
		r.Method = http.MethodGet
		r.Header["Upgrade"] = []string{"websocket"}
	}
	return s.MatchWithError(r)
}

func allKnown(protocols []string, knows func(string) bool) bool {
	for _, p := range protocols {
		if !knows(p) {
			return false
		}
	}
	return true
}

func upgrades(r *http.Request) bool {
	return r.Method == http.MethodConnect || len(r.Header["Upgrade"]) > 0
}

// overridesInQuery tells whether a query has the parameter _method, in any spelling
// that some server takes for it: PHP reads what is no letter or digit as _.
func overridesInQuery(query string) bool {
	for _, pair := range strings.FieldsFunc(query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		for range 3 { // decoded twice by some
			if isMethodParameter(name) {
				return true
			}
			decoded, err := url.QueryUnescape(name)
			if err != nil || decoded == name {
				break
			}
			name = decoded
		}
	}
	return false
}

func isMethodParameter(name string) bool {
	name = strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			return c
		case 'A' <= c && c <= 'Z':
			return c + 'a' - 'A'
		}
		return '_'
	}, strings.TrimLeft(name, " \t+"))
	rest, found := strings.CutPrefix(name, "_method")
	return found && (rest == "" || rest[0] == '_')
}

// parseScope reads a scope. Syntax:
//
//	scope <name> [<text>] {
//	    <matcher> ...
//	}
func parseScope(d *caddyfile.Dispenser) (s config.Scope, err error) {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return s, d.Errf("scope takes a name, a text for people, and a block of matchers; write `scope read \"Read only\" { … }`, with a line `method GET HEAD` in it")
	}
	s.Name = args[0]
	if len(args) > 1 {
		s.Text = args[1]
	}
	if err := config.CheckScopeName(s.Name); err != nil {
		return s, grammar.At(d, err)
	}
	matchers, err := caddyhttp.ParseCaddyfileNestedMatcherSet(d)
	if err != nil {
		return s, fmt.Errorf("scope %s: %w", s.Name, err)
	}
	set := make(map[string]json.RawMessage, len(matchers))
	for name, raw := range matchers {
		set[name] = raw
	}
	if len(set) > 0 {
		s.MatchRaw = append(s.MatchRaw, set)
	}
	return s, grammar.At(d, checkScope(&s))
}
