package contract

import (
	"net/http"
	"strconv"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Caddy as it is tested here has a directive rate_limit, which stands in for the
// plugin of that name: the same place among the directives, the same way to write a
// zone, the same moment at which its key is read, and the same answer.

func init() {
	caddy.RegisterModule(new(rateLimit))
	httpcaddyfile.RegisterHandlerDirective("rate_limit", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		limit := new(rateLimit)
		return limit, limit.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("rate_limit", httpcaddyfile.Before, "basic_auth")
}

// rateLimit lets so many requests pass for each key. Its window never ends, which
// is as long as any test takes.
type rateLimit struct {
	Key    string `json:"key"`
	Events int    `json:"events"`

	mu   sync.Mutex
	seen map[string]int
}

func (*rateLimit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.rate_limit", New: func() caddy.Module { return new(rateLimit) }}
}

func (l *rateLimit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	for d.NextBlock(0) {
		var name string
		if d.Val() != "zone" || !d.Args(&name) {
			return d.ArgErr()
		}
		for d.NextBlock(1) {
			option, value := d.Val(), ""
			if !d.Args(&value) {
				return d.ArgErr()
			}
			var err error
			switch option {
			case "key":
				l.Key = value
			case "events":
				l.Events, err = strconv.Atoi(value)
			case "window":
				_, err = caddy.ParseDuration(value)
			default:
				err = d.ArgErr()
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *rateLimit) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	key := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).ReplaceAll(l.Key, "")
	l.mu.Lock()
	if l.seen == nil {
		l.seen = make(map[string]int)
	}
	l.seen[key]++
	seen := l.seen[key]
	l.mu.Unlock()
	if seen > l.Events {
		w.Header().Set("Retry-After", "60")
		return caddyhttp.Error(http.StatusTooManyRequests, nil)
	}
	return next.ServeHTTP(w, r)
}
