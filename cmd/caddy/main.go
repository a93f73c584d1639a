// Command caddy is Caddy with the access_tokens module built in.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule"
)

func main() { caddycmd.Main() }
