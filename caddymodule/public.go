package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// isWildcard tells whether a pattern names nothing: /** means every path to whoever
// writes it, though Caddy takes it for those of one segment.
func isWildcard(pattern string) bool {
	return strings.Contains(pattern, "*") && strings.Trim(pattern, "/*?") == ""
}

// strangePaths are some that no owner means in particular.
var strangePaths = []string{"/", "/7f3a9d1c", "/7f3a9d1c/0be2/55.d0", "/7F3A9D1C/"}

// checkPublic refuses a set of matchers that is public for every path.
func checkPublic(set map[string]json.RawMessage) error {
	every, err := matchesEveryPath(set)
	if err != nil {
		return fmt.Errorf("public: %w", err)
	}
	if every {
		return errPublicEverywhere
	}
	return nil
}

var errPublicEverywhere = errors.New("public: every path would be public, and nothing need a token; to let requests without a token pass, write `without_token pass`")

// matchesEveryPath tells whether matchers that look at nothing but the path
// accept paths that nobody has thought of.
func matchesEveryPath(set map[string]json.RawMessage) (bool, error) {
	var matchers []caddyhttp.RequestMatcherWithError
	for name, raw := range set {
		switch name {
		case "path":
			var m caddyhttp.MatchPath
			if err := json.Unmarshal(raw, &m); err != nil {
				return false, err
			}
			if slices.ContainsFunc(m, isWildcard) {
				continue
			}
			if err := m.Provision(caddy.Context{}); err != nil {
				return false, err
			}
			matchers = append(matchers, m)
		case "path_regexp":
			m := new(caddyhttp.MatchPathRE)
			if err := json.Unmarshal(raw, m); err != nil {
				return false, err
			}
			if err := m.Provision(caddy.Context{}); err != nil {
				return false, err
			}
			matchers = append(matchers, m)
		default:
			return false, nil
		}
	}
	for _, path := range strangePaths {
		ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, caddy.NewReplacer())
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
		r := (&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, Header: make(http.Header)}).WithContext(ctx)
		for _, m := range matchers {
			if matches, err := m.MatchWithError(r); !matches || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}
