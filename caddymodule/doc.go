// Package caddymodule puts API access tokens in front of any HTTP API.
package caddymodule
