// Package caddymodule puts API access tokens in front of any HTTP API.
package caddymodule

import (
	_ "github.com/caddyserver/caddy/v2"
	_ "github.com/dgraph-io/badger/v4"
	_ "go.uber.org/goleak"
	_ "go.uber.org/zap"
	_ "golang.org/x/net/http2"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/crypto/bcrypt"
	_ "golang.org/x/net/http/httpguts"
)
