package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(new(establish))
	httpcaddyfile.RegisterHandlerDirective("establish", parseEstablish)
	httpcaddyfile.RegisterDirectiveOrder("establish", httpcaddyfile.Before, "basic_auth")
}

// establish stands for a handler in front that establishes a user, without a
// look at credentials:
//
//	establish <field> <value>
//
// becomes the placeholder {http.auth.user.<field>}.
type establish struct {
	Field string `json:"field"`
	Value string `json:"value"`
}

func (*establish) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.establish", New: func() caddy.Module { return new(establish) }}
}

func (e *establish) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set(userPrefix+e.Field, repl.ReplaceAll(e.Value, ""))
	return next.ServeHTTP(w, r)
}

func parseEstablish(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	var e establish
	h.Next()
	if !h.AllArgs(&e.Field, &e.Value) {
		return nil, h.ArgErr()
	}
	return &e, nil
}
