package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// buildCaddy builds the server of cmd/caddy, which is also the one without the
// directive: they differ in their Caddyfiles alone.
func buildCaddy(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "caddy")
	command := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/caddy-access-tokens/caddy-access-tokens/cmd/caddy")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building cmd/caddy: %w\n%s", err, out)
	}
	return program, nil
}

// site is one address of a server, and what its Caddyfile says of it.
type site struct{ name, directives string }

// admin is what the endpoint is called among the sites where there is one.
const admin = "admin"

// server is a process with the addresses of its sites.
type server struct {
	*process
	at map[string]string
}

// directive is that of a site which takes access tokens.
const directive = `access_tokens {
		admins alice
		allow_generate everyone
		sign_in placeholder {http.auth.user.id}
	}
	`

// startCaddy starts Caddy with these sites.
func (b *bench) startCaddy(name, globals string, sites ...site) (*server, error) {
	s := &server{at: make(map[string]string)}
	var file strings.Builder
	if b.profile != "" { // which its admin endpoint gives
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		s.at[admin] = address
	}
	fmt.Fprintf(&file, "{\n\tadmin %s\n\tauto_https off\n\tpersist_config off\n\tgrace_period 1s\n\tlog {\n\t\tlevel WARN\n\t}\n%s}\n", cmp.Or(s.at[admin], "off"), globals)
	for _, site := range sites {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		s.at[site.name] = address
		_, port, _ := strings.Cut(address, ":")
		fmt.Fprintf(&file, "http://:%s {\n\tbind 127.0.0.1\n\t%s\n}\n", port, site.directives)
	}
	path := filepath.Join(b.dir, name+".Caddyfile")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		return nil, err
	}
	var err error
	s.process, err = b.start(name, b.caddyEnv, b.caddy, "run", "--config", path, "--adapter", "caddyfile")
	return s, err
}

// startWith starts Caddy with the directive, in front of the same as the bare ones.
func (b *bench) startWith(more string) (*server, error) {
	return b.startCaddy("with", fmt.Sprintf("\taccess_tokens {\n\t\tstore badger %s\n%s\t}\n", b.store(), more),
		site{proxied, directive + "reverse_proxy " + b.api}, site{respond, directive + "respond 204"})
}

// The ways to answer.
const (
	proxied = "proxied"
	respond = "respond"
)

// bareSites are those of a server without the directive.
func (b *bench) bareSites() []site {
	return []site{{proxied, "reverse_proxy " + b.api}, {respond, "respond 204"}}
}

// refusing is a site without the directive that refuses all with an answer of a size.
func (b *bench) refusing(ctx context.Context, name string, size int) (site, error) {
	at := func(n int) site {
		return site{name, fmt.Sprintf("respond %q 401", strings.Repeat("x", n))}
	}
	const first = 100 // has as many digits as what is wanted
	s, err := b.startCaddy("size", "", at(first))
	if err != nil {
		return site{}, err
	}
	got, _, err := s.awaitAnswer(ctx, s.at[name], "", 401)
	if err != nil {
		return site{}, err
	}
	if err := s.stop(); err != nil {
		return site{}, err
	}
	return at(max(first+size-got, 1)), nil
}
